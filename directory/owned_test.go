package directory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mandate/datastore"
	"mandate/directory"
)

// commit runs one transaction.
func (f fixture) commit(t *testing.T, do func(ctx context.Context, tx datastore.Tx) error) {
	t.Helper()
	if _, err := f.Update(t.Context(), func(tx datastore.Tx) error { return do(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// ids collects what a listing yields.
func ids[T any](t *testing.T, list func(do func(id string, record T) error) error) string {
	t.Helper()
	var found []string
	if err := list(func(id string, _ T) error { found = append(found, id); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

// private are the private entries whose path begins with one of the roots, by path.
func (f fixture) private(t *testing.T, roots ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for fact, err := range f.view(t).Scan(t.Context(), datastore.TenantID("default").Path(directory.PrivateRoot), datastore.Path{}) {
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(roots, fact.Path.Segments()[1]) {
			found[fact.Path.String()] = string(fact.Value)
		}
	}
	return found
}

const owners = `
orgs: [{id: acme}, {id: globex}]
users: [{id: alice}, {id: bob}]
vendors: [{id: backupco, token: vt}, {id: scanly, token: st}]
`

func TestIndexesOfOwners(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, owners+`
roles: {admin: {permissions: []}}
`)
	f.mustLoad(t, `
orgs: [{id: acme, members: [{user: alice, roles: []}]}, {id: globex, members: [{user: alice, roles: []}]}]
api_keys: [{id: k2, org: acme}, {id: k1, org: acme, owner: alice}, {id: k3, org: globex, owner: alice}, {id: k0}]
clients: [{id: c2, org: acme, orgs: [globex]}, {id: c1, org: acme, vendor: backupco}, {id: c3, orgs: [acme, globex]}]
integrations: [{id: i1, vendor: backupco, org: globex}, {id: i2, vendor: backupco, org: acme}, {id: i3, vendor: scanly, org: acme}]`)
	check := func(want map[string]string) {
		t.Helper()
		ctx, r := t.Context(), f.view(t)
		keys := func(list func(context.Context, datastore.Reader, string, string, func(string, directory.APIKey) error) error, owner, after string) string {
			return ids(t, func(do func(string, directory.APIKey) error) error { return list(ctx, r, owner, after, do) })
		}
		clients := func(list func(context.Context, datastore.Reader, string, string, func(string, directory.Client) error) error, owner string) string {
			return ids(t, func(do func(string, directory.Client) error) error { return list(ctx, r, owner, "", do) })
		}
		got := map[string]string{
			"keys of acme": keys(tenant.APIKeysOf, "acme", ""), "keys of acme after k1": keys(tenant.APIKeysOf, "acme", "k1"),
			"keys of alice": keys(tenant.APIKeysOwnedBy, "alice", ""), "clients of acme": clients(tenant.ClientsOf, "acme"),
			"clients acting in acme": clients(tenant.ClientsActingIn, "acme"), "clients acting in globex": clients(tenant.ClientsActingIn, "globex"),
			"clients of backupco": clients(tenant.ClientsOfVendor, "backupco"),
			"orgs of backupco": ids(t, func(do func(string, directory.Integration) error) error {
				return tenant.IntegrationsOf(ctx, r, "backupco", "", do)
			}),
		}
		for what, ids := range want {
			if got[what] != ids {
				t.Errorf("%s: %q, want %q", what, got[what], ids)
			}
		}
	}
	check(map[string]string{"keys of acme": "k1 k2", "keys of acme after k1": "k2", "keys of alice": "k1 k3", "clients of acme": "c1 c2",
		"clients acting in acme": "c3", "clients acting in globex": "c2 c3", "clients of backupco": "c1", "orgs of backupco": "acme globex"})
	f.mustLoad(t, `
api_keys: [{id: k2, org: globex}, {id: k1, org: acme}]
clients: [{id: c1, org: globex}, {id: c3, orgs: [globex]}]
integrations: [{id: i9, vendor: backupco, org: acme}]`)
	check(map[string]string{"keys of acme": "k1", "keys of alice": "k3", "clients of acme": "c2", "clients acting in acme": "",
		"clients acting in globex": "c2 c3", "clients of backupco": "", "orgs of backupco": "acme globex"})
	for id, want := range map[string]directory.IntegrationRef{"i9": {Org: "acme", Vendor: "backupco"}, "i1": {Org: "globex", Vendor: "backupco"}, "i2": {}} {
		if ref, _, err := tenant.IntegrationID(id).Find(t.Context(), f.view(t)); err != nil || ref != want {
			t.Errorf("%s leads to %v (%v), want %v", id, ref, err, want)
		}
	}
	if _, err := f.load(t, `integrations: [{id: i9, vendor: scanly, org: acme}]`); err == nil ||
		!strings.Contains(err.Error(), `"i9" is already the id of the integration of "backupco" with "acme"`) {
		t.Errorf("two integrations have one id: %v", err)
	}
}

func TestHoldersOfARole(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, `
roles: {admin: {permissions: []}, viewer: {permissions: []}}
users: [{id: alice}, {id: bob}, {id: carol}, {id: walt, status: disabled}]
orgs: [{id: acme}, {id: globex}]`)
	put := func(org, user string, status directory.Status, roles ...string) func(context.Context, datastore.Tx) error {
		return func(ctx context.Context, tx datastore.Tx) error {
			return tenant.PutMember(ctx, tx, org, user, directory.Member{Roles: roles, Status: status})
		}
	}
	for _, step := range []struct {
		name   string
		change func(context.Context, datastore.Tx) error
		admins string
		sole   bool // alice
	}{
		{"nobody", func(context.Context, datastore.Tx) error { return nil }, "", false},
		{"the first", put("acme", "alice", directory.Active, "admin", "viewer", "admin"), "alice", true},
		{"one of another organization", put("globex", "bob", directory.Active, "admin"), "alice", true},
		{"a suspended one", put("acme", "bob", directory.Suspended, "admin"), "alice", true},
		{"one with another role", put("acme", "carol", directory.Active, "viewer"), "alice", true},
		{"a second", put("acme", "bob", directory.Active, "admin"), "alice bob", false},
		{"beside one who is disabled", put("acme", "walt", directory.Active, "admin"), "alice bob walt", false},
		{"who loses the role", put("acme", "bob", directory.Active, "viewer"), "alice walt", true},
		{"the first is suspended", put("acme", "alice", directory.Suspended, "admin"), "walt", false},
		{"and active again", put("acme", "alice", directory.Active, "admin"), "alice walt", true},
		{"and removed", func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteMember(ctx, tx, "acme", "alice") }, "walt", false},
	} {
		f.commit(t, step.change)
		var admins []string
		err := tenant.Holders(t.Context(), f.view(t), "acme", "admin", "", func(user string) error { admins = append(admins, user); return nil })
		if got := strings.Join(admins, " "); err != nil || got != step.admins {
			t.Errorf("%s: %q hold the role (%v), want %q", step.name, got, err, step.admins)
		}
		if sole, err := tenant.SoleHolder(t.Context(), f.view(t), "acme", "admin", "alice"); err != nil || sole != step.sole {
			t.Errorf("%s: alice is the only holder: %v (%v)", step.name, sole, err)
		}
	}
}

// Of more holders than are looked at, one is taken to be active.
func TestLookForAnotherHolderIsBounded(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "roles: {admin: {permissions: []}}\nusers: [{id: alice}]\norgs: [{id: acme}]")
	for _, step := range []struct {
		others int
		sole   bool
	}{{999, true}, {1001, false}} {
		f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
			for i := range step.others {
				if err := tenant.PutMember(ctx, tx, "acme", fmt.Sprintf("gone-%04d", i), directory.Member{Roles: []string{"admin"}, Status: directory.Active}); err != nil {
					return err
				}
			}
			return tenant.PutMember(ctx, tx, "acme", "zoe", directory.Member{Roles: []string{"admin"}, Status: directory.Active})
		})
		if sole, err := tenant.SoleHolder(t.Context(), f.view(t), "acme", "admin", "zoe"); err != nil || sole != step.sole {
			t.Errorf("beside %d users who are gone: %v (%v)", step.others, sole, err)
		}
	}
}

func TestDeletedIDsAreNotGivenAgain(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, owners+`
clients: [{id: sync}]
api_keys: [{id: key}]`)
	for _, row := range []struct {
		collection, id string
		remove         func(ctx context.Context, tx datastore.Tx, id string) error
		again, refused string
	}{
		{"orgs", "globex", tenant.DeleteOrg, "orgs: [{id: globex}]", "orgs[0].id"},
		{"users", "bob", tenant.DeleteUser, "users: [{id: bob}]", "users[0].id"},
		{"clients", "sync", tenant.DeleteClient, "clients: [{id: sync}]", "clients[0].id"},
		{"apikeys", "key", tenant.DeleteAPIKey, "api_keys: [{id: key}]", "api_keys[0].id"},
		{"vendors", "scanly", tenant.DeleteVendor, "vendors: [{id: scanly}]", "vendors[0].id"},
		{"users", "sync", nil, "users: [{id: sync}]", "users[0].id"}, // clients, users and API keys share their ids
		{"clients", "key", nil, "clients: [{id: key}]", "clients[0].id"},
	} {
		if row.remove != nil {
			if deleted, err := tenant.Deleted(t.Context(), f.view(t), row.collection, row.id); deleted || err != nil {
				t.Errorf("%s %s was deleted before it was (%v)", row.collection, row.id, err)
			}
			f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return row.remove(ctx, tx, row.id) })
		}
		if deleted, err := tenant.Deleted(t.Context(), f.view(t), row.collection, row.id); !deleted || err != nil {
			t.Errorf("nothing says that %s %s was deleted (%v)", row.collection, row.id, err)
		}
		_, err := f.load(t, row.again)
		if want := row.refused + fmt.Sprintf(": %q was deleted: choose another id", row.id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is taken: %v", row.again, err)
		}
	}
	for name, id := range map[string]string{"never there": "nobody", "another collection": "backupco"} {
		f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteUser(ctx, tx, id) })
		if deleted, err := tenant.Deleted(t.Context(), f.view(t), "users", id); deleted || err != nil {
			t.Errorf("%s: counts as deleted (%v)", name, err)
		}
	}
	f.mustLoad(t, "users: [{id: alice, email: alice@acme.example}]") // one that lives is replaced
	f.mustLoad(t, "apis: [{id: globex, audience: \"https://a.example\"}]")
}

// TestDeletedUserLeavesNothing: what goes with a user, and what does not.
func TestDeletedUserLeavesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, everything)
	h := f.master.Hash(directory.NewSecret("session"))
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		if err := tenant.PutGrant(ctx, tx, "g", directory.Grant{Kind: "user", Subject: "alice", ExpiresAt: noon()}); err != nil {
			return err
		}
		return tenant.PutSession(ctx, tx, h, directory.Session{User: "alice", ExpiresAt: noon()})
	})
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteUser(ctx, tx, "alice") })
	for fact, err := range f.view(t).Scan(t.Context(), datastore.TenantID("default").Path(), datastore.Path{}) {
		if err != nil {
			t.Fatal(err)
		}
		named := slices.Contains(fact.Path.Segments(), "alice") || strings.Contains(fact.Path.String(), "alice.a")
		// A key and an integration that name her are other records, and good for nothing without her.
		if p := fact.Path.String(); named && p != "private/deleted/subjects/alice" && p != "private/owned/apikeys/user/alice/acme-key" {
			t.Errorf("%s is there", p)
		}
	}
	for _, gone := range []datastore.Path{tenant.Grant("g").Path, tenant.Session(h).Path} {
		if _, found, _ := (directory.Place[any]{Path: gone}).Find(t.Context(), f.view(t)); found {
			t.Errorf("%s is there", gone)
		}
	}
	f.mustLoad(t, "users: [{id: alicia, username: alice.a}]") // her name is free
}

// TestDeletedOrganizationIsRemovedBySweep: at once it is gone, a little later all that it had.
func TestDeletedOrganizationIsRemovedBySweep(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, everything)
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		for i := range 450 {
			member := directory.Member{Roles: []string{"viewer"}, Status: directory.Active}
			if err := tenant.PutMember(ctx, tx, "acme", fmt.Sprint("member-", i), member); err != nil {
				return err
			}
		}
		return nil
	})
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteOrg(ctx, tx, "acme") })
	if _, found, err := tenant.Org("acme").Find(t.Context(), f.view(t)); found || err != nil {
		t.Errorf("it is there: %v", err)
	}
	before := f.view(t).Revision()
	if _, err := tenant.Sweep(t.Context(), f, noon()); err != nil {
		t.Fatal(err)
	}
	if commits := f.view(t).Revision() - before; commits < 3 || commits > 5 {
		t.Errorf("removed in %d commits, want some of 200 records", commits)
	}
	f.sweep(t, noon(), 0)
	for fact, err := range f.view(t).Scan(t.Context(), datastore.TenantID("default").Path(), datastore.Path{}) {
		if err != nil {
			t.Fatal(err)
		}
		// Its child still says whose child it was; a client may still name it among others.
		p := fact.Path.String()
		named := slices.Contains(fact.Path.Segments(), "acme") || strings.Contains(string(fact.Value), `"acme"`)
		stays := []string{"private/deleted/orgs/acme", "private/children/acme/globex", "orgs/globex/profile"}
		if named && !slices.Contains(stays, p) && !strings.HasPrefix(p, "consents/") {
			t.Errorf("%s is there: %s", p, fact.Value)
		}
	}
	if f.opens(t, directory.NewSecret("key-of-acme")) != "" {
		t.Error("its API key opens")
	}
}
