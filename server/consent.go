package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"

	"mandate/tokens"
)

const consentForm = "consent"

// consentView is what the consent page says: who wants what, for which organization and for how long.
type consentView struct {
	Continue  string
	Action    string // path of the form
	Client    string
	Third     bool   // of another company
	Site      string // where the answer goes
	User      string
	Audience  string
	UserCode  string // on the screen of the device that asks
	Offers    []offered
	Scopes    []scopeLine // when they are the same for all organizations
	OnlyOrg   bool        // nobody has to agree to anything, only to choose
	Lifetime  string
	Offline   bool
	AccountAt string
}

type offered struct {
	Org, Name string
	Scopes    []scopeLine // when those of the organizations differ
}

// scopeLine is a scope in words, or, one of an API, by its name.
type scopeLine struct{ Words, Name string }

func scopeLines(scopes []string) []scopeLine {
	words := map[string]string{
		"openid":         "Know that it is you who signs in",
		"profile":        "See your name and username",
		"email":          "See your email address",
		"offline_access": "Keep this access while you are away",
		"phone":          "See your phone number",
		"address":        "See your postal address",
		"decide":         "Ask for decisions about what people and applications may do",
		"manage":         "Manage organizations, members, roles and applications",
	}
	var lines []scopeLine
	for _, s := range scopes {
		lines = append(lines, scopeLine{words[s], s})
	}
	return lines
}

// consent goes on with a visit after the login that it needed.
func (p *pages) consent(v *visitor) error {
	state, err := p.open(v, consentForm, string(v.c.Request().URI().QueryArgs().Peek("continue")))
	if err != nil {
		return err
	}
	return p.proceed(v, state)
}

// showConsent asks the person. The form is good for the offers that it shows only.
func (p *pages) showConsent(v *visitor, state visit, a *tokens.Authorization, offers []tokens.Offer, onlyOrg bool, problem string) error {
	content, err := p.view(v, a, offers)
	if err != nil {
		return err
	}
	state.Form, v.target = consentForm, state.Target
	content.Action, content.OnlyOrg, content.Site = "/consent", onlyOrg, siteOf(a.RedirectURI)
	title := content.Client + " asks for access"
	if onlyOrg {
		title = "Choose an organization"
	}
	return p.showAsking(v, state, offers, content, page{Title: title, Problem: problem})
}

func (p *pages) showAsking(v *visitor, state visit, offers []tokens.Offer, content consentView, of page) error {
	var err error
	if state.Shown, err = digest(offers); err != nil {
		return err
	}
	state.Session = p.sessionHash(v)
	if content.Continue, err = p.seal(v, state); err != nil {
		return err
	}
	of.Content = content
	return p.show(v, http.StatusOK, "consent", of)
}

// view puts what is asked into words.
func (p *pages) view(v *visitor, a *tokens.Authorization, offers []tokens.Offer) (consentView, error) {
	user, _, err := p.tenant.ID.User(v.user.Subject).Find(v.ctx, v.reading)
	if err != nil {
		return consentView{}, err
	}
	content := consentView{Client: plainName(a.Record.Name, a.Client), Third: a.Record.Party != "first", User: plainName(user.Username, v.user.Subject),
		Audience: a.Audience(), AccountAt: accountPath}
	if a.Audience() == p.tenant.Issuer {
		content.Audience = p.public.Host
	}
	same := !slices.ContainsFunc(offers, func(o tokens.Offer) bool { return !slices.Equal(o.Scopes, offers[0].Scopes) })
	if same {
		content.Scopes = scopeLines(offers[0].Scopes)
	}
	longest := int64(0)
	for _, o := range offers {
		name, err := p.orgName(v, o.Org)
		if err != nil {
			return consentView{}, err
		}
		shown := offered{Org: o.Org, Name: name}
		if !same {
			shown.Scopes = scopeLines(o.Scopes)
		}
		content.Offers = append(content.Offers, shown)
		longest, content.Offline = max(longest, o.Lifetime), content.Offline || o.Offline
	}
	content.Lifetime = inWords(time.Duration(longest) * time.Second)
	return content, nil
}

func (p *pages) orgName(v *visitor, org string) (string, error) {
	if org == "" {
		return "", nil
	}
	record, _, err := p.tenant.ID.Org(org).Find(v.ctx, v.reading)
	return plainName(record.Name, org), err
}

// decideConsent takes what the person has answered.
func (p *pages) decideConsent(v *visitor) error {
	fields, state, err := p.form(v, consentForm)
	if err != nil {
		return err
	}
	a, err := p.read(v, &state)
	if err != nil {
		return err
	}
	if fields.get("decision") == "deny" {
		to, err := p.tenant.Tokens.Deny(v.ctx, a)
		if err != nil {
			return err
		}
		return p.redirect(v, to)
	}
	if p.mustSignIn(v, state, a) {
		return p.showLogin(v, http.StatusOK, state, signingIn{Username: a.LoginHint}, "")
	}
	offers, err := p.tenant.Tokens.Offers(v.ctx, v.reading, v.policies, a, v.user)
	if err != nil {
		return err
	}
	org, problem, err := chosen(fields, state, offers)
	if err != nil {
		return err
	}
	if problem != "" {
		return p.showConsent(v, state, a, offers, false, problem)
	}
	return p.grant(v, a, org)
}

// chosen is the organization that the person agreed to. Where the page no longer shows what could be had, nobody has agreed.
func chosen(fields parameters, state visit, offers []tokens.Offer) (org, problem string, err error) {
	now, err := digest(offers)
	if err != nil {
		return "", "", err
	}
	if now != state.Shown {
		return "", "What the application can have has changed since this page was shown. Look at it again.", nil
	}
	if fields.get("decision") != "allow" {
		return "", "Choose one of the two buttons.", nil
	}
	org = fields.get("org")
	if !slices.ContainsFunc(offers, func(o tokens.Offer) bool { return o.Org == org }) {
		return "", "Choose an organization.", nil
	}
	return org, "", nil
}

// digest stands for the offers that a page shows.
func digest(offers []tokens.Offer) (string, error) {
	text, err := json.Marshal(offers, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("encode offers: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// siteOf says where the browser is sent, as a person knows it.
func siteOf(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil:
		return ""
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return "a program on your device (" + u.Host + ")"
	case u.Scheme != "https" && u.Scheme != "http" && u.Host == "":
		return "an app on your device (" + u.Scheme + ")"
	}
	return u.Host
}

// plainName is a name that somebody has chosen, without characters that are not seen or that turn the text around them, and
// not so long that it hides what comes after it.
func plainName(name, id string) string {
	const longest = 80
	plain := []rune(strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, cmp.Or(name, id))))
	if len(plain) > longest {
		return string(plain[:longest]) + "…"
	}
	return string(plain)
}

func inWords(d time.Duration) string {
	unit, n := "second", int64(d/time.Second)
	switch {
	case d >= 2*time.Hour:
		unit, n = "hour", int64(d.Round(time.Hour)/time.Hour)
	case d >= time.Minute:
		unit, n = "minute", int64(d.Round(time.Minute)/time.Minute)
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
