package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// prover proves to hold a key (RFC 9449 §4).
type prover struct {
	t     testing.TB
	s     *running
	key   *ecdsa.PrivateKey
	nonce string
}

func newProver(t testing.TB, s *running) *prover {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return &prover{t: t, s: s, key: key}
}

func (p *prover) thumbprint() string {
	p.t.Helper()
	public, err := jwk.Import(p.key.Public())
	must(p.t, err)
	sum, err := public.Thumbprint(crypto.SHA256)
	must(p.t, err)
	return base64.RawURLEncoding.EncodeToString(sum)
}

// proof is for one request, with the token if there is one.
func (p *prover) proof(method, url, token string) string {
	p.t.Helper()
	claims := jwt.MapClaims{"jti": rand.Text(), "htm": method, "htu": url, "iat": p.s.clock.now().Unix()}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	public, err := jwk.Import(p.key.Public())
	must(p.t, err)
	text, err := json.Marshal(public)
	must(p.t, err)
	var members map[string]any
	must(p.t, json.Unmarshal(text, &members))
	proof := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	proof.Header["typ"], proof.Header["jwk"] = "dpop+jwt", members
	signed, err := proof.SignedString(p.key)
	must(p.t, err)
	return signed
}

// token asks for a token as a client does that knows DPoP: again with the nonce, when it is told one.
func (p *prover) token(c credential, form string) answer {
	p.t.Helper()
	a := p.s.token(p.t, c, form, "DPoP: "+p.proof("POST", publicURL+tokenPath, ""))
	if p.nonce = a.header.Get("DPoP-Nonce"); p.nonce == "" {
		p.t.Fatalf("RFC 9449 §8: no nonce: %v", a)
	}
	if a.status == http.StatusBadRequest && a.oauthError(p.t) == "use_dpop_nonce" {
		a = p.s.token(p.t, c, form, "DPoP: "+p.proof("POST", publicURL+tokenPath, ""))
	}
	return a
}

func TestBoundTokens(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	p := newProver(t, s)
	a := s.token(t, h.client("operator"), clientCredentials, "DPoP: "+p.proof("POST", publicURL+tokenPath, ""))
	if a.oauthError(t) != "use_dpop_nonce" || a.status != http.StatusBadRequest {
		t.Errorf("§8 without a nonce: %v", a)
	}
	got := p.token(h.client("operator"), clientCredentials).tokens(t)
	confirms, _ := claimsOf(t, got.Access)["cnf"].(map[string]any)
	if got.Type != "DPoP" || confirms["jkt"] == "" || confirms == nil {
		t.Fatalf("§5, §6: %+v %v", got, confirms)
	}
	ask := func(scheme, token string, proofs ...string) answer {
		lines := []string{"Authorization: " + scheme + " " + token}
		for _, proof := range proofs {
			lines = append(lines, "DPoP: "+proof)
		}
		return s.ask(t, lines, evaluationPath, question(caller, "documents:read", "r"))
	}
	other := newProver(t, s)
	other.nonce = p.nonce
	proof := func() string { return p.proof("POST", publicURL+evaluationPath, got.Access) }
	used := proof()
	for _, row := range []struct {
		rule   string
		answer func() answer
		status int
	}{
		{"§7.1 with a proof", func() answer { return ask("DPoP", got.Access, used) }, 200},
		{"§11.1 the proof again", func() answer { return ask("DPoP", got.Access, used) }, 401},
		{"§7.2 as a bearer token", func() answer { return ask("Bearer", got.Access) }, 401},
		{"§7.2 as a bearer token with a proof", func() answer { return ask("Bearer", got.Access, proof()) }, 401},
		{"§7.1 without a proof", func() answer { return ask("DPoP", got.Access) }, 401},
		{"§4.3 two proofs", func() answer { return ask("DPoP", got.Access, proof(), proof()) }, 401},
		{"§7.1 another key", func() answer {
			return ask("DPoP", got.Access, other.proof("POST", publicURL+evaluationPath, got.Access))
		}, 401},
		{"§4.3 without ath", func() answer { return ask("DPoP", got.Access, p.proof("POST", publicURL+evaluationPath, "")) }, 401},
		{"§4.3 another token's ath", func() answer { return ask("DPoP", got.Access, p.proof("POST", publicURL+evaluationPath, "x")) }, 401},
		{"§4.3 another method", func() answer { return ask("DPoP", got.Access, p.proof("GET", publicURL+evaluationPath, got.Access)) }, 401},
		{"§4.3 another URL", func() answer { return ask("DPoP", got.Access, p.proof("POST", publicURL+tokenPath, got.Access)) }, 401},
		{"§4.3 the URL that was connected to", func() answer { return ask("DPoP", got.Access, p.proof("POST", s.url+evaluationPath, got.Access)) }, 401},
		{"§7.1 with another proof", func() answer { return ask("DPoP", got.Access, proof()) }, 200},
	} {
		a := row.answer()
		if a.status != row.status || (a.status == 401 && !strings.Contains(strings.Join(a.header.Values("WWW-Authenticate"), ", "), `algs="`)) {
			t.Errorf("%s: %v %v", row.rule, a, a.header)
		}
	}
	if a := p.token(h.client("operator"), clientCredentials+"&scope=no-such"); a.oauthError(t) != "invalid_scope" || a.header.Get("DPoP-Nonce") == "" {
		t.Errorf("§8.2 no nonce with an error: %v", a)
	}
}

// RFC 9449 §5: the refresh tokens of a public client are bound, too.
func TestBoundRefreshTokens(t *testing.T) {
	s := start(t)
	p, other := newProver(t, s), newProver(t, s)
	const redirect = "http://127.0.0.1:49152/callback"
	code := s.code(t, "alice", "acme", asking("cli-app", redirect))
	first := p.token(nil, redemption(code, redirect, "client_id", "cli-app")).tokens(t)
	for rule, a := range map[string]answer{
		"no proof":    s.token(t, nil, refreshing(first.Refresh, "client_id", "cli-app")),
		"another key": other.token(nil, refreshing(first.Refresh, "client_id", "cli-app")),
	} {
		if a.oauthError(t) != "invalid_grant" {
			t.Errorf("%s: %v", rule, a)
		}
	}
	p.token(nil, refreshing(first.Refresh, "client_id", "cli-app")).tokens(t)
}

// An API that was sent a bound token asks about it with the proof that came along, which is for that API.
func TestBoundTokensAsSubjects(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	s.clock.advance(time.Minute) // of proofs for others from before its start, a server cannot know which were used
	p := newProver(t, s)
	code := s.code(t, "alice", "acme", asking("web-app", appURL))
	got := p.token(h.client("web-app"), redemption(code, appURL)).tokens(t)
	const called = "https://documents.example/reports/1"
	subject := func(change ...string) string {
		properties := map[string]string{"authorization": "DPoP " + got.Access, "dpop": p.proof("GET", called, got.Access), "method": "GET", "url": called}
		for i := 0; i < len(change); i += 2 {
			properties[change[i]] = change[i+1]
		}
		text, err := json.Marshal(map[string]any{"type": "credential", "id": "authorization", "properties": properties})
		must(t, err)
		return string(text)
	}
	again := subject()
	for _, row := range []struct{ rule, subject, verdict string }{
		{"with the proof", again, "allow"},
		{"with the same proof again", again, "deny"},
		{"with another proof", subject(), "allow"},
		{"without a proof", subject("dpop", ""), "deny"},
		{"as a bearer token", subject("authorization", "Bearer "+got.Access), "deny"},
		{"a proof for another URL", subject("url", "https://documents.example/reports/2"), "deny"},
		{"a proof for another method", subject("method", "DELETE"), "deny"},
		{"another key's proof", subject("dpop", newProver(t, s).proof("GET", called, got.Access)), "deny"},
	} {
		if v := s.ask(t, h.client("documents-api"), evaluationPath, question(row.subject, "documents:read", "report")).verdict(); v != row.verdict {
			t.Errorf("%s: %s, want %s", row.rule, v, row.verdict)
		}
	}
	// One proof is good for one request, however many questions that has (RFC 9449 §11.1).
	batch := `{"subject":` + subject() + `,"action":{"name":"documents:read"},"evaluations":[` +
		`{"resource":{"type":"document","id":"a","properties":{"org":"acme"}}},` +
		`{"resource":{"type":"document","id":"b","properties":{"org":"acme"}}},` +
		`{"resource":{"type":"document","id":"a","properties":{"org":"globex"}}}]}`
	for _, want := range []string{"ttf", "fff"} {
		if got := s.ask(t, h.client("documents-api"), evaluationsPath, batch).answers(t); got != want {
			t.Errorf("a batch: %s, want %s", got, want)
		}
	}
}

// A client that is registered to bind its tokens gets no others.
func TestClientsThatMustBind(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	if code := s.token(t, h.client("bound-client"), clientCredentials).oauthError(t); code != "invalid_dpop_proof" {
		t.Errorf("without a proof: %s", code)
	}
	if got := newProver(t, s).token(h.client("bound-client"), clientCredentials).tokens(t); got.Type != "DPoP" || !slices.Contains(strings.Fields(got.Scope), "documents:read") {
		t.Errorf("with a proof: %+v", got)
	}
}

// RFC 9449 §10: a code can be bound to the key from the beginning, by the authorization request or by the proof of one that is
// pushed.
func TestBoundCodes(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	web := h.client("web-app")
	for _, row := range []struct {
		rule string
		code func(p *prover) string
	}{
		{"§10 dpop_jkt", func(p *prover) string {
			return s.code(t, "alice", "acme", asking("web-app", appURL, "dpop_jkt", p.thumbprint()))
		}},
		{"§10.1 a proof with the pushed request", func(p *prover) string {
			request := asking("web-app", appURL)
			a := s.form(t, append(web, "DPoP: "+p.proof("POST", publicURL+"/oauth2/par", "")), "/oauth2/par", request)
			uri, _ := a.object(t)["request_uri"].(string)
			return s.code(t, "alice", "acme", withState(url.Values{"client_id": {"web-app"}, "request_uri": {uri}}, request))
		}},
	} {
		p, other := newProver(t, s), newProver(t, s)
		p.token(web, clientCredentials) // for the nonce
		code := row.code(p)
		if a := other.token(web, redemption(code, appURL)); a.oauthError(t) != "invalid_grant" {
			t.Errorf("%s: another key: %v", row.rule, a)
		}
		if a := s.token(t, web, redemption(code, appURL)); a.oauthError(t) != "invalid_grant" {
			t.Errorf("%s: no key: %v", row.rule, a)
		}
		p.token(web, redemption(code, appURL)).tokens(t)
	}
	p, other := newProver(t, s), newProver(t, s)
	p.token(web, clientCredentials)
	a := s.form(t, append(web, "DPoP: "+p.proof("POST", publicURL+"/oauth2/par", "")), "/oauth2/par", asking("web-app", appURL, "dpop_jkt", other.thumbprint()))
	if a.oauthError(t) != "invalid_request" {
		t.Errorf("§10.1 two keys: %v", a)
	}
}
