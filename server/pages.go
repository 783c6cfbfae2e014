package server

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/tokens"
)

//go:embed pages
var pageFiles embed.FS

// pages are what a person sees of a tenant. They are made of HTML and one style sheet, without scripts.
//
// What changes something is a POST with a field that only this server can have put into a form of that very browser
// (RFC 9700 §4.7.1), and is answered with 303, which makes a GET of it (§4.12). Nobody is sent to a URL that came along, only
// to the redirect URI of an authorization request that was found good (§4.11).
type pages struct {
	*handler
	templates *template.Template
	style     []byte
	public    *url.URL // the issuer: links do not follow the Host header
	secure    bool     // cookies are for https only
}

// pageRoutes mounts the pages. They are for GET alone, not for HEAD: a code is not made for nobody to read.
func (h *handler) pageRoutes(base string) {
	public, err := url.Parse(h.tenant.Issuer)
	if err != nil {
		panic(err) // it was parsed before
	}
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // it is in the binary
	}
	p := &pages{handler: h, style: style, public: public, secure: public.Scheme == "https",
		templates: template.Must(template.New("").ParseFS(pageFiles, "pages/*.html"))}
	for _, route := range slices.Concat(p.resetRoutes(), p.invitationRoutes(), []pageRoute{
		{http.MethodGet, "/authorize", p.authorize},
		{http.MethodPost, "/authorize", p.authorizeForm},
		{http.MethodGet, "/consent", p.consent},
		{http.MethodPost, "/consent", p.decideConsent},
		{http.MethodGet, "/login", p.login},
		{http.MethodPost, "/login", p.signIn},
		{http.MethodGet, callbackPath, p.fromProvider},
		{http.MethodGet, "/logout", p.logout},
		{http.MethodPost, "/logout", p.signOut},
		{http.MethodGet, devicePath, p.device},
		{http.MethodPost, devicePath, p.findDevice},
		{http.MethodPost, devicePath + "/consent", p.decideDevice},
		{http.MethodGet, devicePath + "/done", p.deviceDone},
		{http.MethodGet, accountPath, p.account},
		{http.MethodPost, accountPath + "/revoke", p.revokeConsent},
	}) {
		h.server.app.Add(route.method, base+route.path, p.serve(route.handle))
	}
	h.server.app.Add(http.MethodGet, base+"/assets/style.css", p.stylesheet)
}

type pageRoute struct {
	method, path string
	handle       func(*visitor) error
}

// visitor is a request of a person's browser.
type visitor struct {
	c        *fiber.Ctx
	ctx      context.Context
	reading  *memo.Reading
	policies *engine.PolicySet
	browser  string           // an id, in a cookie
	session  directory.Secret // likewise
	user     *authn.Principal // whose session it is; nil without one
	target   string           // where a form of the page may lead beside this server
}

func (p *pages) serve(handle func(*visitor) error) fiber.Handler {
	gate := p.gates[tokenRoutes]
	return func(c *fiber.Ctx) error {
		v := &visitor{c: c, ctx: p.server.base}
		var failed error
		p.recorded(c, func() error {
			if err := gate.enter(c); err != nil {
				return err
			}
			r, policies := p.tenant.Engine.Begin(p.server.memo)
			defer r.End()
			v.reading, v.policies = r, policies
			if err := p.recogniseBrowser(v); err != nil {
				return err
			}
			return handle(v)
		}, func(err error) { failed = p.fail(v, err) })
		return failed
	}
}

// recogniseBrowser finds out which browser it is, and whose session it has.
func (p *pages) recogniseBrowser(v *visitor) error {
	v.browser = p.browserID(v.c)
	v.session = directory.NewSecret(p.cookie(v.c, sessionCookie))
	if v.session.IsZero() {
		return nil
	}
	var err error
	v.user, err = p.tenant.Authn.Session(v.ctx, v.reading, v.session)
	if err != nil || v.user == nil {
		return err
	}
	return p.admit(v.c, v.user)
}

// sessionHash stands for the session in forms; empty without one.
func (p *pages) sessionHash(v *visitor) string {
	if v.user == nil {
		return ""
	}
	return string(p.tenant.Master.Hash(v.session))
}

// page is what every template gets.
type page struct {
	Title   string
	Path    string // of the tenant's base, before every link
	Host    string
	Problem string // with what was entered
	Refresh string // where the browser goes by itself
	Content any
}

// show renders a page.
func (p *pages) show(v *visitor, status int, name string, content page) error {
	content.Path, content.Host = p.public.Path, p.public.Host
	var text bytes.Buffer
	if err := p.templates.ExecuteTemplate(&text, name, content); err != nil {
		return fmt.Errorf("render the page %s: %w", name, err)
	}
	p.secureHeaders(v)
	v.c.Status(status)
	v.c.Response().Header.SetContentType(fiber.MIMETextHTMLCharsetUTF8)
	v.c.Response().SetBodyRaw(text.Bytes())
	return nil
}

// secureHeaders are those of every answer to a browser: it may load nothing but the style sheet, be framed by nobody, and is
// kept nowhere (RFC 9700 §4.2.4, §4.16). Browsers hold a redirect that answers a form to form-action as well.
func (p *pages) secureHeaders(v *visitor) {
	formAction := "'self'"
	if v.target != "" {
		formAction += " " + v.target
	}
	for name, value := range map[string]string{
		fiber.HeaderContentSecurityPolicy: "default-src 'none'; style-src 'self'; form-action " + formAction + "; frame-ancestors 'none'; base-uri 'none'",
		fiber.HeaderXFrameOptions:         "DENY",
		fiber.HeaderXContentTypeOptions:   "nosniff",
		fiber.HeaderReferrerPolicy:        "no-referrer",
		fiber.HeaderCacheControl:          "no-store",
	} {
		v.c.Set(name, value)
	}
}

// redirect sends the browser on, to a URL that was made or checked here.
func (p *pages) redirect(v *visitor, to string) error {
	p.secureHeaders(v)
	v.c.Set(fiber.HeaderLocation, to)
	v.c.Status(http.StatusSeeOther)
	return nil
}

// fail answers an error: the client is told by a redirect where that was found safe, else the person by a page.
func (p *pages) fail(v *visitor, err error) error {
	f := p.server.failure(v.c, err)
	if refused := (*tokens.Redirect)(nil); errors.As(err, &refused) {
		return p.redirect(v, refused.To)
	}
	if f.retryAfter != "" {
		v.c.Set(fiber.HeaderRetryAfter, f.retryAfter)
	}
	return p.show(v, f.status, "error", page{Title: "This did not work", Content: p.server.problem(v.c, f)})
}

func (p *pages) stylesheet(c *fiber.Ctx) error {
	c.Set(fiber.HeaderCacheControl, "public, max-age=3600")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Response().Header.SetContentType("text/css; charset=utf-8")
	c.Response().SetBodyRaw(p.style)
	return nil
}

// formTarget is the source of Content-Security-Policy (level 3, §2.3.1) that lets a form lead to the redirect URI. What cannot be
// written as a host there is named by its scheme alone.
func formTarget(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme == "" {
		return ""
	}
	more := strings.Trim(strings.ToLower(u.Host), "abcdefghijklmnopqrstuvwxyz0123456789.-:")
	if (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && more == "" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}
