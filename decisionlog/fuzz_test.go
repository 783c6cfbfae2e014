package decisionlog_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"mandate/decisionlog"
)

// FuzzSegment reads hostile bytes as a segment, sealed or not: nothing panics, nothing takes memory that was only claimed, and what is
// found is what matches.
func FuzzSegment(f *testing.F) {
	folder := f.TempDir()
	l, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", Key: key32(0), SegmentBytes: 2000})
	if err != nil {
		f.Fatal(err)
	}
	for range 3 {
		mark := l.Mark()
		traffic(l, rand.New(rand.NewPCG(1, 2)), 10)
		if err := l.Commit(mark); err != nil {
			f.Fatal(err)
		}
	}
	add := func() {
		for _, name := range []string{"0000000000000001.log", "0000000000000001.log.zst"} {
			if text, err := os.ReadFile(filepath.Join(folder, name)); err == nil {
				f.Add(text, filepath.Ext(name) == ".zst")
			}
		}
	}
	add()
	if err := l.Tidy(f.Context()); err != nil {
		f.Fatal(err)
	}
	add()
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte, sealed bool) {
		folder := t.TempDir()
		name := "0000000000000001.log"
		if sealed {
			name += ".zst"
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, q := range []decisionlog.Query{{}, {OldestFirst: true, Subject: "user:u1", Reason: "role"}} {
			for r, err := range decisionlog.Find(t.Context(), folder, q) {
				if err == nil && !q.Matches(&r) {
					t.Errorf("%+v does not match", r)
				}
			}
		}
		if _, err := decisionlog.Get(t.Context(), folder, decisionlog.IDAt(time.Now())); err == nil {
			t.Error("found what is not there")
		}
		if _, err := decisionlog.Verify(t.Context(), folder, "default", public(key32(0)), decisionlog.Head{}, nil); err != nil {
			t.Errorf("verify: %v", err)
		}
		if l, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", Key: key32(0)}); err == nil {
			if err := errors.Join(l.Tidy(t.Context()), l.Close()); err != nil {
				t.Log(err)
			}
		}
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 256<<20+uint64(1000*len(text)) {
			t.Errorf("%d bytes took %d of memory", len(text), taken)
		}
	})
}
