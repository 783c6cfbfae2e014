package authn

import (
	"encoding/base64"
	"slices"
	"testing"

	"mandate/directory"
)

// integrated is a world in which alice of acme has enabled a delegated integration of backupco.
func integrated(t *testing.T) *world {
	w := newWorld(t)
	put(w, testTenant.User("alice"), directory.User{Username: "alice", Status: directory.Active})
	put(w, testTenant.Member("acme", "alice"), directory.Member{Roles: []string{"admin"}, Status: directory.Active})
	put(w, testTenant.Vendor("backupco"), directory.Vendor{Name: "BackupCo", Status: directory.Active})
	put(w, testTenant.Client("backup-app"), directory.Client{Kind: "web", Party: "third", Status: directory.Active, Vendor: "backupco"})
	put(w, testTenant.Integration("acme", "backupco"), delegated())
	put(w, testTenant.SecretOwner(w.master.Hash(directory.NewSecret("partner-token"))),
		directory.SecretOwner{Kind: directory.KindPartnerToken, ID: "backupco", Org: "acme"})
	put(w, testTenant.SecretOwner(w.master.Hash(directory.NewSecret("vendor-token"))),
		directory.SecretOwner{Kind: directory.KindVendorToken, ID: "backupco"})
	return w
}

func delegated() directory.Integration {
	return directory.Integration{ID: "backupco-acme", Kind: directory.DelegatedIntegration, Status: directory.Active, Scopes: []string{"documents:read"},
		EnabledBy: "alice", Client: "backup-app"}
}

func TestDelegatedIntegration(t *testing.T) {
	w := integrated(t)
	p, err := w.bearer("partner-token")
	if err != nil {
		t.Fatal(err)
	}
	same := p.Type == User && p.Subject == "alice" && p.AuthorizedParty == "backup-app" && p.Org == "acme" && slices.Equal(p.Scopes, []string{"documents:read"}) &&
		p.Credential == CredentialRef{Type: "integration", ID: "backupco-acme"}
	if !same {
		t.Errorf("got %+v", p)
	}
	for _, row := range []struct{ name, token string }{
		{"a delegated token as half of a pair", "vendor-token:partner-token"},
		{"likewise, encoded", base64.StdEncoding.EncodeToString([]byte("vendor-token:partner-token"))},
		{"a vendor's token alone", "vendor-token"},
		{"an unknown token", "other-token"},
	} {
		if err := wantError(second(w.bearer(row.token)), Invalid, ""); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestIntegrationLosesPower: the partner token ends with all that it rests on, at the next request.
func TestIntegrationLosesPower(t *testing.T) {
	changed := func(change func(*directory.Integration)) func(*world) {
		return func(w *world) {
			i := delegated()
			change(&i)
			put(w, testTenant.Integration("acme", "backupco"), i)
		}
	}
	for _, row := range []struct {
		name   string
		change func(*world)
		kind   Kind
	}{
		{"the integration is suspended", changed(func(i *directory.Integration) { i.Status = directory.Suspended }), VendorRefused},
		{"the integration is removed", func(w *world) { remove(w, testTenant.Integration("acme", "backupco")) }, Invalid},
		{"the integration is external", changed(func(i *directory.Integration) { i.Kind = directory.ExternalIntegration }), Invalid},
		{"the integration is nobody's", changed(func(i *directory.Integration) { i.EnabledBy = "" }), Invalid},
		{"the integration is for another vendor's client", func(w *world) {
			put(w, testTenant.Client("backup-app"), directory.Client{Status: directory.Active, Vendor: "otherco"})
		}, VendorRefused},
		{"the vendor is suspended", func(w *world) { put(w, testTenant.Vendor("backupco"), directory.Vendor{Status: directory.Suspended}) }, VendorRefused},
		{"the client is disabled", func(w *world) {
			put(w, testTenant.Client("backup-app"), directory.Client{Status: directory.Disabled, Vendor: "backupco"})
		}, Inactive},
		{"the user is disabled", func(w *world) { put(w, testTenant.User("alice"), directory.User{Status: directory.Disabled}) }, Inactive},
		{"the membership is suspended", func(w *world) {
			put(w, testTenant.Member("acme", "alice"), directory.Member{Status: directory.Suspended})
		}, Inactive},
		{"the membership is removed", func(w *world) { remove(w, testTenant.Member("acme", "alice")) }, Inactive},
		{"the organization is suspended", func(w *world) { put(w, testTenant.Org("acme"), directory.Org{Status: directory.Suspended}) }, Inactive},
		{"the token is replaced", func(w *world) {
			remove(w, testTenant.SecretOwner(w.master.Hash(directory.NewSecret("partner-token"))))
		}, Invalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := integrated(t)
			if _, err := w.bearer("partner-token"); err != nil {
				t.Fatal(err)
			}
			row.change(w)
			if err := wantError(second(w.bearer("partner-token")), row.kind, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIntegrationIsReplaced: what rests on one relationship does not come alive with the next.
func TestIntegrationIsReplaced(t *testing.T) {
	w := integrated(t)
	p, err := w.bearer("partner-token")
	if err != nil {
		t.Fatal(err)
	}
	next := delegated()
	next.ID = "backupco-acme-2"
	put(w, testTenant.Integration("acme", "backupco"), next)
	r := w.memory.Begin()
	defer r.End()
	if err := wantError(w.a.Standing(t.Context(), r, p), VendorRefused, ""); err != nil {
		t.Error(err)
	}
}
