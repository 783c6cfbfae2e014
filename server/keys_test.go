package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// listedKey is a key as the administrative API shows it.
type listedKey struct {
	Kid, Alg, Status string
	CreatedAt        time.Time `json:"created_at"`
	SignsFrom        time.Time `json:"signs_from"`
}

func (a answer) keys(t testing.TB) []listedKey {
	t.Helper()
	var listed struct{ Keys []listedKey }
	if err := json.Unmarshal([]byte(a.body), &listed); err != nil || a.status != http.StatusOK || len(listed.Keys) == 0 {
		t.Fatalf("not a list of keys: %v", a)
	}
	return listed.Keys
}

func TestKeysAreForThoseWhoManageTheTenant(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	kid := s.send(t, "GET", "/v1/keys", "", h.pair("tenant-admin")...).keys(t)[0].Kid
	for _, request := range []struct{ method, path, body string }{
		{"GET", "/v1/keys", ""},
		{"POST", "/v1/keys/rotate", `{}`},
		{"POST", "/v1/keys/" + kid + "/revoke", ""},
	} {
		for _, row := range []struct {
			name   string
			as     credential
			status int
			code   string
		}{
			{"nobody", nil, http.StatusUnauthorized, "credential_missing"},
			{"a wrong credential", bearer("wrong"), http.StatusUnauthorized, "credential_invalid"},
			{"who may only ask", h.key("gateway"), http.StatusForbidden, "scope_missing"},
			{"who manages one organization", h.key("acme-manager"), http.StatusForbidden, "wrong_org"},
			{"a user", h.user("alice", "alice"), http.StatusForbidden, "scope_missing"},
			{"a token that may only ask", bearer(s.issue(t, h.client("documents-api"), publicURL)), http.StatusForbidden, "insufficient_scope"},
			{"an administrator of another tenant", holdersOf(t, staging).client("operator"), http.StatusUnauthorized, "credential_invalid"},
		} {
			a := s.ask(t, row.as, request.path, request.body)
			if request.method == "GET" {
				a = s.send(t, "GET", request.path, "", row.as...)
			}
			if code, _ := a.object(t)["code"].(string); a.status != row.status || code != row.code || a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s by %s: %v, want %d %s", request.method, request.path, row.name, a, row.status, row.code)
			}
		}
	}
	if keys := s.send(t, "GET", "/v1/keys", "", h.pair("tenant-admin")...).keys(t); len(keys) != 1 || keys[0].Kid != kid {
		t.Errorf("a refused request changed the keys: %v", keys)
	}
}

func TestRefusedKeyRequests(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	for _, row := range []struct {
		name, path, body string
		status           int
		code             string
	}{
		{"an unknown algorithm", "/v1/keys/rotate", `{"alg":"HS256"}`, http.StatusBadRequest, "invalid_request"},
		{"no algorithm", "/v1/keys/rotate", `{"alg":"none"}`, http.StatusBadRequest, "invalid_request"},
		{"an unknown member", "/v1/keys/rotate", `{"algorithm":"ES256"}`, http.StatusBadRequest, "invalid_request"},
		{"another case", "/v1/keys/rotate", `{"Now":true}`, http.StatusBadRequest, "invalid_request"},
		{"a wrong type", "/v1/keys/rotate", `{"now":"true"}`, http.StatusBadRequest, "invalid_request"},
		{"no object", "/v1/keys/rotate", `[]`, http.StatusBadRequest, "invalid_request"},
		{"an unknown key", "/v1/keys/unknown/revoke", ``, http.StatusNotFound, "key_not_found"},
		{"a key that can be none", "/v1/keys/%00%ff/revoke", ``, http.StatusNotFound, "key_not_found"},
		{"another path as a key", "/v1/keys/..%2Fgrants/revoke", ``, http.StatusNotFound, "key_not_found"},
	} {
		a := s.ask(t, admin, row.path, row.body)
		if code, _ := a.object(t)["code"].(string); a.status != row.status || code != row.code {
			t.Errorf("%s: %v, want %d %s", row.name, a, row.status, row.code)
		}
	}
}

// OpenID Connect Core §10.1.1: a new key is published before it signs; and one that is revoked is good for nothing any more.
func TestKeysAreRotatedAndRevoked(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	works := func(token string) bool {
		return s.ask(t, bearer(token), evaluationPath, question(caller, "documents:read", "report")).status == http.StatusOK
	}
	published := func(kid string) bool {
		return strings.Contains(s.send(t, "GET", "/.well-known/jwks.json", "").body, kid)
	}
	former := s.issue(t, h.client("documents-api"), publicURL)
	keys := s.ask(t, admin, "/v1/keys/rotate", "").keys(t)
	if len(keys) != 2 || keys[0].Status != "next" || keys[1].Status != "signing" || !published(keys[0].Kid) ||
		keys[0].SignsFrom.Sub(keys[0].CreatedAt) < 10*time.Minute {
		t.Fatalf("after a rotation: %v", keys)
	}
	if !works(former) {
		t.Error("a token from before the rotation is not accepted")
	}
	first := keys[1].Kid
	s.clock.advance(16 * time.Minute)
	if keys := s.send(t, "GET", "/v1/keys", "", admin...).keys(t); keys[0].Status != "signing" || keys[1].Status != "verifying" || keys[1].Kid != first {
		t.Errorf("a quarter of an hour later: %v", keys)
	}
	keys = s.ask(t, admin, "/v1/keys/rotate", `{"alg":"EdDSA","now":true}`).keys(t)
	if len(keys) != 3 || keys[2].Alg != "EdDSA" || keys[2].Status != "signing" {
		t.Errorf("with another algorithm: %v", keys)
	}
	former = s.issue(t, h.client("documents-api"), publicURL)
	signing := keys[0].Kid
	if !works(former) {
		t.Fatal("a token of the new key is not accepted")
	}
	keys = s.ask(t, admin, "/v1/keys/"+signing+"/revoke", "").keys(t)
	if works(former) || published(signing) {
		t.Error("a token of a revoked key is accepted, or the key is published")
	}
	if keys[0].Kid == signing || keys[0].Status != "signing" || !works(s.issue(t, h.client("documents-api"), publicURL)) {
		t.Errorf("no other key signs: %v", keys)
	}

	// Nothing of a key but its public part leaves, and the other tenant has its own.
	var stored directory.SigningKey
	_, err := s.store.Update(t.Context(), func(tx datastore.Tx) (err error) {
		stored, err = directory.Tenant("default").SigningKey(keys[0].Kid).Get(t.Context(), tx)
		return err
	})
	must(t, err)
	if len(stored.Sealed) == 0 || strings.Contains(s.send(t, "GET", "/v1/keys", "", admin...).body, "sealed") {
		t.Error("the list has the private key")
	}
	others := s.send(t, "GET", "/t/staging/v1/keys", "", holdersOf(t, staging).client("operator")...)
	if strings.Contains(others.body, keys[0].Kid) {
		t.Errorf("the other tenant has this key too: %v", others)
	}
}
