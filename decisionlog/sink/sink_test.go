package sink_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/open-policy-agent/opa/v1/runtime"

	"mandate/decisionlog"
	"mandate/decisionlog/sink"
	"mandate/directory"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLog(t testing.TB, folder string) *decisionlog.Log {
	t.Helper()
	log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default"})
	must(t, err)
	return log
}

func record(t testing.TB, log *decisionlog.Log, n int) string {
	t.Helper()
	mark := log.Mark()
	id := log.Record(&decisionlog.Description{Kind: decisionlog.Decision, Point: "mandate/access", PolicyRevision: "5f1c", Allow: n%2 == 0,
		Input:       fmt.Appendf(nil, `{"subject":{"type":"user","id":"alice"},"n":%d}`, n),
		Reasons:     []decisionlog.Reason{{Code: "no_role", Message: "alice has no role"}},
		Obligations: []byte(`[{"type":"notify"}]`), Erased: []string{"/input/context/ssn"}}, time.Now(), decisionlog.Entry{DataRevision: 7, Allow: n%2 == 0})
	must(t, log.Commit(mark))
	return id.String()
}

// collector is a server for decision logs, which answers what it is told to until it has said all of that.
type collector struct {
	*httptest.Server
	most    int // events in one request; 0 for any number
	mu      sync.Mutex
	answers []int
	bodies  [][]byte // of the requests that were taken
	headers []http.Header
	took    chan struct{} // after each request
}

func collect(t testing.TB, answers ...int) *collector {
	c := &collector{answers: answers, took: make(chan struct{}, 10_000)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(unpacked)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		defer func() { c.took <- struct{}{} }()
		if c.most > 0 && bytes.Count(body, []byte(`"decision_id"`)) > c.most {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if len(c.answers) > 0 {
			status := c.answers[0]
			c.answers = c.answers[1:]
			if status != http.StatusOK {
				w.WriteHeader(status)
				return
			}
		}
		c.bodies, c.headers = append(c.bodies, body), append(c.headers, r.Header)
	}))
	t.Cleanup(c.Close)
	return c
}

// ids are those of all events that were taken, in their order.
func (c *collector) ids(t testing.TB) (ids []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, body := range c.bodies {
		var events []struct {
			ID string `json:"decision_id"`
		}
		must(t, json.Unmarshal(body, &events))
		for _, e := range events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (c *collector) until(t testing.TB, ids []string) {
	t.Helper()
	for {
		have := c.ids(t)
		if !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(have, id) }) {
			return
		}
		select {
		case <-c.took:
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of %d records have arrived", len(have), len(ids))
		}
	}
}

// run runs a sink until the function that it returns is called.
func run(t testing.TB, o sink.Options) (*sink.Sink, func()) {
	t.Helper()
	o.Tenant = "default"
	o.After = func(time.Duration) <-chan time.Time { return time.After(time.Millisecond) }
	s := sink.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	return s, func() {
		cancel()
		running.Wait()
	}
}

func TestOPA(t *testing.T) {
	for name, row := range map[string]struct {
		answers []int
		upload  int
		most    int
		failed  uint64
		dropped bool
	}{
		"a good server":                {},
		"one that fails":               {answers: []int{500, 503, 429, 302, 401}, failed: 5},
		"one that takes little":        {most: 3},
		"small bodies":                 {upload: 600},
		"no body is large enough":      {upload: 30, dropped: true},
		"one that fails between times": {answers: []int{200, 500, 200, 500, 500, 200}, upload: 2000, most: 7},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			log := openLog(t, folder)
			to := collect(t, row.answers...)
			to.most = row.most
			var ids []string
			for n := range 50 {
				ids = append(ids, record(t, log, n))
			}
			options := sink.Options{Name: "opa", Log: log, Batch: 20,
				To: &sink.OPA{URL: to.URL + "/logs", Upload: row.upload, Token: directory.NewSecret("let me in"), Client: sink.NewOPAClient()}}
			s, stop := run(t, options)
			if row.dropped {
				waitFor(t, func() bool { return s.Stats().Dropped == 50 })
				stop()
				must(t, log.Close())
				return
			}
			to.until(t, ids)
			for n := range 10 {
				ids = append(ids, record(t, log, n)) // while it runs
			}
			to.until(t, ids)
			waitFor(t, func() bool { return s.Stats().Delivered >= 60 }) // what it does not know to be delivered would come again
			stop()
			if stats := s.Stats(); stats.Failures < row.failed || stats.Dropped != 0 {
				t.Errorf("%+v", stats)
			}
			for _, h := range to.headers {
				if h.Get("Authorization") != "Bearer let me in" || h.Get("Content-Type") != "application/json" {
					t.Errorf("header %v", h)
				}
			}
			must(t, log.Close())

			// After a restart it goes on where it was.
			before := len(to.ids(t))
			log = openLog(t, folder)
			options.Log = log
			next := record(t, log, 1)
			_, stop = run(t, options)
			to.until(t, []string{next})
			stop()
			if after := to.ids(t); len(after) != before+1 {
				t.Errorf("%d records came again", len(after)-before-1)
			}
			must(t, log.Close())
		})
	}
}

func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("waited in vain")
		}
	}
}

// A server that is away keeps nobody from appending, and gets all once it is there.
func TestOPAServerIsAway(t *testing.T) {
	log := openLog(t, t.TempDir())
	to := collect(t)
	address := to.Listener.Addr().String()
	to.Close()
	var reported []error
	s, stop := run(t, sink.Options{Name: "opa", Log: log, To: &sink.OPA{URL: "http://" + address + "/logs", Client: sink.NewOPAClient()},
		Report: func(err error) { reported = append(reported, err) }})
	var ids []string
	for n := range 30 {
		ids = append(ids, record(t, log, n))
	}
	waitFor(t, func() bool { st := s.Stats(); return st.Failures >= 2 && st.Lag > 0 })
	back := collect(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Skip("the port was taken by somebody else")
	}
	again := &http.Server{Handler: back.Config.Handler, ReadHeaderTimeout: time.Second}
	go func() { _ = again.Serve(listener) }()
	back.until(t, ids)
	waitFor(t, func() bool { return s.Stats().Delivered == 30 && s.Stats().Lag == 0 })
	stop()
	must(t, again.Close())
	must(t, log.Close())
	if len(reported) != 2 || reported[0] == nil || reported[1] != nil {
		t.Errorf("reported %v", reported)
	}
}

// What cannot be read is as if it were not there.
func TestPositionIsTorn(t *testing.T) {
	folder := t.TempDir()
	log := openLog(t, folder)
	id := record(t, log, 1)
	must(t, os.WriteFile(filepath.Join(folder, "sink-opa"), []byte("0"), 0o600))
	to := collect(t)
	_, stop := run(t, sink.Options{Name: "opa", Log: log, To: &sink.OPA{URL: to.URL, Client: sink.NewOPAClient()}})
	to.until(t, []string{id})
	stop()
	must(t, log.Close())
}

// The retention of records ends while their sink is not there.
func TestGap(t *testing.T) {
	folder := t.TempDir()
	log := openLog(t, folder)
	id := record(t, log, 1)
	must(t, os.WriteFile(filepath.Join(folder, "sink-opa"), []byte(decisionlog.IDAt(time.Now().Add(-time.Hour)).String()), 0o600))
	to := collect(t)
	var reported []string
	s, stop := run(t, sink.Options{Name: "opa", Log: log, To: &sink.OPA{URL: to.URL, Client: sink.NewOPAClient()},
		Report: func(err error) { reported = append(reported, fmt.Sprint(err)) }})
	to.until(t, []string{id})
	stop()
	must(t, log.Close())
	if s.Stats().Dropped != 1 || len(reported) != 1 || !strings.Contains(reported[0], "lost to it") {
		t.Errorf("%+v, reported %q", s.Stats(), reported)
	}
}

// Whoever reads the events of OPA reads these.
func TestEventsAreThoseOfOPA(t *testing.T) {
	log := openLog(t, t.TempDir())
	ids := []string{record(t, log, 2),
		log.Record(&decisionlog.Description{Kind: decisionlog.Authentication, Details: map[string]string{"address": "192.0.2.1"}}, time.Now(), decisionlog.Entry{}).String(),
		log.Record(&decisionlog.Description{Kind: decisionlog.Decision, Point: "mandate/access", MaskFailed: true}, time.Now(), decisionlog.Entry{}).String()}
	must(t, log.Commit(log.Mark()))
	to := collect(t)
	_, stop := run(t, sink.Options{Name: "opa", Log: log, To: &sink.OPA{URL: to.URL, Client: sink.NewOPAClient()}})
	to.until(t, ids)
	stop()
	must(t, log.Close())
	var ours []map[string]any
	for _, body := range to.bodies {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		var events []logs.EventV1
		must(t, decoder.Decode(&events)) // all names are OPA's
		var texts []map[string]any
		must(t, json.Unmarshal(body, &texts))
		ours = append(ours, texts...)
	}
	wanted := eventOfOPA(t)
	for i, event := range ours[:2] {
		for name, value := range wanted {
			got, ok := event[name]
			switch {
			case slices.Contains([]string{"req_id", "bundles"}, name): // a number of the request; of a set that is known
			case !ok:
				t.Errorf("event %d lacks %s, which is %v in OPA's", i, name, value)
			case fmt.Sprintf("%T", got) != fmt.Sprintf("%T", value):
				t.Errorf("event %d has %v as %s, OPA's %v", i, got, name, value)
			}
		}
	}
	if e := ours[0]; e["path"] != "mandate/access/decision" || fmt.Sprint(e["result"]) !=
		"map[allow:true obligations:[map[type:notify]] reasons:[map[code:no_role message:alice has no role]]]" ||
		fmt.Sprint(e["bundles"]) != "map[mandate:map[revision:5f1c]]" || fmt.Sprint(e["erased"]) != "[/input/context/ssn]" {
		t.Errorf("event %v", e)
	}
	if e := ours[1]; e["path"] != "mandate/authentication" || fmt.Sprint(e["input"]) != "map[address:192.0.2.1]" || e["requested_by"] != "192.0.2.1" {
		t.Errorf("event %v", e)
	}
	if _, ok := ours[2]["input"]; ok {
		t.Error("there is an input where none is known")
	}
}

// eventOfOPA is what OPA's own server sends of a decision.
func eventOfOPA(t *testing.T) map[string]any {
	t.Helper()
	to := collect(t)
	policy := filepath.Join(t.TempDir(), "access.rego")
	must(t, os.WriteFile(policy, []byte("package mandate.access\ndecision := {\"allow\": true}\n"), 0o600))
	params := runtime.NewParams()
	params.Addrs = &[]string{"127.0.0.1:0"}
	params.AddrSetByUser = true
	params.Paths = []string{policy}
	params.Logging = runtime.LoggingConfig{Level: "error", Format: "json"}
	params.ConfigOverrides = []string{"services.logs.url=" + to.URL, "decision_logs.service=logs",
		"decision_logs.reporting.min_delay_seconds=1", "decision_logs.reporting.max_delay_seconds=1"}
	server, err := runtime.NewRuntime(t.Context(), params)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	defer func() {
		cancel()
		<-served
	}()
	waitFor(t, func() bool { return len(server.Addrs()) > 0 })
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+server.Addrs()[0]+"/v1/data/mandate/access/decision", strings.NewReader(`{"input":{"a":1}}`))
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	must(t, response.Body.Close())
	select {
	case <-to.took:
	case <-time.After(30 * time.Second):
		t.Fatal("OPA has sent nothing")
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	var events []map[string]any
	must(t, json.Unmarshal(to.bodies[0], &events))
	return events[0]
}

func TestLines(t *testing.T) {
	folder := t.TempDir()
	log := openLog(t, folder)
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	must(t, os.WriteFile(name, []byte(`{"id":"torn`), 0o600))
	ids := []string{record(t, log, 1), record(t, log, 2)}
	s, stop := run(t, sink.Options{Name: "file", Log: log, To: sink.File{Path: name}})
	waitFor(t, func() bool { return s.Stats().Delivered == 2 })
	must(t, os.Rename(name, name+".1")) // by somebody who rotates files
	ids = append(ids, record(t, log, 3))
	waitFor(t, func() bool { return s.Stats().Delivered == 3 })
	stop()
	var out bytes.Buffer
	s, stop = run(t, sink.Options{Name: "stdout", Log: log, To: sink.Stream{To: &out}})
	waitFor(t, func() bool { return s.Stats().Delivered == 3 })
	stop()
	must(t, log.Close())
	first, err := os.ReadFile(name + ".1")
	must(t, err)
	second, err := os.ReadFile(name)
	must(t, err)
	for place, row := range map[string]struct {
		text string
		ids  []string
	}{"the former file": {strings.TrimPrefix(string(first), "{\"id\":\"torn\n"), ids[:2]}, "the file": {string(second), ids[2:]}, "the output": {out.String(), ids}} {
		var found []string
		lines := bufio.NewScanner(strings.NewReader(row.text))
		for lines.Scan() {
			var line struct {
				ID, Tenant, Kind string
				Input            map[string]any
			}
			must(t, json.Unmarshal(lines.Bytes(), &line))
			if line.Tenant != "default" || line.Kind != "decision" || line.Input["n"] == nil {
				t.Errorf("%s: %s", place, lines.Text())
			}
			found = append(found, line.ID)
		}
		if !slices.Equal(found, row.ids) {
			t.Errorf("%s has %v, want %v", place, found, row.ids)
		}
	}
}
