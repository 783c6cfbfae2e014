package engine

import (
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"mandate/datastore/memo"
)

func TestQuery(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true}`)
	fsys["team.rego"] = &fstest.MapFile{Data: []byte(`package team.app
number := 12345678901234567890
sum := input.a + input.b
viewers contains u if { some u, m in data.orgs.acme.members; "viewer" in m.roles }
double(x) := x * 2
has_input if input
endless := count(numbers.range(1, 1000000000000))
`)}
	set := compiled(t, fsys)
	documents := exampleFacts()
	documents["private/key"] = `{"d":"secret"}`
	v := viewOf(t, documents)
	for _, test := range []struct {
		path   []string
		input  string
		closed string // the answer, empty when undefined
		open   string // the answer with FactsInQueries
	}{
		{[]string{"team", "app", "number"}, "", `12345678901234567890`, `12345678901234567890`},
		{[]string{"team", "app", "sum"}, `{"a":1,"b":2}`, `3`, `3`},
		{[]string{"team", "app", "sum"}, `{"a":1}`, ``, ``},
		{[]string{"team", "app", "has_input"}, ``, ``, ``},
		{[]string{"team", "app", "has_input"}, `{}`, `true`, `true`},
		{[]string{"team", "app", "viewers"}, ``, `["alice"]`, `["alice"]`},
		{[]string{"team", "app", "double"}, ``, ``, ``},
		{[]string{"team", "app", "none"}, ``, ``, ``},
		{[]string{"mandate"}, ``,
			`{"access":{"decision":{"allow":true}},"manage":{"decision":{"allow":false}},"tokens":{"decision":{"allow":false}}}`,
			`{"access":{"decision":{"allow":true}},"manage":{"decision":{"allow":false}},"tokens":{"decision":{"allow":false}}}`},
		{[]string{"mandate", "access", "decision", "allow"}, ``, `true`, `true`},
		{[]string{"none"}, ``, ``, ``},
		{[]string{"team/app"}, ``, ``, ``},
		{[]string{"roles"}, ``, ``, `{"admin":{"permissions":["*"]},"viewer":{"permissions":["documents:read"]}}`},
		{[]string{"orgs", "acme", "members", "alice", "roles"}, ``, ``, `["viewer"]`},
		{[]string{"private"}, ``, ``, ``},
		{[]string{"private", "key"}, ``, ``, ``},
		{[]string{"private", "key", "d"}, ``, ``, ``},
		{[]string{"system"}, ``, ``, ``},
	} {
		for _, open := range []bool{false, true} {
			want := test.closed
			if open {
				want = test.open
			}
			var input []byte
			if test.input != "" {
				input = []byte(test.input)
			}
			e := New(tenant, set, Options{FactsInQueries: open, EvaluationLimit: time.Minute})
			got, err := e.Query(t.Context(), memo.Over(v), e.Policies(), test.path, input)
			if err != nil || string(got.Result) != want {
				t.Errorf("%q with facts %v: %s, %v", test.path, open, got.Result, err)
			}
		}
	}
}

func TestQueryOfEverything(t *testing.T) {
	documents := exampleFacts()
	documents["private/key"] = `{"d":"secret"}`
	v := viewOf(t, documents)
	set := compiled(t, accessPolicy(`decision := {"allow": true}`))
	if got, err := New(tenant, set, patient()).Query(t.Context(), memo.Over(v), set, nil, nil); got.Result != nil || err != nil {
		t.Errorf("%s, %v", got.Result, err)
	}
	const want = `{"clients":{"sync":{"scopes":["documents:read","documents:write"]}},` +
		`"mandate":{"access":{"decision":{"allow":true}},"manage":{"decision":{"allow":false}},"tokens":{"decision":{"allow":false}}},` +
		`"orgs":{"acme":{"members":{"alice":{"roles":["viewer"],"status":"active"},"bob":{"roles":[],"status":"active"},` +
		`"carol":{"roles":["admin"],"status":"active"},"dave":{"roles":["admin"],"status":"suspended"}},"profile":{"status":"active"}},` +
		`"initech":{"members":{"alice":{"roles":["admin"],"status":"active"}},"profile":{"status":"suspended"}}},` +
		`"roles":{"admin":{"permissions":["*"]},"viewer":{"permissions":["documents:read"]}}}`
	e := New(tenant, set, Options{FactsInQueries: true, EvaluationLimit: time.Minute})
	if got, err := e.Query(t.Context(), memo.Over(v), e.Policies(), nil, nil); string(got.Result) != want || err != nil {
		t.Errorf("%s, %v", got.Result, err)
	}
}

func TestQueryFails(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy(`decision := count(numbers.range(1, 1000000000000))`)), Options{})
	got, err := e.Query(t.Context(), memo.Over(viewOf(t, nil)), e.Policies(), []string{"mandate", "access", "decision"}, nil)
	failed := (*EvaluationError)(nil)
	if got.Result != nil || !errors.As(err, &failed) || failed.Kind != PolicyTimeout {
		t.Error(got, err)
	}
	if got, err = e.Query(t.Context(), memo.Over(viewOf(t, nil)), e.Policies(), []string{"mandate"}, []byte("{")); got.Result != nil || err == nil {
		t.Error(got, err)
	}
}
