package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mandate/server/partneriam"
)

// partnerIAMCodes are all that the wire has. Those that cannot occur here have the reason.
func partnerIAMCodes() map[int]string {
	codes := map[int]string{
		1267: "organizations cannot be switched off in a tenant",
		8188: "there are no plans that limit the organizations of a tenant",
		7909: "comes with what goes wrong in the server: a 500, and a 503 where the store or the DNS is too busy",
	}
	for _, code := range []int{908, 6002, 7900, 7914, 7934, 8044, 8116, 8117, 8118, 8119, 8120, 8122, 8123, 8124, 8125, 8126, 8127, 8128, 8129, 8130, 8131, 8132,
		8135, 8137, 8142, 8143, 8148, 8149, 8150, 8151, 8154, 8156, 8157, 8159, 8160, 8161, 8162, 8163, 8164, 8166, 8167, 8168, 8169, 8170, 8171, 8174, 8175, 8176,
		8177, 8178, 8180, 8181} {
		codes[code] = ""
	}
	return codes
}

// TestPartnerIAMErrors: each row is a route and the code that it answers with.
func TestPartnerIAMErrors(t *testing.T) {
	p, n := startPartner(t)
	p.made("org", "POST", "/organizations", `{"Name": "Hooli"}`)
	p.made("other", "POST", "/organizations", `{"Name": "Other"}`)
	p.made("closed", "POST", "/organizations", `{"Name": "Closed"}`)
	p.made("closedrole", "POST", "/organizations/{closed}/roles", `{"Name": "clerk"}`)
	p.call("PUT", "/organizations/{closed}/status", `{"Active": false}`).wantMembers(t, http.StatusOK, nil)
	p.made("perm", "POST", "/permissions", `{"Name": "read:users"}`)
	p.made("perm2", "POST", "/permissions", `{"Name": "write:users"}`)
	p.made("role", "POST", "/organizations/{org}/roles", `{"Name": "auditor", "Permissions": ["{perm}"]}`)
	p.made("foreign", "POST", "/organizations/{other}/roles", `{"Name": "auditor"}`)
	p.made("hides", "POST", "/organizations/{org}/roles", `{"Name": "editor"}`)
	p.call("PUT", "/roles/role_viewer/default", "").wantMembers(t, http.StatusOK, nil)
	p.call("PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["{role}"]}`).wantMembers(t, http.StatusOK, nil)
	p.verified(n, "{org}", "domain", "hooli.example")
	p.verified(n, "{other}", "foreigndomain", "other.example")
	p.made("pending", "POST", "/organizations/{org}/domains", `{"DomainName": "pending.hooli.example"}`)
	p.made("taken", "POST", "/organizations/{other}/domains", `{"DomainName": "hooli.example"}`)
	claim := p.call("GET", "/organizations/{other}/domains/{taken}", "").object(t)
	n.set(0, claim["VerificationName"].(string), claim["VerificationToken"].(string))
	p.made("conn", "POST", "/organizations/{org}/connections", p.connection("SSO", "hooli.example", "c-1"))
	p.made("group", "POST", "/organizations/{org}/connections/{conn}/grouproles", `{"GroupId": "g-1", "Name": "One", "RoleId": "{role}"}`)
	p.made("group2", "POST", "/organizations/{org}/connections/{conn}/grouproles", `{"GroupId": "g-2", "Name": "Two", "RoleId": "{role}"}`)
	invitation := func(email string) string {
		return `{"email": "` + email + `", "roleIds": ["{role}"], "orgId": "{org}", "inviterUid": "frank"}`
	}
	p.made("revoked", "POST", "/invitations", invitation("r@hooli.example"))
	p.call("DELETE", "/invitations/{revoked}", "").wantMembers(t, http.StatusOK, nil)
	p.made("accepted", "POST", "/invitations", invitation("bob@acme.example"))
	p.managed(t, p.as, "POST", "/v1/orgs/"+strings.TrimPrefix(p.names["org"], "org_")+"/invitations/"+p.names["accepted"][strings.LastIndexByte(p.names["accepted"], '.')+1:]+"/accept",
		`{"user": "bob"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "accepted"})
	p.made("expired", "POST", "/invitations", invitation("e@hooli.example"))
	p.clock.advance(8 * 24 * time.Hour)
	p.call("GET", "/invitations/{expired}", "").wantMembers(t, http.StatusOK, map[string]any{"Status": "expired"})
	p.made("live", "POST", "/invitations", invitation("l@hooli.example"))

	const orgs, conns, groups = "/organizations/{org}", "/organizations/{org}/connections", "/organizations/{org}/connections/{conn}/grouproles"
	happened := map[int]bool{}
	for _, row := range []struct {
		name, method, path, body string
		status, code             int
	}{
		{"POST body missing", "POST", "/organizations", "", 400, 7914},
		{"no JSON", "POST", "/organizations", "{", 400, 8044},
		{"wrong type", "POST", "/organizations", `{"Name": 1}`, 400, 7900},
		{"name required", "POST", "/organizations", `{"Display": {"Name": "x"}}`, 400, 7900},
		{"reserved metadata", "POST", "/organizations", `{"Name": "New", "Metadata": {"partner_iam": "x"}}`, 400, 7900},
		{"domain duplicate", "POST", "/organizations", `{"Name": "New", "Domains": [{"DomainName": "new.example"}, {"DomainName": "new.example"}]}`, 400, 7900},
		{"domain invalid", "POST", "/organizations", `{"Name": "New", "Domains": [{"DomainName": "not a domain"}]}`, 400, 7900},
		{"name taken", "POST", "/organizations", `{"Name": "HOOLI"}`, 409, 8116},
		{"org id malformed", "GET", "/organizations/acme", "", 400, 8117},
		{"org id blank", "GET", "/organizations/%20", "", 400, 8129},
		{"org unknown", "GET", "/organizations/org_nobody", "", 404, 8118},
		{"org unknown", "DELETE", "/organizations/org_nobody", "", 404, 8118},
		{"org inactive", "GET", "/organizations/{closed}", "", 403, 8180},
		{"PUT body missing", "PUT", orgs, "", 400, 7934},
		{"org id malformed", "PUT", "/organizations/role_x", `{"Name": "x"}`, 400, 8117},
		{"domain in use", "PUT", orgs, `{"Domains": []}`, 403, 8178},
		{"org inactive", "PUT", "/organizations/{closed}", `{"Name": "Closed 2"}`, 403, 8180},
		{"name taken", "PUT", orgs, `{"Name": "Other"}`, 409, 8116},
		{"status missing", "PUT", orgs + "/status", `{}`, 400, 8167},
		{"status already so", "PUT", orgs + "/status", `{"Active": true}`, 409, 8166},
		{"org unknown", "PUT", "/organizations/org_nobody/status", `{"Active": true}`, 404, 8118},
		{"default role unknown", "PUT", orgs + "/policy", `{"MemberPolicy": {"DefaultMemberRole": "role_nobody"}}`, 400, 8159},
		{"default role of others", "PUT", orgs + "/policy", `{"MemberPolicy": {"DefaultMemberRole": "{foreign}"}}`, 400, 8159},
		{"JIT without a connection", "PUT", "/organizations/{other}/policy", `{"JITPolicy": {"Enabled": true}}`, 403, 8181},
		{"MFA not there", "PUT", orgs + "/policy", `{"MFAPolicy": {"EnforcementMode": "force"}}`, 403, 8160},
		{"policies contradict", "PUT", orgs + "/policy", `{"PasswordPolicy": {"MinLength": 9, "MaxLength": 8}}`, 400, 7900},
		{"policies contradict", "PUT", orgs + "/policy", `{"SessionPolicy": {"AccessTokenTTL": 9, "RefreshTokenTTL": 8}}`, 400, 7900},
		{"number below 0", "PUT", orgs + "/policy", `{"PasswordPolicy": {"ExpiryDays": -1}}`, 400, 7900},
		{"org inactive", "PUT", "/organizations/{closed}/policy", `{"JITPolicy": {"Enabled": false}}`, 403, 8180},

		{"domain required", "POST", orgs + "/domains", `{}`, 400, 7900},
		{"domain invalid", "POST", orgs + "/domains", `{"DomainName": "co.uk"}`, 400, 7900},
		{"domain there", "POST", orgs + "/domains", `{"DomainName": "hooli.example"}`, 400, 7900},
		{"org inactive", "POST", "/organizations/{closed}/domains", `{"DomainName": "closed.example"}`, 403, 8180},
		{"org unknown", "POST", "/organizations/org_nobody/domains", `{"DomainName": "nobody.example"}`, 404, 8118},
		{"org unknown", "GET", "/organizations/org_nobody/domains", "", 404, 8118},
		{"domain id malformed", "GET", orgs + "/domains/hooli.example", "", 400, 8154},
		{"domain of others", "GET", orgs + "/domains/{foreigndomain}", "", 400, 8154},
		{"domain of others", "DELETE", orgs + "/domains/{foreigndomain}", "", 400, 8154},
		{"domain in use", "DELETE", orgs + "/domains/{domain}", "", 403, 8178},
		{"TXT not there", "POST", orgs + "/domains/{pending}", "", 400, 8168},
		{"verified already", "POST", orgs + "/domains/{domain}", "", 400, 8156},
		{"domain verified by others", "POST", "/organizations/{other}/domains/{taken}", "", 409, 8157},

		{"type required", "POST", conns, `{"Name": "x", "Domain": "hooli.example"}`, 400, 7900},
		{"type unknown", "POST", conns, `{"Name": "x", "Domain": "hooli.example", "ConnectionType": "ldap"}`, 400, 7900},
		{"SAML", "POST", conns, `{"Name": "x", "Domain": "hooli.example", "ConnectionType": "saml_okta", "IDPEntityId": "https://idp.example"}`, 400, 7900},
		{"name required", "POST", conns, `{"Domain": "hooli.example", "ConnectionType": "oidc_custom"}`, 400, 7900},
		{"name invalid", "POST", conns, p.connection("-x-", "hooli.example", "c-2"), 400, 7900},
		{"domain required", "POST", conns, p.connection("x", "", "c-2"), 400, 7900},
		{"issuer invalid", "POST", "/organizations/{other}/connections", strings.Replace(p.connection("x", "other.example", "c-2"), "https://idp.example", "idp", 1), 400, 7900},
		{"domain not verified", "POST", conns, p.connection("x", "pending.hooli.example", "c-2"), 403, 8177},
		{"domain of others", "POST", conns, p.connection("x", "other.example", "c-2"), 404, 8150},
		{"domain has a connection", "POST", conns, p.connection("x", "hooli.example", "c-2"), 409, 8149},
		{"name taken", "POST", conns, p.connection("sso", "hooli.example", "c-2"), 409, 8148},
		{"org inactive", "POST", "/organizations/{closed}/connections", p.connection("x", "closed.example", "c-2"), 403, 8180},
		{"connection id malformed", "GET", conns + "/sso", "", 400, 8151},
		{"connection unknown", "GET", conns + "/conn_nobody", "", 400, 8151},
		{"connection of others", "PUT", "/organizations/{other}/connections/{conn}", `{"Name": "mine"}`, 400, 8151},
		{"issuer fixed", "PUT", conns + "/{conn}", `{"Issuer": "https://another.example"}`, 400, 7900},
		{"connection of others", "DELETE", "/organizations/{other}/connections/{conn}", "", 400, 8151},
		{"domain not verified", "PUT", conns + "/{conn}", `{"Domain": "pending.hooli.example"}`, 403, 8177},
		{"domain of others", "PUT", conns + "/{conn}", `{"Domain": "other.example"}`, 404, 8150},
		{"status missing", "PUT", conns + "/{conn}/status", `{"IsActive": false}`, 400, 8167},
		{"status already so", "PUT", conns + "/{conn}/status", `{"Active": true}`, 409, 8166},

		{"group required", "POST", groups, `{"Name": "x", "RoleId": "{role}"}`, 400, 7900},
		{"role required", "POST", groups, `{"Name": "x", "GroupId": "g-3"}`, 400, 7900},
		{"name taken", "POST", groups, `{"GroupId": "g-3", "Name": "One", "RoleId": "{role}"}`, 409, 8161},
		{"group taken", "POST", groups, `{"GroupId": "g-1", "Name": "x", "RoleId": "{role}"}`, 409, 8162},
		{"role id malformed", "POST", groups, `{"GroupId": "g-3", "Name": "x", "RoleId": "auditor"}`, 400, 8124},
		{"role unknown", "POST", groups, `{"GroupId": "g-3", "Name": "x", "RoleId": "role_nobody"}`, 404, 8125},
		{"role of others", "POST", groups, `{"GroupId": "g-3", "Name": "x", "RoleId": "{foreign}"}`, 403, 8142},
		{"id malformed", "PUT", groups + "/g-1", `{"Name": "x"}`, 400, 8164},
		{"unknown", "PUT", groups + "/group_role_g-9", `{"Name": "x"}`, 404, 8163},
		{"unknown", "DELETE", groups + "/group_role_g-9", "", 404, 8163},
		{"name taken", "PUT", groups + "/{group}", `{"Name": "Two"}`, 409, 8161},
		{"group taken", "PUT", groups + "/{group}", `{"GroupId": "g-2"}`, 409, 8162},

		{"name required", "POST", orgs + "/roles", `{"Permissions": []}`, 400, 8127},
		{"permission unknown", "POST", orgs + "/roles", `{"Name": "x", "Permissions": ["perm_nobody"]}`, 400, 8119},
		{"name taken", "POST", orgs + "/roles", `{"Name": "auditor"}`, 409, 8123},
		{"org inactive", "POST", "/organizations/{closed}/roles", `{"Name": "x"}`, 403, 8180},
		{"org unknown", "GET", "/organizations/org_nobody/roles", "", 404, 8118},
		{"name required", "POST", "/roles", `{"Name": " "}`, 400, 8127},
		{"name invalid", "POST", "/roles", `{"Name": "Prüfer"}`, 400, 7900},
		{"permission id malformed", "POST", "/roles", `{"Name": "x", "Permissions": ["read:users"]}`, 400, 8119},
		{"name taken", "POST", "/roles", `{"Name": "viewer"}`, 409, 8123},
		{"role id blank", "GET", "/roles/%20", "", 400, 8126},
		{"role id malformed", "GET", "/roles/viewer", "", 400, 8124},
		{"role unknown", "GET", "/roles/role_nobody", "", 404, 8125},
		{"role unknown", "PUT", "/roles/role_nobody", `{"Description": "x"}`, 404, 8125},
		{"name is fixed", "PUT", "/roles/{role}", `{"Name": "Another"}`, 400, 7900},
		{"role unknown", "DELETE", "/roles/role_nobody", "", 404, 8125},
		{"default role", "DELETE", "/roles/role_viewer", "", 403, 8128},
		{"role of an org", "PUT", "/roles/{role}/default", "", 403, 8143},
		{"role unknown", "PUT", "/roles/role_nobody/default", "", 404, 8125},
		{"role unknown", "GET", "/roles/nobody/name", "", 404, 8125},
		{"role of others", "GET", "/roles/viewer/name?orgid={org}", "", 404, 8125},
		{"org inactive", "DELETE", "/roles/{closedrole}", "", 403, 8180},

		{"name invalid", "POST", "/permissions", `{"Name": "read users"}`, 400, 7900},
		{"name taken", "POST", "/permissions", `{"Name": "read:users"}`, 409, 8120},
		{"id blank", "GET", "/permissions/%20", "", 400, 8122},
		{"id unknown", "GET", "/permissions/perm_nobody", "", 400, 8119},
		{"id malformed", "DELETE", "/permissions/read:users", "", 400, 8119},
		{"id unknown", "PUT", "/permissions/perm_nobody", `{"Description": "x"}`, 400, 8119},
		{"name taken", "PUT", "/permissions/{perm}", `{"Name": "write:users"}`, 409, 8120},

		{"user id blank", "GET", "/account/%20/orgcontext", "", 400, 8131},
		{"user in no org", "GET", "/account/nobody/orgcontext", "", 404, 8135},
		{"user in no org", "DELETE", "/account/nobody/orgcontext", "", 404, 8135},
		{"user not in org", "GET", "/account/alice/orgcontext/{org}", "", 404, 8135},
		{"user not in org", "DELETE", "/account/alice/orgcontext/{org}", "", 404, 8135},
		{"user unknown", "PUT", "/account/nobody/orgcontext/{org}/roles", `{"RoleIds": ["{role}"]}`, 404, 8132},
		{"role held already", "PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["{role}"]}`, 409, 8130},
		{"role of others", "PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["{foreign}"]}`, 403, 8142},
		{"role hidden by the org's", "PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["role_editor"]}`, 403, 8142},
		{"role unknown", "PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["role_nobody"]}`, 404, 8125},
		{"roles required", "PUT", "/account/frank/orgcontext/{org}/roles", `{}`, 400, 7900},
		{"org inactive", "PUT", "/account/frank/orgcontext/{closed}/roles", `{"RoleIds": ["role_viewer"]}`, 403, 8180},
		{"role of an org", "PUT", "/account/frank/orgcontext/roles", `{"RoleIds": ["{role}"]}`, 403, 8143},
		{"user unknown", "PUT", "/account/nobody/orgcontext/roles", `{"RoleIds": ["role_viewer"]}`, 404, 8132},
		{"role held already", "PUT", "/account/dora/orgcontext/roles", `{"RoleIds": ["role_editor"]}`, 409, 8130},
		{"org unknown", "GET", "/organizations/org_nobody/orgcontext", "", 404, 8118},

		{"something missing", "POST", "/invitations", `{"email": "x@hooli.example", "orgId": "{org}"}`, 400, 908},
		{"email invalid", "POST", "/invitations", invitation("nobody"), 400, 8137},
		{"role id malformed", "POST", "/invitations", strings.Replace(invitation("x@hooli.example"), "{role}", "auditor", 1), 400, 8124},
		{"role unknown", "POST", "/invitations", strings.Replace(invitation("x@hooli.example"), "{role}", "role_nobody", 1), 404, 8125},
		{"role of others", "POST", "/invitations", strings.Replace(invitation("x@hooli.example"), "{role}", "{foreign}", 1), 403, 8142},
		{"inviter unknown", "POST", "/invitations", strings.Replace(invitation("x@hooli.example"), "frank", "nobody", 1), 400, 8174},
		{"inviter disabled", "POST", "/invitations", strings.Replace(invitation("x@hooli.example"), "frank", "walt", 1), 400, 8174},
		{"invited already", "POST", "/invitations", invitation("L@hooli.example"), 400, 8171},
		{"member already", "POST", "/invitations", invitation("frank@hooli.example"), 409, 8170},
		{"URL of others", "POST", "/invitations?invitation_url=https://evil.example/", invitation("x@hooli.example"), 400, 8176},
		{"URL of a third party", "POST", "/invitations?invitation_url=https://backupco.example/callback", invitation("x@hooli.example"), 400, 8176},
		{"org inactive", "POST", "/invitations", strings.NewReplacer("{org}", "{closed}", "{role}", "role_viewer").Replace(invitation("x@hooli.example")), 403, 8180},
		{"org unknown", "POST", "/invitations", strings.NewReplacer("{org}", "org_nobody", "{role}", "role_viewer").Replace(invitation("x@hooli.example")), 404, 8118},
		{"org id missing", "GET", "/invitations", "", 400, 8129},
		{"org id malformed", "GET", "/invitations?orgid=acme", "", 400, 8117},
		{"id blank", "GET", "/invitations/%20", "", 400, 908},
		{"id malformed", "GET", "/invitations/x", "", 400, 8175},
		{"unknown", "GET", "/invitations/inv_acme.x", "", 404, 8169},
		{"unknown", "POST", "/invitations/inv_acme.x/resend", "", 404, 8169},
		{"URL is fixed", "PUT", "/invitations/{live}?invitation_url=https://portal.example/callback", `{"RolesIds": ["{role}"]}`, 400, 8176},
		{"nothing to do", "PUT", "/invitations/{live}", `{}`, 400, 908},
		{"sent just now", "POST", "/invitations/{live}/resend", "", 400, 8171},
		{"accepted", "PUT", "/invitations/{accepted}", `{"RolesIds": ["{role}"]}`, 400, 8175},
		{"accepted", "DELETE", "/invitations/{accepted}", "", 400, 8175},
		{"accepted", "POST", "/invitations/{accepted}/resend", "", 400, 8175},
		{"expired", "PUT", "/invitations/{expired}", `{"ResendEmail": true}`, 400, 8175},
		{"expired", "DELETE", "/invitations/{expired}", "", 400, 8175},
		{"expired", "POST", "/invitations/{expired}/resend", "", 400, 8175},
		{"revoked", "PUT", "/invitations/{revoked}", `{"RolesIds": ["{role}"]}`, 400, 8175},
		{"revoked", "DELETE", "/invitations/{revoked}", "", 400, 8175},
		{"revoked", "POST", "/invitations/{revoked}/resend", "", 400, 8175},
	} {
		t.Run(fmt.Sprintf("%s %s %d %s", row.method, row.path, row.code, row.name), func(t *testing.T) {
			said := p.call(row.method, row.path, row.body).wantError(t, row.status, row.code)
			if description, _ := said["Description"].(string); row.code == 8175 && row.name != "id malformed" && !strings.Contains(description, row.name) {
				t.Errorf("it does not say that it is %s: %s", row.name, description)
			}
		})
		happened[row.code] = true
	}
	anonymous := *p
	anonymous.as = nil
	for _, route := range partneriam.Routes() {
		anonymous.call(route.Method, route.Path, "").wantError(t, http.StatusForbidden, 6002)
		happened[6002] = true
	}
	for code, reason := range partnerIAMCodes() {
		if happened[code] != (reason == "") {
			t.Errorf("%d: has happened: %v; the reason why it cannot: %q", code, happened[code], reason)
		}
	}
}

// A key of one organization learns nothing of another: its answers are those about what there is not.
func TestPartnerIAMTellsNothingOfOthers(t *testing.T) {
	p, n := startPartner(t)
	h := holdersOf(t, "default")
	p.verified(n, "org_globex", "domain", "globex.example")
	p.made("conn", "POST", "/organizations/org_globex/connections", p.connection("SSO", "globex.example", "c-1"))
	p.made("group", "POST", "/organizations/org_globex/connections/{conn}/grouproles", `{"GroupId": "g-1", "Name": "One", "RoleId": "role_globex.editor"}`)
	p.made("inv", "POST", "/invitations", `{"email": "x@globex.example", "roleIds": ["role_globex.editor"], "orgId": "org_globex", "inviterUid": "erin"}`)
	p.made("perm", "POST", "/permissions", `{"Name": "documents:read"}`)
	there := map[string]string{"{orgId}": "org_globex", "{domainId}": p.names["domain"], "{connId}": p.names["conn"], "{groupRoleId}": p.names["group"], "{name}": "editor",
		"{invitationId}": p.names["inv"], "{uid}": "erin", "ORG": "org_globex", "ROLE": "role_globex.editor"}
	nowhere := map[string]string{"{orgId}": "org_nobody", "{domainId}": "org_domain_nobody", "{connId}": "conn_nobody", "{groupRoleId}": "group_role_nobody", "{name}": "nobody",
		"{invitationId}": "inv_nobody.x", "{uid}": "nobody", "ORG": "org_nobody", "ROLE": "role_nobody.editor"}
	body := `{"Name": "Mine", "Active": true, "DomainName": "mine.example", "ConnectionType": "oidc_custom", "Domain": "globex.example", "Issuer": "https://idp.example", "ClientId": "c",
		"GroupId": "g-1", "RoleId": "ROLE", "RoleIds": ["ROLE"], "RolesIds": ["ROLE"], "email": "x@globex.example", "roleIds": ["ROLE"], "orgId": "ORG", "inviterUid": "alice"}`
	for _, route := range partneriam.Routes() {
		if route.Path == "/organizations" || route.Path == "/roles" || route.Path == "/permissions" {
			continue // about nobody in particular
		}
		there["{id}"], nowhere["{id}"] = "role_globex.editor", "role_nobody.editor"
		if strings.HasPrefix(route.Path, "/permissions") {
			there["{id}"], nowhere["{id}"] = p.names["perm"], "perm_nobody"
		}
		asked := func(ids map[string]string) answer {
			path, sent := route.Path+"?orgid=ORG", body
			for name, id := range ids {
				path, sent = strings.ReplaceAll(path, name, id), strings.ReplaceAll(sent, name, id)
			}
			return p.managed(t, h.key("acme-manager"), route.Method, "/v2/manage"+path, sent)
		}
		if got, want := asked(there), asked(nowhere); got.status == http.StatusOK || got.status != want.status || got.body != want.body {
			t.Errorf("%s %s: %d %s, and of what is not there %d %s", route.Method, route.Path, got.status, got.body, want.status, want.body)
		}
	}
}
