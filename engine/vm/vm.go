// Package vm runs plans of OPA's intermediate representation (IR): what OPA's planner makes of Rego policies when it
// compiles them for other machines than its own evaluator. It gives the results of that evaluator in a fraction of
// its time.
//
// Plan makes an IR policy of Rego modules, Compile makes a Program of that, and Program.Run evaluates one of its
// plans for one input and data. The documentation of the IR describes every statement; here each is one function
// named after it.
//
// The values are OPA's own, so that OPA's builtins take and return them as they are. Beside them there is only Lazy:
// input and data may be documents that are read when a policy asks for them.
//
// It must never give another result than OPA's evaluator: a plan that it does not fully understand is refused by Plan
// or Compile, and its caller evaluates with OPA. Refused are
//   - statements, operands and builtins that are not known here,
//   - partial rules below constant keys that are no texts, such as p[1].a := x: where they are undefined OPA has an
//     empty object, for which the planner has no statement,
//   - what the planner itself refuses, such as rules that refer to others with which they share a variable prefix.
//
// An error is the one thing that it may have where OPA has none: OPA's index of rules can tell that a rule does not
// hold before the expression that fails is reached. Whoever needs OPA's outcome also then asks OPA after an error of
// type *topdown.Error that is not a cancellation.
//
// It must never change a value that it has not made itself, keep anything of an evaluation for the next one, or know
// what the policies and facts are about.
//
// Equal numbers that are written in different ways, such as 1 and 1.0, are one value. Which of the ways a result keeps is
// OPA's, but for two of its shortcuts: a function called with equal numbers, and a partial object asked for one key, give
// what they gave for the number that came first.
package vm

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
)

// Program is a compiled IR policy. It never changes and is safe for concurrent use.
type Program struct {
	plans     map[string]*function
	functions int // how many, each with a slot in every memo
	stack     int // the most registers that any plan can use at once
	machines  sync.Pool

	// ReplacesData says that a policy puts something into data by "with". The parts of data beside it are read more
	// often then than OPA's evaluator reads them, which matters where data is large.
	ReplacesData bool
}

// Environment is what one evaluation sees of the world.
type Environment struct {
	Input  ast.Value // nil is undefined
	Data   ast.Value
	Now    time.Time // time.Now when zero
	Cancel Cancel    // ends the evaluation; nil never does
	// Strict makes the errors of builtins end the evaluation. Otherwise a call that fails is undefined.
	Strict       bool
	Capabilities *ast.Capabilities // what builtins may do; nil is everything that this version of OPA can
}

// Cancel says whether an evaluation has to end. Cancelled is asked often, and may be wrong for some microseconds; Look is
// asked before what may take long.
type Cancel interface {
	topdown.Cancel
	Look() bool
}

// Binding is the value of one variable of a query.
type Binding struct {
	Name  string
	Value ast.Value
}

// Result are the bindings by which a query is true.
type Result []Binding

// Value is the value of the variable with this name, nil when there is none.
func (r Result) Value(name string) ast.Value {
	for _, b := range r {
		if b.Name == name {
			return b.Value
		}
	}
	return nil
}

// Outcome is what an evaluation has found.
type Outcome struct {
	Results []Result // none when the query is undefined
	// Volatile says that the same input and data may give another outcome next time: a builtin was called that asks
	// the clock, chance, the network or the surroundings.
	Volatile bool
}

// Run evaluates the plan with this name. Its errors are those that OPA's evaluator returns, of type *topdown.Error,
// and wrapped ones of Lazy values.
func (p *Program) Run(ctx context.Context, plan string, env *Environment) (Outcome, error) {
	f, ok := p.plans[plan]
	if !ok {
		return Outcome{}, fmt.Errorf("there is no plan %q", plan)
	}
	m := p.machine()
	m.begin(ctx, env)
	m.regs = m.stack[:f.size]
	m.regs[input], m.regs[data] = env.Input, env.Data
	m.top, m.high = f.size, f.size
	f.run(m)
	outcome, err := Outcome{Results: m.results, Volatile: m.volatile}, m.err
	// A machine whose evaluation panicked is not used again, so this needs no defer.
	m.end()
	p.machines.Put(m)
	if err != nil {
		return Outcome{Volatile: outcome.Volatile}, err
	}
	return outcome, nil
}

// The registers of the two global documents, which are the same in every frame.
const (
	input = 0
	data  = 1
)

// machine is the state of one evaluation.
type machine struct {
	regs  []ast.Value // of the function that runs
	stack []ast.Value // the registers of all functions that run
	top   int         // where the next function's begin
	high  int         // what was used of the stack

	memo     *memo
	root     memo // of the input and data that the evaluation began with
	owned    map[ast.Value]struct{}
	returned ast.Value // by the function that ran last
	results  []Result
	err      error // why the evaluation stops

	now      time.Time
	cancel   Cancel
	strict   bool
	volatile bool

	builtin  topdown.BuiltinContext
	operands []*ast.Term
	path     []string   // of a reference into data
	spare    []ast.Term // terms that are not in use yet
	output   ast.Value  // of the builtin that ran last
	outputs  []*ast.Term
	// Made once, because a closure per call would be an allocation per call.
	one, many func(*ast.Term) error
}

func (p *Program) machine() *machine {
	if m, ok := p.machines.Get().(*machine); ok {
		return m
	}
	m := &machine{stack: make([]ast.Value, p.stack)}
	m.root.slots = make([]ast.Value, p.functions)
	m.one = func(t *ast.Term) error {
		if t != nil { // void builtins have nothing to say
			m.output = t.Value
		}
		return nil
	}
	m.many = func(t *ast.Term) error {
		if m.cancelled() {
			return topdown.Halt{Err: m.err}
		}
		m.outputs = append(m.outputs, t)
		return nil
	}
	return m
}

func (m *machine) begin(ctx context.Context, env *Environment) {
	m.cancel, m.strict = env.Cancel, env.Strict
	m.root.input, m.root.data = env.Input, env.Data
	m.memo = &m.root
	m.builtin.Context = ctx
	m.builtin.Metrics = metrics.NoOp()
	m.builtin.Seed = rand.Reader
	m.builtin.Cancel = env.Cancel
	m.builtin.Capabilities = env.Capabilities
	m.now = env.Now
}

// clock completes the context of builtins whose result may differ next time. Most evaluations call none of them.
func (m *machine) clock() {
	if m.volatile {
		return
	}
	m.volatile = true
	now := m.now
	if now.IsZero() {
		now = time.Now()
	}
	m.builtin.Time = ast.NumberTerm(json.Number(strconv.FormatInt(now.UnixNano(), 10)))
	m.builtin.Cache = builtins.Cache{}
}

// fail stops the evaluation.
func (m *machine) fail(err error) signal {
	m.err = err
	return stop
}

// cancelled tells whether the evaluation has to end, and has noted why.
func (m *machine) cancelled() bool {
	return m.cancel != nil && m.cancel.Cancelled() && m.over()
}

// late looks whether the evaluation has to end.
func (m *machine) late() bool {
	return m.cancel != nil && m.cancel.Look() && m.over()
}

func (m *machine) over() bool {
	m.err = &topdown.Error{Code: topdown.CancelErr, Message: "caller cancelled query execution"}
	return true
}

// term wraps a value for OPA. Terms come from blocks of them and are never used again, because OPA's builtins may
// keep them in what they return.
func (m *machine) term(v ast.Value) *ast.Term {
	if len(m.spare) == 0 {
		m.spare = make([]ast.Term, 16)
	}
	t := &m.spare[0]
	m.spare = m.spare[1:]
	t.Value = v
	return t
}

// end forgets everything of the evaluation, so that the pool neither keeps it alive nor shows it to the next one.
func (m *machine) end() {
	clear(m.stack[:m.high])
	clear(m.root.slots)
	clear(m.operands[:cap(m.operands)])
	clear(m.path[:cap(m.path)])
	*m = machine{
		stack:    m.stack,
		root:     memo{slots: m.root.slots},
		operands: m.operands[:0],
		path:     m.path[:0],
		one:      m.one,
		many:     m.many,
	}
}
