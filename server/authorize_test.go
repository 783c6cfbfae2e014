package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// pageVerifier is the PKCE pageVerifier of these tests (RFC 7636, appendix B).
const pageVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// request is an authorization request.
type request url.Values

// asksFor is a good request of the client.
func asksFor(client string) request {
	sum := sha256.Sum256([]byte(pageVerifier))
	return request{"client_id": {client}, "redirect_uri": {redirectURIs()[client]}, "response_type": {"code"}, "scope": {"documents:read"},
		"state": {"state-of-" + client}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
}

func redirectURIs() map[string]string {
	return map[string]string{"portal": "https://portal.example/callback", "planner": "https://planner.example/callback?from=mandate", "cli": "http://127.0.0.1/callback"}
}

// with has other parameters: name and value in turn, "" to leave it out.
func (q request) with(changes ...string) request {
	changed := maps.Clone(q)
	for at := 0; at < len(changes); at += 2 {
		if delete(changed, changes[at]); changes[at+1] != "" {
			changed[changes[at]] = []string{changes[at+1]}
		}
	}
	return changed
}

func (q request) encode() string { return url.Values(q).Encode() }
func (q request) path() string   { return "/authorize?" + q.encode() }

// answered is what the client got: a code, or "error " and its code.
func (p *screen) answered(t testing.TB) string {
	t.Helper()
	if p.left == nil {
		t.Fatalf("the browser was not sent to the client: %d %s", p.status, p.body)
	}
	answer := p.left.Query()
	if answer.Get("iss") != publicURL {
		t.Errorf("RFC 9207 §2: iss is %q", answer.Get("iss"))
	}
	if answer.Get("code") != "" {
		return answer.Get("code")
	}
	return "error " + answer.Get("error")
}

// redeem gets tokens for the code, of the client with its secret or without one.
func (s *running) redeem(t testing.TB, client, code string) answer {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {pageVerifier}, "redirect_uri": {redirectURIs()[client]}}
	return s.token(t, holdersOf(t, "default").client(client), form.Encode())
}

// deviceCode is the user code of a device authorization of the cli.
func (s *running) deviceCode(t testing.TB) string {
	t.Helper()
	a := s.send(t, "POST", "/oauth2/device_authorization", "client_id=cli&scope=documents%3Aread", "Content-Type: application/x-www-form-urlencoded")
	code, _ := a.object(t)["user_code"].(string)
	if code == "" {
		t.Fatalf("no user code: %v", a)
	}
	return code
}

// Where the client or the redirect URI is not good, the person is told and nobody is sent anywhere.
func TestAuthorizationIsRefusedByAPage(t *testing.T) {
	s := start(t)
	carol := s.login(t, "carol@acme.example", holdersOf(t, "default").secret("user carol"))
	for _, row := range []struct {
		section, name string
		query         string
	}{
		{"RFC 6749 §4.1.2.1 (OA-14)", "nothing", ""},
		{"RFC 6749 §4.1.2.1 (OA-14)", "no client_id", asksFor("planner").with("client_id", "").encode()},
		{"RFC 6749 §4.1.2.1 (OA-14)", "unknown client_id", asksFor("planner").with("client_id", "nobody").encode()},
		{"RFC 6749 §4.1.2.1 (OA-14)", "disabled client", asksFor("planner").with("client_id", "disabled-client").encode()},
		{"RFC 6749 §3.1 (OA-14)", "client_id sent twice", asksFor("planner").encode() + "&client_id=portal"},
		{"RFC 6749 §3.1 (OA-14)", "redirect_uri sent twice", asksFor("planner").encode() + "&redirect_uri=https%3A%2F%2Fportal.example%2Fcallback"},
		{"RFC 6749 §3.1.2.3 (OA-14)", "no redirect_uri, of two", asksFor("planner").with("redirect_uri", "").encode()},
		{"RFC 6749 §3.1.2.3 (OA-14)", "of another client", redirectTo("https://portal.example/callback")},
		{"RFC 9700 §2.1 (SB-01)", "another host", redirectTo("https://evil.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "without the query", redirectTo("https://planner.example/callback")},
		{"RFC 9700 §2.1 (SB-01)", "with more query", redirectTo("https://planner.example/callback?from=mandate&x=1")},
		{"RFC 9700 §2.1 (SB-01)", "a slash", redirectTo("https://planner.example/callback/?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "another case", redirectTo("https://planner.example/Callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "another case of the host", redirectTo("https://PLANNER.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "userinfo", redirectTo("https://planner.example@evil.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "a subdomain", redirectTo("https://planner.example.evil.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "dots", redirectTo("https://planner.example/x/../callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "encoded", redirectTo("https://planner.example/%63allback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "a fragment", redirectTo("https://planner.example/callback?from=mandate#x")},
		{"RFC 9700 §2.1 (SB-01)", "http", redirectTo("http://planner.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "a port", redirectTo("https://planner.example:8443/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "without a scheme", redirectTo("//planner.example/callback?from=mandate")},
		{"RFC 9700 §2.1 (SB-01)", "a script", redirectTo("javascript:alert(1)")},
		{"RFC 9700 §2.1 (SB-01)", "a backslash", redirectTo(`https://planner.example\@evil.example/callback?from=mandate`)},
		{"RFC 8252 §7.3 (SB-01)", "a port, not of a native app", asksFor("portal").with("redirect_uri", "https://portal.example:1/callback").encode()},
		{"RFC 8252 §7.3 (SB-01)", "loopback, another path", asksFor("cli").with("redirect_uri", "http://127.0.0.1:4000/other").encode()},
		{"RFC 8252 §8.3 (SB-01)", "localhost is a name", asksFor("cli").with("redirect_uri", "http://localhost:4000/callback").encode()},
		{"RFC 8252 §7.1 (SB-01)", "another scheme", asksFor("cli").with("redirect_uri", "com.example.evil:/callback").encode()},
		{"RFC 6749, appendix B", "not form-encoded", asksFor("planner").encode() + "&x=%zz"},
		{"bounds", "longer than 8 KiB", asksFor("planner").with("x", strings.Repeat("x", 9<<10)).encode()},
	} {
		for _, b := range []*browser{s.browser(t), carol} {
			for _, prompt := range []string{"", "&prompt=none"} {
				shown := b.visit("GET", "/authorize?"+row.query+prompt, "")
				if shown.status != http.StatusBadRequest || shown.title() != "This did not work" || shown.problem() == "" || shown.left != nil {
					t.Errorf("%s, %s%s: %d %s, sent to %v", row.section, row.name, prompt, shown.status, shown.title(), shown.left)
				}
			}
		}
	}
}

func redirectTo(uri string) string {
	return asksFor("planner").with("redirect_uri", uri).encode()
}

func TestAuthorizationIsRefusedByRedirect(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	carol := s.login(t, "carol@acme.example", h.secret("user carol"))
	const twice = "again"
	for _, row := range []struct {
		section, name string
		change        request
		want          string
	}{
		{"RFC 6749 §4.1.2.1 (OA-15)", "no response_type", asksFor("planner").with("response_type", ""), "invalid_request"},
		{"RFC 6749 §4.1.2.1 (OA-15)", "response_type token", asksFor("planner").with("response_type", "token"), "unsupported_response_type"},
		{"RFC 6749 §4.1.2.1 (OA-15)", "response_type code id_token", asksFor("planner").with("response_type", "code id_token"), "unsupported_response_type"},
		{"RFC 6749 §4.1.2.1 (OA-15)", "a scope that is not registered", asksFor("planner").with("scope", "payments:read", "org", "acme"), "invalid_scope"},
		{"RFC 6749 §3.3 (OA-15)", "a scope that is none", asksFor("planner").with("scope", "a  b"), "invalid_scope"},
		{"RFC 6749 §3.1 (OA-15)", "a parameter twice", request{"scope": {"documents:read", twice}}, "invalid_request"},
		{"OIDC Core §3.1.2.1 (OA-15)", "an unknown prompt", asksFor("planner").with("prompt", "please"), "invalid_request"},
		{"OIDC Core §3.1.2.1 (OA-15)", "prompt none and login", asksFor("planner").with("prompt", "none login"), "invalid_request"},
		{"OIDC Core §3.1.2.1 (OA-15)", "max_age is no number", asksFor("planner").with("max_age", "soon"), "invalid_request"},
		{"RFC 7636 §4.4.1 (SB-02)", "no code_challenge", asksFor("planner").with("code_challenge", "", "code_challenge_method", ""), "invalid_request"},
		{"RFC 9700 §2.1.1 (SB-04)", "plain", asksFor("planner").with("code_challenge_method", "plain"), "invalid_request"},
		{"OIDC Core §6.1 (OC-09)", "a request object", asksFor("planner").with("request", "eyJhbGciOiJub25lIn0.e30."), "request_not_supported"},
		{"RFC 8707 §2 (OA-15)", "an unknown resource", asksFor("planner").with("resource", "https://nobody.example"), "invalid_target"},
		{"OIDC Core §3.1.2.6 (OC-02)", "prompt none, consent is needed", asksFor("planner").with("prompt", "none", "org", "acme"), "consent_required"},
		{"OIDC Core §3.1.2.6 (OC-02)", "prompt none, of two organizations", asksFor("portal").with("prompt", "none"), "interaction_required"},
		{"RFC 6749 §4.1.2.1 (OA-15)", "an organization of others", asksFor("planner").with("org", "initech"), "access_denied"},
	} {
		if values := row.change["scope"]; len(values) == 2 {
			row.change = asksFor("planner")
			row.change["scope"] = values
		}
		shown := carol.get(row.change.path())
		if got := shown.answered(t); got != "error "+row.want || shown.left.Query().Get("state") != row.change["state"][0] {
			t.Errorf("%s, %s: %s with the state %q, want %s: %s", row.section, row.name, got, shown.left.Query().Get("state"), row.want,
				shown.left.Query().Get("error_description"))
		}
	}
	shown := s.browser(t).get(asksFor("planner").with("prompt", "none").path())
	if got := shown.answered(t); got != "error login_required" || shown.left.Query().Get("state") != "state-of-planner" {
		t.Errorf("OIDC Core §3.1.2.6 (OC-02): %s, want login_required", got)
	}
}

// A code comes of signing in and agreeing, and is good for tokens; the next time nobody is asked.
func TestAuthorization(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.browser(t)
	login := b.get(asksFor("planner").with("login_hint", "carol@acme.example").path())
	if value := login.root.all("input")[1].attr["value"]; value != "carol@acme.example" {
		t.Errorf("login_hint is filled in as %q", value)
	}
	consent := login.signIn("carol@acme.example", h.secret("user carol"))
	for _, want := range []string{"another company", "planner.example", "https://documents.example", "documents:read", "acme", "globex", "Until you take it back"} {
		if !strings.Contains(consent.root.text, want) {
			t.Errorf("the consent page does not say %q:\n%s", want, consent.root.text)
		}
	}
	sent := consent.press("Allow", "org", "globex")
	if sent.left == nil || sent.left.Host != "planner.example" || sent.left.Query().Get("from") != "mandate" || sent.left.Query().Get("state") != "state-of-planner" {
		t.Fatalf("sent to %v: %d %s", sent.left, sent.status, sent.body)
	}
	a := s.redeem(t, "planner", sent.answered(t))
	token, ok := issued(a)
	if !ok {
		t.Fatalf("no token for the code: %v", a)
	}
	claims := claimsOf(t, token)
	if claims["org"] != "globex" || claims["sub"] != "carol" || claims["scope"] != "documents:read" {
		t.Errorf("the token is for %v", claims)
	}
	if again := b.get(asksFor("planner").with("org", "globex", "prompt", "none").path()).answered(t); strings.HasPrefix(again, "error ") {
		t.Errorf("what was agreed to is asked again: %s", again)
	}
	if other := b.get(asksFor("planner").with("org", "acme", "prompt", "none").path()).answered(t); other != "error consent_required" {
		t.Errorf("consent for one organization is good for another: %s", other)
	}
	if asked := b.get(asksFor("planner").with("org", "globex", "prompt", "consent").path()); !strings.Contains(asked.title(), "asks for access") {
		t.Errorf("OIDC Core §3.1.2.1: prompt=consent does not ask: %d %v", asked.status, asked.left)
	}
}

// The consent page says for how long, as it is: an access token ends by itself, a refresh token when it is taken back.
func TestConsentSaysForHowLong(t *testing.T) {
	s := start(t)
	b := s.login(t, "alice", holdersOf(t, "default").secret("user alice"))
	for _, row := range []struct {
		name  string
		shown *screen
		want  string
	}{
		{"with refresh tokens", b.get(asksFor("planner").with("org", "acme").path()), "Until you take it back at your account, also while you are away."},
		{"without", b.get(asksFor("cli").with("org", "acme").path()), "For 10 minutes, and again each time that it sends you here, until you take it back at your account."},
		{"a device", b.get("/device?user_code=" + s.deviceCode(t)).press("Continue"), "For 10 minutes, until you take it back at your account."},
	} {
		if text := strings.Join(strings.Fields(row.shown.root.text), " "); !strings.Contains(text, row.want) {
			t.Errorf("%s: the page does not say %q:\n%s", row.name, row.want, text)
		}
	}
}

// First-party applications ask for no consent; which organization, only the person can know.
func TestFirstPartyApplications(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	alice := s.browser(t).get(asksFor("portal").path()).signIn("alice", h.secret("user alice"))
	if code := alice.answered(t); strings.HasPrefix(code, "error ") {
		t.Errorf("a member of one organization is not let in: %s", code)
	}
	choice := s.browser(t).get(asksFor("portal").path()).signIn("carol@acme.example", h.secret("user carol"))
	if choice.title() != "Choose an organization" || strings.Contains(choice.body, "Deny") {
		t.Fatalf("a member of two organizations gets %d %s", choice.status, choice.body)
	}
	a := s.redeem(t, "portal", choice.press("Continue", "org", "acme").answered(t))
	if token, ok := issued(a); !ok || claimsOf(t, token)["org"] != "acme" {
		t.Errorf("no token for the organization: %v", a)
	}
	if got := choice.press("Cancel").answered(t); got != "error access_denied" {
		t.Errorf("OIDC Core §3.1.2.4 (OC-11): %s", got)
	}
}

func TestRefusingConsent(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "alice", h.secret("user alice"))
	consent := b.get(asksFor("planner").path())
	if got := consent.press("Deny").answered(t); got != "error access_denied" {
		t.Errorf("OIDC Core §3.1.2.4 (OC-11): %s", got)
	}
	if again := b.get(asksFor("planner").with("prompt", "none").path()).answered(t); again != "error consent_required" {
		t.Errorf("a refusal counts as consent: %s", again)
	}
	for name, fields := range map[string][]string{"no decision": {"decision", ""}, "an organization of others": {"org", "globex"}} {
		if shown := consent.press("Allow", fields...); shown.left != nil || shown.problem() == "" {
			t.Errorf("%s: %d, sent to %v", name, shown.status, shown.left)
		}
	}
}

// Nobody has agreed to what was not on the page.
func TestConsentIsForWhatWasShown(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "alice", h.secret("user alice"))
	all := asksFor("planner").with("scope", "")
	consent := b.get(all.path())
	if strings.Contains(consent.body, "documents:write") {
		t.Fatal("the fixture lets the client write already")
	}
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		place := directory.Tenant("default").Client("planner")
		client, err := place.Get(ctx, tx)
		client.Scopes = append(client.Scopes, "documents:write")
		return firstOf(err, place.Put(ctx, tx, client))
	})
	shown := consent.press("Allow")
	if shown.left != nil || !strings.Contains(shown.problem(), "has changed") || !strings.Contains(shown.body, "documents:write") {
		t.Fatalf("%d, sent to %v", shown.status, shown.left)
	}
	if got := shown.press("Allow").answered(t); strings.HasPrefix(got, "error ") {
		t.Errorf("what is on the page now cannot be agreed to: %s", got)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// RFC 6749 §4.1.2 (OA-16): the state comes back byte for byte.
func TestStateComesBack(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.browser(t)
	consent := b.get(asksFor("planner").path()).signIn("carol@acme.example", h.secret("user carol"))
	consent.press("Allow", "org", "acme")
	special := ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`\t"
	for name, state := range map[string]string{
		"2000 characters": strings.Repeat("0123456789", 200), "2000 special characters": strings.Repeat(special, 2000/len(special)+1)[:2000],
		"not ASCII": strings.Repeat("ä€😀", 100), "an URL": "https://planner.example/?a=b&c=d#e", "percent": "%41%2541%", "plus": "a+b c",
	} {
		asked := asksFor("planner").with("state", state)
		for way, sent := range map[string]*screen{
			"silently":  b.get(asked.with("org", "acme", "prompt", "none").path()),
			"refused":   b.get(asked.with("prompt", "consent").path()).press("Deny"),
			"after all": s.browser(t).get(asked.with("org", "globex", "prompt", "consent").path()).signIn("carol@acme.example", h.secret("user carol")).press("Allow"),
		} {
			sent.answered(t)
			if got := sent.left.Query().Get("state"); got != state {
				t.Errorf("%s, %s: the state %q came back as %q", name, way, state, got)
			}
		}
	}
}

func TestPrompts(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.login(t, "alice", h.secret("user alice"))
	if got := b.get(asksFor("portal").with("prompt", "none").path()).answered(t); strings.HasPrefix(got, "error ") {
		t.Fatalf("no code in a session: %s", got)
	}
	s.clock.advance(2 * time.Minute)
	for _, row := range []struct {
		name    string
		asked   request
		wantLog bool
	}{
		{"prompt=login", asksFor("portal").with("prompt", "login"), true},
		{"prompt=select_account", asksFor("portal").with("prompt", "select_account"), true},
		{"max_age is over", asksFor("portal").with("max_age", "60"), true},
		{"max_age=0", asksFor("portal").with("max_age", "0"), true},
		{"max_age is not over", asksFor("portal").with("max_age", "36000"), false},
	} {
		shown := b.get(row.asked.path())
		if (shown.title() == "Sign in") != row.wantLog {
			t.Errorf("OIDC Core §3.1.2.1 (OC-03), %s: %d, sent to %v", row.name, shown.status, shown.left)
			continue
		}
		if !row.wantLog {
			continue
		}
		before := b.cookie("session")
		if got := b.get(row.asked.with("prompt", "none").path()); row.asked["max_age"] != nil && got.answered(t) != "error login_required" {
			t.Errorf("OIDC Core §3.1.2.1 (OC-03), %s with prompt=none: %s", row.name, got.answered(t))
		}
		code := shown.signIn("alice", h.secret("user alice")).answered(t)
		if strings.HasPrefix(code, "error ") || b.cookie("session") == before {
			t.Errorf("%s: a second login gives %s", row.name, code)
		}
		s.clock.advance(2 * time.Minute)
	}
	asked := asksFor("portal").with("max_age", "600", "scope", "openid documents:read")
	token := s.redeem(t, "portal", b.get(asked.path()).answered(t)).object(t)
	id, _ := token["id_token"].(string)
	if at, _ := claimsOf(t, id)["auth_time"].(float64); at == 0 {
		t.Errorf("OIDC Core §3.1.2.1 (OC-03): no auth_time in the ID token of %v", token)
	}
}

// OIDC Core §3.1.2.1 (OC-03): max_age holds when the person answers, not only when the page is shown.
func TestMaxAgeHoldsForTheAnswer(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		name   string
		maxAge string
		signIn bool // on this visit
		wait   time.Duration
		again  bool
	}{
		{"a session of before, in time", "600", false, 9 * time.Minute, false},
		{"a session of before, too late", "600", false, 11 * time.Minute, true},
		{"signed in for this, in time", "600", true, 9 * time.Minute, false},
		{"signed in for this, too late", "600", true, 11 * time.Minute, true},
		{"max_age=0 leaves time to read", "0", true, time.Minute, false},
		{"max_age=0, too late", "0", true, 2 * time.Minute, true},
		{"max_age=1 leaves time to read", "1", true, time.Minute, false},
	} {
		asked := asksFor("planner").with("org", "acme", "prompt", "consent", "max_age", row.maxAge)
		var consent *screen
		if row.signIn {
			consent = s.browser(t).get(asked.path()).signIn("alice", h.secret("user alice"))
		} else {
			b := s.login(t, "alice", h.secret("user alice"))
			s.clock.advance(time.Second)
			consent = b.get(asked.path())
		}
		s.clock.advance(row.wait)
		shown := consent.press("Allow")
		if again := shown.left == nil && shown.title() == "Sign in"; again != row.again || (!again && strings.HasPrefix(shown.answered(t), "error ")) {
			t.Errorf("%s: signs in again %v, want %v: %d, sent to %v", row.name, again, row.again, shown.status, shown.left)
			continue
		}
		if row.again {
			if code := shown.signIn("alice", h.secret("user alice")).press("Allow").answered(t); strings.HasPrefix(code, "error ") {
				t.Errorf("%s, after that: %s", row.name, code)
			}
		}
	}
}

// OIDC Core §3.1.2.1 (OC-04): the request is a form as well, with the session that the browser has.
func TestAuthorizationByPost(t *testing.T) {
	s := start(t)
	b := s.login(t, "alice", holdersOf(t, "default").secret("user alice"))
	sent := b.visit("POST", "/authorize", asksFor("portal").encode(), "Origin: https://portal.example", "Sec-Fetch-Site: cross-site")
	if got := sent.answered(t); strings.HasPrefix(got, "error ") || sent.left.Query().Get("state") != "state-of-portal" {
		t.Errorf("%s", got)
	}
	for name, form := range map[string]string{"too long": strings.Repeat("x", 9<<10), "a line": "client_id=portal\r\nX: y"} {
		if shown := b.visit("POST", "/authorize", form); shown.status != http.StatusBadRequest || len(shown.hops) > 0 {
			t.Errorf("%s: %d", name, shown.status)
		}
	}
	if a := b.do("POST", publicURL+"/authorize", `{"client_id":"portal"}`, jsonType); a.status != http.StatusBadRequest {
		t.Errorf("JSON: %v", a)
	}
}

// RFC 9700 §2.6, §4.11: nobody is sent to where the request or its header says, and no other site's page may read the answer.
func TestNoOpenRedirector(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const evil = "https://evil.example/"
	b := s.login(t, "alice", h.secret("user alice"))
	for _, path := range []string{"/login?", "/logout?", "/account?", "/device?", "/device/done?", "/consent?", "/login/callback?", "/authorize?"} {
		for _, name := range []string{"next", "continue", "redirect_uri", "post_logout_redirect_uri", "return_to", "url", "state", "iss"} {
			if shown := b.get(path + url.Values{name: {evil}}.Encode()); shown.left != nil || strings.Contains(shown.body, "evil.example") {
				t.Errorf("SB-16: %s%s leads to %v", path, name, shown.left)
			}
		}
	}
	for _, line := range []string{"Host: evil.example", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "Origin: https://evil.example"} {
		a := s.send(t, "GET", asksFor("planner").path(), "", line)
		for name, values := range a.header {
			if strings.Contains(strings.Join(values, ""), "evil.example") || strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("SB-19, SB-22: %s gives %s: %v", line, name, values)
			}
		}
		if a.status != http.StatusOK || strings.Contains(a.body, "evil.example") {
			t.Errorf("SB-22: %s is in the page, status %d", line, a.status)
		}
	}
	if a := s.send(t, "OPTIONS", "/authorize", "", "Origin: https://evil.example", "Access-Control-Request-Method: GET"); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("SB-19: a preflight request is answered")
	}
	if a := s.send(t, "HEAD", asksFor("portal").path(), ""); a.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %d", a.status)
	}
}

func TestDevice(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	b := s.browser(t)
	code := s.deviceCode(t)
	confirm := b.get("/device?user_code="+url.QueryEscape(code)).signIn("carol@acme.example", h.secret("user carol"))
	if !strings.Contains(confirm.body, `value="`+code+`"`) {
		t.Fatalf("RFC 8628 §3.3.1: the code of the link is not filled in: %s", confirm.body)
	}
	if shown := confirm.press("Continue", "user_code", "BBBB-BBBB"); shown.status != http.StatusBadRequest || shown.problem() == "" {
		t.Errorf("an unknown code: %d", shown.status)
	}
	asks := confirm.press("Continue", "user_code", strings.ToLower(code))
	if !strings.Contains(asks.root.text, "your device must show this code") && !strings.Contains(asks.root.text, "Your device must show this code") {
		t.Errorf("RFC 8628 §5.4: the code is not shown: %s", asks.root.text)
	}
	if shown := asks.press("Allow"); shown.problem() == "" {
		t.Errorf("no organization was chosen: %d", shown.status)
	}
	if shown := asks.press("Allow", "org", "globex"); shown.title() != "Your device has the answer" {
		t.Errorf("approved: %d %s", shown.status, shown.body)
	}
	if shown := asks.press("Allow", "org", "globex"); shown.status != http.StatusBadRequest {
		t.Errorf("approved twice: %d", shown.status)
	}
	other := s.deviceCode(t)
	if shown := b.get("/device").press("Continue", "user_code", other).press("Deny"); shown.title() != "Your device has the answer" {
		t.Errorf("denied: %d %s", shown.status, shown.body)
	}
	if slices.ContainsFunc([]string{code, other}, func(c string) bool { return strings.Contains(s.log.String(), c) }) {
		t.Error("a user code is in the log")
	}
}

// RFC 8628 §5.1: user codes are short, so whoever tries many has to wait.
func TestGuessingUserCodes(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	alice, carol := s.login(t, "alice", h.secret("user alice")), s.login(t, "carol@acme.example", h.secret("user carol"))
	right := s.deviceCode(t)
	const wrong = "BBBB-BBBB"
	try := func(b *browser, code string) *screen { return b.get("/device").press("Continue", "user_code", code) }
	for i := range 10 {
		for _, code := range []string{right, wrong} { // a right one costs nothing
			if shown := try(alice, code); (shown.status == http.StatusOK) != (code == right) || shown.status == http.StatusTooManyRequests {
				t.Fatalf("try %d of %s: %d", i, code, shown.status)
			}
		}
	}
	for _, row := range []struct {
		name string
		b    *browser
		wait time.Duration
		code string
		want int
	}{
		{"the eleventh", alice, 0, wrong, http.StatusTooManyRequests},
		{"a right one", alice, 0, right, http.StatusTooManyRequests},
		{"another user", carol, 0, wrong, http.StatusBadRequest},
		{"after half a minute", alice, 31 * time.Second, wrong, http.StatusBadRequest},
		{"only one more", alice, 0, wrong, http.StatusTooManyRequests},
		{"a right one, after half a minute", alice, 31 * time.Second, right, http.StatusOK},
	} {
		s.clock.advance(row.wait)
		shown := try(row.b, row.code)
		if shown.status != row.want || (row.want == http.StatusTooManyRequests) != (shown.header.Get("Retry-After") != "") {
			t.Errorf("%s: %d, want %d; Retry-After %q", row.name, shown.status, row.want, shown.header.Get("Retry-After"))
		}
	}
}
