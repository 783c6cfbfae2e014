package authn

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
)

// ownToken is an access token of the tenant for the client sync, with other claims beside the usual.
func (w *world) ownToken(others map[string]any) string {
	key := newECKey(w.t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	put(w, testTenant.SigningKey("own"), directory.SigningKey{Algorithm: "ES256", Public: der})
	put(w, testTenant.Client("sync"), directory.Client{Status: directory.Active, Org: "acme"})
	return signed(w.t, jwt.SigningMethodES256, key, map[string]any{"kid": "own", "typ": "at+jwt"}, with(map[string]any{
		"iss": "https://mandate.example", "sub": "sync", "sub_type": "client", "aud": "https://documents.example", "client_id": "sync", "jti": "1",
		"scope": "documents:read", "org": "acme", "iat": w.now().Unix(), "exp": w.now().Add(time.Minute).Unix()}, others))
}

// TestOtherClaims: a claim that a policy has set is never taken for one that says what the token is (RFC 7519 §4: names
// count letter by letter), and policies see it as it was set.
func TestOtherClaims(t *testing.T) {
	w := newWorld(t)
	p, err := w.bearer(w.ownToken(map[string]any{"SCOPE": "manage", "ſcope": "manage", "roleſ": []string{"admin"}, "Org": "globex", "ACT": map[string]any{"sub": "root"},
		"account": uint64(9007199254740993), "limits": map[string]any{"documents": uint64(9007199254740993)}, "azp": "sync"}))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Scopes, []string{"documents:read"}) || p.Roles != nil || p.Org != "acme" || p.Actor != nil {
		t.Errorf("another claim has made it %+v", p)
	}
	claims, err := json.Marshal(p.Claims, json.Deterministic(true))
	want := `{"ACT":{"sub":"root"},"Org":"globex","SCOPE":"manage","account":9007199254740993,"limits":{"documents":9007199254740993},` +
		`"roleſ":["admin"],"ſcope":"manage"}`
	if err != nil || string(claims) != want {
		t.Errorf("policies see %s, %v", claims, err)
	}
}
