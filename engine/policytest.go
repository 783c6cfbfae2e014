package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// testLimit bounds the tests of a set together, so that a reload always comes to an end.
const testLimit = time.Minute

// TestOptions say which tests of a policy set are run, and what is noted of them.
type TestOptions struct {
	// Run is a regular expression that the full name of a test, data.…, has to match.
	Run string
	// Trace has the results tell each step of the evaluation. Then nothing is covered.
	Trace bool
	// Cover notes what the tests have evaluated; nothing does when it is nil.
	Cover *cover.Cover
}

// Test runs the tests among the files of a policy set and returns how each ended, in no order. As in "opa test", a rule named
// todo_test_… is not run. What does not compile together with its tests is a *CompileError.
func Test(ctx context.Context, files []File, o TestOptions) ([]*tester.Result, error) {
	data, err := Data(files)
	if err != nil {
		return nil, err
	}
	modules, err := Modules(files)
	if err != nil {
		return nil, err
	}
	return test(ctx, modules, data, o)
}

// Modules parses the Rego files of a policy set, its tests included.
func Modules(files []File) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module)
	var problems []Problem
	for _, f := range files {
		if f.isData() {
			continue
		}
		module, err := parse(f)
		if err != nil {
			problems = append(problems, problemsOf(err)...)
			continue
		}
		modules[f.Name] = module
	}
	if problems != nil {
		return nil, refuse(problems...)
	}
	return modules, nil
}

// CheckTests refuses files that do not compile together with their tests, all that strict mode refuses at once.
func CheckTests(files []File) error {
	modules, err := Modules(files)
	if err != nil {
		return err
	}
	compiler := newCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		return refuse(problemsOf(compiler.Errors)...)
	}
	return nil
}

// Capabilities are what policies may use of OPA.
func Capabilities() *ast.Capabilities { return capabilities() }

// parse parses annotations too, so that a malformed one is refused here and not by the next tool.
func parse(f File) (*ast.Module, error) {
	if err := plainMetadata(f); err != nil {
		return nil, err
	}
	return ast.ParseModuleWithOpts(f.Name, f.Text, ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true, Capabilities: capabilities()})
}

// test runs tests on a compilation of their own, each over the data of the set.
func test(ctx context.Context, modules map[string]*ast.Module, data map[string]any, o TestOptions) ([]*tester.Result, error) {
	limited, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	runner := tester.NewRunner().SetCompiler(newCompiler().WithEnablePrintStatements(true)).SetStore(inmem.NewFromObject(data)).
		SetModules(modules).Filter(o.Run).EnableTracing(o.Trace)
	if o.Cover != nil {
		runner.SetCoverageQueryTracer(o.Cover).SetCoverageRuns(nil) // one pass, not one more for each optimization
	}
	// With a transaction of nil every test gets one of its own.
	ended, err := runner.RunTests(limited, nil)
	if err != nil {
		return nil, refuse(problemsOf(err)...)
	}
	var results []*tester.Result
	for r := range ended { // to the end, for only then have the runner's goroutines ended
		results = append(results, r)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run policy tests: %w", err)
	}
	if limited.Err() != nil {
		return results, errTestLimit() // some tests were not even begun
	}
	return results, nil
}

func errTestLimit() error {
	return refuse(Problem{Message: fmt.Sprintf("the tests took longer than %v together", testLimit)})
}

// runTests refuses a policy set of which a test does not pass.
func runTests(ctx context.Context, modules map[string]*ast.Module, data map[string]any) error {
	results, err := test(ctx, modules, data, TestOptions{})
	late := (*CompileError)(nil)
	if err != nil && !errors.As(err, &late) {
		return err
	}
	var problems []Problem
	if late != nil {
		problems = late.Problems
	}
	for _, r := range results {
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
	if problems != nil {
		return refuse(problems...)
	}
	return nil
}
