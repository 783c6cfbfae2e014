package vm

import (
	"encoding/json"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

func (c *compiler) integer(n int64) operand {
	return c.constant(ast.NewTerm(ast.Number(json.Number(strconv.FormatInt(n, 10)))))
}

func (c *compiler) number(index int) operand {
	text := string(c.text(index).Value.(ast.String))
	if t := ast.InternedIntNumberTermFromString(text); t != nil {
		return c.constant(t)
	}
	return c.constant(ast.NewTerm(ast.Number(json.Number(text))))
}

// assign sets a register; nobody misses what nobody reads.
func (c *compiler) assign(target ir.Local, source operand) step {
	if c.reads[target] == 0 {
		return nil
	}
	if source.constant() {
		value := source.value
		return func(m *machine) signal {
			m.regs[target] = value
			return next
		}
	}
	from := source.local
	return func(m *machine) signal {
		m.regs[target] = m.regs[from]
		return next
	}
}

func (c *compiler) assignVarStmt(s *ir.AssignVarStmt) step {
	return c.assign(s.Target, c.operand(s.Source))
}

func (c *compiler) resetLocalStmt(s *ir.ResetLocalStmt) step {
	target := s.Target
	return func(m *machine) signal {
		m.regs[target] = nil
		return next
	}
}

// assignVarOnceStmt assigns a value that must not differ from one assigned before. Where only one is possible, the
// first ends the search for more.
func (c *compiler) assignVarOnceStmt(s *ir.AssignVarOnceStmt) step {
	source, target := c.operand(s.Source), s.Target
	if target == c.early.result && source.constant() {
		value := source.value
		if c.early.all {
			return func(m *machine) signal {
				m.returned = value
				return stop
			}
		}
		if leave := signal(c.depth - c.early.body + 1); c.early.same {
			return func(m *machine) signal {
				m.regs[target] = value
				return leave
			}
		}
	}
	conflict := c.conflict(s)
	return func(m *machine) signal {
		value := source.get(m)
		if former := m.regs[target]; former != nil {
			same, err := equal(former, value)
			if err != nil {
				return m.fail(err)
			}
			if !same {
				return m.fail(conflict)
			}
			return next // the first one stays: an equal number may be written in another way
		}
		m.regs[target] = value
		return next
	}
}

func (c *compiler) isDefinedStmt(s *ir.IsDefinedStmt) step {
	source := s.Source
	return func(m *machine) signal {
		if m.regs[source] == nil {
			return undefined
		}
		return next
	}
}

func (c *compiler) isUndefinedStmt(s *ir.IsUndefinedStmt) step {
	source := s.Source
	return func(m *machine) signal {
		if m.regs[source] != nil {
			return undefined
		}
		return next
	}
}

// is compiles IsArrayStmt, IsObjectStmt and IsSetStmt.
func (c *compiler) is(o ir.Operand, kind func(ast.Value) bool) step {
	source := c.operand(o)
	return func(m *machine) signal {
		if !kind(source.get(m)) {
			return undefined
		}
		return next
	}
}

func isArray(v ast.Value) bool {
	switch v := v.(type) {
	case *ast.Array:
		return true
	case Lazy:
		return v.IsArray()
	}
	return false
}

func isObject(v ast.Value) bool {
	switch v := v.(type) {
	case ast.Object:
		return true
	case Lazy:
		return !v.IsArray()
	}
	return false
}

func isSet(v ast.Value) bool {
	_, ok := v.(ast.Set)
	return ok
}

func (c *compiler) equalStmt(s *ir.EqualStmt) step {
	a, b := c.operand(s.A), c.operand(s.B)
	if a.constant() {
		a, b = b, a
	}
	if text, ok := b.value.(ast.String); ok {
		return func(m *machine) signal {
			if s, ok := a.get(m).(ast.String); ok && s == text {
				return next
			}
			return undefined
		}
	}
	return func(m *machine) signal {
		same, err := equal(a.get(m), b.get(m))
		if err != nil {
			return m.fail(err)
		}
		if !same {
			return undefined
		}
		return next
	}
}

func (c *compiler) notEqualStmt(s *ir.NotEqualStmt) step {
	a, b := c.operand(s.A), c.operand(s.B)
	if a.constant() {
		a, b = b, a
	}
	if unwanted, ok := b.value.(ast.Boolean); ok {
		return func(m *machine) signal {
			if t, ok := a.get(m).(ast.Boolean); ok && t == unwanted {
				return undefined
			}
			return next
		}
	}
	return func(m *machine) signal {
		same, err := equal(a.get(m), b.get(m))
		if err != nil {
			return m.fail(err)
		}
		if same {
			return undefined
		}
		return next
	}
}

// dotStmt looks a key up in an array, object or set. There is nothing in other values.
func (c *compiler) dotStmt(s *ir.DotStmt) step {
	source, key, target := c.operand(s.Source), c.operand(s.Key), s.Target
	if source.constant() {
		return func(*machine) signal { return undefined }
	}
	from := source.local
	path, inData := c.path(from, c.order[s])
	path = append(path, key)
	missing := func(m *machine, container ast.Value) signal {
		m.regs[target] = nil
		if !inData {
			return undefined
		}
		found, err := m.stored(path, container)
		if err != nil {
			return m.fail(err)
		}
		if m.regs[target] = found; found == nil {
			return undefined
		}
		return next
	}
	value, term := key.value, key.term
	if _, isText := value.(ast.String); isText {
		return func(m *machine) signal {
			var found ast.Value
			var err error
			container := m.regs[from]
			if d, ok := container.(*document); ok {
				found, err = d.Get(value)
			} else {
				found, err = lookup(container, value, term)
			}
			if err != nil {
				return m.fail(err)
			}
			if found == nil {
				if inData && isArray(container) {
					return missing(m, container)
				}
				m.regs[target] = nil
				return undefined
			}
			m.regs[target] = found
			return next
		}
	}
	return func(m *machine) signal {
		container := m.regs[from]
		found, err := lookup(container, key.get(m), term)
		if err != nil {
			return m.fail(err)
		}
		if found == nil {
			return missing(m, container)
		}
		m.regs[target] = found
		return next
	}
}

// lookup returns the part of v at key, nil when there is none. The term of the key may be nil.
func lookup(v, key ast.Value, term *ast.Term) (ast.Value, error) {
	switch v := v.(type) {
	case *document:
		return v.Get(key)
	case Lazy:
		key, err := force(key)
		if key == nil || err != nil {
			return nil, err
		}
		return v.Get(key)
	case *ast.Array:
		if n, ok := key.(ast.Number); ok {
			if i, ok := n.Int(); ok && i >= 0 && i < v.Len() {
				return v.Elem(i).Value, nil
			}
		}
	case ast.Object:
		term, err := termOf(key, term)
		if term == nil || err != nil {
			return nil, err
		}
		if t := v.Get(term); t != nil {
			return t.Value, nil
		}
	case ast.Set:
		term, err := termOf(key, term)
		if term == nil || err != nil {
			return nil, err
		}
		if v.Contains(term) {
			return term.Value, nil
		}
	}
	return nil, nil
}

// termOf is the term of a key that may be Lazy or undefined, when it is not known already.
func termOf(key ast.Value, known *ast.Term) (*ast.Term, error) {
	if known != nil {
		return known, nil
	}
	key, err := force(key)
	if key == nil || err != nil {
		return nil, err
	}
	return ast.NewTerm(key), nil
}

func (c *compiler) lenStmt(s *ir.LenStmt) step {
	source, target := c.operand(s.Source), s.Target
	return func(m *machine) signal {
		n, ok, err := length(source.get(m))
		if err != nil {
			return m.fail(err)
		}
		if !ok {
			return undefined
		}
		m.regs[target] = ast.InternedValue(n)
		return next
	}
}

// length is the number of parts of a container; nothing else has one.
func length(v ast.Value) (int, bool, error) {
	switch v := v.(type) {
	case Lazy:
		n, err := v.Len()
		return n, true, err
	case *ast.Array:
		return v.Len(), true, nil
	case ast.Object:
		return v.Len(), true, nil
	case ast.Set:
		return v.Len(), true, nil
	}
	return 0, false, nil
}
