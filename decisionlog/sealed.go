package decisionlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// A sealed segment has the same frames, compressed with zstd (RFC 8878) in blocks that can be read by themselves, and after them an
// index in a skippable frame: so any zstd makes the segment of it again.
//
//	block · block · … · skippable frame: columns · index as JSON · its length (4 bytes) and the first half of its SHA-256 · magic
//
// The index says where each block is and which ids are in it. A column has a hash of one field of each description in the segment, and
// for each block there is a list of the descriptions that its entries refer to. So a query reads the columns of the fields that it asks
// for, then only the blocks that have a description that is right in all of them, and parses no other description.
const (
	blockBytes   = 256 << 10 // of frames, from which on a block ends
	sealedMagic  = "mandate\x01"
	footerBytes  = 4 + 16 + len(sealedMagic)
	skippable    = 0x184D2A50
	maxIndex     = 64 << 20
	outcomeAllow = 1 // bits of what a block uses
	outcomeDeny  = 2
)

// columnsOf is how many columns each field has: for what is one of several.
func columnsOf() [fields]int {
	width := [fields]int{}
	for f := range width {
		width[f] = 1
	}
	width[fieldSubject], width[fieldReason] = 2, 3
	return width
}

const (
	columns = fields + 1 + 2
	// anyTerm is in a column when there are more values than columns.
	anyTerm = math.MaxUint32
)

// block is where a part of a segment is.
type block struct {
	At     int64 `json:"at"`     // in the file
	Size   int64 `json:"size"`   // there
	Offset int64 `json:"offset"` // in the segment
	Length int64 `json:"length"`
	// First and Last are the ids of its entries, 0 when it has none.
	First ID `json:"first"`
	Last  ID `json:"last"`
	// Uses is how many descriptions its entries refer to.
	Uses int `json:"uses"`
}

// place is where something is in the file, and how long it is when it is decompressed.
type place struct {
	At     int64 `json:"at"`
	Size   int64 `json:"size"`
	Length int64 `json:"length"`
}

// index is that of a sealed segment.
type index struct {
	Format int     `json:"format"`
	Blocks []block `json:"blocks"`
	// Columns have four bytes for each description, in their order in the segment.
	Columns [columns]place `json:"columns"`
	// Offsets are those of the descriptions, as four bytes for what each is after the one before.
	Offsets place `json:"offsets"`
	// Uses has a number for each description that a block uses, block by block (encoding/binary.AppendUvarint): above two bits for the
	// outcomes, how many descriptions it is after the one before.
	Uses place `json:"uses"`
}

// row has hashes of the terms of a description.
type row [columns]uint32

// hashTerm is never 0, which stands for no value, and seldom anyTerm, upon which a little more is read.
func hashTerm(term string) uint32 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, term) // never fails
	return max(h.Sum32(), 1)
}

func rowOf(terms [fields][]string) (r row) {
	at := 0
	for f, width := range columnsOf() {
		for i, term := range terms[f] {
			if i == width {
				r[at+width-1] = anyTerm
				break
			}
			r[at+i] = hashTerm(term)
		}
		at += width
	}
	return r
}

// indexer makes the index of a segment from its frames.
type indexer struct {
	described map[uint32]int // places of the descriptions by their offset
	columns   [columns][]uint32
	offsets   []uint32 // as the index has them
	last      uint32   // the last offset
	inBlock   map[int]byte
	uses      []byte
	blocks    []block
	current   block
}

func newIndexer() *indexer { return &indexer{described: map[uint32]int{}, inBlock: map[int]byte{}} }

func (x *indexer) add(f frame) error {
	x.current.Length += int64(f.size)
	switch f.kind {
	case frameDescription:
		d, err := parseDescription(f.payload)
		if err != nil {
			return err
		}
		x.described[uint32(f.offset)] = len(x.offsets)
		for c, hash := range rowOf(termsOf(&d)) {
			x.columns[c] = append(x.columns[c], hash)
		}
		x.offsets = append(x.offsets, uint32(f.offset)-x.last)
		x.last = uint32(f.offset)
	case frameEntry:
		e, at, err := parseEntry(f.payload)
		if err != nil {
			return err
		}
		i, ok := x.described[at]
		if !ok {
			return fmt.Errorf("the entry at %d refers to no description", f.offset)
		}
		x.current.span(e.ID)
		if e.Allow {
			x.inBlock[i] |= outcomeAllow
		} else {
			x.inBlock[i] |= outcomeDeny
		}
	}
	return nil
}

// span takes an id into the block.
func (b *block) span(id ID) {
	if b.First == 0 {
		b.First = id
	}
	b.Last = max(b.Last, id)
}

// endBlock ends a block that is at a place in the file.
func (x *indexer) endBlock(at place) {
	b := x.current
	b.At, b.Size, b.Uses = at.At, at.Size, len(x.inBlock)
	x.blocks = append(x.blocks, b)
	x.current = block{Offset: b.Offset + b.Length}
	before := 0
	for _, i := range slices.Sorted(maps.Keys(x.inBlock)) {
		x.uses = binary.AppendUvarint(x.uses, uint64(i-before)<<2|uint64(x.inBlock[i]))
		before = i
	}
	clear(x.inBlock)
}

func parseDescription(payload []byte) (d Description, err error) {
	if err := json.Unmarshal(payload, &d, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return d, fmt.Errorf("parse a description: %w", err)
	}
	return d, nil
}

// writeSealed writes a segment as a sealed one. It fails when there is a frame that is not whole, or has a wrong link.
func writeSealed(w io.Writer, segment io.Reader) error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("compress a segment: %w", err)
	}
	x, s := newIndexer(), newFrames(segment)
	at := int64(0)
	var text, packed []byte
	put := func(plain []byte) (place, error) {
		packed = encoder.EncodeAll(plain, packed[:0])
		p := place{at, int64(len(packed)), int64(len(plain))}
		at += p.Size
		if _, err := w.Write(packed); err != nil {
			return p, fmt.Errorf("write a sealed segment: %w", err)
		}
		return p, nil
	}
	for {
		f, linked, err := s.next()
		end := errors.Is(err, io.EOF)
		if end && len(text) == 0 {
			break
		}
		if err != nil && !end {
			return err
		}
		if !end {
			if !linked {
				return fmt.Errorf("the frame at %d has a wrong link", f.offset)
			}
			if err := x.add(f); err != nil {
				return err
			}
			text = append(text, s.raw(f)...)
		}
		if end || len(text) >= blockBytes {
			p, err := put(text)
			if err != nil {
				return err
			}
			x.endBlock(p)
			text = text[:0]
		}
	}
	return writeIndex(w, at, x, encoder)
}

// writeIndex writes the skippable frame at the end of the blocks.
func writeIndex(w io.Writer, at int64, x *indexer, encoder *zstd.Encoder) error {
	i := index{Format: formatVersion, Blocks: x.blocks}
	b := make([]byte, 8)
	add := func(plain []byte) place {
		before := len(b)
		b = encoder.EncodeAll(plain, b)
		return place{at + int64(before), int64(len(b) - before), int64(len(plain))}
	}
	for c, values := range x.columns {
		i.Columns[c] = add(columnText(values))
	}
	i.Offsets, i.Uses = add(columnText(x.offsets)), add(x.uses)
	text, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("write the index of a segment: %w", err)
	}
	sum := sha256.Sum256(text)
	b = append(b, text...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	b = append(append(b, sum[:16]...), sealedMagic...)
	binary.LittleEndian.PutUint32(b, skippable)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write the index of a segment: %w", err)
	}
	return nil
}

func columnText(values []uint32) []byte {
	text := make([]byte, 0, 4*len(values))
	for _, v := range values {
		text = binary.LittleEndian.AppendUint32(text, v)
	}
	return text
}

// readIndex reads the index of a sealed segment of the size. What it says is within the file.
func readIndex(r io.ReaderAt, size int64) (i index, err error) {
	var footer [footerBytes]byte
	if size < int64(len(footer)) {
		return i, errors.New("a sealed segment is too short")
	}
	if _, err := r.ReadAt(footer[:], size-int64(len(footer))); err != nil {
		return i, fmt.Errorf("read the index of a segment: %w", err)
	}
	length := int64(binary.LittleEndian.Uint32(footer[:]))
	if string(footer[20:]) != sealedMagic || length > maxIndex || length > size-int64(len(footer)) {
		return i, errors.New("a sealed segment has no index")
	}
	text := make([]byte, length)
	end := size - int64(len(footer)) - length
	if _, err := r.ReadAt(text, end); err != nil {
		return i, fmt.Errorf("read the index of a segment: %w", err)
	}
	if sum := sha256.Sum256(text); string(sum[:16]) != string(footer[4:20]) {
		return i, errors.New("the index of a segment was changed")
	}
	if err := json.Unmarshal(text, &i, json.RejectUnknownMembers(true)); err != nil {
		return i, fmt.Errorf("read the index of a segment: %w", err)
	}
	return i, i.check(end)
}

// check bounds what is believed of an index.
func (i *index) check(end int64) error {
	if i.Format != formatVersion {
		return fmt.Errorf("the segment has format %d, which this version does not know", i.Format)
	}
	wrong := errors.New("the index of a segment is not one")
	within := func(p place) bool {
		return p.At >= 0 && p.Size >= 0 && p.Size <= end && p.At <= end-p.Size && p.Length >= 0
	}
	offset := int64(0)
	for _, b := range i.Blocks {
		if !within(place{b.At, b.Size, b.Length}) || b.Offset != offset || b.Length == 0 || b.Length > maxBlock || b.Uses < 0 {
			return wrong
		}
		offset += b.Length
	}
	for _, p := range append(i.Columns[:], i.Offsets) {
		if !within(p) || p.Length%4 != 0 || p.Length != i.Offsets.Length || p.Length/4 > offset/frameBytes {
			return wrong
		}
	}
	if offset > maxSegment || !within(i.Uses) || i.Uses.Length > offset {
		return wrong
	}
	return nil
}

// maxBlock is the largest block: the last frame may be as large as one can be.
const maxBlock = blockBytes + 4 + maxFrame + linkBytes

// newDecoder decompresses no more than there is room for.
func newDecoder() (*zstd.Decoder, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("decompress a segment: %w", err)
	}
	return decoder, nil
}
