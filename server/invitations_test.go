package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// invite makes an invitation of acme, and returns it with the link of its mail.
func (s *running) invite(t testing.TB, as credential, email, body string) (invitation map[string]any, link string) {
	t.Helper()
	made := s.managed(t, as, "POST", "/v1/orgs/acme/invitations", body)
	invitation = made.wantMembers(t, http.StatusCreated, map[string]any{"email": email, "status": "invited"})
	link = s.mails.link(t, email)
	if token := link[strings.LastIndexByte(link, '/')+1:]; strings.Contains(made.body, token) {
		t.Errorf("the token of the link is in %v", made)
	}
	return invitation, link
}

// TestInvitationOfSomebodyNew: by mail, to an account, to a membership.
func TestInvitationOfSomebodyNew(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").key("acme-manager")
	invitation, link := s.invite(t, admin, "nora@acme.example", `{"email": "nora@acme.example", "roles": ["editor"]}`)
	b := s.browser(t)
	page := b.get(link)
	if page.title() != "Join acme" {
		t.Fatalf("%d %s", page.status, page.body)
	}
	if short := page.press("Make an account", "new_password", "short"); short.status != http.StatusBadRequest {
		t.Errorf("%d %s", short.status, short.body)
	}
	const password = "Nora's own password"
	joining := b.get(link).press("Make an account", "new_password", password).signIn("nora@acme.example", password)
	if joining.title() != "Join acme" || !strings.Contains(joining.body, "nora@acme.example") {
		t.Fatalf("%d %s", joining.status, joining.body)
	}
	if done := joining.press("Join acme"); done.title() != "You are a member now" {
		t.Fatalf("%d %s", done.status, done.body)
	}
	accepted := s.managed(t, admin, "GET", "/v1/orgs/acme/invitations/"+invitation["id"].(string), "").
		wantMembers(t, http.StatusOK, map[string]any{"status": "accepted"})
	s.managed(t, admin, "GET", "/v1/orgs/acme/members/"+accepted["accepted_by"].(string), "").
		wantMembers(t, http.StatusOK, map[string]any{"roles": "[editor]", "status": "active"})
	if again := b.get(link); again.status != http.StatusNotFound {
		t.Errorf("the link works twice: %d %s", again.status, again.body)
	}
}

// Each row is about an invitation to viewer of a person with an account.
func TestInvitationIsForOnePerson(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin, tenant := h.key("acme-manager"), h.pair("tenant-admin")
	s.managed(t, tenant, "PATCH", "/v1/users/ned", `{"email": "ned@acme.example"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PUT", "/v1/users/olga", `{"username": "olga", "email": "olga@acme.example", "password": "Olga's password"}`).
		wantMembers(t, http.StatusCreated, map[string]any{"email": "olga@acme.example"})

	s.managed(t, admin, "POST", "/v1/orgs/acme/invitations", `{"email": "ned@acme.example", "roles": []}`).wantStatus(t, http.StatusConflict, "already_member")
	_, link := s.invite(t, admin, "olga@acme.example", `{"email": "olga@acme.example", "roles": ["viewer"]}`)
	s.managed(t, admin, "POST", "/v1/orgs/acme/invitations", `{"email": "OLGA@acme.example", "roles": []}`).wantStatus(t, http.StatusConflict, "already_invited")

	// Ned has the link, not the address.
	if page := s.login(t, "ned", "ned-password-0b0b0b").get(link).press("Join acme"); page.status != http.StatusForbidden && page.status != http.StatusConflict {
		t.Errorf("%d %s", page.status, page.body)
	}
	// The link was mailed to Olga, who has never proved her address before.
	olga := s.browser(t)
	if page := olga.get(link).signIn("olga", "Olga's password").press("Join acme"); page.title() != "You are a member now" {
		t.Fatalf("%d %s", page.status, page.body)
	}
	s.managed(t, tenant, "GET", "/v1/users/olga", "").wantMembers(t, http.StatusOK, map[string]any{"email_verified": true})
}

func TestInvitationsEnd(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").key("acme-manager")
	invitation, link := s.invite(t, admin, "paul@acme.example", `{"email": "paul@acme.example", "roles": ["viewer"]}`)
	path := "/v1/orgs/acme/invitations/" + invitation["id"].(string)
	s.managed(t, admin, "POST", path+"/resend", "").wantStatus(t, http.StatusConflict, "sent_already")
	s.clock.advance(2 * time.Minute)
	s.managed(t, admin, "POST", path+"/resend", "").wantMembers(t, http.StatusOK, map[string]any{"status": "invited"})
	next := s.mails.link(t, "paul@acme.example")
	b := s.browser(t)
	if former, now := b.get(link), b.get(next); former.status != http.StatusNotFound || now.status != http.StatusOK {
		t.Errorf("the former link: %d, the next: %d", former.status, now.status)
	}
	s.managed(t, admin, "DELETE", path, "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "GET", path, "").wantMembers(t, http.StatusOK, map[string]any{"status": "revoked"})
	if page := b.get(next); page.status != http.StatusNotFound {
		t.Errorf("revoked: %d", page.status)
	}
	s.managed(t, admin, "POST", path+"/resend", "").wantStatus(t, http.StatusConflict, "invitation_revoked")
	s.managed(t, admin, "PATCH", path, `{"status": "invited"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")

	_, late := s.invite(t, admin, "quinn@acme.example", `{"email": "quinn@acme.example", "roles": ["viewer"]}`)
	s.clock.advance(8 * 24 * time.Hour)
	if page := b.get(late); page.status != http.StatusNotFound {
		t.Errorf("expired: %d", page.status)
	}
	for _, bad := range []string{
		`{"email": "quinn@acm\u0435.example", "roles": []}`, // a Cyrillic letter
		`{"email": "Quinn <quinn@acme.example>", "roles": []}`,
		`{"email": "quinn@acme.example\r\nBcc: all@acme.example", "roles": []}`,
		`{"email": "quinn@acme.example", "roles": ["nothing"]}`,
		`{"email": "quinn@acme.example", "roles": [], "expires_at": "2020-01-01T00:00:00Z"}`,
		`{"email": "quinn@acme.example", "roles": [], "status": "accepted"}`,
		`{"email": "quinn@acme.example", "roles": [], "mailed": true}`,
	} {
		s.managed(t, admin, "POST", "/v1/orgs/acme/invitations", bad).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
}

// A link that the caller was given proves no mailbox: with it nobody becomes who they are not.
func TestReturnedLinkProvesNothing(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	made := s.managed(t, h.key("acme-manager"), "POST", "/v1/orgs/acme/invitations", `{"email": "victim@globex.example", "roles": ["viewer"], "deliver": "return"}`).
		wantMembers(t, http.StatusCreated, map[string]any{"mailed": false})
	link := strings.TrimPrefix(made["link"].(string), publicURL)
	seen.secret(link[strings.LastIndexByte(link, '/')+1:])
	if page := s.browser(t).get(link); page.title() != "Sign in" {
		t.Errorf("%d %s", page.status, page.body)
	}
	s.managed(t, h.pair("tenant-admin"), "PATCH", "/v1/users/ned", `{"email": "victim@globex.example"}`).wantMembers(t, http.StatusOK, nil)
	page := s.login(t, "ned", "ned-password-0b0b0b").get(link).press("Join acme")
	if page.status != http.StatusForbidden && page.status != http.StatusConflict {
		t.Errorf("%d %s", page.status, page.body)
	}
}
