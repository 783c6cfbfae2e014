package vm_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"mandate/engine/vm"
)

func FuzzDifferential(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(randomBytes(seed))
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if len(bytes) < 4096 {
			differ(t, generate(bytes))
		}
	})
}

func randomBytes(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	bytes := make([]byte, 100+r.IntN(400))
	for i := range bytes {
		bytes[i] = byte(r.Uint32())
	}
	return bytes
}

// TestDifferential compares with OPA over random policies, always the same ones.
func TestDifferential(t *testing.T) {
	seeds := uint64(1200)
	if testing.Short() {
		seeds = 200
	}
	compared := 0
	for seed := range seeds {
		if compared += differ(t, generate(randomBytes(seed))); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("compared %d rules of %d policies", compared, seeds)
	if compared < int(seeds) {
		t.Error("too few policies compile")
	}
}

// differ evaluates the rules of a policy with OPA and the machine, and returns how many.
func differ(t *testing.T, g generated) int {
	t.Helper()
	module, err := ast.ParseModule("p.rego", g.module)
	if err != nil {
		return 0
	}
	modules := map[string]*ast.Module{"p.rego": module}
	compiler := ast.NewCompiler()
	if compiler.Compile(modules); compiler.Failed() {
		return 0
	}
	entrypoints := make([]string, len(g.queries))
	for i, q := range g.queries {
		entrypoints[i] = "p/" + q
	}
	if len(entrypoints) == 0 {
		return 0
	}
	policy, err := planOf(t, modules, entrypoints)
	if err != nil {
		return 0
	}
	p, err := vm.Compile(policy)
	if unsupported := (*vm.UnsupportedError)(nil); errors.As(err, &unsupported) {
		return 0
	} else if err != nil {
		t.Fatalf("compile: %v\n%s", err, g.module)
	}
	data := util.MustUnmarshalJSON([]byte(g.data)).(map[string]any)
	store := inmem.NewFromObject(data)
	input := ast.MustParseTerm(g.input)
	lazyInput, lazyData := lazy(t, g.input), lazy(t, g.data)
	for i, q := range g.queries {
		txn, err := store.NewTransaction(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := topdown.NewQuery(ast.MustParseBody("data.p." + q + " = result")).WithCompiler(compiler).
			WithStore(store).WithTransaction(txn).WithInput(input).Run(t.Context())
		store.Abort(t.Context(), txn)
		outcome, gotErr := p.Run(t.Context(), entrypoints[i], &vm.Environment{Input: lazyInput, Data: lazyData})
		got := outcome.Results
		if conflict := (*topdown.Error)(nil); errors.As(gotErr, &conflict) && conflict.Code == topdown.ConflictErr {
			continue // OPA's index of rules may avoid it, so that callers ask OPA in this case
		}
		same := (wantErr == nil) == (gotErr == nil) && (wantErr != nil || len(want) == len(got))
		if same && wantErr == nil && len(want) == 1 {
			same = want[0]["result"].Value.Compare(got[0].Value("result")) == 0
		}
		if !same {
			t.Errorf("%s: %v %v\nbut OPA: %v %v\ninput: %s\ndata: %s\n%s", q, got, gotErr, want, wantErr, g.input, g.data, g.module)
			return 0
		}
	}
	return len(g.queries)
}

func planOf(t *testing.T, modules map[string]*ast.Module, entrypoints []string) (policy *ir.Policy, err error) {
	t.Helper()
	policy, err = vm.Plan(t.Context(), modules, ast.CapabilitiesForThisVersion(), entrypoints)
	if err != nil && strings.Contains(err.Error(), "rego_") {
		t.Errorf("plan: %v", err)
	}
	return policy, err
}

// TestRegressions has what the comparison with OPA has found, as small as it can be.
func TestRegressions(t *testing.T) {
	const input = `{"a":{"b":"1"},"n":1,"m":1.0,"xs":["p","q"]}`
	const data = `{"base":{"o":{"1":"one","a":"A"},"xs":["p","q"]}}`
	for name, row := range map[string]struct {
		module  string
		refused bool
	}{
		"empty set below a constant":    {module: "r[1] contains 1 if { false }", refused: true},
		"empty object below a constant": {module: "r[1].a := 1 if { false }", refused: true},
		"number finds text in data":     {module: "r := [data.base.o[1], data.base.o[input.n], data.base.xs[\"1\"]]"},
		"number finds nothing else":     {module: "r := [1 | o := data.base.o; o[1]]"},
		"number in replaced data":       {module: "r := [1 | data.base.o[1] with data.base.o as {\"1\": 2}]"},
		"number beside replaced data":   {module: "r := x if x := data.base.o[1] with data.base.xs as 2"},
		"function replaced first":       {module: "r := x if x := [input.a, upper(\"x\")] with upper as 1 with input.a as 2"},
		"nested keys share nothing":     {module: "r[x] := input.a if some x in input.xs\nr[x] := input.a if some x in data.base.xs"},
		"set below a variable":          {module: "r[x] contains y if { some x in input.xs; some y in data.base.xs }"},
		"first of equal numbers":        {module: "x := input.m if input.a\nx := input.n if input.a\nr := json.marshal(x)"},
		"first of a function's":         {module: "f(_) := input.m if input.a\nf(_) := input.n if input.a\nr := json.marshal(f(1))"},
		"first below a constant key":    {module: "o.k := input.m if input.a\no.k := input.n if input.a\nr := json.marshal(o)"},
		"first below a variable key":    {module: "o[k] := x if { some k in input.xs; some x in [input.m, input.n] }\nr := json.marshal(o)"},
		"last in a comprehension":       {module: "r := json.marshal({k: x | some k in input.xs; some x in [input.m, input.n]})"},
		"objects below variables":       {module: "r[x].k[y] := 1 if { some x in input.xs; some y in data.base.xs }"},
	} {
		compared := differ(t, generated{module: "package p\n" + row.module, input: input, data: data, queries: []string{"r"}})
		if refused := compared == 0; refused != row.refused {
			t.Errorf("%s: refused is %v", name, refused)
		}
	}
}
