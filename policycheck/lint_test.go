package policycheck

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mandate/engine"
	"mandate/policies"
)

// Each file of testdata/lint says at its end of a line, "want: code", what must be found there, and nothing else may be.
func TestFindings(t *testing.T) {
	for _, row := range []struct {
		name  string
		files []string
		codes []string // that must be among what is wanted
	}{
		{"whole collections", []string{"scan.rego"}, []string{CodeScan}},
		{"rules that nobody asks", []string{"unreachable.rego"}, []string{CodeUnreachable}},
		{"time and chance", []string{"volatile.rego"}, []string{CodeVolatile}},
		{"masks", []string{"mask.rego"}, []string{CodeVolatileMask, CodeScan}},
		{"metadata", []string{"metadata.rego", "metadata_lib.rego", "metadata_plain.rego"}, []string{CodeMetadata}},
		{"with data", []string{"replaces.rego"}, []string{CodeReplacesData}},
		{"comments that silence nothing", []string{"ignore.rego"}, []string{CodeIgnore, CodeVolatile}},
		{"what does not compile, all at once", []string{"compile.rego"}, []string{CodeCompile}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var want []string
			var set []engine.File
			for _, name := range row.files {
				text, err := os.ReadFile(filepath.Join("testdata/lint", name))
				if err != nil {
					t.Fatal(err)
				}
				set = append(set, engine.File{Name: name, Text: string(text)})
				for i, line := range strings.Split(string(text), "\n") {
					if m := regexp.MustCompile(`want: ([a-z-]+)$`).FindStringSubmatch(line); m != nil {
						want = append(want, fmt.Sprintf("%s:%d %s", name, i+1, m[1]))
					}
				}
			}
			for _, code := range row.codes {
				if !slices.ContainsFunc(want, func(w string) bool { return strings.HasSuffix(w, " "+code) }) {
					t.Errorf("no line wants %s", code)
				}
			}
			findings, err := Lint(t.Context(), withDecisions(set))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Code))
				if len(f.Message) < 20 {
					t.Errorf("%v says little", f)
				}
			}
			for _, w := range want {
				if !slices.Contains(got, w) {
					t.Errorf("%s is not found", w)
				}
			}
			for i, g := range got {
				if !slices.Contains(want, g) {
					t.Errorf("found without cause: %v", findings[i])
				}
			}
		})
	}
}

// withDecisions adds the entry points that files lack.
func withDecisions(files []engine.File) []engine.File {
	for _, point := range []string{"access", "tokens", "manage"} {
		if slices.ContainsFunc(files, func(f engine.File) bool { return strings.Contains(f.Text, "package mandate."+point) }) {
			continue
		}
		files = append(files, engine.File{Name: "other_" + point + ".rego", Text: fmt.Sprintf(`# METADATA
# title: The %[1]s decision
package mandate.%[1]s

# METADATA
# title: Decision
decision := {"allow": false, "reasons": [], "obligations": []}
`, point)})
	}
	return files
}

func TestFindingsInTests(t *testing.T) {
	findings, err := Lint(t.Context(), withDecisions([]engine.File{{Name: "a_test.rego", Text: "package a\n\ntest_x if nothing.here\n"}}))
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Code != CodeCompile || findings[0].File != "a_test.rego" || findings[0].Line != 3 {
		t.Errorf("a test that does not compile: %v", findings)
	}
}

func TestWhatTheMachineCannotRunIsFound(t *testing.T) {
	findings, err := Lint(t.Context(), withDecisions([]engine.File{{Name: "a.rego", Text: `# METADATA
# title: A rule with a variable in its head
package mandate.access

# METADATA
# title: Decision
decision := {"allow": r[1].a}

r[1].a := true if input.user
`}}))
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Code != CodeUnplanned {
		t.Errorf("%v", findings)
	}
}

func TestManyErrorsAreFoundAtOnce(t *testing.T) {
	text := "package mandate.access\n\ndecision := {\"allow\": false}\n\n"
	for i := range 30 {
		text += fmt.Sprintf("r%d if nothing_%d(1)\n\n", i, i)
	}
	findings, err := Lint(t.Context(), withDecisions([]engine.File{{Name: "a.rego", Text: text}}))
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 30 {
		t.Errorf("%d findings", len(findings))
	}
}

func TestThePoliciesHaveNoFindings(t *testing.T) {
	set, err := engine.CompileTested(t.Context(), policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := Lint(t.Context(), set.Files())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}
