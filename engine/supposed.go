package engine

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"mandate/datastore"
)

// supposed is a snapshot in which some documents are others than they are. It notes what is read of it. It is used by one
// goroutine.
type supposed struct {
	datastore.Reader
	changed map[datastore.Path][]byte // nil for a document that is away
	kept    map[datastore.Path][]byte // what the Reader has answered, for many snapshots over one; nil for what is absent
	reads   []datastore.Path          // each once, in the order in which they were first read
	scanned map[datastore.Path][]byte // documents that scans have yielded
}

// Get implements datastore.Reader.
func (s *supposed) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if !slices.Contains(s.reads, p) {
		s.reads = append(s.reads, p)
	}
	text, known := s.changed[p]
	if !known {
		text, known = s.kept[p]
	}
	if !known {
		var err error
		if text, err = s.Reader.Get(ctx, p); err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return nil, err
		}
		if s.kept != nil {
			s.kept[p] = text
		}
	}
	if text == nil {
		return nil, datastore.ErrNotFound
	}
	return text, nil
}

// Scan implements datastore.Reader.
func (s *supposed) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	var more []datastore.Fact
	for p, text := range s.changed {
		if p.Below(prefix) && text != nil && (!after.Valid() || p.Key() > after.Key()) {
			more = append(more, datastore.Fact{Path: p, Value: text})
		}
	}
	slices.SortFunc(more, func(a, b datastore.Fact) int { return strings.Compare(a.Path.Key(), b.Path.Key()) })
	return func(yield func(datastore.Fact, error) bool) {
		more := more
		next := func(f datastore.Fact) bool {
			if s.scanned != nil {
				s.scanned[f.Path] = f.Value
			}
			return yield(f, nil)
		}
		for f, err := range s.Reader.Scan(ctx, prefix, after) {
			if err != nil {
				yield(f, err)
				return
			}
			for len(more) > 0 && more[0].Path.Key() < f.Path.Key() {
				if !next(more[0]) {
					return
				}
				more = more[1:]
			}
			if _, other := s.changed[f.Path]; !other && !next(f) {
				return
			}
		}
		for _, f := range more {
			if !next(f) {
				return
			}
		}
	}
}

// nothing is a snapshot without documents.
type nothing struct{ at datastore.Revision }

func (n nothing) Revision() datastore.Revision { return n.at }

func (nothing) Get(context.Context, datastore.Path) ([]byte, error) {
	return nil, datastore.ErrNotFound
}

func (nothing) Stat(context.Context, datastore.Path) (datastore.Revision, error) {
	return 0, datastore.ErrNotFound
}

func (nothing) Scan(context.Context, datastore.Path, datastore.Path) iter.Seq2[datastore.Fact, error] {
	return func(func(datastore.Fact, error) bool) {}
}
