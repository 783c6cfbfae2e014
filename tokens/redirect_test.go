package tokens

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"mandate/directory"
)

// TestRedirectURIs: RFC 9700 §2.1 and RFC 8252 §7.3.
func TestRedirectURIs(t *testing.T) {
	native := directory.Client{Kind: "native", RedirectURIs: []string{"http://127.0.0.1/callback", "http://[::1]:8000/callback?x=1", "com.example.app:/callback"}}
	web := directory.Client{Kind: "web", RedirectURIs: []string{"https://app.example/callback", "http://127.0.0.1/callback"}}
	for _, row := range []struct {
		name   string
		client directory.Client
		uri    string
		good   bool
	}{
		{"as registered", web, "https://app.example/callback", true},
		{"a loopback port for a native app", native, "http://127.0.0.1:49152/callback", true},
		{"a loopback port over IPv6", native, "http://[::1]:1/callback?x=1", true},
		{"without the registered port", native, "http://[::1]/callback?x=1", true},
		{"a private-use scheme", native, "com.example.app:/callback", true},
		{"a loopback port for a web app", web, "http://127.0.0.1:49152/callback", false},
		{"another loopback address", native, "http://127.0.0.2:1/callback", false},
		{"localhost for the address", native, "http://localhost:1/callback", false},
		{"another path", native, "http://127.0.0.1:1/callback/", false},
		{"another query", native, "http://[::1]:1/callback?x=2", false},
		{"a fragment", native, "http://127.0.0.1:1/callback#x", false},
		{"a user", native, "http://evil@127.0.0.1:1/callback", false},
		{"https for http", native, "https://127.0.0.1:1/callback", false},
		{"the host in a label", native, "http://127.0.0.1.evil.example/callback", false},
		{"port 0", native, "http://127.0.0.1:0/callback", false},
		{"a port out of range", native, "http://127.0.0.1:65536/callback", false},
		{"a port with a zero before it", native, "http://127.0.0.1:080/callback", false},
		{"an escaped letter", web, "https://app.example/%63allback", false},
		{"capitals", web, "https://APP.example/callback", false},
	} {
		if _, err := redirectURI(row.client, row.uri, true); (err == nil) != row.good {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// FuzzRedirectURI: whatever is taken for a registered one leads to the same machine, by the same scheme, path and query.
func FuzzRedirectURI(f *testing.F) {
	const registered = "http://127.0.0.1/callback?a=b"
	client := directory.Client{Kind: "native", RedirectURIs: []string{registered}}
	for _, seed := range []string{registered, "http://127.0.0.1:8080/callback?a=b", "http://127.0.0.1:8080@evil.example/callback?a=b", "http://127.0.0.1:/callback?a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, named string) {
		to, err := redirectURI(client, named, true)
		if err != nil {
			return
		}
		u, err := url.Parse(to)
		if err != nil || to != named || u.Scheme != "http" || u.User != nil || u.Hostname() != "127.0.0.1" || !net.ParseIP(u.Hostname()).IsLoopback() ||
			u.EscapedPath() != "/callback" || u.RawQuery != "a=b" || u.Fragment != "" || !strings.HasPrefix(named, "http://127.0.0.1") {
			t.Errorf("%q passes for %q", named, registered)
		}
	})
}
