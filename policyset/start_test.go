package policyset_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/directory"
	"mandate/engine"
	"mandate/policyset"
)

const tenant = directory.Tenant("default")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// numbered is a small set whose access decision says the number.
func numbered(n int) map[string]string {
	return map[string]string{
		"access/access.rego": fmt.Sprintf("package mandate.access\n\ndecision := {\"allow\": data.team.open, \"reasons\": [{\"code\": \"number\", \"message\": \"%d\"}]}\n", n),
		"access_test.rego":   "package mandate.access_test\n\ntest_open if data.mandate.access.decision.allow\n",
		"tokens.rego":        "package mandate.tokens\n\ndecision := {\"allow\": false}\n",
		"manage.rego":        "package mandate.manage\n\ndecision := {\"allow\": false}\n",
		"team/data.yaml":     "open: true\n",
	}
}

func files(m map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range m {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func compiled(t testing.TB, m map[string]string) *engine.PolicySet {
	t.Helper()
	set, err := engine.Compile(t.Context(), files(m))
	must(t, err)
	return set
}

// write makes dir hold just these files.
func write(t testing.TB, dir string, m map[string]string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		must(t, os.CopyFS(dir+".new", files(m)))
		must(t, os.Rename(dir+".new", dir))
		return
	}
	must(t, filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		within, _ := filepath.Rel(dir, name)
		if _, kept := m[within]; err != nil || entry.IsDir() || kept {
			return err
		}
		return os.Remove(name)
	}))
	for name, text := range m {
		if old, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(old) != text {
			replace(t, filepath.Join(dir, name), []byte(text))
		}
	}
}

// replace puts a file into its place at once.
func replace(t testing.TB, name string, text []byte) {
	t.Helper()
	must(t, os.WriteFile(name+".new", text, 0o600))
	must(t, os.Rename(name+".new", name))
}

func openStore(t testing.TB) datastore.Store {
	t.Helper()
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

// lines are those of a log, to wait for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// wait goes on to the line that has the text, and returns what was passed over.
func (l lines) wait(t testing.TB, text string) string {
	t.Helper()
	var passed strings.Builder
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return passed.String()
			}
			passed.WriteString(line)
		case <-time.After(30 * time.Second):
			t.Fatalf("the log does not say %q, but\n%s", text, &passed)
		}
	}
}

// running is a library with its engine, following its source until the end of the test or stop.
type running struct {
	*policyset.Library
	engine *engine.Engine
	log    lines
	stop   func()
}

// start is one run of a service on the store.
func start(t testing.TB, store datastore.Store, source policyset.Source) (*running, error) {
	t.Helper()
	r := &running{engine: engine.New(datastore.TenantID(tenant), nil, engine.Options{EvaluationLimit: 10 * time.Second}), log: make(lines, 1000)}
	r.Library = policyset.New(policyset.Options{Tenant: tenant, Store: store, Engine: r.engine, Source: source,
		Log: slog.New(slog.NewTextHandler(io.Writer(r.log), nil)), Now: time.Now})
	if err := r.Start(t.Context()); err != nil {
		return nil, err
	}
	ctx, cancel := cancelled(t)
	var following sync.WaitGroup
	following.Go(func() { r.Follow(ctx) })
	r.stop = func() {
		cancel()
		following.Wait()
	}
	return r, nil
}

func started(t testing.TB, store datastore.Store, source policyset.Source) *running {
	t.Helper()
	r, err := start(t, store, source)
	must(t, err)
	return r
}

func (r *running) serves(t testing.TB, set *engine.PolicySet) {
	t.Helper()
	if now := r.engine.Policies(); now.Revision() != set.Revision() {
		t.Errorf("%s decides, not %s", now.ShortRevision(), set.ShortRevision())
	}
}

func cancelled(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
