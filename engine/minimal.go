package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// Bounds of finding what a decision rests on.
const (
	maxReductions    = 5000
	maxReductionTime = 5 * time.Second
)

// ErrUnrepeatable is returned for a decision that is another each time.
var ErrUnrepeatable = errors.New("the decision is another each time that it is made")

// Minimal is what a decision comes to the same by: no fact, and no member of a fact or of the input, can be left out without it becoming
// another, unless the search reached its end first.
type Minimal struct {
	Decision *Decision
	Facts    map[string]json.RawMessage // by path
	Input    json.RawMessage
}

// Minimal finds what the decision of q rests on.
func (e *Engine) Minimal(ctx context.Context, r *memo.Reading, set *PolicySet, q Question) (Minimal, error) {
	in, err := q.Input(r)
	if err != nil {
		return Minimal{}, err
	}
	seen := &supposed{Reader: r, kept: map[datastore.Path][]byte{}, scanned: map[datastore.Path][]byte{}}
	d, err := e.Again(ctx, memo.Over(seen), set, q.Point, in, q.Asked)
	if err != nil {
		return Minimal{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, maxReductionTime)
	defer cancel()
	m := &reduction{engine: e, set: set, question: q, in: in, at: r.Revision(), wanted: d, left: maxReductions, facts: map[datastore.Path][]byte{}}
	maps.Copy(m.facts, seen.scanned)
	for p, text := range seen.kept {
		if text != nil {
			m.facts[p] = text
		}
	}
	if same, err := m.holds(bounded); err != nil {
		return Minimal{}, err
	} else if !same {
		return Minimal{}, ErrUnrepeatable
	}
	if err := m.reduce(bounded); err != nil && !errors.Is(err, errBound) && bounded.Err() == nil {
		return Minimal{}, err
	}
	if ctx.Err() != nil {
		return Minimal{}, ctx.Err()
	}
	minimal := Minimal{Decision: d, Facts: map[string]json.RawMessage{}, Input: m.in.Text}
	for p, text := range m.facts {
		minimal.Facts[p.String()] = text
	}
	return minimal, nil
}

// Supposing reads the given documents, by their paths, as if there were no others.
func (e *Engine) Supposing(facts map[string]jsontext.Value) *memo.Reading {
	s := &supposed{Reader: nothing{}, changed: map[datastore.Path][]byte{}}
	for path, text := range facts {
		s.changed[datastore.ParseKey(e.root.Key()+"/"+path)] = text
	}
	return memo.Over(s)
}

// reduction makes facts and input smaller for as long as the decision stays the same. It is used by one goroutine.
type reduction struct {
	engine   *Engine
	set      *PolicySet
	question Question
	at       datastore.Revision
	wanted   *Decision
	left     int

	facts map[datastore.Path][]byte
	in    Input
}

func (m *reduction) holds(ctx context.Context) (bool, error) {
	if m.left == 0 {
		return false, errBound
	}
	m.left--
	d, err := m.engine.Again(ctx, memo.Over(&supposed{Reader: nothing{m.at}, changed: m.facts}), m.set, m.question.Point, m.in, m.question.Asked)
	if failed := (*EvaluationError)(nil); err != nil && !errors.As(err, &failed) {
		return false, err
	}
	return same(d, m.wanted), nil
}

func (m *reduction) reduce(ctx context.Context) error {
	paths := slices.SortedFunc(maps.Keys(m.facts), func(a, b datastore.Path) int { return strings.Compare(a.Key(), b.Key()) })
	if err := m.documents(ctx, paths); err != nil {
		return err
	}
	for _, p := range paths {
		if m.facts[p] == nil {
			continue
		}
		if err := m.members(ctx, m.facts[p], func(text []byte) { m.facts[p] = text }); err != nil {
			return fmt.Errorf("reduce %s: %w", p, err)
		}
	}
	return m.members(ctx, m.in.Text, func(text []byte) { m.in.Text = text })
}

// documents drops all at once, else the halves, and so on.
func (m *reduction) documents(ctx context.Context, paths []datastore.Path) error {
	if len(paths) == 0 {
		return nil
	}
	former := maps.Clone(m.facts)
	for _, p := range paths {
		delete(m.facts, p)
	}
	ok, err := m.holds(ctx)
	if ok {
		return nil
	}
	m.facts = former
	if err != nil || len(paths) == 1 {
		return err
	}
	if err := m.documents(ctx, paths[:len(paths)/2]); err != nil {
		return err
	}
	return m.documents(ctx, paths[len(paths)/2:])
}

// members drops what is not needed of a document, at any depth.
func (m *reduction) members(ctx context.Context, text []byte, set func([]byte)) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return err
	}
	document = changeable(document)
	put := func() error {
		smaller, err := json.Marshal(document)
		if err == nil {
			set(smaller)
		}
		return err
	}
	err := shrink(document, func() (bool, error) {
		if err := put(); err != nil {
			return false, err
		}
		return m.holds(ctx)
	})
	return errors.Join(put(), err)
}

// shrink drops each element of v without which it still holds.
func shrink(v any, holds func() (bool, error)) error {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			value := v[name]
			delete(v, name)
			ok, err := holds()
			if ok {
				continue
			}
			v[name] = value
			if err != nil {
				return err
			}
			if err := shrink(value, holds); err != nil {
				return err
			}
		}
	case *array:
		for i := 0; i < len(v.items); {
			former := v.items
			v.items = slices.Delete(slices.Clone(former), i, i+1)
			ok, err := holds()
			if ok {
				continue
			}
			v.items = former
			if err != nil {
				return err
			}
			if err := shrink(former[i], holds); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

// array is one that can be changed where it is.
type array struct{ items []any }

// MarshalJSON implements json.Marshaler.
func (a *array) MarshalJSON() ([]byte, error) { return json.Marshal(a.items) }

// changeable is v with arrays that can be changed.
func changeable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			v[name] = changeable(value)
		}
	case []any:
		l := &array{items: v}
		for i := range v {
			v[i] = changeable(v[i])
		}
		return l
	}
	return v
}
