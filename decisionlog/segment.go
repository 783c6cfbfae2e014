package decisionlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
)

// A segment is a file of frames:
//
//	length of type and payload (4 bytes, little endian) · type (1 byte) · payload · link (16 bytes)
//
// The link is the first half of the SHA-256 of the former frame's link and this frame up to its own. The first frame is a header,
// which has the last link of the segment before; its own former link is zero. So the links are one chain through all segments.
// A frame that is not whole, or whose link is wrong, ends what can be read of a segment.
const (
	frameHeader      = 'H' // header, as JSON
	frameDescription = 'D' // Description, as JSON
	frameEntry       = 'E' // Entry and where its description begins
	frameHead        = 'S' // when, where in the segment, and the signature of both and the link before
)

const (
	linkBytes  = 16
	frameBytes = 4 + 1 + linkBytes // of a frame without a payload
	// maxFrame bounds what is believed of a length: more than the largest body of a request with its principals.
	maxFrame = maxDescription + 1
)

// link chains a frame, or what was signed, to what came before.
type link [linkBytes]byte

// MarshalText is the link in hexadecimal digits.
func (l link) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, l[:]), nil }

// UnmarshalText reads what MarshalText has written.
func (l *link) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != linkBytes {
		return fmt.Errorf("%q is not the link of a frame", text)
	}
	*l = link(b)
	return nil
}

// header is the first frame of a segment.
type header struct {
	Format  int       `json:"format"` // 1
	Tenant  string    `json:"tenant"`
	Segment uint64    `json:"segment"` // 1, 2, …
	Former  link      `json:"former"`
	Begun   time.Time `json:"begun"`
}

const formatVersion = 1

// beginFrame appends a frame without its payload, which is appended next, and returns where it begins. In the buffer the link of
// the former frame must be right before it.
func beginFrame(b []byte, kind byte) ([]byte, int) {
	return append(b, 0, 0, 0, 0, kind), len(b)
}

// endFrame completes the frame that begins at start.
func endFrame(b []byte, start int) []byte {
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	sum := sha256.Sum256(b[start-linkBytes:])
	return append(b, sum[:linkBytes]...)
}

// errTorn is returned for what is not a whole frame with the right link.
var errTorn = errors.New("a frame is not whole")

// frame is one that was read.
type frame struct {
	kind    byte
	payload []byte
	size    int   // of the whole
	offset  int64 // where it begins in the segment
}

// splitFrame reads the frame at the start of b without looking at its link.
func splitFrame(b []byte) (frame, error) {
	if len(b) < frameBytes {
		return frame{}, errTorn
	}
	length := binary.LittleEndian.Uint32(b)
	if length < 1 || length > maxFrame || int(length)+4+linkBytes > len(b) {
		return frame{}, errTorn
	}
	return frame{kind: b[4], payload: b[5 : 4+length : 4+length], size: int(length) + 4 + linkBytes}, nil
}

func (h header) appendFrame(b []byte) ([]byte, error) {
	b, start := beginFrame(b, frameHeader)
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("header of a segment: %w", err)
	}
	return endFrame(append(b, text...), start), nil
}

func parseHeader(f frame) (header, error) {
	var h header
	if f.kind != frameHeader {
		return h, errors.New("the segment does not begin with a header")
	}
	if err := json.Unmarshal(f.payload, &h); err != nil {
		return h, fmt.Errorf("header of a segment: %w", err)
	}
	if h.Format != formatVersion {
		return h, fmt.Errorf("the segment has format %d, which this version does not know", h.Format)
	}
	return h, nil
}

// signedHead is what is signed of a chain: no other text that Mandate signs begins so.
func signedHead(tenant string, segment uint64, at time.Time, offset uint64, l link) []byte {
	b := append([]byte("mandate decision log head\x00"), tenant...)
	b = binary.LittleEndian.AppendUint64(append(b, 0), segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, offset)
	return append(b, l[:]...)
}

// headBytes is how much a head takes in its frame.
const headBytes = 8 + 8 + ed25519.SignatureSize

// appendHead appends a frame that signs the chain so far, whose last link is at the end of b.
func appendHead(b []byte, h Head) []byte {
	b, start := beginFrame(b, frameHead)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.At.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, h.Offset)
	return endFrame(append(b, h.Signature...), start)
}

// parseHead reads a head of the segment, after the link.
func parseHead(payload []byte, segment uint64, l link) (Head, error) {
	if len(payload) != headBytes {
		return Head{}, errors.New("a signed head has the wrong size")
	}
	return Head{Segment: segment, At: time.Unix(0, int64(binary.LittleEndian.Uint64(payload))).UTC(),
		Offset: binary.LittleEndian.Uint64(payload[8:]), Link: l, Signature: payload[16:]}, nil
}

// Head is the end of the chain at some time, signed. Whoever keeps one elsewhere can tell later whether the log still has all that it
// had then.
type Head struct {
	Segment   uint64    `json:"segment"`
	Offset    uint64    `json:"offset"` // in the segment
	Link      link      `json:"link"`
	At        time.Time `json:"at"`
	Signature []byte    `json:"signature"`
}

// signHead signs the end of the chain.
func signHead(key ed25519.PrivateKey, tenant string, h Head) Head {
	h.Signature = ed25519.Sign(key, signedHead(tenant, h.Segment, h.At, h.Offset, h.Link))
	return h
}

func (h Head) signedBy(key ed25519.PublicKey, tenant string) bool {
	return ed25519.Verify(key, signedHead(tenant, h.Segment, h.At, h.Offset, h.Link), h.Signature)
}

// frames reads a segment from its start, holding no more of it than a frame and a little.
type frames struct {
	r          io.Reader
	b          []byte // the link before start, what was read and not taken yet up to end, and room
	start, end int
	offset     int64 // of start in the segment
	last       link  // the one before start, as it is there
	err        error // of r
}

const readAhead = 256 << 10

func newFrames(r io.Reader) *frames {
	return &frames{r: r, b: make([]byte, readAhead), start: linkBytes, end: linkBytes}
}

// newFramesAt goes on within a segment after a link.
func newFramesAt(r io.Reader, after link, offset int64) *frames {
	s := newFrames(r)
	copy(s.b, after[:])
	s.last, s.offset = after, offset
	return s
}

// next takes the next frame, which is good until the call after, and says whether its link is right. The error is io.EOF at the end
// of the segment, and errTorn when that is within the frame.
func (s *frames) next() (f frame, linked bool, err error) {
	if !s.have(4) {
		if s.end == s.start && errors.Is(s.err, io.EOF) {
			return f, false, io.EOF
		}
		return f, false, s.torn()
	}
	length := binary.LittleEndian.Uint32(s.b[s.start:])
	if length < 1 || length > maxFrame || !s.have(4+int(length)+linkBytes) {
		return f, false, s.torn()
	}
	if f, err = splitFrame(s.b[s.start:s.end]); err != nil {
		return f, false, err
	}
	f.offset = s.offset
	links := s.start + f.size - linkBytes
	sum := sha256.Sum256(s.b[s.start-linkBytes : links])
	s.last = link(s.b[links : links+linkBytes])
	s.start += f.size
	s.offset += int64(f.size)
	return f, s.last == link(sum[:linkBytes]), nil
}

// raw is the whole of the frame that was taken last.
func (s *frames) raw(f frame) []byte { return s.b[s.start-f.size : s.start] }

func (s *frames) torn() error {
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return fmt.Errorf("read a segment: %w", s.err)
	}
	return errTorn
}

// have reads until there are n bytes after start. It takes no more memory than was read, whatever n is.
func (s *frames) have(n int) bool {
	for s.end-s.start < n {
		if s.err != nil {
			return false
		}
		if s.end == len(s.b) {
			if s.start > len(s.b)/2 {
				s.end = copy(s.b, s.b[s.start-linkBytes:s.end])
				s.start = linkBytes
			} else {
				s.b = append(s.b, make([]byte, len(s.b))...)
			}
		}
		var m int
		m, s.err = s.r.Read(s.b[s.end:])
		s.end += m
	}
	return true
}

// wholeFrames calls each for every frame of a segment from its start until the first that is not whole or has a wrong link. It returns
// where that is and the last link.
func wholeFrames(r io.Reader, each func(f frame) error) (end int64, last link, err error) {
	s := newFrames(r)
	for {
		f, linked, err := s.next()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) || (err == nil && !linked) {
			return end, last, nil
		}
		if err == nil {
			err = each(f)
		}
		if err != nil {
			return end, last, err
		}
		end, last = s.offset, s.last
	}
}
