package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const formType = "Content-Type: application/x-www-form-urlencoded"

func (s *running) form(t testing.TB, c credential, path string, form url.Values) answer {
	t.Helper()
	return s.send(t, "POST", path, form.Encode(), slices.Concat(c, credential{formType})...)
}

// RFC 7662.
func TestIntrospection(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	got := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
	machine := s.issue(t, h.client("acme-sync"), "https://documents.example")
	revoked := s.issue(t, h.client("acme-sync"), "https://documents.example")
	if a := s.form(t, h.client("acme-sync"), "/oauth2/revoke", url.Values{"token": {revoked}}); a.status != http.StatusOK {
		t.Fatalf("not revoked: %v", a)
	}
	for _, row := range []struct {
		rule   string
		caller credential
		token  string
		active bool
		status int
	}{
		{"§2.2 the API that it is for", h.client("documents-api"), got.Access, true, 200},
		{"§2.2 the client that it was issued to", h.client("web-app"), got.Access, true, 200},
		{"§2.2 a machine's token", h.client("documents-api"), machine, true, 200},
		{"§2.2 a refresh token, for its client", h.client("web-app"), got.Refresh, true, 200},
		{"§2.2 a caller for every API", h.key("gateway"), got.Access, true, 200},
		{"§4 another API", h.client("payments-api"), got.Access, false, 200},
		{"§4 another client", h.client("acme-sync"), got.Access, false, 200},
		{"§4 a refresh token, for another client", h.client("documents-api"), got.Refresh, false, 200},
		{"§2.2 a revoked token", h.client("documents-api"), revoked, false, 200},
		{"§2.2 garbage", h.client("documents-api"), "garbage", false, 200},
		{"§2.2 a tampered token", h.client("documents-api"), got.Access[:len(got.Access)-4] + "AAAA", false, 200},
		{"RFC 9068 §4 an ID token", h.client("documents-api"), got.ID, false, 200},
		{"§2.2 an API key is no token of this server", h.client("documents-api"), h.secret("key gateway"), false, 200},
		{"§2.1 nobody", nil, got.Access, false, 401},
		{"§2.1 a wrong secret", basic("documents-api", "wrong"), got.Access, false, 401},
		{"§2.1 without a token", h.client("documents-api"), "", false, 400},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.form(t, row.caller, "/oauth2/introspect", url.Values{"token": {row.token}, "token_type_hint": {"no-such-hint"}})
			if a.status != row.status || a.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("got %d: %v %v", a.status, a, a.header)
			}
			if row.status != http.StatusOK {
				return
			}
			object := a.object(t)
			if object["active"] != row.active || (!row.active && len(object) != 1) {
				t.Errorf("got %v", object)
			}
			if row.active && row.token == got.Access {
				claims := claimsOf(t, got.Access)
				for _, name := range []string{"client_id", "scope", "exp", "iat", "iss", "sub", "jti", "org"} {
					if object[name] != claims[name] {
						t.Errorf("%s is %v, in the token %v", name, object[name], claims[name])
					}
				}
			}
		})
	}
	if a := s.form(t, nil, "/oauth2/introspect", url.Values{"token": {got.Access}, "client_id": {"cli-app"}}); a.status != http.StatusUnauthorized {
		t.Errorf("§2.1 a public client: %v", a)
	}
	if a := s.send(t, "GET", "/oauth2/introspect?token=x", "", h.client("documents-api")...); a.status != http.StatusMethodNotAllowed {
		t.Errorf("§2.1 GET: %v", a)
	}
}

// RFC 7009.
func TestRevocation(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web, api := h.client("web-app"), h.client("documents-api")
	revoke := func(c credential, token, hint string) answer {
		return s.form(t, c, "/oauth2/revoke", url.Values{"token": {token}, "token_type_hint": {hint}})
	}
	t.Run("§2.1 a refresh token ends its grant", func(t *testing.T) {
		got := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
		// Another client changes nothing, and learns nothing: it looks like a token that nobody knows.
		if a := revoke(h.client("partner-app"), got.Refresh, ""); a.status != http.StatusOK || a.body != "" || !s.active(t, api, got.Access) {
			t.Errorf("another client: %v", a)
		}
		for range 2 { // the second time it is unknown
			if a := revoke(web, got.Refresh, "access_token"); a.status != http.StatusOK {
				t.Errorf("§2.2: %v", a)
			}
		}
		if s.active(t, api, got.Access) || s.token(t, web, refreshing(got.Refresh)).oauthError(t) != "invalid_grant" {
			t.Error("something of the grant is still good")
		}
	})
	t.Run("§2.1 an access token ends alone, and at once", func(t *testing.T) {
		got := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
		question := question(presented(t, bearer(got.Access)), "documents:read", "report")
		if s.ask(t, api, evaluationPath, question).verdict() != "allow" {
			t.Fatal("the token is not good")
		}
		if a := revoke(h.client("partner-app"), got.Access, ""); a.status != http.StatusOK || !s.active(t, api, got.Access) {
			t.Errorf("another client: %v", a)
		}
		if a := revoke(web, got.Access, "refresh_token"); a.status != http.StatusOK {
			t.Errorf("with a wrong hint: %v", a)
		}
		if v := s.ask(t, api, evaluationPath, question).verdict(); v != "deny" {
			t.Errorf("a decision on the revoked token: %s", v)
		}
		if a := s.send(t, "GET", "/userinfo", "", bearer(got.Access)...); a.status != http.StatusUnauthorized {
			t.Errorf("userinfo: %v", a)
		}
		s.token(t, web, refreshing(got.Refresh)).tokens(t)
	})
	t.Run("the refresh token before the newest ends its grant, too", func(t *testing.T) {
		got := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
		next := s.token(t, web, refreshing(got.Refresh)).tokens(t)
		if a := revoke(web, got.Refresh, ""); a.status != http.StatusOK || s.active(t, web, next.Refresh) {
			t.Errorf("the successor is still good: %v", a)
		}
	})
	t.Run("a token of the exchange endpoints is ended by who holds it", func(t *testing.T) {
		got := s.send(t, "POST", "/auth", "audience=https%3A%2F%2Fdocuments.example", append(h.key("alice-read"), formType)...).tokens(t)
		if a := revoke(web, got.Refresh, ""); a.status != http.StatusOK || s.active(t, api, got.Access) {
			t.Errorf("still good: %v", a)
		}
	})
	for _, row := range []struct {
		rule   string
		caller credential
		token  string
		status int
	}{
		{"§2.2 an unknown token", web, "garbage", 200},
		{"§2.1 no token", web, "", 400},
		{"§2.1 nobody", nil, "garbage", 401},
	} {
		if a := revoke(row.caller, row.token, ""); a.status != row.status {
			t.Errorf("%s: %v", row.rule, a)
		}
	}
}

// OpenID Connect Core §5.3.
func TestUserInfo(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	got := s.tokensFor(t, h, "carol", "acme", "openid profile documents:read")
	for _, method := range []string{"GET", "POST"} {
		a := s.send(t, method, "/userinfo", "", bearer(got.Access)...)
		if a.status != http.StatusOK || a.object(t)["sub"] != "carol" || a.object(t)["preferred_username"] != "carol@acme.example" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", method, a)
		}
	}
	for _, row := range []struct {
		rule       string
		credential credential
		status     int
		challenge  string
	}{
		{"§5.3.3 no token", nil, 401, `Bearer realm="mandate", resource_metadata=`},
		{"RFC 6750 §3.1 garbage", bearer("garbage"), 401, `error="invalid_token"`},
		{"an ID token", bearer(got.ID), 401, `error="invalid_token"`},
		{"a machine's token", bearer(s.issue(t, h.client("acme-sync"), "https://documents.example")), 403, `error="insufficient_scope"`},
		{"without the scope openid", bearer(s.tokensFor(t, h, "carol", "acme", "documents:read").Access), 403, `scope="openid"`},
		{"an API key", h.key("gateway"), 403, `error="insufficient_scope"`},
		{"RFC 9449 §7.1 an unbound token as DPoP", credential{"Authorization: DPoP " + got.Access}, 401, `DPoP`},
	} {
		a := s.send(t, "GET", "/userinfo", "", row.credential...)
		if challenges := strings.Join(a.header.Values("WWW-Authenticate"), "; "); a.status != row.status || !strings.Contains(challenges, row.challenge) {
			t.Errorf("%s: %v %s", row.rule, a, challenges)
		}
	}
	if a := s.send(t, "GET", "/userinfo?access_token="+got.Access, ""); a.status/100 != 4 {
		t.Errorf("RFC 6750 §2.3: a token in the query: %v", a)
	}
}

// The exchange endpoints of SYSTEMS.md, 2.
func TestExchangeEndpoints(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const documents = "audience=https%3A%2F%2Fdocuments.example"
	api := h.client("documents-api")
	for _, path := range []string{"/auth", "/auth/", "/1/auth"} {
		for _, row := range []struct {
			who        string
			credential credential
			body       string
			sub, kind  string
			scope      string
		}{
			{"a user of one organization", h.user("bob", "bob"), documents, "bob", "user", "documents:read"},
			{"a user of two, who names one", h.user("carol", "carol@acme.example"), documents + "&org=acme", "carol", "user", "documents:read documents:write"},
			{"an API key", h.key("alice-read"), documents, "alice-read", "apikey", "documents:read"},
		} {
			a := s.send(t, "POST", path, row.body, append(row.credential, formType)...)
			got := a.tokens(t)
			claims := claimsOf(t, got.Access)
			if claims["sub"] != row.sub || claims["sub_type"] != row.kind || got.Scope != row.scope || got.ExpiresIn != 600 || got.Refresh == "" || claims["org"] != "acme" {
				t.Errorf("%s %s: %v", path, row.who, a)
			}
			if verdict := s.ask(t, api, evaluationPath, question(presented(t, bearer(got.Access)), "documents:read", "report")).verdict(); verdict != "allow" {
				t.Errorf("%s %s: the token is worth nothing: %s", path, row.who, verdict)
			}
		}
	}
	for _, row := range []struct {
		rule       string
		credential credential
		status     int
	}{
		{"nobody", nil, 401}, {"a wrong password", basic("bob", "wrong"), 401}, {"an unknown user", basic("nobody", "wrong"), 401},
		{"a disabled user", h.user("walt", "walt"), 401}, {"garbage", bearer("garbage"), 401}, {"a client", h.client("acme-sync"), 401},
		{"a key whose owner is no developer", h.key("bob-read"), 401}, {"a revoked key", h.key("revoked"), 401}, {"an expired key", h.key("expired"), 401},
		{"a user of two organizations who names none", h.user("carol", "carol@acme.example"), 400},
		{"a user of another organization", h.user("bob", "bob"), 400},
		{"two credentials", append(h.key("alice-read"), h.user("bob", "bob")...), 400},
	} {
		body := documents
		if row.rule == "a user of another organization" {
			body += "&org=globex"
		}
		a := s.send(t, "POST", "/auth", body, append(row.credential, formType)...)
		if a.status != row.status || (row.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic")) {
			t.Errorf("%s: %v %v", row.rule, a, a.header)
		}
	}

	t.Run("refresh", func(t *testing.T) {
		first := s.send(t, "POST", "/auth", documents, append(h.key("dora-write"), formType)...).tokens(t)
		body, err := json.Marshal(map[string]string{"refresh_token": first.Refresh})
		must(t, err)
		second := s.send(t, "POST", "/auth/refresh", string(body), jsonType).tokens(t)
		if second.Refresh == first.Refresh || second.ExpiresIn != 600 {
			t.Errorf("got %+v", second)
		}
		if code := s.token(t, h.client("web-app"), refreshing(second.Refresh)).oauthError(t); code != "invalid_grant" {
			t.Errorf("a client with the refresh token of an exchange: %s", code)
		}
		s.change(t, func(ctx context.Context, tx datastore.Tx) error {
			return directory.Tenant("default").PutMember(ctx, tx, "acme", "dora", directory.Member{Roles: []string{"editor"}, Status: directory.Active})
		})
		body, err = json.Marshal(map[string]string{"refresh_token": second.Refresh})
		must(t, err)
		if a := s.send(t, "POST", "/1/auth/refresh", string(body), jsonType); a.oauthError(t) != "invalid_grant" {
			t.Errorf("after the owner lost the role developer: %v", a)
		}
		if s.active(t, api, second.Access) {
			t.Error("the access token outlives the owner's role")
		}
	})
}

// RFC 9126.
func TestPushedRequests(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web := h.client("web-app")
	push := func(c credential, request url.Values) answer { return s.form(t, c, "/oauth2/par", request) }
	good := asking("web-app", appURL, "scope", "openid documents:read")
	a := push(web, good)
	uri, _ := a.object(t)["request_uri"].(string)
	if a.status != http.StatusCreated || !strings.HasPrefix(uri, "urn:ietf:params:oauth:request_uri:") || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("§2.2: %v", a)
	}
	read, err := s.issuers["default"].ReadAuthorization(t.Context(), reading(t, s), url.Values{"client_id": {"web-app"}, "request_uri": {uri}})
	must(t, err)
	if !slices.Equal(read.Scopes, []string{"documents:read", "openid"}) || read.RedirectURI != appURL {
		t.Errorf("read %+v", read)
	}
	if _, err := s.issuers["default"].ReadAuthorization(t.Context(), reading(t, s), url.Values{"client_id": {"partner-app"}, "request_uri": {uri}}); err == nil {
		t.Error("§4: another client used it")
	}
	code := s.code(t, "alice", "acme", withState(url.Values{"client_id": {"web-app"}, "request_uri": {uri}}, good))
	s.token(t, web, redemption(code, appURL)).tokens(t)
	if _, err := s.issuers["default"].ReadAuthorization(t.Context(), reading(t, s), url.Values{"client_id": {"web-app"}, "request_uri": {uri}}); err == nil {
		t.Error("§4: it was used twice")
	}
	for _, row := range []struct {
		rule   string
		client credential
		change []string
		code   string
	}{
		{"§2.1 nobody", nil, nil, "invalid_client"},
		{"§2.1 a request_uri", web, []string{"request_uri", uri}, "invalid_request"},
		{"§2.3 another redirect URI", web, []string{"redirect_uri", "https://evil.example"}, "invalid_request"},
		{"§2.3 without PKCE", web, []string{"code_challenge", ""}, "invalid_request"},
		{"§2.3 a scope that is none", web, []string{"scope", `a"b`}, "invalid_scope"},
		{"§2.1 another client_id", web, []string{"client_id", "partner-app"}, "invalid_request"},
		{"too large", web, []string{"resource", "https://a.example/" + strings.Repeat("a", 20<<10)}, "invalid_request"},
	} {
		request := asking("web-app", appURL, row.change...)
		if code := push(row.client, request).oauthError(t); code != row.code {
			t.Errorf("%s: got %s, want %s", row.rule, code, row.code)
		}
	}
	a = push(web, good)
	uri, _ = a.object(t)["request_uri"].(string)
	s.clock.advance(11 * time.Minute)
	if _, err := s.issuers["default"].ReadAuthorization(t.Context(), reading(t, s), url.Values{"client_id": {"web-app"}, "request_uri": {uri}}); err == nil {
		t.Error("§4: it was used after its end")
	}
}

// RFC 7591.
func TestRegistration(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const metadata = `{"redirect_uris":["https://new.example/callback"],"client_name":"New Software","scope":"openid documents:read no-such-scope manage","grant_types":["authorization_code","refresh_token"],"software_id":"x"}`
	register := func(c credential, body string) answer {
		return s.send(t, "POST", "/oauth2/register", body, append(c, jsonType)...)
	}
	for _, row := range []struct {
		rule   string
		caller credential
		body   string
		status int
		code   string
	}{
		{"§3 without an initial access token", nil, metadata, 401, "invalid_token"},
		{"§3 with a token that may not", h.key("gateway"), metadata, 403, ""},
		{"§3.2.2 a redirect URI in plain text", h.key("manage-only"), strings.Replace(metadata, "https://new.example", "http://new.example", 1), 400, "invalid_redirect_uri"},
		{"§3.2.2 a redirect URI with a fragment", h.key("manage-only"), strings.Replace(metadata, "callback", "callback#x", 1), 400, "invalid_redirect_uri"},
		{"§3.2.2 none", h.key("manage-only"), `{}`, 400, "invalid_redirect_uri"},
		{"§3.2.2 a grant for machines", h.key("manage-only"), strings.Replace(metadata, "refresh_token", "client_credentials", 1), 400, "invalid_client_metadata"},
		{"§3.2.2 keys at a URL", h.key("manage-only"), `{"redirect_uris":["https://new.example/callback"],"jwks_uri":"https://new.example/jwks"}`, 400, "invalid_client_metadata"},
		{"§3.2.2 the wrong type", h.key("manage-only"), `{"redirect_uris":"https://new.example/callback"}`, 400, "invalid_client_metadata"},
		{"§3.2.2 no JSON", h.key("manage-only"), `{`, 400, "invalid_request"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := register(row.caller, row.body)
			if a.status != row.status || (row.code != "" && row.caller != nil && a.oauthError(t) != row.code) {
				t.Errorf("got %v", a)
			}
		})
	}
	a := register(h.key("manage-only"), metadata)
	made := a.object(t)
	id, _ := made["client_id"].(string)
	secret, _ := made["client_secret"].(string)
	if a.status != http.StatusCreated || id == "" || secret == "" || made["client_secret_expires_at"] != 0.0 || made["scope"] != "documents:read openid" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("§3.2.1: %v", a)
	}
	record, err := directory.Tenant("default").Client(id).Get(t.Context(), reading(t, s))
	must(t, err)
	if record.Party != "third" || slices.Contains(record.Scopes, "manage") {
		t.Errorf("the client may have too much: %+v", record)
	}
	code := s.code(t, "alice", "acme", asking(id, "https://new.example/callback", "resource", "https://documents.example"))
	s.token(t, basic(url.QueryEscape(id), url.QueryEscape(secret)), redemption(code, "https://new.example/callback")).tokens(t)
}

func withState(v, from url.Values) url.Values {
	v.Set("state", from.Get("state"))
	return v
}

// reading is at the newest revision until the test ends.
func reading(t testing.TB, s *running) *memo.Reading {
	t.Helper()
	view, err := s.store.View(t.Context())
	must(t, err)
	t.Cleanup(view.Close)
	return memo.Over(view)
}

// Apps in browsers reach what needs no cookie, from any page; a secret has no place there.
func TestCrossOrigin(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const origin = "Origin: https://spa.example"
	for path, open := range map[string]bool{"/oauth2/token": true, "/userinfo": true, "/.well-known/jwks.json": true, "/.well-known/openid-configuration": true,
		"/t/staging/oauth2/token": true, "/oauth2/register": true,
		"/authorize": false, "/login": false, "/consent": false, "/account": false, "/auth": false, evaluationPath: false, "/v2/manage/organizations": false, "/oauth2/introspect": false} {
		a := s.send(t, "OPTIONS", path, "", origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: dpop")
		if allowed := a.header.Get("Access-Control-Allow-Origin"); (allowed == "*" && a.status == http.StatusNoContent) != open || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	a := s.token(t, nil, redemption("garbage", "http://127.0.0.1/callback", "client_id", "cli-app"), origin)
	if a.oauthError(t) != "invalid_grant" || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a public client: %v %v", a, a.header)
	}
	if a := s.token(t, h.client("acme-sync"), clientCredentials, origin); a.oauthError(t) != "invalid_request" {
		t.Errorf("a secret from a page: %v", a)
	}
}

// A password or key that is replaced ends what was begun with the former one: tokens of the exchange endpoints, and logins.
func TestReplacedCredentials(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const documents = "audience=https%3A%2F%2Fdocuments.example"
	byPassword := s.send(t, "POST", "/auth", documents, append(h.user("alice", "alice"), formType)...).tokens(t)
	byKey := s.send(t, "POST", "/auth", documents, append(h.key("alice-read"), formType)...).tokens(t)
	b := s.login(t, "alice", h.secret("user alice"))
	s.load(t, `
tenant: default
users: [{id: alice, password: "alice-password-of-today"}]
api_keys: [{id: alice-read, org: acme, owner: alice, key: "alice-read-key-of-today", scopes: ["documents:read"]}]
`)
	for name, got := range map[string]tokensOf{"password": byPassword, "key": byKey} {
		if a := s.send(t, "POST", "/auth/refresh", url.Values{"refresh_token": {got.Refresh}}.Encode(), formType); a.oauthError(t) != "invalid_grant" {
			t.Errorf("%s: refresh: %v", name, a)
		}
		if s.active(t, h.client("documents-api"), got.Access) {
			t.Errorf("%s: the access token is still good", name)
		}
	}
	if shown := b.get("/account"); shown.title() == "Your account" {
		t.Error("the login outlives the password")
	}
}

// load imports more into the default tenant.
func (s *running) load(t testing.TB, text string) {
	t.Helper()
	file, err := directory.ParseFile(strings.NewReader(text))
	must(t, err)
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", withCheapPasswords(t, file))
	must(t, err)
}
