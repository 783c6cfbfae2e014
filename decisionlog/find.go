package decisionlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
)

// Read yields the records in a folder from the id on, in order. It ends with the last whole record. An error is the last that it yields.
func Read(ctx context.Context, folder string, from ID) iter.Seq2[Record, error] {
	return Find(ctx, folder, Query{From: from, OldestFirst: true})
}

// Find yields the records in a folder that the query chooses. An error is the last that it yields.
func Find(ctx context.Context, folder string, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		segments, err := Segments(folder)
		if err == nil {
			_, err = q.find(ctx, folder, segments, func(r Record) bool { return yield(r, nil) })
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

// Interrupted is the error of a search whose context has ended. It has yielded all that is chosen up to At, which is zero when it has not
// come that far: it goes on before At, or after At when it is oldest first.
type Interrupted struct {
	At  ID
	Err error
}

func (e *Interrupted) Error() string { return e.Err.Error() }
func (e *Interrupted) Unwrap() error { return e.Err }

// Get is the record with the id, or ErrNotFound.
func Get(ctx context.Context, folder string, id ID) (Record, error) {
	for r, err := range Find(ctx, folder, Query{From: id, Until: id + 1}) {
		return r, err
	}
	return Record{}, ErrNotFound
}

// find calls yield for what the query chooses in the segments, until that is false. It returns whether to go on. When ctx ends, the error
// is an *Interrupted.
func (q Query) find(ctx context.Context, folder string, segments []uint64, yield func(Record) bool) (bool, error) {
	at := ID(0)
	for i := range segments {
		n := segments[i]
		if !q.OldestFirst {
			n = segments[len(segments)-1-i]
		}
		s, err := openSegment(ctx, folder, n, q.Until)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its retention has ended
		}
		if err != nil {
			return false, interrupted(ctx, at, err)
		}
		first, last := s.firstID(), s.lastID()
		passed := last != 0 && last < q.From // all of it is too old
		if q.OldestFirst {
			passed = first != 0 && q.Until != 0 && first >= q.Until // or too new
		}
		more := !passed
		if more {
			more, err = q.inSegment(ctx, s, &at, yield)
		}
		s.close()
		if err == nil && s.torn && n != segments[len(segments)-1] {
			err = fmt.Errorf("the frame after the record %v is not whole: see mandate decisions verify", last)
		}
		if err != nil {
			return false, interrupted(ctx, at, fmt.Errorf("read segment %d of the decision log: %w", n, err))
		}
		if !more {
			return false, nil
		}
	}
	return true, nil
}

func interrupted(ctx context.Context, at ID, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	return &Interrupted{at, err}
}

// inSegment is find in one segment. It notes up to which id it has looked.
func (q Query) inSegment(ctx context.Context, s *segment, at *ID, yield func(Record) bool) (bool, error) {
	f := finder{Query: q, segment: s, judged: map[uint32]*Description{}}
	candidates, err := f.candidates()
	if err != nil {
		return false, err
	}
	for i := range s.blocks {
		if !q.OldestFirst {
			i = len(s.blocks) - 1 - i
		}
		b := s.blocks[i]
		if b.First == 0 || b.Last < q.From || (q.Until != 0 && b.First >= q.Until) {
			continue
		}
		if candidates == nil || candidates[i] {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if more, err := f.inBlock(i, yield); !more || err != nil {
				return false, err
			}
		}
		if *at = b.First; q.OldestFirst {
			*at = b.Last
		}
	}
	return true, nil
}

// candidates are the blocks that may have what the query chooses, as far as the index says; nil for all. It notes the descriptions.
func (f *finder) candidates() ([]bool, error) {
	s := f.segment
	if !s.sealed || f.anything() {
		return nil, nil
	}
	if err := f.choose(); err != nil {
		return nil, err
	}
	found := make([]bool, len(s.blocks))
	if !slices.Contains(f.chosen, true) {
		return found, nil
	}
	offsets, err := s.unpack(s.index.Offsets, nil)
	if err != nil {
		return nil, err
	}
	f.offsets = make([]uint32, len(f.chosen))
	last := uint32(0)
	for i := range f.offsets {
		last += binary.LittleEndian.Uint32(offsets[4*i:])
		f.offsets[i] = last
	}
	uses, err := s.unpack(s.index.Uses, nil)
	if err != nil {
		return nil, err
	}
	outcomes := uint64(outcomeAllow | outcomeDeny)
	if f.Allow != nil && *f.Allow {
		outcomes = outcomeAllow
	} else if f.Allow != nil {
		outcomes = outcomeDeny
	}
	for i, b := range s.blocks {
		d := uint64(0)
		for range b.Uses {
			use, n := binary.Uvarint(uses)
			d += use >> 2
			if n <= 0 || d >= uint64(len(f.chosen)) {
				return nil, errors.New("the index of a segment is not one")
			}
			uses = uses[n:]
			found[i] = found[i] || (f.chosen[d] && use&outcomes != 0)
		}
	}
	return found, nil
}

// choose notes which descriptions of a sealed segment may be those that the query chooses.
func (f *finder) choose() error {
	s := f.segment
	f.chosen = slices.Repeat([]bool{true}, int(s.index.Offsets.Length/4))
	at := 0
	terms := f.terms()
	for field, width := range columnsOf() {
		if terms[field] != "" {
			hash, found := hashTerm(terms[field]), make([]bool, len(f.chosen))
			for c := at; c < at+width; c++ {
				values, err := s.unpack(s.index.Columns[c], nil)
				if err != nil {
					return err
				}
				for i := range found {
					v := binary.LittleEndian.Uint32(values[4*i:])
					found[i] = found[i] || v == hash || v == anyTerm
				}
			}
			for i := range found {
				f.chosen[i] = f.chosen[i] && found[i]
			}
		}
		at += width
	}
	return nil
}

// maxJudged is how large a description is kept while the entries of a block are looked at, of which each may refer to another one.
const maxJudged = 16 << 10

// finder finds in one segment.
type finder struct {
	Query
	segment *segment
	// Of a sealed segment: which descriptions may be chosen, and their offsets; nil for all.
	chosen  []bool
	offsets []uint32
	// judged has the descriptions that were looked at: nil for those that the query does not choose, and empty for those too large to keep.
	judged map[uint32]*Description
	size   int // of those kept, as they are written
	text   []byte
	hits   []hit
	asked  []uint32
}

// hit is an entry and where its description is.
type hit struct {
	Entry
	at uint32
}

func (f *finder) inBlock(i int, yield func(Record) bool) (bool, error) {
	var err error
	if f.text, err = f.segment.text(i, f.text); err != nil {
		return false, err
	}
	if f.size > maxKept {
		clear(f.judged)
		f.size = 0
	}
	f.hits, f.asked = f.hits[:0], f.asked[:0]
	for rest := f.text; len(rest) > 0; {
		frame, err := splitFrame(rest)
		if err != nil {
			return false, err
		}
		rest = rest[frame.size:]
		if frame.kind != frameEntry {
			continue
		}
		e, at, err := parseEntry(frame.payload)
		if err != nil {
			return false, err
		}
		if !f.within(e.ID) || (f.Allow != nil && *f.Allow != e.Allow) {
			continue
		}
		d, known := f.judged[at]
		if !known && !f.mayChoose(at) {
			f.judged[at], known = nil, true
		}
		if known && d == nil {
			continue
		}
		if !known {
			f.asked = append(f.asked, at)
		}
		f.hits = append(f.hits, hit{e, at})
	}
	if err := f.judge(f.segment.blocks[i]); err != nil {
		return false, err
	}
	if !f.OldestFirst {
		slices.Reverse(f.hits)
	}
	for _, h := range f.hits {
		d := f.judged[h.at]
		if d == nil {
			continue
		}
		record := Record{h.Entry, *d}
		if d.Kind == "" { // it was too large to keep
			payload, err := f.payload(f.segment.blocks[i], h.at)
			if err != nil {
				return false, err
			}
			if record.Description, err = parseDescription(payload); err != nil {
				return false, err
			}
		}
		if !yield(record) {
			return false, nil
		}
	}
	return true, nil
}

// mayChoose says whether the description at an offset may be one that the query chooses, as far as the index says.
func (f *finder) mayChoose(at uint32) bool {
	if f.chosen == nil {
		return true
	}
	i, found := slices.BinarySearch(f.offsets, at)
	return !found || f.chosen[i]
}

// judge looks at the descriptions that were not looked at yet, in their order, so that each block that has some is read once.
func (f *finder) judge(b block) error {
	slices.Sort(f.asked)
	for _, at := range slices.Compact(f.asked) {
		payload, err := f.payload(b, at)
		if err != nil {
			return err
		}
		f.judged[at] = nil
		if !f.mayDescribe(payload) {
			continue
		}
		d, err := parseDescription(payload)
		if err != nil {
			return err
		}
		switch {
		case !f.describes(&d):
		case len(payload) > maxJudged:
			f.judged[at] = &Description{}
		default:
			f.judged[at] = &d
			f.size += len(payload)
		}
	}
	return nil
}

// payload is the text of the description at an offset, for an entry of the block that is looked at.
func (f *finder) payload(b block, at uint32) ([]byte, error) {
	here := int64(at) - b.Offset
	if here < 0 || here >= b.Length {
		return f.segment.description(at)
	}
	frame, err := splitFrame(f.text[here:])
	if err != nil || frame.kind != frameDescription {
		return nil, fmt.Errorf("an entry refers to %d, where no description is", at)
	}
	return frame.payload, nil
}
