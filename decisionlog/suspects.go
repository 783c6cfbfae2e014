package decisionlog

import (
	"crypto/sha256"
	"slices"
)

// window has the last frames before a signed head, to tell what was done to those that do not follow what is before them.
type window struct {
	frames   []seen
	suspects int
	lost     bool // something before the next frame could not be read
}

// seen is a frame that was read.
type seen struct {
	offset   int64
	kind     byte
	id       ID   // of the record
	link     link // its own, as it is there
	suspect  bool
	raw      []byte // of a suspect, without its link
	expected int    // of a suspect, the frame in the window that it follows in truth; -1 for one that is not there
}

const (
	windowFrames   = 4096
	windowSuspects = 64
	// maxCopied bounds what is kept of a suspect.
	maxCopied = 1 << 20
)

func (w *window) full() bool {
	return len(w.frames) >= windowFrames && (w.suspects == 0 || len(w.frames) >= 2*windowFrames) || w.suspects >= windowSuspects
}

func (w *window) add(f frame, raw []byte, former link, id ID, linked bool) {
	if len(w.frames) == 0 {
		w.frames = append(w.frames, seen{offset: -1, link: former}) // the end of what is before
	}
	own := link(raw[len(raw)-linkBytes:])
	s := seen{offset: f.offset, kind: f.kind, id: id, link: own, suspect: !linked && !w.lost && f.kind != frameHeader}
	if f.kind == frameHeader && !linked {
		s.suspect = true
	}
	if s.suspect {
		w.suspects++
		s.raw = slices.Clone(raw[:min(len(raw)-linkBytes, maxCopied)])
	}
	w.lost = false
	w.frames = append(w.frames, s)
}

// follows says whether the frame follows the link in truth.
func (s *seen) follows(l link) bool {
	h := sha256.New()
	h.Write(l[:])
	h.Write(s.raw)
	return string(h.Sum(nil)[:linkBytes]) == string(s.link[:])
}

// settle reports the suspects in the window, up to the good head that ends it, if there is one.
func (v *verifier) settle(head *Head) {
	w := &v.pending
	defer func() { *w = window{frames: w.frames[:0], lost: w.lost} }()
	if w.suspects == 0 {
		return
	}
	for i := range w.frames {
		if s := &w.frames[i]; s.suspect {
			s.expected = slices.IndexFunc(w.frames, func(other seen) bool { return s.follows(other.link) })
		}
	}
	dropped := int64(0)
	if head != nil {
		dropped = int64(head.Offset) - w.frames[len(w.frames)-1].offset
	}
	for i, s := range w.frames {
		if !s.suspect {
			continue
		}
		id, before := w.recordAt(i), w.recordBefore(i)
		switch {
		case s.expected >= 0 && w.inserted(s.expected, i):
			first := w.frames[s.expected+1]
			v.report(Inserted, first.offset, w.recordAt(s.expected+1), "what is from here to %d was not there when it was written", s.offset)
		case s.expected >= 0:
			v.report(Reordered, s.offset, id, "the %s was written after another one than it is now", frameName(s.kind))
		case dropped > 0:
			v.report(Dropped, s.offset, id, "something between the records %v and %v is gone, of %d bytes in all up to the next head", before, id, dropped)
		case head != nil:
			v.report(Changed, s.offset, id, "the %s is not as it was written", frameName(s.kind))
		default:
			v.report(Changed, s.offset, id, "the %s is not as it was written, or something between it and the record %v is gone", frameName(s.kind), before)
		}
	}
}

// inserted says whether what is between a frame and one that followed it was written by somebody else: none of it has a place of its
// own in the chain.
func (w *window) inserted(from, to int) bool {
	if from >= to {
		return false
	}
	for i := from + 1; i < to; i++ {
		s := w.frames[i]
		if s.suspect && s.expected >= 0 && !w.repeated(i) {
			return false
		}
	}
	return true
}

// repeated says whether the frame is in the window before.
func (w *window) repeated(i int) bool {
	return slices.ContainsFunc(w.frames[:i], func(s seen) bool { return s.link == w.frames[i].link })
}

// recordAt is the record at a frame, or the first after.
func (w *window) recordAt(i int) ID {
	for _, s := range w.frames[i:] {
		if s.id != 0 {
			return s.id
		}
	}
	return 0
}

func (w *window) recordBefore(i int) ID {
	for _, s := range slices.Backward(w.frames[:i]) {
		if s.id != 0 {
			return s.id
		}
	}
	return 0
}

func frameName(kind byte) string {
	switch kind {
	case frameHeader:
		return "header"
	case frameDescription:
		return "description of records"
	case frameEntry:
		return "record"
	case frameHead:
		return "signed head"
	}
	return "frame"
}
