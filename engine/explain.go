package engine

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

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
}

// Explain decides as Decide does, and says which rules held, which did not, and which facts that rests on. The
// Explanation is usable as far as it goes, whatever the error: the one that Decide returns, or that of the
// second evaluation, which is traced.
func (e *Engine) Explain(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input) (Explanation, error) {
	asked := e.options.Now()
	ev, err := e.begin(set, r, in.Text, asked)
	if err != nil {
		return Explanation{Answer: Answer{Decision: ev.deny(err)}}, err
	}
	ev.facts.recording = true
	decision, err := ev.decide(ctx, p, e.options.EvaluationLimit)
	rules := tracer{byRule: make(map[*ast.Rule]*tried), byQuery: make(map[uint64]*tried)}
	if query, ok := ev.set.points[p]; ok && ctx.Err() == nil {
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
	return Explanation{Answer: e.record(ctx, ev, p, in, decision, asked), Rules: rules.traces(), Facts: ev.facts.reads}, err
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
	furthest int // index of the failed expression
}

func (t *tracer) Enabled() bool { return true }

func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

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
			r.furthest, r.Failed = node.Index, conditionOf(node)
		}
	}
}

func (t *tracer) rule(rule *ast.Rule) *tried {
	r := t.byRule[rule]
	if r == nil {
		r = &tried{furthest: -1}
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
