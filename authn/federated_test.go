package authn

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
)

// federatedWorld has a client that a CI job is, when it runs for the branch main.
func federatedWorld(t *testing.T) *world {
	w := newWorld(t)
	put(w, testTenant.Client("deploy"), w.deploy())
	put(w, testTenant.Federated(w.provider.URL, "repo:acme/site"), directory.Alias{ID: "deploy"})
	return w
}

func (w *world) deploy() directory.Client {
	return directory.Client{Kind: "service", Party: "first", Status: directory.Active, Org: "acme", Scopes: []string{"documents:read"},
		FederatedCredentials: []directory.FederatedCredential{{Issuer: w.provider.URL, Subject: "repo:acme/site", Audience: "https://mandate.example",
			Algorithm: "ES256", Claims: map[string]string{"ref": "main"}}}}
}

func (w *world) assertion(others map[string]any) string {
	return signed(w.t, jwt.SigningMethodES256, w.key, map[string]any{"kid": "k1", "typ": "JWT"}, with(map[string]any{"iss": w.provider.URL, "sub": "repo:acme/site",
		"aud": "https://mandate.example", "iat": w.now().Unix(), "exp": w.now().Add(10 * time.Minute).Unix(), "ref": "main"}, others))
}

func (w *world) federated(assertion string) (*Principal, error) {
	r := w.memory.Begin()
	defer r.End()
	return w.a.Federated(w.t.Context(), r, directory.NewSecret(assertion))
}

// TestFederated: RFC 7523 §3.
func TestFederated(t *testing.T) {
	w := federatedWorld(t)
	p, err := w.federated(w.assertion(nil))
	if err != nil {
		t.Fatal(err)
	}
	if p.Type != Client || p.Subject != "deploy" || p.Org != "acme" || p.Methods[0] != "federated" ||
		p.Credential != (CredentialRef{Type: "federated", ID: w.provider.URL}) {
		t.Errorf("got %+v", p)
	}
	type object = map[string]any
	seconds := func(d time.Duration) int64 { return w.now().Add(d).Unix() }
	for _, row := range []struct {
		name, assertion string
		want            bool
	}{
		{"the same again, without a jti", w.assertion(nil), true},
		{"§3 item 7: with a jti", w.assertion(object{"jti": "1"}), true},
		{"§3 item 7: with the same jti", w.assertion(object{"jti": "1"}), false},
		{"§3 item 7: the same jti in another assertion", w.assertion(object{"jti": "1", "iat": seconds(-time.Second)}), false},
		{"an empty jti", w.assertion(object{"jti": ""}), false},
		{"a jti that is no text", w.assertion(object{"jti": 1}), false},
		{"one of two audiences", w.assertion(object{"aud": []string{"https://other.example", "https://mandate.example"}}), true},
		{"§3 item 1: another issuer", w.assertion(object{"iss": "https://ci.globex.example"}), false},
		{"§3 item 1: without an issuer", w.assertion(object{"iss": nil}), false},
		{"§3 item 2: another subject", w.assertion(object{"sub": "repo:acme/site2"}), false},
		{"§3 item 2: without a subject", w.assertion(object{"sub": nil}), false},
		{"§3 item 3: another audience", w.assertion(object{"aud": "https://other.example"}), false},
		{"§3 item 3: without an audience", w.assertion(object{"aud": nil}), false},
		{"§3 item 4: without an end", w.assertion(object{"exp": nil}), false},
		{"§3 item 4: expired", w.assertion(object{"exp": seconds(-time.Minute)}), false},
		{"§3 item 4: an end in ten years", w.assertion(object{"exp": seconds(10 * 365 * 24 * time.Hour)}), false},
		{"§3 item 5: not yet valid", w.assertion(object{"nbf": seconds(time.Minute)}), false},
		{"§3 item 6: issued in the future", w.assertion(object{"iat": seconds(time.Minute)}), false},
		{"§3 item 9: signed by somebody else",
			signed(t, jwt.SigningMethodES256, newECKey(t), object{"kid": "k1"}, object{"iss": w.provider.URL, "sub": "repo:acme/site",
				"aud": "https://mandate.example", "exp": seconds(time.Minute), "ref": "main"}), false},
		{"RFC 8725 §3.1: alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, object{"kid": "k1"}, object{"iss": w.provider.URL,
			"sub": "repo:acme/site", "aud": "https://mandate.example", "exp": seconds(time.Minute), "ref": "main"}), false},
		{"RFC 8725 §3.1: another algorithm than the rule's", signed(t, jwt.SigningMethodHS256, []byte("x"), object{"kid": "k1"}, object{"iss": w.provider.URL,
			"sub": "repo:acme/site", "aud": "https://mandate.example", "exp": seconds(time.Minute), "ref": "main"}), false},
		{"RFC 8725 §3.11: an access token", w.sign(object{"iss": w.provider.URL, "sub": "repo:acme/site", "aud": "https://mandate.example",
			"exp": seconds(time.Minute), "ref": "main"}), false},
		{"another claim than the rule wants", w.assertion(object{"ref": "feature"}), false},
		{"a claim of another type", w.assertion(object{"ref": []string{"main"}}), false},
		{"without the claim that the rule wants", w.assertion(object{"ref": nil}), false},
		{"no JWT", "x", false},
		{"nothing", "", false},
	} {
		_, err := w.federated(row.assertion)
		if (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
		if !row.want {
			if err := wantError(err, Invalid, ""); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	}

	w.provider.down.Store(true)
	w.advance(keysFresh)
	if _, err := w.federated(w.assertion(nil)); err != nil {
		t.Errorf("while the issuer is down: %v", err)
	}
	without := w.deploy()
	without.FederatedCredentials = nil
	put(w, testTenant.Client("deploy"), without)
	if err := wantError(second(w.federated(w.assertion(nil))), Invalid, ""); err != nil {
		t.Errorf("without the trust rule: %v", err)
	}
	put(w, testTenant.Client("deploy"), w.deploy())
	put(w, testTenant.Org("acme"), directory.Org{Status: directory.Suspended})
	if err := wantError(second(w.federated(w.assertion(nil))), Inactive, "org_suspended"); err != nil {
		t.Error(err)
	}
}
