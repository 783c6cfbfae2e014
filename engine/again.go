package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore/memo"
	"mandate/decisionlog"
)

// Turn says in what a decision differs from an earlier one on the same question.
type Turn string

// The turns.
const (
	Same      Turn = ""
	ToAllow   Turn = "allow"
	ToDeny    Turn = "deny"
	Different Turn = "different" // the same outcome with other reasons, obligations or grants
)

func turn(before, after, same bool) Turn {
	switch {
	case before != after && after:
		return ToAllow
	case before != after:
		return ToDeny
	case !same:
		return Different
	}
	return Same
}

// TurnFrom says what the decision makes of another one.
func (d *Decision) TurnFrom(former *Decision) Turn {
	return turn(former.Allow, d.Allow, d == former || same(former, d))
}

// TurnFromLogged says what the decision makes of one that was logged.
func (d *Decision) TurnFromLogged(former *decisionlog.Description) Turn {
	equal := slices.EqualFunc(d.Reasons, former.Reasons, func(a Reason, b decisionlog.Reason) bool { return a == Reason(b) })
	return turn(former.Allow, d.Allow, equal && equalOptional(d.Obligations, former.Obligations) && equalOptional(d.granted(), former.Granted))
}

// equalOptional compares JSON texts that may be absent. A list without elements is, in the log.
func equalOptional[A, B ~[]byte](a A, b B) bool {
	if absent(a) || absent(b) {
		return absent(a) && absent(b)
	}
	return equalJSON([]byte(a), []byte(b))
}

func absent[T ~[]byte](text T) bool { return len(text) == 0 || string(text) == "[]" }

// Trace says of the rules that Again would try which held, and of the others which condition failed.
func (e *Engine) Trace(ctx context.Context, r *memo.Reading, set *PolicySet, p Point, in Input, asked time.Time) ([]RuleTrace, error) {
	ev, err := e.begin(set, r, in.Text, asked)
	if err != nil {
		return nil, err
	}
	query, ok := set.points[p]
	if !ok {
		return nil, nil
	}
	rules := tracer{byRule: make(map[*ast.Rule]*tried), byQuery: make(map[uint64]*tried)}
	_, err = ev.within(ctx, explanationFactor*e.options.EvaluationLimit, func(d *deadline) (ast.Value, error) {
		return ev.reference(ctx, d, query, &rules)
	})
	if failed := (*EvaluationError)(nil); errors.As(err, &failed) {
		err = nil // what was traced until then says why
	}
	return rules.traces(), err
}
