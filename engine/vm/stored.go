package vm

import (
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// OPA reads a reference into data from its store by a path of texts: data.users[1] finds the user "1", and
// data.list["0"] the first element. The same keys find nothing in a variable that holds the same value, in input, in
// what a rule gives and in what "with" has put into data.

// reference compiles a DotStmt of a reference into data, given how it looks its key up by itself. A Tree is asked once,
// where the reference ends, by the path of all its keys: until then nothing is looked at.
func (c *compiler) reference(s *ir.DotStmt, alone step) step {
	keys, ok := c.keys(s)
	if !ok {
		return alone
	}
	if c.follower(s) != nil {
		return func(m *machine) signal {
			if _, ok := m.regs[data].(Tree); ok {
				return next
			}
			return alone(m)
		}
	}
	target := s.Target
	return func(m *machine) signal {
		tree, ok := m.regs[data].(Tree)
		if !ok {
			return alone(m)
		}
		found, err := m.at(tree, keys)
		if err != nil {
			return m.fail(err)
		}
		if m.regs[target] = found; found == nil {
			return undefined
		}
		return next
	}
}

// keys returns those of the reference into data that ends with s.
func (c *compiler) keys(s *ir.DotStmt) ([]operand, bool) {
	keys := []operand{c.operand(s.Key)}
	for at := s; valueOf(at.Source) != ir.Val(ir.Data); {
		l, ok := valueOf(at.Source).(ir.Local)
		if !ok {
			return nil, false
		}
		e, _ := c.source(l, c.order[at])
		before, ok := e.stmt.(*ir.DotStmt)
		if !ok || c.follower(before) != at {
			return nil, false
		}
		key := c.operand(before.Key)
		if !key.constant() && c.writtenBetween(key.local, c.order[before], c.order[s]) {
			return nil, false
		}
		keys, at = append(keys, key), before
	}
	slices.Reverse(keys)
	return keys, true
}

// at finds what the keys lead to in a tree. Only texts and numbers lead anywhere.
func (m *machine) at(tree Tree, keys []operand) (ast.Value, error) {
	path := m.path[:0]
	for i := range keys {
		switch key := keys[i].get(m).(type) {
		case ast.String:
			path = append(path, string(key))
		case ast.Number:
			path = append(path, string(key))
		default:
			return nil, nil
		}
	}
	m.path = path
	return tree.At(path)
}

// path returns the keys by which a register was reached from data within one reference; it is not ok for another.
// Every assignment to a variable is a statement between, so that what follows is another reference.
func (c *compiler) path(l ir.Local, before int) ([]operand, bool) {
	if l == ir.Data {
		return nil, true
	}
	e, ok := c.source(l, before)
	if !ok {
		return nil, false
	}
	var key operand
	switch s := e.stmt.(type) {
	case *ir.DotStmt:
		l, key = c.operand(s.Source).local, c.operand(s.Key)
	case *ir.ScanStmt:
		if l != s.Value {
			return nil, false
		}
		c.reads[s.Key]++
		l, key = s.Source, operand{local: s.Key}
	case *ir.AssignVarStmt:
		// The planner looks into data where a CallDynamicStmt has found no rule.
		former, _ := c.source(l, e.at)
		call, ok := former.stmt.(*ir.CallDynamicStmt)
		if !ok {
			return nil, false
		}
		var keys []operand
		for _, o := range call.Path[1:] {
			keys = append(keys, c.operand(o))
		}
		return keys, true
	default:
		return nil, false
	}
	keys, ok := c.path(l, e.at)
	return append(keys, key), ok
}

// stored looks the last key of a path into data up as OPA's store does, in the container that the other keys have led
// to. It finds nothing in one that is not in the store.
func (m *machine) stored(path []operand, container ast.Value) (ast.Value, error) {
	last := len(path) - 1
	switch path[last].get(m).(type) {
	case ast.String:
		if !isArray(container) {
			return nil, nil
		}
	case ast.Number:
		if !isObject(container) {
			return nil, nil
		}
	default:
		return nil, nil
	}
	v := m.regs[data]
	for i := range path[:last] {
		key := path[i].get(m)
		if p, ok := v.(*patched); ok {
			if s, ok := key.(ast.String); ok && s == p.key {
				if v, ok = p.value.(*patched); !ok {
					return nil, nil
				}
				continue
			}
		}
		var err error
		if v, err = textually(v, key); v == nil || err != nil {
			return nil, err
		}
	}
	if !same(v, container) {
		return nil, nil
	}
	return textually(v, path[last].get(m))
}

// textually looks a key up by its text.
func textually(v, key ast.Value) (ast.Value, error) {
	switch k := key.(type) {
	case ast.Number:
		if isObject(v) {
			key = ast.String(k)
		}
	case ast.String:
		if i, err := strconv.Atoi(string(k)); err == nil && isArray(v) {
			key = ast.InternedValue(i)
		}
	}
	return lookup(v, key, nil)
}
