package authn

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAddresses: no address but one of the internet is connected to, in whatever form (RFC 6890, RFC 9728 §7.7).
func TestAddresses(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for _, row := range []struct {
		address string
		options ProviderOptions
		want    bool
	}{
		{"192.0.2.1:443", ProviderOptions{}, false},
		{"93.184.215.14:443", ProviderOptions{}, true},
		{"[2606:2800:21f:cb07::1]:443", ProviderOptions{}, true},
		{"127.0.0.1:443", ProviderOptions{}, false},
		{"127.0.0.1:443", ProviderOptions{AllowHTTP: true}, true},
		{"[::1]:443", ProviderOptions{}, false},
		{"[::1]:443", ProviderOptions{AllowHTTP: true}, true},
		{"0.0.0.0:443", ProviderOptions{AllowHTTP: true}, false},
		{"[::]:443", ProviderOptions{AllowHTTP: true}, false},
		{"10.0.0.1:443", ProviderOptions{AllowHTTP: true}, false},
		{"10.0.0.1:443", ProviderOptions{AllowPrivate: private}, false},
		{"10.1.0.1:443", ProviderOptions{AllowPrivate: private}, true},
		{"[::ffff:10.1.0.1]:443", ProviderOptions{AllowPrivate: private}, true},
		{"172.16.0.1:443", ProviderOptions{}, false},
		{"172.32.0.1:443", ProviderOptions{}, true},
		{"192.168.1.1:443", ProviderOptions{}, false},
		{"169.254.169.254:80", ProviderOptions{}, false},
		{"100.64.0.1:443", ProviderOptions{}, false},
		{"198.18.0.1:443", ProviderOptions{}, false},
		{"224.0.0.1:443", ProviderOptions{}, false},
		{"255.255.255.255:443", ProviderOptions{}, false},
		{"[fc00::1]:443", ProviderOptions{}, false},
		{"[fd00:ec2::254]:443", ProviderOptions{}, false},
		{"[fe80::1%eth0]:443", ProviderOptions{}, false},
		{"[ff02::1]:443", ProviderOptions{}, false},
		{"[::ffff:127.0.0.1]:443", ProviderOptions{}, false},
		{"[::ffff:169.254.169.254]:443", ProviderOptions{}, false},
		{"[::127.0.0.1]:443", ProviderOptions{}, false},
		{"[64:ff9b::a00:1]:443", ProviderOptions{}, false},
		{"[64:ff9b::7f00:1]:443", ProviderOptions{}, false},
		{"[64:ff9b::5db8:d70e]:443", ProviderOptions{}, true},
		{"[64:ff9b:1::a00:1]:443", ProviderOptions{}, false},
		{"[2002:a00:1::]:443", ProviderOptions{}, false},
		{"[2001:0:a00:1::]:443", ProviderOptions{}, false},
		{"[2001:db8::1]:443", ProviderOptions{}, false},
		{"idp.acme.example:443", ProviderOptions{}, false},
	} {
		if err := row.options.mayDial(row.address); (err == nil) != row.want {
			t.Errorf("%s: %v, want allowed %v", row.address, err, row.want)
		}
	}
}

// TestFetch: what is refused never reaches the server, or is not read to its end.
func TestFetch(t *testing.T) {
	var reached, connected atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", maxFetchBytes+1)))
		case "/largest":
			_, _ = w.Write([]byte(strings.Repeat("x", maxFetchBytes)))
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write([]byte("good"))
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connected.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	byName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	dev := ProviderOptions{AllowHTTP: true, Now: time.Now}
	for _, row := range []struct {
		name, url   string
		options     ProviderOptions
		want        bool
		wantReached int64
	}{
		{"this machine in development", server.URL, dev, true, 1},
		{"this machine by name in development", byName, dev, true, 1},
		{"as much as is read", server.URL + "/largest", dev, true, 1},
		{"more than is read", server.URL + "/large", dev, false, 1},
		{"a redirect", server.URL + "/redirect", dev, false, 1},
		{"not found", server.URL + "/missing", dev, false, 1},
		{"without TLS", server.URL, ProviderOptions{}, false, 0},
		{"without TLS to another machine in development", "http://idp.acme.example/", dev, false, 0},
		{"a name that begins like this machine's", "http://localhost.acme.example/", dev, false, 0},
		{"a user in the URL", strings.Replace(server.URL, "//", "//user@", 1), dev, false, 0},
		{"a name that leads to this machine", strings.Replace(byName, "http:", "https:", 1), ProviderOptions{}, false, 0},
		{"this machine in decimal", strings.Replace(strings.Replace(server.URL, "http:", "https:", 1), "127.0.0.1", "2130706433", 1), ProviderOptions{}, false, 0},
		{"another scheme", "file:///etc/passwd", dev, false, 0},
		{"no host", "https:///x", dev, false, 0},
	} {
		reached.Store(0)
		connected.Store(0)
		_, err := fetch(t.Context(), newFetchClient(row.options), row.url)
		if (err == nil) != row.want || reached.Load() != row.wantReached || (row.wantReached == 0 && connected.Load() != 0) {
			t.Errorf("%s: error %v, reached %d, connected %d times", row.name, err, reached.Load(), connected.Load())
		}
	}
}
