package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDecisionLogConfiguration(t *testing.T) {
	for text, wanted := range map[string]string{
		"mode: durable":                    "",
		"mode: off":                        "",
		"max_size: 1GiB":                   "",
		"retention: 0s":                    "",
		"mode: sometimes":                  "decision_log.mode must be crash-safe, durable or off",
		"when_full: panic":                 "decision_log.when_full must be deny or allow",
		"segment_size: 1KiB":               "decision_log.segment_size must be between 1MiB and 1GiB",
		"retention: 1m":                    "decision_log.retention must be at least 1h, or 0 for ever",
		"max_size: 64MiB":                  "decision_log.max_size must be at least twice segment_size",
		"sinks: [{type: stdout}]":          "",
		"sinks: [{type: kafka}]":           "decision_log.sinks[0]: type must be stdout, file or opa",
		"sinks: [{type: file}]":            "decision_log.sinks[0]: path goes with the type file",
		"sinks: [{type: stdout, path: x}]": "decision_log.sinks[0]: path goes with the type file",
		"sinks: [{type: stdout, url: 'https://logs.example'}]":                                                    "url, token_file and max_upload are for the type opa",
		"sinks: [{type: opa}]":                                                                                    "url must be an http or https URL",
		"sinks: [{type: opa, url: 'https://me:secret@logs.example'}]":                                             "url must be an http or https URL without a user",
		"sinks: [{type: opa, url: 'http://logs.example/logs', token_file: t}]":                                    "url must be https",
		"sinks: [{type: opa, url: 'https://logs.example/logs', token_file: t, max_batch: 100, max_upload: 1MiB}]": "",
		"sinks: [{type: stdout}, {type: stdout}]":                                                                 `another sink has the name "stdout"`,
		"sinks: [{type: stdout, name: ../x}]":                                                                     "name must be lower case letters",
		"{mode: off, sinks: [{type: stdout}]}":                                                                    "sinks get nothing while mode is off",
		"sinks: [{type: stdout, colour: red}]":                                                                    "colour",
	} {
		dir := t.TempDir()
		if !strings.HasPrefix(text, "{") {
			text = "{" + text + "}"
		}
		write(t, filepath.Join(dir, "mandate.yaml"), "decision_log: "+text+"\n")
		cmd := serveCommand(os.LookupEnv)
		if err := cmd.Flags().Set("config", filepath.Join(dir, "mandate.yaml")); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(cmd, func(string) (string, bool) { return "", false })
		if (err == nil) != (wanted == "") || (err != nil && !strings.Contains(err.Error(), wanted)) {
			t.Errorf("%s: %v, want %s", text, err, wanted)
		}
	}
}

// A server with sinks sends its records there, and has all the metrics that the dashboard in docs shows.
func TestSinksAndDashboard(t *testing.T) {
	arrived := make(chan string, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path + " " + r.Header.Get("Authorization")
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(collector.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
	write(t, filepath.Join(dir, "token"), "of the collector\n")
	write(t, filepath.Join(dir, "mandate.yaml"), `
listen: 127.0.0.1:0
data: ./data
tenants: {default: {directory: directory.yaml}}
decision_log:
  sinks:
    - {type: stdout}
    - {type: file, path: decisions.jsonl}
    - {type: opa, url: "`+collector.URL+`/logs", token_file: token, max_batch: 10}
`)
	p := start(t, dir, "serve", "--config", "mandate.yaml")
	ask(t, p, "nobody's key", http.StatusUnauthorized)
	ask(t, p, "key-of-the-gateway", http.StatusOK)
	id := p.wait(t, `^\{"id":"(\w{13})".*"kind":"decision".*"documents:read"`)[1]
	p.wait(t, `^\{"id":.*"kind":"authentication"`)
	select {
	case got := <-arrived:
		if got != "/logs Bearer of the collector" {
			t.Errorf("the collector got %s", got)
		}
	case <-time.After(patience):
		t.Fatal("nothing has arrived")
	}
	names := scraped(t, p)
	text, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range dashboardMetrics(t, text) {
		if !slices.Contains(names, name) {
			t.Errorf("the dashboard shows %s, which the server does not have", name)
		}
	}
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	if written := read(t, filepath.Join(dir, "decisions.jsonl")); !strings.Contains(written, id) {
		t.Errorf("record %s is not in the file", id)
	}
	if strings.Contains(p.output(), "of the collector") {
		t.Error("the token of a sink is shown")
	}
}

func ask(t *testing.T, p *process, key string, status int) {
	t.Helper()
	response := send(t, p, http.MethodPost, "/access/v1/evaluation", key,
		`{"subject":{"type":"user","id":"alice"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"x","properties":{"org":"acme"}}}`)
	if response.StatusCode != status {
		t.Fatalf("%d, want %d", response.StatusCode, status)
	}
}

func send(t *testing.T, p *process, method, path, key, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// scraped are the names of the metrics that the server has.
func scraped(t *testing.T, p *process) (names []string) {
	t.Helper()
	text, err := io.ReadAll(send(t, p, http.MethodGet, "/metrics", "key-of-the-admin", "").Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if m := regexp.MustCompile(`^([a-z_]+)[{ ]`).FindStringSubmatch(line); m != nil {
			names = append(names, m[1])
		}
	}
	return slices.Compact(names)
}

// dashboardMetrics are those in the expressions and variables of a dashboard.
func dashboardMetrics(t *testing.T, dashboard []byte) (names []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	var expressions []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	for _, v := range d.Templating.List {
		expressions = append(expressions, v.Query)
	}
	for _, e := range expressions {
		names = append(names, regexp.MustCompile(`\b(?:mandate|go|process)_[a-z_]+`).FindAllString(e, -1)...)
	}
	if len(names) < 20 {
		t.Fatalf("the dashboard shows only %v", names)
	}
	return names
}
