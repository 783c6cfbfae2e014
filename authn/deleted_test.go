package authn

import (
	"context"
	"encoding/base64"
	"testing"

	"mandate/datastore"
	"mandate/directory"
)

// TestDeletedRecordsOpenNothing: what was deleted is refused at the next request, also where it is remembered, and nothing else is.
func TestDeletedRecordsOpenNothing(t *testing.T) {
	pair := base64.StdEncoding.EncodeToString([]byte("vendor-token:partner-token"))
	sync := Presented{Clients: []Pair{{ID: directory.NewSecret("sync"), Secret: directory.NewSecret("secret-of-sync")}}}
	bearer := func(token string) Presented { return Presented{Authorization: []string{"Bearer " + token}} }
	all := map[string]Presented{"key": bearer("key-of-acme"), "owned": bearer("key-of-alice"), "pair": bearer(pair), "delegated": bearer("delegated-token"), "client": sync}
	for _, row := range []struct {
		name   string
		remove func(ctx context.Context, tx datastore.Tx) error
		ended  []string
	}{
		{"an API key", func(ctx context.Context, tx datastore.Tx) error { return testTenant.DeleteAPIKey(ctx, tx, "k") }, []string{"key"}},
		{"a client", func(ctx context.Context, tx datastore.Tx) error { return testTenant.DeleteClient(ctx, tx, "sync") }, []string{"client"}},
		{"a vendor", func(ctx context.Context, tx datastore.Tx) error { return testTenant.DeleteVendor(ctx, tx, "backupco") }, []string{"pair"}},
		{"an integration", func(ctx context.Context, tx datastore.Tx) error {
			return testTenant.DeleteIntegration(ctx, tx, "acme", "backupco")
		}, []string{"pair"}},
		{"a delegated one", func(ctx context.Context, tx datastore.Tx) error {
			return testTenant.DeleteIntegration(ctx, tx, "acme", "scanly")
		}, []string{"delegated"}},
		{"a member", func(ctx context.Context, tx datastore.Tx) error {
			return testTenant.DeleteMember(ctx, tx, "acme", "alice")
		}, []string{"owned", "delegated"}},
		{"a user", func(ctx context.Context, tx datastore.Tx) error { return testTenant.DeleteUser(ctx, tx, "alice") }, []string{"owned", "delegated"}},
		{"an organization", func(ctx context.Context, tx datastore.Tx) error { return testTenant.DeleteOrg(ctx, tx, "acme") },
			[]string{"key", "owned", "pair", "delegated", "client"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.load(`
roles: {developer: {permissions: []}}
users: [{id: alice}]
vendors: [{id: backupco, token: vendor-token}, {id: scanly, token: x}]
clients: [{id: sync, org: acme, secret: secret-of-sync}, {id: scanly-app, vendor: scanly, secret: y}]
orgs: [{id: acme, members: [{user: alice, roles: [developer]}]}]
api_keys: [{id: k, org: acme, key: key-of-acme}, {id: ka, org: acme, owner: alice, key: key-of-alice}]
integrations:
  - {id: external, vendor: backupco, org: acme, partner_token: partner-token}
  - {id: delegated, vendor: scanly, org: acme, kind: delegated, client: scanly-app, enabled_by: alice, partner_token: delegated-token}`)
			use := func(p Presented) error {
				r := w.memory.Begin()
				defer r.End()
				_, err := w.a.Authenticate(t.Context(), r, p)
				return err
			}
			for name, p := range all {
				if err := use(p); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			w.update(func(tx datastore.Tx) error { return row.remove(t.Context(), tx) })
			ended := map[string]bool{}
			for _, name := range row.ended {
				ended[name] = true
			}
			for name, p := range all {
				if err := use(p); (err != nil) != ended[name] {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestSessionsAreEndedByUser: sessions that are ended for their user are good for nothing at the next request.
func TestSessionsAreEndedByUser(t *testing.T) {
	w := newWorld(t)
	put(w, testTenant.User("alice"), directory.User{Username: "alice", Status: directory.Active})
	alice := &Principal{Type: User, Subject: "alice", Methods: []string{"pwd"}}
	var secrets []directory.Secret
	for range 2 {
		secret, err := w.a.BeginSession(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		if secrets = append(secrets, secret); w.session(secret) == nil {
			t.Fatal("no session")
		}
	}
	w.update(func(tx datastore.Tx) error {
		_, err := testTenant.EndSessions(t.Context(), tx, "alice")
		return err
	})
	for _, secret := range secrets {
		if p := w.session(secret); p != nil {
			t.Errorf("still %+v", p)
		}
	}
}
