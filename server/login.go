package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
)

const (
	loginForm    = "login"
	logoutForm   = "logout"
	callbackPath = "/login/callback"
)

// signingIn is what the login page shows. First it asks who somebody is, for some are sent to the provider of their
// organization; only then for the password.
type signingIn struct {
	Continue string
	Username string
	Password bool
	Reset    bool // whether a forgotten password can be replaced
}

// login is the page for those who come without an authorization request.
func (p *pages) login(v *visitor) error {
	if v.user != nil {
		return p.redirect(v, p.public.Path+accountPath)
	}
	return p.signInFirst(v, accountPath, "")
}

// signInFirst shows the login page where a session is wanted.
func (p *pages) signInFirst(v *visitor, next, userCode string) error {
	return p.showLogin(v, http.StatusOK, visit{Started: p.tenant.Now(), Next: next, UserCode: userCode}, signingIn{}, "")
}

func (p *pages) showLogin(v *visitor, status int, state visit, content signingIn, problem string) error {
	state.Form, state.Session, v.target = loginForm, "", state.Target
	content.Reset = p.tenant.Deliveries != nil
	var err error
	if content.Continue, err = p.seal(v, state); err != nil {
		return err
	}
	return p.show(v, status, "login", page{Title: "Sign in", Problem: problem, Content: content})
}

// signIn takes the login form. A sign-in that fails is 403, so that what stands before this server can count them: 401 is for
// credentials in a header (RFC 9110 §15.5.2).
func (p *pages) signIn(v *visitor) error {
	fields, state, err := p.form(v, loginForm)
	if err != nil {
		return err
	}
	content := signingIn{Username: fields.get("username")}
	if content.Username == "" {
		return p.showLogin(v, http.StatusBadRequest, state, content, "Enter your username or email address.")
	}
	org, id, found, err := p.tenant.Authn.ConnectionFor(v.ctx, v.reading, content.Username)
	if err != nil {
		return err
	}
	if found {
		return p.toProvider(v, state, org, id)
	}
	content.Password = true
	if _, entered := fields.values["password"]; !entered {
		return p.showLogin(v, http.StatusOK, state, content, "")
	}
	user, err := p.tenant.Authn.SignIn(v.ctx, v.reading, content.Username, fields.secret("password"), p.server.address(v.c))
	if failed := (*authn.Error)(nil); errors.As(err, &failed) {
		p.noteRefused(v.c, refusedAs(err, p.passwordOf(v.reading, content.Username)))
		return p.showRefused(v, state, content, failed)
	}
	if err != nil {
		return err
	}
	return p.signedIn(v, state, user)
}

func (p *pages) showRefused(v *visitor, state visit, content signingIn, failed *authn.Error) error {
	f := p.server.failure(v.c, failed)
	problem := f.detail
	if failed.Kind == authn.Invalid {
		problem = "The username or the password is wrong."
	}
	if f.status == http.StatusUnauthorized {
		f.status = http.StatusForbidden
	}
	if f.retryAfter != "" {
		v.c.Set(fiber.HeaderRetryAfter, f.retryAfter)
	}
	return p.showLogin(v, f.status, state, content, problem)
}

// signedIn lets the user join the organization that takes in those of its domain, begins a session, under a new secret whatever the browser had before, and goes on with what the login was for.
func (p *pages) signedIn(v *visitor, state visit, user *authn.Principal) error {
	if err := p.tenant.Manage.AutoJoin(v.ctx, v.reading, user.Subject); err != nil {
		return err
	}
	secret, err := p.tenant.Authn.BeginSession(v.ctx, user)
	if err != nil {
		return err
	}
	if v.user != nil {
		if err := p.tenant.Authn.EndSession(v.ctx, v.session); err != nil {
			return err
		}
	}
	p.setCookie(v.c, sessionCookie, secret.Expose(), 0)
	next := p.public.Path + state.Next
	if state.UserCode != "" {
		next += "?" + url.Values{"user_code": {state.UserCode}}.Encode()
	}
	if state.Request != "" {
		state.Form, state.Session = consentForm, string(p.tenant.Master.Hash(secret))
		sealed, err := p.seal(v, state)
		if err != nil {
			return err
		}
		next = p.public.Path + "/consent?continue=" + sealed
	}
	return p.redirect(v, next)
}

// atProvider is a sign-in at an external provider that has begun.
type atProvider struct {
	Visit visit             `json:"visit"`
	State authn.SignInState `json:"state"`
}

// toProvider sends the browser to the provider of an organization: by a page that leads there, for the login form itself
// may lead nowhere else (see secureHeaders).
func (p *pages) toProvider(v *visitor, state visit, org, id string) error {
	fresh, err := p.wantsFresh(v, state)
	if err != nil {
		return err
	}
	to, begun, err := p.tenant.Authn.BeginSignIn(v.ctx, v.reading, org, id, p.tenant.Issuer+callbackPath, fresh)
	if err != nil {
		return err
	}
	state.Form = callbackPath
	sealed, err := p.seal(v, atProvider{state, begun})
	if err != nil {
		return err
	}
	if len(sealed) > maxCookie {
		return badRequest("the authorization request is too long to sign in with another provider: the application has to push it (RFC 9126)")
	}
	p.setCookie(v.c, providerCookie, sealed, providerLifetime)
	return p.show(v, http.StatusOK, "provider", page{Title: "Sign in at your organization", Refresh: to})
}

// wantsFresh says whether the authorization request of a visit asks for more than that the provider knows the person already
// (OpenID Connect Core §3.1.2.1).
func (p *pages) wantsFresh(v *visitor, state visit) (bool, error) {
	if state.Request == "" {
		return false, nil
	}
	a, err := p.read(v, &state)
	if err != nil {
		return false, err
	}
	return a.MaxAge >= 0 || slices.Contains(a.Prompts, "login") || slices.Contains(a.Prompts, "select_account"), nil
}

// fromProvider takes the answer of the provider (OpenID Connect Core §3.1.2.5).
func (p *pages) fromProvider(v *visitor) error {
	sealed := p.cookie(v.c, providerCookie)
	p.setCookie(v.c, providerCookie, "", 0)
	var begun atProvider
	if err := p.unseal(v, sealed, &begun); err != nil {
		return err
	}
	if err := p.current(begun.Visit, callbackPath); err != nil {
		return err
	}
	query, err := url.ParseQuery(string(v.c.Request().URI().QueryString()))
	if err != nil {
		return badRequest("the answer of the provider is not form-encoded")
	}
	user, err := p.tenant.Authn.FinishSignIn(v.ctx, v.reading, begun.State, query, p.tenant.Issuer+callbackPath)
	if err != nil {
		return refusedAs(err, authn.CredentialRef{Type: "external_token", ID: begun.State.Connection})
	}
	return p.signedIn(v, begun.Visit, user)
}

// logout is the page that asks, or says that it is done.
func (p *pages) logout(v *visitor) error {
	if v.user == nil {
		return p.show(v, http.StatusOK, "logout", page{Title: "You are signed out"})
	}
	sealed, err := p.seal(v, visit{Form: logoutForm, Started: p.tenant.Now(), Session: p.sessionHash(v)})
	if err != nil {
		return err
	}
	return p.show(v, http.StatusOK, "logout", page{Title: "Sign out", Content: sealed})
}

func (p *pages) signOut(v *visitor) error {
	if _, _, err := p.form(v, logoutForm); err != nil {
		return err
	}
	if v.user != nil {
		if err := p.tenant.Authn.EndSession(v.ctx, v.session); err != nil {
			return err
		}
	}
	p.setCookie(v.c, sessionCookie, "", 0)
	return p.redirect(v, p.public.Path+"/logout")
}
