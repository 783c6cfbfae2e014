package vm

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

func (c *compiler) blockStmt(s *ir.BlockStmt) step {
	blocks := make([]block, len(s.Blocks))
	for i, b := range s.Blocks {
		blocks[i] = c.block(b)
	}
	if len(blocks) == 1 {
		only := blocks[0]
		return func(m *machine) signal { return only.run(m).left() }
	}
	return func(m *machine) signal {
		for _, b := range blocks {
			if s := b.run(m).left(); s != next {
				return s
			}
		}
		return next
	}
}

func (c *compiler) breakStmt(s *ir.BreakStmt) step {
	leave := signal(s.Index) + 1
	return func(*machine) signal { return leave }
}

func (c *compiler) notStmt(s *ir.NotStmt) step {
	body := c.block(s.Block)
	return func(m *machine) signal {
		switch s := body.run(m); s {
		case next:
			return undefined
		case undefined:
			return next
		default:
			return s.left()
		}
	}
}

// scanStmt runs its block for every part of a container. A statement that does not hold leaves the block and goes on
// with the next part; to leave the scan itself counts as one block more.
func (c *compiler) scanStmt(s *ir.ScanStmt) step {
	source, key, value := s.Source, s.Key, s.Value
	c.depth++
	body := c.block(s.Block)
	c.depth--
	wantsKey := c.reads[key] > 0

	// each runs the body for one part, and returns what the scan has to do then.
	each := func(m *machine) signal {
		if m.cancelled() {
			return stop
		}
		return body.run(m).left()
	}
	all := func(m *machine, lazy Lazy) signal {
		after := next
		err := lazy.Iter(func(k, v ast.Value) error {
			m.regs[key], m.regs[value] = k, v
			if after = each(m); after != next {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return m.fail(err)
		}
		return after.left()
	}
	return func(m *machine) signal {
		switch v := m.regs[source].(type) {
		case *document:
			parts := v.open()
			for i := range parts.list {
				if wantsKey {
					m.regs[key] = v.key(parts, i)
				}
				m.regs[value] = parts.list[i].value
				if s := each(m); s != next {
					return s.left()
				}
			}
			if parts.err != nil {
				return m.fail(parts.err)
			}
		case *ast.Array:
			for i := range v.Len() {
				if wantsKey {
					m.regs[key] = ast.InternedValue(i)
				}
				m.regs[value] = v.Elem(i).Value
				if s := each(m); s != next {
					return s.left()
				}
			}
		case ast.Set:
			for _, t := range v.Slice() {
				m.regs[key], m.regs[value] = t.Value, t.Value
				if s := each(m); s != next {
					return s.left()
				}
			}
		case ast.Object:
			after := next
			v.Until(func(k, t *ast.Term) bool {
				m.regs[key], m.regs[value] = k.Value, t.Value
				after = each(m)
				return after != next
			})
			return after.left()
		case Lazy:
			return all(m, v)
		}
		return next
	}
}

// withStmt replaces input or data, or a part of it, while its block runs.
func (c *compiler) withStmt(s *ir.WithStmt) step {
	local, value := s.Local, c.operand(s.Value)
	var path []ast.String
	for _, index := range s.Path {
		path = append(path, c.text(index).Value.(ast.String))
	}
	c.replaces = c.replaces || (local == ir.Data && len(path) > 0)
	body := c.block(s.Block)
	return func(m *machine) signal {
		saved, memo := m.regs[local], m.memo
		changed, err := upsert(saved, path, value.get(m))
		if err != nil {
			return m.fail(err)
		}
		m.regs[local] = changed
		m.recall()
		after := body.run(m)
		m.regs[local], m.memo = saved, memo
		if after == undefined {
			return undefined
		}
		return after.left()
	}
}

func (c *compiler) returnLocalStmt(s *ir.ReturnLocalStmt) step {
	source := s.Source
	return func(m *machine) signal {
		m.returned = m.regs[source]
		return stop
	}
}

// callStmt calls a planned function or a builtin.
func (c *compiler) callStmt(s *ir.CallStmt) step {
	args := make([]operand, len(s.Args))
	for i, a := range s.Args {
		args[i] = c.operand(a)
	}
	f := c.functions[s.Func]
	if f == nil {
		return c.callBuiltin(s, args)
	}
	if len(args) != len(f.params) {
		return c.refuse("%d arguments for %s, which takes %d", len(args), f.name, len(f.params))
	}
	c.calls = append(c.calls, f)
	result := s.Result
	if f.isRule() && isDocument(s.Args[0], ir.Input) && isDocument(s.Args[1], ir.Data) {
		return func(m *machine) signal {
			if value := m.memo.slots[f.slot]; value != nil {
				return settle(m, result, value)
			}
			return settle(m, result, f.rule(m))
		}
	}
	return func(m *machine) signal {
		caller := m.regs
		frame := m.push(f)
		for i, p := range f.params {
			if a := &args[i]; a.value != nil {
				frame[p] = a.value
			} else {
				frame[p] = caller[a.local]
			}
		}
		return settle(m, result, m.call(f, frame))
	}
}

func isDocument(o ir.Operand, document ir.Local) bool { return valueOf(o) == ir.Val(document) }

// settle takes the result of a call.
func settle(m *machine, result ir.Local, value ast.Value) signal {
	if m.err != nil {
		return stop
	}
	if _, ok := value.(nothing); ok || value == nil {
		m.regs[result] = nil
		return undefined
	}
	m.regs[result] = value
	return next
}

// rule evaluates a rule for the documents of the caller, and remembers what it gives.
func (f *function) rule(m *machine) ast.Value {
	if value := m.memo.slots[f.slot]; value != nil {
		return value
	}
	frame := m.push(f)
	frame[f.params[0]], frame[f.params[1]] = m.regs[input], m.regs[data]
	value := m.call(f, frame)
	if m.err != nil {
		return nil
	}
	if value == nil {
		value = nothing{}
	}
	m.memo.slots[f.slot] = value
	return value
}

// push returns the cleared frame of the next call.
func (m *machine) push(f *function) []ast.Value {
	end := m.top + f.size
	frame := m.stack[m.top:end:end]
	clear(frame)
	m.high = max(m.high, end)
	return frame
}

// call runs a function in the frame that was pushed for it.
func (m *machine) call(f *function, frame []ast.Value) ast.Value {
	if m.cancelled() {
		return nil
	}
	caller, top, owned := m.regs, m.top, m.owned
	m.regs, m.top = frame, top+f.size
	if f.shares {
		m.owned = map[ast.Value]struct{}{}
	}
	f.run(m)
	m.regs, m.top, m.owned = caller, top, owned
	value := m.returned
	m.returned = nil
	return value
}

// routes are the rules that a CallDynamicStmt may call, by the segments of their paths.
type routes struct {
	rule *function
	next map[ast.String]*routes
}

// callDynamicStmt calls the rule at a path that is known only now. Where there is none, the block after this one
// looks into data instead; a rule that is undefined ends them both, and the planner has put two more blocks around.
func (c *compiler) callDynamicStmt(s *ir.CallDynamicStmt) step {
	path := make([]operand, len(s.Path))
	for i, o := range s.Path {
		path[i] = c.operand(o)
	}
	if len(s.Args) != 2 || s.Args[0] != ir.Input || s.Args[1] != ir.Data {
		return c.refuse("dynamic call with other arguments than input and data")
	}
	root := &routes{}
	for _, f := range c.ordered {
		if f.isRule() && matches(path, f.path) {
			root.add(f)
			c.calls = append(c.calls, f)
		}
	}
	result := s.Result
	return func(m *machine) signal {
		r := root
		for i := range path {
			key, ok := path[i].get(m).(ast.String)
			if r = r.next[key]; !ok || r == nil {
				return undefined
			}
		}
		if r.rule == nil {
			return undefined
		}
		const bothBlocks = 4
		if s := settle(m, result, r.rule.rule(m)); s != undefined {
			return s
		}
		return bothBlocks
	}
}

// matches tells whether a dynamic path may lead to a rule.
func matches(path []operand, rule []string) bool {
	if len(path) != len(rule) {
		return false
	}
	for i := range path {
		if text, ok := path[i].value.(ast.String); path[i].constant() && (!ok || string(text) != rule[i]) {
			return false
		}
	}
	return true
}

func (r *routes) add(f *function) {
	for _, segment := range f.path {
		if r.next == nil {
			r.next = map[ast.String]*routes{}
		}
		to := r.next[ast.String(segment)]
		if to == nil {
			to = &routes{}
			r.next[ast.String(segment)] = to
		}
		r = to
	}
	r.rule = f
}
