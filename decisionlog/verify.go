package decisionlog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// Tampering says what was done to a log.
type Tampering string

// What can be done to a log. A record that was removed cannot be told from the one after it having been changed when no signed head
// follows.
const (
	Changed    Tampering = "changed"
	Dropped    Tampering = "dropped"
	Inserted   Tampering = "inserted"
	Reordered  Tampering = "reordered"
	Missing    Tampering = "missing"    // a segment
	Forged     Tampering = "forged"     // what another key has signed, or none
	Truncated  Tampering = "truncated"  // the end, which a head that was kept elsewhere knows
	Unreadable Tampering = "unreadable" // a segment, or a block of a sealed one
	Misindexed Tampering = "misindexed" // the records are there, but the index would not find them
)

// Problem is where a log was tampered with.
type Problem struct {
	What    Tampering `json:"what"`
	Segment uint64    `json:"segment"`
	Offset  int64     `json:"offset"`      // in the segment, as it is before it is sealed
	ID      ID        `json:"id,omitzero"` // of the record there, or the first after it
	Text    string    `json:"text"`
}

// Verified is what Verify has found.
type Verified struct {
	Segments int `json:"segments"`
	Records  int `json:"records"`
	Heads    int `json:"heads"` // signed by the key
	First    ID  `json:"first,omitzero"`
	Last     ID  `json:"last,omitzero"`
	// Removed is the last segment that retention has removed.
	Removed uint64 `json:"removed"`
	// Unsigned are the records after the last head: nobody has vouched for them yet.
	Unsigned int `json:"unsigned"`
	// Torn are the bytes of a write that has not ended, or was ended by a crash.
	Torn int64 `json:"torn"`
	// Head is the last one: kept elsewhere, it is the anchor of a later Verify.
	Head *Head `json:"head,omitempty"`
	// Problems are the first that were found. The log is good when there is none.
	Problems []Problem `json:"problems"`
}

// maxProblems is how many are told.
const maxProblems = 100

const progressEvery = 10_000

// unsignedFor is for how long a log can be without a head. It is signed every second.
const unsignedFor = time.Minute

// Verify computes the chain of the log in a folder anew and checks what was signed, by the key. The anchor is a head that was kept
// elsewhere, or the zero Head. It tells progress now and then how many records it has seen, unless that is nil. The error is about what
// kept it from looking. A log that is being written can be verified too.
func Verify(ctx context.Context, folder, tenant string, key ed25519.PublicKey, anchor Head, progress func(records int)) (Verified, error) {
	if progress == nil {
		progress = func(int) {}
	}
	v := verifier{folder: folder, tenant: tenant, key: key, anchor: anchor, progress: progress}
	err := v.verify(ctx)
	v.Removed = v.removed.Segment
	return v.Verified, err
}

type verifier struct {
	Verified
	folder, tenant string
	key            ed25519.PublicKey
	anchor         Head
	anchored       bool
	progress       func(records int)
	removed        removed

	segment  uint64
	newest   bool // the segment is the last one
	last     link // the end of the chain in the segment before
	known    bool // whether that is so
	inHead   bool // the last frame was a good head
	forged   bool // the last head was not good
	pending  window
	unsigned ID // the first record after the last good head
	rebuilt  *indexer
}

func (v *verifier) report(what Tampering, offset int64, id ID, format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, Problem{what, v.segment, offset, id, fmt.Sprintf(format, args...)})
	}
}

func (v *verifier) verify(ctx context.Context) error {
	// In this order: what retention removes meanwhile is noted before.
	segments, err := Segments(v.folder)
	if err != nil {
		return err
	}
	if err := v.readRemoved(); err != nil {
		return err
	}
	if v.anchor.Segment > 0 && !v.anchor.signedBy(v.key, v.tenant) {
		v.report(Forged, int64(v.anchor.Offset), 0, "the head that was kept elsewhere was not signed by this key")
		v.anchor = Head{}
	}
	expected := uint64(1)
	if v.removed.Segment > 0 {
		v.last, expected = v.removed.Link, v.removed.Segment+1
	}
	v.known = true
	if len(segments) > 0 && segments[0] < expected {
		expected, v.known = segments[0], segments[0] == 1 // retention was interrupted
		v.last = link{}
	}
	for _, n := range segments {
		if n != expected {
			v.segment = expected
			v.report(Missing, 0, 0, "the segments %d to %d are missing", expected, n-1)
			v.known = false
		}
		v.segment, v.newest, expected = n, n == segments[len(segments)-1], n+1
		if err := v.verifySegment(ctx); err != nil {
			return err
		}
	}
	if len(segments) == 0 {
		v.segment = expected
		v.report(Missing, 0, 0, "there is no segment")
	}
	if v.Unsigned > 0 && v.Last.Time().Sub(v.unsigned.Time()) > unsignedFor {
		v.report(Forged, 0, v.unsigned, "no head was signed for the %d records from %v on, though one is every second", v.Unsigned, v.unsigned)
	}
	if v.anchor.Segment > v.removed.Segment && !v.anchored {
		v.segment = v.anchor.Segment
		v.report(Truncated, int64(v.anchor.Offset), 0, "the log had more at %s: what was there after the record %v is not, or is another",
			v.anchor.At.Format(time.RFC3339), v.Last)
	}
	return nil
}

func (v *verifier) readRemoved() (err error) {
	if v.removed, err = readRemoved(v.folder); err != nil {
		return err
	}
	if v.removed.Segment > 0 && !ed25519.Verify(v.key, v.removed.signed(v.tenant), v.removed.Signature) {
		v.segment = v.removed.Segment
		v.report(Forged, 0, 0, "the note that retention has removed the segments up to %d was not signed by this key", v.removed.Segment)
		v.removed = removed{}
	}
	return nil
}

func (v *verifier) verifySegment(ctx context.Context) error {
	file, sealed, err := openFile(v.folder, v.segment)
	if errors.Is(err, fs.ErrNotExist) {
		if err := v.readRemoved(); err != nil {
			return err
		}
		v.known = v.removed.Segment == v.segment
		v.last = v.removed.Link
		if v.removed.Segment < v.segment {
			v.report(Missing, 0, 0, "the segment was removed just now")
		}
		return nil
	}
	if err != nil {
		return err
	}
	s := &segment{file: file, sealed: sealed}
	defer s.close()
	v.Segments++
	v.inHead, v.rebuilt = false, nil
	if sealed {
		err = v.verifySealed(ctx, s)
	} else {
		err = v.verifyPlain(ctx, s)
	}
	v.settle(nil)
	if err == nil && !v.newest && !v.inHead {
		v.report(Forged, 0, v.Last, "the segment does not end with a signed head")
	}
	return err
}

func (v *verifier) verifyPlain(ctx context.Context, s *segment) error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("read segment %d of the decision log: %w", v.segment, err)
	}
	for offset := int64(0); ; {
		r := io.NewSectionReader(s.file, offset, info.Size()-offset)
		end, err := v.frames(ctx, v.framesAt(r, offset))
		if err == nil && end == 0 {
			v.report(Unreadable, 0, 0, "the segment is empty")
		}
		if !errors.Is(err, errTorn) {
			return err
		}
		rest := make([]byte, min(info.Size()-end, 2*maxFrame))
		if _, err := s.file.ReadAt(rest, end); err != nil {
			return fmt.Errorf("read segment %d of the decision log: %w", v.segment, err)
		}
		skipped, ok := nextLinked(rest)
		if !ok {
			if v.newest {
				v.Torn = info.Size() - end
			} else {
				v.report(Changed, end, 0, "after the record %v, %d bytes are no frames", v.Last, info.Size()-end)
				v.known = false
			}
			return nil
		}
		v.report(Changed, end, 0, "after the record %v, %d bytes are no frames", v.Last, skipped)
		offset = end + int64(skipped)
		v.last = link(rest[skipped-linkBytes:])
	}
}

// nextLinked finds where frames go on after something that is none: the link of what is before a frame is before it.
func nextLinked(rest []byte) (int, bool) {
	for i := linkBytes; i < len(rest); i++ {
		f, err := splitFrame(rest[i:])
		if err != nil || bytes.IndexByte([]byte{frameDescription, frameEntry, frameHead}, f.kind) < 0 {
			continue
		}
		sum := sha256.Sum256(rest[i-linkBytes : i+f.size-linkBytes])
		if bytes.Equal(sum[:linkBytes], rest[i+f.size-linkBytes:i+f.size]) {
			return i, true
		}
	}
	return 0, false
}

func (v *verifier) verifySealed(ctx context.Context, s *segment) error {
	if err := s.openSealed(); err != nil {
		v.report(Unreadable, 0, 0, "the sealed segment cannot be read: %v", err)
		v.known = false
		return nil
	}
	v.rebuilt = newIndexer()
	var text []byte
	for i, b := range s.blocks {
		var err error
		if text, err = s.text(i, text); err != nil {
			v.report(Unreadable, b.Offset, b.First, "the block with the records %v to %v cannot be read: %v", b.First, b.Last, err)
			v.pending.lost, v.rebuilt = true, nil
			continue
		}
		end, err := v.frames(ctx, v.framesAt(bytes.NewReader(text), b.Offset))
		if errors.Is(err, errTorn) {
			v.report(Changed, end, 0, "after the record %v, %d bytes are no frames", v.Last, b.Offset+b.Length-end)
			v.pending.lost, v.rebuilt = true, nil
			continue
		}
		if err != nil {
			return err
		}
		if v.rebuilt != nil {
			v.rebuilt.endBlock(place{b.At, b.Size, b.Length})
		}
	}
	if v.rebuilt != nil {
		v.verifyIndex(s)
	}
	v.known = v.known && !v.pending.lost
	v.pending.lost = false
	return nil
}

// verifyIndex compares the index with one that is made of the records.
func (v *verifier) verifyIndex(s *segment) {
	x := v.rebuilt
	same := slices.Equal(s.blocks, x.blocks)
	check := func(p place, want []byte) {
		if same {
			text, err := s.unpack(p, nil)
			same = err == nil && bytes.Equal(text, want)
		}
	}
	for c, p := range s.index.Columns {
		check(p, columnText(x.columns[c]))
	}
	check(s.index.Offsets, columnText(x.offsets))
	check(s.index.Uses, x.uses)
	if !same {
		v.report(Misindexed, 0, s.firstID(), "the index does not say what is in the segment")
	}
}

// framesAt goes on after v.last. A header follows nothing.
func (v *verifier) framesAt(r io.Reader, offset int64) *frames {
	if offset == 0 {
		return newFrames(r)
	}
	return newFramesAt(r, v.last, offset)
}

// frames checks frames until their end, and returns where that is.
func (v *verifier) frames(ctx context.Context, s *frames) (int64, error) {
	for {
		f, linked, err := s.next()
		if errors.Is(err, io.EOF) {
			v.last = s.last
			return s.offset, nil
		}
		if err != nil {
			v.last = s.last
			return s.offset, err
		}
		if err := ctx.Err(); err != nil {
			return s.offset, err
		}
		v.frame(f, s, linked)
		v.last = s.last
	}
}

// frame checks one frame. v.last is the link before it.
func (v *verifier) frame(f frame, s *frames, linked bool) {
	v.inHead = false
	id := ID(0)
	switch f.kind {
	case frameHeader:
		v.header(f)
	case frameEntry:
		if e, _, err := parseEntry(f.payload); err == nil {
			id = e.ID
			v.entry(id)
		}
	}
	if f.offset == 0 && f.kind != frameHeader {
		v.report(Changed, 0, id, "the segment does not begin with a header")
	}
	if v.rebuilt != nil {
		if err := v.rebuilt.add(f); err != nil {
			v.report(Changed, f.offset, id, "%v", err)
		}
	}
	v.pending.add(f, s.raw(f), v.last, id, linked)
	if f.kind == frameHead {
		v.head(f)
	}
	if v.pending.full() {
		v.settle(nil)
	}
	if v.anchor.Segment == v.segment && s.last == v.anchor.Link {
		v.anchored = true
	}
}

func (v *verifier) header(f frame) {
	h, err := parseHeader(f)
	former, known := v.last, v.known
	v.last, v.known = link{}, true // what the link of a header follows
	switch {
	case err != nil:
		v.report(Changed, f.offset, 0, "%v", err)
	case f.offset != 0:
		v.report(Inserted, f.offset, 0, "a header is within the segment")
	case h.Segment != v.segment || h.Tenant != v.tenant:
		v.report(Reordered, 0, 0, "it is segment %d of the tenant %q", h.Segment, h.Tenant)
	case known && h.Former != former:
		v.report(Dropped, 0, 0, "the segment does not follow the end of the one before, whose last record is %v", v.Last)
	}
}

func (v *verifier) entry(id ID) {
	v.Records++
	if v.First == 0 {
		v.First = id
	}
	v.Last = id
	if v.Records%progressEvery == 0 {
		v.progress(v.Records)
	}
	if v.Unsigned++; v.Unsigned == 1 {
		v.unsigned = id
	}
}

func (v *verifier) head(f frame) {
	h, err := parseHead(f.payload, v.segment, v.last)
	if err != nil || !h.signedBy(v.key, v.tenant) {
		if !v.forged {
			v.report(Forged, f.offset, v.unsigned, "the head was not signed by this key for what is before it, from the record %v on", v.unsigned)
		}
		v.forged = true
		v.settle(nil)
		return
	}
	v.Heads++
	h.Signature = bytes.Clone(h.Signature)
	v.Head = &h
	v.Unsigned, v.unsigned, v.inHead, v.forged = 0, 0, true, false
	v.settle(&h)
}
