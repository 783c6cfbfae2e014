package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What only Mandate sets, and what is not a member at all, is refused, and never taken over in silence.
func TestMassAssignment(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	for _, row := range []struct{ name, method, path, body, field string }{
		{"an organization's revision of its own", "PUT", "/v1/orgs/acme", `{"name": "acme", "revisions": 1}`, "revisions"},
		{"another id", "PATCH", "/v1/orgs/acme", `{"id": "globex"}`, "id"},
		{"a member who joined long ago", "PATCH", "/v1/orgs/acme/members/bob", `{"joined_at": "2001-01-01T00:00:00Z"}`, "joined_at"},
		{"a member with a permission", "PATCH", "/v1/orgs/acme/members/bob", `{"permissions": ["*"]}`, "permissions"},
		{"a domain that is verified", "POST", "/v1/orgs/acme/domains", `{"domain": "globex.example", "status": "verified"}`, "status"},
		{"a domain with a challenge of one's own", "POST", "/v1/orgs/acme/domains", `{"domain": "globex.example", "challenge": {"value": "x"}}`, "challenge"},
		{"an invitation that was accepted", "POST", "/v1/orgs/acme/invitations", `{"email": "x@acme.example", "roles": [], "accepted_by": "bob"}`, "accepted_by"},
		{"a key with a prefix", "POST", "/v1/apikeys", `{"org": "acme", "scopes": [], "prefix": "mdt_"}`, "prefix"},
		{"a key with a hash", "POST", "/v1/apikeys", `{"org": "acme", "scopes": [], "key_hash": "x"}`, "key_hash"},
		{"a key that is chosen", "POST", "/v1/apikeys", `{"org": "acme", "scopes": [], "key": "password1"}`, "key"},
		{"a client's secret that is chosen", "POST", "/v1/clients", `{"client_secret": "x"}`, "client_secret"},
		{"a client's hashes", "POST", "/v1/clients", `{"secret_hashes": ["x"]}`, "secret_hashes"},
		{"a user's hash as a password", "POST", "/v1/users", `{"username": "z", "password": "long enough", "password_hash": "$argon2id$x"}`, "password"},
		{"a role's organization", "POST", "/v1/roles", `{"id": "r", "permissions": [], "org": "acme"}`, "org"},
		{"letters of another case", "PATCH", "/v1/orgs/acme", `{"Status": "suspended"}`, "Status"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.managed(t, tenant, row.method, row.path, row.body)
			a.wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
			if !strings.Contains(a.body, `"field":"`+row.field+`"`) {
				t.Errorf("which field: %v", a)
			}
		})
	}
	s.managed(t, tenant, "GET", "/v1/orgs/acme", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	s.managed(t, tenant, "GET", "/v1/orgs/acme/members/bob", "").wantMembers(t, http.StatusOK, map[string]any{"roles": "[viewer]"})
}

// An administrator of members who is no administrator of all gives nobody more than they hold, whichever way.
func TestPrivilegesAreNotEscalated(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.managed(t, tenant, "PUT", "/v1/orgs/acme/roles/staff", `{"permissions": ["documents:read", "orgs.members.*", "orgs.roles.*", "orgs.invitations.*", "orgs.connections.*", "orgs.domains.*", "apikeys.*", "clients.*"]}`).
		wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["staff"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", "/v1/users/frank", `{"email": "frank@acme.example"}`).wantMembers(t, http.StatusOK, nil)
	bob := s.administrator(t, h, "bob", "acme")
	s.managed(t, bob, "PATCH", "/v1/orgs/acme/members/ned", `{"roles": ["viewer"]}`).wantMembers(t, http.StatusOK, map[string]any{"roles": "[viewer]"})
	s.managed(t, bob, "POST", "/v1/orgs/acme/roles", `{"id": "reader", "permissions": ["documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
	for _, row := range []struct{ name, method, path, body, code string }{
		{"a role of their own", "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["staff", "admin"]}`, "not_held"},
		{"somebody else's role", "PATCH", "/v1/orgs/acme/members/ned", `{"roles": ["editor"]}`, "not_held"},
		{"a role that is defined for it", "POST", "/v1/orgs/acme/roles", `{"id": "boss", "permissions": ["*"]}`, "not_held"},
		{"a definition that hides the tenant's", "POST", "/v1/orgs/acme/roles", `{"id": "viewer", "permissions": ["documents:write"]}`, "not_held"},
		{"a definition of what they hold", "PATCH", "/v1/orgs/acme/roles/staff", `{"permissions": ["*"]}`, "not_held"},
		{"weaker admins", "POST", "/v1/orgs/acme/roles", `{"id": "admin", "permissions": []}`, "not_held"},
		{"an invitation", "POST", "/v1/orgs/acme/invitations", `{"email": "x@acme.example", "roles": ["admin"]}`, "not_held"},
		{"a connection's mapping", "POST", "/v1/orgs/acme/connections", `{"id": "c", "issuer": "https://idp.acme.example", "client_id": "m", "audiences": ["m"], "role_mapping": {"all": "admin"}}`, "not_held"},
		{"who joins by a domain", "POST", "/v1/orgs/acme/domains", `{"domain": "acme.example", "auto_join": ["admin"]}`, "not_held"},
		{"a key's scope", "POST", "/v1/apikeys", `{"scopes": ["documents:write"]}`, "not_held"},
		{"a key that manages", "POST", "/v1/apikeys", `{"scopes": ["manage"]}`, "not_held"},
		{"a client that manages", "POST", "/v1/clients", `{"org": "acme", "party": "third", "grant_types": ["client_credentials"], "scopes": ["manage"]}`, "not_held"},
		{"the administrator put out", "DELETE", "/v1/orgs/acme/members/alice", "", "not_held"},
		{"the administrator suspended", "PATCH", "/v1/orgs/acme/members/alice", `{"status": "suspended"}`, "not_held"},
		{"a stranger made a member", "PUT", "/v1/orgs/acme/members/erin", `{"roles": []}`, "invitation_needed"},
		{"nobody made a member", "PUT", "/v1/orgs/acme/members/nobody", `{"roles": []}`, "invitation_needed"},
		{"another parent", "PATCH", "/v1/orgs/acme", `{"parent": "globex"}`, "role_missing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.managed(t, bob, row.method, row.path, row.body).wantStatus(t, http.StatusForbidden, row.code)
		})
	}
	s.managed(t, s.administrator(t, h, "alice", "acme"), "PATCH", "/v1/orgs/acme", `{"parent": "globex"}`).wantStatus(t, http.StatusForbidden, "tenant_only")
}

// The last who could manage the members is not taken away by accident.
func TestSomebodyIsLeftToManage(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	erin := s.administrator(t, h, "erin", "globex")
	for _, row := range []struct{ method, body string }{{"DELETE", ""}, {"PATCH", `{"roles": ["developer"]}`}, {"PATCH", `{"status": "suspended"}`}} {
		s.managed(t, erin, row.method, "/v1/orgs/globex/members/erin", row.body, "Confirm: true").wantStatus(t, http.StatusForbidden, "last_admin")
		s.managed(t, h.pair("tenant-admin"), row.method, "/v1/orgs/globex/members/erin", row.body).wantStatus(t, http.StatusForbidden, "last_admin")
	}
	s.managed(t, erin, "PATCH", "/v1/orgs/globex/members/carol", `{"roles": ["admin"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, erin, "PATCH", "/v1/orgs/globex/members/erin", `{"roles": ["developer"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.pair("tenant-admin"), "DELETE", "/v1/orgs/globex/members/carol", "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
}

// Two administrators put each other out at once: one of them stays.
func TestLastAdministratorsDoNotRace(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	for range 10 {
		s.managed(t, tenant, "PATCH", "/v1/orgs/globex/members/carol", `{"roles": ["admin"]}`)
		s.managed(t, tenant, "PUT", "/v1/orgs/globex/members/erin", `{"roles": ["admin"], "status": "active"}`)
		answers := make(chan answer, 2)
		for _, user := range []string{"erin", "carol"} {
			go func() { answers <- s.managed(t, tenant, "PATCH", "/v1/orgs/globex/members/"+user, `{"roles": []}`) }()
		}
		first, second := <-answers, <-answers
		if (first.status == http.StatusOK) == (second.status == http.StatusOK) {
			t.Fatalf("%v and %v", first, second)
		}
	}
}

// A session of a consumer manages nothing, and a token that does is for one organization (SYSTEMS.md §1).
func TestConsumersDoNotManage(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	consumer := s.tokensFor(t, h, "alice", "acme", "openid documents:read").Access
	s.managed(t, bearer(consumer), "GET", "/v1/orgs/acme", "").wantStatus(t, http.StatusUnauthorized, "credential_invalid") // for another audience
	s.managed(t, h.user("alice", "alice"), "GET", "/v1/orgs/acme", "").wantStatus(t, http.StatusForbidden, "scope_missing")
	s.managed(t, h.key("alice-read"), "GET", "/v1/orgs/acme", "").wantStatus(t, http.StatusForbidden, "scope_missing")
	b := s.login(t, "alice", h.secret("user alice"))
	if page := b.do("GET", "/v1/orgs/acme", ""); page.status != http.StatusUnauthorized {
		t.Errorf("a session's cookie: %v", page)
	}
	alice := s.administrator(t, h, "alice", "acme")
	s.managed(t, alice, "GET", "/v1/orgs/acme", "", "Origin: https://app.example").wantMembers(t, http.StatusOK, map[string]any{"id": "acme"})
	s.managed(t, alice, "GET", "/v1/orgs/globex", "").wantStatus(t, http.StatusNotFound, "not_found")
	// Only an application that is registered for it gets the scope.
	for _, client := range []string{"web-app", "partner-app", "portal"} {
		form := url.Values{"client_id": {client}, "response_type": {"code"}, "scope": {"openid manage"}, "resource": {publicURL}}
		if page := b.get("/authorize?" + form.Encode()); strings.Contains(page.body, "manage") && page.status == http.StatusOK {
			t.Errorf("%s may ask for it: %s", client, page.body)
		}
	}
}

// Ids and addresses with letters that look like others, or that a header, a path or a log would read differently.
func TestLookAlikes(t *testing.T) {
	s := start(t)
	tenant := holdersOf(t, "default").pair("tenant-admin")
	for _, id := range []string{"\u0430cme", "ac\u200Bme", "\uFF41cme", "acme ", " acme", "acme\x00", "acme\r\nX: y", "acme\u202E", "a|b|c", strings.Repeat("a", 300)} {
		escaped := url.PathEscape(id)
		for _, path := range []string{"/v1/orgs/", "/v1/users/", "/v1/clients/", "/v1/vendors/", "/v1/roles/"} {
			if a := s.managed(t, tenant, "PUT", path+escaped, `{}`); a.status < 400 || a.status >= 500 {
				if path == "/v1/vendors/" && id == "a|b|c" || path == "/v1/roles/" && id == "a|b|c" {
					continue // a bar is for users of connections, who are neither
				}
				t.Errorf("PUT %s%q: %v", path, id, a)
			}
		}
	}
	for _, email := range []string{"ali\u0441e@acme.example", "alice@\u0430cme.example", "alice@acme.example\\n", "a@b@acme.example", "\\\"alice\\\"@acme.example", "alice@[127.0.0.1]"} {
		s.managed(t, tenant, "PATCH", "/v1/users/bob", `{"email": "`+email+`"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
	for _, path := range []string{"/v1/orgs/acme%2Fmembers%2Fbob", "/v1/orgs/..%2Fusers", "/v1/orgs/%00", "/v1/orgs/%FF", "/v1/orgs/acme~1members", "/v1/custom/..%2Forgs%2Facme%2Fprofile"} {
		s.managed(t, tenant, "GET", path, "").wantStatus(t, http.StatusNotFound, "not_found")
	}
}
