package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mandate/datastore"
)

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, datastore.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(t *testing.T, s *Store, p datastore.Path, value string) datastore.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(p, []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func get(t *testing.T, s *Store, r datastore.Revision, p datastore.Path) (string, error) {
	t.Helper()
	v, err := s.ViewAt(t.Context(), r)
	if err != nil {
		return "", err
	}
	defer v.Close()
	value, err := v.Get(t.Context(), p)
	return string(value), err
}

func TestOpenFolderInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "with its parents")
	s := open(t, dir, Options{})
	_, err := Open(dir, Options{})
	if err == nil || !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	put(t, s, benchTenant.Path("a"), "1")
}

func TestOpenForeignFolder(t *testing.T) {
	dir := t.TempDir()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir, Options{}); err == nil {
		t.Error("the folder of another application was opened", s.Close())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(file, Options{}); err == nil {
		t.Error("a file was opened", s.Close())
	}
}

// After a power failure in the middle of a group that was spread over two logs, later commits of the group may be on disk
// without earlier ones. See Store.recover.
func TestRecoverLostRevisions(t *testing.T) {
	for name, c := range map[string]struct {
		onDisk  []datastore.Revision
		missing int
	}{
		"in the middle":  {[]datastore.Revision{1, 2, 5, 6, 9}, 4},
		"the first ones": {[]datastore.Revision{3}, 2},
		"none":           {[]datastore.Revision{1, 2, 3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := func(r datastore.Revision) datastore.Path { return benchTenant.Path("dir", fmt.Sprint(r)) }
			at := time.Now().Round(0)
			db, err := badger.OpenManaged(badgerOptions(dir, Options{Logger: slog.New(slog.DiscardHandler)}))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.onDisk {
				txn := db.NewTransactionAt(uint64(r), true)
				err := errors.Join(
					txn.Set([]byte(path(r).Key()), []byte("1")),
					txn.Set(logKey(r), encodeChange(at, []datastore.Write{{Path: path(r)}})),
					txn.CommitAt(uint64(r), nil))
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}

			for range 2 { // the repair lasts
				s := open(t, dir, Options{})
				last := c.onDisk[len(c.onDisk)-1]
				newest := last
				if c.missing > 0 {
					newest++ // the repair itself
				}
				if s.Newest() != newest {
					t.Errorf("newest is %d, want %d", s.Newest(), newest)
				}
				empty := 0
				next := datastore.Revision(1)
				for change, err := range s.Watch(t.Context(), 0) {
					if err != nil || change.Revision != next {
						t.Fatalf("got revision %d, %v, want %d", change.Revision, err, next)
					}
					was := slices.Contains(c.onDisk, next)
					if was != (len(change.Writes) == 1) {
						t.Errorf("revision %d has the writes %v", next, change.Writes)
					}
					if !was && next <= last {
						empty++
					}
					if next++; next > newest {
						break
					}
				}
				if empty != c.missing {
					t.Errorf("%d revisions are empty, want %d", empty, c.missing)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A failed sync acknowledges nothing, shows nothing, and stops all writing.
func TestFailedSyncPoisons(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := benchTenant.Path("p")
	before := put(t, s, p, "before")
	broken := errors.New("disk on fire")
	sync0 := s.wal.sync
	s.wal.sync = func() error { return broken }
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, err := s.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(p, []byte("after")) })
			if !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if err := s.failed.Load(); err == nil {
		t.Error("the store is not poisoned")
	}
	s.wal.sync = sync0
	_, err := s.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(p, []byte("later")) })
	if !errors.Is(err, broken) {
		t.Errorf("a later update: %v", err)
	}
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	value, err := v.Get(t.Context(), p)
	if v.Revision() != before || string(value) != "before" || err != nil {
		t.Errorf("revision %d shows %q, %v", v.Revision(), value, err)
	}
}

// More is written than fits into a memtable, so logs are sealed; after every commit none may be left unsynced.
func TestSealedLogsAreSynced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	value := bytes.Repeat([]byte("x"), 512<<10)
	var first string
	rotated := false
	for i := range 3 * memTableBytes / len(value) {
		put(t, s, benchTenant.Path("large", fmt.Sprint(i)), string(value))
		// The committer rests until the next update.
		logs := s.wal.known
		for _, name := range logs[:len(logs)-1] {
			if !s.wal.sealed[name] {
				t.Errorf("commit %d: %s is sealed and was not synced", i, name)
			}
		}
		now, err := s.wal.logs()
		if err != nil {
			t.Fatal(err)
		}
		if now[len(now)-1] != logs[len(logs)-1] {
			t.Errorf("commit %d: the active log is %s, known is %s", i, now[len(now)-1], logs[len(logs)-1])
		}
		if first == "" {
			first = logs[len(logs)-1]
		}
		rotated = rotated || logs[len(logs)-1] != first
	}
	if !rotated {
		t.Error("no log was sealed")
	}
}

func TestWalSyncerReportsFailure(t *testing.T) {
	w := walSyncer{dir: filepath.Join(t.TempDir(), "gone"), sync: func() error { return nil }}
	if err := w.syncAll(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"00002.mem", "00001.mem", "99999.mem", "100000.mem", "000001.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.dir = dir
	logs, err := w.logs()
	if want := []string{"00001.mem", "00002.mem", "99999.mem", "100000.mem"}; err != nil || !slices.Equal(logs, want) {
		t.Errorf("got %q, %v, want %q", logs, err, want)
	}
}

// Versions that a compaction has really dropped are never read as absent or as another version.
func TestDiscardedVersionsAreNeverMisread(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	dir := t.TempDir()
	o := Options{Retention: time.Hour, Now: clock}
	p, deleted := benchTenant.Path("dir", "p"), benchTenant.Path("dir", "deleted")
	s := open(t, dir, o)
	put(t, s, deleted, "there")
	var revs []datastore.Revision
	write := func(n int) {
		for range n {
			revs = append(revs, put(t, s, p, fmt.Sprint(len(revs))))
		}
	}
	restart := func() { // moves what is in memory into a table
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, o)
	}
	for range 8 { // enough tables for the first compaction, which keeps every version
		write(5)
		restart()
	}
	if err := s.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	write(10)
	if _, err := s.Update(t.Context(), func(tx datastore.Tx) error { return tx.Delete(deleted) }); err != nil {
		t.Fatal(err)
	}
	restart() // two levels, so the next compaction rewrites everything
	held, err := s.ViewAt(t.Context(), revs[10])
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	last := put(t, s, p, "last")

	// A reader meanwhile gets the right value or the error.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			value, err := held.Get(t.Context(), p)
			if !errors.Is(err, datastore.ErrRevisionGone) && string(value) != "10" {
				t.Errorf("read %q, %v", value, err)
				return
			}
			var seen []string
			for f, err := range held.Scan(t.Context(), benchTenant.Path("dir"), datastore.Path{}) {
				if errors.Is(err, datastore.ErrRevisionGone) {
					seen = nil
					break
				}
				seen = append(seen, string(f.Value))
			}
			if seen != nil && !slices.Equal(seen, []string{"there", "10"}) {
				t.Errorf("scanned %q", seen)
				return
			}
		}
	}()
	if err := s.DiscardHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-stopped

	versions := 0
	it := s.db.NewTransactionAt(math.MaxUint64, false).NewKeyIterator([]byte(p.Key()), badger.IteratorOptions{})
	for it.Rewind(); it.Valid(); it.Next() {
		versions++
	}
	it.Close()
	if versions >= len(revs) {
		t.Errorf("%d versions are left: nothing was dropped, so this test shows nothing", versions)
	}
	for i, r := range revs[:len(revs)-1] {
		if value, err := get(t, s, r, p); !errors.Is(err, datastore.ErrRevisionGone) {
			t.Errorf("revision %d, value %d: read %q, %v", r, i, value, err)
		}
	}
	if value, err := get(t, s, last-1, p); err != nil || value != "49" {
		t.Errorf("the oldest kept revision has %q, %v", value, err)
	}
	if value, err := get(t, s, last, p); err != nil || value != "last" {
		t.Errorf("the newest revision has %q, %v", value, err)
	}
	if value, err := get(t, s, last, deleted); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("the deleted document is %q, %v", value, err)
	}
}

// The log of many commits is deleted in several housekeeping commits.
func TestDiscardLongLog(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	s := open(t, t.TempDir(), Options{Retention: time.Hour, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for range maxDiscards/64 + 10 {
				_, err := s.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(benchTenant.Path("a", fmt.Sprint(w)), nil) })
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	last := put(t, s, benchTenant.Path("b"), "1")
	if err := s.DiscardHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.oldest() != last-1 {
		t.Errorf("the oldest is %d, want %d", s.oldest(), last-1)
	}
	it := s.db.NewTransactionAt(math.MaxUint64, false).NewIterator(badger.IteratorOptions{Prefix: []byte(logPrefix)})
	defer it.Close()
	it.Rewind()
	if !it.Valid() || parseLogKey(it.Item().Key()) != last {
		t.Errorf("the first log record is not that of %d", last)
	}
}

// Transactions that are committed together are checked against each other, too.
func TestGroupIsCheckedAgainstItself(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p, q, r := benchTenant.Path("dir", "p"), benchTenant.Path("dir", "q"), benchTenant.Path("r")
	prepare := func(retry bool, fn func(*tx) error) *commit {
		t.Helper()
		x := &tx{view: s.viewAt(s.Newest()), points: make(map[string]struct{}), writes: make(map[string]write)}
		if err := fn(x); err != nil {
			t.Fatal(err)
		}
		c, err := s.newCommit(x, retry)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	readWrite := func(read, write datastore.Path) func(*tx) error {
		return func(x *tx) error {
			if _, err := x.Get(t.Context(), read); !errors.Is(err, datastore.ErrNotFound) {
				return fmt.Errorf("get: %w", err)
			}
			return x.Put(write, []byte("1"))
		}
	}
	scanWrite := func(write datastore.Path) func(*tx) error {
		return func(x *tx) error {
			for _, err := range x.Scan(t.Context(), benchTenant.Path("dir"), datastore.Path{}) {
				return fmt.Errorf("scan: %w", err)
			}
			return x.Put(write, []byte("1"))
		}
	}
	group := []*commit{
		prepare(false, readWrite(p, p)),
		prepare(false, readWrite(p, r)),                                                // its read is overwritten by the first
		prepare(false, readWrite(r, q)),                                                // not overwritten: the second one was refused
		prepare(false, scanWrite(r)),                                                   // a phantom of the first
		prepare(false, func(x *tx) error { return x.Put(p, []byte("2")) }),             // blind
		prepare(false, readWrite(benchTenant.Path("absent"), benchTenant.Path("new"))), // unrelated
	}
	s.commitGroup(group) // the committer has nothing to do meanwhile
	want := []outcome{{rev: 1}, {err: errStale}, {rev: 2}, {err: errStale}, {rev: 3}, {rev: 4}}
	for i, c := range group {
		if got := <-c.outcome; got != want[i] {
			t.Errorf("transaction %d: got %v, want %v", i, got, want[i])
		}
	}
	if value, err := get(t, s, 4, p); err != nil || value != "2" {
		t.Errorf("got %q, %v", value, err)
	}
}

func TestRecentCommits(t *testing.T) {
	acme := datastore.TenantID("acme")
	var r recentCommits
	r.base = 100
	for rev := datastore.Revision(101); rev <= 110; rev++ {
		r.add(rev, []datastore.Write{{Path: acme.Path("p", fmt.Sprint(rev))}})
	}
	point := func(read datastore.Revision, rev int) *commit {
		return &commit{read: read, points: map[string]struct{}{acme.Path("p", fmt.Sprint(rev)).Key(): {}}}
	}
	for _, c := range []struct {
		name string
		c    *commit
		want bool
	}{
		{"written after", point(100, 101), true},
		{"written at what was read", point(105, 105), false},
		{"written right after", point(105, 106), true},
		{"written by the last", point(109, 110), true},
		{"nothing after", point(110, 110), false},
		{"another path", point(100, 111), false},
		{"no longer remembered", point(99, 111), true},
		{"blind, however old", &commit{read: 1}, false},
		{"a range", &commit{read: 105, ranges: []keyRange{{below: "acme/p/"}}}, true},
		{"a range read after", &commit{read: 110, ranges: []keyRange{{below: "acme/p/"}}}, false},
		{"a range up to", &commit{read: 105, ranges: []keyRange{{below: "acme/p/", last: "acme/p/105"}}}, false},
		{"a range after", &commit{read: 105, ranges: []keyRange{{below: "acme/p/", after: "acme/p/110"}}}, false},
		{"a range from within", &commit{read: 105, ranges: []keyRange{{below: "acme/p/", after: "acme/p/109"}}}, true},
		{"a sibling range", &commit{read: 105, ranges: []keyRange{{below: "acme/p-/"}}}, false},
	} {
		if got := r.changed(c.c); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	r.add(111, make([]datastore.Write, maxRecentPaths))
	if r.base != 110 || len(r.commits) != 1 {
		t.Errorf("after a huge commit %d are remembered from %d on", len(r.commits), r.base)
	}
	if !r.changed(point(109, 1)) || r.changed(point(111, 1)) {
		t.Error("what is forgotten counts as changed, and only that")
	}
	r.add(112, nil)
	if r.base != 111 || len(r.commits) != 1 {
		t.Errorf("then %d are remembered from %d on", len(r.commits), r.base)
	}
}

func TestChangeEncoding(t *testing.T) {
	long := benchTenant.Path(strings.Repeat("x", 1000), "\x00/~😀")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	writes := []datastore.Write{{Path: benchTenant.Path("a")}, {Path: long, Deleted: true}}
	b := encodeChange(at, writes)
	c, err := decodeChange(7, b)
	if err != nil || c.Revision != 7 || !c.Time.Equal(at) || !slices.Equal(c.Writes, writes) {
		t.Errorf("got %v, %v", c, err)
	}
	for n := range b {
		if c, err := decodeChange(7, b[:n]); err == nil && len(c.Writes) == len(writes) {
			t.Errorf("cut after %d bytes it is read as %v", n, c)
		}
	}
	if int64(len(b)) > 8+loggedSize(writes[0].Path.Key())+loggedSize(long.Key()) {
		t.Error("the estimate is too low")
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := badgerLogger{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	l.Debugf("noise %d", 1)
	l.Infof("noise %d", 2)
	l.Warningf("warning %d\n", 3)
	l.Errorf("error %d", 4)
	if got := out.String(); strings.Contains(got, "noise") || !strings.Contains(got, `level=WARN msg="badger: warning 3"`) ||
		!strings.Contains(got, `level=ERROR msg="badger: error 4"`) {
		t.Errorf("got %s", got)
	}
}

// TestOpenAfterLogsWereLeftEmpty has what a process leaves that is killed between making a file and giving it a size.
func TestOpenAfterLogsWereLeftEmpty(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	p := datastore.TenantID("default").Path("users", "alice")
	rev := put(t, s, p, "{}")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00098.mem", "00099.mem", "000099.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, Options{})
	if value, err := get(t, s, rev, p); err != nil || value != "{}" {
		t.Errorf("%s, %v", value, err)
	}
}
