package engine

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore/memo"
)

func TestDecisionOf(t *testing.T) {
	d, err := decisionOf(ast.MustParseTerm(`{
		"allow": true,
		"reasons": {{"code": "b", "message": "second"}, {"code": "a", "message": "first"}},
		"obligations": [{"mask": ["email"]}, "log"],
		"scopes": {"write", "read"},
		"lifetime": 600,
		"claims": {"quota": 12345678901234567890, "tier": "gold"},
		"org": "acme",
	}`).Value)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(d.AppendMembers(nil)); got != `"reasons":[{"code":"a","message":"first"},{"code":"b","message":"second"}],`+
		`"obligations":[{"mask":["email"]},"log"],"policy_revision":""` {
		t.Errorf("its members are %s", got)
	}
	d.bytes = 0
	want := &Decision{
		Allow:       true,
		Reasons:     []Reason{{"a", "first"}, {"b", "second"}},
		Obligations: json.RawMessage(`[{"mask":["email"]},"log"]`),
		Scopes:      []string{"read", "write"},
		Lifetime:    10 * time.Minute,
		Claims:      map[string]any{"quota": json.Number("12345678901234567890"), "tier": "gold"},
		Org:         "acme",
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("decision is %+v", d)
	}
}

func TestDecisionOfWrongShape(t *testing.T) {
	for document, want := range map[string]string{
		`true`:                              "is boolean, not an object",
		`[]`:                                "is array, not an object",
		`{}`:                                `lacks the field "allow"`,
		`{"allow": "true"}`:                 `field "allow": is string`,
		`{"allow": 1}`:                      `field "allow": is number`,
		`{"allow": null}`:                   `field "allow": is null`,
		`{"Allow": true}`:                   `field "Allow", which no decision has`,
		`{"allow": true, "obligation": []}`: `field "obligation", which no decision has`,
		`{"allow": true, 1: 2}`:             "whose name is no string",
		`{"allow": true, "reasons": "x"}`:   `field "reasons": is string, not an array`,
		`{"allow": true, "reasons": ["x"]}`: `field "reasons": element 0: is string, not an object`,
		`{"allow": true, "reasons": [{"message": "x"}]}`:         "lacks a code",
		`{"allow": true, "reasons": [{"code": 1}]}`:              "is number, not a string",
		`{"allow": true, "reasons": [{"code": "a", "text": 1}]}`: "which no reason has",
		`{"allow": true, "obligations": {"a": 1}}`:               `field "obligations": is object`,
		`{"allow": true, "scopes": [1]}`:                         `field "scopes": element 0: is number, not a string`,
		`{"allow": true, "scopes": "a b"}`:                       `field "scopes": is string`,
		`{"allow": true, "lifetime": "10m"}`:                     "not a number of seconds",
		`{"allow": true, "lifetime": -1}`:                        "not a whole number of seconds",
		`{"allow": true, "lifetime": 1.5}`:                       "not a whole number of seconds",
		`{"allow": true, "lifetime": 1e300}`:                     "not a whole number of seconds",
		`{"allow": true, "claims": []}`:                          `field "claims": is array`,
		`{"allow": true, "org": 1}`:                              `field "org": is number`,
	} {
		d, err := decisionOf(ast.MustParseTerm(document).Value)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", document, err)
		}
		if d != nil {
			t.Errorf("%s: decided", document)
		}
	}
}

func FuzzDecideInput(f *testing.F) {
	e := New(tenant, exampleSet(f), patient())
	v := viewOf(f, exampleFacts())
	f.Add(request("bob", "documents:read", "acme"))
	f.Add([]byte(`{"principal":{"sub":1},"resource":{"properties":{"org":["acme"]}},"action":null}`))
	f.Add([]byte(`{"principal":{"sub":{"a":{}}},"resource":{"properties":{"org":"acme"}}}`))
	f.Add([]byte("{\"a\":\"\\ud800\",\"a\":1e99}"))
	f.Fuzz(func(t *testing.T, input []byte) {
		d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, input)
		if d.Allow {
			// Only the two members with a role are ever allowed anything.
			text := string(input)
			if !strings.Contains(text, `alice`) && !strings.Contains(text, `carol`) && !strings.Contains(text, `\u`) {
				t.Errorf("allowed: %s", input)
			}
			return
		}
		if len(d.Reasons) == 0 {
			t.Errorf("denied without a reason: %s, %v", input, err)
		}
	})
}
