package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

func patchOf(op string) string { return `{` + patchOp + `,"Operations":[` + op + `]}` }

// An account that another organization relies on as well is taken over by no directory: its name and address stay.
func TestSCIMTakesOverNobody(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	admin := holdersOf(t, "default").pair("tenant-admin")
	for id, record := range map[string]string{
		"vera": `{"username": "vera", "email": "vera@acme.example", "email_verified": true}`,
		"solo": `{"username": "solo", "email": "solo@acme.example", "email_verified": true}`,
		"anon": `{"username": "anon", "email": "anon@acme.example"}`,
	} {
		s.managed(t, admin, "PUT", "/v1/users/"+id, record).wantMembers(t, http.StatusCreated, nil)
	}
	s.managed(t, admin, "PUT", "/v1/orgs/globex/members/vera", `{"roles": []}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, admin, "PUT", "/v1/orgs/acme/members/anon", `{"roles": []}`).wantMembers(t, http.StatusCreated, nil)
	for _, id := range []string{"vera", "solo"} { // who is there already keeps the name
		p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"`+id+`@acme.example"}`).wantMembers(t, http.StatusCreated, map[string]any{"id": id, "userName": id})
	}
	email := `{"op":"replace","path":"emails[primary eq true].value","value":"mallory@acme.example"}`
	name := `{"op":"replace","path":"userName","value":"mallory@acme.example"}`
	for _, row := range []struct{ user, operations string }{{"vera", name + "," + email}, {"vera", name}, {"vera", email}, {"anon", email}, {"anon", name}} {
		p.do(t, "PATCH", "/Users/"+row.user, patchOf(row.operations)).wantSCIM(t, http.StatusForbidden, "")
	}
	p.do(t, "PUT", "/Users/vera", `{`+userSchema+`,"userName":"mallory@acme.example"}`).wantSCIM(t, http.StatusForbidden, "")
	s.managed(t, admin, "GET", "/v1/users/vera", "").wantMembers(t, http.StatusOK, map[string]any{"username": "vera", "email": "vera@acme.example", "email_verified": true})
	p.do(t, "PATCH", "/Users/vera", patchOf(`{"op":"replace","value":{"active":false,"title":"Dr."}}`)).
		wantMembers(t, http.StatusOK, map[string]any{"active": false, "title": "Dr."})
	p.do(t, "PUT", "/Users/vera", `{`+userSchema+`,"userName":"vera","active":true}`).wantMembers(t, http.StatusOK, map[string]any{"active": true})

	// Whoever is a member here only is renamed, and no link that was mailed before is good any more.
	secrets := directory.Tenant("default").UserSecrets("solo")
	_, err := s.store.Update(t.Context(), func(tx datastore.Tx) error {
		return secrets.Put(t.Context(), tx, directory.UserSecrets{PasswordHash: "x", Reset: "mailed"})
	})
	must(t, err)
	p.do(t, "PATCH", "/Users/solo", patchOf(name+","+email)).wantMembers(t, http.StatusOK, map[string]any{"userName": "mallory@acme.example"})
	view, err := s.store.View(t.Context())
	must(t, err)
	defer view.Close()
	left, _, err := secrets.Find(t.Context(), view)
	must(t, err)
	if left.Reset != "" || left.PasswordHash != "x" {
		t.Errorf("the secrets are %+v", left)
	}
}

func TestSCIMSearchesCostLittle(t *testing.T) {
	s := start(t)
	file := &directory.File{Orgs: []directory.OrgEntry{{ID: "hooli"}}}
	for i := range 600 {
		id := fmt.Sprintf("h%04d", i)
		file.Users = append(file.Users, directory.UserEntry{ID: id, Username: id + "@hooli.example"})
		file.Orgs[0].Members = append(file.Orgs[0].Members, directory.MemberEntry{User: id, Roles: []string{"viewer"}})
	}
	_, err := directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	p := s.provider(t, "hooli")
	attributes, err := json.Marshal(map[string]any{"nickName": strings.Repeat("É", 8000)})
	must(t, err)
	search := func(comparisons int) answer {
		filter := strings.TrimSuffix(strings.Repeat(`nickName co "É#" or `, comparisons), " or ")
		return p.do(t, "GET", "/Users?filter="+url.QueryEscape(filter), "")
	}
	fill := func(users []directory.UserEntry) {
		_, err := s.store.Update(t.Context(), func(tx datastore.Tx) error {
			for _, u := range users {
				if err := directory.Tenant("default").PutProvisioned(t.Context(), tx, directory.ProvisionedMembers, "hooli", u.ID, directory.Provisioned{Attributes: attributes}); err != nil {
					return err
				}
			}
			return nil
		})
		must(t, err)
	}
	fill(file.Users[:10])
	search(9).wantSCIM(t, http.StatusBadRequest, "invalidFilter")
	search(8).wantMembers(t, http.StatusOK, map[string]any{"totalResults": 0})
	for from := 0; from < len(file.Users); from += 60 {
		fill(file.Users[from : from+60])
	}
	search(1).wantSCIM(t, http.StatusBadRequest, "tooMany")
	p.do(t, "GET", "/Users?count=1", "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 600})
	if ids := p.found(t, "/Users", `userName eq "h0599@hooli.example" and nickName co "é"`); ids != "h0599" {
		t.Errorf("found %q", ids)
	}
}

// RFC 7644 §3.10: a value without a path may have the attributes of the core schema under its URN.
func TestSCIMPatchesBySchema(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	const core, enterprise = "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	for i, row := range []struct {
		operation, kind string
		want            map[string]any
	}{
		{`{"op":"replace","value":{"` + core + `":{"active":false}}}`, "", map[string]any{"active": false}},
		{`{"op":"replace","value":{"` + strings.ToUpper(core) + `":{"active":false,"title":"Dr.","id":"x"}}}`, "", map[string]any{"active": false, "title": "Dr."}},
		{`{"op":"replace","value":{"` + core + `:active":false}}`, "", map[string]any{"active": false}},
		{`{"op":"replace","path":"` + core + `:active","value":false}`, "", map[string]any{"active": false}},
		{`{"op":"replace","value":{"` + enterprise + `":{"department":"Bio"}}}`, "", map[string]any{"active": true, enterprise: map[string]any{"department": "Bio"}}},
		{`{"op":"replace","path":"` + core + `","value":{"active":false}}`, "invalidPath", nil},
		{`{"op":"replace","value":{"` + core + `":false}}`, "invalidPath", nil},
		{`{"op":"replace","value":{"` + core + `":{"` + core + `":{"active":false}}}}`, "invalidPath", nil},
		{`{"op":"replace","value":{"urn:acme:Badge:1.0:User":{"number":"7"}}}`, "invalidPath", nil},
		{`{"op":"replace","path":"urn:acme:Badge:1.0:User:number","value":"7"}`, "invalidPath", nil},
		{`{"op":"remove","path":"urn:acme:Badge:1.0:User:number"}`, "invalidPath", nil},
	} {
		t.Run(row.operation, func(t *testing.T) {
			id := p.user(t, fmt.Sprintf("u%d@acme.example", i))
			a := p.do(t, "PATCH", "/Users/"+id, patchOf(row.operation))
			if row.kind != "" {
				a.wantSCIM(t, http.StatusBadRequest, row.kind)
				return
			}
			a.wantMembers(t, http.StatusOK, row.want)
		})
	}
}

// Only what the schemas have is kept, and of passwords nothing, wherever they are.
func TestSCIMKeepsNoPasswords(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	const secret = "pw-7a5e-very-secret"
	const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	members := `"PassWord":"` + secret + `","extra":{"password":"` + secret + `"},"name":{"givenName":"A","password":"` + secret + `"},
		"emails":[{"value":"m@acme.example","Password":"` + secret + `"}],"title":{"password":"` + secret + `"},"displayName":["x",{"password":"` + secret + `"}],
		"urn:acme:Badge:1.0:User":{"password":"` + secret + `"},
		"` + enterprise + `":{"department":"Bio","password":"` + secret + `","manager":{"value":"u","password":{"value":"` + secret + `"}},"division":{"x":{"password":"` + secret + `"}}}`
	want := map[string]any{"name": map[string]any{"givenName": "A"}, "emails": []any{map[string]any{"value": "m@acme.example"}}, "extra": nil, "title": nil, "displayName": nil, "password": nil,
		enterprise: map[string]any{"department": "Bio", "manager": map[string]any{"value": "u"}}, "urn:acme:Badge:1.0:User": nil}
	body := `{` + userSchema + `,"userName":"m@acme.example",` + members + `}`
	made := p.do(t, "POST", "/Users", body)
	made.wantMembers(t, http.StatusCreated, want)
	id, _ := made.object(t)["id"].(string)
	p.do(t, "PUT", "/Users/"+id, body).wantMembers(t, http.StatusOK, want)
	p.do(t, "PATCH", "/Users/"+id, patchOf(`{"op":"add","value":{"password":"`+secret+`","nickName":"M","`+enterprise+`":{"password":"`+secret+`"}}},
		{"op":"replace","path":"password","value":"`+secret+`"},{"op":"add","path":"`+enterprise+`:password","value":"`+secret+`"},
		{"op":"replace","path":"name.password","value":"`+secret+`"},{"op":"add","path":"phoneNumbers[type eq \"work\"].password","value":"`+secret+`"}`)).
		wantMembers(t, http.StatusOK, map[string]any{"nickName": "M", "name": map[string]any{"givenName": "A"}, "password": nil})
	view, err := s.store.View(t.Context())
	must(t, err)
	defer view.Close()
	stored := 0
	for fact, err := range view.Scan(t.Context(), datastore.TenantID("default").Path(), datastore.Path{}) { // the records, the audit and the events
		must(t, err)
		if strings.Contains(string(fact.Value), secret) {
			t.Errorf("%s is %s", fact.Path, fact.Value)
		}
		if strings.Contains(string(fact.Value), `"department":"Bio"`) {
			stored++
		}
	}
	if stored < 2 { // as a record, and in the audit
		t.Errorf("what is provisioned is in %d facts", stored)
	}
}

// RFC 7643 §8.7.1: a userName has no case. Filters find all the addresses of somebody.
func TestSCIMFindsByAnyAddressAndCase(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	made := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"maria@acme.example","emails":[{"value":"m.roy@acme.example","primary":true},{"value":"maria@home.example","type":"home"}]}`)
	maria, _ := made.object(t)["id"].(string)
	otto := p.user(t, "Otto@acme.example")
	for filter, want := range map[string]string{
		`emails.value eq "maria@home.example"`:                 maria,
		`emails eq "Maria@HOME.example"`:                       maria,
		`emails[type eq "home"].value eq "maria@home.example"`: maria,
		`emails[type eq "home" and value eq "m@acme.example"]`: "",
		`emails.value eq "m.roy@acme.example"`:                 maria,
		`userName eq "MARIA@acme.example"`:                     maria,
		`userName eq "otto@ACME.example"`:                      otto,
		`userName eq "Otto@acme.example" and active eq true`:   otto,
		`userName eq "m.roy@acme.example"`:                     "",
		`not (userName ne "Maria@acme.example")`:               maria,
	} {
		if ids := p.found(t, "/Users", filter); ids != want {
			t.Errorf("%s finds %q", filter, ids)
		}
	}
	p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"MARIA@acme.example","emails":[{"value":"other@acme.example"}]}`).wantSCIM(t, http.StatusConflict, "uniqueness")
	schema := p.do(t, "GET", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", "").object(t)
	attributes, _ := schema["attributes"].([]any)
	if len(attributes) == 0 {
		t.Fatal(schema)
	}
	if name, _ := attributes[0].(map[string]any); name["name"] != "userName" || name["caseExact"] != false {
		t.Errorf("the schema says %v", name)
	}
}

// A repeated request is answered as before, and says so, for groups as well.
func TestSCIMRepeatsAreSaid(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	for _, row := range []struct{ method, path, body string }{
		{"POST", "/Users", `{` + userSchema + `,"userName":"maria@acme.example"}`},
		{"POST", "/Groups", `{` + groupOf + `,"displayName":"sales"}`},
		{"PATCH", "/Groups/sales", patchOf(`{"op":"add","path":"members","value":[{"value":"bob"}]}`)},
	} {
		for _, want := range []string{"", "true"} {
			a := p.do(t, row.method, row.path, row.body, "Idempotency-Key: "+row.method+row.path)
			if got := a.header.Get("Idempotency-Replayed"); got != want || a.status > 299 {
				t.Errorf("%s %s: replayed %q, want %q: %v", row.method, row.path, got, want, a)
			}
		}
	}
}
