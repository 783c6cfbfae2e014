package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Open opens the log in a folder, which it makes when there is none. What a crash has torn at the end of the last segment
// is cut off: nothing of it was acknowledged.
func Open(folder string, o Options) (*Log, error) {
	if o.Mode == "" {
		o.Mode = CrashSafe
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegmentBytes)
	if o.SegmentAge <= 0 {
		o.SegmentAge = defaultSegmentAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	l := &Log{o: o, folder: folder, rotated: make(chan struct{}, 1)}
	l.epoch.Store(1)
	if o.Mode == Off {
		return l, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the decision log: %w", err)
	}
	var err error
	if l.lock, err = lockFolder(folder); err != nil {
		return nil, err
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.lock.Close())
	}
	return l, nil
}

// lockFolder keeps others from writing to the folder for as long as the file is open.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the decision log: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the decision log %s, which another process may be writing: %w", folder, err), f.Close())
	}
	return f, nil
}

func (l *Log) open() error {
	if err := removeUnfinished(l.folder); err != nil {
		return err
	}
	segments, err := Segments(l.folder)
	if err != nil {
		return err
	}
	if len(segments) == 0 {
		return l.begin(1, link{})
	}
	newest := segments[len(segments)-1]
	if _, err := os.Stat(segmentFile(l.folder, newest)); errors.Is(err, fs.ErrNotExist) {
		// The newest is sealed: somebody has removed what came after it, which a head that was kept elsewhere tells.
		s, err := openSegment(context.Background(), l.folder, newest, 0)
		if err != nil {
			return err
		}
		defer s.close()
		last, err := s.end()
		if err != nil {
			return err
		}
		l.id = s.lastID()
		return l.begin(newest+1, last)
	}
	if err := l.resume(newest); err != nil {
		return err
	}
	for i := len(segments) - 2; i >= 0 && l.before == 0; i-- {
		// The clock may have been set back, and ids grow all the same.
		s, err := openSegment(context.Background(), l.folder, segments[i], 0)
		if err != nil {
			return errors.Join(err, l.file.Close())
		}
		l.before = s.lastID()
		s.close()
	}
	l.id = max(l.id, l.before)
	l.rotated <- struct{}{}
	return nil
}

// begin makes a segment, which is the current one from then on. Nothing may be pending.
func (l *Log) begin(n uint64, former link) error {
	h := header{Format: formatVersion, Tenant: l.o.Tenant, Segment: n, Former: former, Begun: l.o.Now().UTC()}
	b, err := h.appendFrame(make([]byte, linkBytes))
	if err != nil {
		return err
	}
	// It appears whole under its name, or not at all.
	name := segmentFile(l.folder, n)
	made, err := os.OpenFile(name+newSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("begin a segment of the decision log: %w", err)
	}
	_, err = made.Write(b[linkBytes:])
	if err == nil {
		err = made.Sync()
	}
	if err == nil {
		err = os.Rename(name+newSuffix, name)
	}
	if err == nil {
		err = syncFolder(l.folder)
	}
	if err != nil {
		_ = made.Close()
		_ = os.Remove(name + newSuffix)
		_ = os.Remove(name) // the former segment goes on
		return fmt.Errorf("begin a segment of the decision log: %w", err)
	}
	l.use(made, n, int64(len(b)-linkBytes), link(b[len(b)-linkBytes:]))
	l.begun, l.before = h.Begun, l.id
	return nil
}

// resume goes on with the last segment.
func (l *Log) resume(n uint64) error {
	f, err := os.OpenFile(segmentFile(l.folder, n), os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the decision log: %w", err)
	}
	begins := false
	end, last, err := wholeFrames(f, func(frame frame) error {
		switch {
		case frame.offset == 0:
			h, err := parseHeader(frame)
			if err == nil && (h.Segment != n || h.Tenant != l.o.Tenant) {
				err = fmt.Errorf("it is segment %d of tenant %q", h.Segment, h.Tenant)
			}
			begins, l.begun = true, h.Begun
			return err
		case frame.kind == frameEntry:
			e, _, err := parseEntry(frame.payload)
			l.id = max(l.id, e.ID)
			return err
		}
		return nil
	})
	if err == nil && !begins {
		err = errors.New("it has no header")
	}
	damaged := false
	if err == nil {
		damaged, err = headsAfter(f, end)
	}
	if err == nil && damaged {
		// Nothing of it may be cut off: Verify tells what was done to it.
		l.o.Report(fmt.Errorf("segment %d of the decision log was changed at %d, and is left as it is: see mandate decisions verify", n, end))
		return errors.Join(l.begin(n+1, last), f.Close())
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

// headsAfter says whether the disk had what is from an offset on, so that no crash has torn it: whether two signed heads follow, as
// the second is written when the disk has the first.
func headsAfter(f *os.File, offset int64) (bool, error) {
	rest, err := io.ReadAll(io.NewSectionReader(f, offset, maxSegmentBytes))
	if err != nil {
		return false, fmt.Errorf("read a segment: %w", err)
	}
	heads := 0
	for {
		skipped, ok := nextLinked(rest)
		if !ok {
			return false, nil
		}
		next, err := splitFrame(rest[skipped:])
		if err != nil {
			return false, err
		}
		if next.kind == frameHead {
			heads++
		}
		if heads == 2 {
			return true, nil
		}
		rest = rest[skipped+next.size-linkBytes:]
	}
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
