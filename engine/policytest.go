package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// testLimit bounds the tests of a set together, so that a reload always comes to an end.
const testLimit = time.Minute

// runTests runs the tests of a policy set, on a compilation of its own with the test files in it, and refuses the
// set when one does not pass. As in "opa test", a rule named todo_test_… is not run.
func runTests(ctx context.Context, modules map[string]*ast.Module) error {
	limited, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	// With a transaction of nil every test gets one of its own, over an empty store.
	results, err := tester.NewRunner().SetCompiler(newCompiler()).SetModules(modules).RunTests(limited, nil)
	if err != nil {
		return refuse(problemsOf(err)...)
	}
	var problems []Problem
	for r := range results { // to the end, for only then have the runner's goroutines ended
		if r.Pass() || r.Skip {
			continue
		}
		p := Problem{Message: fmt.Sprintf("test %s.%s failed", r.Package, r.Name)}
		if r.Location != nil {
			p.File, p.Line, p.Col = r.Location.File, r.Location.Row, r.Location.Col
		}
		var cases []string
		for name, sub := range r.SubResults.Iter {
			if sub.Fail && len(sub.SubResults) == 0 {
				cases = append(cases, strings.Join(name, "/"))
			}
		}
		if cases != nil {
			p.Message += ": " + strings.Join(cases, ", ")
		}
		switch {
		case topdown.IsCancel(r.Error):
			p.Message += ": it took too long"
		case r.Error != nil:
			p.Message += ": " + r.Error.Error()
		}
		problems = append(problems, p)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run policy tests: %w", err)
	}
	if limited.Err() != nil {
		// Some tests were not even begun.
		problems = append(problems, Problem{Message: fmt.Sprintf("the tests took longer than %v together", testLimit)})
	}
	if problems != nil {
		return refuse(problems...)
	}
	return nil
}
