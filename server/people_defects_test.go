package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// verified gives a user a verified email address.
func (s *running) verified(t testing.TB, user, email string) {
	t.Helper()
	tenant := holdersOf(t, "default").pair("tenant-admin")
	s.managed(t, tenant, "PATCH", "/v1/users/"+user, `{"email": "`+email+`"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/users/"+user, `{"email_verified": true}`).wantMembers(t, http.StatusOK, map[string]any{"email_verified": true})
}

// here makes an invitation of acme whose link is returned, and is its id.
func (s *running) here(t testing.TB, as credential, email, more string) string {
	t.Helper()
	made := s.managed(t, as, "POST", "/v1/orgs/acme/invitations", `{"email": "`+email+`", "deliver": "return", `+more+`}`).
		wantMembers(t, http.StatusCreated, map[string]any{"status": "invited"})
	id, _ := made["id"].(string)
	return id
}

// problem is the message of a refused record.
func (a answer) problem(t testing.TB) string {
	t.Helper()
	a.wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	detail, _ := a.object(t)["detail"].(string)
	return detail
}

// A key of an organization finds out nothing about who is not in it: a member of another one, somebody in none, and nobody at all
// have one answer.
func TestNobodyElsesUsersAreToldOf(t *testing.T) {
	s := start(t)
	acme := holdersOf(t, "default").key("acme-manager")
	for _, row := range []struct{ name, method, path, body string }{
		{"who invites", "POST", "/v1/orgs/acme/invitations", `{"email": "new@acme.example", "roles": [], "deliver": "return", "invited_by": "USER"}`},
		{"who owns a key", "POST", "/v1/apikeys", `{"org": "acme", "scopes": [], "owner": "USER"}`},
		{"for whom a vendor acts", "PUT", "/v1/orgs/acme/integrations/scanly", `{"scopes": [], "user": "USER"}`},
	} {
		said := map[string]string{}
		for _, user := range []string{"erin", "frank", "nobody"} {
			a := s.managed(t, acme, row.method, row.path, strings.Replace(row.body, "USER", user, 1))
			said[user] = strings.ReplaceAll(fmt.Sprint(a.status, a.object(t)["code"], a.object(t)["detail"]), user, "USER")
		}
		if !strings.HasPrefix(said["nobody"], "4") || said["erin"] != said["nobody"] || said["frank"] != said["nobody"] {
			t.Errorf("%s: %v", row.name, said)
		}
	}
	for _, user := range []string{"dave", "walt"} { // suspended, and disabled
		s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", `{"email": "new@acme.example", "roles": [], "invited_by": "`+user+`"}`).wantStatus(t, http.StatusForbidden, "inviter_unknown")
	}
	s.here(t, acme, "new@acme.example", `"roles": [], "invited_by": "bob"`)
}

// The API has no file that a record could be in.
func TestProblemsNameNoFile(t *testing.T) {
	s := start(t)
	tenant := holdersOf(t, "default").pair("tenant-admin")
	for _, row := range [][3]string{
		{"PUT", "/v1/orgs/acme/members/nobody", `{"roles": []}`},
		{"PUT", "/v1/orgs/acme/members/bob", `{"roles": ["boss"]}`},
		{"POST", "/v1/clients", `{"grant_types": ["client_credentials"], "scopes": [], "vendor": "nobody"}`},
	} {
		if said := s.managed(t, tenant, row[0], row[1], row[2]).problem(t); !strings.Contains(said, "there is no") || strings.Contains(said, "file") ||
			strings.Contains(said, "store") || strings.Contains(said, "define it") {
			t.Errorf("%v: %s", row, said)
		}
	}
}

func TestInvitationsLeadToOnesOwnApplications(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant, acme := h.pair("tenant-admin"), h.key("acme-manager")
	for _, client := range []string{`"id": "globex-web", "org": "globex"`, `"id": "acme-web", "org": "acme"`, `"id": "acme-third", "org": "acme", "party": "third"`,
		`"id": "off", "status": "disabled"`, `"id": "gone"`, `"id": "moved"`} {
		id := strings.Split(client, `"`)[3]
		s.managed(t, tenant, "POST", "/v1/clients", `{`+client+`, "kind": "web", "grant_types": ["authorization_code"], "redirect_uris": ["https://`+id+`.example/cb"], "scopes": ["openid"]}`).
			wantMembers(t, http.StatusCreated, nil)
	}
	s.managed(t, tenant, "DELETE", "/v1/clients/gone", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/clients/moved", `{"redirect_uris": ["https://elsewhere.example/cb"]}`).wantMembers(t, http.StatusOK, nil)
	for i, row := range []struct {
		uri  string
		good bool
	}{
		{"https://portal.example/callback", true},
		{"https://acme-web.example/cb", true},
		{"https://elsewhere.example/cb", true},
		{"https://globex-web.example/cb", false},
		{"https://acme-third.example/cb", false},
		{"https://off.example/cb", false},
		{"https://gone.example/cb", false},
		{"https://moved.example/cb", false},
		{"https://planner.example/other", false}, // of a third party
		{"https://none.example/cb", false},
	} {
		a := s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", fmt.Sprintf(`{"email": "p%d@acme.example", "roles": [], "deliver": "return", "redirect_uri": %q}`, i, row.uri))
		if row.good != (a.status == http.StatusCreated) {
			t.Errorf("%s: %v", row.uri, a)
		}
	}
}

// Of the administrators of acme, walt is disabled.
func TestLastAdministratorIsAnActiveUser(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant, alice := h.pair("tenant-admin"), s.administrator(t, h, "alice", "acme")
	s.managed(t, alice, "PATCH", "/v1/orgs/acme/members/alice", `{"roles": ["developer"]}`).wantStatus(t, http.StatusForbidden, "last_admin")
	for _, row := range []struct {
		name, method, path, body string
	}{
		{"deleted", "DELETE", "/v1/users/alice", ""},
		{"disabled", "PATCH", "/v1/users/alice", `{"status": "disabled"}`},
		{"deleted, of another organization", "DELETE", "/v1/users/erin", ""},
	} {
		s.managed(t, tenant, row.method, row.path, row.body).wantStatus(t, http.StatusForbidden, "last_admin")
	}
	s.managed(t, tenant, "PATCH", "/v1/users/alice", `{"email": "alice@acme.example"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "DELETE", "/v1/users/walt", "").wantMembers(t, http.StatusOK, nil) // who was none
	s.managed(t, tenant, "DELETE", "/v1/users/carol", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["admin"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/users/alice", `{"status": "disabled"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "DELETE", "/v1/users/erin", "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
}

// audits counts the audit records of an action, and is the newest.
func (s *running) audits(t testing.TB, action string) (n int, newest map[string]any) {
	t.Helper()
	for _, record := range s.items(t, holdersOf(t, "default").pair("tenant-admin"), "/v1/audit?limit=500&action="+action) {
		if n++; n == 1 {
			newest = record
		}
	}
	return n, newest
}

func TestWhatThePagesWriteIsAudited(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	acme, tenant := h.key("acme-manager"), h.pair("tenant-admin")
	s.managed(t, tenant, "PUT", "/v1/users/olga", `{"username": "olga", "email": "olga@acme.example", "password": "Olga's password"}`).wantMembers(t, http.StatusCreated, nil)

	_, link := s.invite(t, acme, "olga@acme.example", `{"email": "olga@acme.example", "roles": ["viewer"]}`)
	s.browser(t).get(link).signIn("olga", "Olga's password").press("Join acme")
	if n, record := s.audits(t, "users.update"); n != 1 || record["reason"] != "mail" || !strings.Contains(fmt.Sprint(record), "email_verified:true") {
		t.Errorf("an address that was proved: %d %v", n, record)
	}

	b := s.browser(t)
	for _, org := range []string{"acme", "globex"} {
		if page := b.get(asksFor("planner").path()); page.title() == "Sign in" {
			page.signIn("carol@acme.example", h.secret("user carol")).press("Allow", "org", org)
		} else {
			page.press("Allow", "org", org)
		}
	}
	b.get("/account").press("Take back", "org", "globex")
	if n, record := s.audits(t, "consents.delete"); n != 1 || record["reason"] != "own" || strings.Contains(fmt.Sprint(record["after"]), "globex") ||
		!strings.Contains(fmt.Sprint(record["after"]), "acme") || !strings.Contains(fmt.Sprint(record["by"]), "carol") {
		t.Errorf("a consent that was taken back: %d %v", n, record)
	}
	b.get("/account").press("Take back")
	if n, record := s.audits(t, "consents.delete"); n != 2 || record["after"] != nil {
		t.Errorf("the last consent that was taken back: %d %v", n, record)
	}

	s.browser(t).get("/reset").press("Send a link", "username", "olga")
	done := s.browser(t).get(s.mails.link(t, "olga@acme.example")).press("Set password", "new_password", "Another of Olga's")
	if n, record := s.audits(t, "users.reset"); n != 1 || record["reason"] != "mail" || strings.Contains(fmt.Sprint(record), "Another") {
		t.Errorf("a password that was reset: %d %v, after %d %s", n, record, done.status, done.body)
	}
}

// The pages and the operations of the roles of an invitation that are gone.
func TestInvitationWhoseRoleIsGone(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.verified(t, "frank", "frank@acme.example")
	s.managed(t, tenant, "POST", "/v1/roles", `{"id": "temp", "permissions": ["documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
	id := s.here(t, tenant, "frank@acme.example", `"roles": ["temp", "viewer"]`)
	s.managed(t, tenant, "DELETE", "/v1/roles/temp", "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "POST", "/v1/orgs/acme/invitations/"+id+"/accept", `{"user": "frank"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "accepted"})
	s.managed(t, tenant, "GET", "/v1/orgs/acme/members/frank", "").wantMembers(t, http.StatusOK, map[string]any{"roles": "[viewer]"})
}

// Whoever revokes an invitation and makes another one sends no more mail than who sends one again.
func TestMailsOfInvitationsHavePauses(t *testing.T) {
	s := start(t)
	acme := holdersOf(t, "default").key("acme-manager")
	const body = `{"email": "victim@globex.example", "roles": []}`
	made := s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", body).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/invitations/"+made["id"].(string), "").wantMembers(t, http.StatusOK, nil)
	for _, email := range []string{"victim@globex.example", "VICTIM@globex.example"} {
		s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", `{"email": "`+email+`", "roles": []}`).wantStatus(t, http.StatusConflict, "sent_already")
	}
	s.clock.advance(time.Minute)
	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", body).wantMembers(t, http.StatusCreated, nil)
}

// An organization mails no more than 500 strangers in an hour, and one user has no more than 1,000 open invitations.
func TestInvitationsAreBounded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	acme := h.key("acme-manager")
	d := directory.Tenant("default")
	at := time.Now().Add(time.Hour).UTC()
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		for i := range 999 {
			err := d.PutInvitation(ctx, tx, "acme", fmt.Sprintf("of-bob-%d", i), directory.Invitation{Email: fmt.Sprintf("x%d@acme.example", i), Roles: []string{},
				Status: directory.Invited, InvitedBy: "bob", CreatedAt: time.Now().UTC(), ExpiresAt: at})
			if err != nil {
				return err
			}
		}
		return directory.PutExpiring(ctx, tx, d.InvitationMails("acme"), directory.InvitationMails{Count: 499, ExpiresAt: at}, at)
	})
	s.here(t, acme, "last@acme.example", `"roles": [], "invited_by": "bob"`)
	const body = `{"email": "next@acme.example", "roles": [], "deliver": "return", "invited_by": "bob"}`
	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", body).wantStatus(t, http.StatusConflict, "too_many_invitations")
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/invitations/of-bob-0", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", body).wantMembers(t, http.StatusCreated, nil)

	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", `{"email": "mailed@acme.example", "roles": []}`).wantMembers(t, http.StatusCreated, nil)
	const more = `{"email": "more@acme.example", "roles": []}`
	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", more).wantStatus(t, http.StatusConflict, "too_many_mails")
	s.managed(t, h.pair("tenant-admin"), "POST", "/v1/orgs/globex/invitations", more).wantMembers(t, http.StatusCreated, nil)
	s.clock.advance(time.Hour + time.Minute)
	s.managed(t, acme, "POST", "/v1/orgs/acme/invitations", more).wantMembers(t, http.StatusCreated, nil)
}

// Who has gone leaves no way in.
func TestInvitationsEndWithWhoMadeThem(t *testing.T) {
	for _, row := range []struct{ name, method, path string }{
		{"the membership", "DELETE", "/v1/orgs/acme/members/bob"},
		{"the user", "DELETE", "/v1/users/bob"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			h := holdersOf(t, "default")
			tenant, acme := h.pair("tenant-admin"), h.key("acme-manager")
			s.verified(t, "frank", "frank@evil.example")
			s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["admin"]}`).wantMembers(t, http.StatusOK, nil)
			bob := s.administrator(t, h, "bob", "acme")
			made := s.managed(t, bob, "POST", "/v1/orgs/acme/invitations", `{"email": "frank@evil.example", "roles": ["admin"], "deliver": "return"}`).
				wantMembers(t, http.StatusCreated, map[string]any{"invited_by": "bob"})
			s.managed(t, tenant, "PUT", "/v1/orgs/umbrella", `{"parent": "acme"}`).wantMembers(t, http.StatusCreated, nil)
			s.managed(t, tenant, "PUT", "/v1/roles/admin", `{"permissions": ["*", "children:*"]}`).wantMembers(t, http.StatusOK, nil)
			child := s.managed(t, bob, "POST", "/v1/orgs/umbrella/invitations", `{"email": "frank@evil.example", "roles": [], "deliver": "return"}`).
				wantMembers(t, http.StatusCreated, map[string]any{"invited_by": "bob"})
			others := s.here(t, acme, "other@acme.example", `"roles": [], "invited_by": "alice"`)
			s.managed(t, tenant, row.method, row.path, "").wantMembers(t, http.StatusOK, nil)
			id := made["id"].(string)
			s.managed(t, acme, "GET", "/v1/orgs/acme/invitations/"+id, "").wantMembers(t, http.StatusOK, map[string]any{"status": "revoked"})
			s.managed(t, tenant, "GET", "/v1/orgs/umbrella/invitations/"+child["id"].(string), "").wantMembers(t, http.StatusOK, map[string]any{"status": "revoked"})
			s.managed(t, acme, "GET", "/v1/orgs/acme/invitations/"+others, "").wantMembers(t, http.StatusOK, map[string]any{"status": "invited"})
			s.managed(t, tenant, "POST", "/v1/orgs/acme/invitations/"+id+"/accept", `{"user": "frank"}`).wantStatus(t, http.StatusConflict, "invitation_revoked")
			if n, record := s.audits(t, "orgs.invitations.delete"); n != 2 {
				t.Errorf("%d audit records, the last is %v", n, record)
			}
		})
	}
}

// The organization's own directory of people says whose an address in a verified domain is (RFC 7643 §4.1.2); nobody else does.
func TestProvisionedAddressesAreVerified(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	tenant := holdersOf(t, "default").pair("tenant-admin")
	id := p.user(t, "maria@acme.example")
	p.do(t, "PUT", "/Users/"+id, `{`+userSchema+`,"userName":"maria@acme.example","emails":[{"value":"roy@acme.example","primary":true}]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "GET", "/v1/users/"+id, "").wantMembers(t, http.StatusOK, map[string]any{"email": "roy@acme.example", "email_verified": true})
	s.managed(t, tenant, "PATCH", "/v1/users/"+id, `{"email": "m@acme.example"}`).wantMembers(t, http.StatusOK, map[string]any{"email_verified": nil})
}

func TestIntegrationOfASuspendedVendorIsNotRotated(t *testing.T) {
	s, h := startIntegrating(t)
	s.activate(t, h)
	tenant, bob := h.pair("tenant-admin"), s.administrator(t, h, "bob", "acme")
	s.managed(t, bob, "PUT", synclyOne, `{"scopes": ["documents:read"], "deliver": "return"}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, bob, "POST", synclyOne+"/rotate", `{"deliver": "return"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/vendors/syncly", `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, bob, "POST", synclyOne+"/rotate", `{"deliver": "return"}`).wantStatus(t, http.StatusConflict, "vendor_suspended")
}

// Each row uses the role x of acme, which is then not deleted, and ends that use.
func TestRoleThatSomethingGivesIsNotDeleted(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.provider(t, "acme") // which makes the domain
	type request [3]string
	for _, row := range []struct {
		name, says string
		status     int
		use, end   request
	}{
		{"a suspended member", "Somebody holds", http.StatusForbidden, request{"PATCH", "/v1/orgs/acme/members/dave", `{"roles": ["x"]}`}, request{"PATCH", "/v1/orgs/acme/members/dave", `{"roles": []}`}},
		{"a connection", "connection c", http.StatusConflict,
			request{"PUT", "/v1/orgs/acme/connections/c", `{"issuer": "https://i.example", "client_id": "m", "audiences": ["m"], "role_claim": "g", "role_mapping": {"a": "x"}}`},
			request{"PATCH", "/v1/orgs/acme/connections/c", `{"role_mapping": null}`}},
		{"a domain", "domain acme.example", http.StatusConflict, request{"PATCH", "/v1/orgs/acme/domains/acme.example", `{"auto_join": ["x"]}`},
			request{"PATCH", "/v1/orgs/acme/domains/acme.example", `{"auto_join": []}`}},
		{"an invitation", "invitation i", http.StatusConflict, request{"PUT", "/v1/orgs/acme/invitations/i", `{"email": "new@acme.example", "roles": ["x"], "deliver": "return"}`},
			request{"DELETE", "/v1/orgs/acme/invitations/i", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.managed(t, tenant, "PUT", "/v1/orgs/acme/roles/x", `{"permissions": ["documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
			if a := s.managed(t, tenant, row.use[0], row.use[1], row.use[2]); a.status/100 != 2 {
				t.Fatal(a)
			}
			refused := s.managed(t, tenant, "DELETE", "/v1/orgs/acme/roles/x", "")
			if refused.wantStatus(t, row.status, "role_in_use"); !strings.Contains(refused.body, row.says) {
				t.Errorf("it does not name what uses the role: %v", refused)
			}
			s.managed(t, tenant, row.end[0], row.end[1], row.end[2]).wantMembers(t, http.StatusOK, nil)
			s.managed(t, tenant, "DELETE", "/v1/orgs/acme/roles/x", "").wantMembers(t, http.StatusOK, nil)
		})
	}
}

// The directory of people of an organization takes a role from suspended members too, before it removes the group.
func TestGroupOfASuspendedMemberIsRemoved(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	tenant := holdersOf(t, "default").pair("tenant-admin")
	p.do(t, "POST", "/Groups", `{`+groupOf+`,"displayName":"x","members":[{"value":"dave"},{"value":"bob"}]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "DELETE", "/v1/orgs/acme/roles/x", "").wantStatus(t, http.StatusForbidden, "role_in_use")
	if a := p.do(t, "DELETE", "/Groups/x", ""); a.status != http.StatusNoContent {
		t.Error(a)
	}
	s.managed(t, tenant, "GET", "/v1/orgs/acme/members/dave", "").wantMembers(t, http.StatusOK, map[string]any{"roles": "[editor]"})
}
