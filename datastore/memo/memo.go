// Package memo remembers what was computed from the facts of a store, for exactly as long as computing it again would
// come to the same. There is no time to live: a result is used again when nothing that it has read has changed since
// (datastore.Clock has the argument), and not a moment beyond the time until which it said that it holds.
//
// Everybody computes through a Reading, which notes what a computation rests on, so that nothing can be forgotten.
// Computations nest: what the outer one gets from an inner one, remembered or not, it rests on as well.
//
// It must never return what another key, tenant or type was remembered under, keep more than its bound, or keep
// a secret: keys are digests.
package memo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"mandate/datastore"
)

// Key names a question: two questions with one key are the same.
type Key [sha256.Size]byte

// KeyOf is the key of a question, put together by Part. A question on the stack costs no allocation.
func KeyOf(question []byte) Key { return sha256.Sum256(question) }

// Part appends a part to a question. It counts with its length, so that no two lists of parts make the same question.
func Part[T ~string | ~[]byte](question []byte, part T) []byte {
	return append(binary.AppendUvarint(question, uint64(len(part))), part...)
}

// Clock is that of the store that is read.
type Clock interface {
	Point(p datastore.Path) datastore.Stripe
	Below(prefix datastore.Path) datastore.Stripe
	Unchanged(f datastore.Footprint, e, v datastore.Revision) bool
}

// Options of a Memo.
type Options struct {
	// Bytes bounds the memory for what is remembered. Nothing is when it is zero.
	Bytes int64
	// Now is the time that results are valid until; time.Now when nil.
	Now func() time.Time
	// Clock is one of the store's past, where that is read, or for tests of what a broken one would do; the store's own when nil.
	Clock Clock
}

// Memo remembers results. It is safe for concurrent use.
type Memo struct {
	store  datastore.Store
	clock  Clock
	now    func() time.Time
	bytes  int64
	shards [shardCount]shard

	requests sync.Pool
}

const shardCount = 64

// New makes a Memo of what is computed from the store.
func New(store datastore.Store, o Options) *Memo {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Clock == nil {
		o.Clock = store.Clock()
	}
	m := &Memo{store: store, clock: o.Clock, now: o.Now, bytes: o.Bytes}
	for i := range m.shards {
		m.shards[i].init(o.Bytes / shardCount)
	}
	return m
}

// JSONBytes is about how much memory a JSON text takes once it is parsed, at the worst of what it could hold.
func JSONBytes(text []byte) int {
	values := bytes.Count(text, []byte(",")) + bytes.Count(text, []byte(":")) + 1
	containers := bytes.Count(text, []byte("{")) + bytes.Count(text, []byte("["))
	return 3*len(text) + 120*values + 240*containers
}

// Sized is a result that knows about how much memory it takes, with all that it alone refers to.
type Sized interface{ Bytes() int }

// Table remembers results of one type. All tables of a Memo share its memory; Kind keeps their questions apart.
type Table[V Sized] struct{ Kind string }

// Ask begins a question to this table, in the memory given.
func (t Table[V]) Ask(memory []byte) []byte { return Part(memory[:0], t.Kind) }

// Get returns the result for the key as of r: the one remembered, if that is certain to be the one that compute would
// return, else that of compute, which must depend on nothing but the key, the policies and configuration that the key
// names, and what it reads through the Reading that it is given. Errors are never remembered. The result is
// shared: nobody may change it.
func (t Table[V]) Get(r *Reading, key Key, compute func(*Reading) (V, error)) (V, error) {
	m := r.memo
	if m == nil || m.bytes == 0 {
		return compute(r)
	}
	if e := m.recall(&key, r.rev); e != nil {
		if value, ok := e.value.(V); ok {
			r.restOn(e.footprint, e.until, false)
			return value, nil
		}
	}
	return t.computed(r, key, compute)
}

// computed is apart from Get so that a result that is remembered costs no allocation.
func (Table[V]) computed(r *Reading, key Key, compute func(*Reading) (V, error)) (V, error) {
	inner := &Reading{request: r.request, noting: true, until: math.MaxInt64}
	value, err := compute(inner)
	r.restOn(inner.footprint, inner.until, inner.volatile)
	if err == nil && !inner.volatile {
		r.memo.remember(&entry{key: key, value: value, footprint: inner.compact(), until: inner.until}, r.rev, value.Bytes())
	}
	return value, err
}

// recall returns the entry under the key when it holds at revision v, and counts its use.
func (m *Memo) recall(key *Key, v datastore.Revision) *entry {
	s := m.shardOf(key)
	e := s.find(key)
	if e == nil {
		s.misses.Add(1)
		return nil
	}
	if !e.holdsAt(v, m.clock) || (e.until != math.MaxInt64 && m.now().UnixNano() >= e.until) {
		if datastore.Revision(e.at.Load()) <= v { // else it is newer than this request, and good for others
			s.forget(e)
		}
		s.misses.Add(1)
		return nil
	}
	s.hits.Add(1)
	e.use()
	return e
}

// holdsAt says whether the result is certain to be that of revision v. Where that was found once it stays so, as it
// says nothing about the present: hence at grows.
func (e *entry) holdsAt(v datastore.Revision, clock Clock) bool {
	at := e.at.Load()
	if datastore.Revision(at) == v {
		return true
	}
	if !clock.Unchanged(e.footprint, datastore.Revision(at), v) {
		return false
	}
	if datastore.Revision(at) < v {
		e.at.CompareAndSwap(at, uint64(v))
	}
	return true
}

// remember keeps the entry, which was computed at revision at, if it deserves room.
func (m *Memo) remember(e *entry, at datastore.Revision, bytes int) {
	e.at.Store(uint64(at))
	e.size = int64(entryBytes + 4*len(e.footprint) + bytes)
	m.shardOf(&e.key).add(e)
}

func (m *Memo) shardOf(key *Key) *shard { return &m.shards[key[0]%shardCount] }

// entry is a result and what it rests on.
type entry struct {
	// What a hit looks at comes first, so that it is fetched together.
	at        atomic.Uint64 // a revision at which it is the result: that of its computation, or a later one
	until     int64         // nanoseconds since 1970; math.MaxInt64: for ever
	value     any
	uses      atomic.Uint32
	footprint datastore.Footprint

	key        Key
	size       int64
	queue      *queue
	prev, next *entry
}

// Stats says what a Memo holds and what it was good for since it was made.
type Stats struct {
	Entries, Bytes     int64
	Hits, Misses       uint64
	Changed, Displaced uint64 // entries forgotten because something had changed, and to make room
}

// Stats adds up what the parts of the memory say, each at its own instant.
func (m *Memo) Stats() Stats {
	var all Stats
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		all.Entries += int64(len(s.entries))
		all.Bytes += s.fresh.bytes + s.main.bytes
		s.mu.RUnlock()
		all.Hits += s.hits.Load()
		all.Misses += s.misses.Load()
		all.Changed += s.changes.Load()
		all.Displaced += s.evictions.Load()
	}
	return all
}
