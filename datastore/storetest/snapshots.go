package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"mandate/datastore"
)

var snapshotTests = []test{
	{"a view never changes while commits go on", stableView},
	{"a view has every acknowledged commit", readYourWrites},
	{"a view shows all of a commit or nothing", wholeCommits},
}

func stableView(t *testing.T, s suite) {
	store := s.fresh(t)
	dir := tenant.Path("dir")
	update(t, store, func(tx datastore.Tx) error {
		for i := range 100 {
			if err := tx.Put(dir.Join(fmt.Sprintf("%03d", i)), []byte("0")); err != nil {
				return err
			}
		}
		return nil
	})
	v := view(t, store)
	want := collect(t, v, dir, datastore.Path{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
					n := (w*50 + i) % 150
					if n%3 == 0 {
						return tx.Delete(dir.Join(fmt.Sprintf("%03d", n)))
					}
					return tx.Put(dir.Join(fmt.Sprintf("%03d", n)), []byte("changed"))
				})
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		writers.Wait()
		close(done)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if got := collect(t, v, dir, datastore.Path{}); !slices.Equal(got, want) {
			t.Fatalf("the view has changed to %q", got)
		}
		wantDocument(t, v, dir.Join("000"), "0")
		wantDocument(t, v, dir.Join("120"), absent)
	}
}

func readYourWrites(t *testing.T, s suite) {
	store := s.fresh(t)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			own := tenant.Path("writers", fmt.Sprint(w))
			for i := range 30 {
				value := fmt.Sprint(i)
				rev, err := store.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(own, []byte(value)) })
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
				v, err := store.View(t.Context())
				if err != nil {
					t.Errorf("view: %v", err)
					return
				}
				got, err := v.Get(t.Context(), own)
				if err != nil || string(got) != value || v.Revision() < rev {
					t.Errorf("after commit %d of %s the view at %d has %q, %v", rev, value, v.Revision(), got, err)
				}
				v.Close()
			}
		})
	}
	writers.Wait()
}

func wholeCommits(t *testing.T, s suite) {
	store := s.fresh(t)
	left, right := tenant.Path("a", "left"), tenant.Path("z", "right")
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			_, err = store.Update(t.Context(), func(tx datastore.Tx) error {
				if err := tx.Put(left, []byte(fmt.Sprint(i))); err != nil {
					return err
				}
				return tx.Put(right, []byte(fmt.Sprint(i)))
			})
		}
		done <- err
	}()
	for {
		v := view(t, store)
		r := read(t, v, right)
		if l := read(t, v, left); l != r {
			t.Fatalf("revision %d shows %q and %q", v.Revision(), l, r)
		}
		v.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("update: %v", err)
			}
			return
		default:
		}
	}
}
