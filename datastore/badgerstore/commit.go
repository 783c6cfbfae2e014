package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"mandate/datastore"
)

const (
	// maxAttempts is beyond bad luck: on a busy machine an update that shares a document with several writers was seen to
	// lose twenty races in a row to first attempts.
	maxAttempts = 100
	// maxGroup bounds how many commits share a sync, and so how many can be lost unacknowledged.
	maxGroup = 256
	// maxRecentPaths bounds the memory for what has been written lately.
	maxRecentPaths = 1 << 17
)

// errStale says that something that a transaction has read was changed by another commit.
var errStale = errors.New("the transaction has read what another commit changed")

// Update implements datastore.Store. When ctx ends after the transaction was handed to the committer, Update still waits
// for its outcome, so that an error of ctx always means that nothing was committed. fn must not call Update: when both
// have lost a race, the inner one would wait for the turn that the outer one has.
//
// Should writing or syncing fail, Update returns that error, and so does every later one: the outcome of that commit is
// only known after the store has been opened again.
func (s *Store) Update(ctx context.Context, fn func(datastore.Tx) error) (datastore.Revision, error) {
	for attempt := range maxAttempts {
		if attempt == 1 {
			// Updates that have lost a race go on one after another. Together they would make each other
			// lose over and over.
			select {
			case s.retrying <- struct{}{}:
				defer func() { <-s.retrying }()
			case <-ctx.Done():
				return 0, fmt.Errorf("update: %w", ctx.Err())
			case <-s.closing:
				return 0, fmt.Errorf("update: %w", datastore.ErrClosed)
			}
		}
		rev, err := s.attempt(ctx, fn, attempt > 0)
		if err != errStale { //nolint:errorlint // never wrapped: an error of fn must not look like it
			return rev, err
		}
	}
	return 0, fmt.Errorf("update lost %d races: %w", maxAttempts, datastore.ErrConflict)
}

func (s *Store) attempt(ctx context.Context, fn func(datastore.Tx) error, retry bool) (datastore.Revision, error) {
	if err := s.ready(ctx); err != nil {
		return 0, fmt.Errorf("update: %w", err)
	}
	if err := s.failed.Load(); err != nil {
		return 0, *err
	}
	t := &tx{
		view:   s.viewAt(s.Newest()),
		points: make(map[string]struct{}),
		writes: make(map[string]write),
	}
	if err := t.run(fn); err != nil {
		if errors.Is(err, datastore.ErrRevisionGone) && t.view.kept() != nil {
			return 0, errStale // it took so long that its snapshot was discarded
		}
		return 0, err
	}
	if len(t.writes) == 0 {
		return t.view.rev, nil
	}
	c, err := s.newCommit(t, retry)
	if err != nil {
		return 0, err
	}
	return s.commit(ctx, c)
}

// commit is a transaction on its way to the committer and back.
type commit struct {
	read    datastore.Revision
	points  map[string]struct{}
	ranges  []keyRange
	writes  []datastore.Write
	txn     *badger.Txn
	retry   bool
	outcome chan outcome // has room for the one outcome
}

type outcome struct {
	rev datastore.Revision
	err error
}

func (s *Store) newCommit(t *tx, retry bool) (*commit, error) {
	c := &commit{
		read:    t.view.rev,
		points:  t.points,
		ranges:  t.ranges,
		writes:  make([]datastore.Write, 0, len(t.writes)),
		txn:     s.db.NewTransactionAt(uint64(t.view.rev), true),
		retry:   retry,
		outcome: make(chan outcome, 1),
	}
	for _, w := range t.sortedWrites() {
		var err error
		if key := []byte(w.path.Key()); w.deleted {
			err = c.txn.Delete(key)
		} else {
			err = c.txn.Set(key, w.value)
		}
		if err != nil {
			c.txn.Discard()
			return nil, fmt.Errorf("update %q: %w", w.path, sizeError(err))
		}
		c.writes = append(c.writes, datastore.Write{Path: w.path, Deleted: w.deleted})
	}
	return c, nil
}

func sizeError(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("%w: %w", datastore.ErrTooLarge, err)
	}
	return err
}

// commit hands c over and waits for its outcome.
func (s *Store) commit(ctx context.Context, c *commit) (datastore.Revision, error) {
	select {
	case s.submit <- c:
		o := <-c.outcome
		return o.rev, o.err
	case <-ctx.Done():
		c.txn.Discard()
		return 0, fmt.Errorf("commit: %w", ctx.Err())
	case <-s.closing:
		c.txn.Discard()
		return 0, fmt.Errorf("commit: %w", datastore.ErrClosed)
	}
}

// runCommitter is the only writer. It takes all transactions that wait, commits them, and syncs once for all.
func (s *Store) runCommitter() {
	for {
		select {
		case <-s.closing:
			return
		case c := <-s.submit:
			s.commitGroup(s.collect(c))
		}
	}
}

// collect returns first and whatever else waits, those that have lost a race before in front: against
// transactions that came as late as they did, they win.
func (s *Store) collect(first *commit) []*commit {
	var retries, others []*commit
	for c := first; ; {
		if c.retry {
			retries = append(retries, c)
		} else {
			others = append(others, c)
		}
		if len(retries)+len(others) == maxGroup {
			break
		}
		select {
		case c = <-s.submit:
			continue
		default:
		}
		break
	}
	return append(retries, others...)
}

// commitGroup gives each transaction of the group that is still valid the next revision, writes them, each as a Badger
// transaction of its own so that a crash leaves it whole or not at all, syncs, makes them visible, and only
// then tells their callers. The clock is marked before anything is written: see datastore.Clock.
//
// A failed write or sync poisons the store. Nobody can say what of the group is on disk, a revision must not be
// given twice, and after a failed sync the kernel may call pages clean that it never wrote, so that another sync would
// succeed without them. Revisions that were published before stay readable.
func (s *Store) commitGroup(group []*commit) {
	if err := s.failed.Load(); err != nil {
		fail(group, *err)
		return
	}
	now := s.now().UTC()
	if now.Before(s.lastTime) {
		now = s.lastTime // the log is searched by time
	}
	next := s.Newest()
	accepted := make([]*commit, 0, len(group))
	errs := make([]error, len(group))
	var written sync.WaitGroup
	for _, c := range group {
		if s.recent.changed(c) {
			c.txn.Discard()
			c.outcome <- outcome{err: errStale}
			continue
		}
		rev := next + 1
		if err := c.txn.Set(logKey(rev), encodeChange(now, c.writes)); err != nil {
			c.txn.Discard()
			c.outcome <- outcome{err: fmt.Errorf("commit: %w", sizeError(err))}
			continue
		}
		s.clock.Mark(rev, c.writes)
		written.Add(1)
		result := &errs[len(accepted)]
		err := c.txn.CommitAt(uint64(rev), func(err error) {
			*result = err
			written.Done()
		})
		if err != nil { // not with a callback, as Badger stands
			*result = err
			written.Done()
		}
		next = rev
		accepted = append(accepted, c)
		s.recent.add(rev, c.writes)
	}
	written.Wait()
	if len(accepted) == 0 {
		return
	}
	err := errors.Join(errs...)
	if err == nil {
		err = s.wal.syncAll()
	}
	if err != nil {
		err = fmt.Errorf("the store takes no more writes until it is opened again, a commit failed: %w", err)
		s.failed.Store(&err)
		s.log.Error("commit failed", "error", err)
		fail(accepted, err)
		return
	}
	first := s.Newest() + 1
	s.lastTime = now
	s.publish(next)
	for i, c := range accepted {
		c.outcome <- outcome{rev: first + datastore.Revision(i)}
	}
}

func fail(group []*commit, err error) {
	for _, c := range group {
		c.txn.Discard()
		c.outcome <- outcome{err: err}
	}
}

// recentCommits remembers what the commits after base have written, up to the newest.
type recentCommits struct {
	base    datastore.Revision
	commits [][]datastore.Write
	paths   int
}

func (r *recentCommits) add(rev datastore.Revision, writes []datastore.Write) {
	if len(r.commits) == 0 {
		r.base = rev - 1
	}
	r.commits = append(r.commits, writes)
	r.paths += len(writes) + 1
	for r.paths > maxRecentPaths && len(r.commits) > 1 {
		r.paths -= len(r.commits[0]) + 1
		r.commits[0] = nil
		r.commits = r.commits[1:]
		r.base++
	}
}

// changed says whether a commit after the revision that c has read wrote anything that c has read. Of
// commits that are no longer remembered it assumes so.
func (r *recentCommits) changed(c *commit) bool {
	if len(c.points) == 0 && len(c.ranges) == 0 {
		return false
	}
	if c.read < r.base {
		return true
	}
	for _, writes := range r.commits[min(int(c.read-r.base), len(r.commits)):] {
		for _, w := range writes {
			key := w.Path.Key()
			if _, ok := c.points[key]; ok {
				return true
			}
			for _, read := range c.ranges {
				if read.contains(key) {
					return true
				}
			}
		}
	}
	return false
}
