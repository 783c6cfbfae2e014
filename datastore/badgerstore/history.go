package badgerstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mandate/datastore"
)

// maxDiscards bounds the log records that one housekeeping commit deletes.
const maxDiscards = 10_000

// DiscardHistory gives up the history that is older than the retention window. The newest revision that is as old as
// the window becomes the oldest one that can be viewed: it was current when the window began. The store does this
// by itself now and then.
func (s *Store) DiscardHistory(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return fmt.Errorf("discard history: %w", err)
	}
	s.discarding.Lock()
	defer s.discarding.Unlock()
	floor, err := s.expired(ctx, s.now().Add(-s.retention))
	if err != nil {
		return fmt.Errorf("discard history: %w", err)
	}
	if floor > s.oldest() {
		if err := s.raiseFloor(ctx, floor); err != nil {
			return fmt.Errorf("discard history before revision %d: %w", floor, err)
		}
	}
	if err := s.discardLog(ctx); err != nil {
		return fmt.Errorf("discard the log up to revision %d: %w", s.oldest(), err)
	}
	return nil
}

// expired returns the newest revision that was committed at or before the cutoff. It is the present floor
// when only housekeeping has been committed since, so that an idle store does not go on discarding its own discards.
func (s *Store) expired(ctx context.Context, cutoff time.Time) (datastore.Revision, error) {
	oldest := s.oldest()
	floor, err := s.newestAt(ctx, oldest, cutoff)
	if err != nil {
		return 0, err
	}
	for r := oldest + 1; r <= floor; r++ {
		c, err := s.logged(ctx, r)
		if err != nil {
			return 0, err
		}
		if len(c.Writes) > 0 {
			return floor, nil
		}
	}
	return oldest, nil
}

// newestAt is the newest revision that was committed at or before t, or oldest when none after it was.
func (s *Store) newestAt(ctx context.Context, oldest datastore.Revision, t time.Time) (datastore.Revision, error) {
	var failed error
	after := sort.Search(int(s.Newest()-oldest), func(i int) bool {
		c, err := s.logged(ctx, oldest+1+datastore.Revision(i))
		if err != nil {
			failed = err
		}
		return c.Time.After(t)
	})
	return oldest + datastore.Revision(after), failed
}

// RevisionAt implements datastore.Store.
func (s *Store) RevisionAt(ctx context.Context, t time.Time) (datastore.Revision, error) {
	if err := s.ready(ctx); err != nil {
		return 0, fmt.Errorf("find the revision at %v: %w", t, err)
	}
	now := s.now()
	if t.After(now) {
		return 0, fmt.Errorf("find the revision at %v: %w", t, datastore.ErrRevisionAhead)
	}
	oldest := s.oldest()
	r, err := s.newestAt(ctx, oldest, t)
	// When the oldest was committed is not known any more, only that it was before the window began.
	if err == nil && r == oldest && oldest > 0 && t.Before(now.Add(-s.retention)) {
		err = datastore.ErrRevisionGone
	}
	if err != nil {
		return 0, fmt.Errorf("find the revision at %v: %w", t, err)
	}
	return r, nil
}

// raiseFloor makes the new floor durable, then refuses revisions before it, and only then lets Badger drop what no
// other revision needs. In this order a view can never read what was dropped without knowing (see view.kept), nor after
// a crash.
func (s *Store) raiseFloor(ctx context.Context, floor datastore.Revision) error {
	c := s.newHousekeeping()
	if err := c.txn.Set([]byte(floorKey), binary.BigEndian.AppendUint64(nil, uint64(floor))); err != nil {
		return err
	}
	if _, err := s.commit(ctx, c); err != nil {
		return err
	}
	s.floor.Store(uint64(floor))
	s.db.SetDiscardTs(uint64(floor))
	return nil
}

// discardLog deletes the records of revisions up to the floor, which nothing reads any more. It begins with the first
// one that is left, so an interrupted one is completed by the next.
func (s *Store) discardLog(ctx context.Context) error {
	for {
		c := s.newHousekeeping()
		n, err := s.deleteRecords(ctx, c.txn)
		if err != nil || n == 0 {
			c.txn.Discard()
			return err
		}
		if _, err := s.commit(ctx, c); err != nil {
			return err
		}
		if n < maxDiscards {
			return nil
		}
	}
}

func (s *Store) deleteRecords(ctx context.Context, txn *badger.Txn) (int, error) {
	v := s.viewAt(math.MaxUint64)
	if err := v.enter(ctx); err != nil {
		return 0, err
	}
	defer v.leave()
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(logPrefix)})
	defer it.Close()
	n := 0
	for it.Rewind(); it.Valid() && n < maxDiscards; it.Next() {
		if parseLogKey(it.Item().Key()) > s.oldest() {
			break
		}
		if err := txn.Delete(it.Item().KeyCopy(nil)); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// runJanitor discards history until the store is closed. There is no value log to collect: every value is inline.
func (s *Store) runJanitor() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(min(max(s.retention/24, time.Second), time.Hour))
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
			if err := s.DiscardHistory(ctx); err != nil && !s.isClosed() {
				s.log.Warn("discarding history failed", "error", err)
			}
		}
	}
}
