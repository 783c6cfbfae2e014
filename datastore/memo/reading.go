package memo

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"mandate/datastore"
)

// maxFootprint bounds what is noted: a result that rests on more is not remembered.
const maxFootprint = 4096

// Reading reads the facts of one request, all at one revision, and notes what it reads. It is used by one goroutine.
type Reading struct {
	*request
	noting    bool
	footprint datastore.Footprint
	until     int64 // nanoseconds since 1970
	volatile  bool
}

// request is what the readings of a request have in common.
type request struct {
	memo *Memo // nil: nothing is remembered
	rev  datastore.Revision
	view datastore.Reader // opened when something has to be read
	own  bool             // the view is closed with the request
	root Reading
}

// Begin begins a request at the newest revision. End must be called, after which the Reading cannot be used.
func (m *Memo) Begin() *Reading { return m.BeginAt(m.store.Newest()) }

// BeginAt begins a request at a revision that the clock has come to.
func (m *Memo) BeginAt(r datastore.Revision) *Reading {
	q, ok := m.requests.Get().(*request)
	if !ok {
		q = new(request)
	}
	q.memo, q.rev, q.own = m, r, true
	q.root = Reading{request: q, until: math.MaxInt64}
	return &q.root
}

// Over is a Reading of a view or a transaction, which stays open. It remembers nothing.
func Over(r datastore.Reader) *Reading {
	q := &request{rev: r.Revision(), view: r}
	q.root = Reading{request: q, until: math.MaxInt64}
	return &q.root
}

// End ends the request that began with r.
func (r *Reading) End() {
	q := r.request
	if !q.own {
		return
	}
	if view, ok := q.view.(datastore.View); ok {
		view.Close()
	}
	memo := q.memo
	*q = request{}
	memo.requests.Put(q)
}

// Uncommitted says that what is read may be of no revision: a transaction that has begun to write shows its own writes.
func (r *Reading) Uncommitted() bool {
	tx, ok := r.view.(interface{ Wrote() bool })
	return ok && tx.Wrote()
}

// Revision implements datastore.Reader.
func (r *Reading) Revision() datastore.Revision { return r.rev }

// Get implements datastore.Reader.
func (r *Reading) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if r.noting {
		r.note(r.memo.clock.Point(p))
	}
	view, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return view.Get(ctx, p)
}

// Stat implements datastore.Reader.
func (r *Reading) Stat(ctx context.Context, p datastore.Path) (datastore.Revision, error) {
	if r.noting {
		r.note(r.memo.clock.Point(p))
	}
	view, err := r.open(ctx)
	if err != nil {
		return 0, err
	}
	return view.Stat(ctx, p)
}

// Scan implements datastore.Reader.
func (r *Reading) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	if r.noting {
		r.note(r.memo.clock.Below(prefix))
	}
	view, err := r.open(ctx)
	if err != nil {
		return func(yield func(datastore.Fact, error) bool) { yield(datastore.Fact{}, err) }
	}
	return view.Scan(ctx, prefix, after)
}

func (q *request) open(ctx context.Context) (datastore.Reader, error) {
	if q.view == nil {
		view, err := q.memo.store.ViewAt(ctx, q.rev)
		if err != nil {
			return nil, fmt.Errorf("open a view: %w", err)
		}
		q.view = view
	}
	return q.view, nil
}

// NotAfter says that what is computed holds until t at most, for it has compared the present time with t.
func (r *Reading) NotAfter(t time.Time) {
	// Nanoseconds reach from 1678 to 2262; beyond that they would begin again at the other end.
	switch year := t.UTC().Year(); {
	case year < 1678:
		r.until = math.MinInt64
	case year < 2262:
		r.until = min(r.until, t.UnixNano())
	}
}

// Volatile says that what is computed holds only now: it has used the present time, randomness or the network, or must
// not be remembered for another reason.
func (r *Reading) Volatile() { r.volatile = true }

// restOn notes what a result rests on that becomes part of this one.
func (r *Reading) restOn(f datastore.Footprint, until int64, volatile bool) {
	if !r.noting {
		return
	}
	for _, s := range f {
		r.note(s)
	}
	r.until = min(r.until, until)
	r.volatile = r.volatile || volatile
}

func (r *Reading) note(s datastore.Stripe) {
	if len(r.footprint) == maxFootprint {
		if r.footprint = r.compact(); len(r.footprint) > maxFootprint/2 {
			r.volatile = true
		}
	}
	if r.volatile {
		return
	}
	r.footprint = append(r.footprint, s)
}

// compact returns the footprint with each stripe once, in no more memory than that takes.
func (r *Reading) compact() datastore.Footprint {
	slices.Sort(r.footprint)
	return slices.Clone(slices.Compact(r.footprint))
}
