package vm_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/engine/vm"
)

// rules is a program of one module of package p.
func rules(t testing.TB, text string, names ...string) *vm.Program {
	t.Helper()
	module, err := ast.ParseModule("p.rego", "package p\n"+text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = "p/" + names[i]
	}
	return program(t, map[string]*ast.Module{"p.rego": module}, names...)
}

// counter is data that counts what is read of it, or fails to be read.
type counter struct {
	vm.Unforced
	gets atomic.Int64
	err  error
}

func (c *counter) IsArray() bool { return false }

func (c *counter) Get(key ast.Value) (ast.Value, error) {
	c.gets.Add(1)
	if s, ok := key.(ast.String); ok && s == "fact" {
		return ast.Number("7"), c.err
	}
	return nil, c.err
}

func (c *counter) Iter(func(key, value ast.Value) error) error { return c.err }

func (c *counter) Len() (int, error) { return 0, c.err }

func (c *counter) Force() (ast.Value, error) { return ast.NewObject(), c.err }

func run(t testing.TB, p *vm.Program, name string, env *vm.Environment) (ast.Value, error) {
	t.Helper()
	outcome, err := p.Run(t.Context(), "p/"+name, env)
	if err != nil || len(outcome.Results) == 0 {
		return nil, err
	}
	return outcome.Results[0].Value("result"), nil
}

func TestRulesAreEvaluatedOnce(t *testing.T) {
	p := rules(t, `
		fact := data.fact
		missing := data.missing
		sum := (fact + fact) + fact if not missing
		also if { not missing; not missing }
		replaced := [fact, other, fact] if other := fact with input as 1
		both := [sum, also, replaced]
	`, "both", "replaced", "missing")
	for name, want := range map[string]struct {
		value string
		gets  int64
	}{
		"both":     {"[21, true, [7, 7, 7]]", 3}, // fact, missing, and fact again for another input
		"replaced": {"[7, 7, 7]", 2},
	} {
		c := &counter{}
		value, err := run(t, p, name, &vm.Environment{Data: c})
		if err != nil || value.Compare(ast.MustParseTerm(want.value).Value) != 0 || c.gets.Load() != want.gets {
			t.Errorf("%s is %v after %d reads: %v", name, value, c.gets.Load(), err)
		}
	}
}

func TestErrorOfLazyInputIsReturned(t *testing.T) {
	broken := errors.New("broken")
	p := rules(t, `
		got if input.fact
		scanned if { some x in input; x }
		negated if not input.fact
		forced := object.keys(input)
	`, "got", "scanned", "negated", "forced")
	for _, name := range []string{"got", "scanned", "negated", "forced"} {
		if value, err := run(t, p, name, &vm.Environment{Input: &counter{err: broken}, Data: lazy(t, "{}")}); !errors.Is(err, broken) {
			t.Errorf("%s is %v, error %v", name, value, err)
		}
	}
}

func TestVolatile(t *testing.T) {
	p := rules(t, `
		now := time.now_ns()
		stable := time.add_date(1, 1, 1, 1)
		unused := 1 if { false; time.now_ns() }
	`, "now", "stable", "unused")
	for name, want := range map[string]bool{"now": true, "stable": false, "unused": false} {
		outcome, err := p.Run(t.Context(), "p/"+name, &vm.Environment{Now: time.Unix(5, 0), Data: lazy(t, "{}")})
		if err != nil || outcome.Volatile != want {
			t.Errorf("%s: volatile is %v, error %v", name, outcome.Volatile, err)
		}
		if name == "now" && outcome.Results[0].Value("result").Compare(ast.Number("5000000000")) != 0 {
			t.Errorf("now is %v", outcome.Results)
		}
	}
}

// looking is a vm.Cancel that always knows.
type looking struct{ canceller }

type canceller = topdown.Cancel

func (c looking) Look() bool { return c.Cancelled() }

// hasty says that it is late at the third look, and never otherwise.
type hasty struct {
	canceller
	looks int
}

func (h *hasty) Look() bool {
	h.looks++
	return h.looks > 2
}

func (h *hasty) Cancelled() bool { return h.looks > 2 }

// The time is looked at before each call that may take long, however few calls there are.
func TestTimeIsLookedAtBeforeLongCalls(t *testing.T) {
	for name, body := range map[string]string{
		"a text":       `regex.match("x*y$", input.text)`,
		"an array":     `sort(input.list)`,
		"an object":    `json.marshal(input.object)`,
		"a number":     `count(numbers.range(1, 100000)) > 0`,
		"walk":         `[p | walk(input.list, p)]`,
		"a made array": `sum([n | some n in input.list])`,
	} {
		p := rules(t, "r := [x | some _ in input.list; x := "+body+"]", "r")
		var list, object []string
		for i := range 100 {
			list = append(list, strconv.Itoa(i))
			object = append(object, fmt.Sprintf(`"k%d":%d`, i, i))
		}
		input := fmt.Sprintf(`{"text":%q,"list":[%s],"object":{%s}}`, strings.Repeat("x", 2000), strings.Join(list, ","), strings.Join(object, ","))
		late := &hasty{canceller: topdown.NewCancel()}
		_, err := run(t, p, "r", &vm.Environment{Input: lazy(t, input), Data: lazy(t, "{}"), Cancel: late})
		if !topdown.IsCancel(err) || late.looks != 3 {
			t.Errorf("%s: %d looks, %v", name, late.looks, err)
		}
	}
}

func TestCancelEndsEvaluation(t *testing.T) {
	p := rules(t, `
		many := numbers.range(1, 100000)
		product := [1 | some a in many; some b in many; some c in many; (a + b) + c == 0]
		every_one if every a in many { every b in many { a != b + 1000000 } }
		partial contains [a, b] if { some a in many; some b in many; a < 0; b < 0 }
		range := numbers.range(1, 1000000000)
		walked := count([x | walk([many | some _ in many], x)])
	`, "product", "every_one", "partial", "range", "walked")
	for _, name := range []string{"product", "every_one", "partial", "range", "walked"} {
		cancel := looking{topdown.NewCancel()}
		timer := time.AfterFunc(30*time.Millisecond, cancel.Cancel)
		begun := time.Now()
		_, err := run(t, p, name, &vm.Environment{Data: lazy(t, "{}"), Cancel: cancel})
		timer.Stop()
		if !topdown.IsCancel(err) {
			t.Errorf("%s: error is %v", name, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestConcurrentEvaluations(t *testing.T) {
	p := program(t, examples(t), decision)
	data := lazy(t, facts)
	inputs := make([]ast.Value, len(questions))
	want := make([]string, len(questions))
	for i, q := range questions {
		inputs[i] = lazy(t, question(q.principal, q.action))
		fresh, err := p.Run(t.Context(), decision, &vm.Environment{Input: lazy(t, question(q.principal, q.action)), Data: lazy(t, facts)})
		if err != nil {
			t.Fatal(err)
		}
		want[i] = fmt.Sprint(fresh.Results)
	}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for n := range 200 {
				i := n % len(inputs)
				outcome, err := p.Run(context.Background(), decision, &vm.Environment{Input: inputs[i], Data: data})
				if got := fmt.Sprint(outcome.Results); err != nil || got != want[i] {
					t.Errorf("%s: %s, error %v", questions[i].name, got, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// Planning takes the documents that "with" replaces for one another when a function is replaced before them, so the
// modules are put in another order first.
func TestReplacementsOfFunctionsComeLast(t *testing.T) {
	p := rules(t, `
		f(x) := x
		g := v if v := f(input.a) with f as "mocked" with input as {"a": 1}
		h := v if v := count(input.a) with count as 5 with input.a as [1]
		i := v if v := [input.a, upper(input.a)] with upper as "up" with data.x as 1 with input.a as "low"
	`, "g", "h", "i")
	for name, want := range map[string]string{"g": `"mocked"`, "h": "5", "i": `["low", "up"]`} {
		value, err := run(t, p, name, &vm.Environment{Data: lazy(t, "{}")})
		if err != nil || value == nil || value.Compare(ast.MustParseTerm(want).Value) != 0 {
			t.Errorf("%s is %v, error %v", name, value, err)
		}
	}
}

func TestPlanLeavesModulesAlone(t *testing.T) {
	modules := examples(t)
	before := map[string]string{}
	for name, module := range modules {
		before[name] = module.String()
	}
	program(t, modules, decision)
	for name, module := range modules {
		if module.String() != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
}
