package delivery

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// TestSchedule: a delivery is tried ten times as Standard Webhooks recommends, is a dead letter then, and comes with the same
// webhook-id when it is replayed.
func TestSchedule(t *testing.T) {
	w := newWorld(t)
	var code atomic.Int64
	code.Store(http.StatusInternalServerError)
	at := make(chan time.Time, 100)
	url, posts := endpoint(t, func(rw http.ResponseWriter, _ *http.Request) {
		at <- w.now()
		rw.WriteHeader(int(code.Load()))
	})
	w.hook("a.b", directory.Webhook{URL: url})
	w.run()
	w.event(Event{ID: "evt1"})
	all := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	due := w.now()
	for i, want := range all {
		p := next(t, posts)
		d := w.awaitAttempt(i + 1)
		if tried := <-at; !tried.Equal(due) {
			t.Errorf("attempt %d came at %s, want %s", i+1, tried, due)
		}
		due = d.NextAttempt
		if wait := d.NextAttempt.Sub(w.now()); wait < want*4/5-time.Millisecond || wait > want*6/5 {
			t.Errorf("attempt %d: the next comes after %s, want about %s", i+1, wait, want)
		}
		if p.id() != "evt1" || d.ID != "evt1.a.b" || d.Endpoint != "a.b" || d.LastError != "answered with status 500" {
			t.Errorf("attempt %d: id %s, %+v", i+1, p.id(), d)
		}
		w.advance(due.Sub(w.now()) - time.Millisecond)
		w.advance(time.Millisecond)
	}
	if p := next(t, posts); p.id() != "evt1" {
		t.Error("the last attempt has another id", p.id())
	}
	d := w.awaitAttempt(len(all) + 1)
	if !d.DiedAt.Equal(w.now()) || !d.ExpiresAt.Equal(w.now().Add(30*24*time.Hour)) || len(w.pending()) != 0 {
		t.Errorf("after the last attempt: %+v, pending %+v", d, w.pending())
	}
	w.advance(7 * 24 * time.Hour)
	nothingMore(t, posts)

	code.Store(http.StatusNoContent)
	w.update(func(ctx context.Context, tx datastore.Tx) error { return w.queue.Replay(ctx, tx, d.ID) })
	if p := next(t, posts); p.id() != "evt1" {
		t.Error("the replay has another id", p.id())
	}
	w.awaitNothing()
	if dead := w.dead(); len(dead) != 0 {
		t.Errorf("dead letters after the replay: %+v", dead)
	}
}

// TestAnswers: what the status of an answer leads to.
func TestAnswers(t *testing.T) {
	const year = "31536000"
	for _, row := range []struct {
		name       string
		code       int
		retryAfter string
		dead       bool
		disabled   bool
		least      time.Duration // before the next attempt; 0 when it has arrived
	}{
		{"200", 200, "", false, false, 0},
		{"201", 201, "", false, false, 0},
		{"204", 204, "", false, false, 0},
		{"a redirect is not followed", 308, "", false, false, 4 * time.Second},
		{"400 may be mended", 400, "", false, false, 4 * time.Second},
		{"500", 500, "", false, false, 4 * time.Second},
		{"410: the endpoint is disabled", 410, "", true, true, 0},
		{"429 with seconds (RFC 9110 §10.2.3)", 429, "3600", false, false, time.Hour},
		{"503 with a date", 503, "date", false, false, time.Hour - time.Second},
		{"503 sooner than the schedule", 503, "1", false, false, 4 * time.Second},
		{"429 with a year: at most a day", 429, year, false, false, 24 * time.Hour},
		{"429 with nonsense", 429, "-5; soon", false, false, 4 * time.Second},
		{"500 has no Retry-After", 500, "3600", false, false, 4 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			url, posts := endpoint(t, func(rw http.ResponseWriter, _ *http.Request) {
				switch row.retryAfter {
				case "":
				case "date":
					rw.Header().Set("Retry-After", w.now().Add(time.Hour).Format(http.TimeFormat))
				default:
					rw.Header().Set("Retry-After", row.retryAfter)
				}
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(row.code)
			})
			w.hook("a", directory.Webhook{URL: url})
			w.event(Event{ID: "evt1"})
			w.run()
			if p := next(t, posts); p.method != http.MethodPost || p.path != "/" {
				t.Error(p.method, p.path)
			}
			if row.least == 0 && !row.dead {
				w.awaitNothing()
				if dead := w.dead(); len(dead) != 0 {
					t.Errorf("dead: %+v", dead)
				}
				return
			}
			d := w.awaitAttempt(1)
			if d.DiedAt.IsZero() == row.dead {
				t.Errorf("dead: %v", !row.dead)
			}
			if wait := d.NextAttempt.Sub(w.now()); !row.dead && (wait < row.least-time.Millisecond || wait > row.least*3/2) {
				t.Errorf("the next comes after %s, want at least %s", wait, row.least)
			}
			view, err := w.store.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close()
			h, err := tenant.Webhook("a").Get(t.Context(), view)
			if err != nil || (h.Status == directory.Disabled) != row.disabled {
				t.Errorf("the endpoint is %s (%v)", h.Status, err)
			}
			nothingMore(t, posts)
		})
	}
}

// TestRestart: what is on its way when the process ends, and what is committed while none runs, arrives later, with the same id.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	var answers atomic.Bool
	left := make(chan struct{}, 1)
	url, posts := endpoint(t, func(rw http.ResponseWriter, r *http.Request) {
		if !answers.Load() {
			<-r.Context().Done()
			left <- struct{}{}
		}
	})
	w.hook("a", directory.Webhook{URL: url})
	w.run()
	w.event(Event{ID: "evt1"})
	first := next(t, posts)
	w.stop()
	select {
	case <-left:
	case <-time.After(deadline):
		t.Fatal("the request in flight was not ended")
	}
	if d := w.awaitAttempt(0); d.ID != "evt1.a" {
		t.Errorf("%+v", d)
	}
	w.event(Event{ID: "evt2"})
	w.close()

	w.open()
	answers.Store(true)
	w.run()
	got := map[string]string{}
	for range 2 {
		p := next(t, posts)
		got[p.id()] = string(p.body)
	}
	if got["evt1"] != string(first.body) || got["evt2"] == "" {
		t.Errorf("after the restart came %v, want evt1 with %s, and evt2", got, first.body)
	}
	w.awaitNothing()

	// A failure is not forgotten by a restart either.
	w.stop()
	w.change("a", func(h *directory.Webhook) { h.URL = "http://127.0.0.1:1/" })
	w.run()
	w.event(Event{ID: "evt3"})
	d := w.awaitAttempt(1)
	w.close()
	w.open()
	w.change("a", func(h *directory.Webhook) { h.URL = url })
	w.run()
	w.advance(d.NextAttempt.Sub(w.now()) - time.Millisecond)
	nothingMore(t, posts)
	w.advance(time.Millisecond)
	if p := next(t, posts); p.id() != "evt3" {
		t.Error(p.id())
	}
	w.awaitNothing()
}

// TestEndpointEnds: with an endpoint end its deliveries, due or not, and none goes to another endpoint of its name.
func TestEndpointEnds(t *testing.T) {
	w := newWorld(t)
	const many = 2*endedAtOnce + 10
	w.hook("deleted", directory.Webhook{URL: "https://hooks.acme.example/", Org: "acme"})
	w.hook("disabled", directory.Webhook{URL: "https://hooks.globex.example/", Org: "globex"})
	for i := range many {
		id := "evt" + strings.Repeat("x", i)
		w.event(Event{ID: id, Org: "acme"})
		w.event(Event{ID: id, Org: "globex"})
	}
	w.offset.Add(int64(-time.Hour)) // nothing is due
	w.run()
	w.update(func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteWebhook(ctx, tx, "deleted") })
	w.change("disabled", func(h *directory.Webhook) { h.Status = directory.Disabled })
	w.await("dead letters", func() bool { return len(w.pending()) == 0 && len(w.dead()) == many })
	for _, d := range w.dead() {
		if d.Endpoint != "disabled" || d.LastError != "the webhook is disabled" {
			t.Fatalf("%+v", d)
		}
	}
	w.offset.Add(int64(time.Hour))
	replay := func(id string) error {
		_, err := w.store.Update(t.Context(), func(tx datastore.Tx) error { return w.queue.Replay(t.Context(), tx, id) })
		return err
	}
	for id, want := range map[string]error{"evt.disabled": ErrEndpointInactive, "evt.deleted": datastore.ErrNotFound, "evt": datastore.ErrNotFound,
		"": datastore.ErrNotFound, "evt.": datastore.ErrNotFound, "evt.disabled/x": datastore.ErrNotFound, "evtx.disabled": ErrEndpointInactive} {
		if err := replay(id); err != want { //nolint:errorlint // must be the very error
			t.Errorf("replay of %q: %v, want %v", id, err, want)
		}
	}

	// Another organization's endpoint gets the name.
	w.stop()
	url, posts := endpoint(t, status(http.StatusOK))
	w.hook("again", directory.Webhook{URL: url, Org: "acme"})
	w.event(Event{ID: "old", Org: "acme"})
	w.update(func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteWebhook(ctx, tx, "again") })
	w.hook("again", directory.Webhook{URL: url, Org: "globex"})
	w.event(Event{ID: "new", Org: "globex"})
	w.run()
	if p := next(t, posts); p.id() != "new" {
		t.Error("the endpoint got what was for another one:", p.id())
	}
	w.awaitNothing()
	nothingMore(t, posts)
}

// TestDeadLettersEnd: after their time they are removed, and a replayed one with its payload is not.
func TestDeadLettersEnd(t *testing.T) {
	w := newWorld(t)
	var code atomic.Int64
	code.Store(http.StatusGone)
	url, posts := endpoint(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(int(code.Load())) })
	w.hook("a", directory.Webhook{URL: url})
	w.event(Event{ID: "evt1"})
	w.event(Event{ID: "evt2"}) // before the first answer disables the endpoint
	w.run()
	w.await("dead letters", func() bool { return len(w.dead()) == 2 })
	w.stop()
	sweep := func() {
		t.Helper()
		if _, err := tenant.Sweep(t.Context(), w.store, w.now()); err != nil {
			t.Fatal(err)
		}
	}
	w.advance(29 * 24 * time.Hour)
	sweep()
	if len(w.dead()) != 2 {
		t.Error("removed too early")
	}
	w.change("a", func(h *directory.Webhook) { h.Status = directory.Active })
	w.update(func(ctx context.Context, tx datastore.Tx) error { return w.queue.Replay(ctx, tx, "evt2.a") })
	w.advance(2 * 24 * time.Hour)
	sweep()
	if len(w.dead()) != 0 || len(w.pending()) != 1 {
		t.Errorf("after their time: dead %+v, pending %+v", w.dead(), w.pending())
	}
	for len(posts) > 0 {
		<-posts
	}
	code.Store(http.StatusOK)
	w.run()
	if p := next(t, posts); p.id() != "evt2" {
		t.Error(p.id())
	}
	w.awaitNothing()
}

// TestOutOfOrder: what is due before all that waits is not overlooked, also when the clock was set back.
func TestOutOfOrder(t *testing.T) {
	w := newWorld(t)
	url, posts := endpoint(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("webhook-id") == "evt1" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	w.hook("a", directory.Webhook{URL: url})
	w.run()
	w.event(Event{ID: "evt1"})
	next(t, posts)
	w.awaitAttempt(1)
	for _, step := range []struct {
		id   string
		move time.Duration
	}{{"evt2", 0}, {"evt3", time.Second}, {"evt4", -time.Hour}} {
		w.advance(step.move)
		w.event(Event{ID: step.id})
		if p := next(t, posts); p.id() != step.id {
			t.Errorf("%s came instead of %s", p.id(), step.id)
		}
		w.awaitAttempt(1) // of the first one, which alone is left
	}
}
