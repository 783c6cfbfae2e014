package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// lastUse is when the record was used last, as written, in whole minutes since the world began.
func (w *world) lastUse(began time.Time, collection, id string) string {
	w.t.Helper()
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	use, found, err := testTenant.LastUse(collection, id).Find(w.t.Context(), view)
	if err != nil {
		w.t.Fatal(err)
	}
	if !found {
		return "never"
	}
	return use.LastUsedAt.Sub(began.Truncate(time.Minute)).String()
}

// TestUsage: whoever authenticates is noted, remembered or not; whoever fails is not.
func TestUsage(t *testing.T) {
	w := newWorld(t)
	w.load(`
users: [{id: alice}]
vendors: [{id: backupco, token: vendor-token}]
clients: [{id: sync, secret: secret-of-sync}, {id: backup-app, vendor: backupco, secret: x}, {id: spa, kind: spa, token_endpoint_auth_method: none}]
orgs: [{id: acme, members: [{user: alice, roles: []}]}]
api_keys: [{id: k, org: acme, key: key-of-acme}, {id: pair, kind: pair, key: pk, secret: ps}, {id: unused, key: y}]
integrations: [{id: external, vendor: backupco, org: acme, partner_token: partner-token}]`)
	began := w.now()
	flush := func() datastore.Revision {
		t.Helper()
		if err := w.a.FlushUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.store.Newest()
	}
	use := func(p Presented) {
		r := w.memory.Begin()
		defer r.End()
		_, _ = w.a.Authenticate(t.Context(), r, p)
	}
	expect := func(want map[string]string) {
		t.Helper()
		for record, when := range want {
			var collection, id string
			if _, err := fmt.Sscanf(record, "%s %s", &collection, &id); err != nil {
				t.Fatal(err)
			}
			if got := w.lastUse(began, collection, id); got != when {
				t.Errorf("%s was used %s, want %s", record, got, when)
			}
		}
	}
	bearer := func(token string) Presented { return Presented{Authorization: []string{"Bearer " + token}} }
	pair := func(secret string) Presented {
		return Presented{KeyPairs: []Pair{{ID: directory.NewSecret("pk"), Secret: directory.NewSecret(secret)}}}
	}
	use(bearer("key-of-acme"))
	use(bearer("unknown"))
	use(pair("wrong"))
	use(Presented{Registered: true, ClientID: "spa"})
	use(bearer(base64.StdEncoding.EncodeToString([]byte("vendor-token:partner-token"))))
	expect(map[string]string{"apikeys k": "never"})
	first := flush()
	expect(map[string]string{"apikeys k": "0s", "apikeys pair": "never", "apikeys unused": "never", "clients spa": "never", "clients sync": "never",
		"vendors backupco": "0s", "integrations external": "0s"})

	w.advance(10 * time.Minute)
	if flush() != first {
		t.Error("it was written that nothing was used")
	}
	use(bearer("key-of-acme")) // remembered
	use(pair("ps"))
	use(Presented{Clients: []Pair{{ID: directory.NewSecret("sync"), Secret: directory.NewSecret("secret-of-sync")}}})
	second := flush()
	expect(map[string]string{"apikeys k": "10m0s", "apikeys pair": "10m0s", "clients sync": "10m0s", "vendors backupco": "0s"})
	use(bearer("key-of-acme"))
	if flush() != second {
		t.Error("the same minute was written twice")
	}

	use(bearer("key-of-acme"))
	w.update(func(tx datastore.Tx) error { return testTenant.DeleteAPIKey(t.Context(), tx, "k") })
	flush()
	expect(map[string]string{"apikeys k": "never"})
}

// TestUsageIsKeptForTheNextTime: what could not be written is written later.
func TestUsageIsKeptForTheNextTime(t *testing.T) {
	w := newWorld(t)
	w.load("api_keys: [{id: k, key: x}]")
	u := NewUsage(testTenant)
	u.Note("apikeys", "k", w.now())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Flush(ended, w.store); !errors.Is(err, context.Canceled) {
		t.Errorf("flushed under a context that has ended: %v", err)
	}
	if got := w.lastUse(w.now(), "apikeys", "k"); got != "never" {
		t.Errorf("written %s", got)
	}
	if err := u.Flush(t.Context(), w.store); err != nil {
		t.Fatal(err)
	}
	if got := w.lastUse(w.now(), "apikeys", "k"); got != "0s" {
		t.Errorf("written %s", got)
	}
}

// TestUsageIsBounded: there is room for as many credentials as there are slots, and less, but not much less, is noted.
func TestUsageIsBounded(t *testing.T) {
	u := NewUsage(testTenant)
	for i := range 4 * usageSlots {
		u.Note("apikeys", fmt.Sprint("key-", i), time.Unix(0, 0))
	}
	noted := 0
	for i := range u.slots {
		if u.slots[i].Load() != nil {
			noted++
		}
	}
	if noted < usageSlots*9/10 {
		t.Errorf("%d of %d are noted", noted, usageSlots)
	}
}

func TestUsageWhileItIsWritten(t *testing.T) {
	w := newWorld(t)
	w.load("api_keys: [{id: k1, key: x1}, {id: k2, key: x2}]")
	u, began := NewUsage(testTenant), w.now().Truncate(time.Minute)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for i := range 2000 {
				u.Note("apikeys", fmt.Sprint("k", 1+(i+n)%2), began.Add(time.Duration(i)*time.Second))
			}
		})
	}
	for range 20 {
		if err := u.Flush(t.Context(), w.store); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	if err := u.Flush(t.Context(), w.store); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"k1", "k2"} {
		if got := w.lastUse(began, "apikeys", id); got != "33m0s" {
			t.Errorf("%s was used last %s", id, got)
		}
	}
}

func TestNotingAgainTakesNoMemory(t *testing.T) {
	u, at := NewUsage(testTenant), time.Unix(1e9, 0)
	u.Note("apikeys", "acme-key", at)
	if n := testing.AllocsPerRun(100, func() { u.Note("apikeys", "acme-key", at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNote(b *testing.B) {
	u, at := NewUsage(testTenant), time.Unix(1e9, 0)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u.Note("apikeys", "acme-key", at)
		}
	})
}

// BenchmarkAuthenticate is a bearer key that is remembered, with the note of its use.
func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	w.load("api_keys: [{id: k, key: key-of-acme}]")
	presented := Presented{Authorization: []string{"Bearer key-of-acme"}}
	b.ReportAllocs()
	for b.Loop() {
		r := w.memory.Begin()
		if _, err := w.a.Authenticate(b.Context(), r, presented); err != nil {
			b.Fatal(err)
		}
		r.End()
	}
}
