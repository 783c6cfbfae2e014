package policycheck

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"mandate/directory"
	"mandate/engine"
)

func TestWhatIsWrongWithAScenarioIsSaid(t *testing.T) {
	const ask = "{" + bobReads + ", expect: allow}"
	for _, row := range []struct{ name, text, want string }{
		{"no title", "requests: [" + ask + "]", `t.scenario:1: has no title: write scenario: "what it shows"`},
		{"nothing", "", "t.scenario:1: has no title"},
		{"nothing asked", "scenario: t\n", "t.scenario:1: asks nothing: write a request"},
		{"an unknown key", "scenario: t\nrequest: []\n", `t.scenario:2: unknown key "request"`},
		{"an unknown key of a request", "scenario: t\nrequests:\n  - " + strings.Replace(ask, "expect", "expected", 1), `t.scenario:3: unknown key "expected"`},
		{"an unknown key of the facts", "scenario: t\ngiven:\n  users:\n    - {id: bob, role: viewer}\n", `t.scenario:4: unknown key "role"`},
		{"facts at the top", "scenario: t\norgs: []\n", `unknown key "orgs": facts belong below given:`},
		{"one reason", "scenario: t\nrequests: [{" + bobReads + ", expect: deny, reason: x}]", `unknown key "reason": write reasons: [role_missing]`},
		{"a request at the top", "scenario: t\nsubject: \"user:bob\"\n", `unknown key "subject": a request belongs below requests:`},
		{"a key twice", "scenario: t\nscenario: u\n", "t.scenario:2: mapping key \"scenario\" already defined at line 1"},
		{"no YAML", "scenario: [t\n", "t.scenario:1: did not find expected"},
		{"no outcome", "scenario: t\nrequests:\n  - {" + bobReads + "}", "t.scenario:3: says no outcome: write expect: allow or expect: deny"},
		{"another outcome", "scenario: t\nrequests: [{" + bobReads + ", expect: maybe}]", `expect is "maybe": write allow or deny`},
		{"no type of the subject", "scenario: t\nrequests: [{subject: bob, action: a, resource: \"b:c\", expect: deny}]",
			`subject is "bob": write its type and id, such as "user:bob"`},
		{"no resource", "scenario: t\nrequests: [{subject: \"user:bob\", action: a, expect: deny}]", `has no resource: write resource: "document:report"`},
		{"no action", "scenario: t\nrequests: [{subject: \"user:bob\", resource: \"b:c\", expect: deny}]", `has no action: write action: "documents:read"`},
		{"the organization twice", "scenario: t\nrequests: [{" + bobReads + ", properties: {org: globex}, expect: deny}]", "says the organization twice"},
		{"a context that is a list", "scenario: t\nrequests: [{" + bobReads + ", context: [1], expect: deny}]", "context must be a mapping"},
		{"obligations that are none", "scenario: t\nrequests: [{" + bobReads + ", obligations: {a: 1}, expect: deny}]", "obligations must be a list"},
		{"an input without its point", "scenario: t\nrequests: [{input: {a: 1}, expect: deny}]", "a raw input needs its point: write point: one of mandate/access, mandate/tokens"},
		{"a point without input", "scenario: t\nrequests: [{point: mandate/access, expect: deny}]", "a point needs the policy's whole input"},
		{"an input and a subject", "scenario: t\nrequests: [{point: mandate/access, input: {}, subject: \"user:bob\", expect: deny}]", "has an input and parts of a question beside it"},
		{"grants of an access", "scenario: t\nrequests: [{" + bobReads + ", expect: deny, granted: {org: acme}}]", "granted is of decisions on tokens"},
		{"no such place", "scenario: t\nfacts:\n  orgs/acme: {}\nrequests: [" + ask + "]", `t.scenario:3: "orgs/acme" is not where a policy reads a document`},
		{"private state", "scenario: t\nfacts: {private/tokens/x: {}}\nrequests: [" + ask + "]", `"private/tokens/x" is not where a policy reads a document`},
		{"an empty step", "scenario: t\nrequests: [" + ask + "]\nthen:\n  - {when: x}", "t.scenario:4: a step asks nothing"},
		{"a step without title", "scenario: t\nrequests: [" + ask + "]\nthen:\n  - {requests: [" + ask + "]}", "t.scenario:4: a step has no title"},
		{"no time", "scenario: t\nat: yesterday\nrequests: [" + ask + "]", `t.scenario:2: "yesterday" is no time: write one such as 2030-01-31T12:00:00Z`},
		{"an alias in a document", "scenario: t\nfacts: {users/a: &a {x: 1}, users/b: {y: *a}}\nrequests: [" + ask + "]", "t.scenario:2: an alias cannot be used here"},
		{"no JSON", "scenario: t\nfacts: {users/a: {x: .nan}}\nrequests: [" + ask + "]", "t.scenario:2: is no number in JSON"},
		{"a member twice", "scenario: t\nfacts: {users/a: {x: 1, x: 2}}\nrequests: [" + ask + "]", "t.scenario:2: "},
		{"two documents", "scenario: t\nrequests: [" + ask + "]\n---\nscenario: u\n", "there is a second document"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse("t.scenario", []byte(row.text))
			refused := (*engine.CompileError)(nil)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}

func TestScenarioFilesAreFound(t *testing.T) {
	good := &fstest.MapFile{Data: []byte("scenario: t\nrequests: [{" + bobReads + ", expect: allow}]")}
	found, err := ReadScenarios(fstest.MapFS{"b/x.scenario": good, "a.scenario": good, ".git/y.scenario": good, "notes.yaml": good, "x.rego": good})
	if err != nil || len(found) != 2 || found[0].File != "a.scenario" || found[1].File != "b/x.scenario" {
		t.Errorf("%v %v", err, found)
	}
	_, err = ReadScenarios(fstest.MapFS{"a.scenario": {Data: []byte("x: 1")}, "b.scenario": {Data: []byte("y: 1")}, "c.scenario.yaml": good})
	for _, want := range []string{`a.scenario:1: unknown key "x"`, `b.scenario:1: unknown key "y"`, "c.scenario.yaml: is not read: the name of a scenario file ends in .scenario"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v has no %s", err, want)
		}
	}
}

// What is written is read as what it was, and written again as the same text.
func TestWrittenScenariosAreRead(t *testing.T) {
	s := Scenario{Comment: "Of decision 01ARZ3NDEKTSV.\n\nIts facts are the fewest.", Title: "bob: read", Step: Step{
		At:    time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		Given: &directory.File{Users: []directory.UserEntry{{ID: "bob"}}},
		Facts: map[string]Document{
			"users/bob":     Document(`{"status":"active","n":[1.10,12345678901234567890,1e2,-0,true,null],"s":["yes","1","2026-01-02","null","~","a: b","","\u0001\u2028\ud83d\ude00 \" \\","- x","#"]}`),
			"users/al~1ice": Document(`{}`), "custom/list": Document(`["a",{"b":[]}]`), "roles/gone": nil,
		},
		Requests: []Request{
			{Subject: "user:bob", Action: "documents:read", Resource: "document:report", Org: "acme", Context: Document(`{"ip":"10.0.0.1"}`), Expect: Allow,
				Reasons: []string{"role"}, Obligations: Document(`[]`)},
			{Name: "raw", Point: "mandate/tokens", Input: Document(`{"a":{"b":"c"}}`), Expect: Deny, Granted: Document(`{"lifetime":600}`)},
		},
	}, Then: []Then{{When: "later", Step: Step{Requests: []Request{{Subject: "caller", Action: "a", Resource: "b:c", Expect: Deny}}}}}}
	var first, second bytes.Buffer
	if err := Write(&first, s); err != nil {
		t.Fatal(err)
	}
	got, err := Parse("t.scenario", first.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, &first)
	}
	if err := Write(&second, Scenario{Comment: s.Comment, Title: got.Title, Step: got.Step, Then: got.Then}); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("written again\n%s\nfirst\n%s", &second, &first)
	}
	for path, document := range s.Facts {
		if read := got.Facts[path]; (document == nil) != (read == nil) || (document != nil && !same(document, read)) {
			t.Errorf("%s: %s, was %s", path, read, document)
		}
	}
	if number := string(got.Facts["users/bob"]); !strings.Contains(number, "12345678901234567890") {
		t.Errorf("a number has changed: %s", number)
	}
	if !got.At.Equal(s.At) || got.Requests[1].Point != "mandate/tokens" || !reflect.DeepEqual(got.Requests[0].Reasons, []string{"role"}) {
		t.Errorf("%+v", got)
	}
	t.Log(first.String())
}

// FuzzParse holds that no text makes the parser fail otherwise than by saying what is wrong, and that what it takes can be written
// and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(acme + "requests: [{" + bobReads + ", expect: allow}]"))
	f.Add([]byte("scenario: t\nfacts: {users/a: {x: [1, 0x1f, .5, 2026-01-01, ~, yes]}}\nrequests: [{point: mandate/access, input: {a: b}, expect: deny}]"))
	f.Add([]byte("scenario: &a [*a]\n"))
	f.Add([]byte("scenario: t\nthen: [{when: x, at: 2026-01-01T00:00:00Z}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("t.scenario", text)
		if refused := (*engine.CompileError)(nil); err != nil {
			if !errors.As(err, &refused) || len(refused.Problems) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		var written bytes.Buffer
		if err := Write(&written, s); err != nil {
			t.Fatalf("%v of %q", err, text)
		}
		if _, err := Parse("t.scenario", written.Bytes()); err != nil {
			t.Fatalf("%v\n%s\nof %q", err, &written, text)
		}
	})
}
