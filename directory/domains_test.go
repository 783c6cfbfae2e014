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

func TestDomainNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, row := range []struct {
		name, domain string
		good         bool
	}{
		{"a domain", "acme.example", true},
		{"below another", "mail.eu.acme.example", true},
		{"below a public suffix of two labels", "acme.co.uk", true},
		{"digits and hyphens (RFC 1123 §2.1)", "1-800.acme.example", true},
		{"an A-label (RFC 5890 §2.3.2.1)", "xn--bcher-kva.example", true},
		{"the longest label", label + ".example", true},
		{"nothing", "", false},
		{"one label", "example", false},
		{"a public suffix", "co.uk", false},
		{"a public suffix of a company", "github.io", false},
		{"a top-level domain with a dot", "com.", false},
		{"upper case", "Acme.example", false},
		{"the root's dot", "acme.example.", false},
		{"an empty label", "acme..example", false},
		{"a leading dot", ".acme.example", false},
		{"a wildcard", "*.acme.example", false},
		{"an underscore", "_dmarc.acme.example", false},
		{"a hyphen first", "-acme.example", false},
		{"a label too long", label + "a.example", false},
		{"too long for its challenge", strings.Repeat("abcdefgh.", 26) + "example", false},
		{"a look-alike (Cyrillic a)", "\u0430cme.example", false},
		{"a look-alike (full-width)", "\uff41cme.example", false},
		{"an ideographic full stop", "acme\u3002example", false},
		{"an A-label of nothing", "xn--.example", false},
		{"an A-label that decodes to ASCII", "xn--acme-.example", false},
		{"an A-label that is none", "xn--a\u00e9.example", false},
		{"a reserved label (RFC 5890 §2.3.1)", "ab--cd.example", false},
		{"an IPv4 address", "192.0.2.1", false},
		{"an IPv6 address", "2001:db8::1", false},
		{"digits last", "acme.123", false},
		{"a port", "acme.example:53", false},
		{"an address of somebody", "alice@acme.example", false},
		{"a line", "acme.example\r\nx: y", false},
	} {
		if err := directory.CheckDomain(row.domain); (err == nil) != row.good {
			t.Errorf("%s: %q: %v", row.name, row.domain, err)
		}
	}
}

// TestDomainsAreFollowed: a domain is looked up again while it is verified by a challenge, and not otherwise.
func TestDomainsAreFollowed(t *testing.T) {
	f := newFixture(t, 1)
	const verified = "{domain: a.example, status: verified, challenge: mandate-verification=one, verified_at: 2026-01-02T03:04:05Z}"
	at := time.Date(2026, 1, 3, 3, 4, 0, 0, time.UTC)
	due := func(now time.Time) []directory.DomainRef {
		t.Helper()
		refs, err := tenant.DueDomains(t.Context(), f.view(t), now, 10)
		if err != nil {
			t.Fatal(err)
		}
		return refs
	}
	for _, step := range []struct {
		name, text string
		want       bool
	}{
		{"verified by its challenge", "domains: [" + verified + "]", true},
		{"pending", "domains: [{domain: a.example}]", false},
		{"verified again", "domains: [" + verified + "]", true},
		{"by the word of the importer", "domains: [a.example]", false},
		{"and once more", "domains: [" + verified + "]", true},
	} {
		f.mustLoad(t, "orgs: [{id: acme, "+step.text+"}]")
		if early := due(at.Add(-time.Minute)); len(early) > 0 {
			t.Errorf("%s: due early: %v", step.name, early)
		}
		if got := due(at); slices.Equal(got, []directory.DomainRef{{Org: "acme", Domain: "a.example"}}) != step.want {
			t.Errorf("%s: due are %v", step.name, got)
		}
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		return tenant.PutDomainCheck(ctx, tx, "acme", "a.example", directory.DomainCheck{DueAt: at.Add(time.Hour)})
	})
	if got := due(at); len(got) > 0 || len(due(at.Add(time.Hour))) != 1 {
		t.Errorf("put off, and due are %v", got)
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		return tenant.DeleteDomain(ctx, tx, "acme", "a.example")
	})
	if left := f.private(t, "domainchecks", "duedomains", "domains"); len(left) > 0 {
		t.Errorf("the deleted domain leaves %v", left)
	}
}

// TestLeavingIsRemembered, but not of users and organizations that are deleted.
func TestLeavingIsRemembered(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "users: [{id: alice}, {id: bob}]\norgs: [{id: acme, members: [{user: alice, roles: []}, {user: bob, roles: []}]}, {id: globex, members: [{user: bob, roles: []}]}]")
	left := func(org, user string) bool {
		t.Helper()
		has, err := tenant.HasLeft(t.Context(), f.view(t), org, user)
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteMember(ctx, tx, "acme", "alice") })
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		return tenant.DeleteMember(ctx, tx, "globex", "alice")
	})
	if !left("acme", "alice") || left("globex", "alice") || left("acme", "bob") {
		t.Error("who has left is not who is said to have")
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteUser(ctx, tx, "bob") })
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteOrg(ctx, tx, "acme") })
	if _, err := tenant.Sweep(t.Context(), f.Store, time.Now()); err != nil {
		t.Fatal(err)
	}
	if all := f.private(t, "leftmembers"); len(all) > 0 {
		t.Errorf("left are %v", all)
	}
}

// TestEndingIsForgotten with the next integration, and with the organization.
func TestEndingIsForgotten(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "vendors: [{id: syncly}, {id: scanly}]\norgs: [{id: acme}]")
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		for _, vendor := range []string{"syncly", "scanly"} {
			if err := tenant.IntegrationEnding("acme", vendor).Put(ctx, tx, directory.Ending{By: directory.SideOrg}); err != nil {
				return err
			}
		}
		return nil
	})
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		return tenant.PutIntegration(ctx, tx, "acme", "syncly", directory.Integration{ID: "i", Kind: directory.ExternalIntegration, Status: directory.Active})
	})
	if all := f.private(t, "endedintegrations"); len(all) != 1 {
		t.Errorf("of the one that was not made anew: %v", all)
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteOrg(ctx, tx, "acme") })
	if _, err := tenant.Sweep(t.Context(), f.Store, time.Now()); err != nil {
		t.Fatal(err)
	}
	if all := f.private(t, "endedintegrations"); len(all) > 0 {
		t.Errorf("left are %v", all)
	}
}

// TestDomainsComeBack: all that is known of domains and of their connections is in an export.
func TestDomainsComeBack(t *testing.T) {
	const text = `
roles: {viewer: {permissions: []}}
orgs:
  - id: acme
    domains:
      - {domain: a.example, status: verified, challenge: mandate-verification=one, verified_at: 2026-01-02T03:04:05Z, failing_since: 2026-01-03T03:04:05Z, auto_join: [viewer]}
      - {domain: b.example, status: pending, challenge: mandate-verification=two}
      - c.example
    connections: [{id: idp, issuer: "https://i.example", domain: a.example, client_id: m, audiences: [a]}]
`
	f, g := newFixture(t, 1), newFixture(t, 1)
	f.mustLoad(t, text)
	exported := f.export(t)
	g.mustLoad(t, exported)
	if again := g.export(t); again != exported || !strings.Contains(exported, "failing_since: 2026-01-03") || !strings.Contains(exported, "- c.example\n") ||
		!strings.Contains(exported, "mandate-verification=two") || !strings.Contains(exported, "domain: a.example") {
		t.Errorf("exported:\n%s\nand again:\n%s", exported, again)
	}
	if leads := g.leadsTo(t, tenant.DomainConnection("acme", "a.example")); leads != "idp" {
		t.Errorf("the domain leads to the connection %q", leads)
	}
	for text, want := range map[string]string{
		`orgs: [{id: acme, domains: [co.uk]}]`:                                                                                       "is a public suffix",
		`orgs: [{id: acme, domains: ["\u0430cme.example"]}]`:                                                                         "must be written in ASCII",
		`orgs: [{id: acme, domains: [{domain: d.example, challenge: easy}]}]`:                                                        "must begin with mandate-verification=",
		`orgs: [{id: acme, domains: [{domain: d.example, auto_join: [x]}]}]`:                                                         `there is no role "x"`,
		`orgs: [{id: globex, connections: [{id: c, issuer: "https://j.example", domain: a.example, client_id: m, audiences: [a]}]}]`: `"a.example" is no domain of the organization`,
		`orgs: [{id: acme, connections: [{id: c, issuer: "https://j.example", domain: a.example, client_id: m, audiences: [a]}]}]`:   `is the domain of the connection "idp" already`,
		`orgs: [{id: acme, connections: [{id: c, issuer: "https://j.example", domain: c.example, client_id: m, audiences: [a]}, {id: d, issuer: "https://j.example", domain: c.example, client_id: m, audiences: [b]}]}]`: `is the domain of the connection`,
	} {
		if _, err := f.load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
