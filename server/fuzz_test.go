package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Whatever the body is: no 5xx (which a panic is as well), an answer that is JSON, and never an allow for a caller without rights.
func FuzzEvaluationBody(f *testing.F) {
	s := start(f)
	h := holdersOf(f, "default")
	stranger, gateway := h.key("dora-none"), h.key("gateway")
	for _, seed := range []string{
		good, bad, `{}`, `[]`, `{`, `null`, ``, `{"evaluations":[{},{}]}`, `{"evaluations":[` + good + `,` + bad + `],"options":{"evaluations_semantic":"deny_on_first_deny"}}`,
		question(caller, "documents:read", "r"), question(presented(f, h.key("acme-read")), "documents:read", "r"), question(presented(f, h.pair("tenant-admin")), "*", "plan"),
		`{"subject":{"type":"user","id":"bob"},"subject":1}`, `{"Subject":{}}`, `{"subject":{"type":"user","id":"\ud800"}}`, `{"a":1e999}`, strings.Repeat("[", 1000),
		question(named("client", "operator"), "x:y", "plan"), question(named("vendor", "backupco"), "documents:read", "r"), question(named("apikey", "gateway"), "documents:read", "r"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > bodyLimit {
			return // refused before it is read
		}
		for _, path := range []string{evaluationPath, evaluationsPath} {
			for _, by := range []credential{nil, stranger, gateway} {
				a := s.ask(t, by, path, body)
				if a.status >= 500 || (by == nil) != (a.status == http.StatusUnauthorized) {
					t.Fatalf("%s: %d %v", path, a.status, a)
				}
				if !json.Valid([]byte(a.body)) {
					t.Fatalf("the answer is no JSON: %q", a.body)
				}
				// Nothing grants the stranger anything, not even about itself.
				if strings.Contains(a.body, `"decision":true`) && !slices.Equal(by, gateway) {
					t.Fatalf("an allow for a caller without rights: %v", a)
				}
			}
		}
	})
}

// Whatever the form is: no 5xx, no token for one who is no client, and none with a scope that the client has not.
func FuzzTokenForm(f *testing.F) {
	s := start(f)
	h := holdersOf(f, "default")
	sync, gateway := h.client("acme-sync"), h.key("gateway")
	for _, seed := range []string{
		clientCredentials, clientCredentials + "&scope=documents:read", clientCredentials + "&resource=https%3A%2F%2Fdocuments.example&audience=x", "%", "&&&", "=", "a;b",
		clientCredentials + "&client_id=acme-sync&client_secret=wrong", "grant_type=password&username=alice&password=x", clientCredentials + "&org=globex", clientCredentials + "&scope=%FF%00",
		url.Values{"grant_type": {"client_credentials"}, "scope": {"decide manage"}, "audience": {publicURL}}.Encode(),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		if len(form) > bodyLimit {
			return
		}
		for _, by := range []credential{nil, gateway, sync} {
			a := s.token(t, by, form)
			if a.status >= 500 || a.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %v", a.status, a)
			}
			token, ok := issued(a)
			if !ok {
				continue
			}
			if !slices.Equal(by, sync) {
				t.Fatalf("a token for %v: %v", by, a)
			}
			if _, claims := s.verify(t, "default", token); claims["scope"] != "documents:read" || claims["sub"] != "acme-sync" || claims["aud"] != "https://documents.example" {
				t.Fatalf("a token with more than the client has: %v", claims)
			}
		}
	})
}
