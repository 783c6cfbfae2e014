package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"mandate/decisionlog"
	"mandate/engine"
	"mandate/replay"
	"mandate/server"
)

const (
	replayPath = policiesPath + "/replay"
	shadowPath = policiesPath + "/shadow/report"
)

// replayed waits for the end of the replay that runs.
func (s *running) replayed(t testing.TB, as credential, prefix string) (r server.Replay) {
	t.Helper()
	for t.Context().Err() == nil {
		r = server.Replay{}
		s.managed(t, as, "GET", prefix+replayPath, "").decode(t, &r)
		if r.Status != "running" {
			break
		}
	}
	return r
}

// replayBy starts a replay and waits for its end.
func (s *running) replayBy(t testing.TB, as credential, set, request string) server.Replay {
	t.Helper()
	s.managed(t, as, "POST", policiesPath+"/"+set+"/replays", request).wantMembers(t, http.StatusCreated, map[string]any{"set": set})
	r := s.replayed(t, as, "")
	if r.Status != "done" || r.Report == nil || r.Percent != 100 || r.Ended.IsZero() {
		t.Fatalf("the replay has ended as %+v", r)
	}
	return r
}

func TestReplayOverHTTP(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	s.managed(t, admin, "GET", replayPath, "").wantStatus(t, http.StatusNotFound, "not_found")
	for range 3 {
		s.readsPressKit(t, h) // denied
	}
	s.ask(t, h.key("gateway"), evaluationPath, question(named("user", "carol"), "documents:write", "report"))
	s.ask(t, h.key("gateway"), evaluationPath, question(presented(t, bearer("mdt_ak_unknown")), "documents:read", pressKit)) // refused
	same, open := s.push(t, admin, variant(t, "same")), s.push(t, admin, opened(t, "opened"))

	unchanged := s.replayBy(t, admin, same, "").Report
	if unchanged.Changed() || unchanged.Decided < 6 || len(unchanged.Groups) != 0 {
		t.Errorf("a set that decides the same: %+v", unchanged)
	}
	r := s.replayBy(t, admin, open, `{"since": "1h", "point": "mandate/access"}`).Report
	if r.Decided != 5 || r.ToAllow != 3 || r.ToDeny != 0 || r.Different != 0 || len(r.Groups) != 1 {
		t.Fatalf("%+v", r)
	}
	g := r.Groups[0]
	if g.Turns != engine.ToAllow || g.Point != "mandate/access" || g.Rule != "press" || g.Org != "acme" || g.Subject != "user:frank" ||
		g.Action != "documents:read" || g.Count != 3 || len(g.Examples) != 3 {
		t.Errorf("%+v", g)
	}
	if e := g.Examples[0]; len(e.ID) != 13 || e.Resource != "document:"+pressKit || e.After[0].Code != "press" || len(e.Before) != 1 || len(e.Rules) == 0 || !e.Rules[0].Held {
		t.Errorf("%+v", e)
	}
	for request, decided := range map[string]uint64{
		`{"subject": "user:carol"}`:                  1,
		`{"org": "globex"}`:                          0,
		`{"limit": 2, "point": "mandate/access"}`:    2,
		`{"since": "1h", "until": "59m"}`:            0,
		`{"point": "mandate/access", "workers": 1}`:  5,
		`{"point": "mandate/access", "sample": 1.0}`: 5,
	} {
		if got := s.replayBy(t, admin, open, request).Report.Decided; got != decided {
			t.Errorf("%s: %d decided, want %d", request, got, decided)
		}
	}
	for _, wrong := range []string{`{"since": "yesterday"}`, `{"sample": 0}`, `{"sample": 2}`, `{"workers": 1000}`, `{"workers": -1}`, `{"limit": 100000001}`} {
		s.managed(t, admin, "POST", policiesPath+"/"+open+"/replays", wrong).wantStatus(t, http.StatusBadRequest, "invalid_request")
	}
	s.managed(t, admin, "POST", policiesPath+"/"+strings.Repeat("0", 64)+"/replays", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, admin, "DELETE", replayPath, "").wantMembers(t, http.StatusOK, map[string]any{"status": "done"})
	if s.readsPressKit(t, h) != "deny" {
		t.Error("a replay changes what is decided")
	}
}

// TestReplaysOfOthers: the reports are of all organizations of the tenant, and so for nobody who manages one only, and for no other tenant.
func TestReplaysOfOthers(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	s.readsPressKit(t, h)
	set := s.push(t, admin, opened(t, "others"))
	s.replayBy(t, admin, set, "")
	for name, as := range map[string]credential{"nobody": nil, "who decides only": h.key("gateway"), "a manager of acme": h.user("alice", "alice"),
		"a manager of no organization": h.user("bob", "bob")} {
		for method, path := range map[string]string{"POST": policiesPath + "/" + set + "/replays", "GET": replayPath, "DELETE": replayPath} {
			if a := s.managed(t, as, method, path, ""); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden && a.status != http.StatusNotFound {
				t.Errorf("%s: %s %s: %v", name, method, path, a)
			}
		}
		if a := s.managed(t, as, "GET", shadowPath, ""); strings.Contains(a.body, "since") {
			t.Errorf("%s: the shadow: %v", name, a)
		}
		for _, request := range []string{`{"org": "acme"}`, `{"subject": "user:alice"}`} {
			if a := s.managed(t, as, "POST", policiesPath+"/"+set+"/replays", request); a.status < 400 {
				t.Errorf("%s: %s: %v", name, request, a)
			}
		}
	}
	other := holdersOf(t, staging)
	for name := range other.secrets {
		if id, ok := strings.CutPrefix(name, "key "); ok {
			if a := s.managed(t, other.key(id), "GET", replayPath, ""); a.status == http.StatusOK {
				t.Errorf("%s of another tenant: %v", name, a)
			}
			if a := s.managed(t, other.key(id), "GET", "/t/staging"+replayPath, ""); strings.Contains(a.body, pressKit) {
				t.Errorf("%s at its own tenant: %v", name, a)
			}
		}
	}
	if a := s.managed(t, admin, "POST", "/t/staging"+policiesPath+"/"+set+"/replays", ""); a.status < 400 {
		t.Errorf("the default tenant's set is replayed on another's log: %v", a)
	}
}

// One replay runs at a time. A shutdown cancels it.
func TestReplayIsCanceled(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	set := s.push(t, admin, variant(t, "canceled"))
	log := s.logs[server.DefaultTenant]
	what := log.Describe(&decisionlog.Description{Kind: decisionlog.Decision, Point: string(engine.Access), Input: []byte(`{}`)})
	for range 300_000 {
		_, err := log.Append(what, s.clock.now(), decisionlog.Entry{DataRevision: s.store.Newest()})
		must(t, err)
	}
	log.Checkpoint()
	path := policiesPath + "/" + set + "/replays"
	s.managed(t, admin, "POST", path, "").wantMembers(t, http.StatusCreated, map[string]any{"status": "running"})
	if a := s.managed(t, admin, "POST", path, ""); a.status == http.StatusConflict {
		a.wantStatus(t, http.StatusConflict, "replay_running")
	} else {
		t.Errorf("a second one: %v", a)
	}
	s.managed(t, admin, "DELETE", replayPath, "").wantMembers(t, http.StatusOK, nil)
	if r := s.replayed(t, admin, ""); r.Status != "canceled" || r.Report != nil || r.Ended.IsZero() {
		t.Errorf("%+v", r)
	}
	s.managed(t, admin, "POST", path, "").wantMembers(t, http.StatusCreated, nil) // and the end of the test shuts down
}

func TestShadowOverHTTP(t *testing.T) {
	var shadow *replay.Shadow
	s := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			if tenant := &o.Tenants[i]; tenant.ID == server.DefaultTenant {
				shadow = replay.NewShadow(string(tenant.ID), tenant.Engine, o.Memo)
				tenant.Shadow = shadow
				tenant.Metrics = append(tenant.Metrics, shadow.Collectors()...)
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		shadow.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	s.managed(t, admin, "GET", shadowPath, "").wantStatus(t, http.StatusNotFound, "not_found")
	s.readsPressKit(t, h)
	set := s.push(t, admin, opened(t, "shadowed"))
	s.managed(t, admin, "POST", policiesPath+"/"+set+"/shadow", "").wantMembers(t, http.StatusOK, map[string]any{"status": "shadow"})
	for range 3 {
		if s.readsPressKit(t, h) != "deny" {
			t.Error("the shadow answers")
		}
	}
	var live replay.Live
	for t.Context().Err() == nil {
		live = replay.Live{}
		text := s.managed(t, admin, "GET", shadowPath, "")
		text.decode(t, &live.Report)
		if live.ToAllow > 0 {
			text.decode(t, &live)
			break
		}
	}
	if live.Candidate != set || live.ToAllow != 1 || live.ToDeny+live.Different != 0 || len(live.Groups) != 1 || live.Groups[0].Rule != "press" || live.Groups[0].Examples[0].Resource != "document:"+pressKit {
		t.Errorf("%+v", live)
	}
	scraped := s.managed(t, admin, "GET", "/metrics", "").body
	for _, line := range []string{`mandate_shadow_different_total{tenant="default",turns="allow"} 1`, `mandate_shadow_dropped_total{tenant="default"} 0`, `mandate_shadow_compared_total{tenant="default"}`} {
		if !strings.Contains(scraped, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if a := s.managed(t, h.user("alice", "alice"), "GET", shadowPath, ""); a.status < 400 {
		t.Errorf("a manager of one organization reads it: %v", a)
	}
	s.managed(t, admin, "DELETE", policiesPath+"/shadow", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "GET", shadowPath, "").wantStatus(t, http.StatusNotFound, "not_found")
}
