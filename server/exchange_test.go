package server_test

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

const (
	accessTokenURN = "urn:ietf:params:oauth:token-type:access_token"
	documentsAPI   = "https://documents.example"
)

// exchanging are clients that act for others, and an integration that alice has enabled.
const exchanging = `
tenant: default
clients:
  - {id: gatekeeper, secret: "gatekeeper-secret-1b2c", grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read", "documents:write"], audiences: ["https://documents.example", "https://payments.example"]}
  - {id: indexer, secret: "indexer-secret-3d4e", grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
  - {id: archive, secret: "archive-secret-5f6a", grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
  - {id: stranger, secret: "stranger-secret-7b8c", party: third, grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
  - {id: globex-desk, secret: "globex-desk-secret-9d0e", org: globex, grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
  - {id: scanly-app, secret: "scanly-app-secret-1f2a", party: third, vendor: scanly, grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read", "documents:write"], audiences: ["https://documents.example"]}
vendors:
  - {id: syncly, token: "syncly-vendor-token-3b4c"}
integrations:
  - {id: syncly-acme, kind: delegated, vendor: syncly, org: acme, client: syncly-app, enabled_by: alice, partner_token: "syncly-acme-partner-5d6e", scopes: ["documents:read"]}
`

const synclyApp = `
  - {id: syncly-app, secret: "syncly-app-secret-7f8a", party: third, vendor: syncly, grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read", "documents:write"], audiences: ["https://documents.example"]}
`

func startExchanging(t *testing.T) (*running, holders) {
	t.Helper()
	s := start(t)
	file, err := directory.ParseFile(strings.NewReader(strings.Replace(exchanging, "\nvendors:", synclyApp+"vendors:", 1)))
	must(t, err)
	h := holdersOf(t, "default")
	for _, c := range file.Clients {
		h.secrets["client "+c.ID] = c.Secret.Expose()
	}
	for _, i := range file.Integrations {
		h.secrets["integration "+i.ID] = i.PartnerToken.Expose()
	}
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	return s, h
}

// exchange asks for a token for documents, with more parameters than the subject token.
func (s *running) exchange(t testing.TB, by credential, subject string, more ...string) answer {
	t.Helper()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject}, "subject_token_type": {accessTokenURN},
		"audience": {documentsAPI}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return s.token(t, by, form.Encode())
}

func tokenIn(c credential) string { return strings.TrimPrefix(c[0], "Authorization: Bearer ") }

func actIn(t testing.TB, token string) string {
	t.Helper()
	text, err := json.Marshal(claimsOf(t, token)["act"])
	must(t, err)
	return string(text)
}

// TestTokenExchange: section 7 of the requirements, RFC 8693.
func TestTokenExchange(t *testing.T) {
	s, h := startExchanging(t)
	web := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read documents:write")
	user, own := web.Access, s.issue(t, h.client("gatekeeper"), documentsAPI)
	header, rest, _ := strings.Cut(user, ".")
	revoked := s.tokensFor(t, h, "alice", "acme", "documents:read").Access
	if a := s.send(t, "POST", "/oauth2/revoke", url.Values{"token": {revoked}}.Encode(),
		append(h.client("web-app"), "Content-Type: application/x-www-form-urlencoded")...); a.status != 200 {
		t.Fatalf("not revoked: %v", a)
	}
	gatekeeper := h.client("gatekeeper")
	for _, row := range []struct {
		rule    string
		by      credential
		subject string
		more    []string
		code    string // of the error
		scope   string // of the token
	}{
		{"TX-01 §2.2.1 an exchange", gatekeeper, user, nil, "", "documents:read documents:write"},
		{"TX-02 §2.1 no subject_token", gatekeeper, "", nil, "invalid_request", ""},
		{"TX-02 §2.1 no subject_token_type", gatekeeper, user, []string{"subject_token_type", ""}, "invalid_request", ""},
		{"TX-02 §2.1 an actor_token without its type", gatekeeper, user, []string{"actor_token", own}, "invalid_request", ""},
		{"TX-02 §2.1 an actor_token_type without its token", gatekeeper, user, []string{"actor_token_type", accessTokenURN}, "invalid_request", ""},
		{"TX-03 §2.2.2 garbage", gatekeeper, "garbage", nil, "invalid_request", ""},
		{"TX-03 §2.2.2 tampered", gatekeeper, header + ".e30" + rest, nil, "invalid_request", ""},
		{"TX-03 §2.2.2 an actor that is garbage", gatekeeper, user, []string{"actor_token", "garbage", "actor_token_type", accessTokenURN}, "invalid_request", ""},
		{"TX-03 §2.2.2 a token of another tenant", gatekeeper, s.foreignToken(t), nil, "invalid_request", ""},
		{"TX-04 §2.2.2 an unknown target", gatekeeper, user, []string{"audience", "https://nobody.example"}, "invalid_target", ""},
		{"TX-04 §2.2.2 a target that is not the client's", h.client("indexer"), user, []string{"audience", "https://payments.example"}, "invalid_target", ""},
		{"TX-05 §2.1 fewer scopes", gatekeeper, user, []string{"scope", "documents:read"}, "", "documents:read"},
		{"TX-05 §2.1 a scope of the client that the subject lacks", gatekeeper, s.tokensFor(t, h, "alice", "acme", "documents:read").Access,
			[]string{"scope", "documents:write"}, "invalid_scope", ""},
		{"TX-05 §2.1 a scope of the subject that the client lacks", h.client("indexer"), user, []string{"scope", "documents:write"}, "invalid_scope", ""},
		{"TX-05 §2.1 another organization", gatekeeper, user, []string{"org", "globex"}, "invalid_request", ""},
		{"TX-07 §4.4 a third party", h.client("stranger"), user, nil, "unauthorized_client", ""},
		{"TX-07 §4.4 a client that is not registered for it", h.client("documents-api"), user, nil, "unauthorized_client", ""},
		{"TX-07 §4.4 a client of another organization", h.client("globex-desk"), user, nil, "access_denied", ""},
		{"TX-07 §4.4 an API key of another organization", h.client("globex-desk"), h.secret("key alice-read"), nil, "unauthorized_client", ""},
		{"TX-07 §4.4 a pair of another vendor", h.client("scanly-app"), tokenIn(h.partner("backupco", "backupco-acme")), nil, "unauthorized_client", ""},
		{"TX-07 §4.4 an integration of another client", h.client("scanly-app"), h.secret("integration syncly-acme"), nil, "unauthorized_client", ""},
		{"TX-07 §4.1 an actor token of another client", h.client("indexer"), user, []string{"actor_token", own, "actor_token_type", accessTokenURN}, "invalid_request", ""},
		{"TX-08 an ID token", gatekeeper, web.ID, nil, "invalid_request", ""},
		{"TX-08 an ID token by its type", gatekeeper, web.ID, []string{"subject_token_type", "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request", ""},
		{"TX-08 a refresh token", gatekeeper, web.Refresh, nil, "invalid_request", ""},
		{"TX-08 a refresh token by its type", gatekeeper, web.Refresh, []string{"subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request", ""},
		{"TX-08 a revoked token", gatekeeper, revoked, nil, "invalid_request", ""},
		{"TX-08 a revoked API key", gatekeeper, h.secret("key revoked"), nil, "invalid_request", ""},
		{"TX-08 a password", gatekeeper, h.secret("user alice"), nil, "invalid_request", ""},
		{"TX-09 §2.2.1 the scope is told", h.client("indexer"), user, nil, "", "documents:read"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.exchange(t, row.by, row.subject, row.more...)
			if row.code != "" {
				if got := a.oauthError(t); got != row.code {
					t.Errorf("got %v, want %s", a, row.code)
				}
				return
			}
			got := a.tokens(t)
			if got.Scope != row.scope || got.Type != "Bearer" || a.object(t)["issued_token_type"] != accessTokenURN || got.Refresh != "" || got.ID != "" {
				t.Errorf("issued %v", a)
			}
			claims, before := claimsOf(t, got.Access), claimsOf(t, row.subject)
			for _, name := range []string{"sub", "sub_type", "org", "grant_id", "auth_time"} {
				if claims[name] != before[name] {
					t.Errorf("%s was %v, is %v", name, before[name], claims[name])
				}
			}
			if claims["exp"].(float64) > before["exp"].(float64) {
				t.Error("TX-05 the token outlives its subject token")
			}
		})
	}
}

// foreignToken is one of staging.
func (s *running) foreignToken(t testing.TB) string {
	t.Helper()
	var clients []string
	for holder := range secrets(t, staging) {
		if id, ok := strings.CutPrefix(holder, "client "); ok {
			clients = append(clients, id)
		}
	}
	slices.Sort(clients)
	h := holdersOf(t, staging)
	for _, id := range clients {
		a := s.send(t, "POST", "/t/staging"+tokenPath, clientCredentials, append(h.client(id), "Content-Type: application/x-www-form-urlencoded")...)
		if token, ok := issued(a); ok {
			return token
		}
	}
	t.Fatal("staging gives no token")
	return ""
}

// TestExchangedCredentials: whatever can be sent as a bearer token can be exchanged, by who has to do with it (SYSTEMS 3 and 5),
// and the token loses its power with the facts behind it.
func TestExchangedCredentials(t *testing.T) {
	s, h := startExchanging(t)
	tenant := directory.Tenant("default")
	for _, row := range []struct {
		name       string
		by         string
		subject    string
		claims     map[string]string
		act, scope string
		end        func(context.Context, datastore.Tx) error
	}{
		{"an API key", "gatekeeper", h.secret("key alice-read"), map[string]string{"sub": "alice-read", "sub_type": "apikey", "org": "acme"}, "null", "documents:read",
			func(ctx context.Context, tx datastore.Tx) error {
				return tenant.PutMember(ctx, tx, "acme", "alice", directory.Member{Roles: []string{"admin"}, Status: directory.Active}) // no developer
			}},
		{"a vendor's pair", "partner-app", tokenIn(h.partner("backupco", "backupco-acme")), map[string]string{"sub": "backupco", "sub_type": "vendor", "org": "acme"}, "null", "documents:read",
			func(_ context.Context, tx datastore.Tx) error {
				return tx.Delete(tenant.Integration("acme", "backupco").Path)
			}},
		{"an integration", "syncly-app", h.secret("integration syncly-acme"), map[string]string{"sub": "alice", "sub_type": "user", "org": "acme"}, "null", "documents:read",
			func(_ context.Context, tx datastore.Tx) error {
				return tx.Delete(tenant.Integration("acme", "syncly").Path)
			}},
		{"a client's own token", "gatekeeper", s.issue(t, h.client("indexer"), documentsAPI), map[string]string{"sub": "indexer", "sub_type": "client"},
			`{"sub":"gatekeeper","sub_type":"client"}`, "documents:read",
			func(ctx context.Context, tx datastore.Tx) error {
				return alter(ctx, tx, tenant.Client("indexer"), func(c *directory.Client) { c.Status = directory.Disabled })
			}},
		{"a user's token", "gatekeeper", s.tokensFor(t, h, "carol", "acme", "documents:read").Access, map[string]string{"sub": "carol", "sub_type": "user", "org": "acme"},
			`{"act":{"sub":"web-app","sub_type":"client"},"sub":"gatekeeper","sub_type":"client"}`, "documents:read",
			func(ctx context.Context, tx datastore.Tx) error {
				return tenant.PutMember(ctx, tx, "acme", "carol", directory.Member{Roles: []string{"editor"}, Status: directory.Suspended})
			}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := s.exchange(t, h.client(row.by), row.subject).tokens(t)
			claims := claimsOf(t, got.Access)
			for name, want := range row.claims {
				if claims[name] != want {
					t.Errorf("%s is %v, want %s", name, claims[name], want)
				}
			}
			if claims["client_id"] != row.by || claims["azp"] != row.by || got.Scope != row.scope || actIn(t, got.Access) != row.act {
				t.Errorf("issued %v", claims)
			}
			api := h.client("documents-api")
			if !s.active(t, api, got.Access) {
				t.Fatal("the token is not active")
			}
			s.change(t, row.end)
			if s.active(t, api, got.Access) {
				t.Error("the token is still active after what it rests on has ended")
			}
			if code := s.exchange(t, h.client(row.by), row.subject).oauthError(t); code != "invalid_request" {
				t.Errorf("the subject token is still exchanged: %s", code)
			}
		})
	}
}

func alter[T any](ctx context.Context, tx datastore.Tx, place directory.Place[T], change func(*T)) error {
	record, err := place.Get(ctx, tx)
	if err != nil {
		return err
	}
	change(&record)
	return place.Put(ctx, tx, record)
}

// TestChainsOfActors: RFC 8693 §4.1. Each hop is narrower, and each link must still be allowed to act at every use.
func TestChainsOfActors(t *testing.T) {
	s, h := startExchanging(t)
	user := s.tokensFor(t, h, "alice", "acme", "documents:read documents:write").Access
	first := s.exchange(t, h.client("gatekeeper"), user).tokens(t)
	second := s.exchange(t, h.client("indexer"), first.Access).tokens(t)
	third := s.exchange(t, h.client("archive"), second.Access).tokens(t)
	const gatekeeper = `{"act":{"sub":"web-app","sub_type":"client"},"sub":"gatekeeper","sub_type":"client"}`
	const indexer = `{"act":` + gatekeeper + `,"sub":"indexer","sub_type":"client"}`
	for _, row := range []struct {
		got        tokensOf
		act, scope string
	}{
		{first, gatekeeper, "documents:read documents:write"},
		{second, indexer, "documents:read"},
		{third, `{"act":` + indexer + `,"sub":"archive","sub_type":"client"}`, "documents:read"},
	} {
		if got := actIn(t, row.got.Access); got != row.act || row.got.Scope != row.scope {
			t.Errorf("act is %s with %s, want %s with %s", got, row.got.Scope, row.act, row.scope)
		}
	}
	if a := s.exchange(t, h.client("gatekeeper"), third.Access, "scope", "documents:write"); a.oauthError(t) != "invalid_scope" {
		t.Errorf("a scope came back: %v", a)
	}
	// An actor token of the client itself makes it an actor as well, also for its own user's token.
	own := s.issue(t, h.client("gatekeeper"), documentsAPI)
	again := s.exchange(t, h.client("gatekeeper"), first.Access, "actor_token", own, "actor_token_type", accessTokenURN).tokens(t)
	if got := actIn(t, again.Access); got != `{"act":`+gatekeeper+`,"sub":"gatekeeper","sub_type":"client"}` {
		t.Errorf("with an actor token, act is %s", got)
	}

	api, gateway := h.client("documents-api"), h.key("gateway")
	read := func(token string) string {
		return s.ask(t, gateway, evaluationPath, question(presented(t, bearer(token)), "documents:read", "report")).verdict()
	}
	for _, token := range []string{first.Access, second.Access, third.Access} {
		if !s.active(t, api, token) || read(token) != "allow" {
			t.Fatalf("a token of the chain does not work: %s, %s", actIn(t, token), read(token))
		}
	}
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		return alter(ctx, tx, directory.Tenant("default").Client("indexer"), func(c *directory.Client) { c.GrantTypes = []string{"client_credentials"} })
	})
	if !s.active(t, api, first.Access) || read(first.Access) != "allow" {
		t.Error("the first hop ended with the second")
	}
	for _, token := range []string{second.Access, third.Access} {
		if s.active(t, api, token) || read(token) != "deny" {
			t.Errorf("a token still works after one of its actors may not act: %s, %s", actIn(t, token), read(token))
		}
		if code := s.exchange(t, h.client("archive"), token).oauthError(t); code != "invalid_request" {
			t.Errorf("it is still exchanged: %s", code)
		}
	}
}

// TestExchangedTokensEndWithTheirGrant also when the grant ends elsewhere.
func TestExchangedTokensEndWithTheirGrant(t *testing.T) {
	s, h := startExchanging(t)
	web := s.tokensFor(t, h, "alice", "acme", "openid offline_access documents:read")
	got := s.exchange(t, h.client("gatekeeper"), web.Access).tokens(t)
	last := s.exchange(t, h.client("indexer"), got.Access).tokens(t)
	api := h.client("documents-api")
	if !s.active(t, api, last.Access) {
		t.Fatal("the token is not active")
	}
	if a := s.send(t, "POST", "/oauth2/revoke", url.Values{"token": {web.Refresh}}.Encode(),
		append(h.client("web-app"), "Content-Type: application/x-www-form-urlencoded")...); a.status != 200 {
		t.Fatalf("not revoked: %v", a)
	}
	for _, token := range []string{got.Access, last.Access} {
		if s.active(t, api, token) {
			t.Error("an exchanged token outlives its grant")
		}
	}
}

// TestExchangeNeverLengthens: exchanging a token over and over does not keep it alive.
func TestExchangeNeverLengthens(t *testing.T) {
	s, h := startExchanging(t)
	user := s.tokensFor(t, h, "alice", "acme", "documents:read").Access
	end := claimsOf(t, user)["exp"].(float64)
	token := user
	for range 4 {
		s.clock.advance(time.Minute)
		token = s.exchange(t, h.client("gatekeeper"), token).tokens(t).Access
		if got := claimsOf(t, token)["exp"].(float64); got > end {
			t.Fatalf("the token ends %v s after the first one", got-end)
		}
	}
	s.clock.advance(11 * time.Minute)
	if code := s.exchange(t, h.client("gatekeeper"), token).oauthError(t); code != "invalid_request" {
		t.Errorf("after its end: %s", code)
	}
}
