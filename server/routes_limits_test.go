package server

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"mandate/authn"
	"mandate/engine"
	"mandate/ratelimit"
)

// Whoever adds a route and forgets its limits is told here.
func TestEveryRouteIsLimitedByAddress(t *testing.T) {
	once := RouteLimits{Address: ratelimit.Limit{Count: 1, Per: time.Hour, Burst: 1}}
	s, err := New(Options{Tenants: []Tenant{{ID: DefaultTenant, Issuer: "https://mandate.example", Now: time.Now,
		Engine: engine.New("default", nil, engine.Options{})}},
		RateLimits: RateLimits{Tokens: once, Decisions: once, Management: once}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	app := s.app
	send := func(method, path string) int {
		response, err := app.Test(httptest.NewRequest(method, path, nil), -1)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	// The first request of each family goes further, to where there is nothing behind this server.
	for _, route := range [][2]string{{"POST", "/oauth2/token"}, {"POST", "/access/v1/evaluation"}, {"GET", "/v1/keys"}} {
		if status := send(route[0], route[1]); status == http.StatusTooManyRequests || status == http.StatusNotFound {
			t.Fatalf("%v: %d", route, status)
		}
	}
	anybody := []string{"/healthz", "/readyz", "/metrics", "/assets/style.css", "/openapi.json", "/docs", "/docs/:topic"}
	limited := 0
	for _, route := range app.GetRoutes(true) {
		if route.Method == http.MethodHead || slices.Contains(anybody, route.Path) || strings.Contains(route.Path, "/.well-known/") {
			continue
		}
		if status := send(route.Method, strings.NewReplacer(":kid", "1", "*", "x").Replace(route.Path)); status != http.StatusTooManyRequests {
			t.Errorf("%s %s is answered %d", route.Method, route.Path, status)
		}
		limited++
	}
	if limited < 30 {
		t.Errorf("only %d routes are limited", limited)
	}
}

// passer is a request of an access token that goes through a gate with every limit.
func passer(t testing.TB) func() {
	plenty := ratelimit.Limit{Count: 1_000_000, Per: time.Second, Burst: 1_000_000}
	ahead := time.Duration(0)
	now := func() time.Time { ahead += time.Millisecond; return time.Now().Add(ahead) } // so that it never runs out
	s, err := New(Options{Tenants: []Tenant{{ID: DefaultTenant, Issuer: "https://mandate.example", Now: now}},
		RateLimits: RateLimits{Decisions: RouteLimits{Address: plenty, Client: plenty, Credential: plenty}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := s.tenants[DefaultTenant]
	var request fasthttp.RequestCtx
	request.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.ParseIP("2001:db8::7")}, nil)
	c := s.app.AcquireCtx(&request)
	p := &authn.Principal{Type: authn.User, Subject: "alice", AuthorizedParty: "portal", ClientID: "portal", Credential: authn.CredentialRef{Type: "access_token", ID: "1"}}
	return func() {
		if err := errors.Join(h.gates[decisionRoutes].enter(c), h.admit(c, p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGateAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, passer(t)); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGate(b *testing.B) {
	pass := passer(b)
	b.ReportAllocs()
	for b.Loop() {
		pass()
	}
}
