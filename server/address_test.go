package server

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

func TestAddressOfTheCaller(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	app := fiber.New()
	for _, row := range []struct {
		name      string
		proxied   bool
		trusted   []netip.Prefix
		from      string
		forwarded []string
		want      string
	}{
		{"the connection's", false, nil, "203.0.113.9", nil, "203.0.113.9"},
		{"nobody is believed", false, nil, "203.0.113.9", []string{"198.51.100.7"}, "203.0.113.9"},
		{"behind a proxy that is not named", true, nil, "10.1.0.1", []string{"198.51.100.7"}, ""},
		{"a caller that is no proxy", true, proxies, "203.0.113.9", []string{"198.51.100.7"}, "203.0.113.9"},
		{"a proxy", true, proxies, "10.1.0.1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a proxy, with TLS of our own", false, proxies, "10.1.0.1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a proxy that says nothing", true, proxies, "10.1.0.1", nil, "10.1.0.1"},
		{"what the caller sent itself", true, proxies, "10.1.0.1", []string{"192.0.2.1, 198.51.100.7"}, "198.51.100.7"},
		{"a proxy that the caller names", true, proxies, "10.1.0.1", []string{"10.1.0.2, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", true, proxies, "10.1.0.1", []string{"192.0.2.1, 198.51.100.7, fd00::2"}, "198.51.100.7"},
		{"two fields", true, proxies, "10.1.0.1", []string{"192.0.2.1", "198.51.100.7", "10.1.0.2"}, "198.51.100.7"},
		{"only proxies", true, proxies, "10.1.0.1", []string{"10.1.0.3, 10.1.0.2"}, "10.1.0.3"},
		{"malformed", true, proxies, "10.1.0.1", []string{"198.51.100.7, unknown"}, "10.1.0.1"},
		{"malformed before a proxy", true, proxies, "10.1.0.1", []string{"198.51.100.7, unknown, 10.1.0.2"}, "10.1.0.2"},
		{"with ports", true, proxies, "10.1.0.1", []string{"198.51.100.7:4711, [fd00::2]:80"}, "198.51.100.7"},
		{"IPv6", true, proxies, "fd00::1", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv4 in IPv6", true, proxies, "::ffff:10.1.0.1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"more than is read", true, proxies, "10.1.0.1", []string{"198.51.100.7" + strings.Repeat(", 10.1.0.2", 100)}, "10.1.0.2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var request fasthttp.Request
			for _, value := range row.forwarded {
				request.Header.Add("X-Forwarded-For", value)
			}
			request.Header.Set("X-Real-IP", "192.0.2.99")
			request.Header.Set("Forwarded", "for=192.0.2.99")
			var ctx fasthttp.RequestCtx
			ctx.Init(&request, &net.TCPAddr{IP: net.ParseIP(row.from)}, nil)
			c := app.AcquireCtx(&ctx)
			defer app.ReleaseCtx(c)
			s := Server{proxied: row.proxied, trusted: row.trusted}
			if got := s.address(c); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// Only who cannot be anybody else is called a program or an app on the user's own device.
func TestSitesAsTheConsentPageShowsThem(t *testing.T) {
	for redirectURI, want := range map[string]string{
		"https://planner.example/callback":   "planner.example",
		"https://127.evil.example/cb":        "127.evil.example",
		"https://127.0.0.1.evil.example/cb":  "127.0.0.1.evil.example",
		"http://127.0.0.1.evil.example/cb":   "127.0.0.1.evil.example",
		"http://localhost.evil.example/cb":   "localhost.evil.example",
		"https://localhost/cb":               "localhost",
		"http://localhost:8080/cb":           "a program on your device (localhost:8080)",
		"http://127.0.0.1:51004/cb":          "a program on your device (127.0.0.1:51004)",
		"http://127.1.2.3/cb":                "a program on your device (127.1.2.3)",
		"http://[::1]:4000/cb":               "a program on your device ([::1]:4000)",
		"com.example.cli:/callback":          "an app on your device (com.example.cli)",
		"com.example.cli://evil.example/cb/": "evil.example",
		"http://[::1":                        "",
	} {
		if got := siteOf(redirectURI); got != want {
			t.Errorf("%s: %q, want %q", redirectURI, got, want)
		}
	}
}
