// Package badgerstore keeps facts in one folder on disk, in Badger in managed mode: a datastore.Revision is the version
// under which Badger keeps a document, so a snapshot is a read at a version.
//
// It must never acknowledge a commit before it is on disk, show a revision before it is acknowledged, or let
// Badger's own conflict detection decide anything: that one knows keys, not the ranges that a transaction scanned.
package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	badgeroptions "github.com/dgraph-io/badger/v4/options"

	"mandate/datastore"
)

// Options are the settings of a Store; the zero value is usable.
type Options struct {
	// Retention is how long the state before a commit stays readable after it. 24 hours when zero.
	Retention time.Duration
	// Now is the clock that commits are stamped with and retention is measured by, called by several goroutines.
	// time.Now when nil.
	Now func() time.Time
	// Logger receives what happens in the background. Nothing is logged when nil.
	Logger *slog.Logger
	// CacheBytes is the memory for blocks read from disk. 64 MiB when zero.
	CacheBytes int64
}

const (
	// A transaction may take 15 % of a memtable, and Badger allocates each memtable's arena at once.
	memTableBytes = 32 << 20
	// Values below this size live in the LSM tree and its write-ahead log; larger ones would go to Badger's value
	// log, which is synced apart from the log that points into it, so that a crash could leave a document
	// without its value. MaxValueBytes and maxLoggedBytes keep everything below it.
	inlineBytes = 1 << 20
	// A value log file that holds nothing is still mapped at twice this size.
	valueLogBytes = 2 << 20
	// A Badger folder of another application or of another layout has another number.
	layoutVersion = 1
)

// Store implements datastore.Store.
type Store struct {
	db        *badger.DB
	retention time.Duration
	now       func() time.Time
	log       *slog.Logger
	wal       walSyncer

	published atomic.Uint64
	floor     atomic.Uint64
	clock     *datastore.Clock

	changedMu sync.Mutex
	changed   chan struct{} // closed and replaced whenever published grows

	submit   chan *commit
	recent   recentCommits // owned by the committer
	lastTime time.Time     // owned by the committer
	failed   atomic.Pointer[error]
	retrying chan struct{} // holds one token: whose turn it is among the updates that have lost a race

	discarding sync.Mutex // one DiscardHistory at a time

	closeOnce sync.Once
	closing   chan struct{}
	workers   sync.WaitGroup
	gates     [16]gate
}

// A gate is held shared by every read of the database and taken for good by Close, because a read of a closed
// Badger touches unmapped memory. There are several, so that readers on different cores do not share a cache line.
type gate struct {
	sync.RWMutex
	_ [40]byte
}

// Exists says whether there is a store in the folder dir.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	return err == nil
}

// Open opens the store in dir, which it makes if need be. Only one Store at a time can have a folder open.
func Open(dir string, o Options) (*Store, error) {
	if o.Retention <= 0 {
		o.Retention = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	db, err := badger.OpenManaged(badgerOptions(dir, o))
	// A process that was killed right after making a log has left it empty. Badger fails on each such file once: it makes
	// it whole, and then takes the news that it was new for an error.
	for range 4 {
		if err == nil || !strings.Contains(err.Error(), "Create a new file") { // Badger does not wrap its error value
			break
		}
		db, err = badger.OpenManaged(badgerOptions(dir, o))
	}
	if err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock") { // Badger has no error value for it
		return nil, fmt.Errorf("data folder %s is in use by %s: stop it, or choose another folder", dir, owner(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", dir, err)
	}
	s := &Store{
		db:        db,
		retention: o.Retention,
		now:       o.Now,
		log:       o.Logger,
		wal:       walSyncer{dir: dir, sync: db.Sync},
		changed:   make(chan struct{}),
		submit:    make(chan *commit),
		retrying:  make(chan struct{}, 1),
		closing:   make(chan struct{}),
	}
	missing, err := s.recover()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recover data folder %s: %w", dir, err), db.Close())
	}
	s.workers.Go(s.runCommitter)
	if err := s.fillLog(missing); err != nil {
		return nil, errors.Join(fmt.Errorf("recover data folder %s: %w", dir, err), s.Close())
	}
	s.workers.Go(s.runJanitor)
	return s, nil
}

func badgerOptions(dir string, o Options) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLogger{o.Logger}).
		WithExternalMagic(layoutVersion).
		WithDetectConflicts(false).
		WithSyncWrites(false). // see walSyncer
		WithNumVersionsToKeep(1).
		WithMemTableSize(memTableBytes).
		WithNumMemtables(3).
		WithNumCompactors(2).
		WithValueThreshold(inlineBytes).
		WithValueLogFileSize(valueLogBytes).
		WithCompression(badgeroptions.None).
		WithBlockCacheSize(o.CacheBytes).
		WithChecksumVerificationMode(badgeroptions.OnBlockRead).
		WithMetricsEnabled(false)
}

// makeDir makes dir and its missing parents so that they survive a power failure.
func makeDir(dir string) error {
	dir = filepath.Clean(dir)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncFile(parent)
}

func owner(dir string) string {
	pid, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if err != nil || len(strings.TrimSpace(string(pid))) == 0 {
		return "another process"
	}
	return "process " + strings.TrimSpace(string(pid))
}

// recover restores the published revision and the floor from what is on disk, and returns the revisions near the end
// that have no log record.
func (s *Store) recover() ([]datastore.Revision, error) {
	// What a killed process left in the page cache is about to become visible, so it has to be on disk first.
	if err := s.wal.syncAll(); err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	txn := s.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()

	item, err := txn.Get([]byte(floorKey))
	if err == nil {
		err = item.Value(func(v []byte) error {
			if len(v) != 8 {
				return fmt.Errorf("the floor has %d bytes", len(v))
			}
			s.floor.Store(binary.BigEndian.Uint64(v))
			return nil
		})
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("read the floor: %w", err)
	}

	// Commits of one group are written without a sync between them. When the memtable is rotated in the middle
	// of a group and the power fails before its sync, the disk may have the end of the group without its
	// beginning. None of it was acknowledged, and no commit of a group has read what another one of it wrote, so what is
	// left is a valid history once the numbers that were lost name empty commits. Only the last group can be
	// affected: everything before it was synced.
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte(logPrefix)})
	defer it.Close()
	newest, previous := s.oldest(), s.oldest()
	var missing []datastore.Revision
	it.Seek(logKey(math.MaxUint64))
	for n := 0; n <= maxGroup; n++ {
		rev := s.oldest() // what comes before the first record
		if it.Valid() {
			rev = max(rev, parseLogKey(it.Item().Key()))
		}
		if n == 0 && rev > s.oldest() {
			newest = rev
			if s.lastTime, err = timeOf(it.Item()); err != nil {
				return nil, fmt.Errorf("read log record %d: %w", rev, err)
			}
		}
		for r := rev + 1; r < previous; r++ {
			missing = append(missing, r)
		}
		if rev == s.oldest() {
			break
		}
		previous = rev
		it.Next()
	}
	s.published.Store(uint64(newest))
	s.clock = datastore.NewClock(newest)
	s.recent.base = newest
	s.db.SetDiscardTs(s.floor.Load())
	return missing, nil
}

// Close implements datastore.Store. It also waits for reads that are running.
func (s *Store) Close() error {
	err := datastore.ErrClosed
	s.closeOnce.Do(func() {
		close(s.closing)
		s.workers.Wait()
		for i := range s.gates {
			s.gates[i].Lock() // never unlocked: TryRLock fails from here on
		}
		err = nil
		if e := s.db.Close(); e != nil {
			err = fmt.Errorf("close badger: %w", e)
		}
	})
	return err
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Newest implements datastore.Store.
func (s *Store) Newest() datastore.Revision { return datastore.Revision(s.published.Load()) }

// Clock implements datastore.Store.
func (s *Store) Clock() *datastore.Clock { return s.clock }

// oldest is the first revision that can be viewed. It is never beyond newest.
func (s *Store) oldest() datastore.Revision { return datastore.Revision(s.floor.Load()) }

// publish makes r visible.
func (s *Store) publish(r datastore.Revision) {
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	s.published.Store(uint64(r))
	close(s.changed)
	s.changed = make(chan struct{})
}

// View implements datastore.Store.
func (s *Store) View(ctx context.Context) (datastore.View, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	return s.viewAt(s.Newest()), nil
}

// ViewAt implements datastore.Store.
func (s *Store) ViewAt(ctx context.Context, r datastore.Revision) (datastore.View, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("view revision %d: %w", r, err)
	}
	if newest := s.Newest(); r > newest {
		return nil, fmt.Errorf("view revision %d, newest is %d: %w", r, newest, datastore.ErrRevisionAhead)
	}
	if oldest := s.oldest(); r < oldest {
		return nil, fmt.Errorf("view revision %d, oldest is %d: %w", r, oldest, datastore.ErrRevisionGone)
	}
	return s.viewAt(r), nil
}

func (s *Store) viewAt(r datastore.Revision) *view {
	return &view{
		store: s,
		gate:  &s.gates[rand.IntN(len(s.gates))].RWMutex, //nolint:gosec // it only spreads readers over the gates
		rev:   r,
		txn:   s.db.NewTransactionAt(uint64(r), false),
	}
}

func (s *Store) ready(ctx context.Context) error {
	if s.isClosed() {
		return datastore.ErrClosed
	}
	return ctx.Err()
}

// Await implements datastore.Store.
func (s *Store) Await(ctx context.Context, r datastore.Revision) error {
	for {
		s.changedMu.Lock()
		changed := s.changed
		s.changedMu.Unlock()
		err := s.ready(ctx)
		if err == nil && s.Newest() >= r {
			return nil
		}
		if err == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			case <-s.closing:
				err = datastore.ErrClosed
			}
		}
		return fmt.Errorf("await revision %d: %w", r, err)
	}
}
