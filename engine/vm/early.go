package vm

import "github.com/open-policy-agent/opa/v1/ir"

// early knows when a rule needs no further proof. The planner evaluates all bodies of a rule, and each for all
// bindings of its variables, to find conflicts; among values that are one constant there are none.
type early struct {
	result ir.Local // that the bodies of a complete rule or a function assign; negative when there is none
	all    bool     // all bodies assign the same constant
	body   int      // the depth of the blocks around the body being compiled
	same   bool     // this body assigns one constant
}

// earlyOf finds the register that the bodies assign: the one that the function's result is taken from.
func earlyOf(blocks []*ir.Block, result ir.Local) early {
	e := early{result: -1}
	if result < 0 {
		return e
	}
	eachOnce(blocks, func(s *ir.AssignVarOnceStmt) {
		if source, ok := valueOf(s.Source).(ir.Local); ok && s.Target == result && isTail(blocks, s) {
			e.result = source
		}
	})
	e.all = e.result >= 0 && sameConstant(blocks, e.result)
	// What else is assigned to the result itself is the default, which counts only if all bodies are undefined.
	return e
}

// isTail tells whether a statement hands over the result of the bodies: after a check that there is one, and nothing else.
func isTail(blocks []*ir.Block, once *ir.AssignVarOnceStmt) bool {
	for _, b := range blocks {
		if len(b.Stmts) == 2 && b.Stmts[1] == ir.Stmt(once) {
			defined, ok := b.Stmts[0].(*ir.IsDefinedStmt)
			return ok && ir.Val(defined.Source) == valueOf(once.Source)
		}
		for _, s := range b.Stmts {
			if u, _ := usageOf(s); isTail(u.blocks, once) {
				return true
			}
		}
	}
	return false
}

// eachOnce visits the AssignVarOnceStmts of blocks and of all blocks in them.
func eachOnce(blocks []*ir.Block, visit func(*ir.AssignVarOnceStmt)) {
	for _, b := range blocks {
		for _, s := range b.Stmts {
			if once, ok := s.(*ir.AssignVarOnceStmt); ok {
				visit(once)
			}
			u, _ := usageOf(s)
			eachOnce(u.blocks, visit)
		}
	}
}

// sameConstant tells whether all that is assigned to a register is one constant.
func sameConstant(blocks []*ir.Block, target ir.Local) bool {
	var constant ir.Val
	same := true
	eachOnce(blocks, func(s *ir.AssignVarOnceStmt) {
		if s.Target != target {
			return
		}
		_, isLocal := valueOf(s.Source).(ir.Local)
		same = same && !isLocal && (constant == nil || constant == valueOf(s.Source))
		constant = valueOf(s.Source)
	})
	return same && constant != nil
}

// enter notes the beginning of a block, and returns what notes its end. A body begins with a check or a reset of the
// register that it assigns.
func (e *early) enter(b *ir.Block, depth int) func() {
	outer := *e
	if e.result >= 0 && len(b.Stmts) > 0 {
		first := ir.Local(-1)
		switch s := b.Stmts[0].(type) {
		case *ir.ResetLocalStmt:
			first = s.Target
		case *ir.IsUndefinedStmt:
			first = s.Source
		}
		if first == e.result {
			e.body, e.same = depth, sameConstant([]*ir.Block{b}, e.result)
		}
	}
	return func() { *e = outer }
}
