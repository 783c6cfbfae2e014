package policycheck

import (
	"strings"
	"testing"
)

// facts of a small organization, as the beginning of a scenario.
const acme = `scenario: t
given:
  roles: {viewer: {permissions: ["documents:read"]}}
  users: [{id: bob}, {id: alice}]
  orgs: [{id: acme, members: [{user: bob, roles: [viewer]}]}, {id: globex}]
  api_keys: [{id: gateway, scopes: [decide]}, {id: revoked, status: revoked, scopes: [decide]}]
`

const bobReads = `subject: "user:bob", action: "documents:read", resource: "document:report", org: acme`

func TestScenariosAreJudged(t *testing.T) {
	r := runner(t)
	for _, row := range []struct {
		name    string
		text    string
		outcome Outcome
		says    string // in the message or the details of the last result
	}{
		{"as expected", acme + "requests: [{" + bobReads + ", expect: allow, reasons: [role], obligations: []}]", Passed, ""},
		{"another outcome", acme + "requests: [{" + bobReads + ", expect: deny}]", Failed, "expected deny, decided allow"},
		{"what allowed", acme + "requests: [{" + bobReads + ", expect: deny}]", Failed, "held"},
		{"another reason", acme + "requests: [{" + bobReads + ", expect: allow, reasons: [relation]}]", Failed, "expected the reasons relation, got role"},
		{"one reason more", acme + "requests: [{" + bobReads + ", expect: allow, reasons: [role, relation]}]", Failed, "expected the reasons relation, role, got role"},
		{"no reasons", acme + "requests: [{" + bobReads + ", expect: allow, reasons: []}]", Failed, "expected the reasons none, got role"},
		{"obligations", acme + "requests: [{" + bobReads + ", expect: allow, obligations: [{type: mask}]}]", Failed, `expected the obligations [{"type":"mask"}], got []`},
		{"the first condition that failed", acme + "requests: [{" + strings.Replace(bobReads, ":read", ":write", 1) + ", expect: allow}]", Failed,
			"the first condition that failed is"},
		{"the fact behind it", acme + "requests: [{" + strings.Replace(bobReads, ":read", ":write", 1) + ", expect: allow}]", Failed, "reason role_missing: "},
		{"a caller that may not ask", acme + `requests: [{caller: "user:alice", ` + bobReads + ", expect: deny, reasons: [caller_not_permitted]}]", Passed, ""},
		{"a caller of the facts", acme + `requests: [{caller: "apikey:gateway", ` + bobReads + ", expect: allow}]", Passed, ""},
		{"a caller that is not there", acme + `requests: [{caller: "apikey:missing", ` + bobReads + ", expect: deny}]", Error, "the caller apikey:missing is not among the facts"},
		{"a caller that is revoked", acme + `requests: [{caller: "apikey:revoked", ` + bobReads + ", expect: deny}]", Error, "would not get as far as a policy: the API key has been revoked"},
		{"the caller itself", acme + `requests: [{caller: "user:bob", subject: caller, action: "documents:read", resource: "document:report", org: acme, expect: allow}]`, Passed, ""},
		{"an organization as the resource", acme + `requests: [{subject: "user:bob", action: "documents:read", resource: "organization:acme", expect: allow}]`, Passed, ""},
		{"a raw fact takes another's place", acme + "facts: {orgs/acme/members/bob: {roles: [], status: active}}\nrequests: [{" + bobReads + ", expect: deny}]", Passed, ""},
		{"a fact is taken away", acme + "facts: {orgs/acme/members/bob: null}\nrequests: [{" + bobReads + ", expect: deny, reasons: [not_a_member]}]", Passed, ""},
		{"steps go on from each other", acme + "then: [{when: a, facts: {orgs/acme/members/bob: null}, requests: [{" + bobReads + ", expect: deny}]}, {when: b, requests: [{" +
			bobReads + ", expect: deny}]}]", Passed, ""},
		{"wrong facts end the scenario", strings.Replace(acme, "user: bob,", "user: rob,", 1) + "requests: [{" + bobReads + ", expect: allow}]", Error,
			"given.orgs[0].members[0].user: "},
		{"a raw input", acme + "requests: [{point: mandate/manage, input: {action: {name: x}}, expect: deny}]", Passed, ""},
		{"what a token carries", acme + "requests: [{point: mandate/tokens, input: {a: b}, expect: deny, granted: {lifetime: 600}}]", Failed, "expected lifetime 600, got 0"},
		{"no such member", acme + "requests: [{point: mandate/tokens, input: {a: b}, expect: deny, granted: {life: 600}}]", Failed, `granted has "life"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := Parse("t.scenario", []byte(row.text))
			if err != nil {
				t.Fatal(err)
			}
			results, err := r.RunScenarios(t.Context(), []Scenario{s})
			if err != nil {
				t.Fatal(err)
			}
			if len(results) == 0 {
				t.Fatal("there is no result")
			}
			last := results[len(results)-1]
			said := last.Message + "\n" + strings.Join(last.Details, "\n")
			if last.Outcome != row.outcome || !strings.Contains(said, row.says) || last.Line < 2 {
				t.Errorf("line %d %s: %s", last.Line, last.Outcome, said)
			}
			if row.outcome == Failed {
				t.Log(said)
			}
		})
		r.Store = another(t)
	}
}

// Time is what the scenario says, for policies and for the ends of keys alike.
func TestTimeOfAScenario(t *testing.T) {
	s, err := Parse("t.scenario", []byte(`scenario: t
at: 2026-01-01T00:00:00Z
given:
  api_keys: [{id: k, scopes: ["documents:read"], expires_at: 2026-06-01T00:00:00Z}]
  orgs: [{id: acme}]
requests: [{subject: "apikey:k", action: "documents:read", resource: "document:report", org: acme, expect: allow}]
then:
  - when: it has ended
    at: 2026-06-01T00:00:00Z
    requests: [{subject: "apikey:k", action: "documents:read", resource: "document:report", org: acme, expect: deny, reasons: [principal_unknown]}]
  - when: time stays
    requests: [{subject: "apikey:k", action: "documents:read", resource: "document:report", org: acme, expect: deny}]
`))
	if err != nil {
		t.Fatal(err)
	}
	results, err := runner(t).RunScenarios(t.Context(), []Scenario{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != Passed {
			t.Errorf("%s: %s %v", r.Name, r.Message, r.Details)
		}
	}
}
