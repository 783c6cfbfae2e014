package decisionlog

import (
	"bytes"
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
	frameHead        = 'S' // when, and the signature of the link before
)

const (
	linkBytes  = 16
	frameBytes = 4 + 1 + linkBytes // of a frame without a payload
	// maxFrame bounds what is believed of a length: more than the largest body of a request with its principals.
	maxFrame = 64 << 20
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
	size    int // of the whole
}

// nextFrame reads the frame at the start of b, after the link of the former. It is errTorn when b ends within it.
func nextFrame(b []byte, former link) (frame, link, error) {
	f, err := splitFrame(b)
	if err != nil {
		return f, link{}, err
	}
	h := sha256.New()
	h.Write(former[:])
	h.Write(b[:f.size-linkBytes])
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	if !bytes.Equal(sum[:linkBytes], b[f.size-linkBytes:f.size]) {
		return f, link{}, errTorn
	}
	return f, link(sum[:linkBytes]), nil
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
	return frame{kind: b[4], payload: b[5 : 4+length], size: int(length) + 4 + linkBytes}, nil
}

func (h header) appendFrame(b []byte) ([]byte, error) {
	b, start := beginFrame(b, frameHeader)
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("header of a segment: %w", err)
	}
	return endFrame(append(b, text...), start), nil
}

func parseHeader(payload []byte) (header, error) {
	var h header
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, fmt.Errorf("header of a segment: %w", err)
	}
	if h.Format != formatVersion {
		return h, fmt.Errorf("the segment has format %d, which this version does not know", h.Format)
	}
	return h, nil
}

// signedHead is what is signed of a chain: no other text that Mandate signs begins so.
func signedHead(tenant string, segment uint64, at time.Time, l link) []byte {
	b := append([]byte("mandate decision log head\x00"), tenant...)
	b = binary.LittleEndian.AppendUint64(append(b, 0), segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.UnixNano()))
	return append(b, l[:]...)
}

// appendHead appends a frame that signs the chain so far, whose last link is at the end of b.
func appendHead(b []byte, key ed25519.PrivateKey, tenant string, segment uint64, at time.Time) []byte {
	signature := ed25519.Sign(key, signedHead(tenant, segment, at, link(b[len(b)-linkBytes:])))
	b, start := beginFrame(b, frameHead)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.UnixNano()))
	return endFrame(append(b, signature...), start)
}

// wholeFrames reads a segment from its start and calls each for every frame with the offset at which it begins, until the first that
// is not whole. It returns where that is and the last link.
func wholeFrames(r io.Reader, each func(f frame, offset int64) error) (end int64, last link, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return 0, last, fmt.Errorf("read a segment: %w", err)
	}
	for int(end) < len(text) {
		f, next, err := nextFrame(text[end:], last)
		if err != nil {
			return end, last, nil
		}
		if err := each(f, end); err != nil {
			return end, last, err
		}
		end, last = end+int64(f.size), next
	}
	return end, last, nil
}
