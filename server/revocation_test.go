package server_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// TestNothingIsAllowedAfterRevocation: sixteen clients ask all the time while something is taken away. Of the requests that
// begin after that was acknowledged not one is allowed.
func TestNothingIsAllowedAfterRevocation(t *testing.T) {
	const clients, before, after = 16, 50, 50
	for _, row := range []struct {
		name               string
		subject            revocable
		method, path, body string
	}{
		{"a member is removed", namedUser("carol"), "DELETE", "/v1/orgs/acme/members/carol", ""},
		{"a member is suspended", namedUser("carol"), "PATCH", "/v1/orgs/acme/members/carol", `{"status": "suspended"}`},
		{"a role is taken away", namedUser("carol"), "PATCH", "/v1/orgs/acme/members/carol", `{"roles": []}`},
		{"a role permits less", namedUser("carol"), "PUT", "/v1/roles/editor", `{"permissions": []}`},
		{"an organization hides a role", namedUser("carol"), "PUT", "/v1/orgs/acme/roles/editor", `{"permissions": []}`},
		{"a user is disabled", namedUser("carol"), "PATCH", "/v1/users/carol", `{"status": "disabled"}`},
		{"a user is deleted", namedUser("carol"), "DELETE", "/v1/users/carol", ""},
		{"an organization is suspended", namedUser("carol"), "PATCH", "/v1/orgs/acme", `{"status": "suspended"}`},
		{"an organization is deleted", namedUser("carol"), "DELETE", "/v1/orgs/acme", ""},
		{"a key is revoked", keyOf("alice-read"), "PATCH", "/v1/apikeys/alice-read", `{"status": "revoked"}`},
		{"a key is deleted", keyOf("alice-read"), "DELETE", "/v1/apikeys/alice-read", ""},
		{"a key's owner is removed", keyOf("alice-read"), "DELETE", "/v1/orgs/acme/members/alice", ""},
		{"a key's owner is no developer any more", keyOf("alice-read"), "PATCH", "/v1/orgs/acme/members/alice", `{"roles": ["admin"]}`},
		{"an integration is suspended", partnerOf("backupco", "backupco-acme"), "PATCH", "/v1/orgs/acme/integrations/backupco", `{"status": "suspended"}`},
		{"an integration is deleted", partnerOf("backupco", "backupco-acme"), "DELETE", "/v1/orgs/acme/integrations/backupco", ""},
		{"a vendor is suspended", partnerOf("backupco", "backupco-acme"), "PATCH", "/v1/vendors/backupco", `{"status": "suspended"}`},
		{"a client is disabled", tokenOf("acme-sync"), "PATCH", "/v1/clients/acme-sync", `{"status": "disabled"}`},
		{"a client is deleted", tokenOf("acme-sync"), "DELETE", "/v1/clients/acme-sync", ""},
		{"a client has the scope no more", tokenOf("acme-sync"), "PATCH", "/v1/clients/acme-sync", `{"scopes": []}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			h := holdersOf(t, "default")
			asked := question(row.subject(t, s, h), "documents:read", "report")
			ask := func() bool { return s.ask(t, h.key("gateway"), evaluationPath, asked).verdict() == "allow" }
			if !ask() {
				t.Fatal("it is not allowed in the first place")
			}
			var (
				revoked          atomic.Bool
				early            sync.WaitGroup
				all              sync.WaitGroup
				allowed, refused atomic.Int64
			)
			early.Add(clients)
			for range clients {
				all.Go(func() {
					begun := sync.OnceFunc(early.Done)
					defer begun() // also when a request fails
					for n, late := 0, 0; late < after; n++ {
						if n == before {
							begun()
						}
						began := revoked.Load()
						ok := ask()
						switch {
						case began && ok:
							allowed.Add(1)
						case began:
							refused.Add(1)
						}
						if began {
							late++
						}
					}
				})
			}
			early.Wait()
			a := s.managed(t, h.pair("tenant-admin"), row.method, row.path, row.body, "Confirm: true")
			revoked.Store(true)
			if a.status != http.StatusOK && a.status != http.StatusCreated {
				t.Errorf("not revoked: %v", a)
			}
			all.Wait()
			if allowed.Load() > 0 || refused.Load() == 0 {
				t.Errorf("after the revocation %d requests were allowed and %d refused", allowed.Load(), refused.Load())
			}
		})
	}
}

// A subject of the decisions, of the default tenant.
type revocable func(t testing.TB, s *running, h holders) string

func namedUser(id string) revocable {
	return func(testing.TB, *running, holders) string { return named("user", id) }
}

func keyOf(id string) revocable {
	return func(t testing.TB, _ *running, h holders) string { return presented(t, h.key(id)) }
}

func partnerOf(vendor, integration string) revocable {
	return func(t testing.TB, _ *running, h holders) string { return presented(t, h.partner(vendor, integration)) }
}

func tokenOf(client string) revocable {
	return func(t testing.TB, s *running, h holders) string {
		return presented(t, bearer(s.issue(t, h.client(client), "https://documents.example")))
	}
}
