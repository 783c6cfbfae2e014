package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"mandate/datastore/badgerstore"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
	"mandate/policycheck"
)

// statusFound is that of a check that has found something; what it was is said.
const statusFound = exitStatus(1)

// policyFolder is the folder that the argument names, or the built-in policies.
func policyFolder(args []string) (fs.FS, error) {
	if len(args) == 0 {
		return policies.FS, nil
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return nil, fmt.Errorf("open the policies: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: name the folder that has the .rego files", args[0])
	}
	return os.DirFS(args[0]), nil
}

// testRequest is what policy test is asked for.
type testRequest struct {
	run              string
	coverage         bool
	threshold        float64 // percent; 0 for none
	trace, all, json bool
}

func (q *testRequest) tooLittle(c *policycheck.Coverage) bool {
	return c != nil && c.Percent < q.threshold
}

func policyTestCommand() *cobra.Command {
	var q testRequest
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests and the scenarios of a policy folder",
		Long: `Run the tests and the scenarios of a policy folder; without DIR the tests of the built-in policies.

Tests are OPA's: rules whose name begins with test_, in files that end in _test.rego. Scenarios are files that end in
.scenario: YAML that says which facts there are, who asks, and what must be decided. A scenario is decided as a server
does it, at the time that it names.

  scenario: Members read what is their organization's
  given:                                  # a directory file, as for "mandate import"
    roles: {viewer: {permissions: ["documents:read"]}}
    users: [{id: bob}]
    orgs: [{id: acme, members: [{user: bob, roles: [viewer]}]}]
  requests:
    - {subject: "user:bob", action: "documents:read", resource: "document:report", org: acme, expect: allow, reasons: [role]}
  then:
    - when: Acme is suspended
      given: {orgs: [{id: acme, status: suspended}]}
      requests:
        - {subject: "user:bob", action: "documents:read", resource: "document:report", org: acme, expect: deny}

A step, the first one or one of then, has
  at: 2026-01-31T12:00:00Z    the present time to the policies, until a later step has another; without it, that of the test
  given: {…}                  a directory file; what it does not name stays as it was
  facts: {roles/viewer: {…}}  documents as they are stored, at their paths; null takes one away
  requests: […]
and a request
  subject: "user:bob"         or apikey:…, client:…, vendor:…, or caller
  action, resource, org       and properties (of the resource), context
  caller: "apikey:gateway"    who asks; left out, somebody who may ask about everybody
  point, input                in place of all these: mandate/access, mandate/tokens or mandate/manage, and the whole input of the policy
  expect: allow               or deny; and what else must be as expected:
  reasons: [role]             the codes of all reasons
  obligations: []             all of them
  granted: {scopes: […]}      of a token: scopes, lifetime in seconds, claims, org

Coverage is that of the tests; scenarios do not count.

The exit status is 0 when all have passed and enough is covered, else 1. A folder without any test is an error.`,
		Example: `  mandate policy test policies --threshold 90
  mandate policy test policies --run 'maintenance|Members' --verbose
  mandate policy test policies --run test_nobody_writes --trace`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.threshold < 0 || q.threshold > 100 {
				return errors.New("--threshold is a percentage: a number from 0 to 100")
			}
			q.coverage = q.coverage || q.threshold > 0
			report, err := q.report(cmd, args)
			if err != nil {
				return err
			}
			if q.json {
				err = q.writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = q.write(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			if q.tooLittle(report.Coverage) || report.Count(policycheck.Failed)+report.Count(policycheck.Error) > 0 {
				return statusFound
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.run, "run", "", "run only what has this regular expression in its name: data.….test_x, or scenario: request")
	flags.BoolVar(&q.coverage, "coverage", false, "say how much of the policies the tests evaluate, and which lines they do not")
	flags.Float64Var(&q.threshold, "threshold", 0, "percentage that must be covered")
	flags.BoolVar(&q.trace, "trace", false, "show each step of the tests that fail")
	flags.BoolVarP(&q.all, "verbose", "v", false, "show what has passed too")
	flags.BoolVar(&q.json, "json", false, "print JSON")
	return cmd
}

// report runs everything.
func (q *testRequest) report(cmd *cobra.Command, args []string) (report policycheck.Report, err error) {
	o := policycheck.Options{Coverage: q.coverage, Trace: q.trace}
	if q.run != "" {
		if o.Run, err = regexp.Compile(q.run); err != nil {
			return report, fmt.Errorf("--run: %w", err)
		}
	}
	fsys, err := policyFolder(args)
	if err != nil {
		return report, err
	}
	began := time.Now()
	waiting := time.AfterFunc(progressAfter, func() { say(cmd.ErrOrStderr(), "Running the tests …\n") })
	defer waiting.Stop()
	set, err := engine.CompileTested(cmd.Context(), fsys)
	if err != nil {
		return report, err
	}
	scenarios, err := policycheck.ReadScenarios(fsys)
	if err != nil {
		return report, err
	}
	if report.Tests, report.Coverage, err = policycheck.RunTests(cmd.Context(), set.Files(), o); err != nil {
		return report, err
	}
	if report.Scenarios, err = runScenarios(cmd.Context(), set, scenarios, o.Run); err != nil {
		return report, err
	}
	report.Seconds = time.Since(began).Seconds()
	switch {
	case len(report.Tests)+len(report.Scenarios) > 0:
		return report, nil
	case q.run != "":
		return report, fmt.Errorf("nothing has %s in its name: leave --run out to see the names with --verbose", q.run)
	}
	return report, errors.New("there is no test: write one, as a rule test_… in a file …_test.rego or a file ….scenario")
}

// runScenarios runs scenarios over a store in a folder that is gone afterwards.
func runScenarios(ctx context.Context, set *engine.PolicySet, all []policycheck.Scenario, run *regexp.Regexp) (results []policycheck.Result, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "mandate-scenarios-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the facts of scenarios: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		return nil, fmt.Errorf("open a store for the facts of scenarios: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var root [32]byte
	_, _ = rand.Read(root[:]) // it never fails
	master, err := directory.NewMasterKey(root)
	if err != nil {
		return nil, err
	}
	return policycheck.Runner{Set: set, Store: store, Master: master, Run: run}.RunScenarios(ctx, all)
}

// write is the report for people: what has failed, the coverage, and a line that sums it up.
func (q *testRequest) write(out io.Writer, report policycheck.Report) error {
	var b bytes.Buffer
	for _, results := range [][]policycheck.Result{report.Tests, report.Scenarios} {
		for _, r := range results {
			q.writeResult(&b, r)
		}
	}
	if report.Coverage != nil {
		if err := writeCoverage(&b, report.Coverage); err != nil {
			return err
		}
	}
	if q.tooLittle(report.Coverage) {
		say(&b, "%.1f %% is covered, less than the threshold of %v %%\n", report.Coverage.Percent, q.threshold)
	}
	say(&b, "tests: %d, requests of scenarios: %d", len(report.Tests), len(report.Scenarios))
	for _, counted := range []struct {
		outcome policycheck.Outcome
		words   string
	}{{policycheck.Passed, "passed"}, {policycheck.Failed, "failed"}, {policycheck.Error, "not run for an error"}, {policycheck.Skipped, "skipped"}} {
		if n := report.Count(counted.outcome); n > 0 {
			say(&b, ", %s: %d", counted.words, n)
		}
	}
	say(&b, " (%.1f s)\n", report.Seconds)
	return output(out, "%s", printableLines(b.String()))
}

func (q *testRequest) writeResult(b *bytes.Buffer, r policycheck.Result) {
	if r.Outcome == policycheck.Passed && !q.all {
		return
	}
	say(b, "%-5s %s:%d: %s (%.0f ms)\n", strings.ToUpper(string(r.Outcome)), r.File, r.Line, r.Name, 1000*r.Seconds)
	if r.Message != "" {
		say(b, "      %s\n", r.Message)
	}
	for _, line := range r.Details {
		say(b, "        %s\n", strings.ReplaceAll(line, "\t", "  "))
	}
}

func writeCoverage(out io.Writer, c *policycheck.Coverage) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "FILE\tCOVERED\tLINES NOT COVERED\n")
	for _, f := range c.Files {
		missing := make([]string, len(f.Missing))
		for i, lines := range f.Missing {
			if missing[i] = fmt.Sprint(lines[0]); lines[1] > lines[0] {
				missing[i] = fmt.Sprintf("%d-%d", lines[0], lines[1])
			}
		}
		if len(missing) == 0 {
			missing = []string{"-"}
		}
		say(table, "%s\t%.1f %%\t%s\n", f.File, f.Percent, strings.Join(missing, ", "))
	}
	say(table, "total\t%.1f %%\t%s of %s\n", c.Percent, humanize.Comma(int64(c.NotCovered)), humanize.Comma(int64(c.Covered+c.NotCovered)))
	return flush(table)
}

func (q *testRequest) writeJSON(out io.Writer, report policycheck.Report) error {
	document := struct {
		policycheck.Report `json:",embed"`
		Passed             int  `json:"passed"`
		Failed             int  `json:"failed"`
		Errors             int  `json:"errors"`
		Skipped            int  `json:"skipped"`
		TooLittle          bool `json:"below_threshold,omitzero"`
	}{report, report.Count(policycheck.Passed), report.Count(policycheck.Failed), report.Count(policycheck.Error),
		report.Count(policycheck.Skipped), q.tooLittle(report.Coverage)}
	return writeDocument(out, document)
}

func writeDocument(out io.Writer, document any) error {
	text, err := json.Marshal(document, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return output(out, "%s\n", text)
}

func policyLintCommand() *cobra.Command {
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "lint [DIR]",
		Short: "Find what makes a policy slow, dead or hard to follow",
		Long: `Find what makes the policies of a folder slow, dead or hard to follow; without DIR those of the built-in policies.

  error    compile           OPA's strict mode refuses it; nothing else is looked for until it compiles
  error    scan              a decision reads a whole collection of facts, and so takes the longer the more there are
  warning  unreachable       no decision asks a rule of a package mandate.…; rules of other packages can be queried by their path
  warning  volatile          a decision calls what is another thing each time, such as time.now_ns: it is never remembered
  warning  volatile-mask     a mask of the decision log does
  warning  missing-metadata  no # METADATA says what a package or an entry point is for
  warning  replaces-data     "with data.…" keeps the whole set from Mandate's own machine
  warning  unplanned         something else does
  warning  ignore            a comment silences nothing

A comment on the line, the line above, or above the rule silences a finding:

  # mandate:ignore scan: there are never more than three APIs

The exit status is 1 when there is an error, with --strict also when there is a warning, else 0.`,
		Example: `  mandate policy lint policies --strict
  mandate policy lint policies --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys, err := policyFolder(args)
			if err != nil {
				return err
			}
			files, err := engine.Load(fsys)
			if err != nil {
				return err
			}
			findings, err := policycheck.Lint(cmd.Context(), files)
			if err != nil {
				return err
			}
			errs := 0
			for i := range findings {
				if strict {
					findings[i].Severity = policycheck.SeverityError
				}
				if findings[i].Severity == policycheck.SeverityError {
					errs++
				}
			}
			if err := writeFindings(cmd.OutOrStdout(), findings, errs, asJSON); err != nil {
				return err
			}
			if errs > 0 {
				return statusFound
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings for errors")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeFindings(out io.Writer, findings []policycheck.Finding, errs int, asJSON bool) error {
	if asJSON {
		if findings == nil {
			findings = []policycheck.Finding{}
		}
		return writeDocument(out, map[string]any{"findings": findings, "errors": errs, "warnings": len(findings) - errs})
	}
	var b bytes.Buffer
	for _, f := range findings {
		say(&b, "%v\n", f)
	}
	say(&b, "errors: %d, warnings: %d\n", errs, len(findings)-errs)
	return output(out, "%s", printableLines(b.String()))
}

func policyFmtCommand() *cobra.Command {
	var write, check, show bool
	cmd := &cobra.Command{
		Use:   "fmt DIR",
		Short: "Format policies as OPA does",
		Long: `Format the .rego files of a folder as "opa fmt" does. The files that are not formatted are listed, one a line.

The exit status is 0; 1 with --check when a file is not formatted.`,
		Example: `  mandate policy fmt policies -w
  mandate policy fmt policies --check --diff`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys, err := policyFolder(args)
			if err != nil {
				return err
			}
			files, err := engine.Load(fsys)
			if err != nil {
				return err
			}
			found, err := policycheck.Format(files)
			if err != nil {
				return err
			}
			for _, f := range found {
				line := printable(f.Name) + "\n"
				if show {
					line = printableLines(strings.ReplaceAll(string(diff.Diff(f.Name, f.Text, f.Name+" formatted", f.Want)), "\t", "    "))
				}
				if err := output(cmd.OutOrStdout(), "%s", line); err != nil {
					return err
				}
				if write {
					if err := rewrite(filepath.Join(args[0], filepath.FromSlash(f.Name)), f.Want); err != nil {
						return err
					}
				}
			}
			if check && len(found) > 0 {
				return statusFound
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&write, "write", "w", false, "write the files formatted")
	flags.BoolVar(&check, "check", false, "fail when a file is not formatted")
	flags.BoolVar(&show, "diff", false, "show what would change")
	cmd.MarkFlagsMutuallyExclusive("write", "check")
	return cmd
}

// rewrite replaces a file at once: nobody, a server that follows the folder least of all, reads a half of it.
func rewrite(name string, text []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	name, err = filepath.EvalSymlinks(name)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(name), ".mandate-fmt-")
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	_, err = next.Write(text)
	err = errors.Join(err, next.Chmod(info.Mode().Perm()), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), name)
	}
	if err != nil {
		_ = os.Remove(next.Name())
		return fmt.Errorf("format %s: %w", name, err)
	}
	return nil
}
