package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"mandate/engine"
)

// curious is an access policy that reads facts of all organizations, some of them by a computed path.
const curious = `package mandate.access

decision := {"allow": true, "reasons": [{"code": "ok", "message": "OK."}], "obligations": []} if allow

else := {"allow": false, "reasons": [{"code": "no", "message": "No."}], "obligations": []}

allow if {
	user := data.users[input.principal.sub]
	user.title == "boss"
}

allow if {
	some role in data.orgs.globex.members[input.principal.sub].roles
	role == "secret-project"
}

allow if {
	some collection in ["users"]
	data[collection][input.principal.sub].email == "chief@globex.example"
}

allow if blocked(data.users.walt)

blocked(user) if {
	data.orgs.acme.profile
	user.status == "active"
}

allow if not data.users[input.principal.sub]

allow if "owner" in data.orgs.acme.members.bob.roles
`

// What an organization's manager sees of an explanation rests on facts of that organization alone.
func TestExplanationWithinAnOrganization(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	s.managed(t, admin, "PATCH", "/v1/users/erin", `{"email":"erin@globex.example"}`)
	s.managed(t, admin, "PUT", "/v1/orgs/globex/roles/secret-project", `{"permissions":["documents:read"]}`)
	s.decidedBy(t, "access/", engine.File{Name: "access/access.rego", Text: curious})
	id := s.decided(t, question(named("user", "erin"), "documents:write", "report"))
	path := "/v1/decisions/" + id + "/explanation"
	all, own := s.send(t, "GET", path, "", admin...), s.send(t, "GET", path, "", h.key("acme-manager")...)
	for _, secret := range []string{"erin@globex.example", "walt", "orgs/globex", "users/", `"role"`, "secret-project", "boss"} {
		if !strings.Contains(all.body, secret) {
			t.Errorf("the tenant's manager does not see %s: %v", secret, all)
		}
		if strings.Contains(own.body, secret) {
			t.Errorf("acme's manager sees %s: %v", secret, own)
		}
	}
	x := own.explained(t)
	if len(x.Explanation.Grounds) != 1 || !strings.Contains(x.Explanation.Grounds[0].Condition.Text, "owner") || !strings.Contains(x.value("orgs/acme/members/bob"), "viewer") {
		t.Errorf("of acme's own there is %v", own)
	}
	if !strings.Contains(x.needed(), "a fact outside the organization") || !strings.Contains(own.body, `"withheld":true`) {
		t.Errorf("it is not said that there is more: %v", own)
	}

	disabled := s.decided(t, question(named("user", "walt"), "documents:write", "report"))
	if a := s.send(t, "GET", "/v1/decisions/"+disabled+"/explanation", "", h.key("acme-manager")...); strings.Contains(a.body, "disabled") {
		t.Errorf("%v", a)
	}
}

// Of a decision by the default policies enough is left to say why.
func TestExplanationOfAMemberWithinItsOrganization(t *testing.T) {
	s := start(t)
	id := s.decided(t, question(named("user", "bob"), "documents:write", "report"))
	a := s.send(t, "GET", "/v1/decisions/"+id+"/explanation", "", holdersOf(t, "default").key("acme-manager")...)
	if x := a.explained(t); len(x.Explanation.Grounds) == 0 || x.needed() != "bob lacks the role admin or editor in acme; a fact outside the organization" {
		t.Errorf("%v", a)
	}
}

// A record shows an organization's manager of others no more than who they are, and of the facts the organization's own.
func TestRecordsWithinAnOrganization(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	foreign := s.decided(t, question(presented(t, h.key("tenant-read")), "documents:read", "report"))
	own := s.decided(t, question(presented(t, h.key("acme-read")), "documents:read", "report"))
	s.decided(t, question(named("user", "erin"), "documents:read", "report"))
	for _, row := range []struct {
		who         string
		as          credential
		seen, never []string
	}{
		{"the tenant's", h.key("manage-only"), []string{`"credential":{"type":"api_key","id":"tenant-read"`, `"credential":{"type":"api_key","id":"gateway"`, "users/erin"}, nil},
		{"the organization's", h.key("acme-manager"), []string{`"sub":"tenant-read"`, `"sub":"gateway"`, `"credential":{"type":"api_key","id":"acme-read"`, "orgs/acme/profile"},
			[]string{`"credential":{"type":"api_key","id":"tenant-read"`, `"credential":{"type":"api_key","id":"gateway"`, "users/", "apikeys/"}},
	} {
		body := s.send(t, "GET", "/v1/decisions?org=acme", "", row.as...).body + s.send(t, "GET", "/v1/decisions/"+foreign, "", row.as...).body +
			s.send(t, "GET", "/v1/decisions/"+own, "", row.as...).body
		for _, text := range row.seen {
			if !strings.Contains(body, text) {
				t.Errorf("%s manager does not see %s: %s", row.who, text, body)
			}
		}
		for _, text := range row.never {
			if strings.Contains(body, text) {
				t.Errorf("%s manager sees %s: %s", row.who, text, body)
			}
		}
	}
}

// A search of one organization tells its manager of nobody and nothing else, whatever the request says of a resource.
func TestSearchWithinAnOrganization(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const read, plan = `"action":{"name":"documents:read"}`, `"resource":{"type":"document","id":"plan","properties":{"org":"acme"}}`
	for _, row := range []struct {
		name, path, body string
		want             []string
	}{
		{"what was shared with somebody else", "/access/v1/search/resource", `{"subject":{"type":"user","id":"frank"},` + read + `,"resource":{"type":"document","properties":{"org":"acme"}}}`, nil},
		{"what was shared with a member", "/access/v1/search/resource", `{"subject":{"type":"user","id":"dave"},` + read + `,"resource":{"type":"document","properties":{"org":"acme"}}}`, nil},
		{"with whom it was shared", "/access/v1/search/subject", `{"subject":{"type":"user"},"action":{"name":"documents:write"},` + plan + `}`, []string{"alice", "carol", "dora"}},
		{"whose keys", "/access/v1/search/subject", `{"subject":{"type":"apikey"},"action":{"name":"documents:write"},` + plan + `}`, []string{"dora-admin", "dora-write"}},
		{"which clients", "/access/v1/search/subject", `{"subject":{"type":"client"},` + read + `,` + plan + `}`, []string{"acme-editor", "acme-sync", "acme-writer"}},
		{"which vendors", "/access/v1/search/subject", `{"subject":{"type":"vendor"},` + read + `,` + plan + `}`, []string{"backupco"}},
		{"of no organization", "/access/v1/search/subject", `{"subject":{"type":"workload"},` + read + `,` + plan + `}`, nil},
		{"what somebody else can do", "/access/v1/search/action", `{"subject":{"type":"user","id":"frank"},` + plan + `}`, nil},
		{"what a member can do", "/access/v1/search/action", `{"subject":{"type":"user","id":"bob"},` + plan + `}`, []string{"documents:read"}},
		{"all that somebody else can do", "/v1/access/reach", `{"subject":{"type":"user","id":"frank"},"org":"acme"}`, nil},
		{"all that a key of the tenant can do", "/v1/access/reach", `{"subject":{"type":"apikey","id":"tenant-read"},"org":"acme"}`, nil},
	} {
		var found searched
		s.ask(t, h.key("acme-manager"), row.path, row.body).decode(t, &found)
		if got := found.names(); !slices.Equal(got, slices.Concat([]string{}, row.want)) || len(found.Context.Candidates) == 0 || (row.want == nil && found.Context.Asked > 3) {
			t.Errorf("%s: %+v, want %v", row.name, found, row.want)
		}
	}
	// Who is of another organization, or of none, looks like nobody.
	for _, row := range []struct{ path, body string }{
		{"/v1/access/reach", `{"subject":{"type":"TYPE","id":"ID"},"org":"acme"}`},
		{"/access/v1/search/action", `{"subject":{"type":"TYPE","id":"ID"},` + plan + `}`},
		{"/access/v1/search/resource", `{"subject":{"type":"TYPE","id":"ID"},` + read + `,"resource":{"type":"organization","properties":{"org":"acme"}}}`},
	} {
		of := func(kind, id string) string {
			a := s.ask(t, h.key("acme-manager"), row.path, strings.NewReplacer("TYPE", kind, "ID", id).Replace(row.body))
			if a.status != http.StatusOK {
				t.Errorf("%s: %v", row.path, a)
			}
			return strings.ReplaceAll(a.body, id, "ID")
		}
		for kind, ids := range map[string][]string{"user": {"erin", "frank"}, "client": {"globex-reports", "operator"}, "apikey": {"initech-read", "tenant-read"}, "vendor": {"nonesuch"}} {
			for _, id := range ids {
				if there, not := of(kind, id), of(kind, "not-there"); there != not {
					t.Errorf("%s of %s: %s, of nobody %s", row.path, id, there, not)
				}
			}
		}
	}
	for _, row := range []struct{ path, body string }{
		{"/access/v1/search/subject", `{"subject":{"type":"user"},` + read + `,` + plan + `,"options":{"everybody":true}}`},
		{"/access/v1/search/resource", `{"subject":{"type":"user","id":"bob"},` + read + `,"resource":{"type":"document","properties":{"org":"acme"}},"options":{"everybody":true}}`},
		{"/v1/access/reach", `{"subject":{"type":"user","id":"bob"},"org":"acme","options":{"everybody":true}}`},
	} {
		if a := s.ask(t, h.key("acme-manager"), row.path, row.body); a.status != http.StatusForbidden {
			t.Errorf("everybody, of %s: %v", row.path, a)
		}
		if a := s.ask(t, h.pair("tenant-admin"), row.path, row.body); a.status != http.StatusOK {
			t.Errorf("everybody, of %s, for the tenant's manager: %v", row.path, a)
		}
	}
	// An integration reaches what is of the organization.
	s.managed(t, h.key("acme-manager"), "POST", "/v1/orgs/acme/integrations/backupco/drill", "").wantStatus(t, http.StatusOK, "")
}

// What tells of the whole tenant is not for an organization's manager.
func TestReportsAreOfTheWholeTenant(t *testing.T) {
	s := start(t)
	as := holdersOf(t, "default").key("acme-manager")
	active := s.engines["default"].Policies().Revision()
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/v1/access/unused", ""},
		{"POST", "/v1/policies/" + active + "/replays", `{"org":"acme"}`},
		{"GET", "/v1/policies/replay", ""},
		{"DELETE", "/v1/policies/replay", ""},
		{"GET", "/v1/policies/shadow/report", ""},
		{"POST", "/v1/explain", good},
		{"POST", "/v1/vendors/backupco/drill", ""},
		{"POST", "/v1/apikeys/tenant-read/drill", ""},
		{"POST", "/v1/clients/acme-sync/drill", ""},
	} {
		if a := s.managed(t, as, row.method, row.path, row.body); a.status != http.StatusForbidden && a.status != http.StatusNotFound {
			t.Errorf("%s %s: %v", row.method, row.path, a)
		}
	}
}
