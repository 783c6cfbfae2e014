package vm

import "github.com/open-policy-agent/opa/v1/ast"

// patched is an object with one member replaced or added: what "with data.a as x" makes of data, without reading the
// rest of it.
type patched struct {
	Unforced
	base  ast.Value // an object, lazy or not
	key   ast.String
	value ast.Value
}

// upsert returns v with value at path, sharing all else with v. What is no object on the way is replaced by one.
func upsert(v ast.Value, path []ast.String, value ast.Value) (ast.Value, error) {
	if len(path) == 0 {
		return value, nil
	}
	if !isObject(v) {
		v = ast.InternedEmptyObjectValue
	}
	child, err := lookup(v, path[0], nil)
	if err != nil {
		return nil, err
	}
	if child, err = upsert(child, path[1:], value); err != nil {
		return nil, err
	}
	return &patched{base: v, key: path[0], value: child}, nil
}

func (p *patched) IsArray() bool { return false }

func (p *patched) Get(key ast.Value) (ast.Value, error) {
	if s, ok := key.(ast.String); ok && s == p.key {
		return p.value, nil
	}
	return lookup(p.base, key, nil)
}

func (p *patched) Iter(yield func(key, value ast.Value) error) error {
	due := true
	each := func(key, value ast.Value) error {
		if due {
			order := p.key.Compare(key)
			if order <= 0 {
				due = false
				if err := yield(p.key, p.value); err != nil {
					return err
				}
			}
			if order == 0 {
				return nil
			}
		}
		return yield(key, value)
	}
	var err error
	switch base := p.base.(type) {
	case Lazy:
		err = base.Iter(each)
	case ast.Object:
		err = base.Iter(func(k, v *ast.Term) error { return each(k.Value, v.Value) })
	}
	if err != nil || !due {
		return err
	}
	return yield(p.key, p.value)
}

func (p *patched) Len() (int, error) {
	n := 0
	err := p.Iter(func(ast.Value, ast.Value) error {
		n++
		return nil
	})
	return n, err
}

func (p *patched) Force() (ast.Value, error) {
	var pairs [][2]*ast.Term
	err := p.Iter(func(key, value ast.Value) error {
		value, err := force(value)
		pairs = append(pairs, [2]*ast.Term{ast.NewTerm(key), ast.NewTerm(value)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return ast.NewObject(pairs...), nil
}
