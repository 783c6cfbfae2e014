package directory_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

func TestWebhookURLs(t *testing.T) {
	for _, row := range []struct {
		url string
		dev bool
		ok  bool
	}{
		{"https://hooks.backupco.example/mandate?key=1", false, true},
		{"https://hooks.backupco.example:8443/", false, true},
		{"http://hooks.backupco.example/", false, false},
		{"http://hooks.backupco.example/", true, false},
		{"http://127.0.0.1:9000/", false, false},
		{"http://127.0.0.1:9000/", true, true},
		{"http://localhost:9000/", true, true},
		{"http://localhost.backupco.example/", true, false},
		{"https://user@hooks.backupco.example/", false, false},
		{"https://user:secret@hooks.backupco.example/", false, false},
		{"https:///x", false, false},
		{"https:opaque", false, false},
		{"//hooks.backupco.example/", false, false},
		{"/hooks", false, false},
		{"", false, false},
		{"ftp://hooks.backupco.example/", false, false},
		{"https://hooks.backupco.example/#x", false, false},
		{"https://hooks.backupco.example/#", false, false},
		{"https://hooks.backupco.example/\r\nHost: x", false, false},
		{"https://hooks.backupcö.example/", false, false},
		{"https://hooks.backupco.example/" + strings.Repeat("x", 2048), false, false},
	} {
		if problem := directory.WebhookURLProblem(row.url, row.dev); (problem == "") != row.ok {
			t.Errorf("%q (dev %v): %q", row.url, row.dev, problem)
		}
	}
}

func TestWebhookEvents(t *testing.T) {
	for _, row := range []struct {
		pattern string
		ok      bool
		event   string
		wants   bool
	}{
		{"*", true, "orgs.members.create", true},
		{"orgs.members.*", true, "orgs.members.create", true},
		{"orgs.members.*", true, "orgs.membersx.create", false},
		{"orgs.*", true, "orgs.members.create", true},
		{"orgs.update", true, "orgs.update", true},
		{"orgs.update", true, "orgs.updated", false},
		{"orgs.upd*", false, "", false},
		{"*.create", false, "", false},
		{"orgs.*.create", false, "", false},
		{"**", false, "", false},
		{"", false, "", false},
		{"orgs members", false, "", false},
		{strings.Repeat("x", 129), false, "", false},
	} {
		if problem := directory.WebhookEventsProblem([]string{row.pattern}); (problem == "") != row.ok {
			t.Errorf("%q: %q", row.pattern, problem)
		}
		if w := (directory.Webhook{Events: []string{row.pattern}}); row.ok && w.Wants(row.event) != row.wants {
			t.Errorf("%q wants %q: %v", row.pattern, row.event, !row.wants)
		}
	}
	if directory.WebhookEventsProblem(nil) == "" || directory.WebhookEventsProblem(make([]string, 51)) == "" {
		t.Error("none or too many patterns are accepted")
	}
}

func (f fixture) update(t *testing.T, do func(ctx context.Context, tx datastore.Tx) error) error {
	t.Helper()
	_, err := f.Update(t.Context(), func(tx datastore.Tx) error { return do(t.Context(), tx) })
	return err
}

func (f fixture) putWebhook(t *testing.T, id string, w directory.Webhook) error {
	t.Helper()
	return f.update(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.PutWebhook(ctx, tx, id, w) })
}

func (f fixture) webhooksOf(t *testing.T, org, vendor string) string {
	t.Helper()
	var ids []string
	err := tenant.WebhooksOf(t.Context(), f.view(t), org, vendor, func(id string, _ directory.Webhook) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(ids, " ")
}

// TestWebhooksOf: an endpoint is found by whose it is, also after it has changed hands, and no more once it is deleted.
func TestWebhooksOf(t *testing.T) {
	f := newFixture(t, 1)
	check := func(step, ofTenant, ofAcme, ofBackupco string) {
		t.Helper()
		if a, b, c := f.webhooksOf(t, "", ""), f.webhooksOf(t, "acme", ""), f.webhooksOf(t, "", "backupco"); a != ofTenant || b != ofAcme || c != ofBackupco {
			t.Errorf("%s: the tenant has %q, acme %q, backupco %q", step, a, b, c)
		}
	}
	for _, step := range []struct {
		name, id                     string
		w                            directory.Webhook
		ofTenant, ofAcme, ofBackupco string
	}{
		{"one of the tenant", "a", directory.Webhook{}, "a", "", ""},
		{"one of an organization", "b", directory.Webhook{Org: "acme"}, "a", "b", ""},
		{"one of a vendor", "c", directory.Webhook{Vendor: "backupco"}, "a", "b", "c"},
		{"one of a vendor, for one organization", "d", directory.Webhook{Vendor: "backupco", Org: "acme"}, "a", "b", "c d"},
		{"written again", "a", directory.Webhook{URL: "https://other.example"}, "a", "b", "c d"},
		{"moved to a vendor", "b", directory.Webhook{Vendor: "backupco"}, "a", "", "b c d"},
	} {
		if err := f.putWebhook(t, step.id, step.w); err != nil {
			t.Fatal(step.name, err)
		}
		check(step.name, step.ofTenant, step.ofAcme, step.ofBackupco)
	}
	for range 2 {
		if err := f.update(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteWebhook(ctx, tx, "c") }); err != nil {
			t.Fatal(err)
		}
		check("deleted", "a", "", "b d")
	}
}

func TestTooManyWebhooks(t *testing.T) {
	f := newFixture(t, 1)
	for i := range directory.MaxWebhooks {
		if err := f.putWebhook(t, fmt.Sprint("acme", i), directory.Webhook{Org: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name, id string
		w        directory.Webhook
		want     error
	}{
		{"one more", "more", directory.Webhook{Org: "acme"}, directory.ErrTooManyWebhooks},
		{"a change of one", "acme1", directory.Webhook{Org: "acme", URL: "https://other.example"}, nil},
		{"another organization's", "globex", directory.Webhook{Org: "globex"}, nil},
		{"that one, moved", "globex", directory.Webhook{Org: "acme"}, directory.ErrTooManyWebhooks},
		{"the tenant's", "all", directory.Webhook{}, nil},
	} {
		if err := f.putWebhook(t, row.id, row.w); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestWebhookSecrets(t *testing.T) {
	f := newFixture(t, 1)
	made := func() directory.Secret {
		s, err := directory.MakeWebhookSecret()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set := func(s directory.Secret, formerUntil time.Time) error {
		return f.update(t, func(ctx context.Context, tx datastore.Tx) error {
			return tenant.SetWebhookSecret(ctx, tx, f.master, "a", s, formerUntil)
		})
	}
	check := func(step string, now time.Time, want ...directory.Secret) {
		t.Helper()
		got, err := tenant.WebhookSecrets(t.Context(), f.view(t), f.master, "a", now)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d secrets, %v", step, len(got), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: secret %d is another one", step, i)
			}
		}
	}
	first, second, third, fourth := made(), made(), made(), made()
	steps := []struct {
		secret directory.Secret
		until  time.Time
	}{{first, time.Time{}}, {second, noon()}, {third, noon().Add(time.Hour)}}
	for _, step := range steps {
		if err := set(step.secret, step.until); err != nil {
			t.Fatal(err)
		}
		switch step.secret {
		case first:
			check("the first", noon(), first)
		case second:
			check("rotated", noon().Add(-time.Second), second, first)
			check("after the overlap", noon(), second)
		case third:
			check("rotated again: two at most", noon().Add(-time.Second), third, second)
		}
	}
	if err := set(fourth, time.Time{}); err != nil {
		t.Fatal(err)
	}
	check("without overlap", noon(), fourth)

	encode := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, bad := range []string{"", "whsec_" + encode(23), "whsec_" + encode(65), encode(32), "whsec_" + encode(32) + "!"} {
		if err := set(directory.NewSecret(bad), time.Time{}); err == nil || (bad != "" && strings.Contains(err.Error(), bad[8:])) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, n := range []int{24, 64} {
		if key, err := directory.WebhookKey(directory.NewSecret("whsec_" + encode(n))); err != nil || len(key) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
