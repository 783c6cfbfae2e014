package outbound

import (
	"io"
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
		options Options
		want    bool
	}{
		{"192.0.2.1:443", Options{}, false},
		{"93.184.215.14:443", Options{}, true},
		{"[2606:2800:21f:cb07::1]:443", Options{}, true},
		{"127.0.0.1:443", Options{}, false},
		{"127.0.0.1:443", Options{AllowHTTP: true}, true},
		{"[::1]:443", Options{}, false},
		{"[::1]:443", Options{AllowHTTP: true}, true},
		{"0.0.0.0:443", Options{AllowHTTP: true}, false},
		{"[::]:443", Options{AllowHTTP: true}, false},
		{"10.0.0.1:443", Options{AllowHTTP: true}, false},
		{"10.0.0.1:443", Options{AllowPrivate: private}, false},
		{"10.1.0.1:443", Options{AllowPrivate: private}, true},
		{"[::ffff:10.1.0.1]:443", Options{AllowPrivate: private}, true},
		{"172.16.0.1:443", Options{}, false},
		{"172.32.0.1:443", Options{}, true},
		{"192.168.1.1:443", Options{}, false},
		{"169.254.169.254:80", Options{}, false},
		{"100.64.0.1:443", Options{}, false},
		{"198.18.0.1:443", Options{}, false},
		{"224.0.0.1:443", Options{}, false},
		{"255.255.255.255:443", Options{}, false},
		{"[fc00::1]:443", Options{}, false},
		{"[fd00:ec2::254]:443", Options{}, false},
		{"[fe80::1%eth0]:443", Options{}, false},
		{"[ff02::1]:443", Options{}, false},
		{"[::ffff:127.0.0.1]:443", Options{}, false},
		{"[::ffff:169.254.169.254]:443", Options{}, false},
		{"[::127.0.0.1]:443", Options{}, false},
		{"[64:ff9b::a00:1]:443", Options{}, false},
		{"[64:ff9b::7f00:1]:443", Options{}, false},
		{"[64:ff9b::5db8:d70e]:443", Options{}, true},
		{"[64:ff9b:1::a00:1]:443", Options{}, false},
		{"[2002:a00:1::]:443", Options{}, false},
		{"[2001:0:a00:1::]:443", Options{}, false},
		{"[2001:db8::1]:443", Options{}, false},
		{"idp.acme.example:443", Options{}, false},
	} {
		if err := row.options.mayDial(row.address); (err == nil) != row.want {
			t.Errorf("%s: %v, want allowed %v", row.address, err, row.want)
		}
	}
}

// TestClient: what is refused never reaches the server, or is not read to its end.
func TestClient(t *testing.T) {
	const most = 64 << 10
	var reached, connected atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/redirect307":
			http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", most+1)))
		case "/largest":
			_, _ = w.Write([]byte(strings.Repeat("x", most)))
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
	dev := Options{AllowHTTP: true}
	for _, row := range []struct {
		name, url   string
		options     Options
		want        bool
		wantReached int64
	}{
		{"this machine in development", server.URL, dev, true, 1},
		{"this machine by name in development", byName, dev, true, 1},
		{"as much as is read", server.URL + "/largest", dev, true, 1},
		{"more than is read", server.URL + "/large", dev, false, 1},
		{"a redirect", server.URL + "/redirect", dev, false, 1},
		{"a redirect of a POST (307)", server.URL + "/redirect307", dev, false, 1},
		{"without TLS", server.URL, Options{}, false, 0},
		{"without TLS to another machine in development", "http://idp.acme.example/", dev, false, 0},
		{"a name that begins like this machine's", "http://localhost.acme.example/", dev, false, 0},
		{"a user in the URL", strings.Replace(server.URL, "//", "//user@", 1), dev, false, 0},
		{"a name that leads to this machine", strings.Replace(byName, "http:", "https:", 1), Options{}, false, 0},
		{"this machine in decimal", strings.Replace(strings.Replace(server.URL, "http:", "https:", 1), "127.0.0.1", "2130706433", 1), Options{}, false, 0},
		{"another scheme", "file:///etc/passwd", dev, false, 0},
		{"no host", "https:///x", dev, false, 0},
	} {
		reached.Store(0)
		connected.Store(0)
		row.options.Timeout, row.options.AnswerBytes = 5*time.Second, most
		err := post(t, NewClient(row.options), row.url)
		if (err == nil) != row.want || reached.Load() != row.wantReached || (row.wantReached == 0 && connected.Load() != 0) {
			t.Errorf("%s: error %v, reached %d, connected %d times", row.name, err, reached.Load(), connected.Load())
		}
	}
}

func post(t *testing.T, client *http.Client, to string) error {
	t.Helper()
	defer client.CloseIdleConnections()
	response, err := client.Post(to, "text/plain", strings.NewReader("body"))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// TestTimeout: a server that never answers, and one that never ends its answer, are left.
func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/endless" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	}))
	defer server.Close()
	defer close(release)
	client := NewClient(Options{AllowHTTP: true, Timeout: 50 * time.Millisecond, AnswerBytes: 1})
	for _, path := range []string{"/silent", "/endless"} {
		if err := post(t, client, server.URL+path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}
