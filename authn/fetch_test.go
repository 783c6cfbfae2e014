package authn

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestFetch: only a whole answer of status 200 is a document. What may be reached at all is tested in outbound.
func TestFetch(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", maxFetchBytes+1)))
		case "/largest":
			_, _ = w.Write([]byte(strings.Repeat("x", maxFetchBytes)))
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/created":
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer server.Close()
	dev := ProviderOptions{AllowHTTP: true, Now: time.Now}
	for _, row := range []struct {
		name, path string
		options    ProviderOptions
		want       bool
	}{
		{"a document", "/good", dev, true},
		{"as much as is read", "/largest", dev, true},
		{"more than is read", "/large", dev, false},
		{"a redirect", "/redirect", dev, false},
		{"not found", "/missing", dev, false},
		{"another success than 200", "/created", dev, false},
		{"without TLS", "/good", ProviderOptions{}, false},
	} {
		if _, err := fetch(t.Context(), newFetchClient(row.options), server.URL+row.path); (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
