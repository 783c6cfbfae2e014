package vm

import "github.com/open-policy-agent/opa/v1/ast"

// memo holds the values of the rules that were evaluated for one pair of input and data. A "with" that replaces one
// of them begins another memo; the former counts again as soon as both documents are back, which the planner does by
// one more "with" around what follows.
type memo struct {
	input, data ast.Value
	slots       []ast.Value // by function; nil is not evaluated yet
	outer       *memo
}

// nothing in a slot of a memo is the result of a rule that is undefined.
type nothing struct{ Unforced }

// recall makes the memo for the documents of the running function the current one.
func (m *machine) recall() {
	for known := m.memo; known != nil; known = known.outer {
		if same(known.input, m.regs[input]) && same(known.data, m.regs[data]) {
			m.memo = known
			return
		}
	}
	m.memo = &memo{
		input: m.regs[input],
		data:  m.regs[data],
		slots: make([]ast.Value, len(m.root.slots)),
		outer: m.memo,
	}
}

// same tells whether two documents are known to be one. To take one for two costs only time.
func same(a, b ast.Value) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case *document, *patched, *ast.Array, ast.Object, ast.Boolean, ast.String, ast.Number, ast.Null:
		return a == b
	case Lazy:
		other, ok := b.(Lazy)
		return ok && a == other
	}
	return false
}
