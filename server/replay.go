package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/decisionlog"
	"mandate/engine"
	"mandate/manage"
	"mandate/replay"
)

// Bounds of a replay.
const (
	usualReplayed = 24 * time.Hour
	maxReplayed   = 100_000_000 // decisions
	maxReplayTime = time.Hour
)

// replayRoutes replay the decision log by a stored policy set, and tell what the one beside the active set has found. What they
// tell is of all organizations, so the policy mandate.manage is asked about the tenant's policy, as the actions policies.replay
// and policies.shadow. They come before the routes of the sets, whose names theirs are not.
func (h *handler) replayRoutes(base string) {
	app, all := h.server.app, base+"/v1/policies"
	app.Post(all+"/:set/replays", h.manages((*managing).startReplay))
	app.Get(all+"/replay", h.manages((*managing).getReplay))
	app.Delete(all+"/replay", h.manages((*managing).cancelReplay))
	app.Get(all+"/shadow/report", h.manages((*managing).getShadow))
}

// ReplayRequest says which decisions to replay.
type ReplayRequest struct {
	Since   string   `json:"since,omitempty"` // RFC 3339, or for how long back; 24h
	Until   string   `json:"until,omitempty"` // now
	Org     string   `json:"org,omitempty"`
	Subject string   `json:"subject,omitempty"` // type:id
	Point   string   `json:"point,omitempty"`
	Sample  *float64 `json:"sample,omitempty"` // share of them, above 0 and up to 1
	Limit   uint64   `json:"limit,omitzero"`
	Workers int      `json:"workers,omitzero"` // half of the processors, so that others are served
}

// Replay is a replay of the decision log that runs, or has ended.
type Replay struct {
	Set     string         `json:"set"`
	Status  string         `json:"status"` // running, done, canceled, failed
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until"`
	Started time.Time      `json:"started_at"`
	Ended   time.Time      `json:"ended_at,omitzero"`
	Done    uint64         `json:"done"`    // records
	Percent float64        `json:"percent"` // of the time that it goes over
	Report  *replay.Report `json:"report,omitempty"`
}

// The statuses of a replay.
const (
	replayRuns     = "running"
	replayDone     = "done"
	replayCanceled = "canceled"
	replayFailed   = "failed"
)

// replays has the last replay of a tenant. One runs at a time.
type replays struct {
	mu     sync.Mutex
	last   *Replay
	cancel context.CancelFunc
}

func (r *replays) read() (Replay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return Replay{}, false
	}
	return *r.last, true
}

// begin makes this the last one, unless one runs.
func (r *replays) begin(next *Replay, cancel context.CancelFunc) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.last.Status == replayRuns {
		return &manage.Conflict{Code: "replay_running", Message: "Another replay runs: wait for its end, or cancel it."}
	}
	r.last, r.cancel = next, cancel
	return nil
}

func (r *replays) change(do func(*Replay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do(r.last)
}

func (m *managing) startReplay() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	if err := m.permit("policies.replay", "policy", ids[0]); err != nil {
		return err
	}
	request := ReplayRequest{}
	if err := m.read(&request); err != nil {
		return err
	}
	job, options, records, err := m.replayOf(ids[0], &request)
	if err != nil {
		return err
	}
	if err := m.run(job, options, records); err != nil {
		return err
	}
	started, _ := m.replays.read()
	if err := writeJSON(m.c, started); err != nil {
		return err
	}
	m.c.Status(http.StatusCreated)
	return nil
}

// recordsUntil are records that are read until the context ends.
type recordsUntil func(context.Context) iter.Seq2[decisionlog.Record, error]

// replayOf is what the request asks for.
func (m *managing) replayOf(name string, request *ReplayRequest) (*Replay, replay.Options, recordsUntil, error) {
	now := m.tenant.Now()
	job := &Replay{Status: replayRuns, Since: now.Add(-usualReplayed), Until: now, Started: now.UTC()}
	share := 1.0
	if request.Sample != nil {
		share = *request.Sample
	}
	for _, bound := range []struct {
		text string
		at   *time.Time
		name string
	}{{request.Since, &job.Since, "since"}, {request.Until, &job.Until, "until"}} {
		if bound.text == "" {
			continue
		}
		at, err := instant(bound.text, now)
		if err != nil {
			return nil, replay.Options{}, nil, badRequest(bound.name + " must be a time (RFC 3339), or for how long back, such as 90m")
		}
		*bound.at = at
	}
	if job.Until.After(now) {
		job.Until = now // so that it ends
	}
	job.Since, job.Until = job.Since.UTC(), job.Until.UTC()
	switch {
	case share <= 0 || share > 1:
		return nil, replay.Options{}, nil, badRequest("sample must be above 0 and at most 1")
	case request.Workers < 0 || request.Workers > runtime.GOMAXPROCS(0):
		return nil, replay.Options{}, nil, badRequest(fmt.Sprintf("workers must be at most %d, the number of processors", runtime.GOMAXPROCS(0)))
	case request.Limit > maxReplayed:
		return nil, replay.Options{}, nil, badRequest(fmt.Sprintf("limit must be at most %d", maxReplayed))
	}
	if request.Limit == 0 {
		request.Limit = maxReplayed
	}
	if request.Workers == 0 {
		request.Workers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	candidate, err := m.storedPolicies(name)
	if err != nil {
		return nil, replay.Options{}, nil, err
	}
	job.Set = candidate.Revision()
	query := decisionlog.Query{Kind: decisionlog.Decision, Point: request.Point, Subject: request.Subject, Org: request.Org,
		From: decisionlog.IDAt(job.Since), Until: decisionlog.IDAt(job.Until), OldestFirst: true}
	folder, limit := m.tenant.Engine.Log().Folder(), request.Limit
	records := func(ctx context.Context) iter.Seq2[decisionlog.Record, error] {
		return replay.First(replay.Sample(decisionlog.Find(ctx, folder, query), share), limit)
	}
	return job, replay.Options{Store: m.server.store, Engine: m.tenant.Engine, Candidate: candidate, Workers: request.Workers}, records, nil
}

// storedPolicies is the set of that name, which the caller may read.
func (m *managing) storedPolicies(name string) (*engine.PolicySet, error) {
	answer, err := m.tenant.Manage.GetPolicy(m.server.base, m.reading, m.q, name)
	if err != nil {
		return nil, err
	}
	var set manage.PolicySet
	if err := json.Unmarshal(answer.Body, &set); err != nil {
		return nil, fmt.Errorf("read a policy set: %w", err)
	}
	return m.tenant.Policies.Compiled(m.server.base, m.reading, set.ID)
}

// run replays beside requests. A shutdown cancels it.
func (h *handler) run(job *Replay, o replay.Options, records recordsUntil) error {
	ctx, cancel := context.WithTimeout(h.server.base, maxReplayTime)
	if err := h.replays.begin(job, cancel); err != nil {
		cancel()
		return err
	}
	o.Records = records(ctx)
	o.Progress = func(done uint64, last decisionlog.ID) {
		h.replays.change(func(r *Replay) {
			r.Done = done
			if over := r.Until.Sub(r.Since); over > 0 {
				r.Percent = min(max(100*last.Time().Sub(r.Since).Seconds()/over.Seconds(), 0), 100)
			}
		})
	}
	err := h.server.background(func() {
		defer cancel()
		report, err := replay.Run(ctx, o)
		h.replays.change(func(r *Replay) {
			r.Ended = h.tenant.Now().UTC()
			switch {
			case err == nil:
				r.Status, r.Report, r.Percent = replayDone, report, 100
			case errors.Is(ctx.Err(), context.Canceled):
				r.Status = replayCanceled
			default:
				r.Status = replayFailed
			}
		})
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			h.server.log.Error("a replay failed", "tenant", h.tenant.ID, "policy_revision", job.Set, "error", err)
		}
	})
	if err != nil {
		cancel()
		h.replays.change(func(r *Replay) { r.Status = replayCanceled })
	}
	return err
}

// background runs something that a shutdown cancels by the server's base, and waits for.
func (s *Server) background(do func()) error {
	s.serving.Lock()
	defer s.serving.Unlock()
	if s.stopping.Load() {
		return fmt.Errorf("begin something that takes time: %w", context.Canceled)
	}
	s.jobs.Go(do)
	return nil
}

func (m *managing) getReplay() error {
	return m.lastReplay(func() {})
}

// cancelReplay cancels what runs. Of what has ended it is told how.
func (m *managing) cancelReplay() error {
	return m.lastReplay(func() {
		m.replays.mu.Lock()
		defer m.replays.mu.Unlock()
		m.replays.cancel()
	})
}

func (m *managing) lastReplay(do func()) error {
	if err := m.permit("policies.replay", "policy", "*"); err != nil {
		return err
	}
	if _, found := m.replays.read(); !found {
		return manage.ErrNotFound
	}
	do()
	last, _ := m.replays.read()
	return writeJSON(m.c, last)
}

func (m *managing) getShadow() error {
	if err := m.permit("policies.shadow", "policy", "*"); err != nil {
		return err
	}
	if m.tenant.Shadow == nil {
		return manage.ErrNotFound
	}
	live, found := m.tenant.Shadow.Report()
	if !found {
		return manage.ErrNotFound
	}
	return writeJSON(m.c, live)
}
