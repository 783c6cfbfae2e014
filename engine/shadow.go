package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
)

const (
	// maxShadowed bounds the decisions that wait for a candidate, and maxShadowedBytes their inputs.
	maxShadowed      = 4096
	maxShadowedBytes = 16 << 20
	// offerAgain is after how long a decision that found no room is made and offered once more.
	offerAgain = 10 * time.Second
)

// Shadow is a candidate that decides beside the active set. What it decides is compared, and never answered.
type Shadow struct {
	Candidate *PolicySet
	Active    string // revision of the set that answers
	Since     time.Time

	number uint64 // no two of an engine have the same
	counts shadowCounts
}

// Shadowed counts decisions that were answered while there was a shadow.
type Shadowed struct {
	Compared uint64 // with what the candidate decided
	Failed   uint64 // nothing can be said: the candidate had not the time or the facts to decide
	Dropped  uint64 // there was no room to wait
}

type shadowCounts struct{ compared, failed, dropped atomic.Uint64 }

func (c *shadowCounts) read() Shadowed {
	return Shadowed{c.compared.Load(), c.failed.Load(), c.dropped.Load()}
}

// Counts are those since the shadow began.
func (s *Shadow) Counts() Shadowed { return s.counts.read() }

// shadows has what the shadows of an engine share.
type shadows struct {
	current atomic.Pointer[Shadow]
	begun   atomic.Uint64
	counts  shadowCounts
	waiting chan *Comparison
	bytes   atomic.Int64 // of the inputs of those that wait
}

// Comparison is a decision that was answered, and what the candidate makes of it.
type Comparison struct {
	Shadow   *Shadow
	ID       decisionlog.ID
	Revision datastore.Revision // of the facts
	Point    Point
	Input    Input
	Answered *Decision
	Decided  *Decision
	Turn     Turn

	asked time.Time
}

// SetShadow makes a set decide beside the active one from the next request on; nil ends that. A set that does so already goes on.
func (e *Engine) SetShadow(set *PolicySet) {
	active, former := e.Policies(), e.shadows.current.Load()
	switch {
	case set == nil, active == nil, set.revision == active.revision:
		e.shadows.current.Store(nil)
	case former == nil || former.Candidate.revision != set.revision || former.Active != active.revision:
		e.shadows.current.Store(&Shadow{Candidate: set, Active: active.revision, Since: e.options.Now(), number: e.shadows.begun.Add(1)})
	}
}

// Shadow is the candidate that decides now; nil when there is none.
func (e *Engine) Shadow() *Shadow { return e.shadows.current.Load() }

// Shadowed counts since the engine was made.
func (e *Engine) Shadowed() Shadowed { return e.shadows.counts.read() }

// beside is the shadow that runs beside a set.
func (all *shadows) beside(set *PolicySet) *Shadow {
	if s := all.current.Load(); s != nil && s.Active == set.revision {
		return s
	}
	return nil
}

// offer returns the comparison that a decision is to become once it is recorded, nil when it is not. The one that finds
// no room is not remembered for long, so that it comes again; it costs its question one evaluation in a while and no more.
func (s *Shadow) offer(all *shadows, r *memo.Reading, p Point, in Input, d *Decision, err error, asked time.Time) *Comparison {
	if s == nil || r.Uncommitted() || isTransient(err) {
		return nil
	}
	if len(all.waiting) == cap(all.waiting) || all.bytes.Load() > maxShadowedBytes {
		s.drop(all)
		r.NotAfter(asked.Add(offerAgain))
		return nil
	}
	in.Text = slices.Clone(in.Text)
	return &Comparison{Shadow: s, Revision: r.Revision(), Point: p, Input: in, Answered: d, asked: asked}
}

func (s *Shadow) drop(all *shadows) {
	s.counts.dropped.Add(1)
	all.counts.dropped.Add(1)
}

// isTransient says whether an evaluation has failed in a way that says nothing about the policy.
func isTransient(err error) bool {
	failed := (*EvaluationError)(nil)
	return err != nil && (!errors.As(err, &failed) || failed.Kind == PolicyTimeout || failed.Kind == FactsUnavailable)
}

// wait lets the candidate have the comparison when its turn comes.
func (all *shadows) wait(c *Comparison, id decisionlog.ID) {
	if c == nil {
		return
	}
	c.ID = id
	all.bytes.Add(int64(len(c.Input.Text)))
	select {
	case all.waiting <- c:
	default:
		all.bytes.Add(-int64(len(c.Input.Text)))
		c.Shadow.drop(all)
	}
}

// Compare lets the candidate decide what was answered, each at its own revision and instant, until ctx ends, and reports those that
// differ. The memory is the one that requests are begun with.
func (e *Engine) Compare(ctx context.Context, m *memo.Memo, report func(*Comparison)) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-e.shadows.waiting:
			e.shadows.bytes.Add(-int64(len(c.Input.Text)))
			if c.Shadow != e.Shadow() {
				continue
			}
			if err := e.compare(ctx, m, c); err != nil {
				c.Shadow.counts.failed.Add(1)
				e.shadows.counts.failed.Add(1)
				continue
			}
			if c.Turn != Same {
				report(c)
			}
			c.Shadow.counts.compared.Add(1)
			e.shadows.counts.compared.Add(1)
		}
	}
}

// compare has an error when nothing can be said.
func (e *Engine) compare(ctx context.Context, m *memo.Memo, c *Comparison) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	r := m.BeginAt(c.Revision)
	defer r.End()
	c.Decided, err = e.Again(ctx, r, c.Shadow.Candidate, c.Point, c.Input, c.asked)
	if isTransient(err) {
		return err
	}
	c.Turn = c.Decided.TurnFrom(c.Answered)
	return nil
}

// Rules says why the candidate has decided as it did.
func (e *Engine) Rules(ctx context.Context, m *memo.Memo, c *Comparison) ([]RuleTrace, error) {
	r := m.BeginAt(c.Revision)
	defer r.End()
	return e.Trace(ctx, r, c.Shadow.Candidate, c.Point, c.Input, c.asked)
}
