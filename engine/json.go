package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// parseJSON reads exactly one JSON value, straight into the values that policies are evaluated over. Duplicate names,
// invalid UTF-8, excessive nesting and excessive numbers are errors; numbers keep their text.
func parseJSON(b []byte) (ast.Value, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	t, err := readTerm(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return t.Value, nil
}

// moderate bounds numbers. OPA calculates with numbers of any size, so the twelve characters 1e999999999 would fill
// the memory or make its evaluator panic.
func moderate(number string) bool {
	if len(number) > 1024 {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err == nil && -1024 < exponent && exponent < 1024
}

func readTerm(d *jsontext.Decoder) (*ast.Term, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		var pairs [][2]*ast.Term
		for d.PeekKind() != '}' {
			key, err := readTerm(d)
			if err != nil {
				return nil, err
			}
			value, err := readTerm(d)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, [2]*ast.Term{key, value})
		}
		_, err := d.ReadToken()
		return ast.ObjectTerm(pairs...), err
	case '[':
		var elements []*ast.Term
		for d.PeekKind() != ']' {
			element, err := readTerm(d)
			if err != nil {
				return nil, err
			}
			elements = append(elements, element)
		}
		_, err := d.ReadToken()
		return ast.ArrayTerm(elements...), err
	case '"':
		return ast.InternedTerm(token.String()), nil
	case '0':
		text := token.String()
		if !moderate(text) {
			return nil, fmt.Errorf("number %.20s… is beyond the range of numbers", text)
		}
		if t := ast.InternedIntNumberTermFromString(text); t != nil {
			return t, nil
		}
		return ast.NumberTerm(json.Number(text)), nil
	case 't', 'f':
		return ast.InternedTerm(token.Bool()), nil
	case 'n':
		return ast.NullTerm(), nil
	}
	return nil, fmt.Errorf("unexpected %v", token.Kind())
}
