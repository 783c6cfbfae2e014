package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestServeLimitsRequests(t *testing.T) {
	p := start(t, t.TempDir(), "serve", "--dev", "--listen", "127.0.0.1:0", "--rate-limits-decisions-address", "1/h")
	for _, row := range []struct {
		path   string
		status int
		limit  string
	}{
		{"/access/v1/evaluation", http.StatusUnauthorized, `"address";q=1;w=3600`},
		{"/access/v1/evaluation", http.StatusTooManyRequests, `"address";q=1;w=3600`},
		{"/oauth2/token", http.StatusBadRequest, `"address";q=500;w=10`},
		{"/v1/keys/rotate", http.StatusUnauthorized, `"address";q=500;w=5`},
	} {
		response, err := http.Post("http://"+p.address+row.path, "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := response.Header.Get("RateLimit-Policy"); response.StatusCode != row.status || got != row.limit {
			t.Errorf("%s: %d, RateLimit-Policy %s", row.path, response.StatusCode, got)
		}
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
}
