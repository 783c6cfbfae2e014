package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// maxWaiting is how many decisions wait to be checked; while it is reached none is added.
const maxWaiting = 64

// checks repeats a share of the decisions by OPA's evaluator. It is there because the machine that makes them is
// Mandate's own: a fault in it must be found where the policies are.
type checks struct {
	evaluated, checked, differing atomic.Uint64
	waiting                       chan check
}

// check is a decision to repeat.
type check struct {
	set      *PolicySet
	point    Point
	input    []byte
	revision datastore.Revision
	now      time.Time
	decision *Decision
}

// Difference is a decision that OPA's evaluator makes differently, with all that it takes to repeat it.
type Difference struct {
	Point           Point
	Input           string // JSON, as are the two decisions
	PolicyRevision  string
	DataRevision    datastore.Revision
	Now             time.Time
	Decided, Wanted string
}

// Checks says how many decisions were evaluated, rather than remembered, how many of them were checked, and how
// many of those OPA's evaluator makes differently.
type Checks struct{ Evaluated, Checked, Differing uint64 }

// Checks counts since the Engine was made.
func (e *Engine) Checks() Checks {
	return Checks{e.checks.evaluated.Load(), e.checks.checked.Load(), e.checks.differing.Load()}
}

// offer hands over one evaluation in so many to be checked, unless enough wait already. What OPA's evaluator has made
// itself, and what would be another thing each time, cannot be checked.
func (e *Engine) offer(ev *evaluation, p Point, input []byte, d *Decision, err error) {
	n := e.checks.evaluated.Add(1)
	if e.options.CheckOneIn == 0 || n%e.options.CheckOneIn != 0 || ev.byOPA || ev.volatile {
		return
	}
	if failed := (*EvaluationError)(nil); err != nil && (!errors.As(err, &failed) || failed.Kind != PolicyError) {
		return // a limit was reached or the facts are unavailable, which says nothing about the policy
	}
	select {
	case e.checks.waiting <- check{ev.set, p, slices.Clone(input), ev.facts.reading.Revision(), ev.now, d}:
	default:
	}
}

// Check repeats decisions until ctx ends, and reports those that differ. The policy set of one that does is not
// trusted to Mandate's machine again: OPA's evaluator decides from then on, and what was remembered of the set is not used.
func (e *Engine) Check(ctx context.Context, store datastore.Store, report func(Difference)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-e.checks.waiting:
			d, err := e.repeat(ctx, store, c)
			if errors.Is(err, datastore.ErrRevisionGone) || ctx.Err() != nil {
				continue // its facts are gone and nothing can be said, or this is the end
			}
			if err != nil {
				return fmt.Errorf("check a decision: %w", err)
			}
			e.checks.checked.Add(1)
			if d != nil {
				c.set.distrusted.Store(true)
				e.checks.differing.Add(1)
				report(*d)
			}
		}
	}
}

// repeat returns the difference between a decision and what OPA's evaluator makes of the same, nil when there is none.
func (e *Engine) repeat(ctx context.Context, store datastore.Store, c check) (*Difference, error) {
	view, err := store.ViewAt(ctx, c.revision)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	ev, err := e.begin(c.set, memo.Over(view), c.input)
	if err != nil {
		return nil, err
	}
	ev.now = c.now
	// It has time: a machine that is too busy for OPA's evaluator is no difference.
	ev.byOPA = true
	wanted, err := ev.decide(ctx, c.point, explanationFactor*e.options.EvaluationLimit)
	var failed *EvaluationError
	switch {
	case err != nil && !errors.As(err, &failed), failed != nil && failed.Kind == FactsUnavailable:
		return nil, err
	case failed != nil && failed.Kind == PolicyTimeout, same(c.decision, wanted):
		return nil, nil
	}
	return &Difference{c.point, string(c.input), c.set.revision, c.revision, c.now, c.decision.text(), wanted.text()}, nil
}

// text is the decision as JSON.
func (d *Decision) text() string {
	text, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func same(a, b *Decision) bool {
	return a.Allow == b.Allow && bytes.Equal(a.AppendMembers(nil), b.AppendMembers(nil)) && slices.Equal(a.Scopes, b.Scopes) &&
		a.Lifetime == b.Lifetime && reflect.DeepEqual(a.Claims, b.Claims) && a.Org == b.Org
}
