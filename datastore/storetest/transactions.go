package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mandate/datastore"
)

var transactionTests = []test{
	{"no lost update", lostUpdate},
	{"no lost update through an absent document", lostCreate},
	{"no lost update through a delete", lostDelete},
	{"no write skew", writeSkew},
	{"no phantom", phantom},
	{"no phantom on a page, none beyond it", phantomPage},
	{"blind writes and disjoint reads do not conflict", noFalseConflict},
	{"an error discards everything", updateError},
	{"a panic discards everything", updatePanic},
	{"reads see its own writes", ownWrites},
	{"it is over when fn returns", transactionOver},
	{"endless conflicts end in ErrConflict", conflict},
	{"a context that ends", cancelledUpdate},
}

// interfere runs fn as a transaction that is overtaken: between its reads and its writes, the first time, another
// commit is made. It returns how often fn ran.
func interfere(t *testing.T, store datastore.Store, reads func(datastore.Tx) error, other, writes func(datastore.Tx) error) int {
	t.Helper()
	runs := 0
	update(t, store, func(tx datastore.Tx) error {
		runs++
		if err := reads(tx); err != nil {
			return err
		}
		if runs == 1 {
			if _, err := store.Update(t.Context(), other); err != nil {
				return fmt.Errorf("the other update: %w", err)
			}
		}
		return writes(tx)
	})
	return runs
}

func putting(p datastore.Path, value string) func(datastore.Tx) error {
	return func(tx datastore.Tx) error { return tx.Put(p, []byte(value)) }
}

func deleting(p datastore.Path) func(datastore.Tx) error {
	return func(tx datastore.Tx) error { return tx.Delete(p) }
}

// getting reads p and hands what it finds to seen.
func getting(t *testing.T, p datastore.Path, seen *string) func(datastore.Tx) error {
	return func(tx datastore.Tx) error {
		*seen = read(t, tx, p)
		return nil
	}
}

func wantRuns(t *testing.T, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("the transaction ran %d times, want %d", got, want)
	}
}

func lostUpdate(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("counter")
	put(t, store, p, "1")
	var seen string
	runs := interfere(t, store, getting(t, p, &seen), putting(p, "2"), func(tx datastore.Tx) error { return tx.Put(p, []byte(seen+"+")) })
	wantRuns(t, runs, 2)
	wantDocument(t, view(t, store), p, "2+")
}

func lostCreate(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("unique")
	var seen string
	runs := interfere(t, store, getting(t, p, &seen), putting(p, "theirs"), func(tx datastore.Tx) error {
		if seen != absent {
			return nil
		}
		return tx.Put(p, []byte("mine"))
	})
	wantRuns(t, runs, 2)
	wantDocument(t, view(t, store), p, "theirs")
}

func lostDelete(t *testing.T, s suite) {
	store := s.fresh(t)
	p, q := tenant.Path("p"), tenant.Path("q")
	put(t, store, p, "1")
	var seen string
	runs := interfere(t, store, getting(t, p, &seen), deleting(p), func(tx datastore.Tx) error { return tx.Put(q, []byte(seen)) })
	wantRuns(t, runs, 2)
	wantDocument(t, view(t, store), q, absent)
}

// Two doctors are on call; each may leave while the other one stays.
func writeSkew(t *testing.T, s suite) {
	store := s.fresh(t)
	alice, bob := tenant.Path("oncall", "alice"), tenant.Path("oncall", "bob")
	leave := func(who datastore.Path) func(datastore.Tx) error {
		return func(tx datastore.Tx) error {
			if read(t, tx, alice) == "yes" && read(t, tx, bob) == "yes" {
				return tx.Put(who, []byte("no"))
			}
			return nil
		}
	}
	for range 25 {
		update(t, store, func(tx datastore.Tx) error {
			return errors.Join(tx.Put(alice, []byte("yes")), tx.Put(bob, []byte("yes")))
		})
		// Once with both inside at the same time for certain, then as it comes.
		runs := 0
		update(t, store, func(tx datastore.Tx) error {
			err := leave(alice)(tx)
			if runs++; runs == 1 {
				_, other := store.Update(t.Context(), leave(bob))
				err = errors.Join(err, other)
			}
			return err
		})
		v := view(t, store)
		if read(t, v, alice) == "no" && read(t, v, bob) == "no" {
			t.Fatal("nobody is on call")
		}

		update(t, store, func(tx datastore.Tx) error {
			return errors.Join(tx.Put(alice, []byte("yes")), tx.Put(bob, []byte("yes")))
		})
		done := make(chan error, 2)
		for _, who := range []datastore.Path{alice, bob} {
			go func() {
				_, err := store.Update(context.Background(), leave(who))
				done <- err
			}()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatalf("update: %v", err)
		}
		v = view(t, store)
		if read(t, v, alice) == "no" && read(t, v, bob) == "no" {
			t.Fatal("nobody is on call")
		}
	}
}

func phantom(t *testing.T, s suite) {
	dir := tenant.Path("seats")
	for name, c := range map[string]struct {
		before []string
		other  func(datastore.Tx) error
		want   string
	}{
		"into an empty range":        {nil, putting(dir.Join("a"), "x"), "1"},
		"before the first":           {[]string{"b"}, putting(dir.Join("a"), "x"), "2"},
		"after the last":             {[]string{"b"}, putting(dir.Join("c"), "x"), "2"},
		"between two":                {[]string{"a", "c"}, putting(dir.Join("b"), "x"), "3"},
		"deep below":                 {[]string{"a"}, putting(dir.Join("a", "b", "c"), "x"), "2"},
		"by a delete":                {[]string{"a", "b"}, deleting(dir.Join("b")), "1"},
		"by a delete of the only":    {[]string{"a"}, deleting(dir.Join("a")), "0"},
		"changed, not only appeared": {[]string{"a"}, putting(dir.Join("a"), "y"), "1"},
	} {
		t.Run(name, func(t *testing.T) {
			store := s.fresh(t)
			for _, id := range c.before {
				put(t, store, dir.Join(id), "x")
			}
			var seen []string
			runs := interfere(t, store, func(tx datastore.Tx) error {
				seen = collect(t, tx, dir, datastore.Path{})
				return nil
			}, c.other, func(tx datastore.Tx) error {
				return tx.Put(tenant.Path("taken"), []byte(fmt.Sprint(len(seen))))
			})
			wantRuns(t, runs, 2)
			wantDocument(t, view(t, store), tenant.Path("taken"), c.want)
		})
	}
}

// A transaction that has read a page depends on everything up to the last document on it.
func phantomPage(t *testing.T, s suite) {
	dir := tenant.Path("dir")
	first := func(t *testing.T, tx datastore.Tx, after datastore.Path) datastore.Path {
		for f, err := range tx.Scan(t.Context(), dir, after) {
			if err != nil {
				t.Fatalf("scan: %v", err)
			}
			return f.Path
		}
		return datastore.Path{}
	}
	for name, other := range map[string]string{"before it": "aa", "changed": "c"} {
		t.Run(name, func(t *testing.T) {
			store := s.fresh(t)
			for _, id := range []string{"a", "c", "e"} {
				put(t, store, dir.Join(id), "x")
			}
			runs := interfere(t, store, func(tx datastore.Tx) error {
				first(t, tx, dir.Join("a"))
				return nil
			}, putting(dir.Join(other), "new"), putting(tenant.Path("done"), "1"))
			wantRuns(t, runs, 2)
		})
	}
}

func noFalseConflict(t *testing.T, s suite) {
	store := s.fresh(t)
	p, q := tenant.Path("p"), tenant.Path("q")
	nothing := func(datastore.Tx) error { return nil }
	runs := interfere(t, store, nothing, putting(p, "theirs"), putting(p, "mine"))
	wantRuns(t, runs, 1)
	wantDocument(t, view(t, store), p, "mine")

	var seen string
	runs = interfere(t, store, getting(t, p, &seen), putting(q, "theirs"), putting(p, "again"))
	wantRuns(t, runs, 1)

	runs = interfere(t, store, func(tx datastore.Tx) error {
		collect(t, tx, tenant.Path("orgs", "acme"), datastore.Path{})
		return nil
	}, putting(tenant.Path("orgs", "acme-2", "x"), "theirs"), putting(p, "more"))
	wantRuns(t, runs, 1)

	runs = interfere(t, store, func(tx datastore.Tx) error { return tx.Put(p, []byte("own")) }, putting(p, "theirs"), func(tx datastore.Tx) error {
		wantDocument(t, tx, p, "own") // reading what it wrote itself depends on nobody
		return nil
	})
	wantRuns(t, runs, 1)
}

func updateError(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	before := put(t, store, p, "before")
	failure := errors.New("no")
	_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
		return errors.Join(tx.Put(p, []byte("after")), tx.Put(tenant.Path("q"), []byte("q")), failure)
	})
	wantError(t, err, failure)
	_, err = store.Update(t.Context(), func(datastore.Tx) error { return failure })
	if err != failure { //nolint:errorlint // the contract says: as it is
		t.Errorf("got %v, want the very error of fn", err)
	}
	_, err = store.Update(t.Context(), func(datastore.Tx) error { return datastore.ErrConflict })
	wantError(t, err, datastore.ErrConflict)
	v := view(t, store)
	if v.Revision() != before {
		t.Errorf("revision %d, want %d", v.Revision(), before)
	}
	wantScan(t, v, tenant.Path(), datastore.Path{}, "p=before")
}

func updatePanic(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	panics := func(run int) {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		runs := 0
		update(t, store, func(tx datastore.Tx) error {
			read(t, tx, p)
			if err := tx.Put(p, []byte("half")); err != nil {
				return err
			}
			if runs++; runs == run {
				panic("in fn")
			}
			put(t, store, p, "theirs") // makes this attempt lose
			return nil
		})
	}
	panics(1)
	wantDocument(t, view(t, store), p, absent)
	panics(2)
	wantDocument(t, view(t, store), p, "theirs")
	for range 3 { // nothing is left locked
		runs := interfere(t, store, func(tx datastore.Tx) error {
			read(t, tx, p)
			return nil
		}, putting(p, "other"), putting(p, "after"))
		wantRuns(t, runs, 2)
	}
	wantDocument(t, view(t, store), p, "after")
}

func ownWrites(t *testing.T, s suite) {
	store := s.fresh(t)
	p, q := tenant.Path("dir", "p"), tenant.Path("dir", "q")
	put(t, store, p, "old")
	update(t, store, func(tx datastore.Tx) error {
		wantDocument(t, tx, q, absent)
		err := errors.Join(tx.Put(q, []byte("1")), tx.Put(p, []byte("new")))
		wantDocument(t, tx, q, "1")
		wantDocument(t, tx, p, "new")
		err = errors.Join(err, tx.Delete(p), tx.Put(q, []byte("2")))
		wantDocument(t, tx, p, absent)
		wantDocument(t, tx, q, "2")
		wantScan(t, tx, tenant.Path("dir"), datastore.Path{}, "dir/q=2")
		err = errors.Join(err, tx.Put(p, []byte("back")))
		wantScan(t, tx, tenant.Path("dir"), datastore.Path{}, "dir/p=back", "dir/q=2")
		wantScan(t, view(t, store), tenant.Path("dir"), datastore.Path{}, "dir/p=old")
		return err
	})
	wantScan(t, view(t, store), tenant.Path("dir"), datastore.Path{}, "dir/p=back", "dir/q=2")
}

func transactionOver(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	var kept datastore.Tx
	update(t, store, func(tx datastore.Tx) error {
		kept = tx
		return tx.Put(p, []byte("1"))
	})
	if err := kept.Put(p, []byte("2")); err == nil {
		t.Error("put after the end")
	}
	if err := kept.Delete(p); err == nil {
		t.Error("delete after the end")
	}
	if _, err := kept.Get(t.Context(), p); err == nil || errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("get after the end: %v", err)
	}
	wantDocument(t, view(t, store), p, "1")
}

func conflict(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	runs := 0
	_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
		runs++
		read(t, tx, p)
		put(t, store, p, strings.Repeat("x", runs))
		return tx.Put(p, []byte("never"))
	})
	wantError(t, err, datastore.ErrConflict)
	wantDocument(t, view(t, store), p, strings.Repeat("x", runs))
	if runs < 2 || runs > 100 {
		t.Errorf("it was tried %d times", runs)
	}
}

func cancelledUpdate(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Update(ctx, putting(p, "1"))
	wantError(t, err, context.Canceled)
	wantDocument(t, view(t, store), p, absent)

	// Cancelled at any moment: what is reported is what happened.
	for i := range 50 {
		value := fmt.Sprint(i)
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		rev, err := store.Update(ctx, putting(p, value))
		v := view(t, store)
		got := read(t, v, p)
		switch {
		case err == nil && (got != value || v.Revision() != rev):
			t.Errorf("commit %d of %s is acknowledged, the store has %s at %d", rev, value, got, v.Revision())
		case err != nil && !errors.Is(err, context.Canceled):
			t.Errorf("update: %v", err)
		case err != nil && got == value:
			t.Errorf("%v, but %s is committed", err, value)
		}
	}
}
