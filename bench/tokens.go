package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

const (
	formTokenPath = "/oauth2/token"
	keysPath      = "/.well-known/jwks.json"
)

// tokens measures the client credentials grant: a JWT for one API, signed with ES256, for a client that authenticates by
// HTTP Basic. Beside it stand the signatures that one core of the machine can make when it does nothing else, and npm
// oidc-provider, where it is installed. That one is a single process on a single core, so that what a second of a core
// is good for is told beside what the whole server does.
func tokens(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveMandate(ctx, g, nil)); err != nil {
		return err
	}
	all[0] = b.askForTokens(all[0].child, formTokenPath, keysPath, g.filled)
	provider, err := findOIDCProvider(b.oidcProvider)
	if err != nil {
		return err
	}
	if provider == nil {
		b.note("npm oidc-provider is not measured, as it is not installed: npm ci --prefix interop, or -oidc-provider FOLDER")
	} else {
		if err := all.start(b.serveOIDCProvider(ctx, provider, g.filled)); err != nil {
			return err
		}
		b.note("oidc-provider %s is one process with its store in memory", provider.version)
	}
	if err := b.compareTokens(ctx, all); err != nil {
		return err
	}
	if err := b.noteAllocations(ctx, all[0], g.bearer(operatorID)); err != nil {
		return err
	}
	return b.race(ctx, b.tokenRace(all))
}

// noteAllocations counts what a token costs the whole server, its part of HTTP included.
func (b *bench) noteAllocations(ctx context.Context, s *served, operator string) error {
	before, err := s.allocations(ctx, operator)
	if err != nil {
		return err
	}
	if err := each(ctx, s.address, s.exchanges, b.Connections, func(int, []byte) error { return nil }); err != nil {
		return fmt.Errorf("ask %s: %w", s.name, err)
	}
	after, err := s.allocations(ctx, operator)
	if err != nil {
		return err
	}
	n := float64(len(s.exchanges))
	b.note("%s allocates %s bytes in %s pieces for a token", s.name, figure((after.bytes-before.bytes)/n), figure((after.count-before.count)/n))
	return nil
}

func (b *bench) tokenRace(all servers) race {
	const rate, ofCore, signing = 0, 4, 1
	r := race{
		title:   fmt.Sprintf("Tokens over HTTP, %d connections, and signatures alone", b.Connections),
		metrics: []metric{{"per second", ""}, {"latency p50", "ms"}, {"p99", "ms"}, {"CPU of the server for each", "µs"}, {"per second of a core", ""}},
		contestants: []contestant{
			{all[0].name, func(ctx context.Context) ([]float64, error) { return b.loadAndTime(ctx, all[0]) }},
			{"ES256 signatures on one core", b.signatures},
		},
		ratios: []ratio{{"per second of a core: Mandate / signatures", ofCore, 0, signing}},
	}
	for _, s := range all[1:] {
		i := len(r.contestants)
		r.contestants = append(r.contestants, contestant{s.name, func(ctx context.Context) ([]float64, error) { return b.loadAndTime(ctx, s) }})
		r.ratios = append(r.ratios, ratio{"per second: Mandate / " + s.name, rate, 0, i},
			ratio{"per second of a core: Mandate / " + s.name, ofCore, 0, i})
	}
	return r
}

// askForTokens lets the clients ask the server in turn, as often as there are requests.
func (b *bench) askForTokens(c *child, path, keys string, f *filled) *served {
	s := &served{child: c, name: c.name, items: 1, keys: keys}
	body := []byte(url.Values{"grant_type": {"client_credentials"}, "resource": {apiAudience}, "scope": {apiScope}}.Encode())
	for n := range keyClients {
		credentials := url.QueryEscape(clientID(n)) + ":" + url.QueryEscape(f.secrets[clientID(n)].Expose()) // RFC 6749 §2.3.1
		s.exchanges = append(s.exchanges, exchange{
			request: postForm(c.address, path, "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)), body),
			expect:  [][]byte{[]byte(`"access_token":"eyJ`), []byte(`"scope":"` + apiScope + `"`)},
		})
	}
	s.exchanges = slices.Repeat(s.exchanges, (b.Requests+keyClients-1)/keyClients)
	return s
}

// issued is what the answer to a client has in common, whichever server it comes from (RFC 6749 §5.1, RFC 9068 §2).
type issued struct {
	Algorithm, Type string // of the JWT
	TokenType       string
	Lifetime        int64
	Subject         string `json:"sub"`
	Client          string `json:"client_id"`
	Audience        string `json:"aud"`
	Scope           string `json:"scope"`
}

// compareTokens sends every server all requests, which also warms it up, and ends the run when two differ or one cannot be
// verified with the keys that the server publishes.
func (b *bench) compareTokens(ctx context.Context, all servers) error {
	for _, s := range all {
		b.say("asking %s, to compare the answers", s.name)
		keys, err := jwk.Fetch(ctx, "http://"+s.address+s.keys)
		if err != nil {
			return fmt.Errorf("get the keys of %s: %w", s.name, err)
		}
		err = each(ctx, s.address, s.exchanges, b.Connections, func(i int, body []byte) error {
			got, err := verified(body, keys)
			want := issued{"ES256", "at+jwt", "Bearer", int64(tokenLifetime.Seconds()), clientID(i % keyClients), clientID(i % keyClients), apiAudience, apiScope}
			if err == nil && got != want {
				err = fmt.Errorf("the token is %+v, not %+v", got, want)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("ask %s: %w", s.name, errors.Join(err, s.check()))
		}
	}
	b.note("%d clients ask in turn; every answer has a JWT (ES256, at+jwt) that verifies, with the same client, audience, scope and lifetime", keyClients)
	return nil
}

// verified reads the answer of a token endpoint.
func verified(body []byte, keys jwk.Set) (t issued, err error) {
	var response struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	if err := json.Unmarshal(body, &response); err != nil {
		return t, fmt.Errorf("read the answer: %w", err)
	}
	var message jws.Message
	payload, err := jws.Verify([]byte(response.AccessToken), jws.WithKeySet(keys), jws.WithMessage(&message))
	if err != nil {
		return t, fmt.Errorf("verify the token: %w", err)
	}
	if err := json.Unmarshal(payload, &t); err != nil {
		return t, fmt.Errorf("read the claims: %w", err)
	}
	if response.Scope != t.Scope {
		return t, fmt.Errorf("the answer has the scope %q, its token %q", response.Scope, t.Scope)
	}
	header := message.Signatures()[0].ProtectedHeaders()
	algorithm, _ := header.Algorithm()
	t.Algorithm = algorithm.String()
	t.Type, _ = header.Type()
	t.TokenType, t.Lifetime = response.TokenType, response.ExpiresIn
	return t, nil
}

// loadAndTime drives a server for one measurement, and tells what that took of its cores.
func (b *bench) loadAndTime(ctx context.Context, s *served) ([]float64, error) {
	var t tally
	cpu, err := busy(s.pid, func() (err error) {
		t, err = drive(ctx, s.address, s.exchanges, b.Connections, b.Duration)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.check())
	}
	return append(t.values(), perCore(cpu, t.answered)...), nil
}

// perCore is the processor time of one of n, in µs, and how many a second of a core is good for.
func perCore(cpu time.Duration, n int) []float64 {
	return []float64{float64(cpu.Microseconds()) / float64(n), float64(n) / cpu.Seconds()}
}

// signatures makes ES256 signatures one after another, of what is hashed already.
func (b *bench) signatures(ctx context.Context) ([]float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	digest := sha256.Sum256([]byte("header.payload"))
	var latencies []time.Duration
	cpu, err := busy(os.Getpid(), func() error {
		end := time.Now().Add(b.Duration)
		for last := time.Now(); last.Before(end); {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
				return fmt.Errorf("sign: %w", err)
			}
			now := time.Now()
			latencies = append(latencies, now.Sub(last))
			last = now
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n := len(latencies)
	slices.Sort(latencies)
	t := tally{perSecond: float64(n) / b.Duration.Seconds(), p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99)}
	return append(t.values(), perCore(cpu, n)...), nil
}
