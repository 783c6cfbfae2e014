package datastore

import (
	"hash/maphash"
	"sync/atomic"
)

// Clock tells whether what somebody has read from a store has changed since. Each path, and each prefix that can be
// scanned, has a stripe: the newest revision of a commit that touches it. A commit touches the paths that it writes and
// all prefixes above them. Paths may share a stripe by chance, which can only make something look changed that is not.
//
// A store does this for a commit with revision r, in this order:
//
//  1. it marks the stripes of everything that the commit touches with r: from here on they are pending, for r is newer
//     than any view;
//  2. it makes the commit durable and visible;
//  3. it publishes r, after which views begin at r: the marks are now the stamps of a commit that can be seen;
//  4. it acknowledges the commit.
//
// Then a result that was computed from a view at revision e is also the result at revision v, both published, if no
// stripe of its footprint is newer than min(e, v). For suppose that it were not: then something that it has read differs
// between e and v, so there is a commit c with min(e, v) < c <= max(e, v) that touches a path or prefix of the footprint.
// As c is not newer than a published revision, step 1 of c is over, and the stripe is at least c, thus newer than
// min(e, v). A commit that is still between 1 and 3 is newer than both e and v: it makes results look changed a
// little early, never late. And since a commit is acknowledged only after it was published, whoever asks
// after the acknowledgement has a view that begins at it or later, and meets its mark.
type Clock struct {
	seed  maphash.Seed // nobody outside can choose ids that share a stripe
	since Revision     // when this clock began: of what came before it knows nothing
	table []atomic.Uint64
	// groups has the newest revision of each group of stripes. It is small enough to stay close to the processor, and
	// most stripes of a footprint belong to groups in which nothing has changed lately.
	groups []atomic.Uint64
}

// stripes is how many there are: at 8 MiB few paths share one, and pages that are never touched cost nothing.
const stripes = 1 << 20

// grouped is how many stripes have one group.
const grouped = 128

// Stripe is a place in a Clock's table.
type Stripe uint32

// Footprint is what a result rests on: the stripes of all paths that were read, those without a document included, and of
// all prefixes that were scanned.
type Footprint []Stripe

// NewClock makes the clock of a store whose newest revision is since.
func NewClock(since Revision) *Clock {
	return &Clock{seed: maphash.MakeSeed(), since: since, table: make([]atomic.Uint64, stripes), groups: make([]atomic.Uint64, stripes/grouped)}
}

// Point is the stripe of reading the document at p.
func (c *Clock) Point(p Path) Stripe { return c.stripe(p.key) }

// Below is the stripe of scanning what lies below prefix. The slash keeps it apart from the document at prefix.
func (c *Clock) Below(prefix Path) Stripe { return c.stripe(prefix.key + "/") }

func (c *Clock) stripe(key string) Stripe {
	return Stripe(maphash.String(c.seed, key) % stripes)
}

// Mark is for stores: it says that the commit with revision r makes these writes. It must be called by one goroutine at
// a time, with growing revisions, before anybody can see the commit.
func (c *Clock) Mark(r Revision, writes []Write) {
	for _, w := range writes {
		key := w.Path.key
		c.mark(r, c.stripe(key))
		for i := range len(key) {
			if key[i] == '/' {
				c.mark(r, c.stripe(key[:i+1]))
			}
		}
	}
}

func (c *Clock) mark(r Revision, s Stripe) {
	c.table[s].Store(uint64(r))
	c.groups[s/grouped].Store(uint64(r))
}

// Unchanged says whether a result with this footprint, computed at revision e, is certainly the result at revision v.
func (c *Clock) Unchanged(f Footprint, e, v Revision) bool {
	oldest := min(e, v)
	if oldest < c.since {
		return false
	}
	for _, s := range f {
		if Revision(c.groups[s/grouped].Load()) > oldest && Revision(c.table[s].Load()) > oldest {
			return false
		}
	}
	return true
}
