package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
)

func TestExplain(t *testing.T) {
	e := New(tenant, exampleSet(t), patient())
	v := viewOf(t, exampleFacts())
	for _, test := range []struct {
		sub, org string
		allow    bool
		rules    []string
		facts    []string
	}{
		{"alice", "acme", true, []string{
			`data.mandate.access.decision access.rego:29 held`,
			`data.mandate.access.allow access.rego:5 failed at 7:2 "*" in permissions`,
			`data.mandate.access.is_active access.rego:19 held`,
			`data.mandate.access.org access.rego:15 held`,
			`data.mandate.access.member access.rego:17 held`,
			`data.mandate.access.permissions access.rego:24 held`,
			`data.mandate.access.allow access.rego:10 held`,
			`data.mandate.access.decision access.rego:31 failed at 31:54 not allow`,
		}, []string{
			`orgs/acme/profile {"status":"active"}`,
			`orgs/acme/members/alice {"status":"active","roles":["viewer"]}`,
			`roles/viewer {"permissions":["documents:read"]}`,
		}},
		{"eve", "acme", false, []string{
			`data.mandate.access.decision access.rego:29 failed at 29:32 allow`,
			`data.mandate.access.allow access.rego:5 failed at 6:2 is_active`,
			`data.mandate.access.is_active access.rego:19 failed at 21:2 member.status == "active"`,
			`data.mandate.access.org access.rego:15 held`,
			`data.mandate.access.member access.rego:17 failed at 17:11 data.orgs[org].members[input.principal.sub]`,
			`data.mandate.access.allow access.rego:10 failed at 11:2 is_active`,
			`data.mandate.access.allow access.rego:3 default`,
			`data.mandate.access.decision access.rego:31 held`,
			`data.mandate.access.reason access.rego:33 held`,
		}, []string{
			`orgs/acme/profile {"status":"active"}`,
			`orgs/acme/members/eve absent`,
		}},
	} {
		for range 5 { // always in the same order
			x, err := explain(t, e, v, request(test.sub, "documents:read", test.org))
			if err != nil || x.Allow != test.allow {
				t.Fatalf("%+v, %v", x.Decision, err)
			}
			if rules := describe(x.Rules); !slices.Equal(rules, test.rules) {
				t.Errorf("%s in %s:\n%s", test.sub, test.org, strings.Join(rules, "\n"))
			}
			var facts []string
			for _, f := range x.Facts {
				value := string(f.Value)
				if !f.Found {
					value = "absent"
				}
				facts = append(facts, f.Path+" "+value)
			}
			if !slices.Equal(facts, test.facts) {
				t.Errorf("%s in %s:\n%s", test.sub, test.org, strings.Join(facts, "\n"))
			}
		}
	}
}

// explain explains the decision on an input, which is the same whatever the facts.
func explain(t *testing.T, e *Engine, v datastore.Reader, input []byte) (Explanation, error) {
	t.Helper()
	return e.Explain(t.Context(), memo.Over(v), e.Policies(), Question{Point: Access, Asked: time.Now(),
		Input: func(*memo.Reading) (Input, error) { return Input{Text: input}, nil }})
}

func describe(rules []RuleTrace) []string {
	var lines []string
	for _, r := range rules {
		line := fmt.Sprintf("%s %s:%d", r.Rule, r.File, r.Line)
		switch {
		case r.Default:
			line += " default"
		case r.Held:
			line += " held"
		case r.Failed != nil:
			line += fmt.Sprintf(" failed at %d:%d %s", r.Failed.Line, r.Failed.Col, r.Failed.Text)
		}
		lines = append(lines, line)
	}
	return lines
}

// A rule that the index would pass over is explained too, and so are conditions with iteration and functions.
func TestExplainConditions(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy(`
default decision := {"allow": false}

decision := {"allow": true} if {
	input.action == "read"
	some role in data.users.alice.roles
	strong(role)
}

decision := {"allow": true} if {
	every role in data.users.alice.roles {
		role != "guest"
	}
}

strong(role) if role == "admin"
`)), patient())
	v := viewOf(t, map[string]string{"users/alice": `{"roles":["viewer","guest"]}`})
	for input, want := range map[string][]string{
		`{"action":"write"}`: {
			`data.mandate.access.decision access.rego:5 failed at 6:2 input.action == "read"`,
			"data.mandate.access.decision access.rego:11 failed at 12:2 every role in data.users.alice.roles {\n\t\trole != \"guest\"\n\t}",
			`data.mandate.access.decision access.rego:3 default`,
		},
		`{"action":"read"}`: {
			`data.mandate.access.decision access.rego:5 failed at 8:2 strong(role)`,
			`data.mandate.access.strong access.rego:17 failed at 17:17 role == "admin"`,
			"data.mandate.access.decision access.rego:11 failed at 12:2 every role in data.users.alice.roles {\n\t\trole != \"guest\"\n\t}",
			`data.mandate.access.decision access.rego:3 default`,
		},
	} {
		x, err := explain(t, e, v, []byte(input))
		if err != nil || x.Allow {
			t.Fatalf("%+v, %v", x.Decision, err)
		}
		if rules := describe(x.Rules); !slices.Equal(rules, want) {
			t.Errorf("%s:\n%s", input, strings.Join(rules, "\n"))
		}
	}
}

func TestExplainScan(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy(`decision := {"allow": true} if {
		not data.vendors.x.y
		count(data.roles) == 2
	}`)), patient())
	x, err := explain(t, e, viewOf(t, exampleFacts()), []byte(`{}`))
	if err != nil || !x.Allow || len(x.Facts) != 2 {
		t.Fatalf("%+v, %v", x, err)
	}
	if f := x.Facts[0]; f.Path != "vendors/x" || f.Found || f.Value != nil {
		t.Errorf("%s %v %s", f.Path, f.Found, f.Value)
	}
	if f := x.Facts[1]; f.Path != "roles" || !f.Found || string(f.Value) != `{"admin":{"permissions":["*"]},"viewer":{"permissions":["documents:read"]}}` {
		t.Errorf("%s %v %s", f.Path, f.Found, f.Value)
	}
}

func TestExplainFails(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy("decision := {\"allow\": true} if data.users.a\ndecision := {\"allow\": false} if not data.users.b")), patient())
	x, err := explain(t, e, viewOf(t, map[string]string{"users/a": "{}"}), []byte(`{}`))
	checkDenied(t, x.Decision, PolicyError)
	failed := (*EvaluationError)(nil)
	if !errors.As(err, &failed) || len(x.Rules) != 2 || len(x.Facts) != 2 {
		t.Errorf("%+v, %v", x, err)
	}
	x, err = explain(t, e, viewOf(t, nil), []byte(`{`))
	checkDenied(t, x.Decision, PolicyError)
	if err == nil {
		t.Error("no error")
	}
}
