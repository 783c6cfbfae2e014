package memo

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// entryBytes is what an entry takes besides its value and footprint: itself, its place in the map, and what is
// remembered of it once it is evicted. TestMemoryIsBounded measures it.
const entryBytes = 320

// maxUses is as far as uses are counted: what was popular must not stay long after.
const maxUses = 3

// shard is a part of the memory with a lock of its own. It evicts by S3-FIFO (Yang et al., SOSP 2023): what is new
// waits in a small queue, and only what was used by the time that its turn comes goes on to the main one. So a flood of
// keys that nobody asks for twice passes through a tenth of the memory and displaces nothing. What comes again
// soon after it was evicted from the small queue goes to the main one at once.
type shard struct {
	limit int64

	mu      sync.RWMutex
	entries map[Key]*entry
	fresh   queue
	main    queue
	evicted ghosts
	most    int // entries at once since the maps were made

	hits, misses, evictions, changes atomic.Uint64
}

func (s *shard) init(limit int64) {
	s.limit = limit
	s.entries = make(map[Key]*entry)
	s.evicted.known = make(map[uint64]struct{})
}

func (s *shard) find(key *Key) *entry {
	s.mu.RLock()
	e := s.entries[*key]
	s.mu.RUnlock()
	return e
}

func (e *entry) use() {
	if n := e.uses.Load(); n < maxUses {
		e.uses.Store(n + 1) // a count lost to another one is no matter
	}
}

// add puts e in the place of what was there.
func (s *shard) add(e *entry) {
	if e.size > s.limit/4 {
		return // one entry must not displace all others
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := &s.fresh
	if old := s.entries[e.key]; old != nil {
		if old.at.Load() > e.at.Load() {
			return
		}
		to = old.queue
		e.uses.Store(old.uses.Load())
		s.remove(old)
	} else if s.evicted.take(e.key) {
		to = &s.main
	}
	s.entries[e.key] = e
	to.push(e)
	s.most = max(s.most, len(s.entries))
	for s.fresh.bytes+s.main.bytes > s.limit {
		s.evict()
	}
	s.shrink()
}

// shrink makes the maps anew when few large entries have taken the place of many small ones, for a map keeps the memory
// that it once had.
func (s *shard) shrink() {
	if s.most < 64 || len(s.entries) > s.most/4 {
		return
	}
	s.most = len(s.entries)
	entries := make(map[Key]*entry, s.most)
	maps.Copy(entries, s.entries)
	s.entries = entries
	known := make(map[uint64]struct{}, len(s.evicted.order))
	for _, id := range s.evicted.order {
		known[id] = struct{}{}
	}
	s.evicted = ghosts{known: known, order: slices.Clone(s.evicted.order)}
}

// evict removes an entry, or moves one on.
func (s *shard) evict() {
	if e := s.fresh.first; e != nil && (s.fresh.bytes > s.limit/10 || s.main.first == nil) {
		s.fresh.cut(e)
		if e.uses.Load() > 0 {
			e.uses.Store(0)
			s.main.push(e)
			return
		}
		delete(s.entries, e.key)
		s.evicted.put(e.key, len(s.entries))
		s.evictions.Add(1)
		return
	}
	e := s.main.first
	s.main.cut(e)
	if n := e.uses.Load(); n > 0 {
		e.uses.Store(n - 1)
		s.main.push(e)
		return
	}
	delete(s.entries, e.key)
	s.evictions.Add(1)
}

// forget removes e, unless another entry has taken its place.
func (s *shard) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.key] == e {
		s.remove(e)
		s.changes.Add(1)
	}
}

func (s *shard) remove(e *entry) {
	e.queue.cut(e)
	delete(s.entries, e.key)
}

// queue is a doubly linked list of entries, the oldest first.
type queue struct {
	first, last *entry
	bytes       int64
}

func (q *queue) push(e *entry) {
	e.queue, e.prev, e.next = q, q.last, nil
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	q.bytes += e.size
}

func (q *queue) cut(e *entry) {
	if e.prev == nil {
		q.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		q.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.queue, e.prev, e.next = nil, nil, nil
	q.bytes -= e.size
}

// ghosts are the keys that were evicted lately, by a part of them: to take one for another costs nothing but its place.
type ghosts struct {
	known map[uint64]struct{}
	order []uint64
}

// put adds a key and keeps about as many as there are entries.
func (g *ghosts) put(k Key, entries int) {
	id := binary.LittleEndian.Uint64(k[8:])
	if _, ok := g.known[id]; !ok {
		g.known[id] = struct{}{}
		g.order = append(g.order, id)
	}
	for len(g.order) > entries+1 {
		delete(g.known, g.order[0])
		g.order = g.order[1:]
	}
}

// take says whether the key was evicted lately.
func (g *ghosts) take(k Key) bool {
	_, ok := g.known[binary.LittleEndian.Uint64(k[8:])]
	return ok
}
