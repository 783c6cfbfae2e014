package vm_test

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/engine/vm"
	"mandate/policies"
)

const facts = `{
	"orgs": {"acme": {
		"profile": {"status": "active"},
		"members": {"alice": {"roles": ["viewer", "developer"], "status": "active"}, "bob": {"roles": [], "status": "active"}},
		"roles": {},
		"integrations": {"backupco": {"status": "active", "scopes": ["documents:read"]}}
	}},
	"roles": {"viewer": {"permissions": ["documents:read"]}, "developer": {"permissions": ["builds:*"]}},
	"users": {"alice": {"status": "active"}, "bob": {"status": "active"}},
	"clients": {"gateway": {"status": "active"}},
	"relations": {"document": {"report": {"viewer": {"user:bob": {}}}}}
}`

func question(principal, action string) string {
	return `{"subject":{"type":"user","id":"` + principal + `"},"action":{"name":"` + action + `"},` +
		`"resource":{"type":"document","id":"report","properties":{"org":"acme"}},` +
		`"principal":{"type":"user","sub":"` + principal + `"},` +
		`"caller":{"type":"client","sub":"gateway","scopes":["decide","manage"]},` +
		`"context":{"ip":"192.0.2.7","user_agent":"Example/1.0 (Linux)","request_id":"7b0d5a5e-5b0a-4b59-8f4f-2f6d3f1d8c11"}}`
}

// examples are the production policies of this repository.
func examples(t testing.TB) map[string]*ast.Module {
	t.Helper()
	modules := map[string]*ast.Module{}
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, "_test.rego") {
			return err
		}
		text, err := policies.FS.ReadFile(name)
		if err != nil {
			return err
		}
		modules[name], err = ast.ParseModule(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return modules
}

const decision = "mandate/access/decision"

func program(t testing.TB, modules map[string]*ast.Module, entrypoints ...string) *vm.Program {
	t.Helper()
	policy, err := vm.Plan(t.Context(), modules, ast.CapabilitiesForThisVersion(), entrypoints)
	if err != nil {
		t.Fatal(err)
	}
	p, err := vm.Compile(policy)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func lazy(t testing.TB, text string) ast.Value {
	t.Helper()
	v, err := vm.JSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var questions = []struct{ name, principal, action string }{
	{"role", "alice", "documents:read"},
	{"relation", "bob", "documents:read"},
	{"refused", "alice", "documents:write"},
	{"outsider", "mallory", "documents:read"},
}

func BenchmarkDecision(b *testing.B) {
	modules := examples(b)
	p := program(b, modules, decision)
	data := lazy(b, facts)
	for _, q := range questions {
		text := question(q.principal, q.action)
		// The two tell what it costs that an evaluation can be cancelled.
		for name, cancel := range map[string]vm.Cancel{"vm": looking{topdown.NewCancel()}, "vm-endless": nil} {
			b.Run(q.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					input, err := vm.JSON(text)
					if err != nil {
						b.Fatal(err)
					}
					outcome, err := p.Run(b.Context(), decision, &vm.Environment{Input: input, Data: data, Cancel: cancel})
					if err != nil || len(outcome.Results) != 1 {
						b.Fatal(outcome, err)
					}
				}
			})
		}
		b.Run(q.name+"/topdown", func(b *testing.B) {
			evaluate := reference(b, modules, facts)
			input := ast.NewTerm(ast.MustParseTerm(text).Value)
			b.ReportAllocs()
			for b.Loop() {
				evaluate(input)
			}
		})
	}
}

// reference returns OPA's own evaluation of the decision.
func reference(t testing.TB, modules map[string]*ast.Module, facts string) func(*ast.Term) ast.Value {
	t.Helper()
	compiler := ast.NewCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	var data map[string]any
	if err := json.Unmarshal([]byte(facts), &data); err != nil {
		t.Fatal(err)
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	query := ast.MustParseBody("data.mandate.access.decision = result")
	return func(input *ast.Term) ast.Value {
		txn, err := store.NewTransaction(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer store.Abort(t.Context(), txn)
		results, err := topdown.NewQuery(query).WithCompiler(compiler).WithStore(store).WithTransaction(txn).
			WithInput(input).WithMetrics(metrics.NoOp()).Run(t.Context())
		if err != nil || len(results) != 1 {
			t.Fatal(results, err)
		}
		return results[0]["result"].Value
	}
}

func TestDecisionsOfExamplePolicies(t *testing.T) {
	modules := examples(t)
	p := program(t, modules, decision)
	evaluate := reference(t, modules, facts)
	data := lazy(t, facts)
	for _, q := range questions {
		text := question(q.principal, q.action)
		want := evaluate(ast.MustParseTerm(text))
		outcome, err := p.Run(t.Context(), decision, &vm.Environment{Input: lazy(t, text), Data: data})
		if err != nil || len(outcome.Results) != 1 {
			t.Fatal(outcome, err)
		}
		if got := outcome.Results[0].Value("result"); got.Compare(want) != 0 {
			t.Errorf("%s: %v, not %v", q.name, got, want)
		}
	}
}
