package vm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/test/cases/testdata"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"
	"github.com/open-policy-agent/opa/v1/util"

	"mandate/engine/vm"
)

// planner is a target of package rego that only shows the plan of a query.
type planner struct{ policy *ir.Policy }

var errPlanned = errors.New("planned")

func (p *planner) IsTarget(target string) bool { return target == "mandate-vm" }

func (p *planner) PrepareForEval(_ context.Context, policy *ir.Policy, _ ...rego.PrepareOption) (rego.TargetPluginEval, error) {
	p.policy = policy
	return nil, errPlanned
}

// plan returns the plan of a query, which has an empty name or that of the query.
func plan(ctx context.Context, query string, compiler *ast.Compiler) (*ir.Policy, error) {
	p := &planner{}
	rego.ResetTargetPlugins()
	rego.RegisterPlugin("mandate-vm", p)
	_, err := rego.New(rego.Query(query), rego.Compiler(compiler), rego.Target("mandate-vm")).PrepareForEval(ctx)
	if !errors.Is(err, errPlanned) {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p.policy, nil
}

func conformanceCases(t *testing.T) []cases.TestCase {
	t.Helper()
	var all []cases.TestCase
	err := fs.WalkDir(testdata.V1, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := testdata.V1.ReadFile(name)
		if err != nil {
			return err
		}
		var set cases.Set
		if err := util.Unmarshal(text, &set); err != nil {
			return err
		}
		for _, c := range set.Cases {
			c.Filename = path.Base(path.Dir(name)) + "/" + path.Base(name)
			all = append(all, c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// registerSleep gives OPA the builtin that its own tests have for their cases.
func registerSleep() {
	sleep := &ast.Builtin{Name: "test.sleep", Decl: types.NewFunction(types.Args(types.S), types.NewNull())}
	ast.RegisterBuiltin(sleep)
	topdown.RegisterBuiltinFunc(sleep.Name, func(_ topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		d, err := time.ParseDuration(string(operands[0].Value.(ast.String)))
		if err != nil {
			return err
		}
		<-time.After(d)
		return iter(ast.NullTerm())
	})
}

// TestConformance runs the cases that OPA tests its own evaluator with.
func TestConformance(t *testing.T) {
	registerSleep()
	ran, refused := 0, map[string]int{}
	for _, c := range conformanceCases(t) {
		t.Run(c.Filename+"/"+c.Note, func(t *testing.T) {
			for name, value := range c.Env {
				t.Setenv(name, value)
			}
			modules := map[string]string{}
			for i, text := range c.Modules {
				modules[fmt.Sprintf("test-%d.rego", i)] = text
			}
			options := ast.ParserOptions{RegoVersion: ast.RegoV1}
			if c.ExperimentalKeywords {
				options.Capabilities = ast.CapabilitiesForThisVersion(ast.CapabilitiesExperimentalKeywords(true))
			}
			compiler, err := ast.CompileModulesWithOpt(modules, ast.CompileOpts{ParserOptions: options})
			if err != nil {
				t.Fatal(err)
			}
			input := inputOf(t, c)
			if failure := judge(c, topdownResults(t, c, compiler, input)); failure != "" {
				t.Fatalf("fails in OPA too: %s", failure)
			}
			p, name, err := planned(t, c, compiler)
			if err != nil {
				refused[reason(err)]++
				t.Log(err)
				return
			}
			if p.ReplacesData {
				refused["by the engine, not by the machine: something is put into data"]++
			} else {
				ran++
			}
			if failure := judge(c, machineResults(t, c, p, name, input)); failure != "" {
				t.Error(failure)
			}
		})
	}
	all := ran
	for _, why := range slices.Sorted(maps.Keys(refused)) {
		t.Logf("%4d refused: %s", refused[why], why)
		all += refused[why]
	}
	t.Logf("%d of %d cases ran in the machine", ran, all)
	if ran*100 < all*95 {
		t.Error("too many cases were refused")
	}
}

func planned(t *testing.T, c cases.TestCase, compiler *ast.Compiler) (*vm.Program, string, error) {
	t.Helper()
	policy, err := plan(t.Context(), c.Query, compiler)
	if err != nil {
		return nil, "", err
	}
	p, err := vm.Compile(policy)
	if err != nil {
		return nil, "", err
	}
	return p, policy.Plans.Plans[0].Name, nil
}

// reason leaves out of an error what differs from case to case.
func reason(err error) string {
	if unsupported := (*vm.UnsupportedError)(nil); errors.As(err, &unsupported) {
		return "compile: " + unsupported.Reason
	}
	text, _, _ := strings.Cut(err.Error(), "(")
	if i := strings.LastIndex(text, ": "); i >= 0 && strings.Contains(text, "reference to") {
		text = "plan: reference to a rule within the function it is planned in"
	}
	return text
}

func inputOf(t *testing.T, c cases.TestCase) *ast.Term {
	t.Helper()
	if c.InputTerm != nil {
		return ast.MustParseTerm(*c.InputTerm)
	}
	if c.Input != nil {
		return ast.NewTerm(ast.MustInterfaceToValue(*c.Input))
	}
	return nil
}

// found is what an evaluator has made of a case.
type found struct {
	results []map[string]ast.Value
	err     error
}

func topdownResults(t *testing.T, c cases.TestCase, compiler *ast.Compiler, input *ast.Term) found {
	t.Helper()
	query, err := compiler.QueryCompiler().Compile(ast.MustParseBody(c.Query))
	if err != nil {
		t.Fatal(err)
	}
	store := inmem.New()
	if c.Data != nil {
		store = inmem.NewFromObject(*c.Data)
	}
	txn, err := store.NewTransaction(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(t.Context(), txn)
	results, err := topdown.NewQuery(query).WithCompiler(compiler).WithStore(store).WithTransaction(txn).
		WithInput(input).WithStrictBuiltinErrors(c.StrictError).WithCancel(topdown.NewCancel()).Run(t.Context())
	f := found{err: err}
	for _, r := range results {
		bindings := map[string]ast.Value{}
		for name, term := range r {
			bindings[string(name)] = term.Value
		}
		f.results = append(f.results, bindings)
	}
	return f
}

func machineResults(t *testing.T, c cases.TestCase, p *vm.Program, plan string, input *ast.Term) found {
	t.Helper()
	env := &vm.Environment{Data: lazy(t, "{}"), Cancel: looking{topdown.NewCancel()}, Strict: c.StrictError}
	if c.Data != nil {
		env.Data = lazy(t, jsonOf(t, *c.Data))
	}
	if input != nil {
		env.Input = input.Value
		if c.InputTerm == nil {
			env.Input = lazy(t, jsonOf(t, *c.Input))
		}
	}
	outcome, err := p.Run(t.Context(), plan, env)
	f := found{err: err}
	for _, r := range outcome.Results {
		bindings := map[string]ast.Value{}
		for _, b := range r {
			bindings[b.Name] = b.Value
		}
		f.results = append(f.results, bindings)
	}
	return f
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// judge says what is wrong with the outcome of a case, nothing when it is as wanted.
func judge(c cases.TestCase, f found) string {
	switch {
	case c.WantErrorCode != nil:
		failure := (*topdown.Error)(nil)
		if !errors.As(f.err, &failure) || failure.Code != *c.WantErrorCode {
			return fmt.Sprintf("error is %v, not of code %s; results %v", f.err, *c.WantErrorCode, f.results)
		}
	case c.WantError == nil && f.err != nil:
		return fmt.Sprintf("error: %v", f.err)
	}
	if c.WantError != nil && (f.err == nil || !strings.Contains(f.err.Error(), *c.WantError)) {
		return fmt.Sprintf("error is %v, not %q", f.err, *c.WantError)
	}
	if c.WantDefined != nil && *c.WantDefined != (len(f.results) > 0) {
		return fmt.Sprintf("results are %v", f.results)
	}
	if c.WantResult == nil || f.err != nil {
		return "" // results beside an error have no meaning
	}
	want, got := ast.NewSet(), ast.NewSet()
	for _, bindings := range *c.WantResult {
		want.Add(ast.NewTerm(ast.MustInterfaceToValue(bindings)))
	}
	for _, bindings := range f.results {
		object := ast.NewObject()
		for name, value := range bindings {
			if c.IgnoreGeneratedVars && strings.HasPrefix(name, "__localq") {
				continue
			}
			plain, err := ast.JSON(value)
			if err != nil {
				return err.Error()
			}
			if list, ok := plain.([]any); ok && c.SortBindings {
				slices.SortFunc(list, util.Compare)
			}
			object.Insert(ast.StringTerm(name), ast.NewTerm(ast.MustInterfaceToValue(plain)))
		}
		got.Add(ast.NewTerm(object))
	}
	if want.Compare(got) != 0 {
		return fmt.Sprintf("results are %v, not %v", got, want)
	}
	return ""
}
