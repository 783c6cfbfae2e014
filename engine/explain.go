package engine

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// explanationFactor is how much longer than a decision its explanation may take: tracing costs, and tries rules that
// a decision passes over.
const explanationFactor = 20

// Explanation says why a decision is as it is.
type Explanation struct {
	Answer
	Rules []RuleTrace // in the order in which they were first tried
	Facts []FactRead  // in the order in which they were first read
	// Grounds are the rules that an allow rests on, or for each rule that could have allowed what it failed by, the closest first.
	Grounds []Ground
	// Denies is the rule that denies in so many words, when there is one.
	Denies *Ground
	// Otherwise is what would have to be different for a denial to be an allow, or what an allow hangs on.
	Otherwise Otherwise
}

// RuleTrace says whether a rule held.
type RuleTrace struct {
	Rule string `json:"rule"` // data.mandate.access.allow
	File string `json:"file"`
	Line int    `json:"line"`
	// Default says that this is the value for when no other rule of the name holds.
	Default bool `json:"default,omitempty"`
	// Held says that the conditions of the rule were met: for a function, by at least one of its calls.
	Held bool `json:"held"`
	// Failed is the furthest condition that was not met, for a rule that did not hold. It is nil when no condition
	// is to blame: the arguments of a function did not match, or the evaluation ended before.
	Failed *FailedCondition `json:"failed,omitempty"`
}

// FailedCondition is an expression of a rule as it is written.
type FailedCondition struct {
	Text string `json:"text"`
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

// FactRead is a document that was read, or all that a scan found below a path.
type FactRead struct {
	Path  string          `json:"path"`
	Found bool            `json:"found"`
	Value json.RawMessage `json:"value,omitempty"`

	path datastore.Path
}

// Question is a decision to explain.
type Question struct {
	Point Point
	// Input makes the input of the policy from the facts, as for Ask: it is made again for facts as they are not.
	Input func(*memo.Reading) (Input, error)
	// Asked is the present time to the policy.
	Asked time.Time
	// AsOf says that the decision is not of the present: see Engine.AsOf.
	AsOf bool
	// Logged says that the decision was recorded when it was made, and is not to be again.
	Logged bool
}

// Explain decides, records the decision unless it was logged before, and says which rules held, which did not, which facts that rests
// on, and what would have to be different. The Explanation is usable as far as it goes, whatever the error: the one that Decide returns,
// or that of the second evaluation, which is traced.
func (e *Engine) Explain(ctx context.Context, r *memo.Reading, set *PolicySet, q Question) (Explanation, error) {
	began := e.options.Now()
	in, err := q.Input(r)
	if err != nil {
		return Explanation{}, err
	}
	ev, err := e.begin(set, r, in.Text, q.Asked)
	if err != nil {
		return Explanation{Answer: Answer{Decision: ev.deny(err)}}, err
	}
	ev.asOf = q.AsOf
	ev.facts.recording = true
	decision, err := ev.decide(ctx, q.Point, e.options.EvaluationLimit)
	rules := tracer{byRule: make(map[*ast.Rule]*tried), byQuery: make(map[uint64]*tried)}
	if query, ok := ev.set.points[q.Point]; ok && ctx.Err() == nil {
		ev.facts.budget = e.options.ScanLimit // rules that the decision passed over may scan too
		_, traceErr := ev.within(ctx, explanationFactor*e.options.EvaluationLimit, func(d *deadline) (ast.Value, error) {
			return ev.reference(ctx, d, query, &rules)
		})
		if err == nil {
			err = traceErr
		}
	}
	if in.Refused != nil {
		decision = decision.about(*in.Refused)
	}
	x := Explanation{Answer: Answer{Decision: decision}, Rules: rules.traces(), Facts: ev.facts.reads}
	if !q.Logged {
		x.Answer = e.record(ctx, ev, q.Point, in, decision, began)
	}
	if err != nil {
		return x, err
	}
	w := why{compiler: set.compiler, tried: rules.byRule, facts: ev.facts.reads, input: ev.input, seen: map[*ast.Rule]bool{}}
	x.Grounds, x.Denies = w.grounds(set.points[q.Point], decision.Allow)
	x.Otherwise, err = e.otherwise(ctx, r, set, q, x, w.failures)
	if !x.Allow {
		byUse(x.Grounds, x.Otherwise)
	}
	return x, err
}

// tracer follows the evaluation of rules. It is used by one goroutine.
type tracer struct {
	byRule  map[*ast.Rule]*tried
	byQuery map[uint64]*tried // by the query that evaluates the rule's body
	order   []*tried
}

// tried is a rule of which the body was evaluated, perhaps several times.
type tried struct {
	RuleTrace
	rule     *ast.Rule
	furthest int // index of the failed expression
	failed   *ast.Expr
	locals   *ast.ValueMap
	names    map[ast.Var]topdown.VarMetadata
}

func (t *tracer) Enabled() bool { return true }

func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

func (t *tracer) TraceEvent(event topdown.Event) {
	switch node := event.Node.(type) {
	case *ast.Rule:
		switch event.Op {
		case topdown.EnterOp:
			t.byQuery[event.QueryID] = t.rule(node)
		case topdown.ExitOp:
			t.rule(node).Held = true
		}
	case *ast.Expr:
		// Queries that are not the body of a rule are those of "not", "every" and comprehensions: what fails in them
		// is no condition of the rule.
		r := t.byQuery[event.QueryID]
		if event.Op == topdown.FailOp && r != nil && node.Index > r.furthest {
			r.furthest, r.Failed, r.failed, r.locals, r.names = node.Index, conditionOf(node), node, event.Locals, event.LocalMetadata
		}
	}
}

func (t *tracer) rule(rule *ast.Rule) *tried {
	r := t.byRule[rule]
	if r == nil {
		r = &tried{rule: rule, furthest: -1}
		r.Rule, r.File, r.Line, r.Default = rule.Ref().String(), rule.Location.File, rule.Location.Row, rule.Default
		t.byRule[rule] = r
		t.order = append(t.order, r)
	}
	return r
}

func (t *tracer) traces() []RuleTrace {
	traces := make([]RuleTrace, len(t.order))
	for i, r := range t.order {
		traces[i] = r.RuleTrace
		if r.Held {
			traces[i].Failed = nil
		}
	}
	return traces
}

func conditionOf(e *ast.Expr) *FailedCondition {
	return &FailedCondition{
		Text: strings.TrimSpace(string(e.Location.Text)),
		File: e.Location.File,
		Line: e.Location.Row,
		Col:  e.Location.Col,
	}
}
