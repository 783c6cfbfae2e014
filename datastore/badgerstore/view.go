package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"mandate/datastore"
)

// view reads one revision. It holds nothing of the database between its calls, so one that is never closed costs
// no more than its memory.
type view struct {
	store  *Store
	gate   *sync.RWMutex
	rev    datastore.Revision
	txn    *badger.Txn // read-only: never discarded, which in managed mode releases nothing
	closed atomic.Bool
}

func (v *view) Revision() datastore.Revision { return v.rev }

func (v *view) Close() { v.closed.Store(true) }

// enter lets a read begin; leave must follow when it returns nil.
func (v *view) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.closed.Load() {
		return errors.New("the view is closed")
	}
	if !v.gate.TryRLock() { // fails only once Close waits for the readers
		return datastore.ErrClosed
	}
	return nil
}

func (v *view) leave() { v.gate.RUnlock() }

// kept returns ErrRevisionGone when versions that this view needs may have been dropped, and must be asked after each
// read, never only before: DiscardHistory raises the floor before it lets Badger drop anything, and a read that
// misses a dropped version has seen tables that a compaction made after that. So whoever reads first and finds the
// floor still low has read from tables with all versions in them.
func (v *view) kept() error {
	if oldest := v.store.oldest(); v.rev < oldest {
		return fmt.Errorf("revision %d, oldest is %d: %w", v.rev, oldest, datastore.ErrRevisionGone)
	}
	return nil
}

func (v *view) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if !p.Valid() {
		return nil, fmt.Errorf("get: %w", datastore.ErrPath)
	}
	value, err := v.get(ctx, p.Key())
	if err != nil && !errors.Is(err, datastore.ErrNotFound) {
		// The path stays out of the error: it may be made of what a caller has sent, a secret by mistake included.
		return nil, fmt.Errorf("get a document: %w", err)
	}
	return value, err
}

// get returns a bare ErrNotFound, because asking for what is absent is no failure and should cost nothing.
func (v *view) get(ctx context.Context, key string) ([]byte, error) {
	if err := v.enter(ctx); err != nil {
		return nil, err
	}
	defer v.leave()
	var value []byte
	item, err := v.txn.Get([]byte(key))
	if err == nil {
		value, err = item.ValueCopy(nil)
	}
	if gone := v.kept(); gone != nil {
		return nil, gone
	}
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, datastore.ErrNotFound
	}
	return value, err
}

func (v *view) Stat(ctx context.Context, p datastore.Path) (datastore.Revision, error) {
	if !p.Valid() {
		return 0, fmt.Errorf("stat: %w", datastore.ErrPath)
	}
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	defer v.leave()
	item, err := v.txn.Get([]byte(p.Key()))
	if gone := v.kept(); gone != nil {
		return 0, gone
	}
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return 0, datastore.ErrNotFound
	case err != nil:
		return 0, fmt.Errorf("stat a document: %w", err)
	}
	return datastore.Revision(item.Version()), nil
}

func (v *view) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	return func(yield func(datastore.Fact, error) bool) {
		if !prefix.Valid() {
			yield(datastore.Fact{}, fmt.Errorf("scan: %w", datastore.ErrPath))
			return
		}
		const firstPage, lastPage = 32, 512
		below := prefix.Key() + "/"
		from := below
		if after.Valid() {
			from = max(from, successor(after.Key()))
		}
		// Pages let the consumer take its time, and call this store, without an iterator that keeps files
		// from being deleted and Close from returning.
		for size := firstPage; ; size = min(2*size, lastPage) {
			page, err := v.page(ctx, below, from, size)
			if err != nil {
				yield(datastore.Fact{}, fmt.Errorf("scan %q: %w", prefix, err))
				return
			}
			for _, f := range page.facts {
				if !yield(f, nil) {
					return
				}
			}
			if page.next == "" {
				return
			}
			from = page.next
		}
	}
}

// successor is the first key after key.
func successor(key string) string { return key + "\x00" }

type page struct {
	facts []datastore.Fact
	next  string // where the next page begins, empty after the last one
}

func (v *view) page(ctx context.Context, below, from string, size int) (page, error) {
	const maxPageBytes = 1 << 20
	if err := v.enter(ctx); err != nil {
		return page{}, err
	}
	defer v.leave()
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(below)})
	defer it.Close()
	p := page{facts: make([]datastore.Fact, 0, size)}
	bytes := 0
	for it.Seek([]byte(from)); it.Valid(); it.Next() {
		if len(p.facts) == size || bytes >= maxPageBytes {
			p.next = string(it.Item().Key())
			break
		}
		key := string(it.Item().Key())
		path := datastore.ParseKey(key)
		if !path.IsDocument() {
			return page{}, fmt.Errorf("key %q is not the key of a document", key)
		}
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return page{}, fmt.Errorf("read %q: %w", path, err)
		}
		p.facts = append(p.facts, datastore.Fact{Path: path, Value: value, Revision: datastore.Revision(it.Item().Version())})
		bytes += len(value)
	}
	return p, v.kept()
}
