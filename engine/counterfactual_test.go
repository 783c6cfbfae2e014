package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// directoryFacts are organizations as the default policies know them.
func directoryFacts() map[string]string {
	return map[string]string{
		"roles/viewer":                            `{"permissions":["documents:read"]}`,
		"roles/editor":                            `{"permissions":["documents:read","documents:write"]}`,
		"roles/admin":                             `{"permissions":["*"]}`,
		"orgs/acme/profile":                       `{"name":"Acme","status":"active"}`,
		"orgs/acme/roles/auditor":                 `{"permissions":["documents:audit"]}`,
		"orgs/acme/members/alice":                 `{"roles":["admin"],"status":"active"}`,
		"orgs/acme/members/bob":                   `{"roles":["viewer"],"status":"active"}`,
		"orgs/acme/members/dave":                  `{"roles":["viewer"],"status":"suspended"}`,
		"orgs/acme/members/walt":                  `{"roles":["editor"],"status":"active"}`,
		"orgs/initech/profile":                    `{"name":"Initech","status":"suspended"}`,
		"orgs/initech/members/alice":              `{"roles":["editor"],"status":"active"}`,
		"orgs/acme/integrations/backupco":         `{"id":"backupco-acme","kind":"external","status":"active","scopes":["documents:read"]}`,
		"orgs/acme/integrations/scanly":           `{"id":"scanly-acme","kind":"external","status":"suspended","scopes":["documents:write"]}`,
		"users/alice":                             `{"username":"alice","email":"alice@acme.example","status":"active"}`,
		"users/bob":                               `{"username":"bob","status":"active"}`,
		"users/dave":                              `{"username":"dave","status":"active"}`,
		"users/walt":                              `{"username":"walt","status":"disabled"}`,
		"users/frank":                             `{"username":"frank","status":"active"}`,
		"vendors/backupco":                        `{"name":"BackupCo","status":"active"}`,
		"vendors/scanly":                          `{"name":"Scanly","status":"active"}`,
		"vendors/closedco":                        `{"name":"ClosedCo","status":"active"}`,
		"apikeys/acme-read":                       `{"org":"acme","kind":"bearer","status":"active","scopes":["documents:read"]}`,
		"apikeys/expired":                         `{"org":"acme","kind":"bearer","status":"active","scopes":["documents:write"],"expires_at":"2020-01-01T00:00:00Z"}`,
		"clients/sync":                            `{"kind":"service","party":"first","status":"active","orgs":["globex"],"grant_types":[],"scopes":["documents:write"]}`,
		"relations/document/plan/owner/user:erin": `{}`,
	}
}

// asking makes the input of an access decision for a question such as "user:bob documents:write document:report acme", made from the facts
// as the server makes it.
func asking(question string) func(*memo.Reading) (Input, error) {
	words := strings.Fields(question)
	kind, id, _ := strings.Cut(words[0], ":")
	resourceType, resource, _ := strings.Cut(words[2], ":")
	return func(r *memo.Reading) (Input, error) {
		input := map[string]any{"subject": map[string]any{"type": kind, "id": id}, "action": map[string]any{"name": words[1]},
			"caller": map[string]any{"type": "apikey", "sub": "gateway", "scopes": []string{"decide"}}}
		in := map[string]any{"type": resourceType, "id": resource}
		if len(words) > 3 {
			in["properties"] = map[string]any{"org": words[3]}
		}
		input["resource"] = in
		text, err := r.Get(context.Background(), tenant.Path(kind+"s", id))
		var record struct {
			Org     string   `json:"org"`
			Scopes  []string `json:"scopes"`
			Expires string   `json:"expires_at"`
		}
		switch {
		case errors.Is(err, datastore.ErrNotFound):
		case err != nil:
			return Input{}, err
		default:
			if err := json.Unmarshal(text, &record); err != nil {
				return Input{}, err
			}
			if record.Expires != "" {
				break
			}
			principal := map[string]any{"type": kind, "sub": id}
			if record.Scopes != nil {
				principal["scopes"] = record.Scopes
			}
			if record.Org != "" {
				principal["org"] = record.Org
			}
			input["principal"] = principal
		}
		text, err = json.Marshal(input)
		return Input{Text: text}, err
	}
}

func defaultSet(t testing.TB) *PolicySet {
	t.Helper()
	set, err := CompileTested(t.Context(), os.DirFS("../policies"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// explained explains a question by the default policies.
func explained(t *testing.T, e *Engine, r datastore.Reader, question string) Explanation {
	t.Helper()
	x, err := e.Explain(t.Context(), memo.Over(r), e.Policies(), Question{Point: Access, Asked: now(), Input: asking(question)})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func now() time.Time { return time.Date(2026, 11, 17, 10, 0, 0, 0, time.UTC) }

func texts(alternatives []Alternative) []string {
	var all []string
	for _, a := range alternatives {
		all = append(all, a.Text)
	}
	return all
}

// text is a ground in a line: what failed, and the facts that it rests on.
func (g Ground) text() string {
	line := g.Rule
	if g.Condition != nil {
		line += ": " + g.Condition.Text
	}
	for _, f := range g.Facts {
		value := string(f.Value)
		if !f.Found {
			value = "absent"
		}
		line += "; " + f.Path + " " + value
	}
	return line
}

func TestWhatWouldHaveToBeDifferent(t *testing.T) {
	e := New(tenant, defaultSet(t), patient())
	v := viewOf(t, directoryFacts())
	for _, row := range []struct {
		question, ground string
		needed           []string
	}{
		{"user:bob documents:write document:report acme",
			`data.mandate.directory.role_covers: permission_covers(held, wanted); orgs/acme/members/bob {"roles":["viewer"],"status":"active"}; orgs/acme/roles/viewer absent; roles/viewer {"permissions":["documents:read"]}`,
			[]string{"bob lacks the role admin or editor in acme", "nothing makes user:bob editor or owner of document report"}},
		{"user:bob documents:audit document:report acme",
			`data.mandate.directory.role_covers: permission_covers(held, wanted); orgs/acme/members/bob {"roles":["viewer"],"status":"active"}; orgs/acme/roles/viewer absent; roles/viewer {"permissions":["documents:read"]}`,
			[]string{"bob lacks the role admin or auditor in acme", "nothing makes user:bob owner of document report"}},
		{"user:alice documents:write document:report initech",
			`data.mandate.access.org_active: data.orgs[org].profile.status == "active"; orgs/initech/profile {"name":"Initech","status":"suspended"}`,
			[]string{"the organization initech is suspended, not active"}},
		{"user:walt documents:write document:report acme",
			`data.mandate.directory.user_active: data.users[principal.sub].status == "active"; users/walt {"username":"walt","status":"disabled"}`,
			[]string{"the user walt is disabled, not active"}},
		{"user:dave documents:write document:report acme",
			`data.mandate.access.in_good_standing: not member; orgs/acme/members/dave {"roles":["viewer"],"status":"suspended"}`,
			[]string{"the membership of dave in acme is suspended, not active, and dave lacks the role admin or editor in acme",
				"the membership of dave in acme is suspended, not active, and nothing makes user:dave editor or owner of document report"}},
		{"user:frank documents:read document:plan",
			`data.mandate.access.related: data.relations[input.resource.type][input.resource.id][relation][subject]; relations/document/plan/editor/user:frank absent`,
			[]string{"nothing makes user:frank editor, owner or viewer of document plan"}},
		{"user:frank documents:read document:report acme",
			`data.mandate.access.member: data.orgs[org].members[holder]; orgs/acme/members/frank absent`,
			[]string{"frank is not a member of acme with the role admin, editor or viewer", "nothing makes user:frank editor, owner or viewer of document report"}},
		{"user:nobody documents:read document:report acme",
			`data.mandate.access.well_formed: input.principal.type`,
			[]string{"there is no user nobody, and nobody is not a member of acme with the role admin, editor or viewer",
				"there is no user nobody, and nothing makes user:nobody editor, owner or viewer of document report"}},
		{"apikey:acme-read documents:write document:report acme",
			`data.mandate.access.credential_scopes_cover: not request.has(input.principal, "scopes")`,
			[]string{"the API key acme-read lacks the scope documents:write"}},
		{"apikey:expired documents:write document:report acme",
			`data.mandate.access.well_formed: input.principal.type`,
			[]string{"the API key expired has expired at 2020-01-01T00:00:00Z"}},
		{"client:sync documents:write document:report acme",
			`data.mandate.access.grant: directory.listed_in(client, org); clients/sync {"kind":"service","party":"first","status":"active","orgs":["globex"],"grant_types":[],"scopes":["documents:write"]}`,
			[]string{"the client sync may not act in acme", "nothing makes client:sync editor or owner of document report"}},
		{"vendor:scanly documents:write document:report acme",
			`data.mandate.access.in_good_standing: integration.status == "active"; orgs/acme/integrations/scanly {"id":"scanly-acme","kind":"external","status":"suspended","scopes":["documents:write"]}`,
			[]string{"the integration of scanly with acme is suspended, not active"}},
		{"vendor:backupco documents:write document:report acme",
			`data.mandate.access.record_scopes_cover: directory.scope_covers(held, permission); orgs/acme/integrations/backupco {"id":"backupco-acme","kind":"external","status":"active","scopes":["documents:read"]}`,
			[]string{"the integration of backupco with acme lacks the scope documents:write"}},
		{"vendor:closedco documents:read document:report acme",
			`data.mandate.access.integration: data.orgs[org].integrations[input.principal.sub]; orgs/acme/integrations/closedco absent`,
			[]string{"acme has no integration with the vendor closedco that has the scope documents:read"}},
	} {
		t.Run(row.question, func(t *testing.T) {
			x := explained(t, e, v, row.question)
			if x.Allow || !slices.Equal(texts(x.Otherwise.Needed), row.needed) || x.Otherwise.None != "" || !x.Otherwise.Complete {
				t.Errorf("want %q, got %q %q", row.needed, texts(x.Otherwise.Needed), x.Otherwise.None)
			}
			if got := x.Grounds[0].text(); got != row.ground {
				t.Errorf("want %s\n got %s", row.ground, got)
			}
			for _, a := range x.Otherwise.Needed {
				for _, set := range a.Sets {
					wantAllowed(t, e, v, row.question, set)
				}
			}
		})
	}
}

// wantAllowed makes the changes and asks again.
func wantAllowed(t *testing.T, e *Engine, v datastore.Reader, question string, set []Change) {
	t.Helper()
	changed := map[datastore.Path][]byte{}
	for _, c := range set {
		changed[datastore.ParseKey(string(tenant)+"/"+c.Fact)] = c.To
	}
	r := memo.Over(&supposed{Reader: v, changed: changed})
	in, err := asking(question)(r)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Again(t.Context(), r, e.Policies(), Access, in, now()); err != nil || !d.Allow {
		t.Errorf("with %v it is %v, %v", set, d, err)
	}
}

func TestWhatAnAllowRestsOn(t *testing.T) {
	e := New(tenant, defaultSet(t), patient())
	x := explained(t, e, viewOf(t, directoryFacts()), "user:alice documents:write document:report acme")
	if want := []string{"users/alice", "orgs/acme/profile", "orgs/acme/members/alice: role admin", "roles/admin: permission *"}; !x.Allow ||
		!slices.Equal(texts(x.Otherwise.Rests), want) {
		t.Errorf("want %q, got %q", want, texts(x.Otherwise.Rests))
	}
	var grounds []string
	for _, g := range x.Grounds {
		grounds = append(grounds, fmt.Sprintf("%s %s:%d", g.Rule, g.File, g.Line))
	}
	for _, want := range []string{"data.mandate.access.decision access/access.rego:24", "data.mandate.access.grant access/grants.rego:32",
		"data.mandate.access.member access/grants.rego:21"} {
		if !slices.Contains(grounds, want) {
			t.Errorf("no %s in %q", want, grounds)
		}
	}
}

func TestExplainCustomPolicies(t *testing.T) {
	for _, row := range []struct {
		rule, policy, input string
		facts               map[string]string
		denies              string
		needed              []string
		none                string
	}{
		{"an explicit deny that rests on a fact", `
default decision := {"allow": false}
decision := {"allow": false, "reasons": [{"code": "blocked", "message": "Blocked."}]} if data.custom.blocked[input.principal.sub]
else := {"allow": true} if data.users[input.principal.sub]`, `{"principal":{"sub":"mallory"}}`,
			map[string]string{"users/mallory": `{}`, "custom/blocked": `{"mallory":true}`}, "data.mandate.access.decision access.rego:4",
			[]string{"custom/blocked.mallory is true, not false"}, ""},
		{"an explicit deny that rests on no fact", `
default decision := {"allow": false}
decision := {"allow": false} if input.principal.sub == "mallory"
else := {"allow": true}`, `{"principal":{"sub":"mallory"}}`, nil, "data.mandate.access.decision access.rego:4", nil,
			"a rule denies it: data.mandate.access.decision, access.rego:4"},
		{"a switch", `
decision := {"allow": allow}
default allow := false
allow if not data.custom.maintenance`, `{}`, map[string]string{"custom/maintenance": `true`}, "", []string{"custom/maintenance is true, not false"}, ""},
		{"a list of who may", `
decision := {"allow": allow}
default allow := false
allow if input.principal.sub in data.custom.writers`, `{"principal":{"sub":"bob"}}`, map[string]string{"custom/writers": `["alice"]`}, "", []string{"custom/writers lacks bob"}, ""},
		{"a domain that an organization has not verified", `
decision := {"allow": allow}
default allow := false
allow if data.orgs.acme.domains[split(data.users.bob.email, "@")[1]].status == "verified"`, `{}`, map[string]string{"users/bob": `{"email":"bob@globex.example"}`}, "",
			[]string{"acme has not verified the domain globex.example"}, ""},
		{"a condition on the request", `
default decision := {"allow": false}
decision := {"allow": true} if input.context.mfa == true`, `{"context":{"mfa":false}}`, nil, "", []string{"the request's context.mfa is not true"}, ""},
		{"a condition on the request that is a text", `
default decision := {"allow": false}
decision := {"allow": true} if {
	data.users.a
	input.context.network == "office"
}`, `{}`, map[string]string{"users/a": `{}`}, "", []string{`the request's context.network is not "office"`}, ""},
		{"who asks is never supposed to be somebody else", `
default decision := {"allow": false}
decision := {"allow": true} if input.principal.sub == "alice"`, `{"principal":{"sub":"bob"}}`, nil, "", nil,
			"no one or two changes of the facts that it has read would make it an allow"},
		{"the present time is no fact", `
default decision := {"allow": false}
decision := {"allow": true} if office_hours
office_hours if time.clock(time.now_ns())[0] < 9`, `{}`, nil, "", nil, "it rests on the present time, which is no fact: time.clock(time.now_ns())[0] < 9"},
		{"three things are too many", `
default decision := {"allow": false}
decision := {"allow": true} if {
	data.custom.a
	data.custom.b
	data.custom.c
}`, `{}`, nil, "", nil, "no one or two changes of the facts that it has read would make it an allow"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			e := New(tenant, compiled(t, accessPolicy(row.policy)), patient())
			x, err := e.Explain(t.Context(), memo.Over(viewOf(t, row.facts)), e.Policies(), Question{Point: Access, Asked: now(),
				Input: func(*memo.Reading) (Input, error) { return Input{Text: []byte(row.input)}, nil }})
			if err != nil || x.Allow {
				t.Fatalf("%+v, %v", x.Decision, err)
			}
			denies := ""
			if x.Denies != nil {
				denies = fmt.Sprintf("%s %s:%d", x.Denies.Rule, x.Denies.File, x.Denies.Line)
			}
			if denies != row.denies || !slices.Equal(texts(x.Otherwise.Needed), row.needed) || x.Otherwise.None != row.none {
				t.Errorf("denied by %q, needed %q, none %q; %+v", denies, texts(x.Otherwise.Needed), x.Otherwise.None, x.Grounds)
			}
		})
	}
}

// A search that finds nothing ends, and says that it did.
func TestTheSearchIsBounded(t *testing.T) {
	facts := map[string]string{"orgs/acme/members/bob": `{"roles":[],"status":"active"}`, "custom/a": `{"x":false}`}
	for i := range 60 {
		facts[fmt.Sprintf("roles/role%02d", i)] = `{"permissions":[]}`
		facts[fmt.Sprintf("custom/switch%02d", i)] = "false"
	}
	e := New(tenant, compiled(t, accessPolicy(`
default decision := {"allow": false}
decision := {"allow": true} if {
	data.orgs.acme.members.bob
	not data.custom.switch59
	some i in numbers.range(10, 58)
	data.custom[sprintf("switch%d", [i])]
	data.custom.a.x
	data.custom.missing
}`)), patient())
	x, err := explain(t, e, viewOf(t, facts), []byte(`{}`))
	if err != nil || x.Otherwise.Complete || x.Otherwise.Evaluations != maxSuppositions || !strings.Contains(x.Otherwise.None, "within 500 evaluations") {
		t.Errorf("%+v, %v", x.Otherwise, err)
	}
}

func TestMinimal(t *testing.T) {
	e := New(tenant, defaultSet(t), patient())
	v := viewOf(t, directoryFacts())
	for _, row := range []struct {
		question string
		facts    []string
	}{
		{"user:alice documents:write document:report acme", []string{`orgs/acme/members/alice {"roles":["admin"],"status":"active"}`, `orgs/acme/profile {"status":"active"}`,
			`roles/admin {"permissions":["*"]}`, `users/alice {"status":"active"}`}},
		{"user:bob documents:write document:report acme", []string{`orgs/acme/members/bob {"status":"active"}`, `orgs/acme/profile {"status":"active"}`, `users/bob {"status":"active"}`}},
		{"user:walt documents:write document:report acme", nil},
	} {
		t.Run(row.question, func(t *testing.T) {
			q := Question{Point: Access, Asked: now(), Input: asking(row.question)}
			m, err := e.Minimal(t.Context(), memo.Over(v), e.Policies(), q)
			if err != nil {
				t.Fatal(err)
			}
			var facts []string
			changed := map[datastore.Path][]byte{}
			for path, text := range m.Facts {
				facts = append(facts, path+" "+string(text))
				changed[datastore.ParseKey(string(tenant)+"/"+path)] = text
			}
			slices.Sort(facts)
			if !slices.Equal(facts, row.facts) {
				t.Errorf("want %q\n got %q", row.facts, facts)
			}
			d, err := e.Again(t.Context(), memo.Over(&supposed{Reader: nothing{}, changed: changed}), e.Policies(), Access, Input{Text: m.Input}, now())
			if err != nil || !same(d, m.Decision) {
				t.Errorf("%+v is %+v, %v", m, d, err)
			}
		})
	}
}
