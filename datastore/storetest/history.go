package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mandate/datastore"
)

var historyTests = []test{
	{"what is older than the window is gone, the newest stays", retention},
	{"a view that falls out of the window says so", viewGone},
	{"an idle store does not make revisions", idleHistory},
	{"it stays gone after a restart", retentionRestart},
	{"a time leads to the revision that was the newest then", revisionAt},
	{"commits and watches go on meanwhile", retentionRunning},
}

func discard(t *testing.T, s Store) {
	t.Helper()
	if err := s.DiscardHistory(t.Context()); err != nil {
		t.Fatalf("discard history: %v", err)
	}
}

func wantGone(t *testing.T, s datastore.Store, r datastore.Revision) {
	t.Helper()
	_, err := s.ViewAt(t.Context(), r)
	wantError(t, err, datastore.ErrRevisionGone)
	for _, err := range s.Watch(t.Context(), r) {
		wantError(t, err, datastore.ErrRevisionGone)
		break
	}
}

func retention(t *testing.T, s suite) {
	store, c := s.withClock(t)
	a, b := tenant.Path("dir", "a"), tenant.Path("dir", "b")
	put(t, store, a, "1")
	put(t, store, b, "1")
	atWindow := put(t, store, a, "2") // exactly as old as the window when it is measured
	c.advance(time.Hour)
	recent := put(t, store, a, "3")
	discard(t, store)
	for r := range atWindow {
		wantGone(t, store, r)
	}
	dir := tenant.Path("dir")
	wantScan(t, viewAt(t, store, atWindow), dir, datastore.Path{}, "dir/a=2", "dir/b=1")
	wantScan(t, viewAt(t, store, recent), dir, datastore.Path{}, "dir/a=3", "dir/b=1")
	for change, err := range store.Watch(t.Context(), atWindow) {
		if err != nil || change.Revision != recent {
			t.Errorf("after %d comes %d, %v", atWindow, change.Revision, err)
		}
		break
	}

	c.advance(1000 * time.Hour) // everything is old, but the newest state is still the state
	before := view(t, store)
	discard(t, store)
	discard(t, store)
	wantScan(t, view(t, store), dir, datastore.Path{}, "dir/a=3", "dir/b=1")
	if after := view(t, store).Revision(); after < before.Revision() {
		t.Errorf("revision %d comes after %d", after, before.Revision())
	}
	wantGone(t, store, atWindow)
	if got := put(t, store, a, "4"); got <= recent {
		t.Errorf("a commit after %d has revision %d", recent, got)
	}
	wantScan(t, view(t, store), dir, datastore.Path{}, "dir/a=4", "dir/b=1")
}

func revisionAt(t *testing.T, s suite) {
	store, c := s.withClock(t)
	p := tenant.Path("dir", "a")
	begin := c.Now()
	c.advance(time.Minute)
	first := put(t, store, p, "1")
	second := put(t, store, p, "2") // at the same time
	c.advance(time.Minute)
	third := put(t, store, p, "3")
	c.advance(50 * time.Minute)
	wantAt := func(after time.Duration, want datastore.Revision, failure error) {
		t.Helper()
		at := begin.Add(after)
		got, err := store.RevisionAt(t.Context(), at)
		if got != want || !errors.Is(err, failure) {
			t.Errorf("after %v it was %d, %v; want %d, %v", after, got, err, want, failure)
		}
	}
	for _, row := range []struct {
		after   time.Duration
		want    datastore.Revision
		failure error
	}{
		{0, 0, nil}, // it was empty
		{time.Minute - 1, 0, nil},
		{time.Minute, second, nil},
		{2*time.Minute - 1, second, nil},
		{2 * time.Minute, third, nil},
		{52 * time.Minute, third, nil},
		{52*time.Minute + 1, 0, datastore.ErrRevisionAhead},
	} {
		wantAt(row.after, row.want, row.failure)
	}
	c.advance(9*time.Minute + time.Second) // the window begins a second after the first commits
	discard(t, store)
	wantGone(t, store, first)
	wantAt(time.Minute-1, 0, datastore.ErrRevisionGone)
	wantAt(time.Minute, 0, datastore.ErrRevisionGone)
	wantAt(time.Minute+time.Second, second, nil)
	wantAt(2*time.Minute, third, nil)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := store.RevisionAt(t.Context(), begin)
	wantError(t, err, datastore.ErrClosed)
}

func viewGone(t *testing.T, s suite) {
	store, c := s.withClock(t)
	p := tenant.Path("dir", "a")
	put(t, store, p, "1")
	v := view(t, store)
	put(t, store, p, "2")
	c.advance(2 * time.Hour)
	put(t, store, p, "3")
	wantDocument(t, v, p, "1")
	discard(t, store)
	_, err := v.Get(t.Context(), p)
	wantError(t, err, datastore.ErrRevisionGone)
	_, err = v.Get(t.Context(), tenant.Path("absent"))
	wantError(t, err, datastore.ErrRevisionGone)
	for _, prefix := range []datastore.Path{tenant.Path("dir"), tenant.Path("absent")} {
		n := 0
		for _, err := range v.Scan(t.Context(), prefix, datastore.Path{}) {
			wantError(t, err, datastore.ErrRevisionGone)
			n++
		}
		if n != 1 {
			t.Errorf("the scan of %q yields %d times, want the one error", prefix, n)
		}
	}

	// A transaction whose snapshot is discarded under it is run again.
	runs := 0
	update(t, store, func(tx datastore.Tx) error {
		if runs++; runs == 1 {
			put(t, store, p, "4")
			c.advance(2 * time.Hour)
			put(t, store, p, "5")
			discard(t, store)
		}
		value, err := tx.Get(t.Context(), p)
		if err != nil {
			return err
		}
		return tx.Put(tenant.Path("copy"), value)
	})
	wantRuns(t, runs, 2)
	wantDocument(t, view(t, store), tenant.Path("copy"), "5")
}

func idleHistory(t *testing.T, s suite) {
	store, c := s.withClock(t)
	put(t, store, tenant.Path("a"), "1")
	put(t, store, tenant.Path("a"), "2")
	for range 3 { // until there is nothing left to do
		c.advance(2 * time.Hour)
		discard(t, store)
	}
	before := view(t, store).Revision()
	for range 20 {
		c.advance(2 * time.Hour)
		discard(t, store)
	}
	if after := view(t, store).Revision(); after != before {
		t.Errorf("%d revisions were made with nothing to discard", after-before)
	}
	wantDocument(t, view(t, store), tenant.Path("a"), "2")
}

func retentionRestart(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	store := s.reopen(t, dir, c)
	p := tenant.Path("a")
	gone := put(t, store, p, "1")
	kept := put(t, store, p, "2")
	c.advance(2 * time.Hour)
	put(t, store, p, "3")
	discard(t, store)
	for range 2 {
		newest := view(t, store).Revision()
		if err := store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		store = s.reopen(t, dir, c)
		if got := view(t, store).Revision(); got != newest {
			t.Errorf("opened at revision %d, want %d", got, newest)
		}
		wantGone(t, store, gone)
		wantDocument(t, viewAt(t, store, kept), p, "2")
		wantDocument(t, view(t, store), p, "3")
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func retentionRunning(t *testing.T, s suite) {
	store, c := s.withClock(t)
	const commits = 120
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < commits && err == nil; i++ {
			c.advance(time.Minute)
			if _, err = store.Update(t.Context(), putting(tenant.Path("a", fmt.Sprint(i%7)), fmt.Sprint(i))); err == nil && i%10 == 9 {
				err = store.DiscardHistory(t.Context())
			}
		}
		done <- err
	}()
	last := fmt.Sprintf("a/%d", (commits-1)%7)
	next := datastore.Revision(1)
	seen := 0
	for change, err := range store.Watch(t.Context(), 0) {
		if err != nil {
			wantError(t, err, datastore.ErrRevisionGone) // slower than an hour of the clock: allowed, and said
			break
		}
		if change.Revision != next {
			t.Fatalf("revision %d comes after %d", change.Revision, next-1)
		}
		next++
		seen += len(change.Writes)
		if seen == commits {
			break
		}
	}
	if err := <-done; err != nil {
		t.Fatalf("commit: %v", err)
	}
	wantDocument(t, view(t, store), tenant.Path("a").Join(last[2:]), fmt.Sprint(commits-1))
}
