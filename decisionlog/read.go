package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Read yields the records in a folder from the id on, in order. It ends with the last whole record. An error is the last that it yields.
func Read(ctx context.Context, folder string, from ID) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		segments, err := Segments(folder)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, n := range segments {
			stopped := errors.New("stopped")
			err := readSegment(ctx, segmentFile(folder, n), func(r Record) error {
				if r.ID >= from && !yield(r, nil) {
					return stopped
				}
				return nil
			})
			switch {
			case errors.Is(err, stopped):
				return
			case errors.Is(err, fs.ErrNotExist): // its retention has ended
			case err != nil:
				yield(Record{}, fmt.Errorf("read segment %d of the decision log: %w", n, err))
				return
			}
		}
	}
}

func readSegment(ctx context.Context, name string, each func(Record) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	descriptions := map[uint32]Description{}
	_, _, err = wholeFrames(io.Reader(f), func(f frame, offset int64) error {
		switch f.kind {
		case frameDescription:
			var d Description
			if err := json.Unmarshal(f.payload, &d, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
				return fmt.Errorf("description at %d: %w", offset, err)
			}
			descriptions[uint32(offset)] = d
		case frameEntry:
			e, at, err := parseEntry(f.payload)
			if err != nil {
				return err
			}
			d, ok := descriptions[at]
			if !ok {
				return fmt.Errorf("entry at %d refers to no description", offset)
			}
			if err := each(Record{e, d}); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return err
}
