package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/server"
)

// fillDisk puts /dev/full in the place of the segment that is written in the folder, so that the kernel refuses every write, until
// what it returns is called.
func fillDisk(t *testing.T, folder string) (empty func()) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	defer full.Close()
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, entry := range open {
		name, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if err != nil || filepath.Dir(name) != folder || !strings.HasSuffix(name, ".log") {
			continue
		}
		fd, err := strconv.Atoi(entry.Name())
		must(t, err)
		segment, err := syscall.Dup(fd)
		must(t, err)
		must(t, syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC))
		return func() {
			must(t, syscall.Dup3(segment, fd, syscall.O_CLOEXEC))
			must(t, syscall.Close(segment))
		}
	}
	t.Fatalf("no segment is open in %s", folder)
	return nil
}

func TestNothingIsAnsweredThatCannotBeLogged(t *testing.T) {
	for name, row := range map[string]struct {
		method, path, body string
		as                 func(h holders) credential
		line, wanted       string
	}{
		"AuthZEN":    {"POST", evaluationPath, good, func(h holders) credential { return h.key("gateway") }, jsonType, `^"the decision cannot be logged`},
		"a batch":    {"POST", evaluationsPath, `{"evaluations":[` + good + `]}`, func(h holders) credential { return h.key("gateway") }, jsonType, `^"the decision cannot be logged`},
		"OAuth":      {"POST", tokenPath, "grant_type=client_credentials", func(h holders) credential { return h.client("operator") }, formType, `"error":"temporarily_unavailable"`},
		"management": {"GET", "/v1/orgs", "", func(h holders) credential { return h.client("operator") }, jsonType, `"code":"decision_log_unavailable"`},
		"a change":   {"POST", "/v1/orgs", `{"id": "unlogged", "name": "Unlogged"}`, func(h holders) credential { return h.client("operator") }, jsonType, `"code":"decision_log_unavailable"`},
		"a refusal":  {"POST", evaluationPath, good, func(holders) credential { return bearer("mdt_key_unknown") }, jsonType, `^"the decision cannot be logged`},
	} {
		s := start(t)
		h := holdersOf(t, "default")
		log := s.logs[server.DefaultTenant]
		if a := s.send(t, "GET", "/readyz", ""); a.status != http.StatusOK {
			t.Fatal(a)
		}
		empty := fillDisk(t, log.Folder())
		a := s.send(t, row.method, row.path, row.body, append(row.as(h), row.line)...)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !regexp.MustCompile(row.wanted).MatchString(a.body) {
			t.Errorf("%s: %d %v", name, a.status, a)
		}
		if ready := s.send(t, "GET", "/readyz", ""); ready.status != http.StatusServiceUnavailable || !strings.Contains(ready.body, "decision log unavailable") {
			t.Errorf("%s: ready %v", name, ready)
		}
		empty()
		log.Checkpoint()
		if ready := s.send(t, "GET", "/readyz", ""); ready.status != http.StatusOK {
			t.Errorf("%s: there is room again, but ready is %v", name, ready)
		}
		if a := s.send(t, "GET", "/v1/orgs/unlogged", "", h.client("operator")...); a.status != http.StatusNotFound {
			t.Errorf("%s: what could not be logged was done: %v", name, a)
		}
		if a := s.send(t, row.method, row.path, row.body, append(row.as(h), row.line)...); a.status == http.StatusServiceUnavailable {
			t.Errorf("%s: there is room again, but %v", name, a)
		}
	}
}

// Where that was chosen, what cannot be logged is answered all the same, with an alarm.
func TestAnsweredThoughItCannotBeLogged(t *testing.T) {
	folder := t.TempDir()
	var alarms []error
	log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", AllowUnlogged: true, Report: func(err error) { alarms = append(alarms, err) }})
	must(t, err)
	s := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			if o.Tenants[i].ID == server.DefaultTenant {
				o.Tenants[i].Engine = engine.New(datastore.TenantID(server.DefaultTenant), o.Tenants[i].Engine.Policies(), engine.Options{EvaluationLimit: time.Minute, Log: log})
			}
		}
	})
	t.Cleanup(func() { must(t, log.Close()) })
	h := holdersOf(t, "default")
	empty := fillDisk(t, folder)
	defer empty()
	if a := s.ask(t, h.key("gateway"), evaluationPath, good); a.verdict() != "allow" {
		t.Errorf("not answered: %v", a)
	}
	if stats := log.Stats(); len(alarms) != 1 || alarms[0] == nil || !stats.Failing || stats.Lost == 0 {
		t.Errorf("alarms %v, %+v", alarms, stats)
	}
	if a := s.send(t, "GET", "/metrics", "", h.client("operator")...); !strings.Contains(a.body, `mandate_decision_log_failing{tenant="default"} 1`) {
		t.Error("the metrics do not say that the log fails")
	}
	if ready := s.send(t, "GET", "/readyz", ""); ready.status != http.StatusOK {
		t.Errorf("it answers, but ready is %v", ready)
	}
}
