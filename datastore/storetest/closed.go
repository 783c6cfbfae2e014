package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"mandate/datastore"
)

var closeTests = []test{
	{"a closed store says so", closedStore},
	{"a folder is opened once", openedTwice},
	{"closing under load", closeUnderLoad},
}

func closedStore(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("p")
	rev := put(t, store, p, "1")
	v := view(t, store)
	waiting := make(chan error, 1)
	go func() { waiting <- store.Await(t.Context(), rev+1) }()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wantError(t, <-waiting, datastore.ErrClosed)
	_, err := store.View(t.Context())
	wantError(t, err, datastore.ErrClosed)
	_, err = store.ViewAt(t.Context(), rev)
	wantError(t, err, datastore.ErrClosed)
	_, err = store.Update(t.Context(), putting(p, "2"))
	wantError(t, err, datastore.ErrClosed)
	wantError(t, store.Await(t.Context(), rev), datastore.ErrClosed)
	for _, err := range store.Watch(t.Context(), 0) {
		wantError(t, err, datastore.ErrClosed)
		break
	}
	wantError(t, store.Close(), datastore.ErrClosed)
	// A view should have been closed before. One that was not must not bring the process down.
	_, err = v.Get(t.Context(), p)
	wantError(t, err, datastore.ErrClosed)
	for _, err := range v.Scan(t.Context(), tenant.Path(), datastore.Path{}) {
		wantError(t, err, datastore.ErrClosed)
	}
}

func openedTwice(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	store := s.reopen(t, dir, c)
	if second, err := s.open(dir, Options{Now: c.Now}); err == nil {
		t.Error("the same folder was opened a second time", second.Close())
	}
	put(t, store, tenant.Path("p"), "1")
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	store = s.reopen(t, dir, c)
	wantDocument(t, view(t, store), tenant.Path("p"), "1")
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// What was acknowledged before and during Close is there afterwards.
func closeUnderLoad(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	store := s.reopen(t, dir, c)
	var writers sync.WaitGroup
	acknowledged := make(chan datastore.Path, 1<<16)
	busy := make(chan struct{}, 8)
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				p := tenant.Path("writers", fmt.Sprint(w), fmt.Sprint(i))
				_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
					for _, err := range tx.Scan(t.Context(), tenant.Path("writers", fmt.Sprint(w)), datastore.Path{}) {
						if err != nil {
							return err
						}
					}
					return tx.Put(p, []byte("1"))
				})
				if errors.Is(err, datastore.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
				acknowledged <- p
				if i == 10 {
					busy <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-busy
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	writers.Wait()
	close(acknowledged)
	store = s.reopen(t, dir, c)
	v := view(t, store)
	for p := range acknowledged {
		wantDocument(t, v, p, "1")
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
