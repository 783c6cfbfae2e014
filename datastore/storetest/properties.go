package storetest

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mandate/datastore"
)

var modelTests = []test{{"like a list of maps", model}}

// model compares the store with the simplest thing that keeps the contract: for each revision a whole map.
func model(t *testing.T, s suite) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatalf("%v", err)
		}
		m := &machine{suite: s, dir: dir, clock: newClock(), states: []map[datastore.Path]string{{}}}
		m.store = s.reopen(rt, dir, m.clock)
		defer func() {
			if err := m.store.Close(); err != nil {
				rt.Fatalf("close: %v", err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"update":  m.update,
			"look":    m.look,
			"clock":   m.compareClock,
			"watch":   m.watch,
			"discard": m.discard,
			"reopen":  m.reopen,
		})
	})
}

type machine struct {
	suite  suite
	dir    string
	clock  *clock
	store  Store
	states []map[datastore.Path]string // by revision
	times  []time.Time                 // of the revisions from 1 on
	floor  datastore.Revision          // at least these are gone
	opened datastore.Revision          // the newest when the store was opened last
	wrote  []map[datastore.Path]bool   // by revision from 1 on: the paths, true when deleted
}

var (
	anyPath = rapid.Custom(func(t *rapid.T) datastore.Path {
		segment := rapid.SampledFrom([]string{"a", "b", "a-", "a/", "~", "\x00", "😀"})
		return tenant.Path(rapid.SliceOfN(segment, 1, 3).Draw(t, "segments")...)
	})
	anyPrefix = rapid.Custom(func(t *rapid.T) datastore.Path {
		if rapid.Bool().Draw(t, "root") {
			return tenant.Path()
		}
		return anyPath.Draw(t, "prefix")
	})
	anyAfter = rapid.Custom(func(t *rapid.T) datastore.Path {
		if rapid.Bool().Draw(t, "start") {
			return datastore.Path{}
		}
		return anyPath.Draw(t, "after")
	})
)

func (m *machine) newest() datastore.Revision { return datastore.Revision(len(m.states) - 1) }

func (m *machine) update(t *rapid.T) {
	m.clock.advance(time.Duration(rapid.IntRange(0, 40).Draw(t, "minutes")) * time.Minute)
	state := maps.Clone(m.states[m.newest()])
	wrote := make(map[datastore.Path]bool)
	fails := rapid.IntRange(0, 9).Draw(t, "fails") == 0
	failure := errors.New("wanted")
	rev, err := m.store.Update(t.Context(), func(tx datastore.Tx) error {
		if tx.Revision() != m.newest() {
			t.Fatalf("the transaction is at %d, want %d", tx.Revision(), m.newest())
		}
		for range rapid.IntRange(0, 6).Draw(t, "operations") {
			p := anyPath.Draw(t, "path")
			switch rapid.SampledFrom([]string{"put", "put", "delete", "read"}).Draw(t, "operation") {
			case "put":
				value := rapid.StringN(0, 5, 20).Draw(t, "value")
				if err := tx.Put(p, []byte(value)); err != nil {
					return err
				}
				state[p], wrote[p] = value, false
			case "delete":
				if err := tx.Delete(p); err != nil {
					return err
				}
				delete(state, p)
				wrote[p] = true
			case "read":
				m.compare(t, tx, state)
			}
		}
		if fails {
			return failure
		}
		return nil
	})
	switch {
	case fails:
		if !errors.Is(err, failure) {
			t.Fatalf("got %v, want the error of fn", err)
		}
	case err != nil:
		t.Fatalf("update: %v", err)
	case len(wrote) == 0:
		if rev != m.newest() {
			t.Fatalf("without writes the revision is %d, want %d", rev, m.newest())
		}
	default:
		m.committed(state, wrote)
		if rev != m.newest() {
			t.Fatalf("the revision is %d, want %d", rev, m.newest())
		}
	}
}

func (m *machine) committed(state map[datastore.Path]string, wrote map[datastore.Path]bool) {
	m.states = append(m.states, state)
	m.wrote = append(m.wrote, wrote)
	m.times = append(m.times, m.clock.Now())
}

// compare reads one document and one range.
func (m *machine) compare(t *rapid.T, r datastore.Reader, state map[datastore.Path]string) {
	p := anyPath.Draw(t, "get")
	value, err := r.Get(t.Context(), p)
	want, ok := state[p]
	switch {
	case ok && (err != nil || string(value) != want):
		t.Fatalf("revision %d, %q: got %q, %v, want %q", r.Revision(), p, value, err, want)
	case !ok && !errors.Is(err, datastore.ErrNotFound):
		t.Fatalf("revision %d, %q: got %q, %v, want nothing", r.Revision(), p, value, err)
	}

	prefix, after := anyPrefix.Draw(t, "prefix"), anyAfter.Draw(t, "after")
	var wanted []string
	for p := range state {
		if p.Below(prefix) && p.Key() > after.Key() {
			wanted = append(wanted, p.Key())
		}
	}
	slices.Sort(wanted)
	limit := rapid.IntRange(1, 8).Draw(t, "limit")
	wanted = wanted[:min(limit, len(wanted))]
	var got []string
	for f, err := range r.Scan(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		if state[f.Path] != string(f.Value) {
			t.Fatalf("revision %d: the scan has %q=%q, want %q", r.Revision(), f.Path, f.Value, state[f.Path])
		}
		if got = append(got, f.Path.Key()); len(got) == limit {
			break
		}
	}
	if !slices.Equal(got, wanted) {
		t.Fatalf("revision %d: the scan of %q after %q has %q, want %q", r.Revision(), prefix, after, got, wanted)
	}
}

func (m *machine) look(t *rapid.T) {
	at := datastore.Revision(rapid.IntRange(0, int(m.newest())).Draw(t, "revision"))
	v, err := m.store.ViewAt(t.Context(), at)
	if at < m.floor {
		if !errors.Is(err, datastore.ErrRevisionGone) {
			t.Fatalf("view at %d, with %d the oldest: %v", at, m.floor, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("view at %d, with %d the oldest: %v", at, m.floor, err)
	}
	defer v.Close()
	m.compare(t, v, m.states[at])
}

func (m *machine) watch(t *rapid.T) {
	after := datastore.Revision(rapid.IntRange(int(m.floor), int(m.newest())).Draw(t, "after"))
	if after == m.newest() {
		return
	}
	for c, err := range m.store.Watch(t.Context(), after) {
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if after++; c.Revision != after {
			t.Fatalf("revision %d comes after %d", c.Revision, after-1)
		}
		got := make(map[datastore.Path]bool)
		for _, w := range c.Writes {
			got[w.Path] = w.Deleted
		}
		if want := m.wrote[after-1]; len(c.Writes) != len(want) || !maps.Equal(got, want) {
			t.Fatalf("revision %d wrote %v, want %v", after, c.Writes, want)
		}
		if !c.Time.Equal(m.times[after-1]) {
			t.Fatalf("revision %d was committed at %v, want %v", after, c.Time, m.times[after-1])
		}
		if after == m.newest() {
			return
		}
	}
}

// discard lets the store make as many revisions as it likes for itself. They change nothing.
func (m *machine) discard(t *rapid.T) {
	if err := m.store.DiscardHistory(t.Context()); err != nil {
		t.Fatalf("discard: %v", err)
	}
	v, err := m.store.View(t.Context())
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Close()
	for m.newest() < v.Revision() {
		m.committed(m.states[m.newest()], nil)
	}
	m.compare(t, v, m.states[m.newest()])
	cutoff := m.clock.Now().Add(-time.Hour)
	expired := m.floor
	for r := m.floor + 1; r <= m.newest() && !m.times[r-1].After(cutoff); r++ {
		expired = r
	}
	// A store may keep more than it must, so what it has given up is found by asking.
	for m.floor < expired {
		old, err := m.store.ViewAt(t.Context(), m.floor)
		if err == nil {
			old.Close()
			break
		}
		if !errors.Is(err, datastore.ErrRevisionGone) {
			t.Fatalf("view at %d: %v", m.floor, err)
		}
		m.floor++
	}
}

func (m *machine) reopen(t *rapid.T) {
	if err := m.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	m.store = m.suite.reopen(t, m.dir, m.clock)
	m.opened = m.newest()
	v, err := m.store.View(t.Context())
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Close()
	if v.Revision() != m.newest() {
		t.Fatalf("opened at %d, want %d", v.Revision(), m.newest())
	}
	m.compare(t, v, m.states[m.newest()])
}
