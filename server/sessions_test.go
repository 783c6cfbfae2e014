package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// An administrator sees where a user is signed in and signs the user out; a user does so for themself only.
func TestSessionsAndGrantsOfUsers(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	b, other := s.login(t, "bob", "bob:pass+word%41-90ab"), s.login(t, "bob", "bob:pass+word%41-90ab")
	var listed struct{ Items []struct{ ID string } }
	s.managed(t, admin, "GET", "/v1/users/bob/sessions", "").decode(t, &listed)
	if len(listed.Items) != 2 {
		t.Fatalf("sessions: %v", listed)
	}
	s.managed(t, admin, "DELETE", "/v1/users/alice/sessions/"+listed.Items[0].ID, "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, admin, "DELETE", "/v1/users/bob/sessions/"+listed.Items[0].ID, "").wantMembers(t, http.StatusOK, map[string]any{"ended": 1})
	if first, second := b.get("/account").title(), other.get("/account").title(); (first == "Sign in") == (second == "Sign in") {
		t.Errorf("one session was ended: %s, %s", first, second)
	}
	s.managed(t, admin, "DELETE", "/v1/users/bob/sessions", "").wantMembers(t, http.StatusOK, map[string]any{"ended": 1})
	if first, second := b.get("/account").title(), other.get("/account").title(); first != "Sign in" || second != "Sign in" {
		t.Errorf("all sessions were ended: %s, %s", first, second)
	}

	exchanged := s.ask(t, h.user("bob", "bob"), "/auth", `{"audience": "https://documents.example"}`).wantMembers(t, http.StatusOK, nil)
	seen.secret(exchanged["refresh_token"].(string))
	s.managed(t, admin, "GET", "/v1/users/bob/grants", "").decode(t, &listed)
	if len(listed.Items) != 1 {
		t.Fatalf("grants: %v", listed)
	}
	s.managed(t, admin, "DELETE", "/v1/users/bob/grants/"+listed.Items[0].ID, "").wantMembers(t, http.StatusOK, map[string]any{"ended": 1})
	if a := s.ask(t, nil, "/auth/refresh", `{"refresh_token": "`+exchanged["refresh_token"].(string)+`"}`); a.status == http.StatusOK {
		t.Errorf("the grant goes on: %v", a)
	}
	s.managed(t, admin, "GET", "/v1/users/nobody/sessions", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, h.key("acme-manager"), "GET", "/v1/users/bob/sessions", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, h.key("acme-manager"), "GET", "/v1/users/nobody/sessions", "").wantStatus(t, http.StatusNotFound, "not_found")
}

func TestPasswordOfAUserIsReset(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.managed(t, admin, "POST", "/v1/users/ned/reset", "").wantStatus(t, http.StatusConflict, "reset_impossible")
	s.managed(t, admin, "PATCH", "/v1/users/ned", `{"email": "ned@acme.example"}`).wantMembers(t, http.StatusOK, nil)
	if a := s.managed(t, admin, "POST", "/v1/users/ned/reset", ""); a.status != http.StatusOK || strings.Contains(a.body, "mdt_") {
		t.Fatal(a)
	}
	const password = "Ned's other password"
	s.browser(t).get(s.mails.link(t, "ned@acme.example")).press("Set password", "new_password", password)
	s.login(t, "ned", password)
}

// A key that a former member had made does not come alive when the person is made a member again.
func TestKeysEndWithTheMembership(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	s.managed(t, admin, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["admin"]}`).wantMembers(t, http.StatusOK, nil)
	for _, leave := range []func(){
		func() {
			s.managed(t, admin, "DELETE", "/v1/orgs/acme/members/alice", "").wantMembers(t, http.StatusOK, nil)
		},
		func() {
			s.send(t, "DELETE", "/scim/v2/Users/alice", "", bearer("acme-scim-key-9d2e")...)
		},
	} {
		s.load(t, `
api_keys:
  - {id: acme-scim, org: acme, key: "acme-scim-key-9d2e", scopes: [scim]}
`)
		made := s.managed(t, admin, "POST", "/v1/apikeys", `{"org": "acme", "owner": "alice", "scopes": ["documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
		key := bearer(made["key"].(string))
		asked := question(caller, "documents:read", "report")
		if verdict := s.ask(t, key, evaluationPath, asked).verdict(); verdict == "unauthorized" {
			t.Fatalf("the key is %s", verdict)
		}
		leave()
		s.managed(t, admin, "PUT", "/v1/orgs/acme/members/alice", `{"roles": ["admin", "developer"]}`).wantMembers(t, http.StatusCreated, nil)
		if verdict := s.ask(t, key, evaluationPath, asked).verdict(); verdict != "unauthorized" {
			t.Errorf("the key is %s", verdict)
		}
	}
}
