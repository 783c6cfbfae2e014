package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
)

// Stream writes JSON Lines, such as to the standard output. Each batch is one write.
type Stream struct{ To io.Writer }

// Deliver implements Destination. A write to a pipe that nobody reads cannot be interrupted: when ctx ends, it is left behind, as it is at
// the end of the process only.
func (d Stream) Deliver(ctx context.Context, tenant string, batch []decisionlog.Record) (int, error) {
	text, err := lines(tenant, batch)
	if err != nil {
		return 0, err
	}
	written := make(chan error, 1)
	go func() {
		_, err := d.To.Write(text)
		written <- err
	}()
	select {
	case err = <-written:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("write records: %w", err)
	}
	return 0, nil
}

// File appends JSON Lines to a file. It is opened each time, so that it can be moved away.
type File struct{ Path string }

// Deliver implements Destination.
func (d File) Deliver(ctx context.Context, tenant string, batch []decisionlog.Record) (n int, err error) {
	text, err := lines(tenant, batch)
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(d.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the file of a sink: %w", err)
	}
	// A pipe that nobody reads takes no more: the end does not wait for it.
	defer context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Now()) })()
	defer func() { err = errors.Join(err, f.Close()) }()
	if text, err = afterWhole(f, text); err != nil {
		return 0, err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("write records to %s: %w", d.Path, err)
	}
	return 0, nil
}

// afterWhole ends a line first that an earlier attempt has left without an end.
func afterWhole(f *os.File, text []byte) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the file of a sink: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return text, nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return nil, fmt.Errorf("read the end of the file of a sink: %w", err)
	}
	if last[0] != '\n' {
		text = append([]byte{'\n'}, text...)
	}
	return text, nil
}

func lines(tenant string, batch []decisionlog.Record) ([]byte, error) {
	var text bytes.Buffer
	for _, r := range batch {
		line, err := json.Marshal(r.Document(tenant), json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return nil, fmt.Errorf("encode record %s: %w", r.ID, err)
		}
		text.Write(line)
		text.WriteByte('\n')
	}
	return text.Bytes(), nil
}
