package server

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"mandate/access"
)

// Bounds of a report of what was not used: how long it may take to make, how long it is made for nobody who asks for it, and how
// long a request waits for it, and how long it is kept for whoever asks again.
const (
	maxReportTime  = 30 * time.Minute
	maxUnattended  = time.Minute
	maxReportWait  = 2 * time.Second
	maxReportKept  = time.Minute
	usualUnusedAgo = "2160h"
)

// UnusedAnswer is a report, or how far it has come: ask again for it.
type UnusedAnswer struct {
	Done     bool            `json:"done"`
	Progress access.Progress `json:"progress"`
	Report   *access.Unused  `json:"report,omitempty"`
}

// reports has the report of a tenant that is being made, or was made last: there is one at a time.
type reports struct {
	mu   sync.Mutex
	last *unusedReport
}

// unusedReport is a report in the making.
type unusedReport struct {
	since string
	done  chan struct{}

	mu       sync.Mutex
	attended time.Time
	progress access.Progress
	report   *access.Unused
	err      error
	ended    time.Time
}

func (m *managing) unused() error {
	since := usualUnusedAgo
	for name, value := range m.c.Request().URI().QueryArgs().All() {
		switch parameter := string(name); {
		case parameter == "since":
			since = strings.Clone(string(value))
		case parameter == "at_least", isCredential(parameter):
		default:
			return badRequest("the query can have since and at_least")
		}
	}
	from, err := instant(since, m.tenant.Now())
	if err != nil {
		return badRequest("since must be a time (RFC 3339), or for how long back, such as 2160h")
	}
	if _, err := m.manage("access.search", map[string]any{"type": "access", "id": "unused"}); err != nil {
		return err
	}
	if !m.tenant.Engine.Log().On() {
		return &requestError{http.StatusConflict, "decision_log_off", "there is no decision log to say what was used"}
	}
	report, err := m.attend(since, from)
	if err != nil {
		return err
	}
	timer := time.NewTimer(maxReportWait)
	defer timer.Stop()
	select {
	case <-report.done:
	case <-timer.C:
	case <-m.server.base.Done():
		return m.server.base.Err()
	}
	report.mu.Lock()
	defer report.mu.Unlock()
	if report.err != nil {
		return report.err
	}
	return writeJSON(m.c, UnusedAnswer{Done: report.report != nil, Progress: report.progress, Report: report.report})
}

// attend finds the report that is made since then, or begins it.
func (m *managing) attend(since string, from time.Time) (*unusedReport, error) {
	all := &m.unusedReports
	all.mu.Lock()
	defer all.mu.Unlock()
	now := m.tenant.Now()
	if r := all.last; r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		running := r.ended.IsZero()
		if r.since == since && (running || (r.err == nil && now.Sub(r.ended) < maxReportKept)) {
			r.attended = now
			return r, nil
		}
		if running {
			return nil, &requestError{http.StatusServiceUnavailable, "busy", "another report is being made: wait until it is done"}
		}
	}
	r := &unusedReport{since: since, done: make(chan struct{}), attended: now}
	reporter := access.Reporter{Tenant: m.tenant.ID, Store: m.server.store, Engine: m.tenant.Engine, Policies: m.tenant.Policies,
		Folder: m.tenant.Engine.Log().Folder(), Now: m.tenant.Now}
	ctx, cancel := context.WithTimeout(m.server.base, maxReportTime)
	err := m.server.background(func() {
		defer cancel()
		r.make(ctx, cancel, reporter, from)
	})
	if err != nil {
		cancel()
		return nil, err
	}
	all.last = r
	return r, nil
}

func (r *unusedReport) make(ctx context.Context, cancel context.CancelFunc, reporter access.Reporter, since time.Time) {
	report, err := reporter.Unused(ctx, since, func(p access.Progress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.progress = p
		if reporter.Now().Sub(r.attended) > maxUnattended {
			cancel()
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report, r.err, r.ended = report, err, reporter.Now()
	close(r.done)
}
