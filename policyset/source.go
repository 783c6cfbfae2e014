package policyset

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"mandate/engine"
)

// sourceBuiltIn is the kind of BuiltIn.
const sourceBuiltIn = "builtin"

// Source is where policy sets come from by themselves.
type Source interface {
	// Kind is what the records of its sets say: folder, bundle, server or builtin.
	Kind() string
	// String says where it is.
	String() string
	// First admits what it gives now.
	First(ctx context.Context) (*engine.PolicySet, error)
	// Follow calls apply whenever it gives something else than the set of the revision seen, or than what it gave before: with the set,
	// or with what is wrong, or with neither, when what it gives is what it gave last. Before a set is tested it calls testing. When
	// apply fails, it calls it again later. It ends with ctx, with nil.
	Follow(ctx context.Context, seen string, testing func(), apply func(*engine.PolicySet, error) error) error
}

// Folder is the source of the policies in a folder, which is watched.
func Folder(place string) Source {
	return local{"folder", place, func(place string) ([]engine.File, error) { return engine.Load(os.DirFS(place)) }}
}

// BundleFile is the source of the policies in an OPA bundle in a file, which is watched. Its signature must verify, unless verify is nil.
func BundleFile(place string, verify *Verification) Source {
	return local{"bundle", place, func(place string) ([]engine.File, error) { return loadBundle(place, verify) }}
}

func loadBundle(name string, verify *Verification) ([]engine.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the bundle: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	return ReadBundle(raw, verify)
}

// local is a place in the file system.
type local struct {
	kind, place string
	load        func(place string) ([]engine.File, error)
}

func (s local) Kind() string   { return s.kind }
func (s local) String() string { return s.place }

func (s local) First(ctx context.Context) (*engine.PolicySet, error) {
	files, err := s.load(s.place)
	if err != nil {
		return nil, err
	}
	return engine.Admit(ctx, files)
}

func (s local) Follow(ctx context.Context, seen string, testing func(), apply func(*engine.PolicySet, error) error) error {
	return engine.Follow(ctx, s.place, seen, s.load, testing, apply)
}

// BuiltIn is the source of policies that come with the binary, whose tests were run where it was built.
func BuiltIn(fsys fs.FS) Source { return builtIn{fsys} }

type builtIn struct{ fsys fs.FS }

func (builtIn) Kind() string   { return sourceBuiltIn }
func (builtIn) String() string { return "built in" }

func (s builtIn) First(ctx context.Context) (*engine.PolicySet, error) {
	return engine.CompileTested(ctx, s.fsys)
}

func (s builtIn) Follow(context.Context, string, func(), func(*engine.PolicySet, error) error) error {
	return nil // they never change
}
