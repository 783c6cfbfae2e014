package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/directory"
)

// AT-06 to AT-08, BE-03: what is not an access token of this tenant for this server, or not any more, is refused as a
// caller's credential and as a subject's, in the same words.
func TestForgedTokens(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	gateway := h.key("gateway")
	now := s.clock.now()
	claims := func(change jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"iss": publicURL, "sub": "operator", "sub_type": "client", "client_id": "operator", "azp": "operator", "aud": publicURL, "scope": "decide manage",
			"jti": "a-jti", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return c
	}
	own := func(typ string, change jwt.MapClaims) string {
		return s.sign(t, "default", typ, claims(change))
	}
	// The public side, which everybody has.
	key, _ := s.keySet(t, "default").Key(0)
	kid, _ := key.KeyID()
	var public crypto.PublicKey
	must(t, jwk.Export(key, &public))
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	asJWK, err := json.Marshal(key)
	must(t, err)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	strangerJWK, err := jwk.Import(stranger.Public())
	must(t, err)
	forged := func(method jwt.SigningMethod, key any, header map[string]any) string {
		token := jwt.NewWithClaims(method, claims(nil))
		maps.Copy(token.Header, map[string]any{"typ": "at+jwt", "kid": kid})
		maps.Copy(token.Header, header)
		maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
		signed, err := token.SignedString(key)
		must(t, err)
		return signed
	}
	ourKey := s.signingKey(t, kid)
	evil := func(header map[string]any) string { return forged(jwt.SigningMethodES256, stranger, header) }
	good := own("at+jwt", nil)
	part := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	reheaded := func(header string) string { return b64([]byte(header)) + "." + part[1] + "." + part[2] }
	signature, err := base64.RawURLEncoding.DecodeString(part[2])
	must(t, err)
	swapped := append(append([]byte{}, signature[32:]...), signature[:32]...)

	question := question(caller, "documents:read", "report")
	for _, fine := range []string{good, own("AT+JWT", nil), own("application/at+jwt", nil), own("at+jwt", jwt.MapClaims{"aud": []string{"https://x.example", publicURL}}),
		own("at+jwt", jwt.MapClaims{"iat": now.Add(20 * time.Second).Unix()}), own("at+jwt", jwt.MapClaims{"exp": now.Add(-20 * time.Second).Unix()}),
		forged(jwt.SigningMethodES256, ourKey, nil)} {
		if a := s.ask(t, bearer(fine), evaluationPath, question); a.status != http.StatusOK {
			t.Fatalf("a good token is refused, so the others prove nothing: %v", a)
		}
	}
	staged := s.sign(t, staging, "at+jwt", claims(nil))
	stagedAsOurs := s.sign(t, staging, "at+jwt", claims(jwt.MapClaims{"iss": publicURL + "/t/staging", "aud": publicURL + "/t/staging"}))
	for rule, token := range map[string]string{
		"alg none":                             forged(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"alg none with our signature":          reheaded(`{"alg":"none","typ":"at+jwt","kid":"` + kid + `"}`),
		"alg NONE in capitals":                 reheaded(`{"alg":"NoNe","typ":"at+jwt","kid":"` + kid + `"}`),
		"no alg":                               reheaded(`{"typ":"at+jwt","kid":"` + kid + `"}`),
		"alg is a number":                      reheaded(`{"alg":256,"typ":"at+jwt","kid":"` + kid + `"}`),
		"alg ES384 with our signature":         reheaded(`{"alg":"ES384","typ":"at+jwt","kid":"` + kid + `"}`),
		"HS256 with the public key in DER":     forged(jwt.SigningMethodHS256, der, nil),
		"HS256 with the public key in PEM":     forged(jwt.SigningMethodHS256, asPEM, nil),
		"HS256 with the public key as JWK":     forged(jwt.SigningMethodHS256, asJWK, nil),
		"HS256 with an empty key":              forged(jwt.SigningMethodHS256, []byte{}, nil),
		"another key under our kid":            evil(nil),
		"another key under its own kid":        evil(map[string]any{"kid": "stranger"}),
		"an empty kid":                         evil(map[string]any{"kid": ""}),
		"no kid":                               evil(map[string]any{"kid": nil}),
		"a kid that is a number":               evil(map[string]any{"kid": 7}),
		"a kid that is a list":                 evil(map[string]any{"kid": []string{kid}}),
		"a kid that climbs":                    evil(map[string]any{"kid": "../keys/" + kid}),
		"a kid that climbs to /dev/null":       evil(map[string]any{"kid": "../../../../dev/null"}),
		"a kid with NUL":                       evil(map[string]any{"kid": kid + "\x00"}),
		"a kid that is SQL":                    evil(map[string]any{"kid": "' UNION SELECT 'x"}),
		"a kid that is a URL":                  evil(map[string]any{"kid": "https://evil.example/key"}),
		"a kid of 2 KiB":                       evil(map[string]any{"kid": strings.Repeat("k", 2048)}),
		"jku":                                  evil(map[string]any{"jku": "https://evil.example/jwks.json"}),
		"x5u":                                  evil(map[string]any{"x5u": "https://evil.example/cert"}),
		"x5c":                                  evil(map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}}),
		"jwk":                                  evil(map[string]any{"jwk": strangerJWK}),
		"jwk without a kid":                    evil(map[string]any{"jwk": strangerJWK, "kid": nil}),
		"crit that nobody understands":         evil(map[string]any{"crit": []string{"x"}, "x": 1}),
		"crit under our own key":               forged(jwt.SigningMethodES256, ourKey, map[string]any{"crit": []string{"x"}, "x": 1}),
		"no typ under our own key":             forged(jwt.SigningMethodES256, ourKey, map[string]any{"typ": nil}),
		"no kid under our own key":             forged(jwt.SigningMethodES256, ourKey, map[string]any{"kid": nil}),
		"another kid under our own key":        forged(jwt.SigningMethodES256, ourKey, map[string]any{"kid": kid + "x"}),
		"a header that changed":                reheaded(`{"alg":"ES256","kid":"` + kid + `","typ":"at+jwt","jku":"https://evil.example"}`),
		"typ JWT":                              own("JWT", nil),
		"typ empty":                            own("", nil),
		"typ of an ID token":                   own("id_token+jwt", nil),
		"typ of a logout token":                own("logout+jwt", nil),
		"typ nearly":                           own("at+jwt ", nil),
		"another issuer":                       own("at+jwt", jwt.MapClaims{"iss": "https://evil.example"}),
		"the issuer with a slash":              own("at+jwt", jwt.MapClaims{"iss": publicURL + "/"}),
		"no issuer":                            own("at+jwt", jwt.MapClaims{"iss": nil}),
		"an issuer that is a list":             own("at+jwt", jwt.MapClaims{"iss": []string{publicURL}}),
		"expired":                              own("at+jwt", jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}),
		"exp 0":                                own("at+jwt", jwt.MapClaims{"exp": 0}),
		"exp negative":                         own("at+jwt", jwt.MapClaims{"exp": -1}),
		"exp is text":                          own("at+jwt", jwt.MapClaims{"exp": "tomorrow"}),
		"not yet valid":                        own("at+jwt", jwt.MapClaims{"nbf": now.Add(time.Minute).Unix()}),
		"issued in the future":                 own("at+jwt", jwt.MapClaims{"iat": now.Add(time.Minute).Unix()}),
		"no exp":                               own("at+jwt", jwt.MapClaims{"exp": nil}),
		"no iat":                               own("at+jwt", jwt.MapClaims{"iat": nil}),
		"no sub":                               own("at+jwt", jwt.MapClaims{"sub": nil}),
		"no client_id":                         own("at+jwt", jwt.MapClaims{"client_id": nil}),
		"no jti":                               own("at+jwt", jwt.MapClaims{"jti": nil}),
		"no aud":                               own("at+jwt", jwt.MapClaims{"aud": nil}),
		"an empty aud":                         own("at+jwt", jwt.MapClaims{"aud": []string{}}),
		"sub is a number":                      own("at+jwt", jwt.MapClaims{"sub": 7}),
		"scope is a list":                      own("at+jwt", jwt.MapClaims{"scope": []string{"decide"}}),
		"a payload that changed":               part[0] + "." + b64([]byte(strings.Replace(decoded(good), "operator", "manager", 1))) + "." + part[2],
		"a payload that is no JSON":            part[0] + "." + b64([]byte("x")) + "." + part[2],
		"an empty payload":                     part[0] + ".." + part[2],
		"another token's signature":            part[0] + "." + part[1] + "." + strings.Split(own("at+jwt", jwt.MapClaims{"jti": "b"}), ".")[2],
		"a signature with r and s swapped":     part[0] + "." + part[1] + "." + b64(swapped),
		"a signature of zeros":                 part[0] + "." + part[1] + "." + b64(make([]byte, 64)),
		"a signature of one byte more":         part[0] + "." + part[1] + "." + b64(append(signature[:64:64], 0)),
		"no signature":                         part[0] + "." + part[1] + ".",
		"only two parts":                       part[0] + "." + part[1],
		"four parts":                           good + "." + part[2],
		"an extra dot":                         good + ".",
		"a dot in front":                       "." + good,
		"truncated":                            good[:len(good)-5],
		"one byte less":                        good[:len(good)-1],
		"trailing garbage":                     good + "x",
		"a trailing =":                         good + "=",
		"a line break within":                  part[0] + "." + part[1] + "\t." + part[2],
		"a second token after a comma":         good + "," + good,
		"a second token after a space":         good + " " + good,
		"quoted":                               `"` + good + `"`,
		"in capitals":                          strings.ToUpper(good),
		"base64 once more":                     b64([]byte(good)),
		"JSON serialization":                   `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`,
		"another tenant's key":                 staged,
		"another tenant's token":               stagedAsOurs,
		"an encrypted token's five parts":      good + "." + part[1] + "." + part[2],
		"the bits of the last letter's rest":   lastBits(good),
		"an organization that the client left": own("at+jwt", jwt.MapClaims{"org": "acme"}),
		"a disabled client":                    own("at+jwt", jwt.MapClaims{"sub": "disabled-client", "client_id": "disabled-client", "azp": "disabled-client"}),
		"a client that is gone":                own("at+jwt", jwt.MapClaims{"sub": "gone", "client_id": "gone", "azp": "gone"}),
		"a suspended organization":             own("at+jwt", jwt.MapClaims{"sub": "initech-sync", "client_id": "initech-sync", "org": "initech"}),
		"a disabled user":                      own("at+jwt", jwt.MapClaims{"sub": "walt"}),
		"a user through a disabled client":     own("at+jwt", jwt.MapClaims{"sub": "alice", "client_id": "disabled-client"}),
		"a user as a client that is another":   own("at+jwt", jwt.MapClaims{"sub": "alice", "client_id": "alice"}),
	} {
		t.Run(rule, func(t *testing.T) {
			a := s.ask(t, bearer(token), evaluationPath, question)
			if a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("as a caller: %d %v %v", a.status, a, a.header.Values("WWW-Authenticate"))
			}
			a = s.ask(t, gateway, evaluationPath, strings.Replace(question, caller, presented(t, bearer(token)), 1))
			if a.verdict() != "deny" {
				t.Errorf("as a subject: %v", a)
			}
			for _, secret := range []string{part[2], "a-jti", kid} {
				if strings.Contains(a.body, secret) {
					t.Errorf("the answer repeats a part of the token: %v", a)
				}
			}
		})
	}
}

// signingKey opens the tenant's own key, to sign what the issuer never would.
func (s *running) signingKey(t testing.TB, kid string) any {
	t.Helper()
	view, err := s.store.View(t.Context())
	must(t, err)
	defer view.Close()
	record, err := directory.Tenant("default").SigningKey(kid).Get(t.Context(), view)
	must(t, err)
	der, err := s.master.Open(record.Sealed, "signing key "+kid)
	must(t, err)
	key, err := x509.ParsePKCS8PrivateKey(der)
	must(t, err)
	return key
}

// lastBits changes the two bits of the last letter that belong to no byte; a strict decoder minds.
func lastBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last^1])
}

// A token for an API is for that API: not for Mandate itself, and not for a caller that stands for another.
func TestTokenAudience(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	documents := bearer(s.issue(t, h.client("acme-sync"), ""))
	about := question(presented(t, documents), "documents:read", "report")
	if a := s.ask(t, documents, evaluationPath, about); a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("AT-06 a token for documents calls Mandate: %v", a)
	}
	for client, want := range map[string]string{"documents-api": "allow", "payments-api": "deny", "operator": "allow"} {
		if a := s.ask(t, h.client(client), evaluationPath, about); a.verdict() != want {
			t.Errorf("%s presents a token for documents: want %s, got %v", client, want, a)
		}
		if a := s.ask(t, bearer(s.issue(t, h.client(client), publicURL)), evaluationPath, about); a.verdict() != want {
			t.Errorf("%s presents it with a token of its own: want %s, got %v", client, want, a)
		}
	}
}

// BE-04: a token for Mandate without the scope that the route needs is told which.
func TestInsufficientScope(t *testing.T) {
	s := start(t)
	token := func(scope string) credential {
		return bearer(s.sign(t, "default", "at+jwt", jwt.MapClaims{"iss": publicURL, "sub": "operator", "sub_type": "client", "client_id": "operator", "aud": publicURL, "scope": scope,
			"jti": "x", "iat": s.clock.now().Unix(), "exp": s.clock.now().Add(time.Minute).Unix()}))
	}
	for _, row := range []struct {
		scope, path string
		status      int
	}{
		{"decide", evaluationPath, 200}, {"decide", "/v1/data/mandate/access/decision", 200}, {"decide", "/v1/explain", 403},
		{"manage", evaluationPath, 403}, {"manage", "/v1/data/mandate/access/decision", 200}, {"manage", "/v1/explain", 200},
		{"decide manage", evaluationPath, 200}, {"decide manage", "/v1/explain", 200},
		// Of what the client may not have, nothing is left of the token.
		{"", evaluationPath, 403}, {"documents:read", evaluationPath, 401}, {"*", evaluationPath, 401}, {"decide:*", evaluationPath, 401}, {"DECIDE", evaluationPath, 401},
		{"documents:read", "/v1/data/mandate/access/decision", 401}, {"documents:read", "/v1/explain", 401},
	} {
		a := s.ask(t, token(row.scope), row.path, good)
		if a.status != row.status {
			t.Errorf("%q at %s: want %d, got %d %v", row.scope, row.path, row.status, a.status, a)
		}
		challenge := a.header.Get("WWW-Authenticate")
		if row.path == evaluationPath && row.status == 403 && (!strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="decide"`)) {
			t.Errorf("%q at %s: WWW-Authenticate is %q", row.scope, row.path, challenge)
		}
	}
}

// What a token rests on counts at the very next request, whatever the token says.
func TestTokensFollowTheClock(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	token := bearer(s.issue(t, h.client("operator"), ""))
	for _, row := range []struct {
		rule    string
		advance time.Duration
		status  int
	}{{"fresh", 0, 200}, {"after its 5 minutes, within the leeway", 5*time.Minute + 20*time.Second, 200}, {"after the leeway", 20 * time.Second, 401}} {
		s.clock.advance(row.advance)
		if a := s.ask(t, token, evaluationPath, good); a.status != row.status {
			t.Errorf("%s: want %d, got %d %v", row.rule, row.status, a.status, a)
		}
	}
}
