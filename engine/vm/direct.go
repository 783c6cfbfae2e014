package vm

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
)

// direct returns a shortcut past a builtin of OPA, nil when there is none. There are few: comparisons, type tests, count and
// "in", which OPA's own cannot answer without all of a Lazy being made. A shortcut returns nil for what it leaves to
// the builtin, such as operands of wrong types.
func direct(name string, args []operand) func(*machine) (ast.Value, error) {
	switch name {
	case ast.IsString.Name:
		return test(args, func(v ast.Value) bool { _, ok := v.(ast.String); return ok })
	case ast.IsNumber.Name:
		return test(args, func(v ast.Value) bool { _, ok := v.(ast.Number); return ok })
	case ast.IsBoolean.Name:
		return test(args, func(v ast.Value) bool { _, ok := v.(ast.Boolean); return ok })
	case ast.IsNull.Name:
		return test(args, func(v ast.Value) bool { _, ok := v.(ast.Null); return ok })
	case ast.IsArray.Name:
		return test(args, isArray)
	case ast.IsObject.Name:
		return test(args, isObject)
	case ast.IsSet.Name:
		return test(args, isSet)
	case ast.NotEqual.Name:
		return compare(args, false)
	case ast.Equal.Name:
		return compare(args, true)
	case ast.Count.Name:
		return count(args)
	case ast.Member.Name:
		return member2(args)
	}
	return nil
}

func test(args []operand, is func(ast.Value) bool) func(*machine) (ast.Value, error) {
	if len(args) != 1 {
		return nil
	}
	a := args[0]
	return func(m *machine) (ast.Value, error) {
		v := a.get(m)
		if v == nil {
			return nil, nil
		}
		return ast.InternedValue(is(v)), nil
	}
}

func compare(args []operand, want bool) func(*machine) (ast.Value, error) {
	if len(args) != 2 {
		return nil
	}
	a, b := args[0], args[1]
	return func(m *machine) (ast.Value, error) {
		x, y := a.get(m), b.get(m)
		if x == nil || y == nil {
			return nil, nil
		}
		same, err := equal(x, y)
		return ast.InternedValue(same == want), err
	}
}

func count(args []operand) func(*machine) (ast.Value, error) {
	if len(args) != 1 {
		return nil
	}
	a := args[0]
	return func(m *machine) (ast.Value, error) {
		n, ok, err := length(a.get(m))
		if !ok || err != nil {
			return nil, err
		}
		return ast.InternedValue(n), nil
	}
}

// member2 is the operator "in" without a key.
func member2(args []operand) func(*machine) (ast.Value, error) {
	if len(args) != 2 {
		return nil
	}
	a, b := args[0], args[1]
	return func(m *machine) (ast.Value, error) {
		wanted := a.get(m)
		if wanted == nil {
			return nil, nil
		}
		found := false
		switch v := b.get(m).(type) {
		case *ast.Array:
			for i := 0; i < v.Len() && !found; i++ {
				var err error
				if found, err = equal(wanted, v.Elem(i).Value); err != nil {
					return nil, err
				}
			}
		case Lazy:
			err := v.Iter(func(_, part ast.Value) error {
				same, err := equal(wanted, part)
				if found = same; same && err == nil {
					err = errEnough
				}
				return err
			})
			if err != nil && !errors.Is(err, errEnough) {
				return nil, err
			}
		default:
			return nil, nil
		}
		return ast.InternedValue(found), nil
	}
}
