package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore/memo"
	"mandate/directory"
)

// jwkOf is the JWK of a key, with further members.
func jwkOf(t testing.TB, key any, more map[string]any) map[string]any {
	t.Helper()
	entry, err := jwk.Import(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	maps.Copy(members, more)
	return members
}

func jwksOf(keys ...map[string]any) map[string]any {
	list := []any{}
	for _, key := range keys {
		list = append(list, key)
	}
	return map[string]any{"keys": list}
}

func newKey(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signer is a house in which a client signs assertions.
type signer struct {
	*oauthHouse
	keys map[string]crypto.Signer // by algorithm
	used int
}

func newSigner(t testing.TB) *signer {
	s := &signer{oauthHouse: newOAuthHouse(t), keys: map[string]crypto.Signer{}}
	var set []map[string]any
	for _, alg := range []string{"ES256", "ES384", "EdDSA", "RS256"} {
		s.keys[alg] = newKey(t, alg)
		set = append(set, jwkOf(t, s.keys[alg].Public(), map[string]any{"kid": "k-" + alg}))
	}
	s.keys["PS256"] = s.keys["RS256"]
	s.client("signs", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(set...)})
	return s
}

// claims are those of a good assertion, changed.
func (s *signer) claims(changes map[string]any) map[string]any {
	s.used++
	return with(map[string]any{"iss": "signs", "sub": "signs", "aud": oauthIssuer, "jti": fmt.Sprint("jti-", s.used),
		"iat": s.clock.Unix(), "exp": s.clock.Add(time.Minute).Unix()}, changes)
}

func (s *signer) presentJWT(assertion string, more func(*Presented)) (*Principal, error) {
	p := Presented{Registered: true, Basic: BasicClient, Assertion: directory.NewSecret(assertion), AssertionType: jwtAssertion,
		Method: "POST", URL: oauthIssuer + "/oauth2/introspect"}
	if more != nil {
		more(&p)
	}
	return s.present(p)
}

const (
	good        = "signs private_key_jwt"
	genericJWT  = "invalid: the credential is not valid"
	problemWith = "invalid: the client_assertion "
	replayed    = "invalid: the assertion was used before"
)

func TestAssertionClaims(t *testing.T) {
	s := newSigner(t)
	at := func(d time.Duration) int64 { return s.clock.Add(d).Unix() }
	for _, row := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		{"JB-01 RFC 7523 §3: all there", nil, good},
		{"JB-01 RFC 7523 §3(1): no iss", map[string]any{"iss": nil}, problemWith + "must have the client_id as its iss"},
		{"JB-01 RFC 7523 §3(1): another iss", map[string]any{"iss": "other"}, problemWith + "must have the client_id as its iss"},
		{"JB-01 RFC 7523 §3(2): no sub", map[string]any{"sub": nil}, problemWith + "must have the client_id as its iss"},
		{"JB-01 RFC 7523 §3(2): sub of another client", map[string]any{"iss": "other", "sub": "other"}, genericJWT},
		{"JB-02 RFC 7523 §3(3): no aud", map[string]any{"aud": nil}, problemWith},
		{"JB-02 RFC 7523 §3(3): another server", map[string]any{"aud": "https://evil.example"}, problemWith + "must have the issuer"},
		{"JB-02 RFC 7523 §3(3): the issuer with a slash", map[string]any{"aud": oauthIssuer + "/"}, problemWith + "must have the issuer"},
		{"JB-02 RFC 7523 §3(3): the tenant beside", map[string]any{"aud": oauthIssuer + "/t/other"}, problemWith + "must have the issuer"},
		{"JB-02 RFC 7523 §3(3): a number", map[string]any{"aud": 7}, problemWith},
		{"JB-02 RFC 7523 §3(3): the token endpoint", map[string]any{"aud": oauthIssuer + "/oauth2/token"}, good},
		{"JB-02 RFC 7523 §3(3): the other token endpoint", map[string]any{"aud": oauthIssuer + "/oauth/token"}, good},
		{"JB-02 RFC 9126 §2: the PAR endpoint", map[string]any{"aud": oauthIssuer + "/oauth2/par"}, good},
		{"JB-02 RFC 7523 §3(3): this very endpoint", map[string]any{"aud": oauthIssuer + "/oauth2/introspect"}, good},
		{"JB-02 RFC 7519 §4.1.3: one of several", map[string]any{"aud": []string{"https://other.example", oauthIssuer}}, good},
		{"JB-01 RFC 7523 §3(4): no exp", map[string]any{"exp": nil}, problemWith + "must have the time when it expires"},
		{"JB-01 RFC 7523 §3(4): exp is a text", map[string]any{"exp": "tomorrow"}, problemWith},
		{"JB-01 RFC 7523 §3(4): expired", map[string]any{"exp": at(-31 * time.Second)}, problemWith + "has expired"},
		{"JB-01 RFC 7523 §3(4): expired within the leeway", map[string]any{"exp": at(-29 * time.Second)}, good},
		{"JB-06 RFC 7523 §3(4): 5 minutes", map[string]any{"exp": at(5 * time.Minute)}, good},
		{"JB-06 RFC 7523 §3(4): more", map[string]any{"exp": at(5*time.Minute + 31*time.Second)}, problemWith + "must expire within 5 minutes"},
		{"JB-06 RFC 7523 §3(4): ten years", map[string]any{"exp": at(10 * 365 * 24 * time.Hour)}, problemWith + "must expire within 5 minutes"},
		{"JB-06 RFC 7523 §3(4): beyond all time", map[string]any{"exp": 1e300}, problemWith},
		{"JB-01 RFC 7523 §3(5): not yet", map[string]any{"nbf": at(31 * time.Second)}, problemWith + "is from the future"},
		{"JB-01 RFC 7523 §3(5): within the leeway", map[string]any{"nbf": at(29 * time.Second)}, good},
		{"JB-01 RFC 7523 §3(6): issued in the future", map[string]any{"iat": at(31 * time.Second)}, problemWith + "is from the future"},
		{"JB-01 RFC 7523 §3(6): no iat", map[string]any{"iat": nil}, good},
		{"JB-03 RFC 7523 §3(7): no jti", map[string]any{"jti": nil}, problemWith + "must have a jti"},
		{"JB-03 RFC 7523 §3(7): empty jti", map[string]any{"jti": ""}, problemWith + "must have a jti"},
		{"JB-03 RFC 7523 §3(7): jti is a number", map[string]any{"jti": 7}, problemWith + "must have a jti"},
		{"JB-03 RFC 7523 §3(7): long jti", map[string]any{"jti": strings.Repeat("j", 257)}, problemWith + "must have a jti"},
	} {
		assertion := signed(t, jwt.SigningMethodES256, s.keys["ES256"], map[string]any{"kid": "k-ES256"}, s.claims(row.changes))
		if got := outcome(s.presentJWT(assertion, nil)); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
	for _, row := range []struct{ name, clientID, want string }{
		{"JB-05 RFC 7521 §4.2: client_id is the subject", "signs", good},
		{"JB-05 RFC 7521 §4.2: client_id is another", "other", problemWith + "is that of another client"},
	} {
		assertion := signed(t, jwt.SigningMethodES256, s.keys["ES256"], map[string]any{"kid": "k-ES256"}, s.claims(nil))
		if got := outcome(s.presentJWT(assertion, func(p *Presented) { p.ClientID = row.clientID })); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestAssertionSignatures(t *testing.T) {
	s := newSigner(t)
	thief := newKey(t, "ES256")
	s.client("thief", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(jwkOf(t, thief.Public(), map[string]any{"kid": "t"}))})
	one := newKey(t, "ES256")
	s.client("one", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(jwkOf(t, one.Public(), nil))})
	s.client("twins", directory.Client{TokenEndpointAuthMethod: privateKeyJWT,
		JWKS: jwksOf(jwkOf(t, thief.Public(), map[string]any{"kid": "a"}), jwkOf(t, one.Public(), map[string]any{"kid": "a"}))})
	s.client("encrypts", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(jwkOf(t, one.Public(), map[string]any{"use": "enc"}))})
	s.client("pinned", directory.Client{TokenEndpointAuthMethod: privateKeyJWT,
		JWKS: jwksOf(jwkOf(t, s.keys["RS256"].Public(), map[string]any{"alg": "PS256"}))})
	s.client("shared", directory.Client{TokenEndpointAuthMethod: secretBasic, JWKS: jwksOf(jwkOf(t, one.Public(), nil))}, "s")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	s.client("weak", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(map[string]any{
		"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(weak.N.Bytes()), "e": "AQAB"})})
	s.client("off", directory.Client{Status: directory.Disabled, TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(jwkOf(t, one.Public(), nil))})

	spki, err := x509.MarshalPKIXPublicKey(s.keys["RS256"].Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	method := func(alg string) jwt.SigningMethod { return jwt.GetSigningMethod(alg) }
	by := func(alg string, header map[string]any) string {
		return signed(t, method(alg), s.keys[alg], header, s.claims(nil))
	}
	as := func(id, alg string, key any, header map[string]any) string {
		return signed(t, method(alg), key, header, s.claims(map[string]any{"iss": id, "sub": id}))
	}
	h := func(members ...any) map[string]any {
		header := map[string]any{}
		for i := 0; i < len(members); i += 2 {
			header[members[i].(string)] = members[i+1]
		}
		return header
	}
	whole := by("ES256", h("kid", "k-ES256"))
	changed := func(part int, with string) string {
		parts := strings.Split(whole, ".")
		parts[part] = with
		return strings.Join(parts, ".")
	}
	b64 := base64.RawURLEncoding.EncodeToString
	for _, row := range []struct{ name, assertion, want string }{
		{"RFC 7518 §3.4: ES256", by("ES256", h("kid", "k-ES256")), good},
		{"RFC 7518 §3.4: ES384", by("ES384", h("kid", "k-ES384")), good},
		{"RFC 8037 §3.1: EdDSA", by("EdDSA", h("kid", "k-EdDSA")), good},
		{"RFC 7518 §3.3: RS256", by("RS256", h("kid", "k-RS256")), good},
		{"RFC 7518 §3.5: PS256", by("PS256", h("kid", "k-RS256")), good},
		{"RFC 7517 §4.5: no kid, one key suits", by("ES384", nil), good},
		{"RFC 7523bis: typed", by("ES256", h("typ", "client-authentication+jwt")), good},
		{"RFC 7515 §4.1.4: unknown kid", by("ES256", h("kid", "k-other")), genericJWT},
		{"RFC 7515 §4.1.4: kid of another kind of key", by("ES256", h("kid", "k-RS256")), genericJWT},
		{"RFC 7515 §4.1.4: kid is a path", by("ES256", h("kid", "../../clients/thief")), genericJWT},
		{"RFC 7515 §4.1.4: kid is SQL", by("ES256", h("kid", "' OR 1=1 --")), genericJWT},
		{"RFC 7515 §4.1.4: kid is a list", by("ES256", h("kid", []string{"k-ES256"})), problemWith + "has a kid"},
		{"RFC 7515 §4.1.4: kid of another client", signed(t, method("ES256"), thief, h("kid", "t"), s.claims(nil)), genericJWT},
		{"RFC 7517 §4.5: kid that two keys have", as("twins", "ES256", one, h("kid", "a")), genericJWT},
		{"RFC 7517 §4.2: key for encryption", as("encrypts", "ES256", one, nil), genericJWT},
		{"RFC 7517 §4.4: key for another algorithm", as("pinned", "RS256", s.keys["RS256"], nil), genericJWT},
		{"RFC 7517 §4.4: key for this algorithm", as("pinned", "PS256", s.keys["RS256"], nil), "pinned private_key_jwt"},
		{"RFC 7518 §3.3: 1024 bits", as("weak", "RS256", weak, nil), genericJWT},
		{"RFC 7523 §3(9): signed by somebody else", signed(t, method("ES256"), thief, h("kid", "k-ES256"), s.claims(nil)), genericJWT},
		{"RFC 7523 §3(9): unknown client", as("nobody", "ES256", thief, nil), genericJWT},
		{"RFC 7523 §3(9): unknown client, RSA", as("nobody", "RS256", s.keys["RS256"], nil), genericJWT},
		{"RFC 7523 §3(9): unknown client, EdDSA", as("nobody", "EdDSA", s.keys["EdDSA"], nil), genericJWT},
		{"RFC 7523 §3(9): signed by the thief for the thief", as("thief", "ES256", thief, nil), "thief private_key_jwt"},
		{"OA-29 RFC 7591 §2: secret client with keys", as("shared", "ES256", one, nil), genericJWT},
		{"RFC 7521 §4.2: disabled client", as("off", "ES256", one, nil), "inactive: the client is not active"},
		{"RFC 8725 §3.1: alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, s.claims(nil)), problemWith + "must be signed with one of"},
		{"RFC 8725 §3.1: HS256 with the public key", signed(t, method("HS256"), publicPEM, h("kid", "k-RS256"), s.claims(nil)), problemWith + "must be signed with one of"},
		{"RFC 8725 §3.1: HS256 with the DER", signed(t, method("HS256"), spki, h("kid", "k-RS256"), s.claims(nil)), problemWith + "must be signed with one of"},
		{"RFC 8725 §3.1: RS512", signed(t, method("RS512"), s.keys["RS256"], h("kid", "k-RS256"), s.claims(nil)), problemWith + "must be signed with one of"},
		{"RFC 8725 §3.2: ES256 by a P-384 key", changed(0, b64([]byte(`{"alg":"ES256","kid":"k-ES384"}`))), genericJWT},
		{"RFC 8725 §3.10: jku is not fetched", signed(t, method("ES256"), thief, h("jku", "https://evil.example/jwks.json", "kid", "t"), s.claims(nil)), genericJWT},
		{"RFC 8725 §3.10: x5u is not fetched", signed(t, method("ES256"), thief, h("x5u", "https://evil.example/cert.pem"), s.claims(nil)), genericJWT},
		{"RFC 7515 §4.1.3: jwk in the header is no key", signed(t, method("ES256"), thief, h("jwk", jwkOf(t, thief.Public(), nil)), s.claims(nil)), genericJWT},
		{"RFC 7515 §4.1.3: jwk does not matter", by("ES256", h("jwk", jwkOf(t, thief.Public(), nil), "jku", "https://evil.example")), good},
		{"RFC 7515 §4.1.11: crit", by("ES256", h("crit", []string{"exp"}, "kid", "k-ES256")), problemWith + "has critical"},
		{"RFC 8725 §3.11: a DPoP proof", by("ES256", h("typ", "dpop+jwt")), problemWith + "is a JWT for another purpose"},
		{"RFC 7515 §5.2: other payload", changed(1, b64([]byte(`{"iss":"signs","sub":"signs"}`))), genericJWT},
		{"RFC 7515 §5.2: no signature", changed(2, ""), genericJWT},
		{"RFC 7515 §5.2: signature of zeros", changed(2, b64(make([]byte, 64))), genericJWT},
		{"RFC 7515 §3.3: padding", whole + "=", genericJWT},
		{"RFC 7515 §3: two parts", "a.b", genericJWT},
		{"oversized", by("ES256", h("kid", strings.Repeat("k", maxCredentialBytes))), genericJWT},
	} {
		if got := outcome(s.presentJWT(row.assertion, nil)); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestAssertionIsGoodOnce: JB-03, OpenID Connect Core §9. Of many that come at once one passes.
func TestAssertionIsGoodOnce(t *testing.T) {
	s := newSigner(t)
	assertion := signed(t, jwt.SigningMethodES256, s.keys["ES256"], map[string]any{"kid": "k-ES256"}, s.claims(map[string]any{
		"jti": "once", "exp": s.clock.Add(59 * time.Second).Unix()}))
	outcomes := make(chan string, 16)
	var all sync.WaitGroup
	for range cap(outcomes) {
		all.Go(func() { outcomes <- outcome(s.presentJWT(assertion, nil)) })
	}
	all.Wait()
	close(outcomes)
	passed := 0
	for got := range outcomes {
		switch {
		case got == good:
			passed++
		case !strings.HasPrefix(got, replayed):
			t.Errorf("%q", got)
		}
	}
	if passed != 1 {
		t.Errorf("%d of %d passed", passed, cap(outcomes))
	}

	for _, row := range []struct{ name, id, jti, want string }{
		{"the jti in another assertion", "signs", "once", replayed},
		{"another jti", "signs", "twice", good},
		{"the jti of another client", "beside", "once", "beside private_key_jwt"},
	} {
		s.client("beside", directory.Client{TokenEndpointAuthMethod: privateKeyJWT, JWKS: jwksOf(jwkOf(t, s.keys["ES256"].Public(), nil))})
		claims := s.claims(map[string]any{"iss": row.id, "sub": row.id, "jti": row.jti, "exp": s.clock.Add(2 * time.Minute).Unix()})
		if got := outcome(s.presentJWT(signed(t, jwt.SigningMethodES256, s.keys["ES256"], nil, claims), nil)); !strings.HasPrefix(got, row.want) {
			t.Errorf("JB-03 RFC 7523 §3(7): %s: %q, want %q", row.name, got, row.want)
		}
	}

	// Nor does what is remembered let it pass again.
	remembered := memo.New(s.store, memo.Options{Bytes: 64 << 20, Now: s.now})
	presented := Presented{Registered: true, AssertionType: jwtAssertion,
		Assertion: directory.NewSecret(signed(t, jwt.SigningMethodES256, s.keys["ES256"], nil, s.claims(nil)))}
	for _, want := range []string{good, replayed} {
		r := remembered.Begin()
		p, err := s.Authenticate(t.Context(), r, presented)
		r.End()
		if got := outcome(p, err); !strings.HasPrefix(got, want) {
			t.Errorf("JB-03 RFC 7523 §3(7): with a memory: %q, want %q", got, want)
		}
	}

	// The use is forgotten when the assertion is good no more, and not before.
	signedAt := s.clock
	for _, row := range []struct {
		after time.Duration
		want  string
	}{{88 * time.Second, replayed}, {89 * time.Second, problemWith + "has expired"}, {time.Hour, problemWith + "has expired"}} {
		s.clock = signedAt.Add(row.after)
		if _, err := oauthTenant.Sweep(t.Context(), s.store, s.clock); err != nil {
			t.Fatal(err)
		}
		if got := outcome(s.presentJWT(assertion, nil)); !strings.HasPrefix(got, row.want) {
			t.Errorf("JB-03 RFC 7523 §3(7): after %s: %q, want %q", row.after, got, row.want)
		}
	}
}
