package policyset

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRedirect(t *testing.T) {
	for _, test := range []struct {
		from, to       string
		follows, token bool
	}{
		{"https://bundles.example/a", "https://bundles.example/b", true, true},
		{"https://bundles.example/a", "https://storage.example/b", true, false},
		{"https://bundles.example/a", "https://sub.bundles.example/b", true, false},
		{"https://bundles.example/a", "https://bundles.example:8443/b", true, false},
		{"https://bundles.example/a", "http://bundles.example/b", false, false},
		{"http://127.0.0.1:1/a", "http://127.0.0.1:2/a", true, false},
		{"http://127.0.0.1:1/a", "https://127.0.0.1:1/a", true, false},
	} {
		next := httptest.NewRequest(http.MethodGet, test.to, nil)
		next.Header.Set("Authorization", "Bearer secret")
		err := redirect(next, []*http.Request{httptest.NewRequest(http.MethodGet, test.from, nil)})
		if follows, token := err == nil, next.Header.Get("Authorization") != ""; follows != test.follows || follows && token != test.token {
			t.Errorf("from %s to %s: follows %v, with the token %v", test.from, test.to, follows, token)
		}
	}
}
