package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/directory"
)

const (
	pkceVerifier = "a-pkceVerifier-that-has-at-least-43-characters-0123456789"
	appURL       = "https://app.example/callback"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// asking are the parameters of an authorization request of the client.
func asking(client, redirectURI string, more ...string) url.Values {
	values := url.Values{"client_id": {client}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"af0ifjsldkj"},
		"code_challenge": {challengeOf(pkceVerifier)}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	return values
}

// code is what a user who agrees lets the client have, in the organization.
func (s *running) code(t testing.TB, user, org string, request url.Values) string {
	t.Helper()
	r, policies := s.engines["default"].Begin(s.memo)
	defer r.End()
	issuer := s.issuers["default"]
	a, err := issuer.ReadAuthorization(t.Context(), r, request)
	must(t, err)
	to, err := issuer.Authorize(t.Context(), r, policies, a, &authn.Principal{Type: authn.User, Subject: user, AuthTime: s.clock.now().Unix(), Methods: []string{"pwd"}}, org)
	must(t, err)
	u, err := url.Parse(to)
	must(t, err)
	if u.Query().Get("code") == "" || u.Query().Get("state") != request.Get("state") || u.Query().Get("iss") != publicURL {
		t.Fatalf("no code in %s", to)
	}
	return u.Query().Get("code")
}

func redemption(code, redirectURI string, more ...string) string {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {pkceVerifier}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

func refreshing(token string, more ...string) string {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

// tokensOf are the tokens of a successful answer.
type tokensOf struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ID        string `json:"id_token"`
	Type      string `json:"token_type"`
	Scope     string
	ExpiresIn int64 `json:"expires_in"`
}

func (a answer) tokens(t testing.TB) tokensOf {
	t.Helper()
	var found tokensOf
	if err := json.Unmarshal([]byte(a.body), &found); err != nil || a.status != http.StatusOK || found.Access == "" {
		t.Fatalf("no token: %v", a)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("RFC 6749 §5.1: the answer may be stored: %v", a.header)
	}
	return found
}

// oauthError is the error code of a refusal.
func (a answer) oauthError(t testing.TB) string {
	t.Helper()
	if a.status < 400 || a.status >= 500 {
		t.Fatalf("not a refusal: %v", a)
	}
	code, _ := a.object(t)["error"].(string)
	return code
}

// tokensFor gives the tokens of a user at the web app.
func (s *running) tokensFor(t testing.TB, h holders, user, org, scope string) tokensOf {
	t.Helper()
	code := s.code(t, user, org, asking("web-app", appURL, "scope", scope))
	return s.token(t, h.client("web-app"), redemption(code, appURL)).tokens(t)
}

func (s *running) change(t testing.TB, do func(context.Context, datastore.Tx) error) {
	t.Helper()
	_, err := s.store.Update(t.Context(), func(tx datastore.Tx) error { return do(t.Context(), tx) })
	must(t, err)
}

func (s *running) introspected(t testing.TB, c credential, token string) map[string]any {
	t.Helper()
	a := s.send(t, "POST", "/oauth2/introspect", url.Values{"token": {token}}.Encode(), append(c, "Content-Type: application/x-www-form-urlencoded")...)
	if a.status != http.StatusOK {
		t.Fatalf("no introspection: %v", a)
	}
	return a.object(t)
}

func (s *running) active(t testing.TB, c credential, token string) bool {
	t.Helper()
	object := s.introspected(t, c, token)
	active, _ := object["active"].(bool)
	if !active && len(object) != 1 {
		t.Errorf("RFC 7662 §2.2: an inactive token says more than that: %v", object)
	}
	return active
}

func TestAuthorizationCodes(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web := h.client("web-app")
	ask := asking("web-app", appURL, "scope", "openid documents:read", "nonce", "n-0S6_WzA2Mj")
	for _, row := range []struct {
		rule   string
		client credential
		form   func(code string) string
		code   string // of the error; none for tokens
	}{
		{"RFC 6749 §4.1.3 the code", web, func(c string) string { return redemption(c, appURL) }, ""},
		{"RFC 6749 §4.1.3 another redirect URI", web, func(c string) string { return redemption(c, appURL+"/") }, "invalid_grant"},
		{"RFC 6749 §4.1.3 no redirect URI", web, func(c string) string { return redemption(c, "") }, "invalid_grant"},
		{"RFC 6749 §4.1.3 another client", h.client("partner-app"), func(c string) string { return redemption(c, appURL) }, "invalid_grant"},
		{"RFC 6749 §4.1.3 nobody", nil, func(c string) string { return redemption(c, appURL) }, "invalid_client"},
		{"RFC 6749 §2.3.1 a confidential client without its secret", nil, func(c string) string { return redemption(c, appURL, "client_id", "web-app") }, "invalid_client"},
		{"RFC 7636 §4.6 another pkceVerifier", web, func(c string) string { return redemption(c, appURL, "code_verifier", pkceVerifier+"x") }, "invalid_grant"},
		{"RFC 7636 §4.6 no pkceVerifier", web, func(c string) string { return redemption(c, appURL, "code_verifier", "") }, "invalid_grant"},
		{"RFC 7636 §4.6 the challenge as the pkceVerifier", web, func(c string) string { return redemption(c, appURL, "code_verifier", challengeOf(pkceVerifier)) }, "invalid_grant"},
		{"RFC 7636 §4.1 too short a pkceVerifier", web, func(c string) string { return redemption(c, appURL, "code_verifier", "short") }, "invalid_grant"},
		{"RFC 7636 §4.1 too long a pkceVerifier", web, func(c string) string { return redemption(c, appURL, "code_verifier", strings.Repeat("a", 129)) }, "invalid_grant"},
		{"RFC 7636 §4.1 bad characters", web, func(c string) string { return redemption(c, appURL, "code_verifier", pkceVerifier+" ") }, "invalid_grant"},
		{"no code", web, func(string) string { return redemption("", appURL) }, "invalid_request"},
		{"garbage", web, func(string) string { return redemption("garbage", appURL) }, "invalid_grant"},
		{"the code cut short", web, func(c string) string { return redemption(c[:len(c)-1], appURL) }, "invalid_grant"},
		{"RFC 8707 §2.2 another resource", web, func(c string) string { return redemption(c, appURL, "resource", "https://payments.example") }, "invalid_target"},
		{"RFC 8707 §2.2 the same resource", web, func(c string) string { return redemption(c, appURL, "resource", "https://documents.example") }, ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.token(t, row.client, row.form(s.code(t, "alice", "acme", ask)))
			if row.code != "" {
				if code := a.oauthError(t); code != row.code {
					t.Errorf("got %s, want %s: %v", code, row.code, a)
				}
				return
			}
			got := a.tokens(t)
			if got.ID == "" || got.Refresh != "" || got.Type != "Bearer" || got.Scope != "documents:read openid" {
				t.Errorf("tokens: %+v", got)
			}
			claims := claimsOf(t, got.ID)
			if claims["nonce"] != "n-0S6_WzA2Mj" || claims["sub"] != "alice" || claims["aud"] != "web-app" || claims["iss"] != publicURL {
				t.Errorf("OpenID Connect Core §2: %v", claims)
			}
			claims = claimsOf(t, got.Access)
			if claims["sub"] != "alice" || claims["azp"] != "web-app" || claims["client_id"] != "web-app" || claims["org"] != "acme" || claims["aud"] != "https://documents.example" {
				t.Errorf("RFC 9068 §2.2: %v", claims)
			}
		})
	}
}

// claimsOf are the claims of a JWT, unverified.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %s", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(text, &claims))
	return claims
}

func TestCodesExpire(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	code := s.code(t, "alice", "acme", asking("web-app", appURL))
	s.clock.advance(61 * time.Second)
	if code := s.token(t, h.client("web-app"), redemption(code, appURL)).oauthError(t); code != "invalid_grant" {
		t.Errorf("got %s", code)
	}
}

// RFC 6749 §4.1.2: a code is good once, and a second time ends what the first gave.
func TestReplayedCodes(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web, api := h.client("web-app"), h.client("documents-api")
	code := s.code(t, "alice", "acme", asking("web-app", appURL, "scope", "openid offline_access documents:read"))
	got := s.token(t, web, redemption(code, appURL)).tokens(t)
	if !s.active(t, api, got.Access) || !s.active(t, web, got.Refresh) {
		t.Fatal("the tokens are not active")
	}
	// Somebody else's attempt changes nothing.
	if code := s.token(t, h.client("partner-app"), redemption(code, appURL)).oauthError(t); code != "invalid_grant" || !s.active(t, api, got.Access) {
		t.Errorf("a stranger's replay: %s", code)
	}
	if code := s.token(t, web, redemption(code, appURL)).oauthError(t); code != "invalid_grant" {
		t.Errorf("a replay: %s", code)
	}
	if s.active(t, api, got.Access) || s.active(t, web, got.Refresh) {
		t.Error("the tokens of a replayed code are still good")
	}
	if code := s.token(t, web, refreshing(got.Refresh)).oauthError(t); code != "invalid_grant" {
		t.Errorf("a refresh after the replay: %s", code)
	}
	if !strings.Contains(s.events.String(), "code_replayed") {
		t.Error("the replay was not reported")
	}
}

func TestCodesAreRedeemedOnce(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web := h.client("web-app")
	for range 10 {
		code := s.code(t, "alice", "acme", asking("web-app", appURL))
		answers := atOnce(8, func(int) answer { return s.token(t, web, redemption(code, appURL)) })
		if n := succeeded(answers); n > 1 {
			t.Fatalf("the code was redeemed %d times", n)
		}
	}
}

func atOnce(n int, do func(int) answer) []answer {
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = do(i) })
	}
	all.Wait()
	return answers
}

func succeeded(answers []answer) int {
	n := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			n++
		}
	}
	return n
}

func TestRefreshTokens(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web, api := h.client("web-app"), h.client("documents-api")
	const scope = "openid offline_access documents:read documents:write"

	t.Run("RFC 9700 §4.14.2 they rotate, and an old one ends all", func(t *testing.T) {
		first := s.tokensFor(t, h, "alice", "acme", scope)
		second := s.token(t, web, refreshing(first.Refresh)).tokens(t)
		if second.Refresh == first.Refresh || second.ID == "" || !s.active(t, api, second.Access) {
			t.Fatalf("tokens: %+v", second)
		}
		before, after := claimsOf(t, first.ID), claimsOf(t, second.ID)
		for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
			if before[name] != after[name] {
				t.Errorf("OpenID Connect Core §12.2: %s was %v, is %v", name, before[name], after[name])
			}
		}
		third := s.token(t, web, refreshing(second.Refresh)).tokens(t)
		if code := s.token(t, web, refreshing(first.Refresh)).oauthError(t); code != "invalid_grant" {
			t.Errorf("the first one again: %s", code)
		}
		if code := s.token(t, web, refreshing(third.Refresh)).oauthError(t); code != "invalid_grant" {
			t.Errorf("the newest after that: %s", code)
		}
		for _, token := range []string{first.Access, second.Access, third.Access} {
			if s.active(t, api, token) {
				t.Error("an access token of the family is still good")
			}
		}
		if !strings.Contains(s.events.String(), "refresh_token_reused") {
			t.Error("the reuse was not reported")
		}
	})
	t.Run("a retry within the grace gets the same successor", func(t *testing.T) {
		first := s.tokensFor(t, h, "alice", "acme", scope)
		second := s.token(t, web, refreshing(first.Refresh)).tokens(t)
		again := s.token(t, web, refreshing(first.Refresh)).tokens(t)
		if again.Refresh != second.Refresh {
			t.Error("a second chain began")
		}
		s.clock.advance(11 * time.Second)
		if code := s.token(t, web, refreshing(first.Refresh)).oauthError(t); code != "invalid_grant" {
			t.Errorf("after the grace: %s", code)
		}
		if code := s.token(t, web, refreshing(second.Refresh)).oauthError(t); code != "invalid_grant" {
			t.Errorf("the family after that: %s", code)
		}
	})
	t.Run("from many places at once there is one chain", func(t *testing.T) {
		first := s.tokensFor(t, h, "alice", "acme", scope)
		answers := atOnce(8, func(int) answer { return s.token(t, web, refreshing(first.Refresh)) })
		var successors []string
		for _, a := range answers {
			successors = append(successors, a.tokens(t).Refresh)
		}
		if slices.Sort(successors); len(slices.Compact(successors)) != 1 {
			t.Errorf("%d chains", len(slices.Compact(successors)))
		}
	})
	t.Run("RFC 6749 §6 scopes", func(t *testing.T) {
		first := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
		if code := s.token(t, web, refreshing(first.Refresh, "scope", "documents:read documents:write")).oauthError(t); code != "invalid_scope" {
			t.Errorf("more than was granted: %s", code)
		}
		less := s.token(t, web, refreshing(first.Refresh, "scope", "documents:read")).tokens(t)
		if less.Scope != "documents:read" {
			t.Errorf("less: %q", less.Scope)
		}
		if all := s.token(t, web, refreshing(less.Refresh)).tokens(t); all.Scope != first.Scope {
			t.Errorf("all again: %q, was %q", all.Scope, first.Scope)
		}
	})
	t.Run("a stranger cannot end the grant", func(t *testing.T) {
		first := s.tokensFor(t, h, "alice", "acme", scope)
		second := s.token(t, web, refreshing(first.Refresh)).tokens(t)
		s.clock.advance(time.Minute)
		for _, token := range []string{first.Refresh, second.Refresh} {
			if code := s.token(t, h.client("partner-app"), refreshing(token)).oauthError(t); code != "invalid_grant" && code != "unauthorized_client" {
				t.Errorf("another client: %s", code)
			}
			if code := s.token(t, nil, refreshing(token)).oauthError(t); code != "invalid_client" {
				t.Errorf("nobody: %s", code)
			}
		}
		s.token(t, web, refreshing(second.Refresh)).tokens(t)
	})
	for _, row := range []struct {
		fact   string
		remove func(context.Context, datastore.Tx) error
	}{
		{"the membership", func(_ context.Context, tx datastore.Tx) error {
			return tx.Delete(directory.Tenant("default").Member("acme", "dora").Path)
		}},
		{"the user", func(ctx context.Context, tx datastore.Tx) error {
			place := directory.Tenant("default").User("bob")
			user, err := place.Get(ctx, tx)
			user.Status = directory.Disabled
			must(t, err)
			return place.Put(ctx, tx, user)
		}},
	} {
		t.Run("it dies with "+row.fact, func(t *testing.T) {
			user := map[string]string{"the membership": "dora", "the user": "bob"}[row.fact]
			got := s.tokensFor(t, h, user, "acme", scope)
			if !s.active(t, api, got.Access) {
				t.Fatal("not active")
			}
			s.change(t, row.remove)
			if s.active(t, api, got.Access) {
				t.Error("the access token is still good")
			}
			if code := s.token(t, web, refreshing(got.Refresh)).oauthError(t); code != "invalid_grant" {
				t.Errorf("refresh: %s", code)
			}
		})
	}
}
