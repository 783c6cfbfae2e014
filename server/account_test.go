package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What a user takes back is good for nothing from the next request on: its access tokens and its refresh tokens.
func TestRevokingConsent(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "carol@acme.example", h.secret("user carol"))
	tokens := map[string]map[string]any{}
	for _, org := range []string{"acme", "globex"} {
		code := b.get(asksFor("planner").path()).press("Allow", "org", org).answered(t)
		tokens[org] = s.redeem(t, "planner", code).object(t)
	}
	verdict := func(org string) string {
		token, _ := tokens[org]["access_token"].(string)
		return s.ask(t, h.key("gateway"), evaluationPath, `{"subject":`+presented(t, bearer(token))+
			`,"action":{"name":"documents:read"},"resource":{"type":"document","id":"report","properties":{"org":"`+org+`"}}}`).verdict()
	}
	for org := range tokens {
		if got := verdict(org); got != "allow" {
			t.Errorf("before: %s in %s", got, org)
		}
	}
	account := b.get("/account")
	for _, want := range []string{"acme", "globex", "documents:read", "Since 20"} {
		if !strings.Contains(account.root.text, want) {
			t.Errorf("the account page does not say %q:\n%s", want, account.root.text)
		}
	}
	after := account.press("Take back", "org", "globex")
	if strings.Contains(after.root.text, "globex") || !strings.Contains(after.root.text, "acme") {
		t.Errorf("the account page says after it:\n%s", after.root.text)
	}
	if got := verdict("globex"); got != "deny" {
		t.Errorf("the token of what was taken back: %s", got)
	}
	if got := verdict("acme"); got != "allow" {
		t.Errorf("the token of another organization: %s", got)
	}
	refresh, _ := tokens["globex"]["refresh_token"].(string)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	if a := s.token(t, h.client("planner"), form.Encode()); refresh == "" || a.status != http.StatusBadRequest || a.object(t)["error"] != "invalid_grant" {
		t.Errorf("the refresh token of what was taken back: %v", a)
	}
	code := b.get(asksFor("planner").with("org", "globex").path()).press("Allow").answered(t)
	if a := s.redeem(t, "planner", code); a.status != http.StatusOK || verdict("globex") != "deny" {
		t.Errorf("a new consent wakes the tokens of the old one: %v", a)
	}
	if last := b.get("/account").press("Take back", "client", "nobody", "org", "").press("Take back").press("Take back"); !strings.Contains(last.root.text, "No application has access") {
		t.Errorf("the account page says in the end:\n%s", last.root.text)
	}
}

func TestSigningOut(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "alice", h.secret("user alice"))
	session := b.cookie("session")
	if shown := b.get("/login"); shown.title() != "Your account" {
		t.Errorf("the login page in a session: %s", shown.title())
	}
	if out := b.get("/logout").press("Sign out"); out.title() != "You are signed out" || b.cookie("session") != "" {
		t.Errorf("%d %s", out.status, out.title())
	}
	public, err := url.Parse(publicURL)
	must(t, err)
	b.http.Jar.SetCookies(public, []*http.Cookie{{Name: "__Host-mandate-session-default", Value: session, Path: "/", Secure: true}})
	if shown := b.get("/account"); shown.title() != "Sign in" {
		t.Errorf("the session is good after signing out: %s", shown.title())
	}
	for _, secret := range []string{session, b.cookie("browser")} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a cookie is in the log")
		}
	}
}
