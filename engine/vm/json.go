package vm

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
)

// JSON returns the value of a JSON text: scalars as they are, arrays and objects as a Lazy that reads its direct
// members once, when it is first touched, and leaves nested ones as text until they are. The text must have been
// checked before; what is still wrong with it is an error of whoever touches it. The value is safe for concurrent use.
func JSON(text string) (ast.Value, error) {
	text = strings.Trim(text, space)
	if text == "" {
		return nil, errMalformed
	}
	v, end, err := shallowValue(text, 0)
	if err == nil && end != len(text) {
		err = errMalformed
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

const space = " \t\r\n"

var errMalformed = errors.New("malformed JSON")

// document is an array or object of which only the text is known until it is touched.
type document struct {
	Unforced
	text    string // from its opening bracket to the closing one
	members atomic.Pointer[members]
	forced  atomic.Pointer[forced]
}

// members are the parts of a document, objects sorted by key. Concurrent first touches make equal ones, and one wins.
type members struct {
	list []member
	err  error
}

type member struct {
	key   string
	value ast.Value
}

type forced struct {
	value ast.Value
	err   error
}

// linear is up to how many members a search from the first on is quicker than a binary one.
const linear = 12

func (d *document) IsArray() bool { return d.text[0] == '[' }

func (d *document) open() *members {
	if m := d.members.Load(); m != nil {
		return m
	}
	m := &members{}
	m.list, m.err = readMembers(d.text)
	if !d.members.CompareAndSwap(nil, m) {
		return d.members.Load()
	}
	return m
}

func (d *document) Get(key ast.Value) (ast.Value, error) {
	m := d.open()
	if m.err != nil {
		return nil, m.err
	}
	switch key := key.(type) {
	case ast.String:
		if d.text[0] == '{' {
			return m.find(string(key)), nil
		}
	case ast.Number:
		if d.text[0] == '[' {
			if i, ok := key.Int(); ok && i >= 0 && i < len(m.list) {
				return m.list[i].value, nil
			}
		}
	}
	return nil, nil
}

func (m *members) find(key string) ast.Value {
	if len(m.list) > linear {
		i, ok := slices.BinarySearchFunc(m.list, key, func(m member, key string) int { return strings.Compare(m.key, key) })
		if !ok {
			return nil
		}
		return m.list[i].value
	}
	for i := range m.list {
		if m.list[i].key == key {
			return m.list[i].value
		}
	}
	return nil
}

func (d *document) Iter(yield func(key, value ast.Value) error) error {
	m := d.open()
	for i := range m.list {
		if err := yield(d.key(m, i), m.list[i].value); err != nil {
			return err
		}
	}
	return m.err
}

func (d *document) key(m *members, i int) ast.Value {
	if d.text[0] == '[' {
		return ast.InternedValue(i)
	}
	return ast.InternedValue(m.list[i].key)
}

func (d *document) Len() (int, error) {
	m := d.open()
	return len(m.list), m.err
}

func (d *document) Force() (ast.Value, error) {
	if f := d.forced.Load(); f != nil {
		return f.value, f.err
	}
	f := &forced{}
	value, end, err := deepValue(d.text, 0, 0)
	if err == nil && end != len(d.text) {
		err = errMalformed
	}
	if f.err = err; err == nil {
		f.value = value
	}
	// Whoever is first decides, so that the value keeps its identity.
	d.forced.CompareAndSwap(nil, f)
	f = d.forced.Load()
	return f.value, f.err
}
