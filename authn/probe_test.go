package authn

import (
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mandate/directory"
)

// failing are the names of the checks that went wrong.
func failing(checks []Check) (names []string) {
	for _, check := range checks {
		if !check.OK {
			names = append(names, check.Name)
		}
	}
	return names
}

// TestProbe: what is wrong with a provider is said by name.
func TestProbe(t *testing.T) {
	for _, row := range []struct {
		name     string
		metadata map[string]any
		alter    func(w *world, c *directory.Connection)
		want     string
		says     string
	}{
		{"a good provider", map[string]any{"code_challenge_methods_supported": []string{"plain", "S256"}, "response_types_supported": []string{"code"},
			"scopes_supported": []string{"openid"}, "id_token_signing_alg_values_supported": []string{"ES256"}}, nil, "", ""},
		{"one that says little", nil, nil, "", "does not say"},
		{"another issuer (OpenID Connect Discovery §4.3)", map[string]any{"issuer": "https://other.example"}, nil, "issuer_match", `"https://other.example"`},
		{"a long issuer is not repeated", map[string]any{"issuer": strings.Repeat("x", 5000)}, nil, "issuer_match", `xxx..."`},
		{"no keys", map[string]any{"jwks_uri": nil}, nil, "jwks_uri", "missing"},
		{"keys over http", map[string]any{"jwks_uri": "http://keys.acme.example/"}, nil, "jwks_uri", "https"},
		{"keys elsewhere, where nobody must look", map[string]any{"jwks_uri": "https://10.0.0.1/keys"}, nil, "jwks", "no public address"},
		{"no authorization endpoint", map[string]any{"authorization_endpoint": nil}, nil, "authorization_endpoint", "missing"},
		{"a token endpoint over http", map[string]any{"token_endpoint": "http://acme.example/token"}, nil, "token_endpoint", "https"},
		{"an endpoint with a user", map[string]any{"token_endpoint": "https://a:b@acme.example/token"}, nil, "token_endpoint", "without user"},
		{"no S256 (RFC 7636 §4.2)", map[string]any{"code_challenge_methods_supported": []string{"plain"}}, nil, "pkce", "S256"},
		{"no code flow", map[string]any{"response_types_supported": []string{"id_token"}}, nil, "response_type", "code"},
		{"no openid", map[string]any{"scopes_supported": []string{"email"}}, nil, "scope", "openid"},
		{"other client authentication", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, nil, "client_authentication", ""},
		{"another algorithm", map[string]any{"id_token_signing_alg_values_supported": []string{"RS256"}}, nil, "algorithm", "ES256"},
		{"no key for the algorithm", nil, func(_ *world, c *directory.Connection) { c.Algorithm = "RS256" }, "keys", "0 of 1"},
		{"no key set", nil, func(w *world, _ *directory.Connection) { w.provider.publish(w.t, map[string]crypto.Signer{}) }, "keys", "RFC 7517"},
		{"members of the wrong type", map[string]any{"jwks_uri": []int{1}}, nil, "metadata", "JSON"},
		{"the clocks differ", nil, func(w *world, _ *directory.Connection) { w.advance(10 * time.Minute) }, "clock", "-10m"},
		{"down", nil, func(w *world, _ *directory.Connection) { w.provider.down.Store(true) }, "discovery", "status 503"},
		{"nobody there", nil, func(w *world, _ *directory.Connection) { w.provider.Close() }, "discovery", "No answer"},
		{"no TLS", nil, func(_ *world, c *directory.Connection) { c.Issuer = "http://idp.acme.example" }, "issuer", "https"},
		{"a private network", nil, func(_ *world, c *directory.Connection) { c.Issuer = "https://10.0.0.1" }, "discovery", "no public address"},
		{"the metadata of a cloud", nil, func(_ *world, c *directory.Connection) { c.Issuer = "https://169.254.169.254" }, "discovery", "no public address"},
		{"a host that there is not", nil, func(_ *world, c *directory.Connection) { c.Issuer = "https://none.invalid" }, "discovery", "no public address"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.provider.metadata = row.metadata
			connection := w.connection()
			if row.alter != nil {
				row.alter(w, &connection)
			}
			checks, err := w.a.Probe(t.Context(), connection)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(failing(checks), " "); got != row.want || !strings.Contains(fmt.Sprint(checks), row.says) {
				t.Errorf("went wrong: %q, want %q, in %v", got, row.want, checks)
			}
			for _, check := range checks {
				if len(check.Detail) > 400 || check.Detail == "" || strings.Contains(check.Detail, "dial") || strings.Contains(check.Detail, "127.0.0.1") {
					t.Errorf("%s says %q", check.Name, check.Detail)
				}
			}
		})
	}
}

// TestProbeIsBounded: in what it reads, follows, and in how many there are at once.
func TestProbeIsBounded(t *testing.T) {
	asked := make(chan string, 10)
	var answer http.HandlerFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		answer(w, r)
	}))
	defer server.Close()
	p := NewProviders(ProviderOptions{AllowHTTP: true, Now: time.Now})
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		says   string
	}{
		{"a redirect into a private network", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/secret", http.StatusFound)
		}, "status 302"},
		{"an answer without end", func(w http.ResponseWriter, _ *http.Request) {
			for range 40 {
				_, _ = w.Write([]byte(strings.Repeat(" ", 1<<16)))
			}
		}, "at most 1024 KiB"},
		{"an answer that is no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			connection, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = connection.Write([]byte("secret of something else\r\n"))
				_ = connection.Close()
			}
		}, "No answer"},
		{"a document that is no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<secret>")) }, "not a JSON object"},
		{"a document with a member twice", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"issuer":"a","issuer":"b"}`)) }, "not a JSON object"},
	} {
		answer = row.answer
		checks, err := p.probe(t.Context(), directory.Connection{Issuer: server.URL, Algorithm: "ES256"})
		text, _ := json.Marshal(checks)
		if err != nil || len(failing(checks)) != 1 || !strings.Contains(string(text), row.says) || strings.Contains(string(text), "secret") {
			t.Errorf("%s: %s %v", row.name, text, err)
		}
		if path := <-asked; path != "/.well-known/openid-configuration" || len(asked) > 0 {
			t.Errorf("%s: asked for %s and %d more", row.name, path, len(asked))
		}
	}
	for range probesAtOnce {
		p.probing <- struct{}{}
	}
	_, err := p.probe(t.Context(), directory.Connection{Issuer: server.URL})
	if err := wantError(err, Busy, "too_many_tests"); err != nil {
		t.Error(err)
	}
}

// TestConnectionOfADomain: a connection for a domain signs in its people and nobody else's, and when it is disabled nobody else does.
func TestConnectionOfADomain(t *testing.T) {
	w := newWorld(t)
	for _, domain := range []string{"acme.example", "acme.test", "acme.invalid"} {
		put(w, testTenant.VerifiedDomain(domain), directory.Alias{ID: "acme"})
	}
	for id, domain := range map[string]string{"aaa": "acme.test", "bbb": "acme.invalid"} {
		connection := w.connection()
		connection.Domain, connection.Audiences = domain, []string{id}
		if id == "bbb" {
			connection.Status = directory.Disabled
		}
		w.connect("acme", id, connection)
		put(w, testTenant.DomainConnection("acme", domain), directory.Alias{ID: id})
	}
	got := map[string]string{}
	for _, email := range []string{"bob@acme.example", "bob@acme.test", "bob@acme.invalid", "bob@sub.acme.test"} {
		r := w.memory.Begin()
		_, id, _, err := w.a.ConnectionFor(t.Context(), r, email)
		r.End()
		if err != nil {
			t.Fatal(err)
		}
		got[email] = id
	}
	want := map[string]string{"bob@acme.example": "acme-idp", "bob@acme.test": "aaa", "bob@acme.invalid": "", "bob@sub.acme.test": ""}
	if !maps.Equal(got, want) {
		t.Errorf("signed in by %v, want %v", got, want)
	}
}
