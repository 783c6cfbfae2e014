package decisionlog_test

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/decisionlog"
)

func open(t *testing.T, folder string, o decisionlog.Options) *decisionlog.Log {
	t.Helper()
	o.Tenant, o.Key = "default", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	l, err := decisionlog.Open(folder, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, folder string) []decisionlog.Record {
	t.Helper()
	var all []decisionlog.Record
	for r, err := range decisionlog.Read(t.Context(), folder, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func describe(n int) *decisionlog.Description {
	return &decisionlog.Description{Kind: decisionlog.Decision, Point: "mandate/access", Input: jsontext.Value(fmt.Sprintf(`{"n":%d}`, n))}
}

// What was committed is read in order, whole and once, over rotations and openings.
func TestCommittedRecordsAreReadOnce(t *testing.T) {
	for _, mode := range []decisionlog.Mode{decisionlog.CrashSafe, decisionlog.Durable} {
		t.Run(string(mode), func(t *testing.T) {
			folder := t.TempDir()
			const writers, each = 8, 500
			var mu sync.Mutex
			committed := map[decisionlog.ID]string{}
			for range 3 {
				l := open(t, folder, decisionlog.Options{Mode: mode, SegmentBytes: 20_000})
				var all sync.WaitGroup
				for w := range writers {
					all.Go(func() {
						var ref decisionlog.Ref
						for i := range each {
							mark := l.Mark()
							id, err := l.Append(ref, time.Now(), decisionlog.Entry{DataRevision: datastore.Revision(i), Allow: i%2 == 0})
							for err != nil {
								ref = l.Describe(describe(w))
								id, err = l.Append(ref, time.Now(), decisionlog.Entry{DataRevision: datastore.Revision(i), Allow: i%2 == 0})
							}
							if err := l.Commit(mark); err != nil {
								t.Error(err)
							}
							mu.Lock()
							committed[id] = fmt.Sprintf(`{"n":%d} %d %v`, w, i, i%2 == 0)
							mu.Unlock()
						}
					})
				}
				all.Wait()
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			records := read(t, folder)
			if len(records) != len(committed) {
				t.Errorf("%d of %d records are there", len(records), len(committed))
			}
			last := decisionlog.ID(0)
			for _, r := range records {
				if got := fmt.Sprintf("%s %d %v", r.Description.Input, r.DataRevision, r.Allow); got != committed[r.ID] || r.ID <= last {
					t.Fatalf("%v: %s, committed was %s", r.ID, got, committed[r.ID])
				}
				last = r.ID
			}
			if segments, err := decisionlog.Segments(folder); err != nil || len(segments) < 10 {
				t.Errorf("%d segments, %v", len(segments), err)
			}
		})
	}
}

// What a crash has torn is cut off, and the log goes on.
func TestTornEndIsCutOff(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{})
	for n := range 10 {
		l.Record(describe(n), time.Now(), decisionlog.Entry{})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, "0000000000000001.log")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{len(whole) - 1, len(whole) - 200, len(whole) / 2} {
		if err := os.WriteFile(name, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		before := len(read(t, folder))
		l := open(t, folder, decisionlog.Options{})
		l.Record(describe(99), time.Now(), decisionlog.Entry{Allow: true})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		records := read(t, folder)
		if len(records) != before+1 || !records[before].Allow {
			t.Errorf("cut to %d: %d records, before %d", size, len(records), before)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []decisionlog.ID{0, 1, 31, 32, decisionlog.IDAt(time.Now()), 1<<64 - 1} {
		if got, err := decisionlog.ParseID(id.String()); err != nil || got != id || len(id.String()) != 13 {
			t.Errorf("%v: %v, %v", uint64(id), got, err)
		}
	}
	for _, text := range []string{"", "1", "gzzzzzzzzzzzz", "000000000000O", "00000000000000"} {
		if id, err := decisionlog.ParseID(text); err == nil {
			t.Errorf("%q is %v", text, id)
		}
	}
}
