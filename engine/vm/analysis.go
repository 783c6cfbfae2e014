package vm

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ir"
)

// usage is what a statement itself, without the blocks in it, does to the registers.
type usage struct {
	reads   []ir.Local
	writes  []ir.Local
	mutates []ir.Local // changes the container in the register
	blocks  []*ir.Block
}

// valueOf is the value of an operand, which is a pointer when the plan was read from JSON.
func valueOf(o ir.Operand) ir.Val {
	switch v := o.Value.(type) {
	case *ir.Local:
		return *v
	case *ir.StringIndex:
		return *v
	case *ir.Bool:
		return *v
	}
	return o.Value
}

func (u *usage) read(operands ...ir.Operand) {
	for _, o := range operands {
		if l, ok := valueOf(o).(ir.Local); ok {
			u.reads = append(u.reads, l)
		}
	}
}

// usageOf knows every statement of the IR; it is not ok for one that came later.
func usageOf(s ir.Stmt) (u usage, ok bool) {
	switch s := s.(type) {
	case *ir.ReturnLocalStmt:
		u.reads = []ir.Local{s.Source}
	case *ir.CallStmt:
		u.read(s.Args...)
		u.writes = []ir.Local{s.Result}
	case *ir.CallDynamicStmt:
		u.read(s.Path...)
		u.reads = append(u.reads, s.Args...)
		u.writes = []ir.Local{s.Result}
	case *ir.BlockStmt:
		u.blocks = s.Blocks
	case *ir.DotStmt:
		u.read(s.Source, s.Key)
		u.writes = []ir.Local{s.Target}
	case *ir.LenStmt:
		u.read(s.Source)
		u.writes = []ir.Local{s.Target}
	case *ir.ScanStmt:
		u.reads = []ir.Local{s.Source}
		u.writes = []ir.Local{s.Key, s.Value}
		u.blocks = []*ir.Block{s.Block}
	case *ir.NotStmt:
		u.blocks = []*ir.Block{s.Block}
	case *ir.AssignIntStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.AssignVarStmt:
		u.read(s.Source)
		u.writes = []ir.Local{s.Target}
	case *ir.AssignVarOnceStmt:
		u.read(s.Source)
		u.writes = []ir.Local{s.Target}
	case *ir.ResetLocalStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeNullStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeNumberIntStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeNumberRefStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeArrayStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeObjectStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.MakeSetStmt:
		u.writes = []ir.Local{s.Target}
	case *ir.EqualStmt:
		u.read(s.A, s.B)
	case *ir.NotEqualStmt:
		u.read(s.A, s.B)
	case *ir.IsArrayStmt:
		u.read(s.Source)
	case *ir.IsObjectStmt:
		u.read(s.Source)
	case *ir.IsSetStmt:
		u.read(s.Source)
	case *ir.IsDefinedStmt:
		u.reads = []ir.Local{s.Source}
	case *ir.IsUndefinedStmt:
		u.reads = []ir.Local{s.Source}
	case *ir.ArrayAppendStmt:
		u.read(s.Value)
		u.mutates = []ir.Local{s.Array}
	case *ir.ObjectInsertStmt:
		u.read(s.Key, s.Value)
		u.mutates = []ir.Local{s.Object}
	case *ir.ObjectInsertOnceStmt:
		u.read(s.Key, s.Value)
		u.mutates = []ir.Local{s.Object}
	case *ir.ObjectMergeStmt:
		u.reads = []ir.Local{s.A, s.B}
		u.writes = []ir.Local{s.Target}
	case *ir.SetAddStmt:
		u.read(s.Value)
		u.mutates = []ir.Local{s.Set}
	case *ir.WithStmt:
		u.read(s.Value)
		u.writes = []ir.Local{s.Local}
		u.blocks = []*ir.Block{s.Block}
	case *ir.ResultSetAddStmt:
		u.reads = []ir.Local{s.Value}
	case *ir.BreakStmt, *ir.NopStmt:
	default:
		return u, false
	}
	return u, true
}

// event is a statement that uses a register: to read it, to change the container in it, or to give it another value.
type event struct {
	stmt    ir.Stmt
	at      int // in the order of the text
	mutated bool
	written bool
	made    bool        // written by a statement that makes a container
	shared  *ir.DotStmt // beside a statement that makes a container: may find it in another one instead
}

// flow is what is known of a function or plan before its statements are compiled.
type flow struct {
	size    int
	reads   []int // by register, without statements that are dead
	events  [][]event
	order   map[ir.Stmt]int
	scope   map[ir.Stmt]*ir.Block // the block that is undefined when the statement is
	shares  bool                  // some events are shared
	illegal string
}

// flowOf reads the blocks of a function.
func flowOf(blocks []*ir.Block, locals ...ir.Local) *flow {
	f := &flow{order: map[ir.Stmt]int{}, scope: map[ir.Stmt]*ir.Block{}}
	f.grow(append(locals, ir.Input, ir.Data))
	for _, b := range blocks {
		f.collect(b, b)
	}
	for _, l := range locals {
		f.reads[l]++ // parameters and the result are the caller's
	}
	f.bury(blocks)
	return f
}

func (f *flow) grow(locals []ir.Local) {
	for _, l := range locals {
		if l < 0 {
			f.illegal = "negative register"
			continue
		}
		for int(l) >= f.size {
			f.size++
			f.reads = append(f.reads, 0)
			f.events = append(f.events, nil)
		}
	}
}

func (f *flow) collect(b, scope *ir.Block) {
	beside, shared := nested(b)
	for _, s := range b.Stmts {
		u, ok := usageOf(s)
		if !ok {
			f.illegal = "unknown statement"
			return
		}
		f.order[s], f.scope[s] = len(f.order), scope
		f.grow(slices.Concat(u.reads, u.writes, u.mutates))
		if f.illegal != "" {
			return
		}
		for _, l := range u.reads {
			f.reads[l]++
			f.events[l] = append(f.events[l], event{stmt: s, at: f.order[s]})
		}
		for _, l := range u.mutates {
			f.events[l] = append(f.events[l], event{stmt: s, at: f.order[s], mutated: true})
		}
		for _, l := range u.writes {
			e := event{stmt: s, at: f.order[s], written: true, made: makes(s)}
			if s == shared {
				e.shared = beside
			}
			f.events[l] = append(f.events[l], e)
		}
		f.shares = f.shares || (shared != nil && s == shared)
		for _, inner := range u.blocks {
			if transparent(b, s) {
				f.collect(inner, scope)
			} else {
				f.collect(inner, inner)
			}
		}
	}
}

// transparent recognizes the two blocks that the planner puts around the end of a reference into data where no rule can be:
// the inner one leaves both with a result, and the statement after it leaves the block around both without
// one. So a statement in them that is undefined makes the block around them undefined.
func transparent(b *ir.Block, s ir.Stmt) bool {
	nested, ok := s.(*ir.BlockStmt)
	return ok && len(nested.Blocks) == 1 && (extent(nested.Blocks[0]) || extent(b))
}

// extent tells whether b is the outer one of the two blocks.
func extent(b *ir.Block) bool {
	if len(b.Stmts) != 2 || !leaves(b.Stmts[1]) {
		return false
	}
	nested, ok := b.Stmts[0].(*ir.BlockStmt)
	if !ok || len(nested.Blocks) != 1 {
		return false
	}
	inner := nested.Blocks[0].Stmts
	return len(inner) > 0 && leaves(inner[len(inner)-1])
}

func leaves(s ir.Stmt) bool {
	leave, ok := s.(*ir.BreakStmt)
	return ok && leave.Index == 1
}

func makes(s ir.Stmt) bool {
	switch s.(type) {
	case *ir.MakeArrayStmt, *ir.MakeObjectStmt, *ir.MakeSetStmt:
		return true
	}
	return false
}

// nested recognizes how the planner reaches a container inside of another one, to change it: a block that looks for
// it and leaves, and after that the statement that makes it. Both are returned. Partial rules with nested keys need it.
func nested(b *ir.Block) (*ir.DotStmt, ir.Stmt) {
	if len(b.Stmts) != 2 || !makes(b.Stmts[1]) {
		return nil, nil
	}
	look, ok := b.Stmts[0].(*ir.BlockStmt)
	if !ok || len(look.Blocks) != 1 || len(look.Blocks[0].Stmts) != 2 {
		return nil, nil
	}
	dot, ok := look.Blocks[0].Stmts[0].(*ir.DotStmt)
	if !ok {
		return nil, nil
	}
	if u, _ := usageOf(b.Stmts[1]); u.writes[0] != dot.Target {
		return nil, nil
	}
	return dot, b.Stmts[1]
}

// source is the event that gave a register its value before the statement at a position.
func (f *flow) source(l ir.Local, at int) (event, bool) {
	for _, e := range slices.Backward(f.events[l]) {
		if e.at < at && e.written {
			return e, true
		}
	}
	return event{}, false
}

// follower returns the DotStmt of the same block that alone reads what s has found, and looks further in it; nil
// when there is none.
func (f *flow) follower(s *ir.DotStmt) *ir.DotStmt {
	events := f.events[s.Target]
	i := slices.IndexFunc(events, func(e event) bool { return e.stmt == ir.Stmt(s) && e.written })
	rest := events[i+1:]
	if len(rest) == 0 || rest[0].written || (len(rest) > 1 && !rest[1].written) {
		return nil
	}
	dot, ok := rest[0].stmt.(*ir.DotStmt)
	if !ok || valueOf(dot.Source) != ir.Val(s.Target) || f.scope[dot] != f.scope[s] {
		return nil
	}
	return dot
}

// writtenBetween tells whether a register gets another value between two positions.
func (f *flow) writtenBetween(l ir.Local, from, to int) bool {
	return slices.ContainsFunc(f.events[l], func(e event) bool { return e.written && e.at > from && e.at < to })
}

// mutatedAfter tells whether the container that a register holds after a position is changed later.
func (f *flow) mutatedAfter(l ir.Local, at int) bool {
	for _, e := range f.events[l] {
		if e.at > at && (e.mutated || e.written) {
			return e.mutated
		}
	}
	return false
}

// bury takes assignments to registers that nobody reads out of the count, until none is left. They are most of what
// the planner makes of wildcards.
func (f *flow) bury(blocks []*ir.Block) {
	buried := map[ir.Stmt]bool{}
	for {
		before := len(buried)
		var walk func([]*ir.Block)
		walk = func(blocks []*ir.Block) {
			for _, b := range blocks {
				for _, s := range b.Stmts {
					u, _ := usageOf(s)
					if assign, ok := s.(*ir.AssignVarStmt); ok && f.reads[assign.Target] == 0 && !buried[s] {
						buried[s] = true
						for _, l := range u.reads {
							f.reads[l]--
						}
					}
					walk(u.blocks)
				}
			}
		}
		walk(blocks)
		if len(buried) == before {
			return
		}
	}
}
