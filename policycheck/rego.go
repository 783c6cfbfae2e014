package policycheck

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/engine"
)

// Options say which tests are run, and what is told of them.
type Options struct {
	Run      *regexp.Regexp // what the full name of a test has to match; nil for all
	Coverage bool
	Trace    bool // tell each step of what failed
}

// maxDetail bounds what is told of one failure: a trace can be of any length.
const maxDetail = 64 << 10

// RunTests runs the tests among the files of a policy set, as OPA's tester does. What failed is run once more, to say where.
func RunTests(ctx context.Context, files []engine.File, o Options) ([]Result, *Coverage, error) {
	options := engine.TestOptions{}
	if o.Run != nil {
		options.Run = o.Run.String()
	}
	if o.Coverage {
		options.Cover = cover.New()
	}
	ended, err := engine.Test(ctx, files, options)
	if err != nil {
		return nil, nil, err
	}
	var failed []string
	for _, r := range ended {
		if r.Fail {
			failed = append(failed, regexp.QuoteMeta(r.Package+"."+r.Name))
		}
	}
	traced := map[string]*tester.Result{}
	if failed != nil {
		again, err := engine.Test(ctx, files, engine.TestOptions{Run: "^(?:" + strings.Join(failed, "|") + ")$", Trace: true})
		if err != nil {
			return nil, nil, err
		}
		for _, r := range again {
			traced[r.Package+"."+r.Name] = r
		}
	}
	var results []Result
	for _, r := range ended {
		results = append(results, resultsOf(r, traced[r.Package+"."+r.Name], o.Trace)...)
	}
	inOrder(results)
	if options.Cover == nil {
		return results, nil, nil
	}
	coverage, err := coverageOf(options.Cover, files)
	return results, coverage, err
}

// resultsOf is the result of a test, or those of its cases. again is the same test with its trace, nil for one that passed.
func resultsOf(r, again *tester.Result, whole bool) []Result {
	result := Result{Name: r.Package + "." + r.Name, Outcome: Passed, Seconds: r.Duration.Seconds()}
	if r.Location != nil {
		result.File, result.Line = r.Location.File, r.Location.Row
	}
	switch {
	case r.Skip:
		result.Outcome, result.Message = Skipped, "its name begins with "+tester.SkipTestPrefix
	case topdown.IsCancel(r.Error):
		result.Outcome, result.Message = Error, "it took too long"
	case r.Error != nil:
		result.Outcome, result.Message = Error, r.Error.Error()
	case r.Fail:
		result.Outcome = Failed
	}
	cases := 0
	var results []Result
	for name, sub := range r.SubResults.Iter {
		if len(sub.SubResults) > 0 {
			continue
		}
		cases++
		one := result
		one.Name += "[" + strings.Join(name, ", ") + "]"
		if one.Outcome = Passed; sub.Fail {
			one.Outcome = Failed
			one.explain(caseTrace(again, name), whole, r.Output)
		}
		results = append(results, one)
	}
	if cases > 0 && r.Error == nil {
		return results
	}
	if result.Outcome == Failed && again != nil {
		result.explain(again.Trace, whole, r.Output)
	}
	return []Result{result}
}

func caseTrace(again *tester.Result, wanted []string) []*topdown.Event {
	if again == nil {
		return nil
	}
	for name, sub := range again.SubResults.Iter {
		if slices.Equal(name, wanted) {
			return sub.Trace
		}
	}
	return nil
}

// explain tells the line that failed with the values in it, or every step, and what the test has printed.
func (r *Result) explain(trace []*topdown.Event, whole bool, printed []byte) {
	r.Message = "a condition does not hold"
	var b bytes.Buffer
	if whole {
		topdown.PrettyTraceWithOpts(&b, trace, topdown.PrettyTraceOptions{Locations: true, ExprVariables: true})
	} else if e := lastFailure(trace); e != nil {
		r.Message = fmt.Sprintf("does not hold: %s:%d", e.Location.File, e.Location.Row)
		_ = topdown.PrettyEvent(&b, e, topdown.PrettyEventOpts{PrettyVars: true}) // a buffer takes all
	}
	if len(printed) > 0 {
		b.WriteString("printed:\n")
		b.Write(printed)
	}
	text, err := io.ReadAll(io.LimitReader(&b, maxDetail))
	if err != nil || len(text) == 0 {
		return
	}
	for line := range strings.Lines(strings.TrimRight(string(text), "\n")) {
		r.Details = append(r.Details, strings.TrimRight(line, "\r\n"))
	}
	if b.Len() > 0 {
		r.Details = append(r.Details, "…")
	}
}

// lastFailure is the condition upon which the test was given up.
func lastFailure(trace []*topdown.Event) *topdown.Event {
	for _, e := range slices.Backward(trace) {
		expr, ok := e.Node.(*ast.Expr)
		if e.Op != topdown.FailOp || !ok || e.Location == nil || e.Location.File == "" || e.QueryID == 0 {
			continue
		}
		if _, every := expr.Terms.(*ast.Every); !every { // what failed is in it
			return e
		}
	}
	return nil
}

// Coverage is how much of the policies, without their tests, the tests have evaluated. Scenarios do not count.
type Coverage struct {
	Percent    float64        `json:"percent"`
	Covered    int            `json:"covered_lines"`
	NotCovered int            `json:"not_covered_lines"`
	Files      []FileCoverage `json:"files"`
}

// FileCoverage is that of one file.
type FileCoverage struct {
	File       string  `json:"file"`
	Percent    float64 `json:"percent"`
	Covered    int     `json:"covered_lines"`
	NotCovered int     `json:"not_covered_lines"`
	// Missing are the lines that were not evaluated, each range with its first and last.
	Missing [][2]int `json:"missing,omitempty"`
}

func coverageOf(c *cover.Cover, files []engine.File) (*Coverage, error) {
	modules, err := engine.Modules(files)
	if err != nil {
		return nil, err
	}
	for name := range modules {
		if isTest(name) {
			delete(modules, name)
		}
	}
	report := c.Report(modules)
	all := &Coverage{}
	for name, module := range modules {
		f := report.Files[name]
		if f == nil || len(module.Rules) == 0 {
			continue
		}
		one := FileCoverage{File: name, Percent: f.Coverage, Covered: f.CoveredLines, NotCovered: f.NotCoveredLines}
		for _, r := range f.NotCovered {
			if last := len(one.Missing) - 1; last >= 0 && r.Start.Row <= one.Missing[last][1]+1 {
				one.Missing[last][1] = max(one.Missing[last][1], r.End.Row)
				continue
			}
			one.Missing = append(one.Missing, [2]int{r.Start.Row, r.End.Row})
		}
		all.Covered += one.Covered
		all.NotCovered += one.NotCovered
		all.Files = append(all.Files, one)
	}
	all.Percent = percent(all.Covered, all.NotCovered)
	slices.SortFunc(all.Files, func(a, b FileCoverage) int { return strings.Compare(a.File, b.File) })
	return all, nil
}

func percent(covered, missing int) float64 {
	if covered+missing == 0 {
		return 100
	}
	return 100 * float64(covered) / float64(covered+missing)
}
