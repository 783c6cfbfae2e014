package decisionlog_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
)

// Whenever a crash comes while a segment is sealed or the next one begun, each record is there once, and the log goes on and verifies.
func TestCrashWhileTidying(t *testing.T) {
	original := t.TempDir()
	written(t, original, key32(0))
	want := len(read(t, original))
	const first = "0000000000000001.log"
	plain, err := os.ReadFile(filepath.Join(original, first))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		crash func(folder string) error
	}{
		{"before all", func(string) error { return nil }},
		{"the sealed segment is half written", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, first+".zst.new"), plain[:100], 0o600)
		}},
		{"the sealed segment is there, and the other one too", func(folder string) error {
			l := open(t, folder, decisionlog.Options{SegmentBytes: 20_000})
			return firstError(l.Tidy(t.Context()), l.Close(), os.WriteFile(filepath.Join(folder, first), plain, 0o600))
		}},
		{"the next segment is half written", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "0000000000000099.log.new"), plain[:30], 0o600)
		}},
		{"the note of retention is half written", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "removed.json.new"), []byte(`{"seg`), 0o600)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := firstError(os.CopyFS(folder, os.DirFS(original)), row.crash(folder)); err != nil {
				t.Fatal(err)
			}
			if n := len(read(t, folder)); n != want {
				t.Errorf("%d records, want %d", n, want)
			}
			good(t, folder)
			l := open(t, folder, decisionlog.Options{SegmentBytes: 20_000})
			if err := l.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.Record(describe(1), time.Now(), decisionlog.Entry{})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if n := len(read(t, folder)); n != want+1 {
				t.Errorf("%d records afterwards, want %d", n, want+1)
			}
			good(t, folder)
			names, err := filepath.Glob(filepath.Join(folder, "*.log*"))
			if err != nil || len(names) != len(listed(t, folder)) {
				t.Errorf("left are %v", names)
			}
			if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".new") }) {
				t.Errorf("not removed: %v", names)
			}
		})
	}
}

// A record that was changed in the newest segment is not taken for what a crash has torn, which would cut off all after it.
func TestChangedSegmentIsNotCutOff(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{})
	for range 5 {
		l.Record(describe(1), time.Now(), decisionlog.Entry{})
		l.Checkpoint()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, "0000000000000001.log")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := entries(text)[1]
	id := idAt(text, changed)
	text[changed.end-17] ^= 1
	write(t, name, text)
	var reports []error
	l = open(t, folder, decisionlog.Options{Report: func(err error) { reports = append(reports, err) }})
	last := l.Record(describe(2), time.Now(), decisionlog.Entry{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if len(reports) != 1 {
		t.Errorf("reported was %v", reports)
	}
	if after, err := os.ReadFile(name); err != nil || !slices.Equal(after, text) {
		t.Errorf("the segment is not as it was: %d bytes of %d, %v", len(after), len(text), err)
	}
	if r, err := decisionlog.Get(t.Context(), folder, last); err != nil || r.ID != last {
		t.Errorf("the log does not go on: %v", err)
	}
	v, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), decisionlog.Head{}, nil)
	if err != nil || len(v.Problems) == 0 || v.Problems[0].What != decisionlog.Changed || v.Problems[0].ID != id {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A segment that has records ends by its age, and one that has none does not.
func TestSegmentAge(t *testing.T) {
	folder := t.TempDir()
	now := time.Now()
	l := open(t, folder, decisionlog.Options{SegmentAge: time.Hour, Now: func() time.Time { return now }})
	for _, row := range []struct {
		record   bool
		advance  time.Duration
		segments int
	}{{false, 2 * time.Hour, 1}, {true, 0, 2}, {true, time.Minute, 2}, {false, time.Hour, 3}, {false, 5 * time.Hour, 3}, {true, 0, 4}} {
		now = now.Add(row.advance)
		if row.record {
			l.Record(describe(1), now, decisionlog.Entry{})
		}
		l.Checkpoint()
		if got := len(listed(t, folder)); got != row.segments {
			t.Errorf("%+v: %d segments", row, got)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	good(t, folder)
}

// Large descriptions are kept whole, and of one beyond all bounds there is a record all the same.
func TestLargeDescriptions(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{SegmentBytes: 4 << 20})
	sizes := []int{1, 300 << 10, 1 << 20, 8 << 20, 17 << 20, 10}
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range sizes {
		text := make([]byte, size)
		for i := range text {
			text[i] = "abcdefghijklmnopqrstuvwxyz012345"[random.IntN(32)]
		}
		mark := l.Mark()
		l.Record(&decisionlog.Description{Kind: decisionlog.Decision, Input: jsontext.Value(fmt.Sprintf("%q", text))}, time.Now(), decisionlog.Entry{})
		if err := l.Commit(mark); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := read(t, folder)
	if len(all) != len(sizes) {
		t.Fatalf("%d records", len(all))
	}
	for i, r := range all {
		want := sizes[i] + 2
		if sizes[i] > 16<<20 {
			want = 0
		}
		if len(r.Description.Input) != want {
			t.Errorf("of %d bytes there are %d", want, len(r.Description.Input))
		}
	}
	good(t, folder)
}
