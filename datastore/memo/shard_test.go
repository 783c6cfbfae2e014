package memo

import (
	"encoding/binary"
	"math"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"mandate/datastore"
)

// blob is a result that says exactly what it takes.
type blob struct{ data []byte }

func (b *blob) Bytes() int { return 24 + cap(b.data) }

func blobs() Table[*blob] { return Table[*blob]{Kind: "blob"} }

func blobKey(n int) Key {
	return KeyOf(binary.AppendUvarint(blobs().Ask(nil), uint64(n)))
}

// useBlob asks for the n-th blob, which rests on so many stripes, and says whether it was remembered.
func (f *fixture) useBlob(n, size, stripes int) (hit bool) {
	hit = true
	f.during(func(r *Reading) {
		_, _ = blobs().Get(r, blobKey(n), func(r *Reading) (*blob, error) {
			hit = false
			for i := range stripes {
				r.note(datastore.Stripe(n*stripes + i))
			}
			return &blob{make([]byte, size)}, nil
		})
	})
	return hit
}

// liveHeap is what is allocated and still in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool held goes with the second
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// The memory that results take, with everything that is kept about them, is what was allowed: also when far more of them
// come than there is room for, and none of them a second time.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("fills much memory")
	}
	const bound = 16 << 20
	type filling struct{ size, stripes int }
	for _, row := range []struct {
		what  string
		fills []filling
	}{
		{"small results", []filling{{100, 4}}},
		{"the smallest results", []filling{{8, 1}}},
		{"results of 1 KiB", []filling{{1 << 10, 8}}},
		{"results with large footprints", []filling{{200, 500}}},
		{"large results", []filling{{32 << 10, 16}}},
		{"large ones after small ones", []filling{{100, 4}, {8 << 10, 16}}},
		{"small ones after large ones", []filling{{8 << 10, 16}, {100, 4}}},
	} {
		t.Run(row.what, func(t *testing.T) {
			f := remembering(t, bound)
			before := liveHeap()
			n := 0
			for _, fill := range row.fills {
				for passed := 0; passed < 4*bound; passed += fill.size + 4*fill.stripes + entryBytes {
					f.useBlob(n, fill.size, fill.stripes)
					n++
				}
			}
			grown := liveHeap() - before
			s := f.Stats()
			t.Logf("%d results, of which %d are kept: %.1f MiB by count, %.1f MiB of heap, bound %.1f MiB",
				n, s.Entries, float64(s.Bytes)/(1<<20), float64(grown)/(1<<20), float64(bound)/(1<<20))
			if s.Bytes > bound || s.Bytes < bound*8/10 {
				t.Errorf("%d bytes are counted, the bound is %d", s.Bytes, bound)
			}
			if most := int64(bound*115/100 + 1<<20); grown > most {
				t.Errorf("the heap has grown by %d bytes, want %d at most", grown, most)
			}
			runtime.KeepAlive(f)
		})
	}
}

// What is used again and again stays while ten times the memory passes through in results that nobody asks for twice.
func TestFloodDisplacesNothing(t *testing.T) {
	const bound, size, stripes = 8 << 20, 100, 4
	const capacity = bound / (size + 24 + 4*stripes + entryBytes)
	for _, row := range []struct {
		what    string
		working int // how many results are used again
		pause   int // how many others pass between two uses of any of them
	}{
		{"a tenth of the memory", capacity / 10, 10},
		{"half of the memory", capacity / 2, 4},
		{"most of the memory", capacity * 3 / 4, 2},
	} {
		t.Run(row.what, func(t *testing.T) {
			f := remembering(t, bound)
			next := row.working
			flood := func(n int) {
				for range n {
					f.useBlob(next, size, stripes)
					next++
				}
			}
			// The working set is known before the flood begins.
			for range 3 {
				for i := range row.working {
					f.useBlob(i, size, stripes)
				}
			}
			hits, uses := 0, 0
			for i := 0; next < row.working+10*capacity; i = (i + 1) % row.working {
				flood(row.pause)
				uses++
				if f.useBlob(i, size, stripes) {
					hits++
				}
			}
			if rate := float64(hits) / float64(uses); rate < 0.95 {
				t.Errorf("of %d uses %.1f %% were remembered, want 95 %%", uses, 100*rate)
			} else {
				t.Logf("of %d uses %.1f %% were remembered", uses, 100*rate)
			}
		})
	}
}

// A result that is remembered costs no allocation.
func TestHitsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	f := remembering(t, 1<<20)
	p := tenant.Path("a")
	compute := func(r *Reading) (text, error) { return documentAt(r, p) }
	ask := func() {
		r := f.Begin()
		defer r.End()
		var memory [256]byte
		if _, err := texts().Get(r, KeyOf(Part(texts().Ask(memory[:]), "question")), compute); err != nil {
			t.Error(err)
		}
	}
	ask()
	if n := testing.AllocsPerRun(1000, ask); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
	if s := f.Stats(); s.Misses != 1 {
		t.Errorf("%+v", s)
	}
}

// One result never takes more than a part of the memory.
func TestOversizedResults(t *testing.T) {
	f := remembering(t, 64*40_000)
	for range 2 {
		if f.useBlob(1, 20_000, 1) {
			t.Error("half a shard was given to one result")
		}
	}
	f.useBlob(2, 8_000, 1)
	if !f.useBlob(2, 8_000, 1) {
		t.Error("a fifth of a shard was not given to one result")
	}
}

// The shard is compared with a map of what was added last. What it evicts is its own affair, what it answers is not.
func TestShardLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &shardModel{last: make(map[Key]*entry)}
		m.init(int64(rapid.IntRange(1000, 20_000).Draw(t, "limit")))
		t.Repeat(map[string]func(*rapid.T){
			"":       func(t *rapid.T) { m.check(t) },
			"add":    m.addOne,
			"use":    m.useOne,
			"forget": m.forgetOne,
		})
	})
}

type shardModel struct {
	shard
	last    map[Key]*entry // for each key what was added last: by revision, then by time
	old     []*entry       // all that were ever added
	highest int            // number of entries at once
}

func anyKey(t *rapid.T) Key { return blobKey(rapid.IntRange(0, 40).Draw(t, "key")) }

func (m *shardModel) addOne(t *rapid.T) {
	e := &entry{key: anyKey(t), until: math.MaxInt64, size: int64(rapid.IntRange(1, int(m.limit)/3).Draw(t, "size"))}
	e.at.Store(uint64(rapid.IntRange(1, 5).Draw(t, "revision")))
	present := m.find(&e.key)
	m.add(e)
	m.old = append(m.old, e)
	switch {
	case e.size > m.limit/4, present != nil && present.at.Load() > e.at.Load():
		if m.find(&e.key) != present {
			t.Fatal("what was there is gone, for one that does not deserve its place")
		}
	default:
		m.last[e.key] = e
	}
}

func (m *shardModel) useOne(t *rapid.T) {
	key := anyKey(t)
	e := m.find(&key)
	if e == nil {
		return
	}
	if e != m.last[key] {
		t.Fatal("it was not added last")
	}
	e.use()
}

// forgetOne forgets an entry that somebody has found at some time, and that may have been replaced since.
func (m *shardModel) forgetOne(t *rapid.T) {
	if len(m.old) == 0 {
		return
	}
	e := rapid.SampledFrom(m.old).Draw(t, "entry")
	present := m.find(&e.key)
	m.forget(e)
	switch left := m.find(&e.key); {
	case present == e && left != nil:
		t.Fatal("it is still there")
	case present != e && left != present:
		t.Fatal("another one is gone")
	}
}

func (m *shardModel) check(t interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}) {
	found := make(map[Key]bool)
	for name, q := range map[string]*queue{"fresh": &m.fresh, "main": &m.main} {
		bytes := int64(0)
		var previous *entry
		for e := q.first; e != nil; previous, e = e, e.next {
			if e.prev != previous || e.queue != q || found[e.key] || m.entries[e.key] != e || m.last[e.key] != e {
				t.Fatalf("the queue %s and the map do not agree", name)
			}
			found[e.key] = true
			bytes += e.size
		}
		if q.last != previous || q.bytes != bytes {
			t.Fatalf("the queue %s counts %d bytes, and has %d", name, q.bytes, bytes)
		}
	}
	if len(found) != len(m.entries) {
		t.Fatalf("%d entries are in a queue, %d in the map", len(found), len(m.entries))
	}
	if m.fresh.bytes+m.main.bytes > m.limit {
		t.Fatalf("%d bytes are kept, the limit is %d", m.fresh.bytes+m.main.bytes, m.limit)
	}
	m.highest = max(m.highest, len(m.entries))
	if n := len(m.evicted.order); n != len(m.evicted.known) || n > m.highest+1 {
		t.Fatalf("%d keys are remembered as %d after their eviction, there were %d at once", n, len(m.evicted.known), m.highest)
	}
	for key, e := range m.last {
		if got := m.find(&key); got != nil && got != e {
			t.Fatal("it was not added last")
		}
	}
}

// With room for all, nothing is ever evicted, and the oldest uses are as good as the newest.
func TestShardKeepsWhatFits(t *testing.T) {
	f := remembering(t, 4<<20)
	const n = 4000
	for range 2 {
		for i := range n {
			f.useBlob(i, 100, 2)
		}
	}
	s := f.Stats()
	if s.Entries != n || s.Hits != n || s.Misses != n || s.Displaced != 0 {
		t.Errorf("%+v", s)
	}
}

// When large entries take the place of many small ones, the maps are made anew, and know what the old ones knew.
func TestMapsShrink(t *testing.T) {
	m := &shardModel{last: make(map[Key]*entry)}
	m.init(1000 * entryBytes)
	add := func(n int, size int64) {
		e := &entry{key: blobKey(n), until: math.MaxInt64, size: size}
		m.last[e.key] = e
		m.add(e)
		m.check(t)
	}
	for n := range 1500 {
		add(n, entryBytes)
	}
	for n := 2000; n < 2100; n++ {
		add(n, 50*entryBytes)
	}
	if m.most > 100 || len(m.entries) > 20 {
		t.Errorf("the maps are made for %d entries, there are %d", m.most, len(m.entries))
	}
}

// What was displaced and comes again soon has proved its worth.
func TestDisplacedEntriesComeBackToStay(t *testing.T) {
	var s shard
	s.init(10_000)
	add := func(name string) *entry {
		e := &entry{key: keyOf(name), until: math.MaxInt64, size: 500}
		s.add(e)
		return e
	}
	add("wanted")
	for i := 0; s.find(new(keyOf("wanted"))) != nil; i++ {
		add("other " + strconv.Itoa(i))
	}
	if e := add("wanted"); e.queue != &s.main {
		t.Error("it waits with those that nobody has asked for before")
	}
	if !slices.Contains(s.evicted.order, binary.LittleEndian.Uint64(new(keyOf("other 0"))[8:])) {
		t.Error("the next one that was displaced is not known")
	}
}
