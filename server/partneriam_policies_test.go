package server_test

import (
	"net/http"
	"testing"

	"mandate/directory"
)

// TestPartnerIAMNotesDecideNothing: who may change an organization's profile writes into its metadata what this wire once kept there.
// A backend that knows nothing of it lets nobody join by it, with roles that the writer could not give.
func TestPartnerIAMNotesDecideNothing(t *testing.T) {
	p, n := startPartner(t)
	const admins = `{"metadata": {"partner_iam": {"policies": {"JITPolicy": {"Enabled": true}, "MemberPolicy": {"DefaultMemberRole": "role_admin"}}}}}`
	for _, row := range []struct{ method, path, body string }{
		{"POST", "/v1/orgs/acme/roles", `{"id": "profile-editor", "permissions": ["orgs.update", "orgs.get"]}`},
		{"PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["profile-editor", "developer"]}`},
		{"PATCH", "/v1/roles/viewer", `{"default": true}`},
	} {
		if a := p.managed(t, p.as, row.method, row.path, row.body); a.status >= http.StatusBadRequest {
			t.Fatalf("%s %s: %v", row.method, row.path, a)
		}
	}
	made := p.managed(t, p.as, "POST", "/v1/apikeys", `{"id": "weak", "org": "acme", "owner": "bob", "scopes": ["manage"]}`)
	key, _ := made.object(t)["key"].(string)
	p.managed(t, bearer(key), "PATCH", "/v1/orgs/acme", admins).wantMembers(t, http.StatusOK, nil)

	p.names["acme"] = "org_acme"
	p.call("PUT", "/organizations/{acme}/policy", `{"JITPolicy": {"Enabled": true}}`).wantError(t, http.StatusForbidden, 8181)
	p.verified(n, "{acme}", "domain", "acme.example")
	joins := func(domain, want string) {
		t.Helper()
		p.managed(t, p.as, "GET", "/v1/orgs/acme/domains/"+domain, "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified", "auto_join": want})
	}
	joins("acme.example", "<nil>")
	p.call("PUT", "/organizations/{acme}/policy", `{"JITPolicy": {"Enabled": true}}`).wantError(t, http.StatusForbidden, 8181)
	p.call("GET", "/organizations/{acme}", "").wantMembers(t, http.StatusOK, map[string]any{"Policies": "map[JITPolicy:map[Enabled:false]]"})

	_, err := directory.Importer{Store: p.store, Master: p.master}.Import(t.Context(), "default", &directory.File{Orgs: []directory.OrgEntry{
		{ID: "acme", Within: true, Domains: []directory.DomainEntry{{Domain: "mail.acme.example", Status: directory.Verified}}}}})
	must(t, err)
	p.made("conn", "POST", "/organizations/{acme}/connections", p.connection("SSO", "acme.example", "acme-client"))
	for _, row := range []struct {
		name, body   string
		code         int
		first, other string
		want         map[string]any
	}{
		{"a default role that nobody joins with", `{"MemberPolicy": {"DefaultMemberRole": "role_editor"}}`, 8159, "<nil>", "<nil>", nil},
		{"other policies", `{"SessionPolicy": {"AccessTokenTTL": 60}}`, 0, "<nil>", "<nil>", map[string]any{"JITPolicy": "map[Enabled:false]"}},
		{"enabled without a role: the tenant's", `{"JITPolicy": {"Enabled": true}}`, 0, "[viewer]", "[viewer]",
			map[string]any{"JITPolicy": "map[Enabled:true]", "MemberPolicy": "map[DefaultMemberRole:role_viewer]"}},
		{"a role alone", `{"MemberPolicy": {"DefaultMemberRole": "role_editor"}}`, 0, "[editor]", "[editor]", nil},
		{"enabled again: as it is", `{"JITPolicy": {"Enabled": true}}`, 0, "[editor]", "[editor]", nil},
		{"disabled", `{"JITPolicy": {"Enabled": false}, "MemberPolicy": {"DefaultMemberRole": "role_editor"}}`, 0, "<nil>", "<nil>", nil},
	} {
		p.managed(t, bearer(key), "PATCH", "/v1/orgs/acme", admins).wantMembers(t, http.StatusOK, nil)
		a := p.call("PUT", "/organizations/{acme}/policy", row.body)
		if row.code != 0 {
			a.wantError(t, http.StatusBadRequest, row.code)
		} else {
			a.wantMembers(t, http.StatusOK, row.want)
		}
		joins("acme.example", row.first)
		joins("mail.acme.example", row.other)
		if t.Failed() {
			t.Fatal(row.name)
		}
	}
}
