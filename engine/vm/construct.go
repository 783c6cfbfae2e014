package vm

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// access says how a statement reaches the container that it changes.
type access int

const (
	refused access = iota
	made           // by this function, which is the only one to know it
	shared         // made by it or found in another container, see own
)

// accessTo refuses the change of a container that the function has not made itself: others may see it.
func (c *compiler) accessTo(l ir.Local, s ir.Stmt) access {
	switch e, ok := c.source(l, c.order[s]); {
	case !ok || !e.made:
		c.refuse("changes register %d, which holds nothing that it has made", l)
		return refused
	case e.shared != nil:
		return shared
	}
	return made
}

// own returns the container in a register that a DotStmt may have filled. One that this call has not made itself
// is replaced by a copy; the planner puts it back to where it was found.
func (m *machine) own(l ir.Local) ast.Value {
	v := m.regs[l]
	switch v := v.(type) {
	case ast.Object:
		if _, ok := m.owned[v]; !ok {
			m.regs[l] = shallow(v)
		}
	case ast.Set:
		if _, ok := m.owned[v]; !ok {
			m.regs[l] = clone(v)
		}
	default:
		return v
	}
	m.owned[m.regs[l]] = struct{}{}
	return m.regs[l]
}

// fresh compiles a statement that makes an empty container.
func (c *compiler) fresh(s ir.Stmt, target ir.Local) step {
	at := c.order[s]
	if !c.mutatedAfter(target, at) {
		return c.assign(target, c.constant(ast.NewTerm(empty(s))))
	}
	if e, ok := c.source(target, at+1); ok && e.shared != nil {
		if !c.varies(e) {
			return c.refuse("a partial rule below constant keys, where OPA has an empty value when it is undefined")
		}
		return func(m *machine) signal {
			m.regs[target] = empty(s)
			m.owned[m.regs[target]] = struct{}{}
			return next
		}
	}
	return func(m *machine) signal {
		m.regs[target] = empty(s)
		return next
	}
}

// varies tells whether a container inside of others is reached by a key that is no constant.
func (c *compiler) varies(e event) bool {
	for e.shared != nil {
		if key := c.operand(e.shared.Key); !key.constant() {
			made, ok := c.source(key.local, e.at)
			if !ok {
				return true
			}
			switch made.stmt.(type) {
			case *ir.MakeNumberRefStmt, *ir.MakeNumberIntStmt, *ir.MakeNullStmt:
			default:
				return true
			}
		}
		var ok bool
		if e, ok = c.source(c.operand(e.shared.Source).local, e.at); !ok {
			return true
		}
	}
	return false
}

func empty(s ir.Stmt) ast.Value {
	switch s.(type) {
	case *ir.MakeObjectStmt:
		return ast.NewObject()
	case *ir.MakeSetStmt:
		return ast.NewSet()
	}
	return ast.NewArray()
}

func (c *compiler) arrayAppendStmt(s *ir.ArrayAppendStmt) step {
	value, target := c.operand(s.Value), s.Array
	c.accessTo(target, s)
	return func(m *machine) signal {
		t, err := value.forcedTerm(m)
		if err != nil {
			return m.fail(err)
		}
		array, ok := m.regs[target].(*ast.Array)
		if !ok || t == nil {
			return undefined
		}
		m.regs[target] = array.Append(t)
		return next
	}
}

func (c *compiler) setAddStmt(s *ir.SetAddStmt) step {
	value, target := c.operand(s.Value), s.Set
	how, conflict := c.accessTo(target, s), c.keyConflict(s)
	return func(m *machine) signal {
		t, err := value.forcedTerm(m)
		if err != nil {
			return m.fail(err)
		}
		if t == nil {
			return undefined
		}
		container := m.regs[target]
		if how == shared {
			container = m.own(target)
		}
		set, ok := container.(ast.Set)
		if !ok {
			return m.fail(conflict)
		}
		set.Add(t)
		return next
	}
}

func (c *compiler) objectInsertStmt(s *ir.ObjectInsertStmt) step {
	return c.insert(s, s.Object, s.Key, s.Value, false)
}

// objectInsertOnceStmt inserts a value that must not differ from the one that is there.
func (c *compiler) objectInsertOnceStmt(s *ir.ObjectInsertOnceStmt) step {
	return c.insert(s, s.Object, s.Key, s.Value, true)
}

func (c *compiler) insert(s ir.Stmt, target ir.Local, k, v ir.Operand, once bool) step {
	key, value := c.operand(k), c.operand(v)
	how, conflict := c.accessTo(target, s), c.keyConflict(s)
	// Of equal values, which may be numbers written in different ways, OPA keeps the first in a rule and the last in a
	// comprehension. The latter's object is made where it is filled.
	made, _ := c.source(target, c.order[s])
	last := target != c.result && made.made && made.shared == nil
	return func(m *machine) signal {
		k, err := key.forcedTerm(m)
		if err != nil {
			return m.fail(err)
		}
		v, err := value.forcedTerm(m)
		if err != nil {
			return m.fail(err)
		}
		if k == nil || v == nil {
			return undefined
		}
		container := m.regs[target]
		if how == shared {
			container = m.own(target)
		}
		object, ok := container.(ast.Object)
		if !ok {
			return m.fail(conflict)
		}
		if once {
			if former := object.Get(k); former != nil {
				if !former.Equal(v) {
					return m.fail(conflict)
				}
				if !last {
					return next
				}
			}
		}
		object.Insert(k, v)
		return next
	}
}

func (c *compiler) objectMergeStmt(s *ir.ObjectMergeStmt) step {
	base, virtual, target := s.A, s.B, s.Target
	return func(m *machine) signal {
		if m.regs[base] == nil || m.regs[virtual] == nil {
			return undefined
		}
		a, err := force(m.regs[base])
		if err != nil {
			return m.fail(err)
		}
		b, err := force(m.regs[virtual])
		if err != nil {
			return m.fail(err)
		}
		m.regs[target] = merge(a, b)
		return next
	}
}
