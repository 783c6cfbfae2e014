// Package ratelimit counts how often something is done by each of very many, and says who must wait. It is the generic cell
// rate algorithm (ITU-T I.371): of each there is one time, at which all that it did would be paid off at the even
// rate. How far that is ahead is its debt, which the burst bounds.
//
// A Table has a fixed size. Where there is no room for somebody new, whoever has the least debt of those in the same place is
// forgotten, and nobody outside can compute which those are. So a flood of addresses that come once each displaces one
// another and those who owe little, never one that must wait: where all of a place must, who is new is not counted.
package ratelimit

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	sets  = 1 << 14
	ways  = 4
	locks = 256
)

// Table holds the debts of up to 65536 keys under one limit, in 1 MiB. It is safe for concurrent use.
type Table struct {
	interval, window int64 // nanoseconds
	seed             maphash.Seed
	sets             [][ways]debt
	locks            [locks]lock // of the sets that have the number modulo their count
}

// debt is when a key, known by its keyed hash, owes nothing any more: the theoretical arrival time of the algorithm, in
// nanoseconds since 1970.
type debt struct {
	key   uint64
	until int64
}

// lock has a cache line of its own.
type lock struct {
	sync.Mutex
	_ [56]byte
}

// NewTable makes a table for a limit, which must be one.
func NewTable(l Limit) *Table {
	return &Table{interval: int64(l.interval()), window: int64(l.Window()), seed: maphash.MakeSeed(), sets: make([][ways]debt, sets)}
}

// Result is what became of one attempt.
type Result struct {
	Allowed    bool
	Remaining  int           // more that may be done at once
	RetryAfter time.Duration // until one may be done, when it is not now
	Reset      time.Duration // until the whole burst may be done again
}

// Take counts one attempt of the key, unless it must wait: what is refused costs nothing.
func (t *Table) Take(key []byte, now time.Time) Result {
	hash := maphash.Bytes(t.seed, key)
	set := hash % sets
	lock := &t.locks[set%locks]
	lock.Lock()
	defer lock.Unlock()
	return t.take(&t.sets[set], hash, now.UnixNano())
}

func (t *Table) take(set *[ways]debt, key uint64, now int64) Result {
	d := &set[0]
	for i := range set {
		if set[i].key == key {
			d = &set[i]
			break
		}
		if set[i].until < d.until {
			d = &set[i]
		}
	}
	var owed int64
	if d.key == key {
		d.until = min(d.until, now+t.window) // the clock may have been set back
		owed = max(d.until-now, 0)
	}
	if wait := owed + t.interval - t.window; wait > 0 {
		return Result{RetryAfter: time.Duration(wait), Reset: time.Duration(owed)}
	}
	displaces := d.key != key && d.until-now+t.interval > t.window
	owed += t.interval
	if !displaces { // one that must wait goes on waiting, and who is new is not counted
		*d = debt{key, now + owed}
	}
	return Result{Allowed: true, Remaining: int((t.window - owed) / t.interval), Reset: time.Duration(owed)}
}
