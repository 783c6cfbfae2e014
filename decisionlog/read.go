package decisionlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	segmentSuffix = ".log"
	sealedSuffix  = ".log.zst"
	newSuffix     = ".new"
)

// Segments are the numbers of the segments in a folder, in order.
func Segments(folder string) ([]uint64, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("list the decision log: %w", err)
	}
	var segments []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), strings.TrimPrefix(sealedSuffix, segmentSuffix)), segmentSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil && len(name) == 16 {
			segments = append(segments, n)
		}
	}
	slices.Sort(segments)
	return slices.Compact(segments), nil // while a segment is sealed, both are there for a moment
}

func segmentFile(folder string, n uint64) string {
	return filepath.Join(folder, fmt.Sprintf("%016d%s", n, segmentSuffix))
}

func sealedFile(folder string, n uint64) string {
	return filepath.Join(folder, fmt.Sprintf("%016d%s", n, sealedSuffix))
}

// segment is one that is open for reading, sealed or not.
type segment struct {
	file   *os.File
	sealed bool
	torn   bool // the last of it is not a whole frame
	blocks []block
	index  index
	// Of a sealed one:
	decoder *zstd.Decoder
	kept    map[int][]byte // blocks that were decompressed, for the descriptions in them
	keeping int64          // bytes of these
	packed  []byte
}

// maxKept bounds the blocks and the descriptions that are kept while a segment is read.
const maxKept = 32 << 20

// openFile opens a segment, sealed or not. It is fs.ErrNotExist when its retention has ended.
func openFile(folder string, n uint64) (f *os.File, sealed bool, err error) {
	// In this order, so that one of them is there while it is sealed.
	f, err = os.Open(segmentFile(folder, n))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(sealedFile(folder, n))
		sealed = true
	}
	if err != nil {
		return nil, false, fmt.Errorf("open segment %d of the decision log: %w", n, err)
	}
	return f, sealed, nil
}

// openSegment opens a segment. What comes from the id until on need not be found in it, if that is not 0.
func openSegment(ctx context.Context, folder string, n uint64, until ID) (*segment, error) {
	f, sealed, err := openFile(folder, n)
	if err != nil {
		return nil, err
	}
	s := &segment{file: f, sealed: sealed}
	if sealed {
		err = s.openSealed()
	} else {
		err = s.findBlocks(ctx, until)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("read segment %d of the decision log: %w", n, err)
	}
	return s, nil
}

func (s *segment) close() {
	_ = s.file.Close() // it was read only
	if s.decoder != nil {
		s.decoder.Close()
	}
}

func (s *segment) openSealed() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("open a sealed segment: %w", err)
	}
	if s.index, err = readIndex(s.file, info.Size()); err != nil {
		return err
	}
	s.blocks = s.index.Blocks
	s.kept = map[int][]byte{}
	s.decoder, err = newDecoder()
	return err
}

// findBlocks takes the whole frames of a segment that is not sealed for blocks of the same size.
func (s *segment) findBlocks(ctx context.Context, until ID) error {
	var b block
	enough := errors.New("enough")
	end, _, err := wholeFrames(s.file, func(f frame) error {
		b.Length += int64(f.size)
		if f.kind == frameEntry {
			e, _, err := parseEntry(f.payload)
			if err != nil {
				return err
			}
			b.span(e.ID)
			if until != 0 && e.ID >= until {
				return enough
			}
		}
		if b.Length >= blockBytes {
			s.blocks = append(s.blocks, b)
			b = block{Offset: b.Offset + b.Length}
		}
		return ctx.Err()
	})
	if b.Length > 0 {
		s.blocks = append(s.blocks, b)
	}
	if errors.Is(err, enough) {
		return nil
	}
	info, failed := s.file.Stat()
	if err = errors.Join(err, failed); err == nil {
		s.torn = end < info.Size()
	}
	return err
}

func (s *segment) firstID() ID {
	for _, b := range s.blocks {
		if b.First != 0 {
			return b.First
		}
	}
	return 0
}

func (s *segment) lastID() ID {
	for _, b := range slices.Backward(s.blocks) {
		if b.Last != 0 {
			return b.Last
		}
	}
	return 0
}

// end is the last link.
func (s *segment) end() (last link, err error) {
	if len(s.blocks) == 0 {
		return last, errors.New("a segment is empty")
	}
	text, err := s.text(len(s.blocks)-1, nil)
	if err == nil && len(text) < linkBytes {
		err = errors.New("a block is too short")
	}
	if err != nil {
		return last, err
	}
	return link(text[len(text)-linkBytes:]), nil
}

// text has the frames of a block, in into when that is large enough.
func (s *segment) text(i int, into []byte) ([]byte, error) {
	b := s.blocks[i]
	if !s.sealed {
		into = slices.Grow(into[:0], int(b.Length))[:b.Length]
		if _, err := s.file.ReadAt(into, b.Offset); err != nil {
			return nil, fmt.Errorf("read a segment: %w", err)
		}
		return into, nil
	}
	return s.unpack(place{b.At, b.Size, b.Length}, into)
}

// unpack decompresses what is at a place.
func (s *segment) unpack(p place, into []byte) ([]byte, error) {
	s.packed = slices.Grow(s.packed[:0], int(p.Size))[:p.Size]
	if _, err := s.file.ReadAt(s.packed, p.At); err != nil {
		return nil, fmt.Errorf("read a sealed segment: %w", err)
	}
	text, err := s.decoder.DecodeAll(s.packed, slices.Grow(into[:0], int(p.Length))[:0:p.Length])
	if err == nil && int64(len(text)) != p.Length {
		err = fmt.Errorf("it has %d bytes instead of %d", len(text), p.Length)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress a segment: %w", err)
	}
	return text, nil
}

// blockOf is the block that has the offset of the segment.
func (s *segment) blockOf(offset int64) (int, bool) {
	i := sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].Offset+s.blocks[i].Length > offset })
	return i, i < len(s.blocks)
}

// description reads the text of the description at an offset.
func (s *segment) description(offset uint32) ([]byte, error) {
	i, ok := s.blockOf(int64(offset))
	if !ok {
		return nil, fmt.Errorf("an entry refers to %d, which is after the end", offset)
	}
	b := s.blocks[i]
	var text []byte
	if s.sealed {
		var err error
		if text, ok = s.kept[i]; !ok {
			if s.keeping > maxKept {
				clear(s.kept)
				s.keeping = 0
			}
			if text, err = s.text(i, nil); err != nil {
				return nil, err
			}
			s.kept[i] = text
			s.keeping += int64(len(text))
		}
		text = text[int64(offset)-b.Offset:]
	} else {
		var begin [5]byte
		if _, err := s.file.ReadAt(begin[:], int64(offset)); err != nil {
			return nil, fmt.Errorf("read a description: %w", err)
		}
		length := 4 + int64(binary.LittleEndian.Uint32(begin[:])) + linkBytes
		if length > b.Offset+b.Length-int64(offset) {
			return nil, fmt.Errorf("an entry refers to %d, where no description is", offset)
		}
		text = make([]byte, length)
		if _, err := s.file.ReadAt(text, int64(offset)); err != nil {
			return nil, fmt.Errorf("read a description: %w", err)
		}
	}
	f, err := splitFrame(text)
	if err != nil || f.kind != frameDescription {
		return nil, fmt.Errorf("an entry refers to %d, where no description is", offset)
	}
	return f.payload, nil
}
