package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore/memo"
	"mandate/directory"
)

// Query evaluates the document at data.<path>, as OPA's data API does, and returns its JSON encoding; defined is false
// when there is none. A nil input leaves input undefined. Errors are those of Decide.
//
// It answers with what policies define. Facts, and with them the data document as a whole, are answered only under
// Options.FactsInQueries; a policy can still define a document that repeats them. Private state is never answered.
func (e *Engine) Query(ctx context.Context, r *memo.Reading, set *PolicySet, path []string, input []byte) (result []byte, defined bool, err error) {
	if !e.options.FactsInQueries && (len(path) == 0 || slices.Contains(directory.Collections(), path[0])) {
		return nil, false, nil
	}
	ev, err := e.begin(set, r, input, e.options.Now())
	if err != nil {
		return nil, false, err
	}
	value, err := ev.within(ctx, e.options.EvaluationLimit, func(d *deadline) (ast.Value, error) {
		return ev.reference(ctx, d, queryFor(dataRef(path)), nil)
	})
	if err != nil || value == nil {
		return nil, false, err
	}
	if result, err = encodeJSON(value); err != nil {
		return nil, false, &EvaluationError{Kind: PolicyError, Err: fmt.Errorf("encode result: %w", err)}
	}
	return result, true, nil
}
