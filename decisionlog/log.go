package decisionlog

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Mode says what Commit waits for.
type Mode string

// The modes of a log.
const (
	// CrashSafe: the kernel has the records, which the death of the process cannot take away. They are synced every second.
	CrashSafe Mode = "crash-safe"
	// Durable: the disk has them.
	Durable Mode = "durable"
	// Off: nothing is kept.
	Off Mode = "off"
)

const (
	defaultSegmentBytes = 64 << 20
	defaultSegmentAge   = time.Hour
	syncInterval        = time.Second
	// maxSegment bounds the offsets in a segment, which have four bytes. A segment comes near it only when no other can be begun.
	maxSegment = 1<<32 - 1
	// maxSegmentBytes leaves room for what is pending when a segment is to end.
	maxSegmentBytes = 1 << 30
)

// Options of a Log.
type Options struct {
	Tenant string
	// Key signs the heads of the chain.
	Key  ed25519.PrivateKey
	Mode Mode // CrashSafe when empty
	// AllowUnlogged lets Commit succeed when the disk is full or fails. What is lost is counted (Stats.Lost) and reported.
	AllowUnlogged bool
	// SegmentBytes is from which size on a new segment is begun; 64 MiB when zero, at most 1 GiB.
	SegmentBytes int64
	// SegmentAge is after which time a segment that has records is ended; an hour when zero.
	SegmentAge time.Duration
	// Retention is how long records are kept, and MaxBytes how much the log may take; no end when zero. What goes are whole segments,
	// oldest first, and never the one that is written.
	Retention time.Duration
	MaxBytes  int64
	// Report is told when the log cannot be written or tidied, and when it can be written again (nil); it must not block.
	Report func(error)
	Now    func() time.Time // time.Now when nil
}

// Log is the decision log of a tenant. It is safe for concurrent use.
type Log struct {
	o      Options
	folder string

	mu sync.Mutex // of what is appended
	// pending is what is not written yet, after the link of what comes before it.
	pending []byte
	at      int64 // where pending will be in the segment
	id      ID    // the last one
	// epoch counts the segments, and what could not be written: descriptions of an earlier one cannot be referred to.
	epoch    atomic.Uint32
	appended atomic.Uint64 // bytes, ever

	writing sync.Mutex // held while writing; before mu where both are
	file    *os.File
	segment uint64
	begun   time.Time     // of the segment
	before  ID            // the last id of former segments
	stuck   bool          // the next segment could not be begun
	formers []*os.File    // of former segments, which are not synced yet
	written atomic.Uint64 // of appended: in the kernel, or lost
	good    int64         // where the segment's whole frames end
	last    link          // there
	spare   []byte        // a buffer to append to next
	signed  *Head         // the newest head
	after   link          // the end of the chain with it

	lock    *os.File                      // of the folder
	follows atomic.Pointer[chan struct{}] // closed with the next write, where somebody waits for it
	rotated chan struct{}                 // has one element when there may be something to tidy
	tidying sync.Mutex

	syncing  sync.Mutex
	synced   atomic.Uint64
	failures atomic.Uint64
	lost     atomic.Uint64
	failing  atomic.Bool // as was reported
	// What fails:
	unwritable, unsyncable atomic.Bool

	entries, bytes atomic.Uint64
}

// Stats are the figures of a log since it was opened.
type Stats struct {
	Entries, Bytes uint64
	Lost           uint64 // bytes that could not be written, and were answered all the same with Options.AllowUnlogged
	Failures       uint64
	Failing        bool // the last attempt to write has failed
	Unsynced       uint64
}

// Nothing is a log that keeps nothing and only makes ids.
func Nothing(now func() time.Time) *Log {
	l, _ := Open("", Options{Mode: Off, Now: now}) // opening nothing does not fail
	return l
}

// Ref refers to a description in the segment that is written now.
type Ref struct {
	epoch  uint32
	offset uint32
}

// Epoch changes when a Ref becomes stale.
func (l *Log) Epoch() uint32 { return l.epoch.Load() }

// Newest is the id of the last record.
func (l *Log) Newest() ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// On says whether anything is kept.
func (l *Log) On() bool { return l.o.Mode != Off }

// maxDescription is more than the largest body of a request with its principals.
const maxDescription = 16 << 20

// Describe appends a description, to which entries can refer. Of one that is no JSON or too large, only what it is about is kept:
// there must be a record all the same.
func (l *Log) Describe(d *Description) Ref {
	if !l.On() {
		return Ref{}
	}
	text, err := json.Marshal(d, json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil || len(text) > maxDescription {
		text, _ = json.Marshal(Description{Kind: d.Kind, Point: d.Point, PolicyRevision: d.PolicyRevision, Allow: d.Allow, MaskFailed: true}) // of texts
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ref := Ref{epoch: l.epoch.Load(), offset: uint32(l.at)}
	l.append(frameDescription, func(b []byte) []byte { return append(b, text...) })
	return ref
}

// append appends a frame. l.mu is held.
func (l *Log) append(kind byte, payload func([]byte) []byte) {
	b, start := beginFrame(l.pending, kind)
	l.pending = endFrame(payload(b), start)
	size := len(l.pending) - start
	l.at += int64(size)
	l.appended.Add(uint64(size))
}

// Append appends an entry that began at asked. Its id and duration are made here. Only after Commit may what it is about be
// answered. The error is ErrStale, upon which nothing was appended.
func (l *Log) Append(what Ref, asked time.Time, e Entry) (ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.On() && what.epoch != l.epoch.Load() {
		return 0, ErrStale
	}
	l.id = max(l.id+1, IDAt(l.o.Now()))
	e.ID = l.id
	if !l.On() {
		return e.ID, nil
	}
	e.Took = e.ID.Time().Sub(asked)
	l.append(frameEntry, func(b []byte) []byte { return appendEntry(b, e, what.offset) })
	l.entries.Add(1)
	return e.ID, nil
}

// Record appends a description and its only entry.
func (l *Log) Record(d *Description, asked time.Time, e Entry) ID {
	for {
		if id, err := l.Append(l.Describe(d), asked, e); err == nil {
			return id
		}
	}
}

// Mark is before what is appended next, for Commit.
type Mark struct{ failures uint64 }

// Mark begins a request.
func (l *Log) Mark() Mark { return Mark{l.failures.Load()} }

// Commit returns when everything that was appended before the call is in the log as the mode says. One write serves all who
// wait. It is ErrNotLogged when anything that was appended since the mark may be lost.
func (l *Log) Commit(since Mark) error {
	if !l.On() {
		return nil
	}
	wanted := l.appended.Load()
	if l.written.Load() < wanted {
		l.flush(wanted)
	}
	if l.o.Mode == Durable && l.synced.Load() < wanted {
		l.sync(wanted)
	}
	if l.failures.Load() != since.failures && !l.o.AllowUnlogged {
		return ErrNotLogged
	}
	return nil
}

// flush writes what is pending, unless another has done so up to wanted in the meantime.
func (l *Log) flush(wanted uint64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.written.Load() >= wanted {
		return
	}
	l.write()
	if l.good >= l.o.SegmentBytes && !l.stuck { // else Checkpoint tries again
		l.rotate()
	}
}

// grownOld says whether the segment has records and is to be ended by its age. l.writing is held.
func (l *Log) grownOld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id != l.before && l.o.Now().Sub(l.begun) >= l.o.SegmentAge
}

// write writes what is pending. l.writing is held.
func (l *Log) write() {
	l.mu.Lock()
	b := l.pending
	l.pending = append(l.spare[:0], b[len(b)-linkBytes:]...)
	l.spare = nil
	l.mu.Unlock()
	if err := l.put(b); err != nil {
		l.mu.Lock()
		l.lose(err, uint64(len(b)-linkBytes))
		l.mu.Unlock()
	}
	if cap(b) <= maxSpare {
		l.spare = b
	}
}

// put writes frames, the link before them left out, to the end of the segment. l.writing is held.
func (l *Log) put(b []byte) error {
	text := b[linkBytes:]
	if len(text) == 0 {
		return nil
	}
	if l.good+int64(len(text)) > maxSegment {
		return errors.New("the segment is full, and no other could be begun")
	}
	if _, err := l.file.WriteAt(text, l.good); err != nil {
		return err
	}
	l.good += int64(len(text))
	l.last = link(b[len(b)-linkBytes:])
	l.bytes.Add(uint64(len(text)))
	l.written.Add(uint64(len(text)))
	l.works(&l.unwritable)
	l.wake()
	return nil
}

// maxSpare is how large a buffer is kept.
const maxSpare = 4 << 20

// lose gives up what could not be written, with all that was appended since: it follows in the chain what is not there.
// l.writing and l.mu are held.
func (l *Log) lose(err error, unwritten uint64) {
	l.failures.Add(1)
	l.epoch.Add(1)
	unwritten += uint64(len(l.pending) - linkBytes)
	l.lost.Add(unwritten)
	l.written.Add(unwritten)
	l.pending = append(l.pending[:0], l.last[:]...)
	l.at = l.good
	l.signed = nil // so that the next checkpoint has something to write, and finds out whether that can be done again
	// What was written of it goes, so that the segment ends with a whole frame. When that fails too, it is written over.
	_ = l.file.Truncate(l.good)
	l.fails(&l.unwritable, fmt.Errorf("write the decision log: %w", err))
}

// fails notes that the log cannot be written or synced, and reports it once.
func (l *Log) fails(how *atomic.Bool, err error) {
	how.Store(true)
	if l.failing.CompareAndSwap(false, true) {
		l.o.Report(err)
	}
}

// works notes that what failed works, and reports it when all does.
func (l *Log) works(how *atomic.Bool) {
	if how.Swap(false) && !l.unwritable.Load() && !l.unsyncable.Load() && l.failing.CompareAndSwap(true, false) {
		l.o.Report(nil)
	}
}

// rotate signs the head of the segment and begins the next. When it fails, the segment goes on. l.writing is held.
func (l *Log) rotate() {
	// The next segment may be on the disk only after this one: a power cut must leave no gap. Most is synced before anybody waits.
	err := l.file.Sync()
	if err == nil {
		err = l.next()
	}
	if err != nil && !l.stuck {
		l.o.Report(err)
	}
	if l.stuck = err != nil; l.stuck {
		return
	}
	select {
	case l.rotated <- struct{}{}:
	default: // somebody will look anyway
	}
}

// next writes all that is left to the segment and begins another one.
func (l *Log) next() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sign()
	if err := l.put(l.pending); err != nil {
		unwritten := uint64(len(l.pending) - linkBytes)
		l.pending = l.pending[:linkBytes]
		l.lose(err, unwritten)
		return err
	}
	l.pending = append(l.pending[:0], l.last[:]...)
	former := l.file
	if err := former.Sync(); err != nil {
		return fmt.Errorf("sync a segment of the decision log: %w", err)
	}
	if err := l.begin(l.segment+1, l.last); err != nil {
		return err
	}
	l.formers = append(l.formers, former)
	l.epoch.Add(1)
	return nil
}

// sign appends a signed head, unless there is nothing new to sign. l.mu and l.writing are held.
func (l *Log) sign() {
	end := link(l.pending[len(l.pending)-linkBytes:])
	if l.o.Key == nil || (l.signed != nil && end == l.after) {
		return
	}
	head := signHead(l.o.Key, l.o.Tenant, Head{Segment: l.segment, Offset: uint64(l.at), Link: end, At: l.o.Now().UTC()})
	before := len(l.pending)
	l.pending = appendHead(l.pending, head)
	l.signed, l.after = &head, link(l.pending[len(l.pending)-linkBytes:])
	l.at += int64(len(l.pending) - before)
	l.appended.Add(uint64(len(l.pending) - before))
}

// sync waits until the disk has what was written up to wanted.
func (l *Log) sync(wanted uint64) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.synced.Load() >= wanted {
		return
	}
	l.writing.Lock()
	formers, file, written := l.formers, l.file, l.written.Load()
	l.formers = nil
	l.writing.Unlock()
	err := file.Sync()
	for _, f := range formers { // which are synced
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		l.failures.Add(1)
		l.fails(&l.unsyncable, fmt.Errorf("sync the decision log: %w", err))
	} else {
		l.works(&l.unsyncable)
	}
	l.synced.Store(written)
}

// Run signs and syncs the log every second, and tidies it, until ctx ends.
func (l *Log) Run(ctx context.Context) {
	if !l.On() {
		return
	}
	var tidying sync.WaitGroup
	tidying.Go(func() { l.keepTidy(ctx) })
	defer tidying.Wait()
	ticker := time.NewTicker(syncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.Checkpoint()
		}
	}
}

// Checkpoint signs what is there, writes it and waits until the disk has it. It ends a segment that has grown old.
func (l *Log) Checkpoint() {
	l.writing.Lock()
	l.mu.Lock()
	l.sign()
	l.mu.Unlock()
	l.write()
	if l.good >= l.o.SegmentBytes || l.grownOld() {
		l.rotate()
	}
	l.writing.Unlock()
	l.sync(l.written.Load())
}

// Close signs and syncs the log. Nothing may be appended after, and Run must have ended.
func (l *Log) Close() error {
	if !l.On() {
		return nil
	}
	l.Checkpoint()
	if err := errors.Join(l.file.Close(), l.lock.Close()); err != nil {
		return fmt.Errorf("close the decision log: %w", err)
	}
	return nil
}

// Refuses says whether Commit fails for everybody, because the last attempt to write has failed.
func (l *Log) Refuses() bool { return l.failing.Load() && !l.o.AllowUnlogged }

// Stats are the present figures.
func (l *Log) Stats() Stats {
	return Stats{Entries: l.entries.Load(), Bytes: l.bytes.Load(), Lost: l.lost.Load(), Failures: l.failures.Load(), Failing: l.failing.Load(),
		Unsynced: l.written.Load() - l.synced.Load()}
}

// Written is up to where the records can be read: the current segment and the end of its last whole frame.
func (l *Log) Written() (segment uint64, end int64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.segment, l.good
}
