package replay

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/datastore/memo"
	"mandate/engine"
)

// Shadow collects what the candidate beside the active set makes of what is decided now.
type Shadow struct {
	tenant string
	engine *engine.Engine
	memo   *memo.Memo

	mu     sync.Mutex
	shadow *engine.Shadow // that turns is about
	turns  *turns

	different *prometheus.CounterVec
}

// Live is what a shadow has found until now. A decision that was compared counts again only when it is made anew.
type Live struct {
	Active string    `json:"active"`
	Since  time.Time `json:"since"`
	Report `json:",embed"`
}

// Dropped is why a decision was not compared: too many waited.
const Dropped = "dropped"

// NewShadow makes one of the engine of a tenant. The memory is the one that its requests are begun with.
func NewShadow(tenant string, e *engine.Engine, m *memo.Memo) *Shadow {
	s := &Shadow{tenant: tenant, engine: e, memo: m, different: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_shadow_different_total",
		Help: "Decisions that the candidate makes differently.", ConstLabels: prometheus.Labels{"tenant": tenant}}, []string{"turns"})}
	for _, turn := range []engine.Turn{engine.ToAllow, engine.ToDeny, engine.Different} {
		s.different.WithLabelValues(string(turn))
	}
	return s
}

// Run compares until ctx ends.
func (s *Shadow) Run(ctx context.Context) {
	s.engine.Compare(ctx, s.memo, func(c *engine.Comparison) { s.add(ctx, c) })
}

func (s *Shadow) add(ctx context.Context, c *engine.Comparison) {
	s.different.WithLabelValues(string(c.Turn)).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shadow != c.Shadow {
		s.shadow, s.turns = c.Shadow, newTurns(c.Shadow.Candidate.Revision(), defaultExamples)
	}
	example := s.turns.add(turned{turn: c.Turn, point: string(c.Point), input: c.Input.Text, before: reasonsOf(c.Answered),
		beforeAllows: c.Answered.Allow, after: c.Decided})
	if example == nil {
		return
	}
	example.ID, example.Time, example.DataRevision = c.ID.String(), c.ID.Time().UTC(), c.Revision
	// An example without its rules is still one.
	rules, _ := s.engine.Rules(ctx, s.memo, c)
	example.explain(rules, c.Decided.Allow)
}

// Report is what was found since the shadow that runs now began; found is false when none does.
func (s *Shadow) Report() (live Live, found bool) {
	shadow := s.engine.Shadow()
	if shadow == nil {
		return Live{}, false
	}
	live = Live{Active: shadow.Active, Since: shadow.Since.UTC()}
	s.mu.Lock()
	defer s.mu.Unlock()
	turns := newTurns(shadow.Candidate.Revision(), defaultExamples)
	if s.shadow == shadow {
		turns = s.turns
	}
	live.Report = *turns.report()
	counts := shadow.Counts()
	live.Decided = counts.Compared
	live.Skipped = map[string]uint64{}
	for why, n := range map[string]uint64{Dropped: counts.Dropped, Unavailable: counts.Failed} {
		if n > 0 {
			live.Skipped[why] = n
		}
	}
	return live, true
}

// Collectors are the figures of all shadows.
func (s *Shadow) Collectors() []prometheus.Collector {
	of := func(name, help string, value func(engine.Shadowed) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"tenant": s.tenant}},
			func() float64 { return float64(value(s.engine.Shadowed())) })
	}
	return []prometheus.Collector{s.different,
		of("mandate_shadow_compared_total", "Decisions that a candidate has made beside the active policies.",
			func(c engine.Shadowed) uint64 { return c.Compared }),
		of("mandate_shadow_dropped_total", "Decisions that a candidate has not made because too many waited.",
			func(c engine.Shadowed) uint64 { return c.Dropped }),
		of("mandate_shadow_failed_total", "Decisions that a candidate could not make in time.",
			func(c engine.Shadowed) uint64 { return c.Failed }),
	}
}
