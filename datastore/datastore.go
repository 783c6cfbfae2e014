// Package datastore is the contract between Mandate and the place where its facts live.
//
// A fact is a small JSON document at a Path. Every commit gets the next Revision, one number that orders every change
// in a store. A View is a snapshot at one revision: it never shows a part of a commit, and never a later one. Updates
// are serializable.
//
// A store must never acknowledge a commit that a crash could take back, show a commit in part, or give two commits one
// revision. The package storetest holds the tests that say so for any store; badgerstore is the embedded one.
package datastore

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Revision numbers the commits of a store: 0 is the empty store, each commit has the next number.
type Revision uint64

// MaxValueBytes bounds one document, which is smaller than 1 MiB.
const MaxValueBytes = 1<<20 - 1

var (
	// ErrNotFound is returned by Get when there is no document at the path.
	ErrNotFound = errors.New("no document at this path")
	// ErrRevisionGone means that the history asked for is older than the retention window.
	ErrRevisionGone = errors.New("revision is older than the retention window")
	// ErrRevisionAhead is returned for a revision that is not visible yet, for which Await waits, and for a time to come.
	ErrRevisionAhead = errors.New("revision is not visible yet")
	// ErrConflict means that an update lost the race against others more often than the store retries.
	ErrConflict = errors.New("too many conflicting updates")
	// ErrTooLarge means that a document or a transaction exceeds what the store can commit at once.
	ErrTooLarge = errors.New("too large for one commit")
	// ErrPath means that a path is invalid: see Path.
	ErrPath = errors.New("invalid path")
	// ErrClosed is returned by everything that is called on a closed store.
	ErrClosed = errors.New("store is closed")
)

// Store keeps facts at revisions. It is safe for concurrent use.
type Store interface {
	// View is a snapshot at the newest revision: every commit acknowledged before the call is in it.
	View(ctx context.Context) (View, error)
	// ViewAt is a snapshot at revision r: ErrRevisionGone when r is older than the retention window,
	// ErrRevisionAhead when it is newer than what is visible.
	ViewAt(ctx context.Context, r Revision) (View, error)
	// Update runs fn in a serializable transaction and commits it. When anything that fn read has been changed by
	// another commit (documents that came up below a scanned prefix included), fn is run again on a new snapshot, a
	// bounded number of times, then ErrConflict. So fn must have no other effects than on its Tx. An error from fn
	// discards the transaction and is returned as it is. Update returns once the commit is durable and visible, with
	// its revision; when fn wrote nothing there is no commit, and the revision is the one that fn saw.
	Update(ctx context.Context, fn func(Tx) error) (Revision, error)
	// Watch yields every commit after the given revision, in order and without gaps, and goes on as new ones come. It
	// ends when the consumer stops, or yields one error: ctx's, ErrClosed, or ErrRevisionGone when the store
	// no longer knows what came right after that revision.
	Watch(ctx context.Context, after Revision) iter.Seq2[Change, error]
	// RevisionAt is the revision that was the newest at time t: ErrRevisionGone when t is older than the retention window,
	// ErrRevisionAhead when it has not come yet.
	RevisionAt(ctx context.Context, t time.Time) (Revision, error)
	// Await returns nil once revision r is visible to View.
	Await(ctx context.Context, r Revision) error
	// Newest is the revision at which View begins now.
	Newest() Revision
	// Clock tells what has changed since a revision. The store marks it as Clock says.
	Clock() *Clock
	// Close waits for the commits in flight and releases the store. Views must be closed before.
	Close() error
}

// Reader is what snapshots and transactions have in common.
type Reader interface {
	// Revision is the revision of the snapshot.
	Revision() Revision
	// Get returns the document at p, which the caller may keep and change, or ErrNotFound.
	Get(ctx context.Context, p Path) ([]byte, error)
	// Stat returns the revision of the commit that last set the document at p, or ErrNotFound. For one that the
	// transaction has set itself it is 0, for nobody knows it yet.
	Stat(ctx context.Context, p Path) (Revision, error)
	// Scan yields all documents strictly below prefix whose path sorts after the given one (the zero Path: from the
	// start), in the byte order of Path.Key. To go on with the next page, pass the last path of this one. When
	// an error is yielded, it is the last.
	Scan(ctx context.Context, prefix, after Path) iter.Seq2[Fact, error]
}

// View is a snapshot of the store at one revision. It is safe for concurrent use until Close. Once its revision
// falls out of the retention window, reads return ErrRevisionGone.
type View interface {
	Reader
	Close()
}

// Tx is a transaction in progress. Reads see its own writes. It must not be used after fn has returned, nor by
// more than one goroutine.
type Tx interface {
	Reader
	// Put sets the document at p. The value is kept until the commit and must not be changed: ErrTooLarge
	// when it exceeds MaxValueBytes or the transaction grows too large to commit at once.
	Put(p Path, value []byte) error
	// Delete removes the document at p, if there is one.
	Delete(p Path) error
}

// Fact is a document at its path, and the revision that Stat returns for it.
type Fact struct {
	Path     Path
	Value    []byte
	Revision Revision
}

// Change is one commit, as Watch reports it. The new values are read with ViewAt(Revision). Writes has each path once, and
// is empty when a store has committed something for itself.
type Change struct {
	Revision Revision
	Time     time.Time
	Writes   []Write
}

// Write names a path that a commit set or deleted.
type Write struct {
	Path    Path
	Deleted bool
}
