package policycheck

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes. An error is a test that could not be carried out.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "fail"
	Error   Outcome = "error"
	Skipped Outcome = "skip"
)

// Result is how one test, one case of a test or one request of a scenario ended.
type Result struct {
	Name    string  `json:"name"`
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitzero"`
	Outcome Outcome `json:"outcome"`
	// Seconds that it took; for a case, those of its whole test.
	Seconds float64 `json:"seconds"`
	// Message says in a line what is wrong, and Details what is behind it.
	Message string   `json:"message,omitempty"`
	Details []string `json:"details,omitempty"`
}

// Report is how all tests of a policy folder ended.
type Report struct {
	Tests     []Result  `json:"tests"`
	Scenarios []Result  `json:"scenarios"`
	Coverage  *Coverage `json:"coverage,omitempty"`
	Seconds   float64   `json:"seconds"`
}

// Count is how many tests and requests ended so.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, result := range slices.Concat(r.Tests, r.Scenarios) {
		if result.Outcome == o {
			n++
		}
	}
	return n
}

// inOrder sorts by file and line, for tests end in no order.
func inOrder(results []Result) {
	slices.SortStableFunc(results, func(a, b Result) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Name, b.Name))
	})
}

func since(began time.Time) float64 { return time.Since(began).Seconds() }
