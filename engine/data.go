package engine

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/engine/vm"
)

// root is the data document as Mandate's machine reads it: by the whole path of a reference at once, so that what lies
// between need not be looked at.
type root struct {
	vm.Unforced
	ctx   context.Context
	facts *facts
}

func (f *facts) root(ctx context.Context) *root { return &root{ctx: ctx, facts: f} }

func (r *root) IsArray() bool { return false }

// At implements vm.Tree.
func (r *root) At(path []string) (ast.Value, error) { return r.facts.lookup(r.ctx, path) }

func (r *root) Get(key ast.Value) (ast.Value, error) {
	if s, ok := key.(ast.String); ok {
		return r.facts.lookup(r.ctx, []string{string(s)})
	}
	return nil, nil
}

func (r *root) Iter(yield func(key, value ast.Value) error) error {
	all, err := r.Force()
	if err != nil {
		return err
	}
	return all.(ast.Object).Iter(func(key, value *ast.Term) error { return yield(key.Value, value.Value) })
}

func (r *root) Len() (int, error) {
	all, err := r.Force()
	if err != nil {
		return 0, err
	}
	return all.(ast.Object).Len(), nil
}

func (r *root) Force() (ast.Value, error) { return r.facts.all(r.ctx) }
