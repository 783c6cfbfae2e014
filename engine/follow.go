package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime is how long a place must be quiet before it is read: an editor saves in several steps.
const settleTime = 100 * time.Millisecond

// retryTime is after what time a set is given again that could not be applied.
const retryTime = 10 * time.Second

// Follow keeps policies the same as those at a place, a folder or a file, of which load gives the files. It compares them with the set
// of the revision seen, and again after every change there, and calls apply when their content differs from what it saw last: with the
// new set, or with the error that refuses it, upon which the caller goes on with the set that it has. When apply itself fails, it is
// called again after a while. Before a set is tested, testing is called. It calls both from the calling goroutine and returns when ctx
// has ended, with nil, or when the place cannot be watched.
//
// What is there at first is applied too, when it is not seen.
func Follow(ctx context.Context, place, seen string, load func(place string) ([]File, error), testing func(), apply func(*PolicySet, error) error) error {
	dir, err := filepath.Abs(place)
	if err != nil {
		return fmt.Errorf("follow policies: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow policies in %s: %w", dir, err)
	}
	defer watcher.Close()

	// The parent tells when the place itself is replaced.
	if err := watcher.Add(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("follow policies in %s: %w", dir, err)
	}
	f := follower{dir: dir, root: dir, watcher: watcher, load: load, testing: testing, apply: apply, seen: seen}
	settled := time.NewTimer(0)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-watcher.Events:
			if !ok {
				return fmt.Errorf("follow policies in %s: watcher closed", dir)
			}
			if f.concerns(event.Name) {
				settled.Reset(settleTime)
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return fmt.Errorf("follow policies in %s: watcher closed", dir)
			}
			// Events were lost, or a folder could not be watched: reading everything again makes up for both.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				_ = f.fail(fmt.Errorf("follow policies in %s: %w", dir, err)) // it is read again below
			}
			settled.Reset(settleTime)
		case <-settled.C:
			if err := f.check(ctx); err != nil {
				f.file, f.seen = nil, ""
				settled.Reset(retryTime)
			}
		}
	}
}

// follower is the state of Follow.
type follower struct {
	dir     string
	root    string      // dir without symbolic links, when it was last looked at
	file    fs.FileInfo // when the place is a file: as it was when it was last read
	watcher *fsnotify.Watcher
	load    func(place string) ([]File, error)
	testing func()
	apply   func(*PolicySet, error) error
	failed  bool   // it could not be read
	seen    string // revision of the content that was seen last, or the error instead
}

// concerns says whether a change of what has this name may be one of the policies. A file may be a link through other links beside it.
func (f *follower) concerns(name string) bool {
	return name == f.dir || f.file != nil || strings.HasPrefix(name, f.root+string(filepath.Separator))
}

// check reads the place again. Its error is that of apply.
func (f *follower) check(ctx context.Context) error {
	// Watching comes before reading, so that no change falls between them.
	if err := f.watch(); err != nil {
		return f.fail(fmt.Errorf("follow policies in %s: %w", f.dir, err))
	}
	if f.unchanged() && !f.failed {
		return nil
	}
	f.failed = false
	files, err := f.load(f.dir)
	if err == nil {
		files, err = settle(files)
	}
	if err != nil {
		return f.fail(err)
	}
	revision := revisionOf(files)
	if revision == f.seen {
		return nil
	}
	f.testing()
	set, err := compile(ctx, files, true)
	if ctx.Err() == nil {
		f.seen = revision
		return f.apply(set, err)
	}
	return nil
}

// unchanged says whether the place is the very file that was read last.
func (f *follower) unchanged() bool {
	info, err := os.Stat(f.dir)
	if err != nil || info.IsDir() {
		f.file = nil
		return false
	}
	former := f.file
	f.file = info
	return former != nil && os.SameFile(former, info) && former.ModTime().Equal(info.ModTime()) && former.Size() == info.Size()
}

// fail reports an error once, however many events repeat it.
func (f *follower) fail(err error) error {
	f.failed = true
	if message := err.Error(); message != f.seen {
		f.seen = message
		return f.apply(nil, err)
	}
	return nil
}

// watch watches the folder and all below it that may hold policies, or the folder of the file. Folders that are watched already stay so.
func (f *follower) watch() error {
	root, err := filepath.EvalSymlinks(f.dir)
	if err != nil {
		return err
	}
	f.root = root
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && name != root && errors.Is(err, fs.ErrNotExist):
			return nil // it went while it was looked at, of which there will be an event
		case err != nil:
			return err
		case !entry.IsDir() && name == root:
			return f.watcher.Add(filepath.Dir(root))
		case !entry.IsDir():
			return nil
		case name != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		}
		return f.watcher.Add(name)
	})
}
