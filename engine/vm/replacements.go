package vm

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// orderReplacements puts the "with" of input and data before those of functions, which changes nothing for them. The
// planner takes the former for one another when a function comes first.
func orderReplacements(modules map[string]*ast.Module) {
	functions, rules := map[string]bool{}, map[string]bool{}
	for _, module := range modules {
		for _, rule := range module.Rules {
			path := module.Package.Path.Extend(rule.Head.Ref()).String()
			rules[path] = true
			if len(rule.Head.Args) > 0 {
				functions[path] = true
			}
		}
	}
	for _, module := range modules {
		isFunction := func(w *ast.With) bool {
			ref, ok := w.Target.Value.(ast.Ref)
			if !ok {
				ref = ast.Ref{w.Target}
			}
			ref = resolve(module, ref, rules)
			if ref.HasPrefix(ast.InputRootRef) {
				return false
			}
			return !ref.HasPrefix(ast.DefaultRootRef) || functions[ref.String()]
		}
		ast.WalkExprs(module, func(e *ast.Expr) bool {
			slices.SortStableFunc(e.With, func(a, b *ast.With) int {
				switch x, y := isFunction(a), isFunction(b); {
				case y && !x:
					return -1
				case x && !y:
					return 1
				}
				return 0
			})
			return false
		})
	}
}

// resolve returns what a reference of a module means: the path of an import or of a rule of its package, or itself.
func resolve(module *ast.Module, ref ast.Ref, rules map[string]bool) ast.Ref {
	name, ok := ref[0].Value.(ast.Var)
	if !ok {
		return ref
	}
	for _, i := range module.Imports {
		if path, ok := i.Path.Value.(ast.Ref); ok && i.Name() == name {
			return path.Concat(ref[1:])
		}
	}
	own := module.Package.Path.Append(ast.StringTerm(string(name))).Concat(ref[1:])
	if rules[own.String()] {
		return own
	}
	return ref
}
