package policycheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"

	"mandate/directory"
	"mandate/engine"
	"mandate/engine/vm"
)

// scans finds where the plan of a decision reads more than single documents: what the machine would run is looked through, so a key
// that is known when it is used is told from one that stands for all.
func (l *linter) scans(ctx context.Context) {
	var points []string
	for _, name := range entryPoints() {
		if len(l.set.Compiler().GetRulesExact(ast.MustParseRef(name))) > 0 {
			points = append(points, strings.ReplaceAll(strings.TrimPrefix(name, "data."), ".", "/"))
		}
	}
	slices.Sort(points)
	policy, err := vm.Plan(ctx, l.modules, engine.Capabilities(), points)
	if err != nil {
		return // replacements says so
	}
	for _, f := range policy.Funcs.Funcs {
		l.reads(policy, f.Params[1], f.Blocks)
	}
	for _, p := range policy.Plans.Plans {
		l.reads(policy, ir.Data, p.Blocks)
	}
}

// reads looks through blocks, each of which has locals of its own.
func (l *linter) reads(policy *ir.Policy, data ir.Local, blocks []*ir.Block) {
	for _, block := range blocks {
		l.blockReads(policy, data, block)
	}
}

func (l *linter) blockReads(policy *ir.Policy, data ir.Local, block *ir.Block) {
	r := &reads{policy: policy, paths: map[ir.Local][]string{data: {}}, whole: map[ir.Local]*ast.Location{}, report: func(at *ast.Location, path []string) {
		l.find(at, CodeScan, SeverityError,
			"reads all of %s, so a decision takes the longer the more there are: look up one document by its key, or keep what the rule needs in one document below custom/", reference(path))
	}}
	if err := ir.Walk(r, block); err != nil {
		return // it returns what Visit does, which never fails
	}
	for local, at := range r.whole {
		r.report(at, r.paths[local])
	}
}

// anyKey stands in a path for a key that only the evaluation knows.
const anyKey = "\x00"

// reference is the path as Rego has it.
func reference(path []string) string {
	var b strings.Builder
	b.WriteString("data")
	for _, segment := range path {
		if segment == anyKey {
			b.WriteString("[…]")
			continue
		}
		fmt.Fprintf(&b, ".%s", segment)
	}
	return b.String()
}

// reads follows references into the facts through one function of a plan.
type reads struct {
	policy *ir.Policy
	// paths are where locals lead that hold data or what lies between it and documents.
	paths map[ir.Local][]string
	// whole are those that nothing was looked up in yet: what is left of them in the end is used as a value.
	whole  map[ir.Local]*ast.Location
	report func(at *ast.Location, path []string)
}

func (r *reads) Before(any) {}
func (r *reads) After(any)  {}

// Visit implements ir.Visitor.
func (r *reads) Visit(x any) (ir.Visitor, error) {
	switch s := x.(type) {
	case *ir.DotStmt:
		source, ok := s.Source.Value.(*ir.Local) // a plan that was read has pointers
		if !ok {
			return r, nil
		}
		path, ok := r.paths[*source]
		delete(r.whole, *source)
		r.set(s.Target)
		if ok {
			r.lead(s.Target, path, r.key(s.Key), r.at(&s.Location))
		}
	case *ir.ScanStmt:
		path, ok := r.paths[s.Source]
		delete(r.whole, s.Source)
		r.set(s.Key)
		r.set(s.Value)
		if ok {
			r.report(r.at(&s.Location), path)
			r.lead(s.Value, path, anyKey, nil)
		}
	case *ir.AssignVarStmt:
		r.set(s.Target)
	case *ir.CallStmt:
		r.set(s.Result)
	case *ir.ResetLocalStmt:
		r.set(s.Target)
	}
	return r, nil
}

// set notes that a local has another value from now on.
func (r *reads) set(local ir.Local) {
	if at := r.whole[local]; at != nil {
		r.report(at, r.paths[local])
	}
	delete(r.whole, local)
	delete(r.paths, local)
}

// lead notes where a local leads, when that is not yet a document.
func (r *reads) lead(target ir.Local, path []string, key string, at *ast.Location) {
	path = append(slices.Clone(path), key)
	if !interior(path) {
		return
	}
	r.paths[target] = path
	if at != nil {
		r.whole[target] = at
	}
}

func (r *reads) key(o ir.Operand) string {
	if i, ok := o.Value.(*ir.StringIndex); ok {
		return r.policy.Static.Strings[*i].Value
	}
	return anyKey
}

func (r *reads) at(l *ir.Location) *ast.Location {
	at := &ast.Location{Row: l.Row, Col: l.Col}
	if l.File >= 0 && l.File < len(r.policy.Static.Files) {
		at.File = r.policy.Static.Files[l.File].Value
	}
	return at
}

// interior says whether a path ends above the documents. Below custom nobody can tell from the path.
func interior(path []string) bool {
	if path[0] == anyKey {
		return len(path) < 2
	}
	switch depth := directory.DocumentDepth(path); depth {
	case 0:
		return false
	case directory.AnyDepth:
		return len(path) == 1
	default:
		return len(path) < depth
	}
}
