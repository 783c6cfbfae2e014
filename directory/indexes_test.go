package directory_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

// TestIndexesHoldExactlyWhatTheFactsSay puts, deletes and rotates by chance, and compares the private entries with those that
// the facts alone would give.
func TestIndexesHoldExactlyWhatTheFactsSay(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newFixture(t, 1)
			f.mustLoad(t, `roles: {admin: {permissions: []}, viewer: {permissions: []}}`)
			chance := rand.New(rand.NewPCG(seed, 5))
			now := noon()
			for range 250 {
				now = now.Add(time.Minute)
				f.change(t, chance, now)
			}
			f.compare(t)
			if _, err := tenant.Sweep(t.Context(), f, now.AddDate(0, 1, 0)); err != nil {
				t.Fatal(err)
			}
			f.compare(t)
			if left := f.private(t, "expiring", "sessions", "grants", "usersessions", "usergrants", "left"); len(left) != 0 {
				t.Errorf("after the end of all there are %v", slices.Sorted(maps.Keys(left)))
			}
		})
	}
}

// change makes one change by chance. One that a check refuses is none.
func (f fixture) change(t *testing.T, chance *rand.Rand, now time.Time) {
	t.Helper()
	pick := func(of ...string) string { return of[chance.IntN(len(of))] }
	name := func(kind string) string { return fmt.Sprint(kind, chance.IntN(6)) }
	org, user, vendor, client, key := name("o"), name("u"), name("v"), name("c"), name("k")
	file := func(text string) func(context.Context, datastore.Tx) error {
		parsed, err := directory.ParseFile(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context, tx datastore.Tx) error {
			_, err := parsed.Put(ctx, tenant, tx, f.master)
			return err
		}
	}
	h := f.master.Hash(directory.NewSecret(name("s")))
	changes := []func(context.Context, datastore.Tx) error{
		file("orgs: [{id: " + org + ", parent: \"" + pick("", name("o")) + "\"," +
			" domains: [{domain: " + name("d") + ".example, status: " + pick("pending", "verified") + "}]," +
			" members: [{user: " + user + ", roles: [" + pick("admin", "viewer", "admin, viewer", "") + "], status: " + pick("active", "suspended") + "}]," +
			" connections: [{id: idp, issuer: \"https://" + name("i") + ".example\", client_id: m, client_secret: s," +
			" audiences: [" + pick("a", "a, b") + "]}]}]"),
		file("users: [{id: " + user + ", username: " + pick(user, name("n")) + ", email: " + name("e") + "@a.example}]"),
		file("vendors: [{id: " + vendor + pick("", ", token: "+name("t")) + "}]"),
		file("clients: [{id: " + client + ", org: \"" + pick("", org) + "\", orgs: [" + pick("", name("o")) + "], vendor: \"" + pick("", vendor) + "\"" +
			pick("", ", federated_credentials: [{issuer: \"https://ci.example\", subject: "+name("f")+", audience: a}]") + "}]"),
		file("api_keys: [{id: " + key + ", org: \"" + pick("", org) + "\", kind: " + pick("bearer", "pair") + pick("", ", key: "+name("s")) + "}]"),
		file("api_keys: [{id: " + key + ", org: " + org + ", owner: " + user + "}]"),
		file("integrations: [{id: " + name("i") + ", org: " + org + ", vendor: " + vendor + pick("", ", partner_token: "+name("t")) + "}]"),
		func(ctx context.Context, tx datastore.Tx) error {
			return tenant.PutIntegration(ctx, tx, org, vendor, directory.Integration{ID: name("i"), Kind: directory.DelegatedIntegration, EnabledBy: user})
		},
		file("apis: [{id: " + name("a") + ", audience: \"https://" + name("a") + ".example\"}]"),
		func(ctx context.Context, tx datastore.Tx) error {
			return tenant.PutSession(ctx, tx, h, directory.Session{User: user, CreatedAt: now, ExpiresAt: now.Add(time.Hour)})
		},
		func(ctx context.Context, tx datastore.Tx) error {
			g := directory.Grant{Kind: pick("user", "apikey", ""), Subject: user, Org: org, ExpiresAt: now.Add(time.Hour)}
			return tenant.PutGrant(ctx, tx, name("g"), g)
		},
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteGrant(ctx, tx, name("g")) },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteSession(ctx, tx, h) },
		func(ctx context.Context, tx datastore.Tx) error {
			return tenant.PutLastUse(ctx, tx, pick("apikeys", "clients", "vendors", "integrations"), pick(key, client, vendor, name("i")), now)
		},
		func(ctx context.Context, tx datastore.Tx) error {
			if _, member, err := tenant.Member(org, user).Find(ctx, tx); err != nil || !member {
				return err
			}
			return tenant.PutProvisioned(ctx, tx, directory.ProvisionedMembers, org, user, directory.Provisioned{ExternalID: pick("", name("x"))})
		},
		func(ctx context.Context, tx datastore.Tx) error {
			p := directory.Provisioned{ExternalID: name("x"), DisplayName: pick("", name("r"))}
			return tenant.PutProvisioned(ctx, tx, directory.ProvisionedRoles, org, pick("admin", "viewer"), p)
		},
		func(ctx context.Context, tx datastore.Tx) error {
			_, err := tenant.RotateAPIKey(ctx, tx, f.master, key, time.Duration(chance.IntN(3))*time.Hour, now)
			return err
		},
		func(ctx context.Context, tx datastore.Tx) error {
			_, err := tenant.RotateVendorToken(ctx, tx, f.master, vendor)
			return err
		},
		func(ctx context.Context, tx datastore.Tx) error {
			_, err := tenant.RotatePartnerToken(ctx, tx, f.master, org, vendor)
			return err
		},
		func(ctx context.Context, tx datastore.Tx) error {
			_, err := tenant.RotateClientSecret(ctx, tx, f.master, client, true)
			return err
		},
	}
	deletions := []func(context.Context, datastore.Tx) error{
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteMember(ctx, tx, org, user) },
		func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteIntegration(ctx, tx, org, vendor)
		},
		func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DeleteDomain(ctx, tx, org, name("d")+".example")
		},
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteConnection(ctx, tx, org, "idp") },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteAPI(ctx, tx, name("a")) },
	}
	// Ids are never given again, so these are rare.
	burials := []func(context.Context, datastore.Tx) error{
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteAPIKey(ctx, tx, key) },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteClient(ctx, tx, client) },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteVendor(ctx, tx, vendor) },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteUser(ctx, tx, user) },
		func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteOrg(ctx, tx, org) },
	}
	from := changes
	switch n := chance.IntN(100); {
	case n < 4:
		from = burials
	case n < 20:
		from = deletions
	case n < 25:
		if _, err := tenant.Sweep(t.Context(), f, now); err != nil {
			t.Fatal(err)
		}
		return
	}
	_, _ = f.Update(t.Context(), func(tx datastore.Tx) error { return from[chance.IntN(len(from))](t.Context(), tx) })
}

// compare compares the private entries that lead to records with what the records say.
func (f fixture) compare(t *testing.T) {
	t.Helper()
	want := map[string]bool{}
	add := func(segments ...string) {
		want[datastore.TenantID("default").Path(append([]string{"private"}, segments...)...).String()] = true
	}
	r := f.view(t)
	read := func(p datastore.Path, into any) {
		t.Helper()
		value, err := r.Get(t.Context(), p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if err := json.Unmarshal(value, into); err != nil {
			t.Fatal(err)
		}
	}
	for fact, err := range r.Scan(t.Context(), datastore.TenantID("default").Path(), datastore.Path{}) {
		if err != nil {
			t.Fatal(err)
		}
		at := fact.Path.Segments()
		switch {
		case at[0] == "apikeys":
			var k directory.APIKey
			read(fact.Path, &k)
			if k.Org != "" {
				add("owned", "apikeys", "org", k.Org, at[1])
			}
			if k.Owner != "" {
				add("owned", "apikeys", "user", k.Owner, at[1])
			}
			var s directory.KeySecrets
			read(tenant.KeySecrets(at[1]).Path, &s)
			add("apikeys", at[1])
			add("secrets", string(s.Key))
			if s.Former != nil { // until Sweep has found that it has ended
				owner, found, err := tenant.SecretOwner(s.Former.Key).Find(t.Context(), r)
				if err == nil && found && owner.ID == at[1] && owner.ExpiresAt.Equal(s.Former.Until) {
					add("secrets", string(s.Former.Key))
				}
			}
		case at[0] == "clients":
			var c directory.Client
			read(fact.Path, &c)
			if c.Org != "" {
				add("owned", "clients", "org", c.Org, at[1])
			}
			if c.Vendor != "" {
				add("owned", "clients", "vendor", c.Vendor, at[1])
			}
			for _, org := range c.Orgs {
				add("owned", "clients", "acting", org, at[1])
			}
			for _, rule := range c.FederatedCredentials {
				add("federated", rule.Issuer, rule.Subject)
			}
			add("clients", at[1])
		case at[0] == "vendors":
			var s directory.TokenSecret
			read(tenant.VendorSecret(at[1]).Path, &s)
			add("vendors", at[1])
			add("secrets", string(s.Token))
		case at[0] == "users":
			var u directory.User
			read(fact.Path, &u)
			add("usernames", u.Username)
			add("emails", u.Email, at[1])
		case at[0] == "apis":
			var a directory.API
			read(fact.Path, &a)
			add("audiences", a.Audience)
		case at[0] == "orgs" && at[2] == "profile":
			var o directory.Org
			read(fact.Path, &o)
			if o.Parent != "" {
				add("children", o.Parent, at[1])
			}
		case at[0] == "orgs" && at[2] == "members":
			var m directory.Member
			read(fact.Path, &m)
			add("memberships", at[3], at[1])
			for _, role := range m.Roles {
				add(map[directory.Status]string{directory.Active: "holders", directory.Suspended: "suspendedholders"}[m.Status], at[1], role, at[3])
			}
		case at[0] == "orgs" && at[2] == "integrations":
			var i directory.Integration
			read(fact.Path, &i)
			s, found, err := tenant.IntegrationSecret(at[1], at[3]).Find(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if found {
				add("integrations", at[1], at[3])
				add("secrets", string(s.Token))
			}
			if i.Kind == directory.DelegatedIntegration {
				add("owned", "integrations", "user", i.EnabledBy, at[1], at[3])
			}
			add("integrationids", i.ID)
			add("owned", "integrations", "vendor", at[3], at[1])
		case at[0] == "orgs" && at[2] == "domains":
			var d directory.Domain
			read(fact.Path, &d)
			if d.Status == directory.Verified {
				add("domains", at[3])
			}
		case at[0] == "orgs" && at[2] == "connections":
			var c directory.Connection
			read(fact.Path, &c)
			for _, audience := range c.Audiences {
				add("issuers", c.Issuer, audience)
			}
			add("connections", at[1], at[3])
		case at[0] == "private" && at[1] == "provisioned":
			var p directory.Provisioned
			read(fact.Path, &p)
			for attribute, value := range map[string]string{"external_id": p.ExternalID, "display_name": p.DisplayName} {
				if value != "" {
					add(tenant.ProvisionedAs(at[3], at[2], attribute, value).Path.Segments()[1:]...)
				}
			}
			if at[3] == directory.ProvisionedMembers {
				if _, member, _ := tenant.Member(at[2], at[4]).Find(t.Context(), r); !member {
					t.Errorf("%s is of no member", fact.Path)
				}
			}
		case at[0] == "private" && at[1] == "sessions":
			var s directory.Session
			read(fact.Path, &s)
			add("usersessions", s.User, at[2])
		case at[0] == "private" && at[1] == "grants":
			var g directory.Grant
			read(fact.Path, &g)
			if g.Kind == "user" {
				add("usergrants", g.Subject, at[2])
			}
		}
	}
	got := f.private(t, "owned", "apikeys", "secrets", "federated", "clients", "vendors", "usernames", "emails", "audiences", "children", "memberships",
		"holders", "suspendedholders", "provisionedas", "integrations", "integrationids", "domains", "issuers", "connections", "usersessions", "usergrants")
	for p := range want {
		if _, found := got[p]; !found {
			t.Errorf("%s is missing", p)
		}
	}
	for p, value := range got {
		if !want[p] {
			t.Errorf("%s dangles: %s", p, value)
		}
	}
	for p := range f.private(t, "lastused") {
		at := strings.Split(p, "/")
		record := datastore.TenantID("default").Path(at[2], at[3])
		if at[2] == "integrations" {
			record = tenant.IntegrationID(at[3]).Path
		}
		if _, err := r.Get(t.Context(), record); err != nil {
			t.Errorf("%s dangles", p)
		}
	}
}
