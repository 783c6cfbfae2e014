package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"mandate/datastore"
)

// tx is a view, the writes laid over it, and the record of everything that was read.
type tx struct {
	view   *view
	points map[string]struct{}
	ranges []keyRange
	writes map[string]write
	bytes  int64
	logged int64 // size of the log record
	over   bool
}

type write struct {
	path    datastore.Path
	value   []byte
	deleted bool
}

// keyRange is what a scan has seen: the keys that start with below, are after the given one, and not beyond last. It is
// open at an end that is empty.
type keyRange struct{ below, after, last string }

func (r keyRange) contains(key string) bool {
	return strings.HasPrefix(key, r.below) && key > r.after && (r.last == "" || key <= r.last)
}

var errTxOver = errors.New("the transaction is over")

// run calls fn, after which the transaction can no longer be used, however fn ends.
func (t *tx) run(fn func(datastore.Tx) error) error {
	defer func() { t.over = true }()
	return fn(t)
}

func (t *tx) Revision() datastore.Revision { return t.view.rev }

// Wrote says that reads may show what no revision has.
func (t *tx) Wrote() bool { return len(t.writes) > 0 }

func (t *tx) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if t.over {
		return nil, errTxOver
	}
	if w, ok := t.writes[p.Key()]; ok {
		if w.deleted {
			return nil, datastore.ErrNotFound
		}
		return slices.Clone(w.value), nil
	}
	t.points[p.Key()] = struct{}{}
	return t.view.Get(ctx, p)
}

func (t *tx) Stat(ctx context.Context, p datastore.Path) (datastore.Revision, error) {
	if t.over {
		return 0, errTxOver
	}
	if w, ok := t.writes[p.Key()]; ok {
		if w.deleted {
			return 0, datastore.ErrNotFound
		}
		return 0, nil
	}
	t.points[p.Key()] = struct{}{}
	return t.view.Stat(ctx, p)
}

// Scan merges the snapshot with the writes that were made before the loop began.
func (t *tx) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	return func(yield func(datastore.Fact, error) bool) {
		if t.over {
			yield(datastore.Fact{}, errTxOver)
			return
		}
		read := keyRange{below: prefix.Key() + "/", after: after.Key()}
		// Recorded before it is read and narrowed after, so that a scan that is left suspended counts too.
		i := len(t.ranges)
		t.ranges = append(t.ranges, read)
		stopped := func(at string) { t.ranges[i].last = at }

		own := t.writesIn(read)
		emit := func(f datastore.Fact) bool {
			if yield(f, nil) {
				return true
			}
			stopped(f.Path.Key())
			return false
		}
		emitOwn := func() bool {
			w := own[0]
			own = own[1:]
			return w.deleted || emit(datastore.Fact{Path: w.path, Value: slices.Clone(w.value)})
		}
		for f, err := range t.view.Scan(ctx, prefix, after) {
			if err != nil {
				yield(f, err)
				return
			}
			for len(own) > 0 && own[0].path.Key() < f.Path.Key() {
				if !emitOwn() {
					return
				}
			}
			if len(own) > 0 && own[0].path == f.Path {
				if !emitOwn() {
					return
				}
				continue
			}
			if !emit(f) {
				return
			}
		}
		for len(own) > 0 {
			if !emitOwn() {
				return
			}
		}
	}
}

func (t *tx) writesIn(r keyRange) []write {
	var in []write
	for key, w := range t.writes {
		if r.contains(key) {
			in = append(in, w)
		}
	}
	slices.SortFunc(in, byKey)
	return in
}

func byKey(a, b write) int { return strings.Compare(a.path.Key(), b.path.Key()) }

func (t *tx) Put(p datastore.Path, value []byte) error {
	if len(value) > datastore.MaxValueBytes {
		return fmt.Errorf("put %q: %d bytes, at most %d: %w", p, len(value), datastore.MaxValueBytes, datastore.ErrTooLarge)
	}
	if err := t.write(write{path: p, value: value}); err != nil {
		return fmt.Errorf("put %q: %w", p, err)
	}
	return nil
}

func (t *tx) Delete(p datastore.Path) error {
	if err := t.write(write{path: p, deleted: true}); err != nil {
		return fmt.Errorf("delete %q: %w", p, err)
	}
	return nil
}

func (t *tx) write(w write) error {
	if t.over {
		return errTxOver
	}
	if !w.path.IsDocument() {
		return datastore.ErrPath
	}
	key := w.path.Key()
	bytes, logged := t.bytes, t.logged
	if old, ok := t.writes[key]; ok {
		bytes -= old.size()
	} else {
		logged += loggedSize(key)
	}
	bytes += w.size()
	// The margin keeps the transaction below Badger's own limits with its log record and commit mark added: once it
	// has a revision it must not be refused.
	const margin = 256
	db := t.view.store.db
	if bytes+logged+margin > db.MaxBatchSize() || int64(len(t.writes))+margin > db.MaxBatchCount() || logged > maxLoggedBytes {
		return fmt.Errorf("%d documents, %d bytes, %d of them paths: %w", len(t.writes)+1, bytes, logged, datastore.ErrTooLarge)
	}
	t.bytes, t.logged = bytes, logged
	t.writes[key] = w
	return nil
}

// size bounds what Badger counts for the write.
func (w write) size() int64 { return int64(len(w.path.Key())+len(w.value)) + 32 }

// sortedWrites is what the transaction commits, each path once.
func (t *tx) sortedWrites() []write {
	return slices.SortedFunc(maps.Values(t.writes), byKey)
}
