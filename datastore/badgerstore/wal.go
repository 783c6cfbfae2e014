package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// walSyncer brings everything that was written to the database to disk. It is used by one goroutine at a
// time, while nothing is being written.
//
// Badger's own Sync is not enough. It syncs the write-ahead log of the active memtable only. When a memtable fills up in
// the middle of a group, Badger seals it, goes on in a new file and flushes the sealed one to a table in the
// background, without a sync of its log. Until that table is done, a power failure takes the part of the
// sealed log that was not synced. So after the active log, every other *.mem file that has not been synced since
// it was sealed is synced here. Its pages were written through a memory map by this process; fsync through
// any descriptor of a file covers the pages of all its shared maps. A sealed log is never written again: once is enough.
// The directory is synced when the set of logs has changed, because Badger creates them without doing so.
//
// A file that is gone between the listing and the sync has become a table: Badger removes a log only after the table
// was synced and entered in the synced manifest. (It does not sync the directory before that, and relies, like most
// software, on the sync of a new file making its name durable too, which ext4, XFS and btrfs do.)
type walSyncer struct {
	dir    string
	sync   func() error // Badger's
	known  []string     // the logs at the last sync, sorted
	sealed map[string]bool
}

func (w *walSyncer) syncAll() error {
	if err := w.sync(); err != nil {
		return fmt.Errorf("sync the active log: %w", err)
	}
	logs, err := w.logs()
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	sealed := make(map[string]bool)
	for _, name := range logs[:max(len(logs)-1, 0)] { // the last one is the active one
		if !w.sealed[name] {
			if err := syncFile(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("sync a sealed log: %w", err)
			}
		}
		sealed[name] = true
	}
	if !slices.Equal(logs, w.known) {
		if err := syncFile(w.dir); err != nil {
			return fmt.Errorf("sync the directory: %w", err)
		}
	}
	w.known, w.sealed = logs, sealed
	return nil
}

// logs returns the names of the write-ahead logs in the order of their numbers.
func (w *walSyncer) logs() ([]string, error) {
	d, err := os.Open(w.dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".mem") })
	slices.SortFunc(names, func(a, b string) int { // numbers with leading zeros, longer when they have outgrown five digits
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
