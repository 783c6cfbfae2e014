package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"mandate/datastore/memo"
)

// A decision costs the same reads, and no scan, however many organizations there are.
func TestDecideReadsOnlyWhatItNeeds(t *testing.T) {
	set := exampleSet(t)
	for _, orgs := range []int{1, 1000} {
		documents := exampleFacts()
		for i := range orgs - 1 {
			documents[fmt.Sprintf("orgs/org-%d/profile", i)] = `{"status":"active"}`
			documents[fmt.Sprintf("orgs/org-%d/members/alice", i)] = `{"status":"active","roles":["admin"]}`
		}
		v := viewOf(t, documents)
		d, err := New(tenant, set, patient()).Decide(t.Context(), memo.Over(v), set, Access, request("alice", "documents:read", "acme"))
		if err != nil || !d.Allow {
			t.Fatal(d, err)
		}
		// The profile, the member, the role.
		if v.gets.Load() != 3 || v.scans.Load() != 0 {
			t.Errorf("with %d organizations: %d point reads and %d scans", orgs, v.gets.Load(), v.scans.Load())
		}
	}
}

// Each reads once what it names, and no more. The rules are evaluated with input {"o":"acme","u":"alice","k":"maintenance"}.
func TestReadsOfRules(t *testing.T) {
	documents := exampleFacts()
	maps.Copy(documents, map[string]string{
		"custom/maintenance":                       `{"on":false,"list":["a","b"]}`,
		"custom/plans/gold":                        `{"n":1}`,
		"custom/plans/silver":                      `{"n":2}`,
		"relations/document/plan/owner/user:alice": `{}`,
		"consents/alice/app":                       `{"scopes":[]}`,
		"private/signing-keys/1":                   `{"d":"secret"}`,
	})
	v := viewOf(t, documents)
	for _, test := range []struct {
		rules       string
		gets, scans int64
	}{
		{`data.orgs[input.o].members[input.u].roles[0] == "viewer"`, 1, 0},
		{`"viewer" in data.orgs[input.o].members[input.u].roles`, 1, 0},
		{`some i; data.orgs[input.o].members[input.u].roles[i] == "viewer"; data.orgs[input.o].members[input.u].status == "active"`, 1, 0},
		{`not data.orgs[input.o].members.nobody.roles; not data.orgs[input.o].members.nobody.status`, 1, 0},
		{`data.relations.document.plan.owner["user:alice"]`, 1, 0},
		{`data.consents.alice.app.scopes == []`, 1, 0},
		{`count(data.orgs[input.o].members) == 4`, 0, 1},
		{`some u; data.orgs[input.o].members[u].roles[_] == "admin"; u == "carol"`, 0, 1},
		{`count(data.orgs[input.o].members) == 4; data.orgs[input.o].members.bob.roles == []; not data.orgs[input.o].members.nobody`, 0, 1},
		{`{o | some o; data.orgs[o].members.dave} == {"acme"}`, 0, 1},
		{`data.orgs.acme.profile.status == "active"; data.orgs.acme.members.bob`, 2, 0},
		{`data.orgs.acme == object.union(data.orgs.acme, {"profile": {"status": "active"}})`, 0, 1},
		{`data.custom[input.k].on == false`, 1, 0},
		{`data.custom.maintenance.list[1] == "b"`, 1, 0},
		{`data.custom.plans.gold.n == 1`, 2, 0},
		{`sum([p.n | some p in data.custom.plans]) == 3`, 1, 1},
		{`not data.custom.none.at.all`, 3, 1},
		{`not data.private`, 0, 0},
		{`not data.private["signing-keys"]["1"].d`, 0, 0},
		{`not data.unknown.x`, 0, 0},
		{`not data.orgs[""].profile; not data.users[sprintf("%01100d", [1])]; not data.users[true]`, 0, 0},
	} {
		v.gets.Store(0)
		v.scans.Store(0)
		e := New(tenant, compiled(t, accessPolicy(`decision := {"allow": true} if { `+test.rules+` }`)), patient())
		d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{"o":"acme","u":"alice","k":"maintenance"}`))
		if err != nil || !d.Allow {
			t.Errorf("%s: %v, %v", test.rules, d.Reasons, err)
		}
		if v.gets.Load() != test.gets || v.scans.Load() != test.scans {
			t.Errorf("%s: %d point reads and %d scans, not %d and %d", test.rules, v.gets.Load(), v.scans.Load(), test.gets, test.scans)
		}
	}
}

// What the rule index looks up in facts is read in the same way.
func TestReadsOfRuleIndex(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy(`
		decision := {"allow": true} if data.custom.mode == "open"
		decision := {"allow": false} if data.custom.mode == "closed"
		decision := {"allow": false} if data.custom.mode == "half"
	`)), patient())
	v := viewOf(t, map[string]string{"custom/mode": `"open"`})
	d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{}`))
	if err != nil || !d.Allow || v.gets.Load() != 1 || v.scans.Load() != 0 {
		t.Error(d, err, v.gets.Load(), v.scans.Load())
	}
}

func TestFactsLookup(t *testing.T) {
	v := viewOf(t, map[string]string{
		"users/alice":              `{"n":12345678901234567890.10,"list":[[],{"a":null}]}`,
		"users/a~1b":               `{"hostile":true}`,
		"users/..":                 `{"dots":true}`,
		"orgs/acme/profile":        `{}`,
		"orgs/acme/members/x/deep": `{}`, // lies where the directory keeps nothing
		"custom/doc":               `1`,
		"custom/doc/below":         `2`,
		"custom/doc-":              `3`,
		"private/x":                `{}`,
		"system/x":                 `{}`,
		"/other/users/mallory":     `{}`,
	})
	for _, test := range []struct {
		path []string
		want string // empty when absent
	}{
		{[]string{"users", "alice", "n"}, "12345678901234567890.10"},
		{[]string{"users", "alice", "list", "1"}, `{"a": null}`},
		{[]string{"users", "alice", "list", "1", "a"}, "null"},
		{[]string{"users", "alice", "list", "01"}, ""},
		{[]string{"users", "alice", "list", "2"}, ""},
		{[]string{"users", "alice", "list", "-1"}, ""},
		{[]string{"users", "alice", "n", "0"}, ""},
		{[]string{"users", "a/b", "hostile"}, "true"},
		{[]string{"users", "a~1b"}, ""},
		{[]string{"users", "a", "b"}, ""},
		{[]string{"users", "..", "dots"}, "true"},
		{[]string{"users", "mallory"}, ""},
		{[]string{"users", ""}, ""},
		{[]string{"users", "\xff"}, ""},
		{[]string{"users", strings.Repeat("a", 1025)}, ""},
		{[]string{"orgs", "", "members"}, ""},
		{[]string{"orgs"}, `{"acme": {"profile": {}}}`},
		{[]string{"orgs", "acme", "members"}, ""},
		{[]string{"custom"}, `{"doc": 1, "doc-": 3}`},
		{[]string{"custom", "doc"}, "1"},
		{[]string{"custom", "doc", "below"}, ""},
		{[]string{"custom", ""}, ""},
		{[]string{"private", "x"}, ""},
		{[]string{"private"}, ""},
		{[]string{"system", "x"}, ""},
		{[]string{"", "x"}, ""},
	} {
		f := newFacts(memo.Over(v), tenant.Path(), 1000)
		f.deadline = newDeadline(t.Context(), time.Minute)
		got, err := f.Read(t.Context(), nil, test.path)
		if test.want == "" {
			if !storage.IsNotFound(err) {
				t.Errorf("%q: %v, %v", test.path, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.path, err)
		} else if s := got.(ast.Value).String(); s != test.want {
			t.Errorf("%q: %s", test.path, s)
		}
	}
}

func TestScanLimit(t *testing.T) {
	v := viewOf(t, exampleFacts())
	set := compiled(t, accessPolicy(`decision := {"allow": true} if { count(data.orgs.acme.members) == 4; count(data.roles) == 2 }`))
	if d, err := New(tenant, set, Options{ScanLimit: 6, EvaluationLimit: time.Minute}).Decide(t.Context(), memo.Over(v), set, Access, []byte(`{}`)); !d.Allow {
		t.Error("at the limit:", err)
	}
	d, err := New(tenant, set, Options{ScanLimit: 5, EvaluationLimit: time.Minute}).Decide(t.Context(), memo.Over(v), set, Access, []byte(`{}`))
	checkDenied(t, d, PolicyLimit)
	limit := (*ScanLimitError)(nil)
	if !errors.As(err, &limit) || limit.Prefix != "roles" || limit.Limit != 5 {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestFactsAreReadOnly(t *testing.T) {
	f := newFacts(memo.Over(viewOf(t, nil)), tenant.Path(), 1)
	if err := f.Write(t.Context(), nil, storage.AddOp, storage.Path{"users", "x"}, 1); err == nil {
		t.Error("written")
	}
	if _, err := f.NewTransaction(t.Context(), storage.WriteParams); err == nil {
		t.Error("transaction begun")
	}
	if err := f.UpsertPolicy(t.Context(), nil, "x", nil); err == nil {
		t.Error("policy written")
	}
	if f.Commit(t.Context(), nil) == nil || f.Truncate(t.Context(), nil, storage.TransactionParams{}, nil) == nil {
		t.Error("committed")
	}
}

func TestParseJSONNumbers(t *testing.T) {
	for text, valid := range map[string]bool{
		"12345678901234567890.123": true, "1e1023": true, "-1.5E-1023": true, "0": true, "-0": true,
		"1e1024": false, "1e-1024": false, "1e99999999999999999999": false, "1" + strings.Repeat("0", 1024): false,
	} {
		v, err := parseJSON([]byte(text))
		if (err == nil) != valid {
			t.Errorf("%.30s: %v", text, err)
		}
		if valid {
			if x, err := ast.JSON(v); err != nil || x != json.Number(text) {
				t.Errorf("%s is read as %v, %v", text, x, err)
			}
		}
	}
}
