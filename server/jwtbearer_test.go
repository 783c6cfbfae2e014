package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore"
	"mandate/directory"
)

// jwtIssuer signs JWTs for others, as a CI system does for its jobs, and publishes its key.
type jwtIssuer struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newJWTIssuer(t *testing.T) *jwtIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := jwk.Import(key.Public())
	must(t, err)
	must(t, public.Set(jwk.KeyIDKey, "k1"))
	i := &jwtIssuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		document := map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
		if r.URL.Path == "/keys" {
			document = map[string]any{"keys": []any{public}}
		}
		_ = json.NewEncoder(w).Encode(document)
	}))
	t.Cleanup(i.Close)
	return i
}

// sign is a JWT that lasts five minutes, when the claims do not say otherwise; nil leaves one out.
func (i *jwtIssuer) sign(t testing.TB, typ string, claims jwt.MapClaims) string {
	t.Helper()
	now := time.Now().Unix()
	all := jwt.MapClaims{"iss": i.URL, "iat": now, "exp": now + 300, "jti": rand.Text()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(jwt.SigningMethodES256, all)
	token.Header["kid"], token.Header["typ"] = "k1", typ
	signed, err := token.SignedString(i.key)
	must(t, err)
	return signed
}

// trusting has a workload that is a client without a secret, and a connection of globex, both by the word of the issuer.
const trusting = `
tenant: default
clients:
  - {id: deploy, org: acme, grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"], scopes: ["documents:read"], audiences: ["https://documents.example"],
     federated_credentials: [{issuer: "ISSUER", subject: "repo:acme/docs:main", audience: "https://mandate.example", algorithm: ES256, claims: {environment: production}}]}
  - {id: globex-desk, secret: "globex-desk-secret-9d0e", org: globex, grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
  - {id: acme-desk, secret: "acme-desk-secret-2b3c", org: acme, grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read"], audiences: ["https://documents.example"]}
orgs:
  - id: globex
    connections: [{id: staff, issuer: "ISSUER", client_id: mandate, audiences: ["documents"], algorithm: ES256}]
`

func startTrusting(t *testing.T) (*running, holders, *jwtIssuer) {
	t.Helper()
	s, i := start(t), newJWTIssuer(t)
	file, err := directory.ParseFile(strings.NewReader(strings.ReplaceAll(trusting, "ISSUER", i.URL)))
	must(t, err)
	h := holdersOf(t, "default")
	for _, c := range file.Clients {
		h.secrets["client "+c.ID] = c.Secret.Expose()
	}
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	return s, h, i
}

// TestWorkloads: a JWT of a configured issuer is an authorization grant, without a stored secret (RFC 7523 §2.1, §3).
func TestWorkloads(t *testing.T) {
	s, h, i := startTrusting(t)
	now := time.Now().Unix()
	job := func(more jwt.MapClaims) jwt.MapClaims {
		claims := jwt.MapClaims{"sub": "repo:acme/docs:main", "aud": publicURL, "environment": "production"}
		maps.Copy(claims, more)
		return claims
	}
	used := i.sign(t, "JWT", job(nil))
	good := i.sign(t, "JWT", job(nil))
	header, rest, _ := strings.Cut(good, ".")
	for _, row := range []struct {
		rule      string
		client    credential
		assertion string
		more      string
		code      string // of the error
	}{
		{"JB-01 a job", nil, used, "", ""},
		{"JB-03 the same assertion again", nil, used, "", "invalid_grant"},
		{"fewer scopes", nil, i.sign(t, "JWT", job(nil)), "&scope=documents:read", ""},
		{"a scope that the client lacks", nil, i.sign(t, "JWT", job(nil)), "&scope=documents:write", "invalid_scope"},
		{"RFC 7523 §2.1 no assertion", nil, "", "", "invalid_request"},
		{"JB-04 garbage", nil, "garbage", "", "invalid_grant"},
		{"JB-04 tampered", nil, header + ".e30" + rest, "", "invalid_grant"},
		{"JB-01 no exp", nil, i.sign(t, "JWT", job(jwt.MapClaims{"exp": nil})), "", "invalid_grant"},
		{"JB-01 expired", nil, i.sign(t, "JWT", job(jwt.MapClaims{"exp": now - 120})), "", "invalid_grant"},
		{"JB-01 not yet valid", nil, i.sign(t, "JWT", job(jwt.MapClaims{"nbf": now + 200})), "", "invalid_grant"},
		{"JB-01 another subject", nil, i.sign(t, "JWT", job(jwt.MapClaims{"sub": "repo:acme/docs:fork"})), "", "invalid_grant"},
		{"JB-02 another audience", nil, i.sign(t, "JWT", job(jwt.MapClaims{"aud": "https://other.example"})), "", "invalid_grant"},
		{"a claim that the rule wants is another one", nil, i.sign(t, "JWT", job(jwt.MapClaims{"environment": "staging"})), "", "invalid_grant"},
		{"an issuer that nobody trusts", nil, i.sign(t, "JWT", job(jwt.MapClaims{"iss": "https://evil.example"})), "", "invalid_grant"},
		{"JB-06 good for ten years", nil, i.sign(t, "JWT", job(jwt.MapClaims{"exp": now + 315360000})), "", "invalid_grant"},
		{"an access token", nil, i.sign(t, "at+jwt", job(nil)), "", "invalid_grant"},
		{"RFC 7521 §4.1 the client_id of the client", nil, i.sign(t, "JWT", job(nil)), "&client_id=deploy", ""},
		{"RFC 7521 §4.1 the client_id of another one", nil, i.sign(t, "JWT", job(nil)), "&client_id=cli-app", "invalid_grant"},
		{"another client authenticates", h.client("acme-desk"), i.sign(t, "JWT", job(nil)), "", "invalid_grant"},
		{"RFC 6749 §5.2 a client that fails to authenticate", basic("acme-desk", "wrong"), i.sign(t, "JWT", job(nil)), "", "invalid_client"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.token(t, row.client, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {row.assertion}}.Encode()+row.more)
			if row.code != "" {
				if got := a.oauthError(t); got != row.code {
					t.Errorf("got %v, want %s", a, row.code)
				}
				return
			}
			got := a.tokens(t)
			claims := claimsOf(t, got.Access)
			if claims["sub"] != "deploy" || claims["client_id"] != "deploy" || claims["sub_type"] != "client" || claims["org"] != "acme" || got.Scope != "documents:read" || got.Refresh != "" {
				t.Errorf("issued %v", claims)
			}
			if !s.active(t, h.client("documents-api"), got.Access) {
				t.Error("the token is not active")
			}
		})
	}
}

// TestExternalTokensAreExchanged by clients of the organization whose provider issued them.
func TestExternalTokensAreExchanged(t *testing.T) {
	s, h, i := startTrusting(t)
	external := i.sign(t, "at+jwt", jwt.MapClaims{"sub": "hanna", "aud": "documents", "exp": time.Now().Unix() + 120})
	got := s.exchange(t, h.client("globex-desk"), external).tokens(t)
	claims := claimsOf(t, got.Access)
	if claims["sub_type"] != "user" || claims["org"] != "globex" || claims["connection"] != "staff" || claims["client_id"] != "globex-desk" || actIn(t, got.Access) != "null" ||
		got.ExpiresIn > 120 || fmt.Sprint(claims["sub"]) == "hanna" {
		t.Errorf("issued %v", claims)
	}
	if code := s.exchange(t, h.client("acme-desk"), external).oauthError(t); code != "unauthorized_client" {
		t.Errorf("by a client of another organization: %s", code)
	}
	for name, token := range map[string]string{
		"an ID token":      i.sign(t, "JWT", jwt.MapClaims{"sub": "hanna", "aud": "documents", "nonce": "n"}),
		"another audience": i.sign(t, "at+jwt", jwt.MapClaims{"sub": "hanna", "aud": "other"}),
		"an expired token": i.sign(t, "at+jwt", jwt.MapClaims{"sub": "hanna", "aud": "documents", "exp": time.Now().Unix() - 120}),
	} {
		if code := s.exchange(t, h.client("globex-desk"), token).oauthError(t); code != "invalid_request" {
			t.Errorf("%s: %s", name, code)
		}
	}
	api := h.client("documents-api")
	if !s.active(t, api, got.Access) {
		t.Fatal("the token is not active")
	}
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		return alter(ctx, tx, directory.Tenant("default").Connection("globex", "staff"), func(c *directory.Connection) { c.Status = directory.Disabled })
	})
	if s.active(t, api, got.Access) {
		t.Error("the token outlives the connection")
	}
}
