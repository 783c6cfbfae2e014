package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// A collector gets the spans of requests that belong to a trace, the last ones at the end.
func TestTracesAreSent(t *testing.T) {
	received := make(chan []byte, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" {
			received <- body
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mandate.yaml"), "listen: 127.0.0.1:0\ntracing: {endpoint: "+collector.URL+"/v1/traces, sample: 0}\n")
	p := start(t, dir, "serve", "--config", "mandate.yaml")
	for _, trace := range []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.address+"/access/v1/evaluation", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Traceparent", trace)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	close(received)
	var all []byte
	for body := range received {
		all = append(all, body...)
	}
	if n := bytes.Count(all, []byte("POST /access/v1/evaluation")); n != 1 {
		t.Errorf("%d spans of requests have arrived, want that of the traced one", n)
	}
}

func TestTracingIsChecked(t *testing.T) {
	for _, row := range []struct {
		config tracingConfig
		wanted string
	}{
		{tracingConfig{}, ""},
		{tracingConfig{Endpoint: "http://127.0.0.1:4318/v1/traces", Sample: 1}, ""},
		{tracingConfig{Endpoint: "127.0.0.1:4318"}, "tracing.endpoint"},
		{tracingConfig{Endpoint: "grpc://127.0.0.1:4317"}, "tracing.endpoint"},
		{tracingConfig{Sample: 1.5}, "tracing.sample"},
	} {
		problems := row.config.check()
		if (len(problems) == 0) != (row.wanted == "") || (len(problems) > 0 && !strings.Contains(problems[0].Error(), row.wanted)) {
			t.Errorf("%+v: %v, want %s", row.config, problems, row.wanted)
		}
	}
}
