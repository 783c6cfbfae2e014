package decisionlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"

	"mandate/datastore"
	"mandate/decisionlog"
)

// traffic appends decisions in which subjects, actions and outcomes repeat.
func traffic(l *decisionlog.Log, random *rand.Rand, n int) {
	refs := map[string]decisionlog.Ref{}
	for range n {
		subject, action, org := random.IntN(40), random.IntN(4), random.IntN(3)
		d := question(fmt.Sprintf("u%d", subject), fmt.Sprintf("documents:%d", action), fmt.Sprintf("org%d", org), random.IntN(5) > 0)
		asked, entry := time.Now(), decisionlog.Entry{DataRevision: datastore.Revision(random.IntN(9)), Allow: d.Allow}
		id, err := l.Append(refs[key(d)], asked, entry)
		for err != nil {
			refs[key(d)] = l.Describe(d)
			id, err = l.Append(refs[key(d)], asked, entry)
		}
		_ = id
	}
}

func key(d *decisionlog.Description) string { return fmt.Sprint(string(d.Input), d.Allow) }

func question(user, action, org string, allow bool) *decisionlog.Description {
	code := "role"
	if !allow {
		code = "role_missing"
	}
	return &decisionlog.Description{Kind: decisionlog.Decision, Point: "mandate/access", PolicyRevision: "p1", Allow: allow,
		Reasons: []decisionlog.Reason{{Code: code, Message: "Because."}},
		Input: jsontext.Value(fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":%q},"resource":{"type":"document","id":"d-%s","properties":{"org":%q}},"caller":{"type":"api_key","sub":"gateway"}}`,
			user, action, user, org))}
}

// Whatever is asked, sealed or not, is what looking at every record finds.
func TestFindFindsWhatMatches(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{SegmentBytes: 40_000})
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		mark := l.Mark()
		traffic(l, random, 200)
		if err := l.Commit(mark); err != nil {
			t.Fatal(err)
		}
	}
	plain := read(t, folder)
	if err := l.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := read(t, folder)
	if len(all) != 4000 || !slices.EqualFunc(all, plain, same) {
		t.Fatalf("%d records after sealing, %d before", len(all), len(plain))
	}
	sealed, err := filepath.Glob(filepath.Join(folder, "*.log.zst"))
	if err != nil || len(sealed) < 3 {
		t.Fatalf("sealed are %v, %v", sealed, err)
	}
	yes, no := true, false
	middle, later := all[1000].ID, all[3000].ID
	for _, row := range []struct {
		name  string
		query decisionlog.Query
		none  bool
	}{
		{"all", decisionlog.Query{}, false},
		{"subject", decisionlog.Query{Subject: "user:u7"}, false},
		{"resource", decisionlog.Query{Resource: "document:d-u7"}, false},
		{"action", decisionlog.Query{Action: "documents:1"}, false},
		{"organization", decisionlog.Query{Org: "org2"}, false},
		{"caller", decisionlog.Query{Caller: "api_key:gateway"}, false},
		{"reason", decisionlog.Query{Reason: "role_missing"}, false},
		{"policies", decisionlog.Query{PolicyRevision: "p1"}, false},
		{"kind and point", decisionlog.Query{Kind: decisionlog.Decision, Point: "mandate/access"}, false},
		{"allowed", decisionlog.Query{Allow: &yes}, false},
		{"denied to one", decisionlog.Query{Allow: &no, Subject: "user:u3"}, false},
		{"from", decisionlog.Query{From: middle}, false},
		{"until", decisionlog.Query{Until: middle}, false},
		{"between", decisionlog.Query{From: middle, Until: later, Action: "documents:2"}, false},
		{"all together", decisionlog.Query{Subject: "user:u7", Action: "documents:1", Org: "org2", Caller: "api_key:gateway", Allow: &yes}, false},
		{"nobody", decisionlog.Query{Subject: "user:nobody"}, true},
		{"two that never meet", decisionlog.Query{Subject: "user:u7", Resource: "document:d-u8"}, true},
		{"another kind", decisionlog.Query{Kind: decisionlog.Token}, true},
		{"a reason never given to the allowed", decisionlog.Query{Reason: "role_missing", Allow: &yes}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := slices.DeleteFunc(slices.Clone(all), func(r decisionlog.Record) bool { return !row.query.Matches(&r) })
			if row.none != (len(want) == 0) {
				t.Fatalf("%d records match", len(want))
			}
			for _, row.query.OldestFirst = range []bool{true, false} {
				if got := find(t, folder, row.query); !slices.EqualFunc(got, want, same) {
					t.Errorf("oldest first %v: %d found, %d match", row.query.OldestFirst, len(got), len(want))
				}
				slices.Reverse(want)
			}
		})
	}
	for _, r := range []decisionlog.Record{all[0], all[1234], all[3999]} {
		if got, err := decisionlog.Get(t.Context(), folder, r.ID); err != nil || !same(got, r) {
			t.Errorf("get %v: %v, %v", r.ID, got, err)
		}
	}
	for _, id := range []decisionlog.ID{0, 1, all[7].ID + 1, 1<<64 - 1} {
		if got, err := decisionlog.Get(t.Context(), folder, id); !errors.Is(err, decisionlog.ErrNotFound) {
			t.Errorf("get %v: %v, %v", id, got.ID, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, folder string, q decisionlog.Query) []decisionlog.Record {
	t.Helper()
	var found []decisionlog.Record
	for r, err := range decisionlog.Find(t.Context(), folder, q) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, r)
	}
	return found
}

func same(a, b decisionlog.Record) bool { return a.Entry == b.Entry && fmt.Sprint(a) == fmt.Sprint(b) }

// Any zstd makes of a sealed segment what it was.
func TestSealedSegmentIsTheSameUncompressed(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{SegmentBytes: 3 << 20})
	random := rand.New(rand.NewPCG(1, 2))
	for segments := 0; segments < 2; segments = len(listed(t, folder)) {
		mark := l.Mark()
		traffic(l, random, 1000)
		if err := l.Commit(mark); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(filepath.Join(folder, "0000000000000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(folder, "0000000000000001.log.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if after, err := io.ReadAll(r); err != nil || !slices.Equal(before, after) {
		t.Errorf("%d bytes are %d, %v", len(before), len(after), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, folder string) []uint64 {
	t.Helper()
	segments, err := decisionlog.Segments(folder)
	if err != nil {
		t.Fatal(err)
	}
	return segments
}

// Whoever follows gets every record once and in order, over rotation, sealing and retention of what it has read.
func TestFollow(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{SegmentBytes: 20_000})
	random := rand.New(rand.NewPCG(3, 4))
	commit := func() {
		mark := l.Mark()
		traffic(l, random, 50)
		if err := l.Commit(mark); err != nil {
			t.Error(err)
		}
	}
	for range 20 {
		commit()
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	q := decisionlog.Query{Action: "documents:1"}
	done := make(chan []decisionlog.Record)
	first := read(t, folder)[500].ID
	begun := make(chan struct{})
	go func() {
		var got []decisionlog.Record
		for r, err := range l.Follow(ctx, first, q) {
			if err != nil {
				t.Error(err)
				break
			}
			if len(got) == 0 {
				close(begun)
			}
			if got = append(got, r); r.DataRevision == 99 {
				break
			}
		}
		done <- got
	}()
	<-begun
	for i := range 100 {
		commit()
		if i%30 == 0 {
			if err := l.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	mark := l.Mark()
	l.Record(question("u1", "documents:1", "org1", true), time.Now(), decisionlog.Entry{DataRevision: 99, Allow: true})
	if err := l.Commit(mark); err != nil {
		t.Fatal(err)
	}
	got := <-done
	q.From, q.OldestFirst = first+1, true
	if want := find(t, folder, q); !slices.EqualFunc(got, want, same) {
		t.Errorf("followed %d, there are %d", len(got), len(want))
	}
	stop()
	for _, err := range l.Follow(ctx, 0, decisionlog.Query{Subject: "user:nobody"}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at its end: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// endingContext is over after it was asked so often.
type endingContext struct {
	context.Context
	left int
}

func (c *endingContext) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// A search that is interrupted says how far it has come, and going on there yields the rest, each once.
func TestFindGoesOnWhereItWasInterrupted(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{SegmentBytes: 400_000})
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		mark := l.Mark()
		traffic(l, random, 1000)
		if err := l.Commit(mark); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Tidy(t.Context()), l.Close()); err != nil {
		t.Fatal(err)
	}
	for _, q := range []decisionlog.Query{{Subject: "user:u7"}, {Subject: "user:u7", OldestFirst: true}, {Subject: "user:nobody"}} {
		want := find(t, folder, q)
		var got []decisionlog.Record
		stops := 0
		for again := true; again && stops < 1000; {
			again = false
			for r, err := range decisionlog.Find(&endingContext{t.Context(), 12}, folder, q) {
				var stopped *decisionlog.Interrupted
				if errors.As(err, &stopped) && errors.Is(err, context.DeadlineExceeded) && stopped.At != 0 {
					if again, stops = true, stops+1; q.OldestFirst {
						q.From = stopped.At + 1
					} else {
						q.Until = stopped.At
					}
				} else if err != nil {
					t.Fatal(err)
				} else {
					got = append(got, r)
				}
			}
		}
		if !slices.EqualFunc(got, want, same) || (stops == 0 && len(want) > 0) {
			t.Errorf("%+v: %d found with %d stops, %d without", q, len(got), stops, len(want))
		}
	}
}

// Large descriptions are found as small ones are, however many entries refer to them.
func TestFindFindsLargeRecords(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder, decisionlog.Options{})
	refs := make([]decisionlog.Ref, 30)
	for i := range refs {
		refs[i] = l.Describe(&decisionlog.Description{Kind: decisionlog.Decision,
			Input: jsontext.Value(fmt.Sprintf(`{"subject":{"type":"user","id":"u%d"},"padding":"%040000d"}`, i%10, i))})
	}
	mark := l.Mark()
	for i := range 300 {
		if _, err := l.Append(refs[i%len(refs)], time.Now(), decisionlog.Entry{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Commit(mark), l.Close()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		query decisionlog.Query
		want  int
	}{{decisionlog.Query{}, 300}, {decisionlog.Query{OldestFirst: true}, 300}, {decisionlog.Query{Subject: "user:u7"}, 30}, {decisionlog.Query{Subject: "user:u77"}, 0}} {
		found := find(t, folder, row.query)
		if len(found) != row.want {
			t.Errorf("%+v: %d", row.query, len(found))
		}
		for _, r := range found {
			if len(r.Description.Input) < 40_000 || (row.query.Subject != "" && r.Description.About().Subject != row.query.Subject) {
				t.Errorf("%v: %.100s", r.ID, r.Description.Input)
			}
		}
	}
}
