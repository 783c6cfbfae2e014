package policycheck

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"mandate/engine"
)

// tested is a set with one rule and the tests given.
func tested(tests string) []engine.File {
	return withDecisions([]engine.File{
		{Name: "lib.rego", Text: "package lib\n\ngreater(a, b) if a > b\n\nnever if greater(1, 2)\n"},
		{Name: "lib_test.rego", Text: "package lib_test\n\n# Nothing is imported: strict mode refuses what is not used.\n\n" + tests},
	})
}

func TestResultsOfTests(t *testing.T) {
	for _, row := range []struct {
		name, tests, run string
		outcomes         map[string]Outcome
		says             []string
	}{
		{"passes", "test_a if data.lib.greater(2, 1)\n", "", map[string]Outcome{"data.lib_test.test_a": Passed}, nil},
		{"fails, with the line and its values", "test_a if {\n\tx := 1\n\ty := 2\n\tdata.lib.greater(x, y)\n}\n", "", map[string]Outcome{"data.lib_test.test_a": Failed},
			[]string{"does not hold: lib_test.rego:8", "data.lib.greater(x, y)", "|  2"}},
		{"each case is one", "test_a[name] if {\n\tsome name, pair in {\"up\": [2, 1], \"down\": [1, 2]}\n\tdata.lib.greater(pair[0], pair[1])\n}\n", "",
			map[string]Outcome{"data.lib_test.test_a[up]": Passed, "data.lib_test.test_a[down]": Failed}, []string{"does not hold: lib_test.rego:7"}},
		{"what is printed", "test_a if {\n\tprint(\"here\")\n\tfalse\n}\n", "", map[string]Outcome{"data.lib_test.test_a": Failed}, []string{"printed:", "here"}},
		{"todo", "todo_test_a if false\n\ntest_b if true\n", "", map[string]Outcome{"data.lib_test.todo_test_a": Skipped, "data.lib_test.test_b": Passed}, nil},
		{"two of a name", "test_a if true\n\ntest_a if false\n", "", map[string]Outcome{"data.lib_test.test_a": Passed, "data.lib_test.test_a#01": Failed}, nil},
		{"one of them", "test_a if true\n\ntest_b if false\n", "_test.test_a$", map[string]Outcome{"data.lib_test.test_a": Passed}, nil},
		{"an error", "test_a if {\n\tx := {k: v | some k, v in [[1, 2], [1, 3]][_]}\n\ty := {1: v | some v in [1, 2]}\n\tcount(x) + count(y) > 0\n}\n", "",
			map[string]Outcome{"data.lib_test.test_a": Error}, []string{"object keys must be unique"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := Options{}
			if row.run != "" {
				o.Run = regexp.MustCompile(row.run)
			}
			results, _, err := RunTests(t.Context(), tested(row.tests), o)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, r := range results {
				if row.outcomes[r.Name] != r.Outcome || r.File != "lib_test.rego" || r.Line < 5 {
					t.Errorf("%s:%d: %s %s, want %s", r.File, r.Line, r.Name, r.Outcome, row.outcomes[r.Name])
				}
				said += r.Message + "\n" + strings.Join(r.Details, "\n") + "\n"
			}
			if len(results) != len(row.outcomes) {
				t.Errorf("%d results", len(results))
			}
			for _, want := range row.says {
				if !strings.Contains(said, want) {
					t.Errorf("%s has no %q", said, want)
				}
			}
		})
	}
}

func TestTraceShowsEachStep(t *testing.T) {
	results, _, err := RunTests(t.Context(), tested("test_a if data.lib.greater(1, 2)\n"), Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	steps := strings.Join(results[0].Details, "\n")
	for _, want := range []string{"Enter data.lib_test.test_a", "lib.rego:3", "Fail"} {
		if !strings.Contains(steps, want) {
			t.Errorf("the trace has no %q:\n%s", want, steps)
		}
	}
}

func TestCoverageSaysWhatIsNotCovered(t *testing.T) {
	_, coverage, err := RunTests(t.Context(), tested("test_a if data.lib.greater(2, 1)\n"), Options{Coverage: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range coverage.Files {
		if strings.HasSuffix(f.File, "_test.rego") {
			t.Errorf("%s counts", f.File)
		}
		if f.File == "lib.rego" && (f.Covered != 1 || f.NotCovered != 1 || f.Percent != 50 || len(f.Missing) != 1 || f.Missing[0] != [2]int{5, 5}) {
			t.Errorf("%+v", f)
		}
	}
	if coverage.Covered != 1 || coverage.Percent > 50 {
		t.Errorf("%+v", coverage)
	}
}

func TestTestsThatDoNotCompileAreRefused(t *testing.T) {
	_, _, err := RunTests(t.Context(), tested("test_a if data.lib.nothing(1)\n"), Options{})
	if refused := (*engine.CompileError)(nil); !errors.As(err, &refused) || refused.Problems[0].Line != 5 {
		t.Errorf("%v", err)
	}
}
