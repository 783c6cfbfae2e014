// Package storetest defines, as tests, what every store of facts must do. A store runs it so:
//
//	func TestMain(m *testing.M) { os.Exit(storetest.Main(m, open)) }
//	func TestConformance(t *testing.T) { storetest.Run(t, open) }
//
// where open opens or creates the store in a folder. Main is there for the crash tests, in which the test binary runs
// itself as the process to be killed.
//
// The suite must not know anything of a particular store, nor accept more than the contract says.
package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
)

// Store is what the suite needs: the contract, and a way to make the store discard now what it would discard some
// time after it has left the retention window. What is the newest at that time must survive.
type Store interface {
	datastore.Store
	DiscardHistory(ctx context.Context) error
}

// Options are what the suite sets.
type Options struct {
	Retention time.Duration
	Now       func() time.Time // called by several goroutines
}

// Open opens the store in dir.
type Open func(dir string, o Options) (Store, error)

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	s := suite{open}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Paths", pathTests},
		{"Scan", scanTests},
		{"Revisions", revisionTests},
		{"Snapshots", snapshotTests},
		{"Clock", clockTests},
		{"Transactions", transactionTests},
		{"Contention", contentionTests},
		{"Limits", limitTests},
		{"Watch", watchTests},
		{"History", historyTests},
		{"Closed", closeTests},
		{"Model", modelTests},
		{"Crash", crashTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) { test.run(t, s) })
			}
		})
	}
}

type suite struct{ open Open }

type test struct {
	name string
	run  func(*testing.T, suite)
}

const tenant = datastore.TenantID("acme")

// fresh is an empty store that is closed with the test.
func (s suite) fresh(t *testing.T) Store {
	t.Helper()
	store, _ := s.withClock(t)
	return store
}

// withClock is an empty store with a retention of an hour by a clock that only the test moves.
func (s suite) withClock(t *testing.T) (Store, *clock) {
	t.Helper()
	c := newClock()
	store := s.reopen(t, t.TempDir(), c)
	t.Cleanup(func() {
		if err := store.Close(); err != nil && !errors.Is(err, datastore.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return store, c
}

func (s suite) reopen(t fataler, dir string, c *clock) Store {
	t.Helper()
	store, err := s.open(dir, Options{Retention: time.Hour, Now: c.Now})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return store
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fataler is what *testing.T and *rapid.T have in common, as far as it is used here.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// put commits one document.
func put(t *testing.T, s datastore.Store, p datastore.Path, value string) datastore.Revision {
	t.Helper()
	return update(t, s, func(tx datastore.Tx) error { return tx.Put(p, []byte(value)) })
}

func update(t *testing.T, s datastore.Store, fn func(datastore.Tx) error) datastore.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), fn)
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	return rev
}

func view(t *testing.T, s datastore.Store) datastore.View {
	t.Helper()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	t.Cleanup(v.Close)
	return v
}

func viewAt(t *testing.T, s datastore.Store, r datastore.Revision) datastore.View {
	t.Helper()
	v, err := s.ViewAt(t.Context(), r)
	if err != nil {
		t.Fatalf("view at %d: %v", r, err)
	}
	if v.Revision() != r {
		t.Fatalf("view at %d is at %d", r, v.Revision())
	}
	t.Cleanup(v.Close)
	return v
}

const absent = "(absent)"

// read returns the document as text, or absent.
func read(t *testing.T, r datastore.Reader, p datastore.Path) string {
	t.Helper()
	value, err := r.Get(t.Context(), p)
	if errors.Is(err, datastore.ErrNotFound) {
		return absent
	}
	if err != nil {
		t.Fatalf("get %q: %v", p, err)
	}
	return string(value)
}

func wantDocument(t *testing.T, r datastore.Reader, p datastore.Path, want string) {
	t.Helper()
	if got := read(t, r, p); got != want {
		t.Errorf("revision %d, %q: got %q, want %q", r.Revision(), p, got, want)
	}
}

// collect returns what a scan yields, as "path=value".
func collect(t *testing.T, r datastore.Reader, prefix, after datastore.Path) []string {
	t.Helper()
	var all []string
	for f, err := range r.Scan(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("scan %q: %v", prefix, err)
		}
		all = append(all, f.Path.String()+"="+string(f.Value))
	}
	return all
}

func wantScan(t *testing.T, r datastore.Reader, prefix, after datastore.Path, want ...string) {
	t.Helper()
	if got := collect(t, r, prefix, after); !slices.Equal(got, want) {
		t.Errorf("scan of %q after %q:\n got %q\nwant %q", prefix, after, got, want)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}
