package scim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"mandate/directory"
	"mandate/manage"
	"mandate/server/scim"
)

func resource(t testing.TB, text string) scim.Resource {
	t.Helper()
	var r scim.Resource
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

const maria = `{"id":"u1","userName":"maria@acme.example","active":true,"title":"Dr.","level":3,"name":{"familyName":"Roy"},
	"emails":[{"value":"maria@acme.example","type":"work","primary":true},{"value":"m@home.example","type":"home"}],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Bio","manager":{"value":"u2"}},
	"urn:acme:Badge:1.0:User":{"number":"7"},"meta":{"lastModified":"2026-03-01T10:00:00Z"}}`

// The operators of RFC 7644 §3.4.2.2.
func TestFilters(t *testing.T) {
	r := resource(t, maria)
	for filter, want := range map[string]bool{
		``:                                                          true,
		`userName eq "maria@acme.example"`:                          true,
		`USERNAME EQ "maria@acme.example"`:                          true,
		`userName eq "MARIA@acme.example"`:                          true, // RFC 7643 §8.7.1
		`title eq "dr."`:                                            true,
		`title ne "dr."`:                                            false,
		`none ne "x"`:                                               true,
		`name.familyName co "o"`:                                    true,
		`name.familyName sw "ro"`:                                   true,
		`name.familyName ew "oy"`:                                   true,
		`name.familyName gt "Ra"`:                                   true,
		`level ge 3 and level le 3`:                                 true,
		`level gt 3 or level lt 3`:                                  false,
		`title pr and not (none pr)`:                                true,
		`none eq null`:                                              true,
		`title eq null`:                                             false,
		`active eq true`:                                            true,
		`active eq "True"`:                                          true,
		`active ne true`:                                            false,
		`emails eq "m@home.example"`:                                true,
		`emails.type eq "home"`:                                     true,
		`emails[type eq "work" and value co "@acme"]`:               true,
		`emails[type eq "home" and value co "@acme"]`:               false,
		`emails[type eq "work"].value eq "m@home.example"`:          false,
		`emails[type eq "home"].value eq "m@home.example"`:          true,
		`meta.lastModified gt "2026-03-01T10:30:00+01:00"`:          true,
		`meta.lastModified gt "2026-03-01T10:00:00.000Z"`:           false,
		`title eq "x" or title eq "Dr." and level eq 3`:             true,
		`(title eq "x" or title eq "Dr.") and level eq 4`:           false,
		`urn:ietf:params:scim:schemas:core:2.0:User:title eq "Dr."`: true,
		`urn:acme:Badge:1.0:User:number eq "7"`:                     true,
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "u2"`: true,
		`title eq "a \"quoted\" and (bracketed] text"`:                                     false,
	} {
		f, err := scim.ParseFilter(filter)
		if err != nil || f.Matches(r) != want {
			t.Errorf("%s: %v, %v", filter, f.Matches(r), err)
		}
	}
	for _, filter := range []string{
		`title`, `title eq`, `title eq Dr.`, `title is "Dr."`, `eq "x"`, `title eq "x" and`, `(title pr`, `title pr)`, `not title pr`, `emails[type eq "work"`,
		`emails[]`, `title eq "x" title pr`, `title eq "open`, `title gt true`, `7up eq 1`, `a.b.c eq 1`, `urn:x eq`, `title eq {}`, `title eq "\ud800"`, "title eq \"\xff\"",
		strings.Repeat("not (", 20) + "a pr" + strings.Repeat(")", 20), strings.Repeat("a pr or ", 8) + "a pr", strings.Repeat(" ", 5000) + "a pr",
	} {
		var problem *scim.Error
		if _, err := scim.ParseFilter(filter); !errors.As(err, &problem) || problem.Type != "invalidFilter" {
			t.Errorf("%.60s: %v", filter, err)
		}
	}
}

// What an index can answer is found in conjunctions, and nowhere else.
func TestFiltersNameAnIndex(t *testing.T) {
	for filter, want := range map[string]string{
		`userName eq "x"`:                         "userName=x",
		`active eq true and (userName eq "x")`:    "userName=x",
		`emails[type eq "work" and value eq "x"]`: "emails.value=x",
		`emails[type eq "work"].value eq "x"`:     "emails.value=x",
		`emails eq "x"`:                           "emails.value=x",
		`userName eq "x" or active eq true`:       "",
		`not (userName eq "x")`:                   "",
		`userName ne "x"`:                         "",
		`userName sw "x"`:                         "",
		`emails.type eq "x"`:                      "",
		`urn:acme:Badge:1.0:User:userName eq "x"`: "",
		``: "",
	} {
		f, err := scim.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if name, value, ok := f.Equals("userName", "emails.value"); ok {
			got = name + "=" + value
		}
		if got != want {
			t.Errorf("%s: %q", filter, got)
		}
	}
}

// RFC 7644 §3.5.2, and how identity providers write it.
func TestPatches(t *testing.T) {
	for _, row := range []struct{ before, operation, want string }{
		{`{}`, `{"op":"add","path":"title","value":"Dr."}`, `{"title":"Dr."}`},
		{`{"title":"x"}`, `{"op":"Replace","path":"TITLE","value":"Dr."}`, `{"title":"Dr."}`},
		{`{"title":"x"}`, `{"op":"remove","path":"title"}`, `{}`},
		{`{"name":{"givenName":"A","familyName":"B"}}`, `{"op":"replace","path":"name","value":{"familyName":"C"}}`, `{"name":{"familyName":"C","givenName":"A"}}`},
		{`{}`, `{"op":"add","path":"name.givenName","value":"A"}`, `{"name":{"givenName":"A"}}`},
		{`{"name":{"givenName":"A"}}`, `{"op":"remove","path":"name.givenName"}`, `{}`},
		{`{}`, `{"op":"add","value":{"name.givenName":"A","title":"Dr."}}`, `{"name":{"givenName":"A"},"title":"Dr."}`},
		{`{"emails":[{"value":"a","primary":true}]}`, `{"op":"add","path":"emails","value":[{"value":"b","primary":true}]}`, `{"emails":[{"value":"a"},{"primary":true,"value":"b"}]}`},
		{`{"emails":[{"value":"a"}]}`, `{"op":"add","path":"emails","value":{"value":"a","type":"work"}}`, `{"emails":[{"type":"work","value":"a"}]}`},
		{`{"emails":[{"value":"a"},{"value":"b"}]}`, `{"op":"remove","path":"emails[value eq \"a\"]"}`, `{"emails":[{"value":"b"}]}`},
		{`{"emails":[{"value":"a"},{"value":"b"}]}`, `{"op":"remove","path":"emails","value":[{"value":"b"}]}`, `{"emails":[{"value":"a"}]}`},
		{`{"emails":[{"value":"a","type":"work"}]}`, `{"op":"replace","path":"emails[type eq \"work\"].value","value":"b"}`, `{"emails":[{"type":"work","value":"b"}]}`},
		{`{}`, `{"op":"replace","path":"emails[type eq \"work\"].value","value":"b"}`, `{"emails":[{"type":"work","value":"b"}]}`},
		{`{"emails":[{"value":"a","type":"work"}]}`, `{"op":"remove","path":"emails[type eq \"home\"]"}`, `{"emails":[{"type":"work","value":"a"}]}`},
		{`{}`, `{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","value":"Bio"}`,
			`{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Bio"}}`},
		{`{}`, `{"op":"replace","value":{"urn:ietf:params:scim:schemas:core:2.0:User":{"id":"2","title":"Dr."}}}`, `{"title":"Dr."}`},
		{`{}`, `{"op":"replace","value":{"urn:acme:B:1.0:User":{"n":2}}}`, `invalidPath`},
		{`{}`, `{"op":"remove","path":"urn:acme:B:1.0:User:n"}`, `invalidPath`},
		{`{}`, `{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User","value":{}}`, `invalidPath`},
		{`{"id":"1"}`, `{"op":"replace","value":{"id":"2","schemas":["x"],"meta":{},"title":"Dr."}}`, `{"id":"1","title":"Dr."}`},
		{`{"id":"1"}`, `{"op":"replace","path":"meta.version","value":"2"}`, `mutability`},
		{`{}`, `{"op":"replace","path":"emails[type co \"w\"].value","value":"b"}`, `noTarget`},
		{`{}`, `{"op":"add","path":"emails[type eq \"w\"]","value":"b"}`, `invalidValue`},
		{`{}`, `{"op":"add","path":"a b","value":"b"}`, `invalidPath`},
		{`{}`, `{"op":"add","path":7,"value":"b"}`, `invalidPath`},
		{`{}`, `{"op":"add","value":["b"]}`, `invalidValue`},
		{`{}`, `{"op":"add","path":"emails","value":[` + strings.TrimSuffix(strings.Repeat(`{"value":"x"},`, 101), ",") + `]}`, `tooMany`},
	} {
		r := resource(t, row.before)
		operations, err := scim.ParsePatch([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + row.operation + `]}`))
		if err == nil {
			err = scim.Patch(r, operations)
		}
		got, _ := json.Marshal(r, json.Deterministic(true))
		if problem := (*scim.Error)(nil); errors.As(err, &problem) {
			got = []byte(problem.Type)
		}
		if string(got) != row.want {
			t.Errorf("%.120s: %s (%v)", row.operation, got, err)
		}
	}
}

// What is stored is of the schemas, each attribute as they have it (RFC 7643 §4.1, §4.3).
func TestOnlyAttributesOfTheSchemasAreKept(t *testing.T) {
	const enterprise = `"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"`
	for sent, want := range map[string]string{
		`"title":"Dr.","extra":1,"urn:acme:B:1.0:User":{"n":1}`:            `{"title":"Dr."}`,
		`"TITLE":"Dr.","Name":{"GivenName":"A","x":1}`:                     `{"name":{"givenName":"A"},"title":"Dr."}`,
		`"title":["Dr."],"nickName":{"value":"x"},"locale":7,"name":["x"]`: ``,
		`"emails":[{"value":"a@b.example","primary":"True","x":"y"}]`:      `{"emails":[{"primary":true,"value":"a@b.example"}]}`,
		`"phoneNumbers":{"value":"1"},"roles":["x",{"y":"z"}]`:             `{"phoneNumbers":[{"value":"1"}],"roles":[{"value":"x"}]}`,
		enterprise + `:{"manager":"u1","password":"x"}`:                    `{` + enterprise + `:{"manager":{"value":"u1"}}}`,
		`"password":"x","name":{"password":"x"},"groups":[{"value":"x"}]`:  ``,
	} {
		data, err := scim.UserData(resource(t, `{"userName":"u",`+sent+`}`))
		if err != nil || string(data.Attributes) != want {
			t.Errorf("%s: %s, %v", sent, data.Attributes, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{`userName eq "x" and not (emails[type eq "work"].value pr)`, `urn:a:b:c.d ge 1.5e3 or a eq null`, `a[b eq "\"]"]`} {
		f.Add(seed)
	}
	r := resource(f, maria)
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := scim.ParseFilter(text)
		if err != nil {
			if problem := (*scim.Error)(nil); !errors.As(err, &problem) {
				t.Fatal(err)
			}
			return
		}
		found := filter.Matches(r)
		// What an index would be asked for is what the resource has.
		if name, value, ok := filter.Equals("userName", "id"); ok && found && fmt.Sprint(r[name]) != value {
			t.Errorf("%q finds %v, whose %s is not %q", text, r, name, value)
		}
	})
}

func FuzzPatch(f *testing.F) {
	for _, seed := range []string{`{"op":"add","path":"emails[type eq \"work\"].value","value":"x"}`, `{"op":"replace","value":{"urn:a:b:c":{"d":1},"name.x":2,"id":3}}`, `{"op":"Remove","path":"name"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, operation string) {
		operations, err := scim.ParsePatch([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operation + `]}`))
		if err != nil {
			return
		}
		_, _ = scim.GroupPatch(operations)
		r := resource(t, maria)
		if scim.Patch(r, operations) != nil {
			return
		}
		if r["id"] != "u1" {
			t.Fatalf("%s changes the id: %v", operation, r)
		}
		d, err := scim.UserData(r)
		if err != nil {
			return
		}
		p := &manage.Person{ID: "u1", User: directory.User{Username: d.Username, Email: d.Email}, Provisioned: directory.Provisioned{ExternalID: d.ExternalID, Attributes: d.Attributes}}
		shown, err := scim.UserOf(p, "https://mandate.example/scim/v2", 1)
		if err != nil {
			t.Fatal(err)
		}
		again, err := scim.UserData(shown)
		if err != nil || again.Username != d.Username || again.Email != d.Email || string(again.Attributes) != string(d.Attributes) {
			t.Errorf("%s: kept as %v, read as %v: %v", operation, d, again, err)
		}
	})
}
