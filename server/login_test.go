package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore"
	"mandate/directory"
	"mandate/server"
)

// A form is taken only from the browser that was shown it, for what it was shown, while it is fresh (RFC 9700 §4.7.1).
func TestForgedForms(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	alice := func() *browser { return s.login(t, "alice", h.secret("user alice")) }
	mine, stranger := alice(), s.login(t, "carol@acme.example", h.secret("user carol"))
	forms := map[string]func(*browser) *screen{
		"Continue": func(*browser) *screen { return s.browser(t).get("/login") },
		"Allow": func(b *browser) *screen {
			return b.get(asksFor("planner").with("org", "acme", "prompt", "consent").path())
		},
		"Sign out": func(b *browser) *screen { return b.get("/account") },
	}
	for button, open := range forms {
		shown := open(mine)
		action, fields := shown.form(button)
		_, foreign := open(stranger).form(button)
		_, other := mine.get("/device").form("Continue")
		session := mine.cookie("session")
		for name, forged := range map[string]struct {
			token string
			lines []string
		}{
			"SB-21: no token":                     {"", nil},
			"SB-21: no token that was ever made":  {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", nil},
			"SB-21: not base64url":                {"$$$", nil},
			"SB-21: the token of another browser": {foreign.Get("continue"), nil},
			"SB-21: the token of another form":    {other.Get("continue"), nil},
			"SB-21: changed":                      {fields.Get("continue")[1:], nil},
			"another site, by Origin":             {fields.Get("continue"), []string{"Origin: https://evil.example"}},
			"another site, by Sec-Fetch-Site":     {fields.Get("continue"), []string{"Sec-Fetch-Site: cross-site"}},
			"a subdomain, by Sec-Fetch-Site":      {fields.Get("continue"), []string{"Sec-Fetch-Site: same-site"}},
		} {
			fields := url.Values{"continue": {forged.token}, "username": {"alice"}, "password": {h.secret("user alice")}, "decision": {"allow"}, "org": {"acme"}}
			got := shown.b.visit("POST", action, fields.Encode(), forged.lines...)
			if got.status != http.StatusForbidden || got.left != nil || shown.b.cookie("session") != session && shown.b == mine {
				t.Errorf("%s with %s: %d, sent to %v", button, name, got.status, got.left)
			}
		}
	}
	consent := mine.get(asksFor("planner").path())
	s.clock.advance(29 * time.Minute)
	if shown := consent.press("Deny"); shown.left == nil {
		t.Errorf("a page of 29 minutes: %d %s", shown.status, shown.problem())
	}
	s.clock.advance(2 * time.Minute)
	if shown := consent.press("Deny"); shown.status != http.StatusForbidden {
		t.Errorf("a page of 31 minutes: %d", shown.status)
	}
}

// A page that was shown in one session is not answered in another one.
func TestFormsBelongToTheirSession(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "alice", h.secret("user alice"))
	consent := b.get(asksFor("planner").path())
	device := b.get("/device")
	again := b.get(asksFor("planner").with("prompt", "login").path()).signIn("alice", h.secret("user alice"))
	b.get(asksFor("portal").with("prompt", "login").path()).signIn("carol@acme.example", h.secret("user carol"))
	if shown := b.get(again.hops[0].header.Get("Location")); shown.title() != "Sign in" {
		t.Errorf("OpenID Connect Core §3.1.2.1: somebody else's login is good for prompt=login: %d %s", shown.status, shown.title())
	}
	for name, shown := range map[string]*screen{"consent": consent.press("Allow"), "device": device.press("Continue", "user_code", "BCDFGHJK")} {
		if shown.status != http.StatusForbidden || shown.left != nil {
			t.Errorf("%s: %d, sent to %v", name, shown.status, shown.left)
		}
	}
	b.get("/account").press("Sign out")
	if shown := consent.press("Deny"); shown.status != http.StatusForbidden {
		t.Errorf("after signing out: %d", shown.status)
	}
}

func TestNothingChangesByGet(t *testing.T) {
	s := start(t)
	b := s.login(t, "alice", holdersOf(t, "default").secret("user alice"))
	b.get(asksFor("planner").path()).press("Allow")
	for _, button := range []string{"Sign out", "Take back"} {
		action, fields := b.get("/account").form(button)
		b.get(action + "?" + fields.Encode())
	}
	if shown := b.get("/account"); !strings.Contains(shown.body, "Take back") {
		t.Errorf("a GET has changed something: %s", shown.body)
	}
}

// The secret of a session is new at every login, so nobody can have planted it (session fixation).
func TestSessionIsNewAtLogin(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	public, err := url.Parse(publicURL)
	must(t, err)
	b := s.browser(t)
	const planted = "mdt_ss_x_planted"
	b.http.Jar.SetCookies(public, []*http.Cookie{{Name: "__Host-mandate-session-default", Value: planted, Path: "/", Secure: true}})
	b.get("/login").signIn("alice", h.secret("user alice"))
	first := b.cookie("session")
	b.get(asksFor("portal").with("prompt", "login").path()).signIn("alice", h.secret("user alice"))
	second := b.cookie("session")
	if first == planted || first == "" || second == first || second == "" {
		t.Fatalf("the session stays the same at login: %v, %v", first == planted, second == first)
	}
	b.http.Jar.SetCookies(public, []*http.Cookie{{Name: "__Host-mandate-session-default", Value: first, Path: "/", Secure: true}})
	if shown := b.get("/account"); shown.title() != "Sign in" {
		t.Errorf("the session before the second login is still good: %s", shown.title())
	}
}

func TestCookies(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	login := s.browser(t).get("/login").press("Continue", "username", "alice")
	action, fields := login.form("Sign in")
	fields.Set("password", h.secret("user alice"))
	set := login.b.do("POST", publicURL+action, fields.Encode()).header.Values("Set-Cookie")
	set = append(set, s.send(t, "GET", "/login", "").header.Values("Set-Cookie")...)
	if len(set) != 2 {
		t.Fatalf("%d cookies, want the session's and the browser's", len(set))
	}
	for _, cookie := range set {
		name, attributes, _ := strings.Cut(strings.ToLower(cookie), ";")
		for _, want := range []string{"secure", "httponly", "samesite=lax", "path=/"} {
			if !slices.Contains(strings.Split(strings.ReplaceAll(attributes, " ", ""), ";"), want) {
				t.Errorf("the cookie %.30s has no %s: %s", name, want, attributes)
			}
		}
		if !strings.HasPrefix(name, "__host-mandate-") || strings.Contains(attributes, "domain") {
			t.Errorf("other hosts can set the cookie %.30s", name)
		}
	}
}

// Without https, as in development, no browser would keep a cookie that is for https only.
func TestCookiesWithoutTLS(t *testing.T) {
	s := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			o.Tenants[i].Issuer = strings.Replace(o.Tenants[i].Issuer, "https://", "http://", 1)
		}
	})
	cookie := s.send(t, "GET", "/login", "").header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "mandate-browser-default=") || strings.Contains(strings.ToLower(cookie), "secure") {
		t.Errorf("%.40s", cookie)
	}
}

// What a failed login says does not tell who exists, and never has the password in it.
func TestFailedLogin(t *testing.T) {
	s := start(t)
	var problems []string
	for _, username := range []string{"alice", "nobody", "erin", strings.Repeat("x", 5000)} {
		shown := s.browser(t).get(asksFor("planner").path()).signIn(username, "a-wrong-password-1f2e")
		if shown.status != http.StatusForbidden || strings.Contains(shown.body, "a-wrong-password-1f2e") || shown.b.cookie("session") != "" {
			t.Errorf("%.20s: %d", username, shown.status)
		}
		problems = append(problems, shown.problem())
	}
	if slices.Sort(problems); problems[0] == "" || problems[0] != problems[len(problems)-1] {
		t.Errorf("the answers tell who exists: %q", problems)
	}
	shown := s.browser(t).get("/login").press("Continue", "username", "alice").press("Sign in", "password", "")
	if shown.status != http.StatusForbidden {
		t.Errorf("an empty password: %d", shown.status)
	}
	if walt := s.browser(t).get("/login").signIn("walt", holdersOf(t, "default").secret("user walt")); walt.status != http.StatusForbidden || walt.b.cookie("session") != "" {
		t.Errorf("a disabled user: %d", walt.status)
	}
	if strings.Contains(s.log.String(), "a-wrong-password-1f2e") {
		t.Error("a password is in the log")
	}
}

// Guesses are slowed down: per user and per address.
func TestLoginIsThrottled(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	login := s.browser(t).get("/login").press("Continue", "username", "alice")
	var shown *screen
	for range 200 {
		if shown = login.press("Sign in", "password", "wrong"); shown.status != http.StatusForbidden {
			break
		}
	}
	if shown.status != http.StatusTooManyRequests || shown.header.Get("Retry-After") == "" || shown.problem() == "" {
		t.Fatalf("200 wrong passwords: %d, Retry-After %q", shown.status, shown.header.Get("Retry-After"))
	}
	for _, line := range []string{"X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9"} {
		action, fields := shown.form("Sign in")
		fields.Set("password", h.secret("user alice"))
		if forged := shown.b.visit("POST", action, fields.Encode(), line); forged.status != http.StatusTooManyRequests {
			t.Errorf("%s is believed: %d", line, forged.status)
		}
	}
	s.clock.advance(time.Hour)
	again := s.browser(t).get("/login").signIn("alice", h.secret("user alice"))
	if again.title() != "Your account" {
		t.Errorf("after an hour: %d %s", again.status, again.problem())
	}
}

// Trying one password for many names is slowed down by address, wherever a password can come in.
func TestSprayingIsThrottled(t *testing.T) {
	const guesser, spoofing, other = "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 192.0.2.1, 198.51.100.7", "X-Forwarded-For: 203.0.113.9"
	spray := func(s *running) answer {
		var last answer
		for i := range 60 {
			if last = s.send(t, "POST", "/auth", "", append(basic(fmt.Sprintf("person-%d", i), "Summer2026!"), guesser)...); last.status != http.StatusUnauthorized {
				break
			}
		}
		return last
	}
	s := start(t, func(o *server.Options) {
		o.Proxied, o.TrustedProxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	if last := spray(s); last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Fatalf("60 guesses at /auth: %v", last)
	}
	h := holdersOf(t, "default")
	login := func(from string) int {
		b := s.browser(t)
		action, fields := b.get("/login").press("Continue", "username", "alice").form("Sign in")
		fields.Set("password", h.secret("user alice"))
		return b.visit("POST", action, fields.Encode(), from).status
	}
	at := func(path, body, mediaType, from string) int {
		return s.send(t, "POST", path, body, append(h.user("alice", "alice"), from, mediaType)...).status
	}
	const documents = "audience=https%3A%2F%2Fdocuments.example"
	for _, row := range []struct {
		name      string
		got, want int
	}{
		{"/auth, with another address before it", at("/auth", documents, formType, spoofing), http.StatusTooManyRequests},
		{"a decision", at(evaluationPath, good, jsonType, guesser), http.StatusTooManyRequests},
		{"the login page", login(guesser), http.StatusTooManyRequests},
		{"/auth, from elsewhere", at("/auth", documents, formType, other), http.StatusOK},
		{"the login page, from elsewhere", login(other), http.StatusOK},
	} {
		if row.got != row.want {
			t.Errorf("%s: %d, want %d", row.name, row.got, row.want)
		}
	}
	direct := start(t)
	if last := spray(direct); last.status != http.StatusTooManyRequests {
		t.Errorf("without a proxy: %v", last)
	}
	unknown := start(t, func(o *server.Options) { o.Proxied = true })
	if last := spray(unknown); last.status != http.StatusUnauthorized {
		t.Errorf("all callers of a proxy that is not trusted are taken for one: %v", last)
	}
}

// A tenant's session is nothing at another one.
func TestSessionsBelongToTheirTenant(t *testing.T) {
	s := start(t)
	b := s.login(t, "alice", holdersOf(t, "default").secret("user alice"))
	if shown := b.get("/t/staging/account"); shown.title() != "Sign in" {
		t.Errorf("signed in at another tenant: %s", shown.title())
	}
	public, err := url.Parse(publicURL)
	must(t, err)
	b.http.Jar.SetCookies(public, []*http.Cookie{
		{Name: "__Host-mandate-session-staging", Value: b.cookie("session"), Path: "/", Secure: true},
		{Name: "__Host-mandate-browser-staging", Value: b.cookie("browser"), Path: "/", Secure: true}})
	staging := b.get("/t/staging/account")
	if staging.title() != "Sign in" {
		t.Errorf("the session of another tenant is taken: %s", staging.title())
	}
	other := s.browser(t)
	_, fields := other.get("/login").form("Continue")
	other.http.Jar.SetCookies(public, []*http.Cookie{{Name: "__Host-mandate-browser-staging", Value: other.cookie("browser"), Path: "/", Secure: true}})
	fields.Set("username", "alice")
	if shown := other.visit("POST", "/t/staging/login", fields.Encode()); shown.status != http.StatusForbidden {
		t.Errorf("the form of another tenant is taken: %d", shown.status)
	}
}

// identityProvider is the OpenID provider of an organization. It signs everybody in as one person.
type identityProvider struct {
	*httptest.Server
	nonce string // of the sign-in in progress
}

func newIdentityProvider(t *testing.T) *identityProvider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := jwk.Import(key.Public())
	must(t, err)
	must(t, public.Set(jwk.KeyIDKey, "k1"))
	p := &identityProvider{}
	mux := http.NewServeMux()
	answer := func(path string, document func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token"}
	})
	answer("/keys", func() any { return map[string]any{"keys": []any{public}} })
	answer("/token", func() any {
		now := time.Now().Unix()
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": p.URL, "sub": "person-1", "aud": "mandate", "iat": now, "exp": now + 300,
			"nonce": p.nonce, "groups": []string{"staff"}})
		token.Header["kid"] = "k1"
		signed, err := token.SignedString(key)
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		return map[string]any{"access_token": "not-used", "token_type": "Bearer", "expires_in": 300, "id_token": signed}
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// connect makes it the provider of globex, whose domain is globex.example.
func (p *identityProvider) connect(t *testing.T, s *running) {
	t.Helper()
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		tenant := directory.Tenant("default")
		return firstOf(
			tenant.Connection("globex", "sso").Put(ctx, tx, directory.Connection{Issuer: p.URL, Status: directory.Active, ClientID: "mandate",
				Audiences: []string{"https://documents.example"}, Algorithm: "ES256", RoleClaim: "groups", RoleMapping: map[string]string{"staff": "editor"}}),
			tenant.VerifiedDomain("globex.example").Put(ctx, tx, directory.Alias{ID: "globex"}))
	})
}

// leave enters an address of the domain, and is where the browser is sent then.
func (p *identityProvider) leave(t *testing.T, login *screen) *url.URL {
	t.Helper()
	away := login.press("Continue", "username", "hanna@globex.example")
	if away.status != http.StatusOK || len(away.root.all("a")) != 1 {
		t.Fatalf("no way to the provider: %d %s", away.status, away.body)
	}
	href := away.root.all("a")[0].attr["href"]
	if !strings.Contains(away.body, `content="0; url=`) || !strings.HasPrefix(href, p.URL+"/authorize?") {
		t.Fatalf("the browser does not go to the provider by itself: %s", away.body)
	}
	to, err := url.Parse(href)
	must(t, err)
	if got := to.Query().Get("redirect_uri"); got != publicURL+"/login/callback" {
		t.Errorf("redirect_uri %s", got)
	}
	p.nonce = to.Query().Get("nonce")
	return to
}

func callback(state string) string {
	return "/login/callback?" + url.Values{"code": {"code-of-the-provider"}, "state": {state}}.Encode()
}

// Who has an address of an organization's domain signs in at its provider, and comes back to the authorization.
func TestSigningInAtAProvider(t *testing.T) {
	s := start(t)
	p := newIdentityProvider(t)
	p.connect(t, s)
	b := s.browser(t)
	to := p.leave(t, b.get(asksFor("planner").path()))
	state := to.Query().Get("state")
	if other := s.browser(t).get(callback(state)); other.status != http.StatusForbidden {
		t.Errorf("RFC 6749 §10.12: the answer in another browser: %d", other.status)
	}
	consent := b.get(callback(state))
	if !strings.Contains(consent.title(), "asks for access") || !strings.Contains(consent.root.text, "globex") {
		t.Fatalf("%d %s", consent.status, consent.body)
	}
	if again := b.get(callback(state)); again.status != http.StatusForbidden {
		t.Errorf("the answer a second time: %d", again.status)
	}
	a := s.redeem(t, "planner", consent.press("Allow").answered(t))
	if token, ok := issued(a); !ok || claimsOf(t, token)["org"] != "globex" {
		t.Errorf("no token for the organization of the provider: %v", a)
	}
	for name, row := range map[string]struct {
		query  string
		status int
	}{
		"RFC 6749 §10.12: another state": {callback("another"), http.StatusUnauthorized},
		"RFC 6749 §4.1.2.1: a refusal":   {"/login/callback?error=access_denied&state=", http.StatusUnauthorized},
		"not form-encoded":               {"/login/callback?code=%zz", http.StatusBadRequest},
	} {
		b := s.browser(t)
		p.leave(t, b.get("/login"))
		if shown := b.get(row.query); shown.status != row.status || shown.problem() == "" || b.cookie("session") != "" {
			t.Errorf("%s: %d", name, shown.status)
		}
	}
	long := s.browser(t).get(asksFor("planner").with("state", strings.Repeat("x", 4000)).path())
	if shown := long.press("Continue", "username", "hanna@globex.example"); shown.status != http.StatusBadRequest || !strings.Contains(shown.problem(), "push") {
		t.Errorf("a request that no cookie can keep: %d %s", shown.status, shown.problem())
	}
	for _, secret := range []string{state, p.nonce, "code-of-the-provider"} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a secret of the sign-in is in the log")
		}
	}
}

// What an application asks of the login, the provider of the organization is asked for (OpenID Connect Core §3.1.2.1).
func TestFreshLoginAtAProvider(t *testing.T) {
	s := start(t)
	p := newIdentityProvider(t)
	p.connect(t, s)
	for _, row := range []struct {
		name, path, prompt, maxAge string
	}{
		{"any login will do", asksFor("planner").path(), "", ""},
		{"prompt=login", asksFor("planner").with("prompt", "login").path(), "login", "0"},
		{"prompt=select_account", asksFor("planner").with("prompt", "select_account").path(), "login", "0"},
		{"max_age", asksFor("planner").with("max_age", "60").path(), "login", "0"},
		{"no application", "/login", "", ""},
	} {
		to := p.leave(t, s.browser(t).get(row.path)).Query()
		if to.Get("prompt") != row.prompt || to.Get("max_age") != row.maxAge {
			t.Errorf("%s: the provider is asked for prompt=%q and max_age=%q", row.name, to.Get("prompt"), to.Get("max_age"))
		}
	}
}
