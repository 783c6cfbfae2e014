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
	{"each document knows its own", ownRevision},
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
			wantRevision(t, viewAt(t, store, r), a, r)
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

func ownRevision(t *testing.T, s suite) {
	store := s.fresh(t)
	dir := tenant.Path("dir")
	a, b := dir.Join("a"), dir.Join("b")
	r1 := put(t, store, a, "1")
	r2 := put(t, store, b, "1")
	before := view(t, store)
	r3 := update(t, store, func(tx datastore.Tx) error {
		wantRevision(t, tx, a, r1)
		if err := tx.Put(a, []byte("1")); err != nil {
			return err
		}
		wantRevision(t, tx, a, 0)
		return nil
	})
	after := view(t, store)
	for _, want := range []struct {
		at       datastore.Reader
		document datastore.Path
		revision datastore.Revision
	}{{before, a, r1}, {before, b, r2}, {after, a, r3}, {after, b, r2}} {
		wantRevision(t, want.at, want.document, want.revision)
		for fact, err := range want.at.Scan(t.Context(), dir, datastore.Path{}) {
			if err != nil {
				t.Fatal(err)
			}
			if fact.Path == want.document && fact.Revision != want.revision {
				t.Errorf("a scan at %d says that %s is of %d, want %d", want.at.Revision(), fact.Path, fact.Revision, want.revision)
			}
		}
	}
	update(t, store, func(tx datastore.Tx) error {
		if err := tx.Delete(a); err != nil {
			return err
		}
		wantNone(t, tx, a)
		return nil
	})
	wantNone(t, view(t, store), a)
}

func wantRevision(t *testing.T, r datastore.Reader, p datastore.Path, want datastore.Revision) {
	t.Helper()
	if got, err := r.Stat(t.Context(), p); err != nil || got != want {
		t.Errorf("%s is of revision %d (%v), want %d", p, got, err, want)
	}
}

func wantNone(t *testing.T, r datastore.Reader, p datastore.Path) {
	t.Helper()
	if _, err := r.Stat(t.Context(), p); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("stat %s: %v, want ErrNotFound", p, err)
	}
}
