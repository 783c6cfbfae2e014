package directory_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// names lists what the store has with the word in a segment of its path or in its value.
func (f fixture) names(t *testing.T, words ...string) []string {
	t.Helper()
	var found []string
	for fact, err := range f.view(t).Scan(t.Context(), datastore.TenantID("default").Path(), datastore.Path{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if slices.Contains(fact.Path.Segments(), word) || strings.Contains(string(fact.Value), `"`+word+`"`) {
				found = append(found, fact.Path.String())
				break
			}
		}
	}
	return found
}

// TestNothingIsLeftOfDeletedRecords: neither a path nor a value names the record, or a secret or attribute of it, but the
// deletion itself.
func TestNothingIsLeftOfDeletedRecords(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, everything)
	hash := func(secret string) string { return string(f.master.Hash(directory.NewSecret(secret))) }
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		for collection, id := range map[string]string{"apikeys": "acme-key", "clients": "workload", "vendors": "backupco", "integrations": "backupco-acme"} {
			if err := tenant.PutLastUse(ctx, tx, collection, id, noon()); err != nil {
				return err
			}
		}
		return nil
	})
	f.rotateKey(t, "acme-key", time.Hour, noon())
	for _, row := range []struct {
		name   string
		remove func(ctx context.Context, tx datastore.Tx) error
		words  []string
		stays  []string
	}{
		{"an API key", func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteAPIKey(ctx, tx, "acme-key") },
			[]string{"acme-key", hash("key-of-acme")}, []string{"private/deleted/subjects/acme-key"}},
		{"a client", func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteClient(ctx, tx, "workload") },
			[]string{"workload", "repo:acme/app"}, []string{"private/deleted/subjects/workload"}},
		{"an integration", func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteIntegration(ctx, tx, "acme", "backupco")
		}, []string{"backupco-acme", hash("partner-token")}, nil},
		{"a vendor, whose client names it", func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteVendor(ctx, tx, "backupco")
		}, []string{"backupco", hash("vendor-token")},
			[]string{"clients/documents-app", "private/deleted/vendors/backupco", "private/owned/clients/vendor/backupco/documents-app"}},
		{"an API", func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteAPI(ctx, tx, "documents") }, []string{"documents"}, nil},
		{"a domain", func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteDomain(ctx, tx, "acme", "acme.example")
		}, []string{"acme.example"}, []string{"orgs/acme/connections/idp"}},
		{"a connection", func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteConnection(ctx, tx, "acme", "old")
		},
			[]string{"old", "https://old.acme.example/tenant"}, nil},
		{"a role of an organization, and who holds it", func(ctx context.Context, tx datastore.Tx) error {
			if err := tenant.DeleteMember(ctx, tx, "acme", "alice"); err != nil {
				return err
			}
			return tenant.DeleteOrgRole(ctx, tx, "acme", "auditor")
		}, []string{"auditor"}, nil},
		{"a role of the tenant", func(ctx context.Context, tx datastore.Tx) error {
			if err := tenant.DeleteMember(ctx, tx, "acme", "bob"); err != nil {
				return err
			}
			return tenant.DeleteRole(ctx, tx, "viewer")
		}, []string{"viewer"}, []string{"orgs/acme/connections/idp"}},
	} {
		if before := f.names(t, row.words...); len(before) < 1+len(row.stays) {
			t.Errorf("%s: only %v name it before", row.name, before)
		}
		f.commit(t, row.remove)
		if left := f.names(t, row.words...); !slices.Equal(left, row.stays) {
			t.Errorf("%s: %v name it, want %v", row.name, left, row.stays)
		}
	}
}

// TestGrantsEndWithTheMembership: those for other organizations do not.
func TestGrantsEndWithTheMembership(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "users: [{id: alice}, {id: bob}]\norgs: [{id: acme, members: [{user: alice, roles: []}, {user: bob, roles: []}]}]")
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		for id, g := range map[string]directory.Grant{"here": {Subject: "alice", Org: "acme"}, "elsewhere": {Subject: "alice", Org: "globex"},
			"nowhere": {Subject: "alice"}, "another's": {Subject: "bob", Org: "acme"}} {
			g.Kind, g.ExpiresAt = "user", noon()
			if err := tenant.PutGrant(ctx, tx, id, g); err != nil {
				return err
			}
		}
		return tenant.DeleteMember(ctx, tx, "acme", "alice")
	})
	for id, want := range map[string]bool{"here": false, "elsewhere": true, "nowhere": true, "another's": true} {
		if _, found, err := tenant.Grant(id).Find(t.Context(), f.view(t)); err != nil || found != want {
			t.Errorf("the grant %s is there: %v (%v)", id, found, err)
		}
	}
}
