package directory

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

const (
	maxLineBytes = 4 << 20
	// What bounds a chunk beside the number of its records: memory, and the time that it takes.
	chunkBytes     = 1 << 20
	chunkPasswords = 50
)

// Stream brings JSON Lines into a store, in memory that does not grow with their number. A line may refer to lines before
// it and to what the store has. As with an Importer, a record that is there already is replaced, and its secrets stay.
//
// The lines are written in chunks, each of them whole or not at all. How far it has come is written with each, so
// that the same lines, given again, go on where an earlier import has ended.
type Stream struct {
	Store  datastore.Store
	Master *MasterKey
	Now    func() time.Time
	// Restart gives up an unfinished import and begins with the first line.
	Restart bool
	// Progress is called after each commit, with the secrets that it made: nobody can show them later. It is also called
	// before the first one when an earlier import goes on.
	Progress func(done Streamed, made []Made)
}

// Streamed is how far an import has come.
type Streamed struct {
	Revision datastore.Revision
	Records  int   // that this import has written
	Lines    int   // of the source, from its beginning
	Resumed  int   // of them, those that an earlier import had written
	Bytes    int64 // of the source, from its beginning
}

// Unfinished is how far an import has come that has not come to its end. The digest is of the bytes that it has written,
// so that an import that goes on is one of the same lines up to there.
type Unfinished struct {
	Source    string    `json:"source"`
	Lines     int       `json:"lines"`
	Bytes     int64     `json:"bytes"`
	SHA256    []byte    `json:"sha256"`
	StartedAt time.Time `json:"started_at"`
}

// Unfinished is there while lines are imported, and stays when that does not come to its end.
func (t Tenant) Unfinished() Place[Unfinished] {
	return place[Unfinished](t, PrivateRoot, "imports", "lines")
}

// UnfinishedError refuses an import while another one is unfinished.
type UnfinishedError struct{ Unfinished }

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("the import of %s, begun at %s, has come to line %d and not to its end; the lines now given are others up to there",
		e.Source, e.StartedAt.Format(time.RFC3339), e.Lines)
}

// Import writes the lines of r; source is what they are called. What is wrong with a line is returned as Problems, and
// nothing of its chunk is written. Streamed tells also beside an error how far it has come.
func (s Stream) Import(ctx context.Context, t Tenant, source string, r io.Reader) (Streamed, error) {
	if !datastore.TenantID(t).Valid() {
		return Streamed{}, Problems{{Field: "tenant", Message: "must be lower case letters, digits and inner hyphens, at most 63"}}
	}
	i := &streaming{Stream: s, tenant: t, lines: &lines{from: bufio.NewReaderSize(r, maxLineBytes), digest: sha256.New(), options: lineOptions()},
		state: Unfinished{Source: source, StartedAt: s.Now().UTC()}}
	err := i.resume(ctx)
	for err == nil && !i.ended {
		err = i.next(ctx)
	}
	var problems Problems
	var other *UnfinishedError
	if err != nil && !errors.As(err, &problems) && !errors.As(err, &other) {
		err = fmt.Errorf("import into tenant %s, after line %d (import again to go on): %w", t, i.done.Lines, err)
	}
	return i.done, err
}

// streaming is an import of lines under way.
type streaming struct {
	Stream
	tenant Tenant
	lines  *lines
	state  Unfinished // with the source and the beginning of the import
	done   Streamed
	ended  bool
}

// resume skips what an earlier import of the same lines has written.
func (s *streaming) resume(ctx context.Context) error {
	view, err := s.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	former, found, err := s.tenant.Unfinished().Find(ctx, view)
	s.done.Revision = view.Revision()
	view.Close()
	if err != nil || !found || s.Restart {
		return err
	}
	if err := s.lines.skip(former); err != nil {
		return err
	}
	s.state.StartedAt = former.StartedAt
	s.done.Lines, s.done.Resumed, s.done.Bytes = former.Lines, former.Lines, former.Bytes
	s.progress(nil)
	return nil
}

// next reads a chunk and writes it.
func (s *streaming) next(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	chunk, last, err := s.lines.chunk()
	if err != nil {
		return err
	}
	for i := range chunk {
		if user := chunk[i].record.User; user == nil || user.Password.IsZero() {
			continue
		}
		if err := (Importer{Store: s.Store}).hashPasswords(ctx, s.tenant, &chunk[i].file); err != nil {
			return err
		}
	}
	s.ended = last
	if len(chunk) == 0 && !last {
		return nil
	}
	return s.write(ctx, chunk, last)
}

// write commits the chunk, in halves when it is too large for one commit.
func (s *streaming) write(ctx context.Context, chunk []line, last bool) error {
	var made []Made
	revision, err := s.Store.Update(ctx, func(tx datastore.Tx) error {
		made = nil
		for i := range chunk {
			more, err := chunk[i].put(ctx, s.tenant, tx, s.Master)
			if err != nil {
				return err
			}
			made = append(made, more...)
		}
		return s.mark(ctx, tx, chunk, last)
	})
	switch {
	case errors.Is(err, datastore.ErrTooLarge) && len(chunk) > 1:
		half := len(chunk) / 2
		if err := s.write(ctx, chunk[:half], false); err != nil {
			return err
		}
		return s.write(ctx, chunk[half:], last)
	case errors.Is(err, datastore.ErrTooLarge) && len(chunk) == 1:
		return Problems{{Line: chunk[0].number, Message: "is too large for one commit: give the members of an organization lines of their own"}}
	case err != nil:
		return err
	}
	s.done.Revision = revision
	s.done.Records += len(chunk)
	if len(chunk) > 0 {
		s.done.Lines, s.done.Bytes = chunk[len(chunk)-1].number, chunk[len(chunk)-1].end
	}
	s.progress(made)
	return nil
}

func (s *streaming) progress(made []Made) {
	if s.Progress != nil {
		s.Progress(s.done, made)
	}
}

// mark writes how far the import has come with the chunk, or that it has ended.
func (s *streaming) mark(ctx context.Context, tx datastore.Tx, chunk []line, last bool) error {
	place := s.tenant.Unfinished()
	if !last {
		end := &chunk[len(chunk)-1]
		state := s.state
		state.Lines, state.Bytes, state.SHA256 = end.number, end.end, end.digest[:]
		return place.Put(ctx, tx, state)
	}
	_, found, err := place.Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	if err := tx.Delete(place.Path); err != nil {
		return fmt.Errorf("end the import: %w", err)
	}
	return nil
}

// line is a record with its place: its number, and where it ends, with the digest of all up to there.
type line struct {
	record Record
	file   File // of the record alone
	number int
	end    int64
	digest [sha256.Size]byte
}

func (l *line) put(ctx context.Context, t Tenant, tx datastore.Tx, master *MasterKey) ([]Made, error) {
	made, err := l.file.Put(ctx, t, tx, master)
	var problems Problems
	switch {
	case errors.As(err, &problems):
		return nil, l.problems(problems)
	case errors.Is(err, errTaken):
		return nil, Problems{{Line: l.number, Message: err.Error()}}
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", l.number, err)
	}
	return made, nil
}

// problems are those of the line's file as those of the line.
func (l *line) problems(ofFile Problems) Problems {
	problems := make(Problems, len(ofFile))
	for i, p := range ofFile {
		problems[i] = Problem{Line: l.number, Field: l.record.inLine(p.Field), Message: p.Message}
	}
	return problems
}

// lines reads records.
type lines struct {
	from    *bufio.Reader // with room for the longest line
	options json.Options
	digest  hash.Hash // of the bytes read
	bytes   int64
	number  int
}

// skip reads what an earlier import has written, and refuses something else.
func (l *lines) skip(former Unfinished) error {
	n, err := io.CopyN(l.digest, l.from, former.Bytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read what was imported before: %w", err)
	}
	if n < former.Bytes || !bytes.Equal(l.digest.Sum(nil), former.SHA256) {
		return &UnfinishedError{former}
	}
	l.bytes, l.number = n, former.Lines
	return nil
}

// chunk reads what is written at once. After the last one there is nothing more to read.
func (l *lines) chunk() (chunk []line, last bool, err error) {
	begin, passwords := l.bytes, 0
	for len(chunk) < chunkRecords && l.bytes-begin < chunkBytes && passwords < chunkPasswords {
		text, err := l.from.ReadSlice('\n')
		last = errors.Is(err, io.EOF)
		if err != nil && !last && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, fmt.Errorf("read line %d: %w", l.number+1, err)
		}
		if len(text) > 0 {
			l.number++
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, Problems{{Line: l.number, Message: fmt.Sprintf("is longer than %d MiB", maxLineBytes>>20)}}
		}
		l.bytes += int64(len(text))
		_, _ = l.digest.Write(text) // a hash never fails
		if len(bytes.TrimSpace(text)) > 0 {
			record, err := parseRecord(text, l.options)
			if problems := (Problems)(nil); errors.As(err, &problems) {
				problems[0].Line = l.number
				return nil, false, problems
			}
			next := line{record: record, number: l.number, end: l.bytes}
			record.addTo(&next.file)
			l.digest.Sum(next.digest[:0])
			chunk = append(chunk, next)
			if record.User != nil && !record.User.Password.IsZero() {
				passwords++
			}
		}
		if last {
			break
		}
	}
	return chunk, last, nil
}
