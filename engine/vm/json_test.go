package vm_test

import (
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"mandate/engine/vm"
)

// walk touches every part of a value the lazy way and returns the ordinary one made of them.
func walk(v ast.Value) (ast.Value, error) {
	l, ok := v.(vm.Lazy)
	if !ok {
		return v, nil
	}
	var elements []*ast.Term
	var pairs [][2]*ast.Term
	err := l.Iter(func(key, value ast.Value) error {
		found, err := l.Get(key)
		if err != nil {
			return err
		}
		part, err := walk(found)
		if err != nil {
			return err
		}
		elements = append(elements, ast.NewTerm(part))
		pairs = append(pairs, [2]*ast.Term{ast.NewTerm(key), ast.NewTerm(part)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if l.IsArray() {
		return ast.NewArray(elements...), nil
	}
	return ast.NewObject(pairs...), nil
}

func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{"a": [1, -0.5e+3, "\u00e9\ud83d\ude00\n"], "": null, "b": {"c": [[]], "d": {}}}`, `[true, false]`, `"x"`, `12`,
		`{"a": 1, "a": 2}`, `[1,]`, `{"a" 1}`, `{`, `["`, `"\`, `"\u12`, `"\ud800"`, `[01]`, `[1e9999]`, `[}`, `nul`, ` `, `{"a":}`,
		strings.Repeat("[", 30) + strings.Repeat("]", 30), `{"k1":1,"k2":2,"k3":3,"k4":4,"k5":5,"k6":6,"k7":7,"k8":8,"k9":9,"ka":1,"kb":2,"kc":3,"kd":4}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := vm.JSON(text)
		if err != nil {
			return
		}
		touched, err := walk(v)
		forced := v
		var forceErr error
		if l, ok := v.(vm.Lazy); ok {
			forced, forceErr = l.Force()
		}
		if (err == nil) != (forceErr == nil) {
			t.Fatalf("touching gives %v, forcing %v", err, forceErr)
		}
		if err != nil {
			return
		}
		if touched.Compare(forced) != 0 {
			t.Fatalf("touching gives %v, forcing %v", touched, forced)
		}
		var plain any
		if err := util.UnmarshalJSON([]byte(text), &plain); err != nil {
			return // this parser also refuses what the check of texts before would refuse
		}
		// The other parser replaces what is no UTF-8.
		if want, err := ast.InterfaceToValue(plain); err == nil && strings.ToValidUTF8(text, "") == text && want.Compare(forced) != 0 {
			t.Fatalf("is %v, not %v", forced, want)
		}
	})
}

func TestMalformedJSONFailsWhenTouched(t *testing.T) {
	for _, text := range []string{
		`{"a" 1}`, `[1,]`, `[1 2]`, `{"a":1,}`, `{1:2}`, `{"a":1,"a":2}`, `["\q"]`, `["\ud800"]`, `["\ud800\u0041"]`, `[01]`,
		`[1.]`, `[1e]`, `[-]`, `[1e1024]`, `[1e-1024]`, `[` + strings.Repeat("9", 1025) + `]`, `[tru]`, "[\"a\x01\"]", `[}`, `{]`,
		`{"a":[1,]}`, `[[[[1 1]]]]`,
	} {
		v, err := vm.JSON(text)
		if err == nil {
			_, err = walk(v)
		}
		if err == nil {
			t.Errorf("%.30s is read as %v", text, v)
		}
	}
}
