package vm

import (
	"errors"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// builtin is a function of OPA that the policy uses.
type builtin struct {
	run      topdown.BuiltinFunc
	void     bool // has no result
	relation bool // may have many
	volatile bool
}

// declare looks a builtin up that the plan says it needs.
func (c *compiler) declare(f *ir.BuiltinFunc) {
	run, declared := topdown.GetBuiltin(f.Name), ast.BuiltinMap[f.Name]
	if run == nil || declared == nil {
		return // it counts only if it is called
	}
	c.builtins[f.Name] = &builtin{
		run:      run,
		void:     declared.Decl.Result() == nil,
		relation: declared.Relation,
		volatile: declared.IsNondeterministic() || slices.Contains(timed(), f.Name),
	}
}

// timed are builtins that read the clock without being declared nondeterministic.
func timed() []string {
	return []string{
		ast.JWTDecodeVerify.Name,
		ast.CryptoX509ParseAndVerifyCertificates.Name,
		ast.CryptoX509ParseAndVerifyCertificatesWithOptions.Name,
	}
}

// callBuiltin compiles a call of OPA's builtin. A relation gives an array of all its results.
func (c *compiler) callBuiltin(s *ir.CallStmt, args []operand) step {
	b := c.builtins[s.Func]
	if b == nil {
		return c.refuse("builtin %s is unknown", s.Func)
	}
	location, result := c.location(s), s.Result
	call := func(m *machine) signal {
		if m.cancelled() {
			return stop
		}
		m.operands = m.operands[:0]
		for i := range args {
			t, err := args[i].forcedTerm(m)
			if err != nil {
				return m.fail(err)
			}
			if t == nil {
				return undefined
			}
			m.operands = append(m.operands, t)
		}
		if b.volatile {
			m.clock()
		}
		m.builtin.Location = location
		value, s := m.invoke(b)
		if s != next {
			return s
		}
		if b.void {
			return next
		}
		if m.regs[result] = value; value == nil {
			return undefined
		}
		return next
	}
	if direct := direct(s.Func, args); direct != nil {
		return func(m *machine) signal {
			value, err := direct(m)
			if err != nil {
				return m.fail(err)
			}
			if value == nil {
				return call(m)
			}
			m.regs[result] = value
			return next
		}
	}
	return call
}

// invoke calls a builtin with the operands of the machine.
func (m *machine) invoke(b *builtin) (ast.Value, signal) {
	m.output, m.outputs = nil, nil
	each := m.one
	if b.relation {
		each = m.many
	}
	err := b.run(m.builtin, m.operands, each)
	value, parts := m.output, m.outputs
	m.output, m.outputs = nil, nil
	if err != nil {
		halt := topdown.Halt{}
		if errors.As(err, &halt) {
			return nil, m.fail(halt.Err)
		}
		if m.strict {
			return nil, m.fail(err)
		}
		return nil, undefined
	}
	if b.relation {
		return ast.NewArray(parts...), next
	}
	return value, next
}
