package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// applied is one call of the function given to Follow.
type applied struct {
	set *PolicySet
	err error
}

// following starts Follow on a folder that holds a complete policy set, and ends it with the test.
func following(t *testing.T, dir string, current *PolicySet) <-chan applied {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	calls := make(chan applied, 100)
	ended := make(chan error, 1)
	go func() {
		seen := ""
		if current != nil {
			seen = current.Revision()
		}
		load := func(dir string) ([]File, error) { return Load(os.DirFS(dir)) }
		ended <- Follow(ctx, dir, seen, load, func() {}, func(set *PolicySet, err error) error {
			calls <- applied{set, err}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Follow:", err)
		}
		for len(calls) > 0 {
			c := <-calls
			t.Error("applied once more:", c.set, c.err)
		}
	})
	return calls
}

func next(t *testing.T, calls <-chan applied) applied {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is applied")
		panic("unreachable")
	}
}

func policyFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	for name, f := range accessPolicy(`decision := {"allow": false}`) {
		write(t, filepath.Join(dir, name), string(f.Data))
	}
	return dir
}

// write puts a file in its place at once, so that no half of it is ever read.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rename(t, name+".new", name)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	dir := policyFolder(t)
	access := filepath.Join(dir, "access.rego")
	calls := following(t, dir, nil)
	first := next(t, calls)
	if first.err != nil {
		t.Fatal(first.err)
	}

	write(t, access, "package mandate.access\ndecision := {\"allow\": true}")
	second := next(t, calls)
	if second.err != nil || second.set.Revision() == first.set.Revision() {
		t.Fatal("after a change:", second)
	}

	write(t, access, "package mandate.access\ndecision :=")
	if c := next(t, calls); c.set != nil || c.err == nil || !strings.HasPrefix(c.err.Error(), "access.rego:2: ") {
		t.Fatal("after a mistake:", c)
	}

	// Written in place, the file may be seen half written first.
	if err := os.WriteFile(access, []byte("package mandate.access\ndecision := {\"allow\": true}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for c := next(t, calls); c.err != nil || c.set.Revision() != second.set.Revision(); {
		c = next(t, calls)
	}

	// A folder with a folder in it appears, and then a file changes in there.
	deep := filepath.Join(dir, "team", "app", "x.rego")
	write(t, deep, "package team.app\nx := 1")
	third := next(t, calls)
	if third.err != nil {
		t.Fatal("after a new folder:", third.err)
	}
	write(t, deep, "package team.app\nx := 2")
	fourth := next(t, calls)
	if fourth.err != nil || fourth.set.Revision() == third.set.Revision() {
		t.Fatal("after a change in it:", fourth)
	}

	// The same content again, and files that are no policies, apply nothing: the next call is for what comes after.
	write(t, deep, "package team.app\nx := 2")
	write(t, filepath.Join(dir, "notes.txt"), "nothing")
	if err := os.RemoveAll(filepath.Join(dir, "team")); err != nil {
		t.Fatal(err)
	}
	if c := next(t, calls); c.err != nil || c.set.Revision() != second.set.Revision() {
		t.Fatal("after the folder was removed:", c)
	}
}

func TestFollowFromCurrent(t *testing.T) {
	dir := policyFolder(t)
	current := compiled(t, os.DirFS(dir))
	calls := following(t, dir, current)
	write(t, filepath.Join(dir, "more.rego"), "package more\nx := 1")
	if c := next(t, calls); c.err != nil || c.set.Revision() == current.Revision() {
		t.Fatal("the first call is not for the change:", c)
	}
}

// The folder itself is replaced, as a deployment does it.
func TestFollowFolderReplaced(t *testing.T) {
	dir := policyFolder(t)
	calls := following(t, dir, compiled(t, os.DirFS(dir)))

	fresh := filepath.Join(filepath.Dir(dir), "fresh")
	for name, f := range accessPolicy(`decision := {"allow": true}`) {
		write(t, filepath.Join(fresh, name), string(f.Data))
	}
	rename(t, dir, dir+".old")
	if c := next(t, calls); c.err == nil {
		t.Fatal("nothing is said of a folder that is gone")
	}
	rename(t, fresh, dir)
	c := next(t, calls)
	if c.err != nil {
		t.Fatal("after it came back:", c.err)
	}
	write(t, filepath.Join(dir, "more.rego"), "package more\nx := 1")
	if d := next(t, calls); d.err != nil || d.set.Revision() == c.set.Revision() {
		t.Fatal("after a change in the new folder:", d)
	}
}

// A symbolic link is turned to another folder, as mounted configurations do it.
func TestFollowLink(t *testing.T) {
	first := policyFolder(t)
	second := policyFolder(t)
	write(t, filepath.Join(second, "more.rego"), "package more\nx := 1")
	link := filepath.Join(t.TempDir(), "policies")
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	calls := following(t, link, compiled(t, os.DirFS(first)))
	write(t, filepath.Join(first, "more.rego"), "package more\nx := 0")
	if c := next(t, calls); c.err != nil {
		t.Fatal("after a change behind the link:", c.err)
	}
	if err := os.Symlink(second, link+".new"); err != nil {
		t.Fatal(err)
	}
	rename(t, link+".new", link)
	if c := next(t, calls); c.err != nil || c.set.Revision() != compiled(t, os.DirFS(second)).Revision() {
		t.Fatal("after the link was turned:", c)
	}
}

func TestFollowNothing(t *testing.T) {
	if err := Follow(t.Context(), filepath.Join(t.TempDir(), "no", "where"), "", nil, func() {}, nil); err == nil {
		t.Error("no error")
	}
}
