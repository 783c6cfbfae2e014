package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Folder writes each mail into a file of its own, for development.
type Folder struct {
	composer
	path string
}

// NewFolder makes the folder when there is none.
func NewFolder(path, from string, templates *Templates, now func() time.Time) (*Folder, error) {
	c, err := newComposer(from, templates, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for mails: %w", err)
	}
	return &Folder{c, path}, nil
}

// Send writes a file whose name sorts by time and ends in .eml; one with that name is whole.
func (f *Folder) Send(_ context.Context, m Message) error {
	msg, err := f.compose(m)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.path, ".mail-*") // which nobody else may read
	if err != nil {
		return fmt.Errorf("write a mail: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = msg.WriteTo(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write a mail: %w", err)
	}
	name := f.now().UTC().Format("20060102T150405.000000000Z") + "-" + rand.Text() + ".eml"
	if err := os.Rename(file.Name(), filepath.Join(f.path, name)); err != nil {
		return fmt.Errorf("write a mail: %w", err)
	}
	return nil
}
