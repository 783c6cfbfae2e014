// Package engine decides: it compiles Rego policies into an immutable PolicySet and evaluates their decisions over
// the facts of one snapshot of the datastore, reading only the facts that the policy asks for.
//
// Every Decision that it returns can be acted upon: whatever goes wrong (a policy that is undefined, malformed, too
// slow or in conflict with itself, facts that cannot be read) is a denial with a reason that tells an attacker
// nothing, and an error beside it that tells the operator everything.
//
// It must never allow because of an error, mix two policy sets in one decision, show a policy another tenant's facts
// or the private state of its own, write, or reach the network, the environment or the file system on behalf of a
// policy. It knows neither HTTP nor OAuth.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/datastore"
)

const (
	defaultEvaluationLimit = 100 * time.Millisecond
	defaultScanLimit       = 100_000
)

// Options bound and adjust an Engine. The zero value is what a service should start with.
type Options struct {
	// EvaluationLimit is the time that one evaluation may take; 100 ms when zero. It is checked between expressions,
	// during scans, and by the builtins that can take long.
	EvaluationLimit time.Duration
	// ScanLimit is how many documents the scans of one evaluation may read; 100,000 when zero.
	ScanLimit int
	// FactsInQueries lets Query answer with facts themselves. It is off by default: the directory holds the e-mail
	// addresses and relationships of every organization, and no policy stands between Query and its caller.
	FactsInQueries bool
	// Now is the clock that policies see; time.Now when nil.
	Now func() time.Time
}

// Engine decides for one tenant. It is safe for concurrent use.
type Engine struct {
	tenant  datastore.TenantID
	set     atomic.Pointer[PolicySet]
	options Options
}

// New returns an engine that decides by set over the facts of tenant.
func New(tenant datastore.TenantID, set *PolicySet, o Options) *Engine {
	if o.EvaluationLimit <= 0 {
		o.EvaluationLimit = defaultEvaluationLimit
	}
	if o.ScanLimit <= 0 {
		o.ScanLimit = defaultScanLimit
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{tenant: tenant, options: o}
	e.set.Store(set)
	return e
}

// Policies is the set that decides now.
func (e *Engine) Policies() *PolicySet { return e.set.Load() }

// Swap makes set decide from the next call on. Evaluations under way finish by the set that they began with.
func (e *Engine) Swap(set *PolicySet) { e.set.Store(set) }

// Decide evaluates the decision at p over the facts of view. The input is the JSON text of the whole input document.
//
// The Decision is always usable. The error beside it is nil when the policy has decided or is undefined, the error
// of ctx when that has ended, and otherwise an *EvaluationError.
func (e *Engine) Decide(ctx context.Context, view datastore.View, p Point, input []byte) (Decision, error) {
	ev, err := e.begin(view, input)
	if err != nil {
		return ev.deny(err), err
	}
	return ev.decide(ctx, p)
}

// evaluation is what the evaluations of one request have in common, so that they agree: one policy set, one
// snapshot, one instant.
type evaluation struct {
	engine *Engine
	set    *PolicySet
	facts  *facts
	input  *ast.Term
	now    time.Time
}

func (e *Engine) begin(view datastore.View, input []byte) (*evaluation, error) {
	ev := &evaluation{
		engine: e,
		set:    e.set.Load(),
		facts:  newFacts(view, e.tenant, e.options.ScanLimit),
		now:    e.options.Now(),
	}
	if input == nil {
		return ev, nil
	}
	value, err := parseJSON(input)
	if err != nil {
		return ev, &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("read input: %w", err)}
	}
	ev.input = ast.NewTerm(value)
	return ev, nil
}

func (ev *evaluation) decide(ctx context.Context, p Point) (Decision, error) {
	query, ok := ev.set.points[p]
	if !ok {
		err := &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("there is no decision at %q", p)}
		return ev.deny(err), err
	}
	value, err := ev.run(ctx, query, ev.engine.options.EvaluationLimit, nil)
	if err != nil {
		return ev.deny(err), err
	}
	if value == nil {
		return ev.stamp(denied(PolicyUndefined)), nil
	}
	d, err := decisionOf(value)
	if err != nil {
		err := &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("decision at %q: %w", p, err)}
		return ev.deny(err), err
	}
	return ev.stamp(d), nil
}

// run evaluates query for at most limit and returns the value of its result, nil when it is undefined.
func (ev *evaluation) run(ctx context.Context, query ast.Body, limit time.Duration, tracer topdown.QueryTracer) (value ast.Value, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(limit, cancel.Cancel)
	defer timer.Stop()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, cancel.Cancel)
		defer stop()
	}
	// An evaluator that panics on some input must cost one denial, not the service.
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
		}
	}()

	ev.facts.cancel = cancel
	q := topdown.NewQuery(query).
		WithCompiler(ev.set.compiler).
		WithStore(ev.facts).
		WithInput(ev.input).
		WithTime(ev.now).
		WithCancel(cancel).
		WithMetrics(metrics.NoOp())
	if tracer != nil {
		// Without the index every rule is tried, so that it can be said of each why it did not hold.
		q = q.WithQueryTracer(tracer).WithIndexing(false)
	}
	err = q.Iter(ctx, func(r topdown.QueryResult) error {
		value = r[resultVar].Value
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case cancel.Cancelled():
		// Also when a builtin that cannot be interrupted still came to an end: late is late, however it ended.
		return nil, &EvaluationError{Kind: PolicyTimeout, Err: fmt.Errorf("evaluation took longer than %v", limit)}
	case err != nil:
		return nil, evaluationError(err)
	}
	return value, nil
}

// evaluationError tells the failures of the facts from those of the policy.
func evaluationError(err error) error {
	kind := PolicyError
	if limit := (*ScanLimitError)(nil); errors.As(err, &limit) {
		kind = PolicyLimit
	} else if unavailable := (*factsError)(nil); errors.As(err, &unavailable) {
		kind = FactsUnavailable
	}
	return &EvaluationError{Kind: kind, Err: err}
}

// deny is the denial that answers a failed evaluation.
func (ev *evaluation) deny(err error) Decision {
	kind := PolicyTimeout // the caller's own deadline
	if failed := (*EvaluationError)(nil); errors.As(err, &failed) {
		kind = failed.Kind
	}
	return ev.stamp(denied(kind))
}

func (ev *evaluation) stamp(d Decision) Decision {
	d.PolicyRevision = ev.set.revision
	d.DataRevision = ev.facts.view.Revision()
	return d
}
