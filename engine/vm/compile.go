package vm

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// signal tells a block what to do after a statement: go on, leave as many blocks as the number says, or stop.
type signal int

const (
	stop      signal = -1 // the function has returned, or the evaluation has failed
	next      signal = 0
	undefined signal = 1 // a statement that does not hold leaves its block
)

// left is what a signal means to the block around the one that it has left.
func (s signal) left() signal { return max(s-1, min(s, next)) }

// step is a compiled statement.
type step func(*machine) signal

// block is a sequence of statements.
type block []step

func (b block) run(m *machine) signal {
	for _, step := range b {
		if s := step(m); s != next {
			return s
		}
	}
	return next
}

// function is a compiled function or plan.
type function struct {
	name   string
	path   []string // where CallDynamicStmt finds it
	params []ir.Local
	blocks []block
	size   int // of its frame
	slot   int // in memos
	shares bool
	calls  []*function
	stack  int // the most registers that it and its callees use at once; 0 until known
}

// isRule tells a rule, which depends on input and data alone and is evaluated once for each pair, from a function.
func (f *function) isRule() bool { return len(f.params) == 2 }

func (f *function) run(m *machine) {
	for _, b := range f.blocks {
		if b.run(m) == stop {
			return
		}
	}
	m.returned = nil
}

// operand is a constant or a register.
type operand struct {
	term  *ast.Term // of a constant
	value ast.Value
	local ir.Local
}

func (o *operand) constant() bool { return o.value != nil }

func (o *operand) get(m *machine) ast.Value {
	if o.value != nil {
		return o.value
	}
	return m.regs[o.local]
}

// forcedTerm is the operand as a part of another value or for a builtin. Nil without an error is undefined.
func (o *operand) forcedTerm(m *machine) (*ast.Term, error) {
	if o.term != nil {
		return o.term, nil
	}
	v, err := force(m.regs[o.local])
	if v == nil || err != nil {
		return nil, err
	}
	return m.term(v), nil
}

// compiler turns IR statements into steps.
type compiler struct {
	policy    *ir.Policy
	strings   []*ast.Term
	functions map[string]*function
	ordered   []*function
	builtins  map[string]*builtin

	// Of the function being compiled:
	*function
	*flow
	result ir.Local // the register that it returns; negative for a plan
	depth  int      // of blocks around the statement
	early  early
	err    error

	replaces bool // see Program.ReplacesData
}

// Compile prepares an IR policy. Its error is an *UnsupportedError for a policy that it does not fully understand.
func Compile(policy *ir.Policy) (*Program, error) {
	c := &compiler{policy: policy, functions: map[string]*function{}, builtins: map[string]*builtin{}}
	if policy == nil || policy.Static == nil || policy.Plans == nil || policy.Funcs == nil {
		return nil, &UnsupportedError{Reason: "it is not complete"}
	}
	for _, s := range policy.Static.Strings {
		c.strings = append(c.strings, ast.InternedTerm(s.Value))
	}
	for _, b := range policy.Static.BuiltinFuncs {
		c.declare(b)
	}
	for i, f := range policy.Funcs.Funcs {
		fn := &function{name: f.Name, path: f.Path, params: f.Params, slot: i}
		if c.functions[f.Name] != nil {
			return nil, &UnsupportedError{f.Name, "planned twice"}
		}
		c.functions[f.Name] = fn
		c.ordered = append(c.ordered, fn)
	}
	for _, f := range policy.Funcs.Funcs {
		c.compile(c.functions[f.Name], f.Blocks, f.Return)
	}
	p := &Program{plans: map[string]*function{}, functions: len(c.ordered)}
	for _, plan := range policy.Plans.Plans {
		fn := &function{name: plan.Name}
		c.compile(fn, plan.Blocks, -1)
		p.plans[plan.Name] = fn
	}
	for _, fn := range p.plans {
		c.function = fn
		p.stack = max(p.stack, c.measure(fn, nil))
	}
	if c.err != nil {
		return nil, c.err
	}
	p.ReplacesData = c.replaces
	return p, nil
}

// refuse keeps the first reason why the policy cannot run here.
func (c *compiler) refuse(format string, args ...any) step {
	if c.err == nil {
		c.err = &UnsupportedError{c.name, fmt.Sprintf(format, args...)}
	}
	return nil
}

// measure adds up the frames of a function and of what it calls. Rego has no recursion, so the sum is finite.
func (c *compiler) measure(f *function, callers []*function) int {
	if f.stack > 0 || slices.Contains(callers, f) {
		if f.stack == 0 {
			c.refuse("%s calls itself", f.name)
		}
		return f.stack
	}
	deepest := 0
	for _, callee := range f.calls {
		deepest = max(deepest, c.measure(callee, append(callers, f)))
	}
	f.stack = f.size + deepest
	return f.stack
}

// compile compiles the blocks of a function, or of a plan, which has no result.
func (c *compiler) compile(f *function, blocks []*ir.Block, result ir.Local) {
	if c.err != nil {
		return
	}
	locals := slices.Clone(f.params)
	if result >= 0 {
		locals = append(locals, result)
	}
	c.function, c.flow, c.result, c.depth = f, flowOf(blocks, locals...), result, 0
	if c.illegal != "" {
		c.refuse("%s", c.illegal)
		return
	}
	f.size, f.shares = c.flow.size, c.flow.shares
	c.early = earlyOf(blocks, result)
	for _, b := range blocks {
		f.blocks = append(f.blocks, c.block(b))
	}
}

// operand compiles an operand of a statement.
func (c *compiler) operand(o ir.Operand) operand {
	switch v := valueOf(o).(type) {
	case ir.Local:
		return operand{local: v}
	case ir.StringIndex:
		return c.constant(c.text(int(v)))
	case ir.Bool:
		return c.constant(ast.InternedTerm(bool(v)))
	}
	c.refuse("unknown operand %T", o.Value)
	return operand{}
}

func (c *compiler) constant(t *ast.Term) operand { return operand{term: t, value: t.Value} }

func (c *compiler) text(index int) *ast.Term {
	if index < 0 || index >= len(c.strings) {
		c.refuse("string %d is missing", index)
		return ast.InternedEmptyString
	}
	return c.strings[index]
}

func (c *compiler) block(b *ir.Block) block {
	c.depth++
	defer c.early.enter(b, c.depth)()
	steps := make(block, 0, len(b.Stmts))
	for i := 0; i < len(b.Stmts) && c.err == nil; {
		step, n := c.sequence(b.Stmts[i:])
		if step != nil {
			steps = append(steps, step)
		}
		i += n
	}
	c.depth--
	return steps
}

// sequence compiles the first statement of a block together with those after it that make one thing, and tells how
// many they are.
func (c *compiler) sequence(stmts []ir.Stmt) (step, int) {
	if step, n := c.yield(stmts); n > 0 {
		return step, n
	}
	if step, n := c.literal(stmts); n > 0 {
		return step, n
	}
	return c.statement(stmts[0]), 1
}

// statement compiles one statement; one without an effect is nil.
func (c *compiler) statement(s ir.Stmt) step {
	switch s := s.(type) {
	case *ir.ReturnLocalStmt:
		return c.returnLocalStmt(s)
	case *ir.CallStmt:
		return c.callStmt(s)
	case *ir.CallDynamicStmt:
		return c.callDynamicStmt(s)
	case *ir.BlockStmt:
		return c.blockStmt(s)
	case *ir.BreakStmt:
		return c.breakStmt(s)
	case *ir.DotStmt:
		return c.reference(s, c.dotStmt(s))
	case *ir.LenStmt:
		return c.lenStmt(s)
	case *ir.ScanStmt:
		return c.scanStmt(s)
	case *ir.NotStmt:
		return c.notStmt(s)
	case *ir.AssignIntStmt:
		return c.assign(s.Target, c.integer(s.Value))
	case *ir.AssignVarStmt:
		return c.assignVarStmt(s)
	case *ir.AssignVarOnceStmt:
		return c.assignVarOnceStmt(s)
	case *ir.ResetLocalStmt:
		return c.resetLocalStmt(s)
	case *ir.MakeNullStmt:
		return c.assign(s.Target, c.constant(ast.InternedNullTerm))
	case *ir.MakeNumberIntStmt:
		return c.assign(s.Target, c.integer(s.Value))
	case *ir.MakeNumberRefStmt:
		return c.assign(s.Target, c.number(s.Index))
	case *ir.EqualStmt:
		return c.equalStmt(s)
	case *ir.NotEqualStmt:
		return c.notEqualStmt(s)
	case *ir.IsArrayStmt:
		return c.is(s.Source, isArray)
	case *ir.IsObjectStmt:
		return c.is(s.Source, isObject)
	case *ir.IsSetStmt:
		return c.is(s.Source, isSet)
	case *ir.IsDefinedStmt:
		return c.isDefinedStmt(s)
	case *ir.IsUndefinedStmt:
		return c.isUndefinedStmt(s)
	case *ir.ArrayAppendStmt:
		return c.arrayAppendStmt(s)
	case *ir.ObjectInsertStmt:
		return c.objectInsertStmt(s)
	case *ir.ObjectInsertOnceStmt:
		return c.objectInsertOnceStmt(s)
	case *ir.ObjectMergeStmt:
		return c.objectMergeStmt(s)
	case *ir.SetAddStmt:
		return c.setAddStmt(s)
	case *ir.WithStmt:
		return c.withStmt(s)
	case *ir.NopStmt:
		return nil
	}
	return c.refuse("statement %T", s)
}
