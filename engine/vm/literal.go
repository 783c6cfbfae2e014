package vm

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// literal is an array, object or set that a policy spells out. The planner makes it empty and inserts its parts one
// by one; here it is made at once, and only once when all its parts are constants.
type literal struct {
	made   ir.Stmt
	target ir.Local
	items  []item
	last   int // the statement after which it is complete
}

// item is an element, or a member if it has a key.
type item struct{ key, value part }

// part of a literal is an operand, or a literal itself.
type part struct {
	operand
	nested *literal
}

// literal compiles the statements that make a container, and tells how many they are; none when the first makes none.
func (c *compiler) literal(stmts []ir.Stmt) (step, int) {
	if !makes(stmts[0]) {
		return nil, 0
	}
	l, n := c.parse(stmts)
	if len(l.items) == 0 {
		return c.fresh(l.made, l.target), 1
	}
	// A container that is changed later is made anew each time, part by part like any other.
	if c.mutatedAfter(l.target, l.last) {
		return c.fresh(l.made, l.target), 1
	}
	if value := l.fold(); value != nil {
		return c.assign(l.target, c.constant(ast.NewTerm(value))), n
	}
	target := l.target
	return func(m *machine) signal {
		value, err := l.build(m)
		if err != nil {
			return m.fail(err)
		}
		if m.regs[target] = value; value == nil {
			return undefined
		}
		return next
	}, n
}

// parse reads the statements from the one that makes a container to the last that puts a part into it.
func (c *compiler) parse(stmts []ir.Stmt) (*literal, int) {
	u, _ := usageOf(stmts[0])
	l := &literal{made: stmts[0], target: u.writes[0], last: c.order[stmts[0]]}
	end := 1
	pending := map[ir.Local]part{} // made for the next item
	for at := 1; at < len(stmts); {
		switch s := stmts[at].(type) {
		case *ir.MakeNumberRefStmt:
			pending[s.Target] = part{operand: c.number(s.Index)}
			at++
		case *ir.MakeNumberIntStmt:
			pending[s.Target] = part{operand: c.integer(s.Value)}
			at++
		case *ir.MakeNullStmt:
			pending[s.Target] = part{operand: c.constant(ast.InternedNullTerm)}
			at++
		case *ir.MakeArrayStmt, *ir.MakeObjectStmt, *ir.MakeSetStmt:
			nested, n := c.parse(stmts[at:])
			pending[nested.target] = part{nested: nested}
			at += n
		case *ir.ArrayAppendStmt:
			if s.Array != l.target {
				return l, end
			}
			l.items = append(l.items, item{value: c.part(s.Value, pending)})
			at++
			end = at
		case *ir.SetAddStmt:
			if s.Set != l.target {
				return l, end
			}
			l.items = append(l.items, item{value: c.part(s.Value, pending)})
			at++
			end = at
		case *ir.ObjectInsertStmt:
			if s.Object != l.target {
				return l, end
			}
			l.items = append(l.items, item{c.part(s.Key, pending), c.part(s.Value, pending)})
			at++
			end = at
		default:
			return l, end
		}
		if end == at {
			l.last = c.order[stmts[end-1]]
			if len(pending) > 0 && c.outlives(pending, l.last) {
				l.items = nil
				return l, 1
			}
			clear(pending)
		}
	}
	return l, end
}

// outlives tells whether something made for an item is used elsewhere too, and so needs its register.
func (c *compiler) outlives(pending map[ir.Local]part, at int) bool {
	for local := range pending {
		for _, e := range c.events[local] {
			if e.at > at {
				if !e.written {
					return true
				}
				break
			}
		}
	}
	return false
}

func (c *compiler) part(o ir.Operand, pending map[ir.Local]part) part {
	if l, ok := valueOf(o).(ir.Local); ok {
		if p, ok := pending[l]; ok {
			return p
		}
	}
	return part{operand: c.operand(o)}
}

// fold returns the value of a literal of constants only, nil for any other.
func (l *literal) fold() ast.Value {
	_, keyed := l.made.(*ir.MakeObjectStmt)
	for index := range l.items {
		i := &l.items[index]
		if (keyed && !i.key.folds()) || !i.value.folds() {
			return nil
		}
	}
	// Without registers there is nothing that the machine is needed for, and nothing that can fail.
	value, _ := l.build(&machine{})
	return value
}

func (p *part) folds() bool {
	if p.nested != nil {
		value := p.nested.fold()
		if value != nil {
			p.operand, p.nested = operand{term: ast.NewTerm(value), value: value}, nil
		}
		return value != nil
	}
	return p.constant()
}

// build makes a part. It is nil when the part is undefined.
func (p *part) build(m *machine) (*ast.Term, error) {
	if p.nested == nil {
		return p.forcedTerm(m)
	}
	value, err := p.nested.build(m)
	if value == nil || err != nil {
		return nil, err
	}
	return m.term(value), nil
}

// build makes the container. It is nil when a part is undefined.
func (l *literal) build(m *machine) (ast.Value, error) {
	if _, ok := l.made.(*ir.MakeObjectStmt); ok {
		return l.object(m)
	}
	elements := make([]*ast.Term, len(l.items))
	for i := range l.items {
		t, err := l.items[i].value.build(m)
		if t == nil || err != nil {
			return nil, err
		}
		elements[i] = t
	}
	if _, ok := l.made.(*ir.MakeSetStmt); ok {
		return ast.NewSet(elements...), nil
	}
	return ast.NewArray(elements...), nil
}

func (l *literal) object(m *machine) (ast.Value, error) {
	object := ast.NewObjectWithCapacity(len(l.items))
	for i := range l.items {
		key, err := l.items[i].key.build(m)
		if key == nil || err != nil {
			return nil, err
		}
		value, err := l.items[i].value.build(m)
		if value == nil || err != nil {
			return nil, err
		}
		object.Insert(key, value)
	}
	return object, nil
}

// yield compiles the end of a query: an object of its variables that becomes a result. It stays a list of bindings.
func (c *compiler) yield(stmts []ir.Stmt) (step, int) {
	object, ok := stmts[0].(*ir.MakeObjectStmt)
	if !ok {
		return nil, 0
	}
	var names []string
	var values []operand
	for i, s := range stmts[1:] {
		switch s := s.(type) {
		case *ir.ObjectInsertStmt:
			name, isText := valueOf(s.Key).(ir.StringIndex)
			if s.Object != object.Target || !isText {
				return nil, 0
			}
			names = append(names, string(c.text(int(name)).Value.(ast.String)))
			values = append(values, c.operand(s.Value))
		case *ir.ResultSetAddStmt:
			if s.Value != object.Target {
				return nil, 0
			}
			return resultSetAddStmt(names, values), i + 2
		default:
			return nil, 0
		}
	}
	return nil, 0
}

func resultSetAddStmt(names []string, values []operand) step {
	return func(m *machine) signal {
		result := make(Result, len(names))
		for i := range names {
			value, err := force(values[i].get(m))
			if err != nil {
				return m.fail(err)
			}
			if value == nil {
				return undefined
			}
			result[i] = Binding{names[i], value}
		}
		m.results = append(m.results, result)
		return next
	}
}
