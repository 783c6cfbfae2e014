package vm

import (
	"errors"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Lazy is an array or object whose parts are made when a policy asks for them. Only input and data are Lazy, and what
// is found below them: a Lazy is forced before it reaches a builtin, a comparison, a constructed value or a result.
//
// An implementation embeds Unforced for the methods of ast.Value. Its parts are ordinary values or Lazy again. Any
// error of its methods ends the evaluation and is returned by Run, wrapped.
type Lazy interface {
	ast.Value
	// IsArray tells an array, whose keys are its indices, from an object.
	IsArray() bool
	// Get returns the part at key, and nil when there is none. The key is not Lazy.
	Get(key ast.Value) (ast.Value, error)
	// Iter yields the parts in OPA's order: objects by their sorted keys, arrays by index. An error of yield ends it
	// and is returned as it is.
	Iter(yield func(key, value ast.Value) error) error
	// Len is the number of parts.
	Len() (int, error)
	// Force returns the ordinary OPA value with nothing Lazy in it. Nobody may change it.
	Force() (ast.Value, error)
}

// Tree is a Lazy that finds what a reference leads to by its whole path, as OPA's store does: then nothing on the way
// has to be looked at, and what is there as a whole need not be known. Data may be one.
type Tree interface {
	Lazy
	// At returns the part at a path of texts, which may be Lazy, and nil when there is none. Elements of arrays are
	// found by the text of their index. To ask twice for an array or object gives the same one.
	At(path []string) (ast.Value, error)
}

// Unforced has the methods that make a Lazy an ast.Value. The machine calls none of them.
type Unforced struct{}

// Compare makes no value equal to one that is not forced.
func (Unforced) Compare(ast.Value) int { return 1 }

// Find finds nothing.
func (Unforced) Find(ast.Ref) (ast.Value, error) { return nil, errUnforced }

// Hash is the same for all.
func (Unforced) Hash() int { return 0 }

// IsGround is true: input and data hold no variables.
func (Unforced) IsGround() bool { return true }

func (Unforced) String() string { return "<unforced>" }

// StringLength is the length of String.
func (Unforced) StringLength() int { return len("<unforced>") }

var errUnforced = errors.New("value was not forced")

// errEnough ends an iteration that needs no more parts.
var errEnough = errors.New("enough")

// force returns the ordinary value of v.
func force(v ast.Value) (ast.Value, error) {
	if lazy, ok := v.(Lazy); ok {
		return lazy.Force()
	}
	return v, nil
}

// equal compares as Rego's == does: numbers by value, containers by their parts. A missing value equals only another.
func equal(a, b ast.Value) (bool, error) {
	switch a := a.(type) {
	case ast.String:
		s, ok := b.(ast.String)
		return ok && a == s, nil
	case ast.Boolean:
		t, ok := b.(ast.Boolean)
		return ok && a == t, nil
	case ast.Null:
		_, ok := b.(ast.Null)
		return ok, nil
	case nil:
		return b == nil, nil
	}
	if b == nil {
		return false, nil
	}
	a, err := force(a)
	if err != nil {
		return false, err
	}
	if b, err = force(b); err != nil {
		return false, err
	}
	return ast.Compare(a, b) == 0, nil
}

// shallow returns a new object with the members of o, none when it is nil.
func shallow(o ast.Object) ast.Object {
	if o == nil {
		return ast.NewObject()
	}
	fresh := ast.NewObjectWithCapacity(o.Len() + 1)
	o.Foreach(fresh.Insert)
	return fresh
}

// merge lays virtual documents under base ones: objects are merged recursively, else the base document wins.
func merge(base, virtual ast.Value) ast.Value {
	a, ok := base.(ast.Object)
	if !ok {
		return base
	}
	b, ok := virtual.(ast.Object)
	if !ok {
		return base
	}
	merged, _ := a.MergeWith(b, func(x, y *ast.Term) (*ast.Term, bool) {
		return ast.NewTerm(merge(x.Value, y.Value)), false
	})
	return merged
}

// clone returns a new set with the elements of s.
func clone(s ast.Set) ast.Set { return ast.NewSet(slices.Clone(s.Slice())...) }
