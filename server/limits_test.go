package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mandate/ratelimit"
	"mandate/server"
)

// aMinute is so many a minute, and as many at once.
func aMinute(n int) ratelimit.Limit { return ratelimit.Limit{Count: n, Per: time.Minute, Burst: n} }

func limited(l server.RateLimits) func(*server.Options) {
	return func(o *server.Options) { o.RateLimits = l }
}

func decisionsOf(l server.RouteLimits) func(*server.Options) {
	return limited(server.RateLimits{Decisions: l})
}

// behindProxy lets X-Forwarded-For name the caller.
func behindProxy(o *server.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func TestRateLimits(t *testing.T) {
	h := holdersOf(t, "default")
	type request func(s *running) answer
	decide := func(c credential, lines ...string) request {
		return func(s *running) answer { return s.ask(t, c, evaluationPath, good, lines...) }
	}
	tokenOf := func(id string) request {
		return func(s *running) answer {
			return s.ask(t, bearer(s.issue(t, h.client(id), publicURL)), evaluationPath, good)
		}
	}
	from := func(address string) string { return "X-Forwarded-For: " + address }
	deviceCode := func(address string) request {
		return func(s *running) answer {
			return s.form(t, credential{from(address)}, "/oauth2/device_authorization", url.Values{"client_id": {"cli"}})
		}
	}
	gateway, other := h.key("gateway"), h.key("acme-gateway")
	const ok, many, unknown = http.StatusOK, http.StatusTooManyRequests, http.StatusUnauthorized
	for _, row := range []struct {
		name     string
		options  []func(*server.Options)
		requests []request
		want     []int
	}{
		{"no limit", nil, []request{decide(gateway), decide(gateway), decide(gateway)}, []int{ok, ok, ok}},
		{"each credential by itself", []func(*server.Options){decisionsOf(server.RouteLimits{Credential: aMinute(2)})},
			[]request{decide(gateway), decide(gateway), decide(gateway), decide(other)}, []int{ok, ok, many, ok}},
		{"tokens of one client for one subject are one credential", []func(*server.Options){decisionsOf(server.RouteLimits{Credential: aMinute(2)})},
			[]request{tokenOf("documents-api"), tokenOf("documents-api"), tokenOf("documents-api"), tokenOf("payments-api")}, []int{ok, ok, many, ok}},
		{"one client, whatever it comes with", []func(*server.Options){decisionsOf(server.RouteLimits{Client: aMinute(3)})},
			[]request{tokenOf("documents-api"), tokenOf("documents-api"), decide(h.client("documents-api")), tokenOf("documents-api"), tokenOf("payments-api"), decide(gateway)},
			[]int{ok, ok, ok, many, ok, ok}},
		{"one vendor", []func(*server.Options){decisionsOf(server.RouteLimits{Client: aMinute(1)})},
			[]request{decide(h.partner("backupco", "backupco-acme")), decide(h.partner("backupco", "backupco-acme")), decide(h.partner("scanly", "scanly-globex"))},
			[]int{ok, many, ok}},
		{"a credential is refused before it uses up what its client has", []func(*server.Options){decisionsOf(server.RouteLimits{Credential: aMinute(1), Client: aMinute(2)})},
			[]request{tokenOf("documents-api"), tokenOf("documents-api"), tokenOf("documents-api"), decide(h.client("documents-api"))}, []int{ok, many, many, ok}},
		{"an address, before it is authenticated", []func(*server.Options){decisionsOf(server.RouteLimits{Address: aMinute(3)})},
			[]request{decide(nil), decide(bearer("no-such-key")), decide(gateway), decide(nil), decide(gateway)}, []int{unknown, unknown, ok, many, many}},
		{"other addresses", []func(*server.Options){behindProxy, decisionsOf(server.RouteLimits{Address: aMinute(1)})},
			[]request{decide(gateway, from("203.0.113.9")), decide(gateway, from("203.0.113.9")), decide(gateway, from("203.0.113.10"))}, []int{ok, many, ok}},
		{"all of an IPv6 network (/64)", []func(*server.Options){behindProxy, decisionsOf(server.RouteLimits{Address: aMinute(1)})},
			[]request{decide(gateway, from("2001:db8:1:2::1")), decide(gateway, from("2001:db8:1:2:ffff::9")), decide(gateway, from("2001:db8:1:3::1"))}, []int{ok, many, ok}},
		{"what anybody claims who is no proxy", []func(*server.Options){decisionsOf(server.RouteLimits{Address: aMinute(1)})},
			[]request{decide(gateway, from("203.0.113.9")), decide(gateway, from("203.0.113.10"))}, []int{ok, many}},
		{"a proxy that is not named hides who calls", []func(*server.Options){func(o *server.Options) { o.Proxied = true }, decisionsOf(server.RouteLimits{Address: aMinute(1)})},
			[]request{decide(gateway), decide(gateway)}, []int{ok, ok}},
		{"a client without a secret, at each address by itself", []func(*server.Options){behindProxy, limited(server.RateLimits{Tokens: server.RouteLimits{Client: aMinute(2)}})},
			[]request{deviceCode("203.0.113.9"), deviceCode("203.0.113.9"), deviceCode("203.0.113.9"), deviceCode("203.0.113.10")}, []int{ok, ok, many, ok}},
		{"families apart", []func(*server.Options){limited(server.RateLimits{Decisions: server.RouteLimits{Address: aMinute(1)}, Management: server.RouteLimits{Address: aMinute(1)}})},
			[]request{decide(gateway), decide(gateway), tokenOf("documents-api"), func(s *running) answer { return s.send(t, "GET", "/v1/keys", "", h.pair("tenant-admin")...) },
				func(s *running) answer { return s.send(t, "GET", "/v1/keys", "", h.pair("tenant-admin")...) }}, []int{ok, many, many, ok, many}},
		{"tenants apart", []func(*server.Options){decisionsOf(server.RouteLimits{Address: aMinute(1)})},
			[]request{decide(gateway), decide(gateway), func(s *running) answer { return s.ask(t, nil, "/t/staging"+evaluationPath, good) }}, []int{ok, many, unknown}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, row.options...)
			for i, send := range row.requests {
				if a := send(s); a.status != row.want[i] {
					t.Errorf("request %d: want %d, got %d %.200s", i+1, row.want[i], a.status, a.body)
				}
			}
		})
	}
}

// fields are the members of RateLimit-Policy and RateLimit, as structured fields: a list of strings with integers (RFC 9651 §3.1).
func fields(t *testing.T, a answer) map[string]map[string]int {
	t.Helper()
	found := map[string]map[string]int{}
	for name, parameters := range map[string]string{"RateLimit-Policy": "qw", "RateLimit": "rt"} {
		if len(a.header.Values(name)) != 1 {
			t.Fatalf("%s: %q", name, a.header.Values(name))
		}
		member := regexp.MustCompile(fmt.Sprintf(`^"([a-z]+)";([%s])=(\d{1,15});([%s])=(\d{1,15})$`, parameters[:1], parameters[1:]))
		for _, text := range strings.Split(a.header.Get(name), ", ") {
			parts := member.FindStringSubmatch(text)
			if parts == nil {
				t.Fatalf("%s: %q is no string with the parameters %s", name, text, parameters)
			}
			if found[parts[1]] == nil {
				found[parts[1]] = map[string]int{}
			}
			found[parts[1]][parts[2]], _ = strconv.Atoi(parts[3])
			found[parts[1]][parts[4]], _ = strconv.Atoi(parts[5])
		}
	}
	return found
}

func TestWhoWaitsAsToldGetsThrough(t *testing.T) {
	h := holdersOf(t, "default")
	s := start(t, decisionsOf(server.RouteLimits{Credential: ratelimit.Limit{Count: 30, Per: time.Minute, Burst: 10}}))
	for n := range 10 {
		a := s.ask(t, h.key("gateway"), evaluationPath, good)
		if a.status != http.StatusOK || (a.header.Get("RateLimit") != "") != (9-n < 5) {
			t.Errorf("request %d: %d, RateLimit %q: it is told when less than half remains", n+1, a.status, a.header.Get("RateLimit"))
		}
	}
	for range 3 {
		refused := s.ask(t, h.key("gateway"), evaluationPath, good)
		told := fields(t, refused)["credential"]
		wait, err := strconv.Atoi(refused.header.Get("Retry-After"))
		want := map[string]int{"q": 10, "w": 20, "r": 0, "t": wait}
		if refused.status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 2 || !maps.Equal(told, want) {
			t.Fatalf("%d, %v, want %v, Retry-After %q", refused.status, told, want, refused.header.Get("Retry-After"))
		}
		s.clock.advance(time.Duration(wait) * time.Second)
		if a := s.ask(t, h.key("gateway"), evaluationPath, good); a.status != http.StatusOK {
			t.Fatalf("who has waited: %v", a)
		}
	}
}

func TestEveryLimitIsTold(t *testing.T) {
	h := holdersOf(t, "default")
	s := start(t, limited(server.RateLimits{Tokens: server.RouteLimits{Address: aMinute(100), Client: aMinute(60), Credential: aMinute(1)}}))
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {publicURL}}.Encode()
	first, second := s.token(t, h.client("documents-api"), form), s.token(t, h.client("documents-api"), form)
	if first.status != http.StatusOK || second.status != http.StatusTooManyRequests {
		t.Fatalf("%v, then %v", first, second)
	}
	for i, told := range []map[string]map[string]int{fields(t, first), fields(t, second)} {
		want := map[string][3]int{"address": {100, 60, 99 - i}, "credential": {1, 60, 0}, "client": {60, 60, 59}}
		if i == 1 {
			delete(want, "client")
		}
		if len(told) != len(want) {
			t.Errorf("request %d: %v", i+1, told)
		}
		for by, w := range want {
			if got := told[by]; got["q"] != w[0] || got["w"] != w[1] || got["r"] != w[2] || got["t"] < 1 || got["t"] > 60 {
				t.Errorf("request %d: %s: %v, want q, w and r %v", i+1, by, got, w)
			}
		}
	}
}

// A refusal has the shape of the surface. What anybody may read is answered all the same, and the refusals are counted.
func TestRefusalsByRateLimits(t *testing.T) {
	h := holdersOf(t, "default")
	once := server.RouteLimits{Address: aMinute(1)}
	s := start(t, limited(server.RateLimits{Tokens: once, Decisions: once, Management: once}))
	for _, route := range [][2]string{{"POST", tokenPath}, {"POST", evaluationPath}, {"GET", "/v1/keys"}} {
		if a := s.send(t, route[0], route[1], ""); a.status == http.StatusTooManyRequests {
			t.Fatalf("%v: %v", route, a)
		}
	}
	const detail = "too many requests by this address: wait as long as the header Retry-After says"
	asString := func(a answer) bool {
		var text string
		return json.Unmarshal([]byte(a.body), &text) == nil && text == detail
	}
	asOAuth := func(a answer) bool {
		o := a.object(t)
		return o["error"] == "temporarily_unavailable" && o["error_description"] == detail && a.header.Get("WWW-Authenticate") == ""
	}
	asProblem := func(a answer) bool {
		o := a.object(t)
		return a.header.Get("Content-Type") == "application/problem+json" && o["code"] == "rate_limited" && o["detail"] == detail && o["status"] == 429.0
	}
	asPage := func(a answer) bool {
		return strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && strings.Contains(a.body, detail)
	}
	routes := []struct {
		method, path string
		shape        func(answer) bool
	}{
		{"POST", evaluationPath, asString}, // AuthZEN §10.1.2
		{"POST", evaluationsPath, asString},
		{"POST", "/v1/data/x", asProblem},
		{"POST", "/v1/explain", asProblem},
		{"POST", tokenPath, asOAuth},
		{"POST", "/oauth/token", asOAuth},
		{"POST", "/oauth2/par", asOAuth},
		{"POST", "/oauth2/introspect", asOAuth},
		{"POST", "/oauth2/register", asOAuth},
		{"POST", "/auth", asOAuth},
		{"POST", "/auth/refresh", asOAuth},
		{"GET", "/userinfo", asOAuth},
		{"GET", "/login", asPage},
		{"GET", "/authorize", asPage},
		{"GET", "/device", asPage},
		{"GET", "/v1/keys", asProblem},
		{"POST", "/v1/keys/rotate", asProblem},
	}
	for _, route := range routes {
		a := s.send(t, route.method, route.path, "", h.pair("tenant-admin")...)
		if a.status != http.StatusTooManyRequests || !route.shape(a) {
			t.Errorf("%s %s: %d %v %.300s", route.method, route.path, a.status, a.header, a.body)
		}
		if wait := fields(t, a)["address"]["t"]; wait < 1 || a.header.Get("Retry-After") != strconv.Itoa(wait) {
			t.Errorf("%s %s: %v", route.method, route.path, a.header)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/authzen-configuration",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource", "/assets/style.css"} {
		if a := s.send(t, "GET", path, ""); a.status != http.StatusOK || a.header.Get("RateLimit") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	metrics := s.send(t, "GET", "/metrics", "", h.pair("tenant-admin")...)
	for _, line := range []string{
		`mandate_rate_limited_total{by="address",routes="decisions",tenant="default"} 4`,
		`mandate_rate_limited_total{by="address",routes="tokens",tenant="default"} 11`,
		`mandate_rate_limited_total{by="address",routes="management",tenant="default"} 2`,
		`mandate_rate_limited_total{by="address",routes="management",tenant="staging"} 0`,
	} {
		if !slices.Contains(strings.Split(metrics.body, "\n"), line) {
			t.Errorf("the metrics lack %s: %q", line, regexp.MustCompile(`mandate_rate_.*`).FindAllString(metrics.body, -1))
		}
	}
}

// Whatever authenticates counts against the credential, pages with a session as well.
func TestCredentialsAreLimitedOnEveryRoute(t *testing.T) {
	h := holdersOf(t, "default")
	once := server.RouteLimits{Credential: aMinute(1)}
	s := start(t, limited(server.RateLimits{Tokens: once, Decisions: once, Management: once}))
	form := "Content-Type: application/x-www-form-urlencoded"
	for _, row := range []struct {
		method, path, body string
		as                 credential
	}{
		{"POST", evaluationPath, good, h.key("gateway")},
		{"POST", evaluationsPath, good, h.client("documents-api")},
		{"POST", "/v1/data/x", "{}", h.key("acme-gateway")},
		{"POST", "/v1/explain", good, h.pair("tenant-admin")},
		{"GET", "/v1/keys", "", h.pair("tenant-admin")},
		{"POST", tokenPath, "grant_type=client_credentials", append(h.client("documents-api"), form)},
		{"POST", "/oauth2/par", "x=y", append(h.client("web-app"), form)},
		{"POST", "/oauth2/revoke", "token=x", append(h.client("portal"), form)},
		{"POST", "/oauth2/introspect", "token=x", append(h.key("gateway"), form)},
		{"POST", "/oauth2/introspect", "token=x", append(h.client("operator"), form)},
		{"POST", "/oauth2/register", "{}", h.key("manage-only")},
		{"POST", "/auth", "", h.key("alice-read")},
		{"GET", "/userinfo", "", h.key("acme-read")},
	} {
		lines := row.as
		if !slices.Contains(lines, form) && row.body != "" {
			lines = append(slices.Clone(lines), jsonType)
		}
		first, second := s.send(t, row.method, row.path, row.body, lines...), s.send(t, row.method, row.path, row.body, lines...)
		if first.status == http.StatusTooManyRequests || second.status != http.StatusTooManyRequests {
			t.Errorf("%s %s: %v, then %v", row.method, row.path, first, second)
		}
	}
	alice := s.login(t, "alice", h.secret("user alice"))
	if first, second := alice.get("/account"), alice.get("/account"); second.status != http.StatusTooManyRequests {
		t.Errorf("pages: %d, then %d", first.status, second.status)
	}
}

func BenchmarkDecision(b *testing.B) {
	h := holdersOf(b, "default")
	plenty := ratelimit.Limit{Count: 1_000_000, Per: time.Second, Burst: 1_000_000}
	for _, row := range []struct {
		name   string
		limits server.RouteLimits
	}{
		{"without limits", server.RouteLimits{}},
		{"with limits", server.RouteLimits{Address: plenty, Client: plenty, Credential: plenty}},
	} {
		b.Run(row.name, func(b *testing.B) {
			s := start(b, decisionsOf(row.limits))
			token := bearer(s.issue(b, h.client("documents-api"), publicURL))
			b.ReportAllocs()
			for b.Loop() {
				s.ask(b, token, evaluationPath, good)
			}
		})
	}
}
