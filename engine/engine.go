// Package engine decides: it compiles Rego policies into an immutable PolicySet and evaluates their decisions over
// the facts of one snapshot of the datastore, reading only the facts that the policy asks for. A decision is
// remembered for as long as evaluating it again would come to the same (package memo).
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
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine/vm"
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
	// CheckOneIn is how many evaluations there are for each that Check repeats by OPA's evaluator; none is when zero.
	CheckOneIn uint64
	// Now is the clock that policies see; time.Now when nil.
	Now func() time.Time
	// Log is where decisions are recorded; nowhere when nil.
	Log *decisionlog.Log
}

// Engine decides for one tenant. It is safe for concurrent use.
type Engine struct {
	tenant   datastore.TenantID
	root     datastore.Path // of the facts
	log      *decisionlog.Log
	set      atomic.Pointer[PolicySet]
	options  Options
	checks   checks
	shadows  shadows
	measures measures
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
	if o.Log == nil {
		o.Log = decisionlog.Nothing(o.Now)
	}
	e := &Engine{tenant: tenant, root: tenant.Path(), options: o, log: o.Log, checks: checks{waiting: make(chan check, maxWaiting)},
		shadows: shadows{waiting: make(chan *Comparison, maxShadowed)}}
	e.set.Store(set)
	return e
}

// Policies is the set that decides now.
func (e *Engine) Policies() *PolicySet { return e.set.Load() }

// Swap makes set decide from the next request on. Requests under way finish by the set that they began with.
func (e *Engine) Swap(set *PolicySet) {
	if e.checks.hasFailed(set.revision) {
		set.distrusted.Store(true)
	}
	e.set.Store(set)
	if s := e.Shadow(); s != nil {
		e.SetShadow(s.Candidate) // beside another set
	}
}

// Begin begins a request: the policies that decide, and the newest revision of the facts, both at one instant. Nobody can see
// new policies with facts from before their swap. End of the Reading must be called.
func (e *Engine) Begin(m *memo.Memo) (*memo.Reading, *PolicySet) {
	for {
		set := e.set.Load()
		r := m.Begin()
		if e.set.Load() == set {
			return r, set
		}
		r.End()
	}
}

// Input is what a policy decides on.
type Input struct {
	Text []byte // JSON: the whole input document
	// Refused says why the credential that the question is about was refused, so that there is no principal in the text. Then it is
	// never allowed, whatever the policy says of nobody, and nothing is remembered.
	Refused *Reason
}

// Answer is a decision and the id of its record in the decision log.
type Answer struct {
	*Decision
	ID decisionlog.ID
}

// Decide evaluates the decision of set at p over the facts of r, or remembers it, and records it in the decision log. The input
// is the JSON text of the whole input document.
//
// The Decision is always usable. The error beside it is nil when the policy has decided or is undefined, the error
// of ctx when that has ended, and otherwise an *EvaluationError.
func (e *Engine) Decide(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, input []byte) (*Decision, error) {
	answer, err := e.Ask(ctx, r, set, p, input, func(*memo.Reading) (Input, error) { return Input{Text: input}, nil })
	return answer.Decision, err
}

// Ask decides as Decide does, but the input is made only when the decision is not remembered. The question names
// it: what makes the input may depend on nothing but the question and what it reads through the Reading that it is given.
// When it fails, there is no Decision, and its error is returned.
//
// What is recorded may be acted upon only after decisionlog.Log.Commit, which is up to the caller: one for all decisions of
// its request.
func (e *Engine) Ask(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, question []byte,
	input func(*memo.Reading) (Input, error)) (Answer, error) {
	asked := e.options.Now()
	for {
		decided, remembered, compared, err := e.recall(ctx, r, set, p, question, asked, input)
		if decided == nil {
			return Answer{}, err
		}
		id, logErr := e.log.Append(decided.ref, asked, decisionlog.Entry{DataRevision: r.Revision(), Allow: decided.Allow,
			Remembered: remembered, Uncommitted: r.Uncommitted()})
		if logErr == nil {
			e.shadows.wait(compared, id)
			e.measures.add(p, decided.Allow, remembered, err != nil, id.Time().Sub(asked))
			return Answer{decided.Decision, id}, err
		}
		// Its description is in a segment that has just ended: it is decided once again and described in the new one.
	}
}

// decided is a decision and its description in the decision log.
type decided struct {
	*Decision
	ref decisionlog.Ref
}

// Bytes is about what it takes in memory to remember it.
func (d *decided) Bytes() int { return d.Decision.Bytes() + 40 }

func (e *Engine) recall(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, question []byte, now time.Time,
	input func(*memo.Reading) (Input, error)) (d *decided, remembered bool, compared *Comparison, err error) {
	decisions := memo.Table[*decided]{Kind: "decision"}
	var memory [1024]byte
	asked := memo.Part(memo.Part(memo.Part(memo.Part(decisions.Ask(memory[:]), e.tenant), set.revision), p), question)
	asked = binary.LittleEndian.AppendUint32(asked, e.log.Epoch())
	if set.distrusted.Load() {
		asked = append(asked, "by OPA"...)
	}
	shadow := e.shadows.beside(set)
	if shadow != nil {
		asked = binary.LittleEndian.AppendUint64(asked, shadow.number) // so that each decision is made, and compared, once more
	}
	remembered = true
	d, err = decisions.Get(r, memo.KeyOf(asked), func(r *memo.Reading) (*decided, error) {
		remembered = false
		in, err := input(r)
		if err != nil {
			return nil, err
		}
		d, err := e.evaluate(ctx, r, set, p, in, now)
		compared = shadow.offer(&e.shadows, r, p, in, d.Decision, err, now)
		return d, err
	})
	return d, remembered, compared, err
}

// evaluate makes the decision and describes it.
func (e *Engine) evaluate(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input, now time.Time) (*decided, error) {
	ev, d, err := e.make(ctx, r, set, p, in, now)
	e.offer(ev, p, d, err)
	if in.Refused != nil {
		r.Volatile() // what the policy says without a principal is not the answer
		d = d.about(*in.Refused)
	}
	return &decided{d, e.describe(ctx, ev, p, in, d)}, err
}

func (e *Engine) make(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input, now time.Time) (*evaluation, *Decision, error) {
	ev, err := e.begin(set, r, in.Text, now)
	if err != nil {
		return ev, ev.deny(err), err
	}
	d, err := ev.decide(ctx, p, e.options.EvaluationLimit)
	return ev, d, err
}

// Again decides what was asked at an earlier instant as it was decided then, but for what a change of the set or the facts makes of it.
// It neither remembers nor records anything.
func (e *Engine) Again(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input, asked time.Time) (*Decision, error) {
	_, d, err := e.make(ctx, r, set, p, in, asked)
	if in.Refused != nil {
		d = d.about(*in.Refused)
	}
	return d, err
}

// AsOf decides what was never asked as it would have been decided at an earlier instant: r and set must be those of then. It is
// recorded as what it is, so that nobody takes it for a decision that was acted upon, and not remembered.
func (e *Engine) AsOf(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input, then time.Time) (Answer, error) {
	began := e.options.Now()
	ev, d, err := e.make(ctx, r, set, p, in, then)
	if in.Refused != nil {
		d = d.about(*in.Refused)
	}
	ev.asOf = true
	return e.record(ctx, ev, p, in, d, began), err
}

// evaluation is what the evaluations of one request have in common, so that they agree: one policy set, one
// snapshot, one instant.
type evaluation struct {
	engine *Engine
	set    *PolicySet
	facts  *facts
	text   []byte    // of the input
	input  ast.Value // nil when there is none
	now    time.Time
	byOPA  bool // not by Mandate's own machine
	asOf   bool // now is an earlier instant, and not the present one
	// volatile says that the present time or randomness was used.
	volatile bool
}

func (e *Engine) begin(set *PolicySet, r *memo.Reading, input []byte, now time.Time) (*evaluation, error) {
	ev := &evaluation{
		engine: e,
		set:    set,
		text:   input,
		facts:  newFacts(r, e.root, e.options.ScanLimit),
		now:    now,
		byOPA:  set.program == nil || set.distrusted.Load(),
	}
	ev.facts.static = set.static
	if input == nil {
		return ev, nil
	}
	var err error
	if ev.input, err = parseJSON(input); err != nil {
		return ev, &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("read input: %w", err)}
	}
	return ev, nil
}

func (ev *evaluation) decide(ctx context.Context, p Point, limit time.Duration) (*Decision, error) {
	query, ok := ev.set.points[p]
	if !ok {
		err := &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("there is no decision at %q", p)}
		return ev.deny(err), err
	}
	value, err := ev.within(ctx, limit, func(d *deadline) (ast.Value, error) {
		if ev.byOPA {
			return ev.reference(ctx, d, query, nil)
		}
		return ev.execute(ctx, d, p)
	})
	if err != nil {
		return ev.deny(err), err
	}
	if value == nil {
		return denied(PolicyUndefined).stamp(ev.set.revision), nil
	}
	d, err := decisionOf(value)
	if err != nil {
		err := &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("decision at %q: %w", p, err)}
		return ev.deny(err), err
	}
	return ev.set.usual.of(d.stamp(ev.set.revision)), nil
}

// within evaluates for at most limit. A nil value is an undefined one.
func (ev *evaluation) within(ctx context.Context, limit time.Duration, evaluate func(*deadline) (ast.Value, error)) (value ast.Value, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := newDeadline(ctx, limit)
	// An evaluator that panics on some input must cost one denial, not the service.
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
		}
	}()
	ev.facts.deadline = d
	value, err = evaluate(d)
	switch late := d.Look(); {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case late:
		// Also when a builtin that cannot be interrupted still came to an end: late is late, however it ended.
		return nil, &EvaluationError{Kind: PolicyTimeout, Err: fmt.Errorf("evaluation took longer than %v", limit)}
	case err != nil:
		return nil, evaluationError(err)
	}
	return value, nil
}

// execute evaluates the decision at p by Mandate's machine.
func (ev *evaluation) execute(ctx context.Context, d *deadline, p Point) (ast.Value, error) {
	outcome, err := ev.run(ctx, d, p)
	ev.used(outcome.Volatile)
	if err != nil && !d.over && !isOfFacts(err) {
		// OPA's evaluator passes over rules that its index excludes, and so perhaps over this error. If not, it knows best
		// what to say of it.
		return ev.reference(ctx, d, ev.set.points[p], nil)
	}
	if err != nil || len(outcome.Results) == 0 {
		return nil, err
	}
	return outcome.Results[0].Value("result"), nil
}

// run runs the program of the set. A panic in it is an error, after which the set is not trusted to it again.
func (ev *evaluation) run(ctx context.Context, d *deadline, p Point) (outcome vm.Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			ev.engine.distrust(ev, p, err)
		}
	}()
	return ev.set.program.Run(ctx, plan(p), &vm.Environment{Input: ev.input, Data: ev.facts.root(ctx), Now: ev.now, Cancel: d})
}

// reference evaluates query by OPA's own evaluator.
func (ev *evaluation) reference(ctx context.Context, d *deadline, query ast.Body, tracer topdown.QueryTracer) (value ast.Value, err error) {
	ev.used(ev.set.volatile)
	d.every = 1 // what OPA's evaluator does between two polls may take long
	var input *ast.Term
	if ev.input != nil {
		value, err := forced(ev.input)
		if err != nil {
			return nil, fmt.Errorf("read input: %w", err)
		}
		input = ast.NewTerm(value)
	}
	q := topdown.NewQuery(query).
		WithCompiler(ev.set.compiler).
		WithStore(ev.facts).
		WithInput(input).
		WithTime(ev.now).
		WithCancel(d).
		WithMetrics(metrics.NoOp())
	if tracer != nil {
		// Without the index every rule is tried, so that it can be said of each why it did not hold.
		q = q.WithQueryTracer(tracer).WithIndexing(false)
	}
	err = q.Iter(ctx, func(r topdown.QueryResult) error {
		value = r[resultVar].Value
		return nil
	})
	return value, err
}

// used notes whether the evaluation has used something that is another thing each time.
func (ev *evaluation) used(volatile bool) {
	if volatile {
		ev.volatile = true
		ev.facts.reading.Volatile()
	}
}

// evaluationError tells the failures of the facts from those of the policy.
func evaluationError(err error) error {
	kind := PolicyError
	if limit := (*ScanLimitError)(nil); errors.As(err, &limit) {
		kind = PolicyLimit
	} else if isOfFacts(err) {
		kind = FactsUnavailable
	}
	return &EvaluationError{Kind: kind, Err: err}
}

// isOfFacts says whether reading facts has failed, or reached its limit.
func isOfFacts(err error) bool {
	unavailable, limit := (*factsError)(nil), (*ScanLimitError)(nil)
	return errors.As(err, &unavailable) || errors.As(err, &limit)
}

// deny is the denial that answers a failed evaluation.
func (ev *evaluation) deny(err error) *Decision {
	kind := PolicyTimeout // the caller's own deadline
	if failed := (*EvaluationError)(nil); errors.As(err, &failed) {
		kind = failed.Kind
	}
	return denied(kind).stamp(ev.set.revision)
}
