package badgerstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mandate/datastore"
)

// The store's own keys begin with a byte that no tenant can begin with.
const (
	logPrefix = "\x00log/"
	floorKey  = "\x00floor"
	// maxLoggedBytes bounds the paths of one commit, so that its log record stays inline.
	maxLoggedBytes = inlineBytes - 64
)

// logKey is where the record of the commit with revision r is, written by that commit itself.
func logKey(r datastore.Revision) []byte {
	return binary.BigEndian.AppendUint64([]byte(logPrefix), uint64(r))
}

func parseLogKey(key []byte) datastore.Revision {
	return datastore.Revision(binary.BigEndian.Uint64(key[len(logPrefix):]))
}

// encodeChange writes the time in nanoseconds, then for each path its length times two, plus one when it was deleted, and
// its key.
func encodeChange(at time.Time, writes []datastore.Write) []byte {
	size := int64(8)
	for _, w := range writes {
		size += loggedSize(w.Path.Key())
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, size), uint64(at.UnixNano()))
	for _, w := range writes {
		key := w.Path.Key()
		n := uint64(len(key)) << 1
		if w.Deleted {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
		b = append(b, key...)
	}
	return b
}

// loggedSize bounds what a path takes in a log record.
func loggedSize(key string) int64 { return int64(len(key)) + 3 }

func timeOf(record *badger.Item) (time.Time, error) {
	value, err := record.ValueCopy(nil)
	if err != nil {
		return time.Time{}, err
	}
	c, err := decodeChange(parseLogKey(record.Key()), value)
	return c.Time, err
}

func decodeChange(r datastore.Revision, b []byte) (datastore.Change, error) {
	damaged := fmt.Errorf("log record %d is damaged", r)
	if len(b) < 8 {
		return datastore.Change{}, damaged
	}
	c := datastore.Change{Revision: r, Time: time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()}
	for b = b[8:]; len(b) > 0; {
		n, read := binary.Uvarint(b)
		if read <= 0 || n>>1 > uint64(len(b)-read) {
			return datastore.Change{}, damaged
		}
		end := read + int(n>>1)
		path := datastore.ParseKey(string(b[read:end]))
		if !path.IsDocument() {
			return datastore.Change{}, damaged
		}
		c.Writes = append(c.Writes, datastore.Write{Path: path, Deleted: n&1 == 1})
		b = b[end:]
	}
	return c, nil
}

// Watch implements datastore.Store. Housekeeping of the store has revisions like any other commit: they are yielded
// too, without writes, so that the numbers have no gaps.
func (s *Store) Watch(ctx context.Context, after datastore.Revision) iter.Seq2[datastore.Change, error] {
	return func(yield func(datastore.Change, error) bool) {
		for next := after + 1; ; next++ {
			c, err := s.change(ctx, next)
			if err != nil {
				yield(datastore.Change{}, fmt.Errorf("watch revision %d: %w", next, err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// change waits for revision r and returns its log record.
func (s *Store) change(ctx context.Context, r datastore.Revision) (datastore.Change, error) {
	if err := s.Await(ctx, r); err != nil {
		return datastore.Change{}, err
	}
	return s.logged(ctx, r)
}

// logged returns the record of a published revision, or ErrRevisionGone when the floor has reached it.
func (s *Store) logged(ctx context.Context, r datastore.Revision) (datastore.Change, error) {
	// At the newest version there is, because the record of a lost revision was added later.
	value, err := s.viewAt(math.MaxUint64).get(ctx, string(logKey(r)))
	if r <= s.oldest() { // asked after the read, for the reason given at view.kept
		return datastore.Change{}, datastore.ErrRevisionGone
	}
	if err != nil {
		return datastore.Change{}, fmt.Errorf("read log record %d: %w", r, err)
	}
	return decodeChange(r, value)
}

// fillLog gives the revisions that a power failure took (see recover) an empty record.
func (s *Store) fillLog(missing []datastore.Revision) error {
	if len(missing) == 0 {
		return nil
	}
	c := s.newHousekeeping()
	for _, r := range missing {
		if err := c.txn.Set(logKey(r), encodeChange(s.lastTime, nil)); err != nil {
			return fmt.Errorf("fill the log: %w", err)
		}
	}
	if _, err := s.commit(context.Background(), c); err != nil {
		return fmt.Errorf("fill the log: %w", err)
	}
	s.log.Warn("unacknowledged commits were lost in a crash", "revisions", missing)
	return nil
}

// newHousekeeping is a commit that touches only the store's own keys, and so never conflicts.
func (s *Store) newHousekeeping() *commit {
	return &commit{txn: s.db.NewTransactionAt(math.MaxUint64, true), outcome: make(chan outcome, 1)}
}
