package policycheck

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/engine"
)

// differences says in what a decision is not the expected one; nil when it is.
func (q *Request) differences(d *engine.Decision) []string {
	var wrong []string
	decided := Deny
	if d.Allow {
		decided = Allow
	}
	var codes []string
	for _, r := range d.Reasons {
		codes = append(codes, r.Code)
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	if decided != q.Expect {
		wrong = append(wrong, fmt.Sprintf("expected %s, decided %s", q.Expect, decided))
	}
	if q.Reasons != nil {
		expected := slices.Compact(slices.Sorted(slices.Values(q.Reasons)))
		if !slices.Equal(expected, codes) {
			wrong = append(wrong, fmt.Sprintf("expected the reasons %s, got %s", listed(expected), listed(codes)))
		}
	}
	if q.Obligations != nil {
		got := Document(d.Obligations)
		if got == nil {
			got = Document("[]")
		}
		if !same(q.Obligations, got) {
			wrong = append(wrong, fmt.Sprintf("expected the obligations %s, got %s", q.Obligations, got))
		}
	}
	return append(wrong, q.grants(d)...)
}

func (q *Request) grants(d *engine.Decision) []string {
	if q.Granted == nil {
		return nil
	}
	var expected map[string]jsontext.Value
	if err := json.Unmarshal(q.Granted, &expected); err != nil {
		return []string{"granted cannot be read: " + err.Error()}
	}
	got := map[string]any{"scopes": d.Scopes, "lifetime": int64(d.Lifetime / time.Second), "claims": d.Claims, "org": d.Org}
	var wrong []string
	for _, name := range sortedKeys(expected) {
		value, known := got[name]
		if !known {
			wrong = append(wrong, fmt.Sprintf("granted has %q: write scopes, lifetime, claims or org", name))
			continue
		}
		text, err := json.Marshal(value, json.Deterministic(true))
		if err != nil || !same(Document(expected[name]), text) {
			wrong = append(wrong, fmt.Sprintf("expected %s %s, got %s", name, expected[name], text))
		}
	}
	return wrong
}

func (d Document) String() string { return string(d) }

// same compares two JSON values.
func same(a, b Document) bool {
	x, y := jsontext.Value(a).Clone(), jsontext.Value(b).Clone()
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}

func listed(codes []string) string {
	if len(codes) == 0 {
		return "none"
	}
	return strings.Join(codes, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// maxGrounds is how many rules are told of that did not allow: the closest come first.
const maxGrounds = 5

// why says in lines what a decision rests on: for a denial, the first condition that failed in the rules that could have allowed, and
// what would have to be different.
func why(x engine.Explanation) []string {
	var lines []string
	grounds := x.Grounds
	if x.Denies != nil {
		grounds = append([]engine.Ground{*x.Denies}, grounds...)
	}
	for _, g := range grounds[:min(len(grounds), maxGrounds)] {
		line := fmt.Sprintf("%s:%d: %s held", g.File, g.Line, g.Rule)
		if g.Condition != nil {
			line = fmt.Sprintf("%s:%d: %s: the first condition that failed is %s", g.Condition.File, g.Condition.Line, g.Rule, g.Condition.Text)
		}
		for _, fact := range g.Facts {
			value := "absent"
			if fact.Found {
				value = string(fact.Value)
			}
			line += fmt.Sprintf(", with %s %s", fact.Path, value)
		}
		lines = append(lines, line)
	}
	for _, needed := range x.Otherwise.Needed {
		lines = append(lines, "allowed if it were not so: "+needed.Text)
	}
	for _, rests := range x.Otherwise.Rests {
		lines = append(lines, "allowed because of: "+rests.Text)
	}
	return lines
}
