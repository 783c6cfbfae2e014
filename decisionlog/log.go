package decisionlog

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	syncInterval        = time.Second
)

// Options of a Log.
type Options struct {
	Tenant string
	// Key signs the heads of the chain.
	Key  ed25519.PrivateKey
	Mode Mode // CrashSafe when empty
	// AllowUnlogged lets Commit succeed when the disk is full or fails. What is lost is counted (Stats.Lost) and reported.
	AllowUnlogged bool
	// SegmentBytes is from which size on a new segment is begun; 64 MiB when zero.
	SegmentBytes int64
	// Report is told when the log cannot be written, and when it can be again (nil); it must not block.
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
	written atomic.Uint64 // of appended: in the kernel, or lost
	good    int64         // where the segment's whole frames end
	last    link          // there
	spare   []byte        // a buffer to append to next
	signed  link          // the last head, which says nothing new now

	syncing  sync.Mutex
	synced   atomic.Uint64
	failures atomic.Uint64
	lost     atomic.Uint64
	failing  atomic.Bool

	entries, bytes atomic.Uint64
}

// Stats are the figures of a log since it was opened.
type Stats struct {
	Entries, Bytes uint64
	Lost           uint64 // bytes that could not be written and were answered all the same (Options.AllowUnlogged)
	Failures       uint64
	Failing        bool // the last attempt to write has failed
	Unsynced       uint64
}

// Open opens the log in a folder, which it makes when there is none. What a crash has torn at the end of the last segment
// is cut off: nothing of it was acknowledged.
func Open(folder string, o Options) (*Log, error) {
	if o.Mode == "" {
		o.Mode = CrashSafe
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	l := &Log{o: o, folder: folder}
	l.epoch.Store(1)
	if o.Mode == Off {
		return l, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the decision log: %w", err)
	}
	segments, err := Segments(folder)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		return l, l.begin(1, link{})
	}
	if err := l.resume(segments[len(segments)-1]); err != nil {
		return nil, err
	}
	for i := len(segments) - 2; i >= 0 && l.id == 0; i-- {
		// The clock may have been set back, and ids grow all the same.
		if err := readSegment(context.Background(), segmentFile(folder, segments[i]), func(r Record) error {
			l.id = max(l.id, r.ID)
			return nil
		}); err != nil {
			return nil, fmt.Errorf("open segment %d of the decision log: %w", segments[i], err)
		}
	}
	return l, nil
}

// Nothing is a log that keeps nothing and only makes ids.
func Nothing(now func() time.Time) *Log {
	l, _ := Open("", Options{Mode: Off, Now: now}) // opening nothing does not fail
	return l
}

const segmentSuffix = ".log"

// Segments are the numbers of the segments in a folder, in order.
func Segments(folder string) ([]uint64, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("list the decision log: %w", err)
	}
	var segments []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil && len(name) == 16 {
			segments = append(segments, n)
		}
	}
	slices.Sort(segments)
	return segments, nil
}

func segmentFile(folder string, n uint64) string {
	return filepath.Join(folder, fmt.Sprintf("%016d%s", n, segmentSuffix))
}

// begin makes a segment, which is the current one from then on. Nothing may be pending.
func (l *Log) begin(n uint64, former link) error {
	b, err := header{Format: formatVersion, Tenant: l.o.Tenant, Segment: n, Former: former, Begun: l.o.Now().UTC()}.appendFrame(make([]byte, linkBytes))
	if err != nil {
		return err
	}
	// It appears whole under its name, or not at all.
	name := segmentFile(l.folder, n)
	made, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("begin a segment of the decision log: %w", err)
	}
	_, err = made.Write(b[linkBytes:])
	if err == nil {
		err = made.Sync()
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncFolder(l.folder)
	}
	if err != nil {
		_ = made.Close()
		_ = os.Remove(name + ".new")
		return fmt.Errorf("begin a segment of the decision log: %w", err)
	}
	l.use(made, n, int64(len(b)-linkBytes), link(b[len(b)-linkBytes:]))
	return nil
}

// resume goes on with the last segment.
func (l *Log) resume(n uint64) error {
	f, err := os.OpenFile(segmentFile(l.folder, n), os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the decision log: %w", err)
	}
	frames := 0
	end, last, err := wholeFrames(f, func(frame frame, _ int64) error {
		if frames++; frames == 1 {
			h, err := parseHeader(frame.payload)
			if err == nil && (h.Segment != n || h.Tenant != l.o.Tenant) {
				err = fmt.Errorf("it is segment %d of tenant %q", h.Segment, h.Tenant)
			}
			return err
		}
		if frame.kind != frameEntry {
			return nil
		}
		e, _, err := parseEntry(frame.payload)
		l.id = max(l.id, e.ID)
		return err
	})
	if err == nil && frames == 0 {
		err = errors.New("it has no header")
	}
	if err == nil {
		err = f.Truncate(end)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open segment %d of the decision log: %w", n, err), f.Close())
	}
	l.use(f, n, end, last)
	return nil
}

func (l *Log) use(f *os.File, n uint64, end int64, last link) {
	l.file, l.segment, l.good, l.last, l.at = f, n, end, last, end
	l.pending = append(l.pending[:0], last[:]...)
}

func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Ref refers to a description in the segment that is written now.
type Ref struct {
	epoch  uint32
	offset uint32
}

// Epoch changes when a Ref becomes stale.
func (l *Log) Epoch() uint32 { return l.epoch.Load() }

// On says whether anything is kept.
func (l *Log) On() bool { return l.o.Mode != Off }

// Describe appends a description, to which entries can refer. Of one that is no JSON, only its kind is kept: there must be a record
// all the same.
func (l *Log) Describe(d *Description) Ref {
	if !l.On() {
		return Ref{}
	}
	text, err := json.Marshal(d, json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		text, _ = json.Marshal(Description{Kind: d.Kind, Allow: d.Allow, MaskFailed: true}) // made of two texts
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
	if l.good >= l.o.SegmentBytes {
		l.rotate()
	}
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
	if _, err := l.file.WriteAt(text, l.good); err != nil {
		return err
	}
	l.good += int64(len(text))
	l.last = link(b[len(b)-linkBytes:])
	l.bytes.Add(uint64(len(text)))
	l.written.Add(uint64(len(text)))
	if l.failing.CompareAndSwap(true, false) {
		l.o.Report(nil)
	}
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
	// What was written of it goes, so that the segment ends with a whole frame. When that fails too, it is written over.
	_ = l.file.Truncate(l.good)
	if l.failing.CompareAndSwap(false, true) {
		l.o.Report(fmt.Errorf("write the decision log: %w", err))
	}
}

// rotate signs the head of the segment and begins the next. Those who append wait meanwhile, but not until the disk has it.
// When it fails, the segment goes on. l.writing is held.
func (l *Log) rotate() {
	former, err := l.next()
	if err != nil {
		if l.failing.CompareAndSwap(false, true) {
			l.o.Report(err)
		}
		return
	}
	if err := errors.Join(former.Sync(), former.Close()); err != nil {
		l.o.Report(fmt.Errorf("sync a segment of the decision log: %w", err))
	}
}

// next writes all that is left to the segment and begins another one. It returns the file of the former.
func (l *Log) next() (former *os.File, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sign()
	if err := l.put(l.pending); err != nil {
		unwritten := uint64(len(l.pending) - linkBytes)
		l.pending = l.pending[:linkBytes]
		l.lose(err, unwritten)
		return nil, err
	}
	l.pending = append(l.pending[:0], l.last[:]...)
	former = l.file
	if err := l.begin(l.segment+1, l.last); err != nil {
		return nil, err
	}
	l.epoch.Add(1)
	return former, nil
}

// sign appends a signed head, unless there is nothing new to sign. l.mu is held.
func (l *Log) sign() {
	head := link(l.pending[len(l.pending)-linkBytes:])
	if head == l.signed || l.o.Key == nil {
		return
	}
	before := len(l.pending)
	l.pending = appendHead(l.pending, l.o.Key, l.o.Tenant, l.segment, l.o.Now())
	l.signed = link(l.pending[len(l.pending)-linkBytes:])
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
	file, written := l.file, l.written.Load()
	l.writing.Unlock()
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: by rotate, which syncs
		l.failures.Add(1)
		if l.failing.CompareAndSwap(false, true) {
			l.o.Report(fmt.Errorf("sync the decision log: %w", err))
		}
	}
	l.synced.Store(written)
}

// Run signs and syncs the log every second until ctx ends.
func (l *Log) Run(ctx context.Context) {
	if !l.On() {
		return
	}
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

// Checkpoint signs what is there, writes it and waits until the disk has it.
func (l *Log) Checkpoint() {
	l.writing.Lock()
	l.mu.Lock()
	l.sign()
	l.mu.Unlock()
	l.write()
	l.writing.Unlock()
	l.sync(l.written.Load())
}

// Close signs and syncs the log. Nothing may be appended after.
func (l *Log) Close() error {
	if !l.On() {
		return nil
	}
	l.Checkpoint()
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close the decision log: %w", err)
	}
	return nil
}

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
