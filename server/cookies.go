package server

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
)

// The cookies of a tenant.
const (
	sessionCookie  = "session"  // the secret of a login session
	browserCookie  = "browser"  // a random id, for which the forms of its pages are sealed
	providerCookie = "provider" // a sign-in at an external provider that has begun
)

const (
	visitLifetime    = 30 * time.Minute
	maxPageForm      = 32 << 10
	maxCookie        = 4000 // what every browser keeps (RFC 6265 §6.1)
	providerLifetime = 10 * time.Minute
)

// cookieName has the prefix that keeps other hosts of the domain from setting it, where that works: with https.
func (p *pages) cookieName(kind string) string {
	name := "mandate-" + kind + "-" + string(p.tenant.ID)
	if p.secure {
		return "__Host-" + name
	}
	return name
}

func (p *pages) cookie(c *fiber.Ctx, kind string) string {
	return string(c.Request().Header.Cookie(p.cookieName(kind)))
}

// setCookie keeps the value until the browser is closed, or for the lifetime given. An empty value removes it.
func (p *pages) setCookie(c *fiber.Ctx, kind, value string, lifetime time.Duration) {
	cookie := &fiber.Cookie{Name: p.cookieName(kind), Value: value, Path: "/", Secure: p.secure, HTTPOnly: true,
		SameSite: fiber.CookieSameSiteLaxMode, MaxAge: int(lifetime.Seconds()), SessionOnly: lifetime == 0}
	if value == "" {
		cookie.Expires, cookie.SessionOnly = time.Unix(1, 0), false
	}
	c.Cookie(cookie)
}

// browserID is the id of the browser, a new one when it has none.
func (p *pages) browserID(c *fiber.Ctx) string {
	id := p.cookie(c, browserCookie)
	if len(id) != len(rand.Text()) {
		id = rand.Text()
		p.setCookie(c, browserCookie, id, 0)
	}
	return id
}

// visit is what a form or a link of a page carries from one request to the next, sealed for one browser: nothing of it is kept
// here, and nobody else can have made it.
type visit struct {
	Form    string    `json:"form"`              // the only one that takes it
	Started time.Time `json:"started"`           // of all that belongs together
	Session string    `json:"session,omitempty"` // in which the form was shown, by its hash
	// Request is the query of the authorization request that is answered in the end, and Target where forms may then lead.
	Request string `json:"request,omitempty"`
	Target  string `json:"target,omitempty"`
	// Next is the page after a login that no authorization request wants.
	Next     string `json:"next,omitempty"`
	UserCode string `json:"user_code,omitempty"`
	// Shown stands for the offers among which the person chooses.
	Shown string `json:"shown,omitempty"`
}

// sealedFor names what a visit is sealed for.
func (p *pages) sealedFor(browser string) string {
	return "page of " + string(p.tenant.ID) + " for " + browser
}

func (p *pages) seal(v *visitor, state any) (string, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return "", fmt.Errorf("encode the state of a page: %w", err)
	}
	sealed, err := p.tenant.Master.Seal(text, p.sealedFor(v.browser))
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

func pageExpired() error {
	return &requestError{http.StatusForbidden, "page_expired",
		"This page is too old, or your browser keeps no cookies. Go back to where you came from and begin again."}
}

// unseal is the inverse of seal. It refuses what was made for another browser.
func (p *pages) unseal(v *visitor, sealed string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return pageExpired()
	}
	text, err := p.tenant.Master.Open(raw, p.sealedFor(v.browser))
	if err != nil {
		return pageExpired()
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read the state of a page: %w", err)
	}
	return nil
}

// open opens the state of a form, and refuses that of another one and what began too long ago.
func (p *pages) open(v *visitor, form, sealed string) (visit, error) {
	var state visit
	if err := p.unseal(v, sealed, &state); err != nil {
		return state, err
	}
	return state, p.current(state, form)
}

func (p *pages) current(state visit, form string) error {
	if age := p.tenant.Now().Sub(state.Started); state.Form != form || age < 0 || age > visitLifetime {
		return pageExpired()
	}
	return nil
}

// form reads what a page of this server has sent. Of a page that was shown in a session, only that session may send it.
func (p *pages) form(v *visitor, name string) (fields parameters, state visit, err error) {
	if err := p.sameSite(v.c); err != nil {
		return fields, state, err
	}
	if len(v.c.Request().Body()) > maxPageForm {
		return fields, state, &requestError{http.StatusRequestEntityTooLarge, "body_too_large", "the form is larger than this server accepts"}
	}
	if fields, err = readForm(v.c); err != nil {
		return fields, state, err
	}
	if state, err = p.open(v, name, fields.get("continue")); err != nil {
		return fields, state, err
	}
	if !slices.Contains([]string{loginForm, resetForm, newPassword, newAccount}, name) && (v.user == nil || state.Session != p.sessionHash(v)) {
		return fields, state, &requestError{http.StatusForbidden, "session_changed",
			"You have signed in or out since this page was shown. Go back to where you came from and begin again."}
	}
	return fields, state, nil
}

// sameSite refuses a form that the browser says comes from a page of somebody else. Browsers that say nothing are held by
// what is sealed alone; so is the origin null, which the Referrer-Policy of the pages makes of their own.
func (p *pages) sameSite(c *fiber.Ctx) error {
	foreign := &requestError{http.StatusForbidden, "foreign_form", "This form was sent by a page of another site."}
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return nil
	case "":
		if origin := c.Get(fiber.HeaderOrigin); origin != "" && origin != "null" && origin != p.origin {
			return foreign
		}
		return nil
	}
	return foreign
}
