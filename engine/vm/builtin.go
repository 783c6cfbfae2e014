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
		volatile: IsVolatile(declared),
	}
}

// IsVolatile says whether two calls of a builtin with the same operands may give different results. The two that verify
// certificates compare them with the present time, which OPA does not say of them.
func IsVolatile(b *ast.Builtin) bool {
	return b.IsNondeterministic() || b.Name == ast.CryptoX509ParseAndVerifyCertificates.Name ||
		b.Name == ast.CryptoX509ParseAndVerifyCertificatesWithOptions.Name
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
		if slices.ContainsFunc(m.operands, large) && m.late() {
			return stop
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

// large tells an operand with which a builtin may take long.
func large(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.String:
		return len(v) > 1<<10
	case ast.Number:
		return len(v) > 4 // how much to make, perhaps
	case *ast.Array:
		return v.Len() > 1<<5
	case ast.Object:
		return v.Len() > 1<<5
	case ast.Set:
		return v.Len() > 1<<5
	}
	return false
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
