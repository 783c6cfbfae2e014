package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
)

var watchTests = []test{
	{"names what was written", watchWrites},
	{"sees every revision once and in order", watchAll},
	{"resumes in the middle", watchResume},
	{"ends with its context", watchCancelled},
	{"ends when the store is closed", watchClosed},
	{"goes on after a restart", watchRestart},
}

func watchWrites(t *testing.T, s suite) {
	store, c := s.withClock(t)
	a, b, hostile := tenant.Path("a"), tenant.Path("b"), tenant.Path("x/y", "\x00", "😀")
	started := c.Now()
	update(t, store, func(tx datastore.Tx) error {
		return errors.Join(tx.Put(b, []byte("1")), tx.Put(a, []byte("1")), tx.Put(b, []byte("2")), tx.Put(hostile, []byte("1")))
	})
	c.advance(time.Minute)
	update(t, store, func(tx datastore.Tx) error {
		return errors.Join(tx.Delete(b), tx.Put(a, []byte("1")), tx.Delete(a))
	})
	want := [][]datastore.Write{{{Path: a}, {Path: b}, {Path: hostile}}, {{Path: a, Deleted: true}, {Path: b, Deleted: true}}}
	i := 0
	for got, err := range store.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		slices.SortFunc(got.Writes, func(x, y datastore.Write) int {
			if x.Path.Key() < y.Path.Key() {
				return -1
			}
			return 1
		})
		if !slices.Equal(got.Writes, want[i]) {
			t.Errorf("revision %d: got %v, want %v", got.Revision, got.Writes, want[i])
		}
		if at := started.Add(time.Duration(i) * time.Minute); !got.Time.Equal(at) {
			t.Errorf("revision %d: committed at %v, want %v", got.Revision, got.Time, at)
		}
		if i++; i == len(want) {
			break
		}
	}
}

func watchAll(t *testing.T, s suite) {
	store := s.fresh(t)
	const writers, each = 6, 40
	var done sync.WaitGroup
	acknowledged := make(chan map[datastore.Revision]datastore.Path, writers)
	for w := range writers {
		done.Go(func() {
			own := make(map[datastore.Revision]datastore.Path)
			for i := range each {
				p := tenant.Path("writers", fmt.Sprint(w), fmt.Sprint(i))
				rev, err := store.Update(t.Context(), putting(p, "1"))
				if err != nil {
					t.Errorf("update: %v", err)
					break
				}
				own[rev] = p
			}
			acknowledged <- own
		})
	}
	seen := make(map[datastore.Revision]datastore.Path)
	next := datastore.Revision(1)
	for c, err := range store.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if c.Revision != next {
			t.Fatalf("revision %d comes after %d", c.Revision, next-1)
		}
		if len(c.Writes) != 1 {
			t.Fatalf("revision %d has the writes %v", c.Revision, c.Writes)
		}
		seen[c.Revision] = c.Writes[0].Path
		v, err := store.ViewAt(t.Context(), c.Revision) // what is yielded is visible
		if err != nil {
			t.Fatalf("view at %d: %v", c.Revision, err)
		}
		wantDocument(t, v, c.Writes[0].Path, "1")
		v.Close()
		if next++; next > writers*each {
			break
		}
	}
	done.Wait()
	for range writers {
		for rev, p := range <-acknowledged {
			if seen[rev] != p {
				t.Errorf("revision %d wrote %q, watched %q", rev, p, seen[rev])
			}
		}
	}
}

func watchResume(t *testing.T, s suite) {
	store := s.fresh(t)
	for i := range 10 {
		put(t, store, tenant.Path("p"), fmt.Sprint(i))
	}
	for after := range datastore.Revision(10) {
		for c, err := range store.Watch(t.Context(), after) {
			if err != nil || c.Revision != after+1 {
				t.Errorf("after %d comes %d, %v", after, c.Revision, err)
			}
			break
		}
	}
	got := make(chan datastore.Revision)
	go func() {
		for c, err := range store.Watch(t.Context(), 12) { // not there yet
			if err != nil {
				t.Errorf("watch: %v", err)
			}
			got <- c.Revision
			return
		}
	}()
	for range 3 {
		put(t, store, tenant.Path("p"), "more")
	}
	if r := <-got; r != 13 {
		t.Errorf("after 12 comes %d", r)
	}
}

// watching starts a watch and returns once it has yielded the newest commit and waits for the next, with a
// channel for the error that ends it.
func watching(ctx context.Context, t *testing.T, store datastore.Store) <-chan error {
	t.Helper()
	put(t, store, tenant.Path("p"), "1")
	first, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		n := 0
		for _, err := range store.Watch(ctx, 0) {
			if err != nil {
				ended <- err
				continue // a watch that yields more after an error blocks here
			}
			if n++; n == 1 {
				close(first)
			}
		}
		close(ended)
	}()
	<-first
	return ended
}

func watchCancelled(t *testing.T, s suite) {
	store := s.fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := watching(ctx, t, store)
	cancel()
	wantError(t, <-ended, context.Canceled)
	if err, more := <-ended; more {
		t.Errorf("a second error: %v", err)
	}
}

func watchClosed(t *testing.T, s suite) {
	store := s.fresh(t)
	ended := watching(t.Context(), t, store)
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wantError(t, <-ended, datastore.ErrClosed)
	if err, more := <-ended; more {
		t.Errorf("a second error: %v", err)
	}
}

func watchRestart(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	store := s.reopen(t, dir, c)
	for i := range 3 {
		put(t, store, tenant.Path("p"), fmt.Sprint(i))
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	store = s.reopen(t, dir, c)
	put(t, store, tenant.Path("p"), "4")
	next := datastore.Revision(2)
	for c, err := range store.Watch(t.Context(), 1) {
		if err != nil || c.Revision != next {
			t.Fatalf("got revision %d, %v, want %d", c.Revision, err, next)
		}
		if next++; next == 5 {
			break
		}
	}
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}
