package authn

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// prover is a client with a DPoP key, in a house whose tenant has a signing key.
type prover struct {
	*oauthHouse
	key     crypto.Signer
	signing crypto.Signer
	made    int
}

func newProver(t testing.TB) *prover {
	p := &prover{oauthHouse: newOAuthHouse(t), key: newKey(t, "ES256"), signing: newKey(t, "ES256")}
	p.client("sync", directory.Client{})
	public, err := x509.MarshalPKIXPublicKey(p.signing.Public())
	if err != nil {
		t.Fatal(err)
	}
	p.update(func(ctx context.Context, tx datastore.Tx) error {
		return oauthTenant.SigningKey("sig").Put(ctx, tx, directory.SigningKey{Algorithm: "ES256", Public: public})
	})
	return p
}

func (p *prover) thumbprint(key crypto.Signer) string {
	p.t.Helper()
	_, thumbprint, err := directory.PublicKey(jwkOf(p.t, key.Public(), nil))
	if err != nil {
		p.t.Fatal(err)
	}
	return thumbprint
}

// accessToken is a token of the tenant, bound to what is given.
func (p *prover) accessToken(cnf any) string {
	claims := map[string]any{"iss": oauthIssuer, "sub": "sync", "sub_type": "client", "client_id": "sync", "aud": oauthIssuer, "jti": "t1",
		"scope": "decide", "iat": p.clock.Unix(), "exp": p.clock.Add(time.Hour).Unix(), "cnf": cnf}
	return signed(p.t, jwt.SigningMethodES256, p.signing, map[string]any{"typ": "at+jwt", "kid": "sig"}, with(claims, nil))
}

// claims are those of a good proof for a request to the token endpoint, changed.
func (p *prover) claims(changes map[string]any) map[string]any {
	p.made++
	return with(map[string]any{"jti": fmt.Sprint("p-", p.made), "htm": "POST", "htu": tokenURL, "iat": p.clock.Unix(), "nonce": p.Nonce()}, changes)
}

func (p *prover) header(changes map[string]any) map[string]any {
	return with(map[string]any{"typ": "dpop+jwt", "jwk": jwkOf(p.t, p.key.Public(), nil)}, changes)
}

func (p *prover) make(changes map[string]any) string {
	return signed(p.t, jwt.SigningMethodES256, p.key, p.header(nil), p.claims(changes))
}

// prove verifies proofs of a request to the token endpoint.
func (p *prover) prove(proofs ...string) string {
	thumbprint, err := p.Proof(Presented{Proofs: proofs, Method: "POST", URL: tokenURL})
	if err != nil {
		return outcome(nil, err)
	}
	return thumbprint
}

const badProofWith = "bad proof: the DPoP proof "

func TestProofClaims(t *testing.T) {
	p := newProver(t)
	at := func(d time.Duration) int64 { return p.clock.Add(d).Unix() }
	ours := p.thumbprint(p.key)
	const nonce = "nonce required: "
	for _, row := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		{"DP-01 RFC 9449 §5: all there", nil, ours},
		{"DP-02 RFC 9449 §4.3(3): no jti", map[string]any{"jti": nil}, badProofWith + "must have a jti"},
		{"DP-02 RFC 9449 §4.3(3): long jti", map[string]any{"jti": strings.Repeat("j", 257)}, badProofWith + "must have a jti"},
		{"DP-02 RFC 9449 §4.3(3): jti is a number", map[string]any{"jti": 7}, badProofWith},
		{"DP-02 RFC 9449 §4.3(8): no htm", map[string]any{"htm": nil}, badProofWith + "is for another method"},
		{"DP-02 RFC 9449 §4.3(8): another method", map[string]any{"htm": "GET"}, badProofWith + "is for another method"},
		{"DP-02 RFC 9110 §9.1: methods letter by letter", map[string]any{"htm": "post"}, badProofWith + "is for another method"},
		{"DP-02 RFC 9449 §4.3(9): no htu", map[string]any{"htu": nil}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): another path", map[string]any{"htu": oauthIssuer + "/userinfo"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): another host", map[string]any{"htu": "https://evil.example/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): the host as the user", map[string]any{"htu": "https://id.acme.example@evil.example/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): a user before the host", map[string]any{"htu": "https://me@id.acme.example/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): no TLS", map[string]any{"htu": "http://id.acme.example/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): another port", map[string]any{"htu": "https://id.acme.example:8443/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): a path only", map[string]any{"htu": "/oauth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 9449 §4.3(9): without query and fragment", map[string]any{"htu": tokenURL + "?a=b#c"}, ours},
		{"DP-02 RFC 3986 §6.2.2.1: host in capitals", map[string]any{"htu": "HTTPS://ID.Acme.Example/oauth2/token"}, ours},
		{"DP-02 RFC 3986 §6.2.2.1: path in capitals", map[string]any{"htu": oauthIssuer + "/OAuth2/token"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 3986 §6.2.2.2: escapes", map[string]any{"htu": oauthIssuer + "/oauth2/%74oken"}, ours},
		{"DP-02 RFC 3986 §6.2.2.2: an escaped slash", map[string]any{"htu": oauthIssuer + "/oauth2%2Ftoken"}, badProofWith + "is for another URL"},
		{"DP-02 RFC 3986 §6.2.3: default port", map[string]any{"htu": "https://id.acme.example:443/oauth2/token"}, ours},
		{"DP-02 RFC 9449 §4.3(11): no iat", map[string]any{"iat": nil}, badProofWith + "was not made just now"},
		{"DP-02 RFC 9449 §4.3(11): a minute old", map[string]any{"iat": at(-60 * time.Second)}, ours},
		{"DP-02 RFC 9449 §4.3(11): older", map[string]any{"iat": at(-61 * time.Second)}, badProofWith + "was not made just now"},
		{"DP-02 RFC 9449 §4.3(11): in a minute", map[string]any{"iat": at(60 * time.Second)}, ours},
		{"DP-02 RFC 9449 §4.3(11): later", map[string]any{"iat": at(61 * time.Second)}, badProofWith + "was not made just now"},
		{"DP-02 RFC 9449 §4.3(11): beyond all time", map[string]any{"iat": 1e300}, badProofWith},
		{"DP-02 RFC 7519 §4.1.4: expired", map[string]any{"exp": at(-time.Hour)}, badProofWith},
		{"DP-07 RFC 9449 §8: no nonce", map[string]any{"nonce": nil}, nonce},
		{"DP-07 RFC 9449 §8: empty nonce", map[string]any{"nonce": ""}, nonce},
		{"DP-07 RFC 9449 §8: invented nonce", map[string]any{"nonce": "x"}, nonce},
		{"DP-02 RFC 9449 §4.3: a proof without nonce must be good, too", map[string]any{"nonce": nil, "htm": "GET"}, badProofWith},
	} {
		if got := p.prove(p.make(row.changes)); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestProofHeaders(t *testing.T) {
	p := newProver(t)
	other := newKey(t, "ES256")
	jwk := func(key any, more map[string]any) map[string]any { return map[string]any{"jwk": jwkOf(t, key, more)} }
	by := func(alg string, key any, header map[string]any) string {
		return signed(t, jwt.GetSigningMethod(alg), key, p.header(header), p.claims(nil))
	}
	proofBy := func(alg string) (crypto.Signer, string) {
		key := newKey(t, alg)
		return key, by(alg, key, jwk(key.Public(), nil))
	}
	secret := []byte("a secret that both know, of more than 32 bytes")
	oct := map[string]any{"jwk": map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}}
	rsaKey := newKey(t, "RS256")
	spki, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	offCurve := jwkOf(t, p.key.Public(), map[string]any{"y": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})
	large := map[string]any{"kty": "RSA", "e": "AQAB", "n": strings.Repeat("_", 2000)}
	whole := p.make(nil)
	const notGood, wrongKey = badProofWith + "is no JWT with a good signature", badProofWith + "must have a public key as its jwk"

	type row struct {
		name   string
		proofs []string
		want   string
	}
	rows := []row{
		{"DP-02 RFC 9449 §4.3(1): none", nil, ""},
		{"DP-02 RFC 9449 §4.3(1): two", []string{p.make(nil), p.make(nil)}, badProofWith + "was sent more than once"},
		{"DP-02 RFC 9449 §4.3(1): two in one", []string{p.make(nil) + ", " + p.make(nil)}, notGood},
		{"DP-02 RFC 9449 §4.3(2): no JWT", []string{"proof"}, notGood},
		{"DP-02 RFC 9449 §4.3(2): empty", []string{""}, notGood},
		{"DP-02 RFC 9449 §4.3(2): oversized", []string{by("ES256", p.key, map[string]any{"x": strings.Repeat("x", maxCredentialBytes)})}, badProofWith + "is longer than"},
		{"DP-02 RFC 9449 §4.3(4): no typ", []string{by("ES256", p.key, map[string]any{"typ": nil})}, badProofWith + "must have the typ"},
		{"DP-02 RFC 9449 §4.3(4): typ JWT", []string{by("ES256", p.key, map[string]any{"typ": "JWT"})}, badProofWith + "must have the typ"},
		{"DP-02 RFC 9449 §4.3(4): typ is a list", []string{by("ES256", p.key, map[string]any{"typ": []string{"dpop+jwt"}})}, badProofWith + "must have the typ"},
		{"DP-02 RFC 9449 §4.3(5): alg none", []string{by("none", jwt.UnsafeAllowNoneSignatureType, nil)}, notGood},
		{"DP-02 RFC 9449 §4.3(5): HS256 with its own secret", []string{by("HS256", secret, oct)}, notGood},
		{"DP-02 RFC 9449 §4.3(5): HS256 with the public key", []string{by("HS256", spki, jwk(rsaKey.Public(), nil))}, notGood},
		{"DP-02 RFC 9449 §4.3(5): RS384", []string{by("RS384", rsaKey, jwk(rsaKey.Public(), nil))}, notGood},
		{"DP-02 RFC 9449 §4.2: no jwk", []string{by("ES256", p.key, map[string]any{"jwk": nil})}, badProofWith + "must have its public key"},
		{"DP-02 RFC 9449 §4.2: jwk is a text", []string{by("ES256", p.key, map[string]any{"jwk": "x"})}, badProofWith + "must have its public key"},
		{"DP-02 RFC 9449 §4.3(7): private key", []string{by("ES256", p.key, jwk(p.key, nil))}, wrongKey},
		{"DP-02 RFC 9449 §4.3(7): part of a private key", []string{by("RS256", rsaKey, jwk(rsaKey.Public(), map[string]any{"dp": "AQAB"}))}, wrongKey},
		{"DP-02 RFC 9449 §4.3(7): symmetric key", []string{by("ES256", p.key, oct)}, wrongKey},
		{"DP-02 RFC 9449 §4.3(7): public key with k", []string{by("ES256", p.key, jwk(p.key.Public(), map[string]any{"k": "AA"}))}, wrongKey},
		{"DP-02 RFC 7518 §6.2.1: point off the curve", []string{by("ES256", p.key, map[string]any{"jwk": offCurve})}, wrongKey},
		{"DP-02 RFC 7518 §3.3: 12000 bits", []string{by("RS256", rsaKey, map[string]any{"jwk": large})}, wrongKey},
		{"DP-02 RFC 8725 §3.2: RSA key for ES256", []string{by("ES256", p.key, jwk(rsaKey.Public(), nil))}, wrongKey},
		{"DP-02 RFC 8725 §3.2: P-384 key for ES256", []string{by("ES256", p.key, jwk(newKey(t, "ES384").Public(), nil))}, wrongKey},
		{"DP-02 RFC 9449 §4.3(6): key of somebody else", []string{by("ES256", p.key, jwk(other.Public(), nil))}, notGood},
		{"DP-02 RFC 9449 §4.3(6): no signature", []string{whole[:strings.LastIndex(whole, ".")+1]}, notGood},
		{"DP-02 RFC 9449 §4.3(6): other claims", []string{strings.Replace(whole, ".", ".e30", 1)}, notGood},
		{"DP-02 RFC 7515 §4.1.11: crit", []string{by("ES256", p.key, map[string]any{"crit": []string{"b64"}, "b64": false})}, badProofWith + "has critical"},
		{"DP-02 RFC 7515 §4.1.2: jku does not matter", []string{by("ES256", p.key, map[string]any{"jku": "https://evil.example", "kid": "x"})}, p.thumbprint(p.key)},
	}
	for _, alg := range directory.AcceptedAlgorithms() {
		key, proof := proofBy(alg)
		rows = append(rows, row{"DP-02 RFC 9449 §4.3(5): " + alg, []string{proof}, p.thumbprint(key)})
	}
	for _, row := range rows {
		got := p.prove(row.proofs...)
		if row.want == "" && got != "" || !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestThumbprint is the example of RFC 9449 §6.1.
func TestThumbprint(t *testing.T) {
	_, thumbprint, err := directory.PublicKey(map[string]any{"kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
		"y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"})
	if want := "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"; err != nil || thumbprint != want {
		t.Errorf("%q, %v, want %q", thumbprint, err, want)
	}
}

func TestProofIsGoodOnce(t *testing.T) {
	p := newProver(t)
	ours := p.thumbprint(p.key)
	const again, nonce = badProofWith + "was used before", "nonce required: "
	proof := p.make(map[string]any{"jti": "once"})
	outcomes := make(chan string, 16)
	var all sync.WaitGroup
	for range cap(outcomes) {
		all.Go(func() { outcomes <- p.prove(proof) })
	}
	all.Wait()
	close(outcomes)
	passed := 0
	for got := range outcomes {
		switch {
		case got == ours:
			passed++
		case !strings.HasPrefix(got, again):
			t.Errorf("%q", got)
		}
	}
	if passed != 1 {
		t.Errorf("DP-05 RFC 9449 §11.1: %d of %d at once passed", passed, cap(outcomes))
	}

	check := func(name, proof, want string) {
		t.Helper()
		if got := p.prove(proof); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	check("DP-05 RFC 9449 §11.1: the jti in another proof", p.make(map[string]any{"jti": "once"}), again)
	elsewhere := p.make(map[string]any{"jti": "once", "htu": oauthIssuer + "/userinfo"})
	if _, err := p.Proof(Presented{Proofs: []string{elsewhere}, Method: "POST", URL: oauthIssuer + "/userinfo"}); err != nil {
		t.Errorf("DP-05 RFC 9449 §11.1: the jti is used by URL: %v", err)
	}
	check("DP-05 RFC 9449 §11.1: the same URL, written otherwise", p.make(map[string]any{"jti": "once", "htu": "https://ID.acme.example:443/oauth2/token"}), again)
	failed := p.claims(map[string]any{"jti": "tried", "htm": "GET"})
	check("a proof that was refused", signed(t, jwt.SigningMethodES256, p.key, p.header(nil), failed), badProofWith+"is for another method")
	check("is not used", p.make(map[string]any{"jti": "tried"}), ours)

	first := p.Nonce()
	p.clock = p.clock.Add(nonceLifetime)
	second := p.Nonce()
	if first == second {
		t.Fatal("DP-07 RFC 9449 §8: the nonce is for ever")
	}
	used := p.make(map[string]any{"jti": "late", "nonce": first})
	check("DP-07 RFC 9449 §8: the former nonce", used, ours)
	check("DP-05 RFC 9449 §11.1: twice with the former nonce", used, again)
	check("DP-05 RFC 9449 §11.1: used with the former nonce before the turn", p.make(map[string]any{"jti": "once", "nonce": first}), again)
	p.clock = p.clock.Add(nonceLifetime)
	p.Nonce()
	check("DP-07 RFC 9449 §8: the nonce before the former one", p.make(map[string]any{"nonce": first}), nonce)
	check("DP-07 RFC 9449 §8: the former one", p.make(map[string]any{"nonce": second}), ours)
	idle := p.Nonce()
	p.clock = p.clock.Add(time.Hour)
	check("DP-07 RFC 9449 §8: the nonce of an hour ago", p.make(map[string]any{"nonce": idle}), nonce)

	restarted := New(Options{Tenant: oauthTenant, Issuer: oauthIssuer, Now: p.now})
	if _, err := restarted.Proof(Presented{Proofs: []string{p.make(nil)}, Method: "POST", URL: tokenURL}); !strings.HasPrefix(outcome(nil, err), nonce) {
		t.Errorf("DP-05 RFC 9449 §11.1: after a restart: %v", err)
	}
}

// TestFloodOfProofs: however many proofs are used, memory is bounded, and none is good twice.
func TestFloodOfProofs(t *testing.T) {
	p := newProofs(func() time.Time { return time.Unix(0, 0) })
	key := func(i int) memo.Key { return sha256.Sum256(fmt.Append(nil, i)) }
	first := p.nonce()
	for i := range maxProofs {
		if err := p.use(first, key(i)); err != nil {
			t.Fatalf("proof %d: %v", i, err)
		}
	}
	for _, i := range []int{0, maxProofs - 1, maxProofs} {
		if failed := (*Error)(nil); !errors.As(p.use(first, key(i)), &failed) || failed.Kind != NonceRequired {
			t.Errorf("proof %d is taken with a nonce that is full", i)
		}
	}
	second := p.nonce()
	if first == second || p.use(second, key(0)) != nil {
		t.Error("a fetched nonce is not good")
	}
	for i := range maxProofs {
		_ = p.use(second, key(i))
	}
	third := p.nonce()
	for i := range 2 * maxProofs {
		for _, nonce := range []string{first, second} {
			if p.use(nonce, key(i)) == nil {
				t.Fatalf("proof %d is taken with a nonce that is full", i)
			}
		}
	}
	if size := len(p.current.used) + len(p.former.used); third == second || size > 2*maxProofs {
		t.Errorf("%d proofs are noted", size)
	}
}

// TestForeignProofs: one that was made for another server has no nonce of this one, and is good once all the same: after a
// restart and a flood, too, and by a clock that is ahead (RFC 9449 §11.1).
func TestForeignProofs(t *testing.T) {
	time0 := &clock{}
	time0.at.Store(time.Now().UnixNano())
	proof := sha256.Sum256([]byte("proof"))
	p := newProofs(time0.now)
	time0.advance(time.Minute)
	for _, row := range []struct {
		name  string
		ahead time.Duration
		want  bool
	}{
		{"as soon as it is made", 0, true},
		{"a while later", -50 * time.Second, true},
		{"by a clock that is ahead", foreignAhead, true},
		{"by one that is far ahead", foreignAhead + time.Second, false},
		{"from before the start", -61 * time.Second, false},
	} {
		made := time0.now().Add(row.ahead)
		key := sha256.Sum256([]byte(row.name))
		if err := p.useForeign(made, key); (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
		if p.useForeign(made, key) == nil {
			t.Errorf("%s, and again", row.name)
		}
		time0.advance(time.Second)
		if newProofs(time0.now).useForeign(made, key) == nil {
			t.Errorf("%s, and again after a restart", row.name)
		}
	}
	made := time0.now().Add(foreignAhead)
	if err := p.useForeign(made, proof); err != nil {
		t.Fatal(err)
	}
	for generation := range 2 {
		time0.advance(time.Second)
		for i := range maxProofs {
			_ = p.useForeign(time0.now(), sha256.Sum256(fmt.Append(nil, generation, " ", i)))
		}
	}
	if p.useForeign(made, proof) == nil {
		t.Error("again after a flood")
	}
}

func TestTokensAreUsedWithTheirKey(t *testing.T) {
	p := newProver(t)
	const method, url = "POST", oauthIssuer + "/access/v1/evaluation"
	p.clientCAs = nil
	own, other := certify(t, nil, template(p.clock)).certificate, certify(t, nil, template(p.clock)).certificate
	jkt := p.thumbprint(p.key)
	free, bound := p.accessToken(nil), p.accessToken(map[string]any{"jkt": jkt})
	cert, both := p.accessToken(map[string]any{"x5t#S256": certHash(own)}), p.accessToken(map[string]any{"jkt": jkt, "x5t#S256": certHash(own)})
	proof := func(token string, changes map[string]any) []string {
		claims := map[string]any{"htu": url, "ath": tokenHash(directory.NewSecret(token))}
		maps.Copy(claims, changes)
		return []string{p.make(claims)}
	}
	thief := *p
	thief.key = newKey(t, "ES256")
	stolen := []string{thief.make(map[string]any{"htu": url, "ath": tokenHash(directory.NewSecret(bound))})}
	once := proof(bound, nil)
	chain := func(certificates ...*x509.Certificate) []*x509.Certificate { return certificates }
	const passes = "sync token"
	for _, row := range []struct {
		name          string
		authorization string
		proofs        []string
		certificates  []*x509.Certificate
		want          string
	}{
		{"RFC 6750 §2.1: not bound", "Bearer " + free, nil, nil, passes},
		{"RFC 6750 §2.1: not bound, and a proof", "Bearer " + free, proof(free, nil), nil, passes},
		{"RFC 6750 §2.1: not bound, and a certificate", "Bearer " + free, nil, chain(own), passes},
		{"RFC 9449 §7.1: not bound, with the scheme DPoP", "DPoP " + free, proof(free, nil), nil, "invalid: the access token is not bound to a key"},
		{"DP-03 RFC 9449 §7.1: bound, with a proof", "DPoP " + bound, once, nil, passes},
		{"DP-05 RFC 9449 §11.1: the proof again", "DPoP " + bound, once, nil, badProofWith + "was used before"},
		{"DP-03 RFC 9110 §11.1: scheme in small letters", "dpop " + bound, proof(bound, nil), nil, passes},
		{"DP-03 RFC 9449 §7.1: without a proof", "DPoP " + bound, nil, nil, badProofWith + "is missing"},
		{"DP-03 RFC 9449 §4.3(1): two proofs", "DPoP " + bound, append(proof(bound, nil), proof(bound, nil)...), nil, badProofWith + "was sent more than once"},
		{"DP-03 RFC 9449 §4.3(12): no ath", "DPoP " + bound, proof(bound, map[string]any{"ath": nil}), nil, badProofWith + "is for another access token"},
		{"DP-03 RFC 9449 §4.3(12): ath of another token", "DPoP " + bound, proof(free, nil), nil, badProofWith + "is for another access token"},
		{"DP-03 RFC 9449 §4.3(12): key of somebody else", "DPoP " + bound, stolen, nil, "invalid: the access token is bound to another key"},
		{"DP-03 RFC 9449 §4.3(9): for another URL", "DPoP " + bound, proof(bound, map[string]any{"htu": tokenURL}), nil, badProofWith + "is for another URL"},
		{"DP-03 RFC 9449 §4.3(8): for another method", "DPoP " + bound, proof(bound, map[string]any{"htm": "GET"}), nil, badProofWith + "is for another method"},
		{"DP-07 RFC 9449 §9: no nonce", "DPoP " + bound, proof(bound, map[string]any{"nonce": nil}), nil, "nonce required: "},
		{"DP-04 RFC 9449 §7.2: bound, as a bearer token", "Bearer " + bound, nil, nil, "invalid: the access token is bound to a key"},
		{"DP-04 RFC 9449 §7.2: as a bearer token with a proof", "Bearer " + bound, proof(bound, nil), nil, "invalid: the access token is bound to a key"},
		{"MT-03 RFC 8705 §3: with the certificate", "Bearer " + cert, nil, chain(own), passes},
		{"MT-03 RFC 8705 §3: without", "Bearer " + cert, nil, nil, "invalid: the access token is bound to a client certificate"},
		{"MT-03 RFC 8705 §3: with another one", "Bearer " + cert, nil, chain(other), "invalid: the access token is bound to a client certificate"},
		{"MT-03 RFC 8705 §3: not as the first", "Bearer " + cert, nil, chain(other, own), "invalid: the access token is bound to a client certificate"},
		{"MT-03 RFC 8705 §3: with the scheme DPoP", "DPoP " + cert, proof(cert, nil), chain(own), "invalid: the access token is not bound to a key"},
		{"RFC 7800 §3.1: bound twice", "DPoP " + both, proof(both, nil), chain(own), passes},
		{"RFC 7800 §3.1: bound twice, without the certificate", "DPoP " + both, proof(both, nil), nil, "invalid: the access token is bound to a client certificate"},
		{"RFC 7800 §3.1: bound twice, without the proof", "Bearer " + both, nil, chain(own), "invalid: the access token is bound to a key"},
		{"RFC 9449 §7.1: no token", "DPoP ", proof("", nil), nil, "malformed: "},
		{"RFC 9449 §7.1: an API key with the scheme DPoP", "DPoP key", proof("key", nil), nil, "invalid: the credential is not valid"},
	} {
		got := outcome(p.present(Presented{Authorization: []string{row.authorization}, Proofs: row.proofs, Certificates: row.certificates, Method: method, URL: url}))
		if !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestProvedPrincipalsAreNotRemembered: the proof is verified at each use, the token only once. Bearer tokens that are not
// bound stay remembered.
func TestProvedPrincipalsAreNotRemembered(t *testing.T) {
	p := newProver(t)
	remembered := memo.New(p.store, memo.Options{Bytes: 64 << 20, Now: p.now})
	present := func(presented Presented) error {
		r := remembered.Begin()
		defer r.End()
		_, err := p.Authenticate(t.Context(), r, presented)
		return err
	}
	free := Presented{Authorization: []string{"Bearer " + p.accessToken(nil)}}
	for range 2 {
		if err := present(free); err != nil {
			t.Fatal(err)
		}
	}
	if hits := remembered.Stats().Hits; hits != 1 {
		t.Errorf("a bearer token has %d hits, want 1", hits)
	}

	bound := p.accessToken(map[string]any{"jkt": p.thumbprint(p.key)})
	proved := Presented{Authorization: []string{"DPoP " + bound}, Method: "POST", URL: tokenURL,
		Proofs: []string{p.make(map[string]any{"ath": tokenHash(directory.NewSecret(bound))})}}
	if err := present(proved); err != nil {
		t.Fatal(err)
	}
	before := remembered.Stats()
	if got := outcome(nil, present(proved)); !strings.HasPrefix(got, badProofWith+"was used before") {
		t.Errorf("the same request again: %q", got)
	}
	if hits := remembered.Stats().Hits - before.Hits; hits != 1 {
		t.Errorf("%d hits, want 1: the token's", hits)
	}
}

// FuzzProof: whatever is sent as a proof, nothing panics, and a refusal is for the caller. The parts of a proof are encoded
// here, so that the fuzzer gets behind the encoding.
func FuzzProof(f *testing.F) {
	p := newProver(f)
	header, err := json.Marshal(p.header(map[string]any{"alg": "ES256"}))
	if err != nil {
		f.Fatal(err)
	}
	claims, err := json.Marshal(p.claims(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(header), string(claims), make([]byte, 64), p.make(nil))
	f.Add(`{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQ"}}`, `{"htu":"https://[::1]:443/%zz"}`, []byte{}, "a.b.c")
	f.Add(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":""}}`, `{"iat":1e400}`, []byte{1}, "..")
	f.Add(`{"typ":"dpop+jwt","alg":"none","jwk":{"kty":"oct","k":""}}`, `null`, []byte(nil), "")
	f.Fuzz(func(t *testing.T, header, claims string, signature []byte, whole string) {
		b64 := base64.RawURLEncoding.EncodeToString
		for _, proof := range []string{b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64(signature), whole} {
			thumbprint, err := p.Proof(Presented{Proofs: []string{proof}, Method: "POST", URL: tokenURL})
			if failed := (*Error)(nil); err != nil && (!errors.As(err, &failed) || thumbprint != "") {
				t.Fatalf("not for the caller: %q, %v", thumbprint, err)
			}
		}
		_, _ = normalURL(claims)
	})
}
