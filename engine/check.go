package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// maxWaiting is how many decisions wait to be checked; while it is reached none is added.
const maxWaiting = 64

// maxCheckedInput bounds the input of a decision that is checked, and so what those that wait take in memory and what
// the log has to hold of one that differs.
const maxCheckedInput = 64 << 10

// checks repeats a share of the decisions by OPA's evaluator. It is there because the machine that makes them is
// Mandate's own: a fault in it must be found where the policies are.
type checks struct {
	evaluated, checked, differing atomic.Uint64
	waiting                       chan check

	mu     sync.Mutex
	failed map[string]bool // policy sets that were decided wrongly, by revision
}

func (c *checks) hasFailed(revision string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[revision]
}

func (c *checks) fail(set *PolicySet) {
	c.differing.Add(1)
	set.distrusted.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = make(map[string]bool)
	}
	c.failed[set.revision] = true
}

// check is a decision to repeat.
type check struct {
	set      *PolicySet
	point    Point
	input    []byte
	revision datastore.Revision
	now      time.Time
	decision *Decision
	panicked error // instead of a decision
}

// Difference is a decision that OPA's evaluator makes differently, with all that it takes to repeat it.
type Difference struct {
	Point           Point
	Input           string // JSON, as are the two decisions; Decided is a stack trace after a panic
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
func (e *Engine) offer(ev *evaluation, p Point, d *Decision, err error) {
	n := e.checks.evaluated.Add(1)
	if e.options.CheckOneIn == 0 || n%e.options.CheckOneIn != 0 || ev.byOPA || ev.volatile || len(ev.text) > maxCheckedInput {
		return
	}
	if failed := (*EvaluationError)(nil); err != nil && (!errors.As(err, &failed) || failed.Kind != PolicyError) {
		return // a limit was reached or the facts are unavailable, which says nothing about the policy
	}
	e.hand(check{set: ev.set, point: p, input: slices.Clone(ev.text), revision: ev.facts.reading.Revision(), now: ev.now, decision: d})
}

// distrust leaves a policy set to OPA's evaluator on which the machine has panicked, and has that reported.
func (e *Engine) distrust(ev *evaluation, p Point, panicked error) {
	e.checks.fail(ev.set)
	input := ev.text[:min(len(ev.text), maxCheckedInput)]
	e.hand(check{set: ev.set, point: p, input: slices.Clone(input), revision: ev.facts.reading.Revision(), now: ev.now, panicked: panicked})
}

func (e *Engine) hand(c check) {
	select {
	case e.checks.waiting <- c:
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
			if c.panicked != nil {
				report(c.difference(c.panicked.Error(), ""))
				continue
			}
			if c.set.distrusted.Load() {
				continue // one report is enough
			}
			d, err := e.repeat(ctx, store, c)
			if errors.Is(err, datastore.ErrRevisionGone) || ctx.Err() != nil {
				continue // its facts are gone and nothing can be said, or this is the end
			}
			if err != nil {
				return fmt.Errorf("check a decision: %w", err)
			}
			e.checks.checked.Add(1)
			if d != nil {
				e.checks.fail(c.set)
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
	ev, err := e.begin(c.set, memo.Over(view), c.input, c.now)
	if err != nil {
		return nil, err
	}
	// It has time: a machine that is too busy for OPA's evaluator is no difference.
	ev.byOPA = true
	wanted, err := ev.decide(ctx, c.point, explanationFactor*e.options.EvaluationLimit)
	var failed *EvaluationError
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	if failed != nil && failed.Kind != PolicyError || same(c.decision, wanted) {
		return nil, nil // where a limit was reached or the facts are unavailable, nothing can be said
	}
	d := c.difference(c.decision.text(), wanted.text())
	return &d, nil
}

func (c check) difference(decided, wanted string) Difference {
	return Difference{c.point, string(c.input), c.set.revision, c.revision, c.now, decided, wanted}
}

// text is the decision as JSON.
func (d *Decision) text() string {
	text, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// same compares what two decisions say. Equal numbers may be written in different ways.
func same(a, b *Decision) bool {
	return a.Allow == b.Allow && slices.Equal(a.Reasons, b.Reasons) && slices.Equal(a.Scopes, b.Scopes) && a.Lifetime == b.Lifetime &&
		a.Org == b.Org && equalJSON(a.Obligations, b.Obligations) && reflect.DeepEqual(a.Claims, b.Claims)
}

func equalJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := ast.ValueFromReader(bytes.NewReader(a))
	y, errY := ast.ValueFromReader(bytes.NewReader(b))
	return errX == nil && errY == nil && x.Compare(y) == 0
}
