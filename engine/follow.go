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

// settleTime is how long a folder must be quiet before it is read: an editor saves in several steps.
const settleTime = 100 * time.Millisecond

// Follow keeps policies the same as those in the folder dir. It compares them with current, and again after every
// change in the folder, and calls apply when their content differs from what it saw last: with the new set, or
// with the error that refuses it, upon which the caller goes on with the set that it has. It calls apply from the
// calling goroutine and returns when ctx has ended, with nil, or when the folder cannot be watched.
//
// current may be nil: then what is in the folder at first is applied too.
func Follow(ctx context.Context, dir string, current *PolicySet, apply func(*PolicySet, error)) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("follow policies: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow policies in %s: %w", dir, err)
	}
	defer watcher.Close()

	// The parent tells when the folder itself is replaced.
	if err := watcher.Add(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("follow policies in %s: %w", dir, err)
	}
	f := follower{dir: dir, root: dir, watcher: watcher, apply: apply}
	if current != nil {
		f.seen = current.revision
	}
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
			if event.Name == dir || strings.HasPrefix(event.Name, f.root+string(filepath.Separator)) {
				settled.Reset(settleTime)
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return fmt.Errorf("follow policies in %s: watcher closed", dir)
			}
			// Events were lost, or a folder could not be watched: reading everything again makes up for both.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				f.fail(fmt.Errorf("follow policies in %s: %w", dir, err))
			}
			settled.Reset(settleTime)
		case <-settled.C:
			f.check(ctx)
		}
	}
}

// follower is the state of Follow.
type follower struct {
	dir     string
	root    string // dir without symbolic links, when it was last looked at
	watcher *fsnotify.Watcher
	apply   func(*PolicySet, error)
	seen    string // revision of the content that was seen last, or the error instead
}

// check reads the folder again.
func (f *follower) check(ctx context.Context) {
	// Watching comes before reading, so that no change falls between them.
	if err := f.watch(); err != nil {
		f.fail(fmt.Errorf("follow policies in %s: %w", f.dir, err))
		return
	}
	files, err := load(os.DirFS(f.dir))
	if err != nil {
		f.fail(err)
		return
	}
	revision := revisionOf(files)
	if revision == f.seen {
		return
	}
	set, err := compile(ctx, files, true)
	if ctx.Err() != nil {
		return
	}
	f.seen = revision
	f.apply(set, err)
}

// fail reports an error once, however many events repeat it.
func (f *follower) fail(err error) {
	if message := err.Error(); message != f.seen {
		f.seen = message
		f.apply(nil, err)
	}
}

// watch watches the folder and all below it that may hold policies. Folders that are watched already stay so.
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
		case !entry.IsDir():
			return nil
		case name != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		}
		return f.watcher.Add(name)
	})
}
