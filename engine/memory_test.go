package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
)

// heap is what is live now, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what only pools have kept is gone after two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A decision that repeats a part of what was asked keeps that part, and not all of a large question.
func TestDecisionsKeepNothingOfTheInput(t *testing.T) {
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	m := memo.New(store, memo.Options{Bytes: 16 << 20})
	e := New(tenant, compiled(t, accessPolicy(`decision := {
		"allow": false, "reasons": [{"code": input.code, "message": input.said}], "obligations": [input.said],
		"scopes": [input.said], "org": input.said, "claims": {input.said: [input.said]},
	}`)), patient())
	const questions, size = 100, 400 << 10
	before := heap()
	for i := range questions {
		r, set := e.Begin(m)
		input := fmt.Sprintf(`{"code":"c%d","said":"s%d","rest":%q}`, i, i, strings.Repeat("x", size))
		if _, err := e.Decide(t.Context(), r, set, Access, []byte(input)); err != nil {
			t.Fatal(err)
		}
		r.End()
	}
	if grown := heap() - before; grown > 10*size {
		t.Errorf("%d decisions on questions of %d bytes keep %d bytes", questions, size, grown)
	}
	if s := m.Stats(); s.Entries < questions {
		t.Errorf("%d are remembered", s.Entries)
	}
	runtime.KeepAlive(e)
}

// Parsed facts take no more than they are counted as, whatever is in them.
func TestFactsAreCountedInFull(t *testing.T) {
	for name, part := range map[string]string{
		"records": `{"status":"active","roles":["admin","viewer"]},`, "objects": `{},`, "arrays": `[],`, "members": `{"a":0},`, "numbers": `0,`,
		"texts": `"ab",`, "nested": `{"a":{"a":{"a":{"a":{}}}}},`, "long texts": `"` + strings.Repeat("x", 200) + `",`,
	} {
		text := "[" + strings.Repeat(part, 2000) + "0]"
		const documents = 20
		kept := make([]*document, documents)
		before, counted := heap(), 0
		for i := range kept {
			value, err := parseJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := forced(value); err != nil {
				t.Fatal(err)
			}
			if _, err := find(value, []string{"0", "a"}); err != nil {
				t.Fatal(err)
			}
			kept[i] = &document{text: []byte(text), value: value}
			counted += kept[i].Bytes()
		}
		if grown := heap() - before; grown > int64(counted)*11/10 {
			t.Errorf("%s: %d bytes are counted as %d", name, grown, counted)
		}
		runtime.KeepAlive(kept)
	}
}
