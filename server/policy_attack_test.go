package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
)

// TestVendorDoesNotRemakeWhatTheOrganizationEnds: what the organization has suspended its vendor does not resume by making it
// anew, nor what the organization has deleted.
func TestVendorDoesNotRemakeWhatTheOrganizationEnds(t *testing.T) {
	s, h := startIntegrating(t)
	const all, body = "/v1/orgs/acme/integrations", `{"vendor": "syncly"}`
	vendor, tenant, alice := bearer(s.issue(t, h.client("syncly-oem"), publicURL)), h.pair("tenant-admin"), s.administrator(t, h, "alice", "acme")
	for _, row := range []struct {
		name         string
		as           credential
		method, path string
		body         string
		status       int
		code         string
	}{
		{"the vendor makes it", vendor, "POST", all, body, 201, ""},
		{"the organization suspends it", alice, "PATCH", synclyOne, `{"status": "suspended"}`, 200, ""},
		{"the vendor resumes it", vendor, "PATCH", synclyOne, `{"status": "active"}`, 403, "vendor_not_authorized"},
		{"the vendor deletes it", vendor, "DELETE", synclyOne, "", 403, "vendor_not_authorized"},
		{"the organization deletes it", alice, "DELETE", synclyOne, "", 200, ""},
		{"the vendor makes it anew", vendor, "POST", all, body, 403, "vendor_not_authorized"},
		{"the organization makes it anew", alice, "POST", all, `{"vendor": "syncly", "scopes": []}`, 201, ""},
		{"the vendor deletes its own", vendor, "DELETE", synclyOne, "", 200, ""},
		{"the vendor makes its own anew", vendor, "POST", all, body, 201, ""},
		{"the tenant suspends it", tenant, "PATCH", synclyOne, `{"status": "suspended"}`, 200, ""},
		{"the organization resumes it", alice, "PATCH", synclyOne, `{"status": "active"}`, 403, "suspended_by_others"},
		{"the organization deletes it for the tenant", alice, "DELETE", synclyOne, "", 403, "suspended_by_others"},
		{"the vendor deletes it for the tenant", vendor, "DELETE", synclyOne, "", 403, "vendor_not_authorized"},
		{"the tenant deletes it", tenant, "DELETE", synclyOne, "", 200, ""},
	} {
		s.managed(t, row.as, row.method, row.path, row.body).wantOutcome(t, row.name, row.status, row.code)
	}
	s.managed(t, alice, "POST", all, `{"vendor": "syncly", "scopes": []}`).wantOutcome(t, "made", 201, "")
	s.managed(t, alice, "DELETE", synclyOne, "").wantOutcome(t, "ended", 200, "")
	s.wantOEM(t, vendor, oemBody("acme", "syncly"), http.StatusForbidden, "VENDOR_NOT_AUTHORIZED")
}

// wantOutcome is wantStatus, and of a success the status alone.
func (a answer) wantOutcome(t testing.TB, name string, status int, code string) {
	t.Helper()
	if a.status != status || code != "" && !strings.Contains(a.body, `"`+code+`"`) {
		t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, status, code)
	}
}

// TestSuspendedIntegrationIsNotEnabledAnew by a user, when the tenant has suspended it.
func TestSuspendedIntegrationIsNotEnabledAnew(t *testing.T) {
	s, h := startIntegrating(t)
	s.activate(t, h)
	const enabling = `{"scopes": ["documents:read"], "deliver": "return"}`
	alice := s.administrator(t, h, "alice", "acme")
	s.managed(t, s.administrator(t, h, "bob", "acme"), "PUT", synclyOne, enabling).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, h.pair("tenant-admin"), "PATCH", synclyOne, `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, alice, "PATCH", synclyOne, `{"status": "active"}`).wantStatus(t, http.StatusForbidden, "suspended_by_others")
	s.managed(t, alice, "DELETE", synclyOne, "").wantStatus(t, http.StatusForbidden, "suspended_by_others")
	s.managed(t, alice, "PUT", synclyOne, enabling).wantStatus(t, http.StatusForbidden, "suspended_by_others")
}

// TestFirstPartyIsTheTenants: its organization neither sends its users elsewhere nor takes its secret.
func TestFirstPartyIsTheTenants(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.managed(t, tenant, "POST", "/v1/clients", `{"id": "acme-web", "org": "acme", "kind": "web", "party": "first", "grant_types": ["authorization_code"],
		"redirect_uris": ["https://acme.example/cb"], "scopes": ["openid", "documents:read"], "audiences": ["https://documents.example"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PUT", "/v1/orgs/acme/roles/apps", `{"permissions": ["clients.*", "documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["apps"]}`).wantMembers(t, http.StatusOK, nil)
	for _, as := range []credential{s.administrator(t, h, "bob", "acme"), h.key("acme-manager")} {
		for _, row := range [][3]string{
			{"PATCH", "", `{"redirect_uris": ["https://elsewhere.example/cb"]}`},
			{"PATCH", "", `{"status": "disabled", "redirect_uris": ["https://elsewhere.example/cb"]}`},
			{"PATCH", "", `{"name": "Acme"}`},
			{"PUT", "", `{"org": "acme", "kind": "web", "party": "third", "grant_types": ["authorization_code"], "redirect_uris": ["https://elsewhere.example/cb"], "scopes": ["openid"]}`},
			{"POST", "/rotate", ``},
			{"POST", "/rotate", `{"former": "end"}`},
		} {
			s.managed(t, as, row[0], "/v1/clients/acme-web"+row[1], row[2]).wantStatus(t, http.StatusForbidden, "tenant_only")
		}
	}
	bob := s.administrator(t, h, "bob", "acme")
	s.managed(t, bob, "PATCH", "/v1/clients/acme-web", `{"status": "disabled"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, bob, "PATCH", "/v1/clients/acme-web", `{"status": "active"}`).wantStatus(t, http.StatusForbidden, "tenant_only")
	s.managed(t, bob, "DELETE", "/v1/clients/acme-web", "").wantMembers(t, http.StatusOK, nil)
}

// TestOthersSecretsAreNotRotated: the new secret would make whoever is shown it the user for whom it acts.
func TestOthersSecretsAreNotRotated(t *testing.T) {
	s, h := startIntegrating(t)
	s.activate(t, h)
	bob := s.administrator(t, h, "bob", "acme")
	s.managed(t, bob, "PUT", synclyOne, `{"scopes": ["documents:read"], "deliver": "return"}`).wantMembers(t, http.StatusCreated, nil)
	for _, as := range []credential{s.administrator(t, h, "alice", "acme"), h.key("acme-manager")} {
		for _, body := range []string{`{"deliver": "return"}`, `{"deliver": "webhook"}`, ``} {
			s.managed(t, as, "POST", synclyOne+"/rotate", body).wantStatus(t, http.StatusForbidden, "not_your_own")
		}
		s.managed(t, as, "POST", "/v1/apikeys/dora-write/rotate", "").wantStatus(t, http.StatusForbidden, "not_your_own")
	}
	s.managed(t, bob, "POST", synclyOne+"/rotate", `{"deliver": "return"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.pair("tenant-admin"), "POST", synclyOne+"/rotate", `{"deliver": "return"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.key("acme-manager"), "DELETE", synclyOne, "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.key("acme-manager"), "PATCH", "/v1/apikeys/dora-write", `{"status": "revoked"}`).wantMembers(t, http.StatusOK, nil)
}

// TestInvitationIsNotAcceptedForStrangers: an organization does not accept its own invitation of somebody else's user, and does
// not learn from it who is a user.
func TestInvitationIsNotAcceptedForStrangers(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant, acme := h.pair("tenant-admin"), h.key("acme-manager")
	s.managed(t, tenant, "PATCH", "/v1/users/erin", `{"email": "erin@globex.example"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/users/erin", `{"email_verified": true}`).wantMembers(t, http.StatusOK, nil)
	made := s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", `{"email": "erin@globex.example", "roles": ["viewer"], "deliver": "return"}`).wantMembers(t, http.StatusCreated, nil)
	accept := fmt.Sprintf("/v1/orgs/acme/invitations/%v/accept", made["id"])
	refused := map[string]bool{}
	for _, user := range []string{"erin", "frank", "carol", "nobody"} {
		for _, path := range []string{accept, "/v1/orgs/acme/invitations/nothing/accept"} {
			a := s.managed(t, acme, "POST", path, `{"user": "`+user+`"}`)
			a.wantStatus(t, http.StatusForbidden, "invitation_needed")
			refused[fmt.Sprint(a.object(t)["detail"])] = true
		}
	}
	if len(refused) != 1 {
		t.Errorf("the refusals differ: %v", refused)
	}
	s.managed(t, tenant, "POST", accept, `{"user": "carol"}`).wantStatus(t, http.StatusConflict, "wrong_person")
	s.managed(t, tenant, "POST", accept, `{"user": "erin"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "accepted", "accepted_by": "erin"})
}

// TestProviderGivesNoKeysAndTriesNoNames: SCIM makes nobody a developer, and a userName is an address of the organization's.
func TestProviderGivesNoKeysAndTriesNoNames(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	id := p.user(t, "maria@acme.example")
	p.do(t, "PATCH", "/Groups/developer", `{`+patchOp+`,"Operations":[{"op":"add","path":"members","value":[{"value":"`+id+`"}]}]}`).wantSCIM(t, http.StatusNotFound, "")
	p.do(t, "GET", "/Groups/developer", "").wantSCIM(t, http.StatusNotFound, "")
	answers := map[string]bool{}
	for _, name := range []string{"erin", "globex-reports", "gateway", "not-there"} {
		for _, a := range []answer{
			p.do(t, "PUT", "/Users/"+id, `{`+userSchema+`,"userName":"`+name+`","emails":[{"value":"maria@acme.example","primary":true}]}`),
			p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"`+name+`","emails":[{"value":"new@acme.example","primary":true}]}`),
		} {
			a.wantSCIM(t, http.StatusForbidden, "")
			answers[a.body] = true
		}
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	// Who has such a name already keeps it.
	p.do(t, "PATCH", "/Users/bob", `{`+patchOp+`,"Operations":[{"op":"replace","path":"displayName","value":"Bob"}]}`).wantMembers(t, http.StatusOK, map[string]any{"displayName": "Bob"})
}

// TestParentDoesNotReactivate what the tenant has suspended, and nobody deletes an organization by one request that went wrong.
func TestParentDoesNotReactivate(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.managed(t, tenant, "POST", "/v1/orgs", `{"id": "kid", "name": "Kid", "parent": "acme"}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/kid", `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PUT", "/v1/roles/msp", `{"permissions": ["children:orgs.*", "orgs.*"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["msp"]}`).wantMembers(t, http.StatusOK, nil)
	bob := s.administrator(t, h, "bob", "acme")
	s.managed(t, bob, "PATCH", "/v1/orgs/kid", `{"status": "active"}`).wantStatus(t, http.StatusForbidden, "org_suspended")
	s.managed(t, bob, "DELETE", "/v1/orgs/kid", "").wantStatus(t, http.StatusForbidden, "confirm_needed")
	s.managed(t, tenant, "PATCH", "/v1/orgs/kid", `{"status": "active"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, bob, "PATCH", "/v1/orgs/kid", `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, bob, "DELETE", "/v1/orgs/kid", "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
	for _, as := range []credential{bob, h.key("acme-manager")} {
		s.managed(t, as, "DELETE", "/v1/orgs/acme", "").wantStatus(t, http.StatusForbidden, "confirm_needed")
	}
	s.managed(t, h.key("acme-manager"), "DELETE", "/v1/orgs/acme", "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
}

// TestExternalTokensDoNotManage: whatever a provider says of its users, at Mandate they are no users with the scope manage.
func TestExternalTokensDoNotManage(t *testing.T) {
	s, _, i := startTrusting(t)
	file, err := directory.ParseFile(strings.NewReader(`
tenant: default
orgs:
  - id: globex
    connections: [{id: staff, issuer: "` + i.URL + `", client_id: mandate, audiences: ["` + publicURL + `"], algorithm: ES256, role_claim: groups, role_mapping: {it: admin}}]
`))
	must(t, err)
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	for _, scope := range []any{"openid manage", "manage decide scim oem:partner_token", nil} {
		as := bearer(i.sign(t, "at+jwt", jwt.MapClaims{"sub": "hanna", "aud": publicURL, "scope": scope, "groups": []string{"it"}, "email": "erin@globex.example", "email_verified": true}))
		for _, row := range [][3]string{
			{"GET", "/v1/orgs/globex", ""},
			{"GET", "/v1/orgs/globex/members", ""},
			{"PUT", "/v1/orgs/globex/roles/mine", `{"permissions": ["*"]}`},
			{"POST", "/v1/apikeys", `{"org": "globex", "scopes": []}`},
			{"PUT", "/v1/orgs/globex/integrations/backupco", `{"scopes": []}`},
			{"POST", "/v1/orgs/globex/invitations/x/accept", `{}`},
			{"DELETE", "/v1/orgs/globex", ""},
			{"GET", "/v1/users/erin/sessions", ""},
			{"GET", "/v1/audit", ""},
			{"POST", "/v1/keys/rotate", ""},
		} {
			a := s.managed(t, as, row[0], row[1], row[2])
			if code, _ := a.object(t)["code"].(string); a.status != http.StatusForbidden || code != "scope_missing" && code != "insufficient_scope" {
				t.Errorf("%v: %s %s: %d %s", scope, row[0], row[1], a.status, a.body)
			}
		}
	}
}
