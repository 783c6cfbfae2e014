package decisionlog

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// tidyInterval is after which time a log is tidied when no segment has ended.
const tidyInterval = time.Minute

// keepTidy tidies the log when a segment has ended, and now and then, until ctx ends.
func (l *Log) keepTidy(ctx context.Context) {
	ticker := time.NewTicker(tidyInterval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.rotated:
		case <-ticker.C:
		}
		err := l.Tidy(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			l.o.Report(err)
		}
		failing = err != nil
	}
}

// Tidy seals the segments that have ended and removes those whose retention has. What fails is tried again by the next Tidy; the
// records can be read meanwhile.
func (l *Log) Tidy(ctx context.Context) error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	current, _ := l.Written()
	segments, err := Segments(l.folder)
	if err != nil {
		return err
	}
	var failed error
	for _, n := range segments {
		if n >= current {
			break
		}
		if err := seal(ctx, l.folder, n); err != nil {
			failed = errors.Join(failed, fmt.Errorf("seal segment %d of the decision log: %w", n, err))
		}
	}
	return errors.Join(failed, l.retain(ctx, current))
}

// removeUnfinished removes what a crash has left unfinished.
func removeUnfinished(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("list the decision log: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				return fmt.Errorf("remove what was not finished: %w", err)
			}
		}
	}
	return nil
}

// seal makes a sealed segment of one that has ended, and removes that when the disk has the sealed one. It does nothing when there is
// none to seal.
func seal(ctx context.Context, folder string, n uint64) error {
	name, sealed := segmentFile(folder, n), sealedFile(folder, n)
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := os.Stat(sealed); err != nil { // else a crash came between both
		err := replaceFile(sealed, func(w io.Writer) error { return writeSealed(w, cancelled{ctx, file}) })
		if err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(name), syncFolder(folder))
}

// cancelled reads until ctx ends.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// replaceFile writes a file that is there whole and lasts, or not at all.
func replaceFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name+newSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	buffered := bufio.NewWriterSize(f, readAhead)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make %s: %w", name, err), os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(name))
}

// removedFile has the note of what retention has removed.
const removedFile = "removed.json"

// removed says that retention has removed the segments up to one, and how the chain ended there. Without it, what is missing at the
// start of a log looks as if somebody had taken it away.
type removed struct {
	Segment   uint64    `json:"segment"`
	Link      link      `json:"link"`
	At        time.Time `json:"at"`
	Signature []byte    `json:"signature"`
}

func (r removed) signed(tenant string) []byte {
	b := append([]byte("mandate decision log removed\x00"), tenant...)
	b = binary.LittleEndian.AppendUint64(append(b, 0), r.Segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.At.UnixNano()))
	return append(b, r.Link[:]...)
}

// readRemoved is the note, which says nothing when there is none.
func readRemoved(folder string) (r removed, err error) {
	text, err := os.ReadFile(filepath.Join(folder, removedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read what was removed of the decision log: %w", err)
	}
	return r, nil
}

// retain removes the oldest segments when their retention has ended. What is not sealed stays.
func (l *Log) retain(ctx context.Context, current uint64) error {
	if l.o.Retention <= 0 && l.o.MaxBytes <= 0 {
		return nil
	}
	segments, err := Segments(l.folder)
	if err != nil {
		return err
	}
	sizes := map[uint64]int64{}
	total := int64(0)
	for _, n := range segments {
		f, _, err := openFile(l.folder, n)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("look at the decision log: %w", err)
		}
		sizes[n] = info.Size()
		total += info.Size()
	}
	ended, last := 0, link{}
	for _, n := range segments {
		if n >= current {
			break
		}
		over := l.o.MaxBytes > 0 && total > l.o.MaxBytes
		old, end, err := l.old(ctx, n)
		if err != nil {
			return err
		}
		if !over && !old {
			break
		}
		ended, last = ended+1, end
		total -= sizes[n]
	}
	if ended == 0 {
		return nil
	}
	return l.remove(segments[:ended], last)
}

// old says whether the retention of a sealed segment has ended, and how the chain ends there.
func (l *Log) old(ctx context.Context, n uint64) (bool, link, error) {
	s, err := openSegment(ctx, l.folder, n, 0)
	if err != nil {
		return false, link{}, err
	}
	defer s.close()
	end, err := s.end()
	return l.o.Retention > 0 && s.lastID() < IDAt(l.o.Now().Add(-l.o.Retention)), end, err
}

// remove notes that the segments are removed, and then does so.
func (l *Log) remove(segments []uint64, last link) error {
	note := removed{Segment: segments[len(segments)-1], Link: last, At: l.o.Now().UTC()}
	if l.o.Key != nil {
		note.Signature = ed25519.Sign(l.o.Key, note.signed(l.o.Tenant))
	}
	err := replaceFile(filepath.Join(l.folder, removedFile), func(w io.Writer) error { return json.MarshalWrite(w, note) })
	if err != nil {
		return err
	}
	for _, n := range segments {
		for _, name := range []string{segmentFile(l.folder, n), sealedFile(l.folder, n)} {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove a segment whose retention has ended: %w", err)
			}
		}
	}
	return syncFolder(l.folder)
}
