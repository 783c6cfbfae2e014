package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mandate/datastore"
)

var clockTests = []test{
	{"it says changed of all that a commit touches", clockChanged},
	{"it says unchanged of what no commit touches", clockUnchanged},
	{"it knows nothing of the time before the store was opened", clockReopened},
	{"it knows of a commit before anybody sees it", clockMarkedFirst},
	{"it never lies while commits go on", clockConcurrent},
}

// touches are the stripes of every read that a write of p can change: of p itself, and of each scan that can yield it.
func touches(c *datastore.Clock, p datastore.Path) map[string]datastore.Stripe {
	all := map[string]datastore.Stripe{"document " + p.String(): c.Point(p)}
	segments := p.Segments()
	for depth := range segments {
		prefix := tenant.Path(segments[:depth]...)
		all["scan of "+strconv.Quote(prefix.String())] = c.Below(prefix)
	}
	return all
}

// untouched are stripes of n documents and n scans that no write of the given paths touches. The names are drawn until
// none shares a stripe by chance with a path that is written, so that what the clock says of them is certain.
func untouched(c *datastore.Clock, n int, written ...datastore.Path) datastore.Footprint {
	var taken datastore.Footprint
	for _, p := range written {
		taken = slices.AppendSeq(taken, maps.Values(touches(c, p)))
	}
	var free datastore.Footprint
	for len(free) < 2*n {
		p := tenant.Path("unwritten", strconv.FormatUint(rand.Uint64(), 36))
		point, below := c.Point(p), c.Below(p)
		if !slices.Contains(taken, point) && !slices.Contains(taken, below) {
			free = append(free, point, below)
		}
	}
	return free
}

// clockWrites are commits of every sort: what each of them puts, or deletes where the value is empty.
func clockWrites() []map[datastore.Path]string {
	a, deep, odd := tenant.Path("a"), tenant.Path("orgs", "acme", "members", "alice"), tenant.Path("a/b", "~", "😀", "c d")
	return []map[datastore.Path]string{
		{a: "1"},
		{deep: "1"},
		{a: "2", odd: "1"},
		{deep: ""},
		{tenant.Path("never", "there"): ""}, // a deletion of nothing is a commit as well
		{deep: "2"},
		{a: "", deep: "", odd: ""},
		{a: "2"},
	}
}

func commitWrites(t *testing.T, store datastore.Store, writes map[datastore.Path]string) datastore.Revision {
	t.Helper()
	return update(t, store, func(tx datastore.Tx) error { return writeAll(tx, writes) })
}

func writeAll(tx datastore.Tx, writes map[datastore.Path]string) error {
	var failed error
	for p, value := range writes {
		if value == "" {
			failed = errors.Join(failed, tx.Delete(p))
		} else {
			failed = errors.Join(failed, tx.Put(p, []byte(value)))
		}
	}
	return failed
}

func wantClock(t *testing.T, store datastore.Store, what string, f datastore.Footprint, e, v datastore.Revision, want bool) {
	t.Helper()
	if got := store.Clock().Unchanged(f, e, v); got != want {
		t.Errorf("%s between the revisions %d and %d: unchanged is %t, want %t", what, e, v, got, want)
	}
}

func clockChanged(t *testing.T, s suite) {
	store := s.fresh(t)
	clock := store.Clock()
	for _, writes := range clockWrites() {
		before := store.Newest()
		rev := commitWrites(t, store, writes)
		free := untouched(clock, 3, slices.Collect(maps.Keys(writes))...)
		for p := range writes {
			for what, stripe := range touches(clock, p) {
				for e := datastore.Revision(0); e <= before; e++ {
					wantClock(t, store, what, datastore.Footprint{stripe}, e, rev, false)
					wantClock(t, store, what, datastore.Footprint{stripe}, rev, e, false)
				}
				wantClock(t, store, what+", as one of many reads", append(slices.Clone(free), stripe), before, rev, false)
				wantClock(t, store, what, datastore.Footprint{stripe}, rev, rev, true)
			}
		}
	}
}

func clockUnchanged(t *testing.T, s suite) {
	store, now := s.withClock(t)
	commits := clockWrites()
	var written []datastore.Path
	for _, writes := range commits {
		written = slices.AppendSeq(written, maps.Keys(writes))
	}
	free := untouched(store.Clock(), 20, written...)
	check := func() {
		for e := range store.Newest() + 1 {
			for v := range store.Newest() + 1 {
				wantClock(t, store, "what was never written", free, e, v, true)
				wantClock(t, store, "nothing at all", nil, e, v, true)
			}
		}
	}
	check()
	for _, writes := range commits {
		commitWrites(t, store, writes)
		check()
	}
	// What the store commits for itself changes nothing that anybody can read.
	now.advance(2 * time.Hour)
	if err := store.DiscardHistory(t.Context()); err != nil {
		t.Fatalf("discard: %v", err)
	}
	check()
}

func clockReopened(t *testing.T, s suite) {
	dir, now := t.TempDir(), newClock()
	store := s.reopen(t, dir, now)
	for _, writes := range clockWrites() {
		commitWrites(t, store, writes)
	}
	opened := store.Newest()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	store = s.reopen(t, dir, now)
	t.Cleanup(func() { _ = store.Close() })
	if store.Newest() != opened {
		t.Fatalf("opened at revision %d, want %d", store.Newest(), opened)
	}
	later := tenant.Path("written", "later")
	free := untouched(store.Clock(), 5, later)
	rev := put(t, store, later, "1")
	for e := range rev + 1 {
		viewAt(t, store, e) // the history is still there, so somebody may hold a result of it
		for v := range rev + 1 {
			wantClock(t, store, "what was not written since", free, e, v, min(e, v) >= opened)
			for what, stripe := range touches(store.Clock(), later) {
				wantClock(t, store, what, datastore.Footprint{stripe}, e, v, e == rev && v == rev)
			}
		}
	}
}

// clockMarkedFirst has readers that do nothing but wait for the next revision, and ask the clock the moment that there is
// one.
func clockMarkedFirst(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("orgs", "acme", "members", "alice")
	const commits, readers = 400, 2
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			clock := store.Clock()
			f := datastore.Footprint{clock.Point(p)}
			for seen := store.Newest(); seen < commits && !t.Failed(); {
				v := store.Newest()
				if v == seen {
					runtime.Gosched()
					continue
				}
				if clock.Unchanged(f, seen, v) {
					t.Errorf("revision %d is visible, and the clock does not know of it", v)
				}
				seen = v
			}
		})
	}
	for i := range commits {
		put(t, store, p, strconv.Itoa(i))
	}
	reading.Wait()
}

// clockConcurrent has writers that put and delete, and readers that ask the clock about revisions which they have just
// seen, and look whether it was right. A document that is absent is a reading like any other.
func clockConcurrent(t *testing.T, s suite) {
	store := s.fresh(t)
	clock := store.Clock()
	const writers, each, readers, documents = 3, 60, 3, 12
	folder := tenant.Path("folder")
	paths := make([]datastore.Path, documents)
	for i := range paths {
		paths[i] = folder.Join(strconv.Itoa(i%4), strconv.Itoa(i))
	}
	var writing, reading sync.WaitGroup
	var done atomic.Bool
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range each {
				p := paths[random.IntN(documents)]
				writes := map[datastore.Path]string{p: fmt.Sprint(w, "-", i)}
				if random.IntN(3) == 0 {
					writes[p] = ""
				}
				rev, err := store.Update(context.Background(), func(tx datastore.Tx) error { return writeAll(tx, writes) })
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
				v := store.Newest()
				for what, stripe := range touches(clock, p) {
					if clock.Unchanged(datastore.Footprint{stripe}, rev-1, v) {
						t.Errorf("%s: unchanged between %d and %d, though %d was acknowledged", what, rev-1, v, rev)
					}
				}
			}
		})
	}
	for n := range readers {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(n)))
			seen := []datastore.Revision{0}
			for !done.Load() && !t.Failed() {
				v := store.Newest()
				e := seen[random.IntN(len(seen))]
				p := paths[random.IntN(documents)]
				parent := tenant.Path(p.Segments()[:2]...)
				// Both orders are asked: a request that began earlier may meet the result of a later one.
				point := clock.Unchanged(datastore.Footprint{clock.Point(p)}, e, v) || clock.Unchanged(datastore.Footprint{clock.Point(p)}, v, e)
				below := clock.Unchanged(datastore.Footprint{clock.Below(parent)}, e, v)
				if point && stateOf(t, store, e)[p] != stateOf(t, store, v)[p] {
					t.Errorf("%q is said to be the same at %d and %d", p, e, v)
				}
				if below && !maps.Equal(belowIn(stateOf(t, store, e), parent), belowIn(stateOf(t, store, v), parent)) {
					t.Errorf("what lies below %q is said to be the same at %d and %d", parent, e, v)
				}
				if seen = append(seen, v); len(seen) > 8 {
					seen = seen[1:]
				}
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()

	// The same once more, about every pair of revisions that there has been.
	states := make([]map[datastore.Path]string, store.Newest()+1)
	for r := range states {
		states[r] = stateOf(t, store, datastore.Revision(r))
	}
	for _, p := range paths {
		for e := range states {
			for v := e; v < len(states); v++ {
				if states[e][p] != states[v][p] {
					wantClock(t, store, p.String(), datastore.Footprint{clock.Point(p)}, datastore.Revision(e), datastore.Revision(v), false)
				}
			}
		}
	}
}

// stateOf is all that the tenant has at a revision.
func stateOf(t *testing.T, store datastore.Store, r datastore.Revision) map[datastore.Path]string {
	v, err := store.ViewAt(context.Background(), r)
	if err != nil {
		t.Errorf("view at %d: %v", r, err)
		return nil
	}
	defer v.Close()
	state := make(map[datastore.Path]string)
	for f, err := range v.Scan(context.Background(), tenant.Path(), datastore.Path{}) {
		if err != nil {
			t.Errorf("scan at %d: %v", r, err)
			return nil
		}
		state[f.Path] = string(f.Value)
	}
	return state
}

func belowIn(state map[datastore.Path]string, prefix datastore.Path) map[datastore.Path]string {
	found := make(map[datastore.Path]string)
	for p, value := range state {
		if p.Below(prefix) {
			found[p] = value
		}
	}
	return found
}

// compareClock is a part of the model test: what the clock calls unchanged has the same value in the model, and was read
// when the clock was running.
func (m *machine) compareClock(t *rapid.T) {
	revision := rapid.IntRange(0, int(m.newest()))
	e, v := revision.Draw(t, "e"), revision.Draw(t, "v")
	p, prefix := anyPath.Draw(t, "get"), anyPrefix.Draw(t, "prefix")
	c := m.store.Clock()
	at := func(f datastore.Footprint) bool {
		return c.Unchanged(f, datastore.Revision(e), datastore.Revision(v))
	}
	if at(nil) && datastore.Revision(min(e, v)) < m.opened {
		t.Fatalf("the clock of a store that was opened at %d knows of %d and %d", m.opened, e, v)
	}
	if at(datastore.Footprint{c.Point(p)}) {
		before, was := m.states[e][p]
		after, is := m.states[v][p]
		if before != after || was != is {
			t.Fatalf("%q is %q at %d and %q at %d, and called unchanged", p, before, e, after, v)
		}
	}
	if at(datastore.Footprint{c.Below(prefix)}) && !maps.Equal(belowIn(m.states[e], prefix), belowIn(m.states[v], prefix)) {
		t.Fatalf("what lies below %q is not the same at %d and %d, and called unchanged", prefix, e, v)
	}
}
