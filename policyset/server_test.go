package policyset_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/policyset"
)

// bundleServer is an HTTP server that gives a bundle, and remembers how it was asked.
type bundleServer struct {
	*httptest.Server
	mu      sync.Mutex
	raw     []byte
	etag    string
	status  int           // instead of the bundle
	waits   bool          // for a change, as long as it is asked to
	changed chan struct{} // closed at each change
	asked   chan *http.Request
}

func newBundleServer(t *testing.T) *bundleServer {
	s := &bundleServer{changed: make(chan struct{}), asked: make(chan *http.Request, 10_000)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.give(nil, "", http.StatusGone) // nobody waits any longer
		s.Close()
	})
	return s
}

func (s *bundleServer) give(raw []byte, etag string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw, s.etag, s.status = raw, etag, status
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked <- r
	s.mu.Lock()
	raw, etag, status, waits, changed := s.raw, s.etag, s.status, s.waits, s.changed
	s.mu.Unlock()
	current := etag != "" && r.Header.Get("If-None-Match") == etag
	if current && waits && strings.HasSuffix(r.Header.Get("Prefer"), ";wait=60") {
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		s.mu.Lock()
		raw, etag, status, current = s.raw, s.etag, s.status, false
		s.mu.Unlock()
	}
	switch {
	case status != 0:
		w.WriteHeader(status)
	case current:
		w.WriteHeader(http.StatusNotModified)
	default:
		if waits {
			w.Header().Set("Content-Type", "application/vnd.openpolicyagent.bundles")
		}
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		_, _ = w.Write(raw)
	}
}

func (s *bundleServer) next(t *testing.T) *http.Request {
	t.Helper()
	select {
	case r := <-s.asked:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("the bundle server is not asked")
		panic("unreachable")
	}
}

func TestServer(t *testing.T) {
	one, two, three := compiled(t, numbered(1)), compiled(t, numbered(2)), compiled(t, numbered(3))
	s := newBundleServer(t)
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("first\n"), 0o600))
	source := policyset.Server(policyset.ServerOptions{URL: s.URL + "/bundle.tar.gz?secret=x", TokenFile: token,
		MinDelay: 5 * time.Millisecond, MaxDelay: 10 * time.Millisecond})
	store := openStore(t)

	s.give(nil, "", http.StatusNotFound)
	if _, err := start(t, store, source); err == nil || !strings.Contains(err.Error(), "/bundle.tar.gz answers 404 Not Found") || strings.Contains(err.Error(), "secret") {
		t.Fatal("it starts with nothing, or does not say why:", err)
	}
	s.next(t)
	s.give(bundleOf(t, one, nil), `"1"`, 0)
	r := started(t, store, source)
	r.serves(t, one)
	first, again := s.next(t), s.next(t)
	if first.Header.Get("Authorization") != "Bearer first" || first.Header.Get("Prefer") != "modes=snapshot" || first.Header.Get("If-None-Match") != "" {
		t.Error("it is first asked with", first.Header)
	}
	if again.Header.Get("If-None-Match") != `"1"` {
		t.Error("it is asked again with", again.Header)
	}

	must(t, os.WriteFile(token, []byte("second"), 0o600))
	s.give(bundleOf(t, two, nil), `"2"`, 0)
	if passed := r.log.wait(t, "policies changed"); !strings.Contains(passed, "testing the changed policies") {
		t.Error("before the change it says", passed)
	}
	r.serves(t, two)
	for last := s.next(t); last.Header.Get("If-None-Match") != `"2"` || last.Header.Get("Authorization") != "Bearer second"; {
		last = s.next(t)
	}

	// The same content under another tag is no change, and bad content stays bad for as long as it is not modified.
	s.give(bundleOf(t, two, nil), `"2 again"`, 0)
	for s.next(t).Header.Get("If-None-Match") != `"2 again"` {
	}
	s.give(packed(t, rooted(broken(3))), `"3"`, 0)
	if passed := r.log.wait(t, "policies refused"); strings.Contains(passed, "testing") {
		t.Error("it says", passed)
	}
	for range 3 {
		for s.next(t).Header.Get("If-None-Match") != `"3"` {
		}
	}
	if !r.Stale() {
		t.Error("it is not stale with a bad bundle")
	}
	s.give(bundleOf(t, two, nil), `"2"`, 0)
	if passed := r.log.wait(t, "good again"); strings.Contains(passed, "policies refused") {
		t.Error("it repeats", passed)
	}
	r.serves(t, two)

	// It cannot be asked, and then it can.
	s.give(nil, "", http.StatusInternalServerError)
	r.log.wait(t, "policies refused")
	s.give(bundleOf(t, two, nil), `"2"`, 0)
	r.log.wait(t, "good again")

	s.give(nil, "", http.StatusForbidden)
	r.log.wait(t, "policies refused")
	r.stop()
	r = started(t, store, source)
	r.log.wait(t, "answers 403 Forbidden")
	r.serves(t, two)
	s.give(bundleOf(t, three, nil), "", 0)
	r.log.wait(t, "good again")
	r.serves(t, three)
	r.stop()
}

// A server that can wait for a change is asked at once again, and only such a one.
func TestLongPolling(t *testing.T) {
	one, two := compiled(t, numbered(1)), compiled(t, numbered(2))
	s := newBundleServer(t)
	s.waits = true
	s.give(bundleOf(t, one, nil), `"1"`, 0)
	r := started(t, openStore(t), policyset.Server(policyset.ServerOptions{URL: s.URL, MinDelay: time.Hour, MaxDelay: time.Hour, LongPolling: time.Minute}))
	for range 2 {
		if prefer := s.next(t).Header.Get("Prefer"); prefer != "modes=snapshot;wait=60" {
			t.Error("it is asked with", prefer)
		}
	}
	s.give(bundleOf(t, two, nil), `"2"`, 0)
	r.log.wait(t, "policies changed")
	r.serves(t, two)
	s.next(t)
	r.stop() // in the middle of waiting
}

func TestServerSignature(t *testing.T) {
	one, two := compiled(t, numbered(1)), compiled(t, numbered(2))
	private, public := rsaKey(t)
	sign := &policyset.Signing{Key: private, KeyID: "release"}
	s := newBundleServer(t)
	s.give(bundleOf(t, one, sign), `"1"`, 0)
	r := started(t, openStore(t), policyset.Server(policyset.ServerOptions{URL: s.URL, Verify: trusting(public), MinDelay: time.Millisecond}))
	s.give(bundleOf(t, two, nil), `"2"`, 0)
	r.log.wait(t, "bundle missing .signatures.json file")
	r.serves(t, one)
	s.give(bundleOf(t, two, sign), `"3"`, 0)
	r.log.wait(t, "good again")
	r.serves(t, two)
	r.stop()
}

// The token goes to the host of the configuration only, and never where there is no TLS.
func TestServerRedirects(t *testing.T) {
	one := compiled(t, numbered(1))
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("secret"), 0o600))
	elsewhere := newBundleServer(t)
	elsewhere.give(bundleOf(t, one, nil), "", 0)
	for _, test := range []struct {
		name    string
		to      func(own string) string
		token   string // that arrives where it is redirected to
		refused string
	}{
		{"elsewhere", func(string) string { return elsewhere.URL + "/x" }, "", ""},
		{"in a circle", func(own string) string { return own }, "", "too many redirects"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var from *httptest.Server
			from = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Error("without the token")
				}
				http.Redirect(w, r, test.to(from.URL), http.StatusFound)
			}))
			defer from.Close()
			_, err := policyset.Server(policyset.ServerOptions{URL: from.URL, TokenFile: token}).First(t.Context())
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Error("not refused:", err)
				}
				return
			}
			must(t, err)
			if got := elsewhere.next(t).Header.Get("Authorization"); got != test.token {
				t.Errorf("elsewhere it is asked with %q", got)
			}
		})
	}
}

func TestServerGivesTooMuch(t *testing.T) {
	s := newBundleServer(t)
	s.give(make([]byte, policyset.MaxBundle+2), "", 0)
	if _, err := policyset.Server(policyset.ServerOptions{URL: s.URL}).First(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error("not refused:", err)
	}
}
