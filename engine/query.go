package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
)

// maxAnswer bounds what is recorded of the answer to a query.
const maxAnswer = 64 << 10

// Queried is the answer to a query and the id of its record.
type Queried struct {
	Result []byte // JSON; nil when the document is undefined
	ID     decisionlog.ID
}

// Query evaluates the document at data.<path>, as OPA's data API does, and records it. A nil input leaves input undefined.
// Errors are those of Decide.
//
// It answers with what policies define. Facts, and with them the data document as a whole, are answered only under
// Options.FactsInQueries; a policy can still define a document that repeats them. Private state is never answered.
func (e *Engine) Query(ctx context.Context, r *memo.Reading, set *PolicySet, path []string, input []byte) (Queried, error) {
	asked := e.options.Now()
	ev, err := e.begin(set, r, input, asked)
	var value ast.Value
	if closed := !e.options.FactsInQueries && (len(path) == 0 || slices.Contains(directory.Collections(), path[0])); err == nil && !closed {
		value, err = ev.within(ctx, e.options.EvaluationLimit, func(d *deadline) (ast.Value, error) {
			return ev.reference(ctx, d, queryFor(dataRef(path)), nil)
		})
	}
	var q Queried
	if err == nil && value != nil {
		if q.Result, err = encodeJSON(value); err != nil {
			err = &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("encode result: %w", err)}
		}
	}
	q.ID = e.recordQuery(ctx, ev, path, input, q.Result, value, asked)
	return q, err
}

// recordQuery records a query. It was allowed when the answer is true, or an object that says so, as a client of OPA would take it.
func (e *Engine) recordQuery(ctx context.Context, ev *evaluation, path []string, input, answer []byte, value ast.Value, asked time.Time) decisionlog.ID {
	allow := ast.Boolean(true)
	d := decisionlog.Description{Kind: decisionlog.DataQuery, Point: strings.Join(path, "/"), PolicyRevision: ev.set.revision, Allow: value != nil && value.Compare(allow) == 0,
		Footprint: ev.facts.footprint()}
	if object, ok := value.(ast.Object); ok {
		said := object.Get(ast.InternedTerm("allow"))
		d.Allow = said != nil && said.Value.Compare(allow) == 0
	}
	if ev.input != nil {
		d.Input = input
	}
	if len(answer) <= maxAnswer {
		d.Answer = answer
	}
	ev.mask(ctx, &d)
	return e.log.Record(&d, asked, decisionlog.Entry{DataRevision: ev.facts.reading.Revision(), Allow: d.Allow})
}
