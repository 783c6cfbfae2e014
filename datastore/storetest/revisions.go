package storetest

import (
	"context"
	"errors"
	"testing"

	"mandate/datastore"
)

var revisionTests = []test{
	{"an empty store is at revision 0", emptyStore},
	{"each commit has the next one", nextRevision},
	{"no writes, no revision", readOnlyUpdate},
	{"an older one shows its own state", oldRevision},
	{"one that is ahead is refused", revisionAhead},
	{"Await returns when it is visible", await},
	{"they survive a restart", restart},
}

func emptyStore(t *testing.T, s suite) {
	store := s.fresh(t)
	v := view(t, store)
	if v.Revision() != 0 {
		t.Errorf("revision %d", v.Revision())
	}
	wantDocument(t, v, tenant.Path("a"), absent)
	wantScan(t, v, tenant.Path(), datastore.Path{})
	wantScan(t, viewAt(t, store, 0), tenant.Path(), datastore.Path{})
}

func nextRevision(t *testing.T, s suite) {
	store := s.fresh(t)
	for want := datastore.Revision(1); want <= 5; want++ {
		if got := put(t, store, tenant.Path("a"), "x"); got != want {
			t.Fatalf("commit %d has revision %d", want, got)
		}
		if got := view(t, store).Revision(); got != want {
			t.Fatalf("after commit %d the newest view is at %d", want, got)
		}
	}
}

func readOnlyUpdate(t *testing.T, s suite) {
	store := s.fresh(t)
	want := put(t, store, tenant.Path("a"), "1")
	got := update(t, store, func(tx datastore.Tx) error {
		if tx.Revision() != want {
			t.Errorf("the transaction sees revision %d, want %d", tx.Revision(), want)
		}
		wantDocument(t, tx, tenant.Path("a"), "1")
		return nil
	})
	if got != want || view(t, store).Revision() != want {
		t.Errorf("revision %d, newest %d, want %d", got, view(t, store).Revision(), want)
	}
}

func oldRevision(t *testing.T, s suite) {
	store := s.fresh(t)
	a, b := tenant.Path("dir", "a"), tenant.Path("dir", "b")
	r1 := put(t, store, a, "1")
	r2 := update(t, store, func(tx datastore.Tx) error {
		return errors.Join(tx.Put(a, []byte("2")), tx.Put(b, []byte("2")))
	})
	r3 := update(t, store, func(tx datastore.Tx) error { return tx.Delete(a) })
	r4 := put(t, store, a, "4")
	dir := tenant.Path("dir")
	wantScan(t, viewAt(t, store, 0), dir, datastore.Path{})
	wantDocument(t, viewAt(t, store, 0), a, absent)
	wantScan(t, viewAt(t, store, r1), dir, datastore.Path{}, "dir/a=1")
	wantDocument(t, viewAt(t, store, r1), b, absent)
	wantScan(t, viewAt(t, store, r2), dir, datastore.Path{}, "dir/a=2", "dir/b=2")
	wantScan(t, viewAt(t, store, r3), dir, datastore.Path{}, "dir/b=2")
	wantDocument(t, viewAt(t, store, r3), a, absent)
	wantScan(t, viewAt(t, store, r4), dir, datastore.Path{}, "dir/a=4", "dir/b=2")
}

func revisionAhead(t *testing.T, s suite) {
	store := s.fresh(t)
	newest := put(t, store, tenant.Path("a"), "1")
	_, err := store.ViewAt(t.Context(), newest+1)
	wantError(t, err, datastore.ErrRevisionAhead)
}

func await(t *testing.T, s suite) {
	store := s.fresh(t)
	newest := put(t, store, tenant.Path("a"), "1")
	for r := range newest + 1 {
		if err := store.Await(t.Context(), r); err != nil {
			t.Errorf("await %d: %v", r, err)
		}
	}
	const waiters = 8
	seen := make(chan error, waiters)
	for range waiters {
		go func() {
			err := store.Await(t.Context(), newest+2)
			if err == nil {
				var v datastore.View
				if v, err = store.ViewAt(t.Context(), newest+2); err == nil {
					v.Close()
				}
			}
			seen <- err
		}()
	}
	put(t, store, tenant.Path("a"), "2")
	select {
	case err := <-seen:
		t.Fatalf("await returned one commit too early: %v", err)
	default:
	}
	put(t, store, tenant.Path("a"), "3")
	for range waiters {
		if err := <-seen; err != nil {
			t.Errorf("await: %v", err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { seen <- store.Await(ctx, newest+100) }()
	cancel()
	wantError(t, <-seen, context.Canceled)
}

func restart(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	a := tenant.Path("a")
	var last datastore.Revision
	for round := range 4 {
		store := s.reopen(t, dir, c)
		v := view(t, store)
		if v.Revision() != last {
			t.Fatalf("opened at revision %d, want %d", v.Revision(), last)
		}
		for r := datastore.Revision(1); r <= last; r++ {
			wantDocument(t, viewAt(t, store, r), a, string(rune('a'+r)))
		}
		for range round { // none in the first
			last++
			if got := put(t, store, a, string(rune('a'+last))); got != last {
				t.Fatalf("commit has revision %d, want %d", got, last)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}
