package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// answers writes a batch's decisions as a row of t and f, with e for an item that has an error.
func (a answer) answers(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, d := range a.decision(t).Evaluations {
		switch {
		case d.Decision == nil:
			b.WriteByte('?')
		case d.Context.Error != nil && !*d.Decision:
			b.WriteByte('e')
		case *d.Decision:
			b.WriteByte('t')
		default:
			b.WriteByte('f')
		}
	}
	return b.String()
}

// AZ-22 to AZ-34: batches.
func TestEvaluations(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	const (
		bob      = `"subject":{"type":"user","id":"bob"}`
		carol    = `"subject":{"type":"user","id":"carol"}`
		read     = `"action":{"name":"documents:read"}`
		write    = `"action":{"name":"documents:write"}`
		acme     = `"resource":{"type":"document","id":"r","properties":{"org":"acme"}}`
		defaults = bob + "," + read + "," + acme
		yes      = `{}`
		no       = `{` + write + `}`
		broken   = `{"resource":{"type":"document"}}`
	)
	batch := func(top, items string) string {
		return strings.TrimSuffix("{"+top+",", ",") + strings.Repeat(",", min(1, len(top))) + `"evaluations":[` + items + `]}`
	}
	semantic := func(name, items string) string {
		return batch(defaults+`,"options":{"evaluations_semantic":"`+name+`"}`, items)
	}
	list := func(items ...string) string { return strings.Join(items, ",") }
	for _, row := range []struct{ rule, body, want string }{
		{"AZ-23 top-level members are defaults", batch(bob+","+acme, list("{"+read+"}", "{"+write+"}")), "tf"},
		{"AZ-23 a default subject", batch(carol+","+write+","+acme, list(yes, "{"+bob+"}")), "tf"},
		{"AZ-23 a default context", batch(defaults+`,"context":{"a":1}`, list(yes)), "t"},
		{"AZ-23 no defaults at all", batch("", list("{"+defaults+"}", "{"+bob+","+write+","+acme+"}")), "tf"},
		{"AZ-24 a resource replaces the default as a whole: no organization is left", batch(defaults, list(yes, `{"resource":{"type":"document","id":"r"}}`)), "tf"},
		{"AZ-24 a resource without a type has none", batch(defaults, list(`{"resource":{"id":"r"}}`)), "e"},
		{"AZ-24 a subject without a type has none", batch(defaults, list(`{"subject":{"id":"bob"}}`)), "e"},
		{"AZ-24 an action without a name has none", batch(defaults, list(`{"action":{"properties":{}}}`)), "e"},
		{"AZ-24 null is given, and wrong", batch(defaults, list(`{"subject":null}`, `{"action":null}`, `{"resource":null}`, `{"context":null}`)), "eeee"},
		{"AZ-25 an unused default is not validated", batch(`"subject":7,"action":[],"resource":{},"context":"x"`, list(`{`+defaults+`,"context":{}}`)), "t"},
		{"AZ-25 a used one is", batch(bob+","+read+`,"resource":{}`, list("{"+acme+"}", yes)), "te"},
		{"AZ-27 an item without a resource", batch(bob+","+read, list("{"+acme+"}", yes, "{"+acme+"}")), "tet"},
		{"AZ-27 a lone item without a subject", batch(read+","+acme, list(yes)), "e"},
		{"AZ-27 items that are no objects", batch(defaults, list(`1`, `"x"`, `null`, `[]`, `true`, yes)), "eeeeet"},
		{"AZ-27 an item with wrong types", batch(defaults, list(`{"subject":{"type":"user","id":7}}`, yes)), "et"},
		{"AZ-27 a context that is none", batch(defaults, list(`{"context":[]}`, yes)), "et"},
		{"AZ-28 execute_all is the default", batch(defaults, list(yes, no, yes)), "tft"},
		{"AZ-28 execute_all", semantic("execute_all", list(yes, no, yes)), "tft"},
		{"AZ-28 options without a semantic", batch(defaults+`,"options":{}`, list(no, yes)), "ft"},
		{"AZ-29 deny_on_first_deny ends with the first false", semantic("deny_on_first_deny", list(yes, no, yes)), "tf"},
		{"AZ-29 deny_on_first_deny, all permitted", semantic("deny_on_first_deny", list(yes, yes, yes)), "ttt"},
		{"AZ-29 deny_on_first_deny, the first denied", semantic("deny_on_first_deny", list(no, yes)), "f"},
		{"AZ-30 an error is a denial there", semantic("deny_on_first_deny", list(yes, broken, yes)), "te"},
		{"AZ-30 an error ends nothing in execute_all", semantic("execute_all", list(yes, broken, no, yes)), "teft"},
		{"AZ-31 permit_on_first_permit ends with the first true", semantic("permit_on_first_permit", list(no, yes, no)), "ft"},
		{"AZ-31 permit_on_first_permit, none permitted", semantic("permit_on_first_permit", list(no, no, no)), "fff"},
		{"AZ-31 permit_on_first_permit goes over errors", semantic("permit_on_first_permit", list(broken, no, yes, yes)), "eft"},
		{"AZ-33 unknown options are ignored", batch(defaults+`,"options":{"another_option":{"x":[1]},"Evaluations_Semantic":"bogus"}`, list(yes, no)), "tf"},
		{"AZ-06 unknown members are ignored", batch(defaults+`,"foo":1`, list(`{"bar":{}}`)), "t"},
		{"AZ-07 the items come first", `{"evaluations":[{},` + no + `],` + defaults + `}`, "tf"},
		{"AZ-59 a name in capitals is no member", batch(defaults, list(`{"ACTION":{"name":"documents:write"},"Subject":7}`)), "t"},
		{"AZ-22 items inside an item mean nothing", batch(defaults, list(`{"evaluations":[`+no+`]}`)), "t"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.ask(t, gateway, evaluationsPath, row.body)
			if a.status != http.StatusOK {
				t.Fatal(a)
			}
			if got := a.answers(t); got != row.want {
				t.Errorf("want %s, got %s: %v", row.want, got, a)
			}
			if _, there := a.object(t)["decision"]; there || len(a.object(t)) != 1 {
				t.Errorf("AZ-34: more than evaluations: %v", a)
			}
			for _, d := range a.decision(t).Evaluations {
				if e := d.Context.Error; e != nil && (e.Status != 400 || e.Message == "") {
					t.Errorf("an error without status or message: %v", a)
				}
			}
		})
	}
	for _, row := range []struct{ rule, body, want string }{
		{"AZ-22 without evaluations it is one evaluation", good, "allow"},
		{"AZ-22 with an empty array likewise", batch(defaults, ""), "allow"},
		{"AZ-22 a denial", bad, "deny"},
		{"AZ-22 and an error", batch(read+","+acme, ""), "bad request"},
		{"AZ-22 EVALUATIONS is no member", `{` + defaults + `,"EVALUATIONS":[` + no + `]}`, "allow"},
		{"evaluations is no array", `{` + defaults + `,"evaluations":{}}`, "bad request"},
		{"evaluations is null", `{` + defaults + `,"evaluations":null}`, "bad request"},
		{"evaluations twice", `{` + defaults + `,"evaluations":[{}],"evaluations":[]}`, "bad request"},
		{"options is no object", batch(defaults+`,"options":[]`, yes), "bad request"},
		{"AZ-32 an unknown semantic", semantic("bogus_value", yes), "bad request"},
		{"AZ-32 a semantic in capitals", semantic("EXECUTE_ALL", yes), "bad request"},
		{"AZ-32 an empty semantic", semantic("", yes), "bad request"},
		{"AZ-32 a semantic that is a number", batch(defaults+`,"options":{"evaluations_semantic":1}`, yes), "bad request"},
		{"AZ-32 a semantic that is null", batch(defaults+`,"options":{"evaluations_semantic":null}`, yes), "bad request"},
		{"AZ-58 100,000 items", batch(defaults, strings.TrimSuffix(strings.Repeat("{},", 100_000), ",")), "bad request"},
		{"AZ-58 1,000 items with a default context of 100 KiB", batch(defaults+`,"context":{"x":"`+strings.Repeat("x", 100<<10)+`"}`, strings.TrimSuffix(strings.Repeat("{},", 1000), ",")), "bad request"},
		{"AZ-58 1,001 items", batch(defaults, strings.TrimSuffix(strings.Repeat("{},", 1001), ",")), "bad request"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.ask(t, gateway, evaluationsPath, row.body)
			if a.verdict() != row.want {
				t.Fatalf("want %s, got %.300v", row.want, a)
			}
			checkShape(t, a)
		})
	}
}

// AZ-26: one answer an item, in the same order, each with the reason and the id of its own.
func TestHundredItemsInOrder(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	items, want := make([]string, 100), strings.Builder{}
	for i := range items {
		action, user := "documents:read", "bob"
		if i%3 == 0 || i%7 == 2 {
			action = "documents:write"
		}
		if i%5 == 1 {
			user = "carol"
		}
		switch {
		case i%11 == 10:
			items[i] = `{"subject":{"type":"user"}}`
			want.WriteByte('e')
			continue
		case action == "documents:read" || user == "carol":
			want.WriteByte('t')
		default:
			want.WriteByte('f')
		}
		items[i] = fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":%q}}`, user, action)
	}
	a := s.ask(t, gateway, evaluationsPath, `{"resource":{"type":"document","id":"r","properties":{"org":"acme"}},"evaluations":[`+strings.Join(items, ",")+`]}`)
	if got := a.answers(t); got != want.String() {
		t.Errorf("want %s\n got %s", &want, got)
	}
	ids := map[string]bool{}
	for _, d := range a.decision(t).Evaluations {
		ids[d.Context.DecisionID] = true
	}
	if len(ids) != len(items) {
		t.Errorf("%d items have %d decision ids", len(items), len(ids))
	}
}

// A thousand items are answered on one snapshot, so they agree with each other whatever changes meanwhile.
func TestOneBatchOneRevision(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	a := s.ask(t, gateway, evaluationsPath, `{"evaluations":[`+strings.TrimSuffix(strings.Repeat(good+",", 1000), ",")+`]}`)
	if got := a.answers(t); got != strings.Repeat("t", 1000) {
		t.Errorf("got %s", got)
	}
	first := a.decision(t).Evaluations[0].Context.DataRevision
	for i, d := range a.decision(t).Evaluations {
		if d.Context.DataRevision != first || first == 0 {
			t.Fatalf("item %d is of revision %d, the first of %d", i, d.Context.DataRevision, first)
		}
	}
}

// The check of a password is dear, and few run at once: one caller must not keep them all busy with one request.
func TestBatchesCheckFewPasswords(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		name    string
		subject func(i int) string
		invalid int // of 12; the others are too many
	}{
		{"twelve passwords", func(i int) string { return presented(t, basic(fmt.Sprintf("nobody-%d", i), "wrong")) }, 10},
		{"one password twelve times", func(int) string { return presented(t, basic("nobody", "wrong")) }, 12},
	} {
		var items []string
		for i := range 12 {
			items = append(items, `{"subject":`+row.subject(i)+`}`)
		}
		a := s.ask(t, h.key("gateway"), evaluationsPath, `{"action":{"name":"documents:read"},"resource":{"type":"document","id":"x","properties":{"org":"acme"}},`+
			`"evaluations":[`+strings.Join(items, ",")+`]}`)
		invalid, many := strings.Count(a.body, `"code":"credential_invalid"`), strings.Count(a.body, `"message":"the request has more than 10 subjects`)
		if invalid != row.invalid || (many > 0) != (invalid < 12) {
			t.Errorf("%s: %d were found to be wrong, want %d; %d were too many: %v", row.name, invalid, row.invalid, many, a)
		}
	}
}
