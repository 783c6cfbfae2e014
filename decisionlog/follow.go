package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
)

// Folder is where the log is kept.
func (l *Log) Folder() string { return l.folder }

// Follow yields the records after the id that the query chooses, oldest first, and waits for more until ctx ends, whose error is the
// last that it yields. A record is there for it when it is written, before the disk has it.
func (l *Log) Follow(ctx context.Context, after ID, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		q.From, q.OldestFirst = max(q.From, after+1), true
		if err := l.follow(ctx, q, func(r Record) bool { return yield(r, nil) }); err != nil {
			yield(Record{}, err)
		}
	}
}

func (l *Log) follow(ctx context.Context, q Query, yield func(Record) bool) error {
	if !l.On() {
		<-ctx.Done()
		return ctx.Err()
	}
	n, _ := l.Written()
	segments, err := Segments(l.folder)
	if err != nil {
		return err
	}
	segments = slices.DeleteFunc(segments, func(s uint64) bool { return s >= n })
	if more, err := q.find(ctx, l.folder, segments, yield); err != nil || !more {
		return err
	}
	for {
		more, err := l.followSegment(ctx, n, q, yield)
		if err != nil || !more {
			return err
		}
		n++
	}
}

// followSegment yields what is chosen of a segment until another one is written and it has no more. It returns whether to go on.
func (l *Log) followSegment(ctx context.Context, n uint64, q Query, yield func(Record) bool) (bool, error) {
	file, sealed, err := openFile(l.folder, n)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // its retention has ended
	}
	if err != nil {
		return false, err
	}
	s := &segment{file: file, blocks: make([]block, 2)}
	defer s.close()
	if sealed {
		return q.find(ctx, l.folder, []uint64{n}, yield)
	}
	f := finder{Query: q, segment: s, judged: map[uint32]*Description{}}
	for {
		// In this order: what is written from now on wakes, and what was written before is read.
		written := l.nextWrite()
		current, end := l.Written()
		if current > n {
			info, err := file.Stat()
			if err != nil {
				return false, fmt.Errorf("follow the decision log: %w", err)
			}
			end = info.Size()
		}
		if more, err := f.upTo(ctx, end, yield); err != nil || !more {
			return false, err
		}
		if current > n {
			return true, nil
		}
		select {
		case <-written:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// upTo goes on after what it has read, up to an offset at which a frame ends.
func (f *finder) upTo(ctx context.Context, end int64, yield func(Record) bool) (bool, error) {
	s := f.segment
	for s.blocks[1].Offset+s.blocks[1].Length < end {
		read := block{Length: s.blocks[1].Offset + s.blocks[1].Length}
		next := block{Offset: read.Length}
		frames := newFrames(io.NewSectionReader(s.file, next.Offset, end-next.Offset))
		for next.Length < blockBytes {
			frame, _, err := frames.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return false, err
			}
			next.Length += int64(frame.size)
		}
		s.blocks = append(s.blocks[:0], read, next)
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if more, err := f.inBlock(1, yield); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// nextWrite is closed with the next write.
func (l *Log) nextWrite() <-chan struct{} {
	for {
		if c := l.follows.Load(); c != nil {
			return *c
		}
		if c := make(chan struct{}); l.follows.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// wake tells those who follow, if there are any.
func (l *Log) wake() {
	if l.follows.Load() == nil {
		return
	}
	if c := l.follows.Swap(nil); c != nil {
		close(*c)
	}
}
