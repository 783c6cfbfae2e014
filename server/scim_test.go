package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mandate/directory"
)

const (
	scimType   = "Content-Type: application/scim+json"
	userSchema = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]`
	patchOp    = `"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"]`
	groupOf    = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]`
)

// provider is an organization's own directory of people, which keeps them here.
type provider struct {
	s  *running
	as credential
}

// provider makes the key of an organization's directory, and the organization's domain.
func (s *running) provider(t testing.TB, org string) provider {
	t.Helper()
	admin := holdersOf(t, "default").pair("tenant-admin")
	file := &directory.File{Orgs: []directory.OrgEntry{{ID: org, Within: true, Domains: []directory.DomainEntry{{Domain: org + ".example", Status: directory.Verified}}}}}
	_, err := directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	made := s.managed(t, admin, "POST", "/v1/apikeys", `{"id": "`+org+`-scim", "org": "`+org+`", "scopes": ["scim"]}`).wantMembers(t, http.StatusCreated, nil)
	key, _ := made["key"].(string)
	return provider{s, bearer(key)}
}

func (p provider) do(t testing.TB, method, path, body string, lines ...string) answer {
	t.Helper()
	if body != "" {
		lines = append([]string{scimType}, lines...)
	}
	a := p.s.send(t, method, "/scim/v2"+path, body, append(append([]string{}, p.as...), lines...)...)
	if got := a.header.Get("Content-Type"); a.body != "" && got != "application/scim+json" {
		t.Errorf("%s %s: the Content-Type is %q", method, path, got)
	}
	return a
}

// found are the ids that a filter finds.
func (p provider) found(t testing.TB, collection, filter string) string {
	t.Helper()
	a := p.do(t, "GET", collection+"?filter="+url.QueryEscape(filter), "")
	var list struct {
		Total     int `json:"totalResults"`
		Resources []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != http.StatusOK || list.Total != len(list.Resources) {
		t.Fatalf("%s: %v, %v", filter, err, a)
	}
	var ids []string
	for _, r := range list.Resources {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

func (a answer) wantSCIM(t testing.TB, status int, scimType string) {
	t.Helper()
	body := a.object(t)
	got, _ := body["scimType"].(string)
	if a.status != status || got != scimType || body["status"] != fmt.Sprint(status) || body["detail"] == "" {
		t.Errorf("%d %v, want %d %s", a.status, a, status, scimType)
	}
}

func (p provider) user(t testing.TB, name string) string {
	t.Helper()
	made := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"`+name+`"}`).wantMembers(t, http.StatusCreated, nil)
	id, _ := made["id"].(string)
	return id
}

// allowed says whether the organization's user may read now.
func (s *running) allowed(t testing.TB, user string) bool {
	t.Helper()
	d := s.ask(t, holdersOf(t, "default").key("gateway"), evaluationPath, question(named("user", user), "documents:read", "report"))
	return d.decision(t).allowed()
}

// The requests of Microsoft Entra ID, in the order in which it sends them.
func TestEntraIDProvisions(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	if ids := p.found(t, "/Users", `userName eq "maria@acme.example"`); ids != "" {
		t.Errorf("found %s", ids)
	}
	created := p.do(t, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
		"externalId":"0a21f0f2","userName":"maria@acme.example","active":true,"displayName":"Maria","emails":[{"primary":true,"type":"work","value":"maria@acme.example"}],
		"meta":{"resourceType":"User"},"name":{"formatted":"Maria Roy","familyName":"Roy","givenName":"Maria"},"roles":[],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Bio","manager":null}}`)
	user := created.wantMembers(t, http.StatusCreated, map[string]any{"userName": "maria@acme.example", "externalId": "0a21f0f2", "active": true, "displayName": "Maria",
		"name": map[string]any{"formatted": "Maria Roy", "familyName": "Roy", "givenName": "Maria"}})
	id, _ := user["id"].(string)
	location := publicURL + "/scim/v2/Users/" + id
	meta, _ := user["meta"].(map[string]any)
	if created.header.Get("Location") != location || meta["location"] != location || meta["version"] != created.header.Get("ETag") || meta["created"] == nil {
		t.Errorf("%v, %v", created.header, meta)
	}
	read := p.do(t, "GET", "/Users/"+id, "")
	if read.body != created.body {
		t.Errorf("read %v, made %v", read, created)
	}
	for _, filter := range []string{`userName eq "maria@acme.example"`, `externalId eq "0a21f0f2"`, `emails[type eq "work"].value eq "maria@acme.example"`,
		`emails.value eq "MARIA@acme.example"`, `id eq "` + id + `"`, `userName eq "maria@acme.example" and active eq "True"`} {
		if ids := p.found(t, "/Users", filter); ids != id {
			t.Errorf("%s finds %q", filter, ids)
		}
	}
	s.managed(t, holdersOf(t, "default").pair("tenant-admin"), "GET", "/v1/users/"+id, "").
		wantMembers(t, http.StatusOK, map[string]any{"email": "maria@acme.example", "email_verified": true, "status": "active"})

	patched := p.do(t, "PATCH", "/Users/"+id, `{`+patchOp+`,"Operations":[
		{"op":"Replace","path":"emails[type eq \"work\"].value","value":"m.roy@acme.example"},
		{"op":"Replace","path":"name.familyName","value":"Roy-Levi"},
		{"op":"Add","path":"phoneNumbers[type eq \"mobile\"].value","value":"+1 555 0100"},
		{"op":"Add","value":{"nickName":"Mimi","name.givenName":"Marie","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":"Physics"}}]}`)
	patched.wantMembers(t, http.StatusOK, map[string]any{"nickName": "Mimi", "name": map[string]any{"formatted": "Maria Roy", "familyName": "Roy-Levi", "givenName": "Marie"},
		"emails":       []any{map[string]any{"primary": true, "type": "work", "value": "m.roy@acme.example"}},
		"phoneNumbers": []any{map[string]any{"type": "mobile", "value": "+1 555 0100"}},
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": map[string]any{"department": "Physics"}})

	group := p.do(t, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
		"externalId":"8aa1a0c0","displayName":"Research Staff","meta":{"resourceType":"Group"}}`)
	group.wantMembers(t, http.StatusCreated, map[string]any{"id": "Research Staff", "displayName": "Research Staff", "externalId": "8aa1a0c0"})
	if ids := p.found(t, "/Groups", `displayName eq "Research Staff"`); ids != "Research Staff" {
		t.Errorf("found %q", ids)
	}
	const path = "/Groups/Research%20Staff"
	add := p.do(t, "PATCH", path, `{`+patchOp+`,"Operations":[{"op":"Add","path":"members","value":[{"$ref":null,"value":"`+id+`"}]}]}`)
	if add.status != http.StatusNoContent || add.body != "" || add.header.Get("ETag") == group.header.Get("ETag") {
		t.Errorf("add: %d %v %v", add.status, add, add.header)
	}
	p.do(t, "GET", path+"?excludedAttributes=members", "").wantMembers(t, http.StatusOK, map[string]any{"members": nil, "displayName": "Research Staff"})
	if a := p.do(t, "GET", path, ""); !strings.Contains(a.body, `"value":"`+id+`"`) {
		t.Error(a)
	}
	if ids := p.found(t, "/Groups", `id eq "Research Staff" and members eq "`+id+`"`); ids != "Research Staff" {
		t.Errorf("found %q", ids)
	}
	if ids := p.found(t, "/Users", `groups eq "Research Staff"`); ids != id {
		t.Errorf("found %q", ids)
	}
	s.managed(t, holdersOf(t, "default").pair("tenant-admin"), "PATCH", "/v1/orgs/acme/roles/Research%20Staff", `{"permissions": ["documents:read"]}`).wantMembers(t, http.StatusOK, nil)
	if !s.allowed(t, id) {
		t.Error("the group does not permit what it was given")
	}
	rename := p.do(t, "PATCH", path, `{`+patchOp+`,"Operations":[{"op":"Replace","path":"displayName","value":"Scientists"},{"op":"Replace","value":{"externalId":"9bb"}}]}`)
	if rename.status != http.StatusNoContent || p.found(t, "/Groups", `displayName eq "Scientists"`) != "Research Staff" || p.found(t, "/Groups", `displayName eq "Research Staff"`) != "" ||
		p.found(t, "/Groups", `externalId eq "9bb"`) != "Research Staff" || p.found(t, "/Groups", `externalId eq "8aa1a0c0"`) != "" {
		t.Errorf("rename: %v", rename)
	}

	p.do(t, "PATCH", "/Users/"+id, `{`+patchOp+`,"Operations":[{"op":"Replace","path":"active","value":"False"}]}`).wantMembers(t, http.StatusOK, map[string]any{"active": false})
	if s.allowed(t, id) {
		t.Error("a suspended member is allowed")
	}
	if a := p.do(t, "GET", path, ""); !strings.Contains(a.body, id) {
		t.Errorf("a group loses a member who is suspended: %v", a)
	}
	p.do(t, "PATCH", "/Users/"+id, `{`+patchOp+`,"Operations":[{"op":"Replace","path":"active","value":true}]}`).wantMembers(t, http.StatusOK, map[string]any{"active": true})
	remove := `{` + patchOp + `,"Operations":[{"op":"Remove","path":"members","value":[{"$ref":null,"value":"` + id + `"}]}]}`
	if a := p.do(t, "PATCH", path, remove); a.status != http.StatusNoContent || s.allowed(t, id) {
		t.Errorf("remove: %v", a)
	}
	if a := p.do(t, "DELETE", path, ""); a.status != http.StatusNoContent || a.body != "" {
		t.Errorf("delete the group: %v", a)
	}
	p.do(t, "GET", path, "").wantSCIM(t, http.StatusNotFound, "")
	if a := p.do(t, "DELETE", "/Users/"+id, ""); a.status != http.StatusNoContent {
		t.Errorf("delete: %v", a)
	}
	p.do(t, "GET", "/Users/"+id, "").wantSCIM(t, http.StatusNotFound, "")
	s.managed(t, holdersOf(t, "default").pair("tenant-admin"), "GET", "/v1/users/"+id, "").wantStatus(t, http.StatusNotFound, "not_found")
	if again := p.user(t, "maria@acme.example"); again == id || again == "" {
		t.Errorf("made again as %q", again)
	}
}

// Those of Okta.
func TestOktaProvisions(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	first := p.do(t, "GET", "/Users?startIndex=1&count=2", "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 7, "startIndex": 1, "itemsPerPage": 2})
	if second := p.do(t, "GET", "/Users?startIndex=6&count=100", "").object(t); fmt.Sprint(second["itemsPerPage"]) != "2" || fmt.Sprint(first["Resources"]) == fmt.Sprint(second["Resources"]) {
		t.Errorf("the last page: %v", second)
	}
	groups := p.do(t, "GET", "/Groups?startIndex=1&count=100", "")
	for id, there := range map[string]bool{"viewer": true, "editor": true, "developer": false, "admin": false} {
		if strings.Contains(groups.body, `"id":"`+id+`"`) != there {
			t.Errorf("%s among the groups: %v", id, groups)
		}
	}
	created := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"isaac@acme.example","name":{"givenName":"Isaac","familyName":"Brock"},
		"emails":[{"primary":true,"value":"isaac@acme.example","type":"work"},{"value":"isaac@home.example","type":"home"}],"displayName":"Isaac Brock","locale":"en-US",
		"externalId":"00ujl29u0le5T6Aj10h7","groups":[],"password":"1mz050nq-very-secret","active":true}`)
	user := created.wantMembers(t, http.StatusCreated, map[string]any{"locale": "en-US", "password": nil})
	id, _ := user["id"].(string)
	if strings.Contains(p.do(t, "GET", "/Users/"+id, "").body, "secret") {
		t.Error("a password is shown")
	}
	replaced := p.do(t, "PUT", "/Users/"+id, `{`+userSchema+`,"id":"`+id+`","userName":"isaac.b@acme.example","name":{"givenName":"Isaac","familyName":"B."},
		"emails":[{"primary":true,"value":"isaac.b@acme.example","type":"work"}],"active":true,"groups":[{"value":"admin"}],"meta":{"resourceType":"User"},"externalId":"00ujl29u0le5T6Aj10h7"}`)
	replaced.wantMembers(t, http.StatusOK, map[string]any{"userName": "isaac.b@acme.example", "locale": nil, "groups": nil, "displayName": nil,
		"emails": []any{map[string]any{"primary": true, "type": "work", "value": "isaac.b@acme.example"}}})
	p.do(t, "PATCH", "/Users/"+id, `{`+patchOp+`,"Operations":[{"op":"replace","value":{"active":false}}]}`).wantMembers(t, http.StatusOK, map[string]any{"active": false})
	p.do(t, "PATCH", "/Users/"+id, `{`+patchOp+`,"Operations":[{"op":"replace","value":{"active":true}}]}`).wantMembers(t, http.StatusOK, map[string]any{"active": true})

	// Group push.
	p.do(t, "POST", "/Groups", `{`+groupOf+`,"displayName":"sales","members":[{"value":"`+id+`","display":"isaac"},{"value":"bob"}]}`).wantMembers(t, http.StatusCreated, nil)
	p.do(t, "PATCH", "/Groups/sales", `{`+patchOp+`,"Operations":[{"op":"replace","value":{"id":"sales","displayName":"Sales Team"}}]}`)
	p.do(t, "PATCH", "/Groups/sales", `{`+patchOp+`,"Operations":[{"op":"remove","path":"members[value eq \"`+id+`\"]"},{"op":"add","path":"members","value":[{"value":"carol","display":"carol"}]}]}`)
	a := p.do(t, "GET", "/Groups/sales", "")
	a.wantMembers(t, http.StatusOK, map[string]any{"displayName": "Sales Team"})
	if ids := memberIDs(t, a); ids != "bob carol" {
		t.Errorf("members: %s", ids)
	}
	a = p.do(t, "PUT", "/Groups/sales", `{`+groupOf+`,"displayName":"Sales Team","members":[{"value":"`+id+`"}]}`)
	if ids := memberIDs(t, a); ids != id {
		t.Errorf("members: %s in %v", ids, a)
	}
	p.do(t, "PATCH", "/Groups/sales", `{`+patchOp+`,"Operations":[{"op":"replace","path":"members","value":[{"value":"dora"}]}]}`)
	if ids := memberIDs(t, p.do(t, "GET", "/Groups/sales", "")); ids != "dora" {
		t.Errorf("members: %s", ids)
	}
	if ids := memberIDs(t, p.do(t, "GET", "/Groups/editor", "")); ids != "carol dora dave" { // of whom dave is suspended
		t.Errorf("members: %s", ids)
	}
	if ids := memberIDs(t, p.do(t, "PUT", "/Groups/editor", `{`+groupOf+`,"displayName":"editor","members":[{"value":"carol"}]}`)); ids != "carol" {
		t.Errorf("members: %s", ids)
	}
	// A role of the tenant is a group that is not the organization's to change.
	if a := p.do(t, "PATCH", "/Groups/viewer", `{`+patchOp+`,"Operations":[{"op":"add","path":"members","value":[{"value":"`+id+`"}]}]}`); a.status != http.StatusNoContent || !s.allowed(t, id) {
		t.Errorf("viewer: %v", a)
	}
	p.do(t, "DELETE", "/Groups/viewer", "").wantSCIM(t, http.StatusForbidden, "")
	if !s.allowed(t, id) || !s.allowed(t, "bob") {
		t.Error("a refused deletion has taken the role")
	}
}

func memberIDs(t testing.TB, a answer) string {
	t.Helper()
	var group struct{ Members []struct{ Value string } }
	if err := json.Unmarshal([]byte(a.body), &group); err != nil {
		t.Fatalf("%v: %v", err, a)
	}
	var ids []string
	for _, m := range group.Members {
		ids = append(ids, m.Value)
	}
	return strings.Join(ids, " ")
}

func TestSCIMErrors(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	id := p.user(t, "maria@acme.example")
	p.do(t, "PUT", "/Users/"+id, `{`+userSchema+`,"userName":"maria@acme.example","externalId":"x1"}`)
	s.managed(t, holdersOf(t, "default").pair("tenant-admin"), "PUT", "/v1/orgs/acme/roles/managers", `{"permissions": ["orgs.members.*"]}`).wantMembers(t, http.StatusCreated, nil)
	deep := strings.Repeat("(", 40) + `a eq 1` + strings.Repeat(")", 40)
	long := `userName eq "` + strings.Repeat("a", 5000) + `"`
	user := func(members string) string { return `{` + userSchema + `,` + members + `}` }
	patch := func(operations string) string { return `{` + patchOp + `,"Operations":[` + operations + `]}` }
	for _, row := range []struct {
		method, path, body string
		status             int
		kind               string
	}{
		{"POST", "/Users", user(`"userName":"maria@acme.example"`), 409, "uniqueness"},
		{"POST", "/Users", user(`"userName":"other@acme.example","emails":[{"value":"Maria@ACME.example"}]`), 409, "uniqueness"},
		{"POST", "/Users", user(`"userName":"new@acme.example","externalId":"x1"`), 409, "uniqueness"},
		{"POST", "/Users", user(`"userName":"gateway","emails":[{"value":"new@acme.example"}]`), 403, ""}, // the id of an API key
		{"POST", "/Users", user(`"userName":"erin","emails":[{"value":"new@acme.example"}]`), 403, ""},    // of another organization
		{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"userName","value":"erin"}`), 403, ""},
		{"POST", "/Users", user(`"name":{}`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":7`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":" maria"`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":"m\u0430ria@acme.example","emails":[{"value":"new@acme.example"}]`), 403, ""}, // a Cyrillic а
		{"POST", "/Users", user(`"userName":"x|y|z@acme.example","emails":[{"value":"new@acme.example"}]`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":"new@acme.example","USERNAME":"other"`), 400, "invalidSyntax"},
		{"POST", "/Users", user(`"userName":"new@acme.example","active":"perhaps"`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":"new@acme.example","emails":["new@acme.example"]`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":"new@acme.example","displayName":"` + strings.Repeat("x", 17<<10) + `"`), 400, "invalidValue"},
		{"POST", "/Users", user(`"userName":"new@acme.example","externalId":"` + strings.Repeat("x", 2000) + `"`), 400, "invalidValue"},
		{"POST", "/Users", `{"userName":"new@acme.example"}`, 400, "invalidSyntax"},
		{"POST", "/Users", `{"schemas":["urn:example:Robot"],"userName":"new@acme.example"}`, 400, "invalidSyntax"},
		{"POST", "/Users", `{`, 400, "invalidSyntax"},
		{"POST", "/Users", `[]`, 400, "invalidSyntax"},
		{"POST", "/Users", user(`"userName":"new@globex.example"`), 403, ""},
		{"POST", "/Users", user(`"userName":"erin@globex.example","emails":[{"value":"new@acme.example"}]`), 403, ""},
		{"POST", "/Users", user(`"userName":"nobody"`), 403, ""},
		{"PUT", "/Users/" + id, user(`"userName":"maria@acme.example","id":"other"`), 400, "mutability"},
		{"PUT", "/Users/" + id, user(`"userName":"maria@globex.example"`), 403, ""},
		{"PUT", "/Users/none", user(`"userName":"none@acme.example"`), 404, ""},
		{"PATCH", "/Users/none", patch(`{"op":"replace","path":"active","value":false}`), 404, ""},
		{"DELETE", "/Users/none", "", 404, ""},
		{"GET", "/Users/none", "", 404, ""},
		{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"id","value":"other"}`), 400, "mutability"},
		{"PATCH", "/Users/" + id, patch(`{"op":"add","path":"groups","value":[{"value":"admin"}]}`), 400, "mutability"},
		{"PATCH", "/Users/" + id, patch(`{"op":"move","path":"active","value":false}`), 400, "invalidSyntax"},
		{"PATCH", "/Users/" + id, patch(`{"op":"remove"}`), 400, "noTarget"},
		{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"emails[type ne \"home\" and","value":"x"}`), 400, "invalidPath"},
		{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"emails[type co \"fax\"].value","value":"x"}`), 400, "noTarget"},
		{"PATCH", "/Users/" + id, patch(`{"op":"replace","path":"active"}`), 400, "invalidValue"},
		{"PATCH", "/Users/" + id, `{"Operations":[{"op":"replace","path":"active","value":false}]}`, 400, "invalidSyntax"},
		{"PATCH", "/Users/" + id, patch(``), 400, "invalidSyntax"},
		{"GET", "/Users?filter=" + url.QueryEscape(deep), "", 400, "invalidFilter"},
		{"GET", "/Users?filter=" + url.QueryEscape(long), "", 400, "invalidFilter"},
		{"GET", "/Users?filter=userName", "", 400, "invalidFilter"},
		{"GET", "/Users?filter=%FF", "", 400, "invalidSyntax"},
		{"GET", "/Users?count=many", "", 400, "invalidValue"},
		{"GET", "/Users?attributes=%22", "", 400, "invalidValue"},
		{"POST", "/Users/.search", `{}`, 400, "invalidSyntax"},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"viewer"}`, 409, "uniqueness"},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"admin"}`, 403, ""},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"managers"}`, 409, "uniqueness"}, // which its own admins have defined
		{"GET", "/Groups/managers", "", 404, ""},
		{"POST", "/Groups", `{` + groupOf + `}`, 400, "invalidValue"},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"v\u0456ewer"}`, 400, "invalidValue"}, // a Ukrainian і
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"sales","members":[{"value":"erin"}]}`, 400, "invalidValue"},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"sales","members":[{"value":"viewer","type":"Group"}]}`, 400, "invalidValue"},
		{"GET", "/Groups/admin", "", 404, ""},
		{"PATCH", "/Groups/admin", patch(`{"op":"add","path":"members","value":[{"value":"` + id + `"}]}`), 404, ""},
		{"PATCH", "/Groups/viewer", patch(`{"op":"add","path":"permissions","value":["*"]}`), 400, "invalidPath"},
		{"PATCH", "/Groups/viewer", patch(`{"op":"replace","path":"displayName","value":"editor"}`), 409, "uniqueness"},
		{"PATCH", "/Groups/viewer", patch(`{"op":"replace","path":"members[value eq \"bob\"].value","value":"x"}`), 400, "invalidPath"},
		{"GET", "/Me", "", 501, ""},
		{"POST", "/Bulk", `{}`, 501, ""},
		{"GET", "/Schemas/none", "", 404, ""},
	} {
		a := p.do(t, row.method, row.path, row.body)
		if len(row.path) > 80 {
			row.path = row.path[:80]
		}
		t.Run(row.method+" "+row.path, func(t *testing.T) { a.wantSCIM(t, row.status, row.kind) })
	}
	a := s.send(t, "POST", "/scim/v2/Users", `{}`, append([]string{"Content-Type: text/plain"}, p.as...)...)
	a.wantSCIM(t, http.StatusBadRequest, "invalidSyntax")
	if ids := p.found(t, "/Users", `userName sw "new"`); ids != "" {
		t.Errorf("a refused request has made %s", ids)
	}
}

func TestSCIMVersions(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	id := p.user(t, "maria@acme.example")
	tag := p.do(t, "GET", "/Users/"+id, "").header.Get("ETag")
	if a := p.do(t, "GET", "/Users/"+id, "", "If-None-Match: "+tag); a.status != http.StatusNotModified || a.body != "" {
		t.Errorf("%d %v", a.status, a)
	}
	body := `{` + patchOp + `,"Operations":[{"op":"add","path":"title","value":"Dr."}]}`
	changed := p.do(t, "PATCH", "/Users/"+id, body, "If-Match: "+tag)
	changed.wantMembers(t, http.StatusOK, map[string]any{"title": "Dr."})
	p.do(t, "PATCH", "/Users/"+id, body, "If-Match: "+tag).wantSCIM(t, http.StatusPreconditionFailed, "")
	p.do(t, "DELETE", "/Users/"+id, "", "If-Match: "+tag).wantSCIM(t, http.StatusPreconditionFailed, "")
	p.do(t, "GET", "/Users/"+id, "", "If-None-Match: "+tag).wantMembers(t, http.StatusOK, map[string]any{"title": "Dr."})
	if again := p.do(t, "PATCH", "/Users/"+id, body); again.body != changed.body || again.header.Get("ETag") != changed.header.Get("ETag") {
		t.Errorf("what changes nothing has another version: %v, %v", again, changed)
	}
	one := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"once@acme.example"}`, "Idempotency-Key: k")
	two := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"once@acme.example"}`, "Idempotency-Key: k")
	if one.body != two.body || two.status != http.StatusCreated || two.header.Get("ETag") != one.header.Get("ETag") {
		t.Errorf("repeated: %v, first %v", two, one)
	}
	shown := p.do(t, "GET", "/Users/"+id+"?attributes=userName,name.givenName", "").object(t)
	if len(shown) != 3 || shown["id"] != id || shown["userName"] == nil || shown["schemas"] == nil {
		t.Errorf("shown: %v", shown)
	}
	if hidden := p.do(t, "GET", "/Users/"+id+"?excludedAttributes=emails,meta,id", "").object(t); hidden["emails"] != nil || hidden["meta"] != nil || hidden["id"] != id {
		t.Errorf("hidden: %v", hidden)
	}
	for _, value := range []string{"", "..", "a/b", strings.Repeat("x", 3000)} {
		for _, attribute := range []string{"id", "userName", "externalId", "emails.value", "groups.value", "title"} {
			if ids := p.found(t, "/Users", attribute+` eq "`+value+`"`); ids != "" {
				t.Errorf("%s %q: %s", attribute, value, ids)
			}
		}
		for _, attribute := range []string{"id", "displayName", "externalId", "members.value"} {
			if ids := p.found(t, "/Groups", attribute+` eq "`+value+`"`); ids != "" {
				t.Errorf("%s %q: %s", attribute, value, ids)
			}
		}
	}
	for path, want := range map[string]string{"/ServiceProviderConfig": `"patch":{"supported":true}`, "/ResourceTypes": `"totalResults":2`, "/ResourceTypes/User": `"endpoint":"/Users"`,
		"/Schemas": `"totalResults":3`, "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User": `"name":"userName"`} {
		if a := p.do(t, "GET", path, ""); a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: %v", path, a)
		}
	}
	search := p.do(t, "POST", "/Users/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"title pr","attributes":["userName"],"count":10}`)
	search.wantMembers(t, http.StatusOK, map[string]any{"totalResults": 1, "Resources": []any{map[string]any{"id": id, "userName": "maria@acme.example",
		"schemas": []any{"urn:ietf:params:scim:schemas:core:2.0:User"}}}})
}

// A key of an organization's directory reaches the members of that organization, and nobody else, whatever it sends.
func TestSCIMKeepsToItsOrganization(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	acme, globex := s.provider(t, "acme"), s.provider(t, "globex")
	theirs := globex.user(t, "greta@globex.example")
	globex.do(t, "POST", "/Groups", `{`+groupOf+`,"displayName":"brokers","externalId":"g1"}`)
	none := acme.do(t, "GET", "/Users/none", "")
	for _, id := range []string{theirs, "erin", "frank", "..%2Ferin"} {
		if a := acme.do(t, "GET", "/Users/"+id, ""); a.body != none.body || a.status != http.StatusNotFound {
			t.Errorf("read %s: %v", id, a)
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			body := map[string]string{"PUT": `{` + userSchema + `,"userName":"x@acme.example"}`, "PATCH": `{` + patchOp + `,"Operations":[{"op":"replace","path":"active","value":false}]}`}[method]
			if a := acme.do(t, method, "/Users/"+id, body); a.body != none.body || a.status != http.StatusNotFound {
				t.Errorf("%s %s: %v", method, id, a)
			}
		}
	}
	for _, filter := range []string{`userName eq "greta@globex.example"`, `id eq "` + theirs + `"`, `emails.value eq "greta@globex.example"`, `userName sw "greta"`, `groups.value eq "brokers"`} {
		if ids := acme.found(t, "/Users", filter); ids != "" {
			t.Errorf("%s finds %s", filter, ids)
		}
	}
	for _, filter := range []string{`displayName eq "brokers"`, `externalId eq "g1"`, `id eq "brokers"`} {
		if ids := acme.found(t, "/Groups", filter); ids != "" {
			t.Errorf("%s finds %s", filter, ids)
		}
	}
	acme.do(t, "GET", "/Groups/brokers", "").wantSCIM(t, http.StatusNotFound, "")

	// Who may be joined: whoever has proved an address in the domain, and is told of to nobody else.
	for id, record := range map[string]string{
		"proved":   `{"username": "proved", "email": "proved@acme.example", "email_verified": true}`,
		"claimed":  `{"username": "claimed@acme.example", "email": "claimed@acme.example"}`,
		"twin-1":   `{"username": "twin-1", "email": "twin@acme.example", "email_verified": true}`,
		"twin-2":   `{"username": "twin-2", "email": "twin@acme.example", "email_verified": true}`,
		"stranger": `{"username": "stranger", "email": "stranger@globex.example", "email_verified": true}`,
	} {
		s.managed(t, admin, "PUT", "/v1/users/"+id, record).wantMembers(t, http.StatusCreated, nil)
	}
	acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"proved@acme.example","emails":[{"value":"proved@acme.example"}]}`).
		wantMembers(t, http.StatusCreated, map[string]any{"id": "proved", "userName": "proved"})
	acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"claimed@acme.example"}`).wantSCIM(t, http.StatusConflict, "uniqueness")
	acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"twin@acme.example"}`).wantSCIM(t, http.StatusConflict, "uniqueness")
	acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"proved@acme.example","emails":[{"value":"twin@acme.example"}]}`).wantSCIM(t, http.StatusConflict, "uniqueness")
	// Its key does no more at the other routes.
	for _, path := range []string{"/v1/users", "/v1/users/bob", "/v1/users/proved", "/v1/orgs/globex/members"} {
		s.managed(t, acme.as, "GET", path, "").wantStatus(t, http.StatusNotFound, "not_found")
	}
	s.managed(t, acme.as, "PUT", "/v1/orgs/acme/roles/mine", `{"permissions": ["documents:read"]}`).wantStatus(t, http.StatusForbidden, "role_not_provisionable")
	s.managed(t, acme.as, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["admin"]}`).wantStatus(t, http.StatusForbidden, "not_held")
	known := acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"stranger","emails":[{"value":"stranger@globex.example"}]}`)
	unknown := acme.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"nobody","emails":[{"value":"nobody@globex.example"}]}`)
	if known.body != unknown.body || known.status != http.StatusForbidden {
		t.Errorf("%v, unknown %v", known, unknown)
	}
	// Whoever was there before is taken away from the organization, and stays a user.
	if a := acme.do(t, "DELETE", "/Users/proved", ""); a.status != http.StatusNoContent {
		t.Error(a)
	}
	s.managed(t, admin, "GET", "/v1/users/proved", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "GET", "/v1/orgs/acme/members/proved", "").wantStatus(t, http.StatusNotFound, "not_found")

	// Whoever is a member elsewhere stays one: suspended here, and not there; the record of a user of no domain of its own is read only.
	acme.do(t, "PATCH", "/Users/carol", `{`+patchOp+`,"Operations":[{"op":"replace","path":"active","value":false},{"op":"add","path":"title","value":"Ms."}]}`).
		wantMembers(t, http.StatusOK, map[string]any{"active": false, "title": "Ms."})
	s.managed(t, admin, "GET", "/v1/orgs/globex/members/carol", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	s.managed(t, admin, "GET", "/v1/users/carol", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	globex.do(t, "GET", "/Users/carol", "").wantMembers(t, http.StatusOK, map[string]any{"active": true, "title": nil})
	acme.do(t, "PATCH", "/Users/bob", `{`+patchOp+`,"Operations":[{"op":"replace","path":"userName","value":"bobby"}]}`).wantSCIM(t, http.StatusForbidden, "")
	made := acme.user(t, "both@acme.example")
	s.managed(t, admin, "PUT", "/v1/orgs/globex/members/"+made, `{"roles": []}`).wantMembers(t, http.StatusCreated, nil)
	acme.do(t, "DELETE", "/Users/"+made, "")
	s.managed(t, admin, "GET", "/v1/users/"+made, "").wantMembers(t, http.StatusOK, nil)

	// The last who can manage the members is not removed; no other credential is for this.
	s.managed(t, admin, "DELETE", "/v1/orgs/acme/members/walt", "").wantMembers(t, http.StatusOK, nil)
	acme.do(t, "DELETE", "/Users/alice", "").wantSCIM(t, http.StatusForbidden, "")
	acme.do(t, "PATCH", "/Users/alice", `{`+patchOp+`,"Operations":[{"op":"replace","path":"active","value":false}]}`).wantSCIM(t, http.StatusForbidden, "")
	h := holdersOf(t, "default")
	for name, as := range map[string]credential{"another key": h.key("acme-read"), "of the whole tenant": h.pair("tenant-admin"), "key of a user": h.key("alice-read")} {
		if a := (provider{s, as}).do(t, "GET", "/Users", ""); a.status != http.StatusForbidden {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := (provider{s, nil}).do(t, "GET", "/ServiceProviderConfig", ""); a.status != http.StatusUnauthorized {
		t.Error(a)
	}
	if a := acme.do(t, "GET", "/Users", "", "Origin: https://app.example"); a.status != http.StatusForbidden {
		t.Errorf("from a page: %v", a)
	}
}
