package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"mandate/datastore"
	"mandate/directory"
)

// TestWhoGetsAnEvent: the endpoints of its vendor, of its organization and of the tenant, as far as they want it.
func TestWhoGetsAnEvent(t *testing.T) {
	w := newWorld(t)
	for id, h := range map[string]directory.Webhook{
		"tenant":        {},
		"tenant-orgs":   {Events: []string{"vendors.create", "orgs.members.*"}},
		"off":           {Status: directory.Disabled},
		"acme":          {Org: "acme"},
		"acme-members":  {Org: "acme", Events: []string{"orgs.members.create"}},
		"globex":        {Org: "globex"},
		"backupco":      {Vendor: "backupco"},
		"backupco-acme": {Vendor: "backupco", Org: "acme"},
		"mailco":        {Vendor: "mailco"},
	} {
		h.URL = "https://hooks.example/"
		w.hook(id, h)
	}
	for i, row := range []struct {
		name  string
		event Event
		want  string
	}{
		{"of the tenant", Event{Type: "apis.create"}, "tenant"},
		{"of the tenant, in a list", Event{Type: "vendors.create"}, "tenant tenant-orgs"},
		{"of an organization", Event{Type: "orgs.members.create", Org: "acme"}, "acme acme-members tenant tenant-orgs"},
		{"another type", Event{Type: "orgs.members.delete", Org: "acme"}, "acme tenant tenant-orgs"},
		{"of another organization", Event{Type: "orgs.update", Org: "globex"}, "globex tenant"},
		{"of one without endpoints", Event{Type: "orgs.update", Org: "initech"}, "tenant"},
		{"of a vendor", Event{Type: "vendors.update", Vendor: "backupco"}, "backupco tenant"},
		{"of a vendor in an organization", Event{Type: "orgs.integrations.enable", Vendor: "backupco", Org: "acme"}, "acme backupco backupco-acme tenant"},
		{"of a vendor in another", Event{Type: "orgs.integrations.enable", Vendor: "backupco", Org: "globex"}, "backupco globex tenant"},
		{"private", Event{Type: "integration.credential", Vendor: "backupco", Org: "globex", Private: true}, "backupco"},
		{"private, in an organization", Event{Type: "integration.credential", Vendor: "backupco", Org: "acme", Private: true}, "backupco backupco-acme"},
		{"private for nobody", Event{Type: "integration.credential", Org: "acme", Private: true}, ""},
		{"named like a part of the path", Event{Type: "orgs.update", Org: "acme/x", Vendor: "backupco/x"}, "tenant"},
	} {
		before := map[string]bool{}
		for _, d := range w.pending() {
			before[d.ID] = true
		}
		row.event.ID = fmt.Sprint("evt", i)
		w.event(row.event)
		var got []string
		for _, d := range w.pending() {
			if !before[d.ID] {
				got = append(got, d.Endpoint)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %v get it, want %s", row.name, got, row.want)
		}
	}
	for _, bad := range []Event{{Type: "x"}, {ID: "evt1"}, {ID: "evt.1", Type: "x"}, {ID: "evt 1", Type: "x"},
		{ID: "evt\r\n1", Type: "x"}, {ID: "évt1", Type: "x"}, {ID: strings.Repeat("x", 129), Type: "x"}} {
		if _, err := w.store.Update(t.Context(), func(tx datastore.Tx) error { return w.queue.Event(t.Context(), tx, bad) }); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// TestListing: pages follow each other without gaps, whatever is filtered, and foreign cursors lead nowhere.
func TestListing(t *testing.T) {
	w := newWorld(t)
	w.hook("a", directory.Webhook{URL: "https://hooks.example/"})
	w.hook("b", directory.Webhook{URL: "https://hooks.example/", Events: []string{"apis.*"}})
	w.event(Event{ID: "1", Type: "apis.create"})
	w.event(Event{ID: "2", Type: "orgs.create"})
	w.event(Event{ID: "3", Type: "apis.create"})
	view, err := w.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for _, row := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "1.a 2.a 3.a 1.b 3.b"},
		{Filter{Endpoint: "b"}, "1.b 3.b"},
		{Filter{Type: "apis.create"}, "1.a 3.a 1.b 3.b"},
		{Filter{Type: "orgs.create", Endpoint: "a"}, "2.a"},
		{Filter{Endpoint: "c"}, ""},
	} {
		for limit := 1; limit < 7; limit++ {
			var got []string
			for cursor := ""; ; {
				page, next, err := w.queue.Pending(t.Context(), view, row.filter, cursor, limit)
				if err != nil || len(page) > limit {
					t.Fatal(page, err)
				}
				for _, d := range page {
					got = append(got, d.ID)
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("%+v by %d: %v", row.filter, limit, got)
			}
		}
	}
	for _, cursor := range []string{"x", "../keys", "webhooks/b", "webhooks/~"} {
		if _, _, err := w.queue.Pending(t.Context(), view, Filter{Endpoint: "b"}, cursor, 1); !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// TestSignature: the library of Standard Webhooks verifies what is sent, by both secrets while they are exchanged.
func TestSignature(t *testing.T) {
	w := newWorld(t)
	url, posts := endpoint(t, status(http.StatusOK))
	old := w.hook("a", directory.Webhook{URL: url})
	w.run()
	verify := func(step string, p post, s directory.Secret, want bool) {
		t.Helper()
		library, err := standardwebhooks.NewWebhook(s.Expose())
		if err != nil {
			t.Fatal(err)
		}
		if err := library.VerifyIgnoringTimestamp(p.body, p.header); (err == nil) != want {
			t.Errorf("%s: verified: %v", step, err)
		}
	}
	w.event(Event{ID: "evt1", Type: "orgs.update", Data: map[string]any{"a": 1}})
	p := next(t, posts)
	verify("the secret", p, old, true)
	library, err := standardwebhooks.NewWebhook(old.Expose())
	if err != nil {
		t.Fatal(err)
	}
	if err := library.Verify(p.body, p.header); err != nil {
		t.Error("with its timestamp:", err)
	}
	var got struct {
		Type string         `json:"type"`
		Time time.Time      `json:"timestamp"`
		Data jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal(p.body, &got, json.RejectUnknownMembers(true)); err != nil || got.Type != "orgs.update" ||
		!got.Time.Equal(w.now()) || string(got.Data) != `{"a":1}` {
		t.Errorf("%s: %v", p.body, err)
	}
	if p.header.Get("Content-Type") != "application/json" {
		t.Error(p.header)
	}

	fresh, err := directory.MakeWebhookSecret()
	if err != nil {
		t.Fatal(err)
	}
	w.update(func(ctx context.Context, tx datastore.Tx) error {
		return tenant.SetWebhookSecret(ctx, tx, w.master, "a", fresh, w.now().Add(time.Hour))
	})
	w.event(Event{ID: "evt2"})
	p = next(t, posts)
	verify("the new secret", p, fresh, true)
	verify("the former secret", p, old, true)
	w.advance(time.Hour)
	w.event(Event{ID: "evt3"})
	p = next(t, posts)
	verify("the new secret alone", p, fresh, true)
	verify("the former secret after its time", p, old, false)
	verify("of another request", post{header: p.header, body: []byte("{}")}, fresh, false)
}

// TestLargeEvent: a change is not kept from happening by the size of what it tells.
func TestLargeEvent(t *testing.T) {
	w := newWorld(t)
	url, posts := endpoint(t, status(http.StatusOK))
	w.hook("a", directory.Webhook{URL: url})
	w.run()
	w.event(Event{ID: "evt1", Data: strings.Repeat("x", maxDataBytes)})
	if p := next(t, posts); !bytes.HasSuffix(p.body, []byte(`"data":{"too_large":true}}`)) {
		t.Errorf("%d bytes were sent", len(p.body))
	}
	w.awaitNothing()
}

// TestSealed: neither a credential that is delivered nor the secret that signs is in the store's files.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	const credential, link, plain = "mdt_pt_backupco_4dXr8sPq", "https://acme.example/reset?token=9fK2", "this-is-found"
	secret := w.hook("a", directory.Webhook{URL: "http://127.0.0.1:1/" + plain})
	w.event(Event{ID: "evt1", Data: map[string]string{"credential": credential}})
	w.update(func(ctx context.Context, tx datastore.Tx) error {
		return w.queue.Mail(ctx, tx, Message{To: "alice@acme.example", Template: "password_reset", Data: map[string]string{"link": link}})
	})
	w.run()
	w.await("attempts", func() bool {
		return !slices.ContainsFunc(append(w.pending(), w.dead()...), func(d Delivery) bool { return d.Attempts == 0 })
	})
	w.close()
	found := map[string]bool{}
	err := filepath.WalkDir(w.dir, func(path string, file fs.DirEntry, err error) error {
		if err != nil || file.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, s := range []string{credential, link, plain, secret.Expose(), strings.TrimPrefix(secret.Expose(), "whsec_")} {
			found[s] = found[s] || bytes.Contains(content, []byte(s))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found[plain] {
		t.Error("the files of the store cannot be searched")
	}
	delete(found, plain)
	for s, there := range found {
		if there {
			t.Errorf("%q is in the store", s)
		}
	}
	w.open()
}

// TestOnlyPublicAddresses: what an endpoint must not reach is not reached, and its owner learns no more than that.
func TestOnlyPublicAddresses(t *testing.T) {
	url, posts := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/internal", http.StatusTemporaryRedirect)
		case "/endless":
			for junk := make([]byte, 64<<10); ; {
				if _, err := w.Write(junk); err != nil {
					return
				}
			}
		}
	})
	byTLS := strings.Replace(url, "http:", "https:", 1)
	byName := strings.Replace(byTLS, "127.0.0.1", "localhost", 1)
	for _, row := range []struct {
		name, url string
		dev       bool
		reached   int
		problem   string // a part of it; empty when it is delivered
	}{
		{"loopback", byTLS, false, 0, "the host of the URL has an address that is not public"},
		{"a name that leads to loopback", byName, false, 0, "the host of the URL has an address that is not public"},
		{"the metadata service", "https://169.254.169.254/latest", false, 0, "the host of the URL has an address that is not public"},
		{"a private network, in development", "https://10.0.0.1/", true, 0, "the host of the URL has an address that is not public"},
		{"IPv4 in IPv6", "https://[::ffff:127.0.0.1]/", false, 0, "the host of the URL has an address that is not public"},
		{"without TLS", url, false, 0, "the URL must use https"},
		{"a redirect", url + "/redirect", true, 1, "redirects are not followed"},
		{"an answer without end", url + "/endless", true, 1, ""},
		{"nobody listens", "http://127.0.0.1:1/key-4711", true, 0, "connection refused"},
		{"a port that is none", "https://127.0.0.1:99999/key-4711", true, 0, "invalid port"},
	} {
		w := newWorld(t)
		w.http.CloseIdleConnections()
		w.queue.o.HTTP = NewClient(row.dev, nil)
		w.hook("a", directory.Webhook{URL: row.url})
		w.event(Event{ID: "evt1"})
		w.run()
		if row.problem == "" {
			w.awaitNothing()
		} else if d := w.awaitAttempt(1); !strings.Contains(d.LastError, row.problem) || strings.Contains(d.LastError, "4711") {
			t.Errorf("%s: %q", row.name, d.LastError)
		}
		if len(posts) != row.reached {
			t.Errorf("%s: reached %d times, want %d", row.name, len(posts), row.reached)
		}
		for len(posts) > 0 {
			<-posts
		}
		w.stop()
		w.queue.o.HTTP.CloseIdleConnections()
	}
}

// TestMailDelivery: mail waits for a server that is down, and is given up when the server will never take it.
func TestMailDelivery(t *testing.T) {
	for _, row := range []struct {
		name   string
		refuse error
		dead   bool
		again  bool
	}{
		{"taken", nil, false, false},
		{"refused for now (RFC 5321 §4.2.1, 4yz)", &smtp.SMTPError{Code: 451, Message: "later"}, false, true},
		{"refused for good (5yz)", &smtp.SMTPError{Code: 550, Message: "no such user"}, true, false},
	} {
		w := newWorld(t)
		server := startSMTP(t, "", row.refuse)
		mailer, err := NewSMTP(SMTPOptions{Address: server.address, From: sender, Templates: builtIn(t), Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		w.queue.o.Mailer = mailer
		w.update(func(ctx context.Context, tx datastore.Tx) error {
			return w.queue.Mail(ctx, tx, PasswordReset("https://auth.example", "alice@acme.example", "alice", directory.NewSecret("t0ken"), w.now().Add(time.Hour)))
		})
		w.run()
		if row.refuse == nil {
			w.awaitNothing()
			server.mu.Lock()
			if len(server.mails) != 1 || len(w.dead()) != 0 {
				t.Errorf("%s: %d mails", row.name, len(server.mails))
			}
			server.mu.Unlock()
			continue
		}
		if d := w.awaitAttempt(1); d.DiedAt.IsZero() == row.dead || d.NextAttempt.IsZero() == row.again || d.Endpoint != "" || d.LastError == "" ||
			strings.Contains(d.LastError, "t0ken") {
			t.Errorf("%s: %+v", row.name, d)
		}
	}
}

// TestMailWithoutMailer: none is taken, and what was taken before waits until there is one again.
func TestMailWithoutMailer(t *testing.T) {
	w := newWorld(t)
	m := Message{To: "alice@acme.example", Template: "password_reset"}
	w.update(func(ctx context.Context, tx datastore.Tx) error { return w.queue.Mail(ctx, tx, m) })
	w.queue.o.Mailer = nil
	if _, err := w.store.Update(t.Context(), func(tx datastore.Tx) error { return w.queue.Mail(t.Context(), tx, m) }); !errors.Is(err, ErrNoMail) {
		t.Error(err)
	}
	w.run()
	if d := w.awaitAttempt(1); d.NextAttempt.IsZero() || d.LastError != ErrNoMail.Error() {
		t.Errorf("%+v", d)
	}
}

// TestEventTo: one endpoint is sent an event that it does not want, unless it is disabled.
func TestEventTo(t *testing.T) {
	w := newWorld(t)
	url, posts := endpoint(t, status(http.StatusOK))
	w.hook("a", directory.Webhook{URL: url, Events: []string{"apis.*"}})
	w.hook("off", directory.Webhook{URL: url, Status: directory.Disabled})
	w.run()
	for _, row := range []struct {
		endpoint, event string
		ok              bool
	}{{"a", "evt1", true}, {"off", "evt2", false}, {"a", "evt.3", false}} {
		_, err := w.store.Update(t.Context(), func(tx datastore.Tx) error {
			h, err := tenant.Webhook(row.endpoint).Get(t.Context(), tx)
			if err != nil {
				return err
			}
			id, err := w.queue.EventTo(t.Context(), tx, row.endpoint, h, Event{ID: row.event, Type: "webhook.test", Time: w.now()})
			if err == nil && id != row.event+"."+row.endpoint {
				t.Error(id)
			}
			return err
		})
		if (err == nil) != row.ok {
			t.Errorf("%s to %s: %v", row.event, row.endpoint, err)
		}
	}
	if p := next(t, posts); p.id() != "evt1" {
		t.Error(p.id())
	}
	w.awaitNothing()
	nothingMore(t, posts)
}
