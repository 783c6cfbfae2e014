package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/tokens"
)

// maxRequest bounds the query of an authorization request, which is carried through the pages.
const maxRequest = 8 << 10

// authorize is the authorization endpoint (RFC 6749 §3.1).
func (p *pages) authorize(v *visitor) error {
	query := string(v.c.Request().URI().QueryString())
	if err := plainQuery(query); err != nil {
		return err
	}
	return p.proceed(v, visit{Request: query, Started: p.tenant.Now()})
}

// authorizeForm takes the request as a form as well (OpenID Connect Core §3.1.2.1). The browser asks again by GET: it sends
// the cookies of a session with nothing else that comes from another site.
func (p *pages) authorizeForm(v *visitor) error {
	if mediaType(v.c) != fiber.MIMEApplicationForm {
		return badRequest("the Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := rawBody(v.c)
	if err != nil {
		return err
	}
	query := string(body)
	if err := plainQuery(query); err != nil {
		return err
	}
	return p.redirect(v, p.public.Path+"/authorize?"+query)
}

func plainQuery(query string) error {
	if len(query) > maxRequest {
		return badRequest("the authorization request is longer than 8 KiB: push it instead (RFC 9126)")
	}
	if strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return badRequest("the authorization request is not form-encoded")
	}
	return nil
}

// proceed does the next step of an authorization request: the person signs in, agrees, and is sent back to the client.
func (p *pages) proceed(v *visitor, state visit) error {
	a, err := p.read(v, &state)
	if err != nil {
		return err
	}
	silent := slices.Contains(a.Prompts, "none")
	if p.mustSignIn(v, state, a) {
		if silent {
			return p.tenant.Tokens.Refuse(a, "login_required", "the user has to sign in")
		}
		return p.showLogin(v, http.StatusOK, state, signingIn{Username: a.LoginHint}, "")
	}
	offers, err := p.tenant.Tokens.Offers(v.ctx, v.reading, v.policies, a, v.user)
	if err != nil {
		return err
	}
	agreed := !slices.ContainsFunc(offers, func(o tokens.Offer) bool { return !o.Agreed })
	if agreed && len(offers) == 1 && !slices.Contains(a.Prompts, "consent") {
		return p.grant(v, a, offers[0].Org)
	}
	switch {
	case silent && agreed:
		return p.tenant.Tokens.Refuse(a, "interaction_required", "the user has to choose an organization")
	case silent:
		return p.tenant.Tokens.Refuse(a, "consent_required", "the user has to agree")
	}
	return p.showConsent(v, state, a, offers, agreed && !slices.Contains(a.Prompts, "consent"), "")
}

// read reads the authorization request of a visit, at every step anew: what it rests on may have changed.
func (p *pages) read(v *visitor, state *visit) (*tokens.Authorization, error) {
	parameters, err := url.ParseQuery(state.Request)
	if err != nil {
		return nil, badRequest("the authorization request is not form-encoded")
	}
	a, err := p.tenant.Tokens.ReadAuthorization(v.ctx, v.reading, parameters)
	if err != nil {
		return nil, err
	}
	state.Target = formTarget(a.RedirectURI)
	return a, nil
}

// mustSignIn says whether the person has to prove who it is, or to do so again (OpenID Connect Core §3.1.2.1). Whoever has
// signed in on this visit has done so, and has a minute to read, however small max_age is.
func (p *pages) mustSignIn(v *visitor, state visit, a *tokens.Authorization) bool {
	if v.user == nil {
		return true
	}
	again := slices.Contains(a.Prompts, "login") || slices.Contains(a.Prompts, "select_account") || a.MaxAge == 0
	if again && (state.Session == "" || state.Session != p.sessionHash(v)) {
		return true
	}
	longest := a.MaxAge
	if v.user.AuthTime >= state.Started.Unix() {
		longest = max(longest, 60)
	}
	return a.MaxAge >= 0 && p.tenant.Now().Unix()-v.user.AuthTime > longest
}

// grant sends the browser to the client with a code.
func (p *pages) grant(v *visitor, a *tokens.Authorization, org string) error {
	to, err := p.tenant.Tokens.Authorize(v.ctx, v.reading, v.policies, a, v.user, org)
	if err != nil {
		return err
	}
	return p.redirect(v, to)
}
