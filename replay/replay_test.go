package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/replay"
)

func listed(records ...decisionlog.Record) iter.Seq2[decisionlog.Record, error] {
	return func(yield func(decisionlog.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// What cannot be decided again is told, and nothing is made of it.
func TestWhatCannotBeDecidedAgain(t *testing.T) {
	w := newWorld(t, 2)
	w.asked(1, 1) // denied by both
	var logged decisionlog.Record
	for r, err := range w.records() {
		must(t, err)
		logged = r
	}
	for _, row := range []struct {
		name  string
		alter func(*decisionlog.Record)
		want  map[string]uint64 // empty when it is decided
	}{
		{"as it is", func(*decisionlog.Record) {}, nil},
		{"a member was removed", func(r *decisionlog.Record) { r.Description.Erased = []string{"/input/context"} }, map[string]uint64{replay.Masked: 1}},
		{"a member was replaced", func(r *decisionlog.Record) { r.Description.Masked = []string{"/input/context"} }, map[string]uint64{replay.Masked: 1}},
		{"a mask failed", func(r *decisionlog.Record) { r.Description.MaskFailed = true }, map[string]uint64{replay.Masked: 1}},
		{"within a change", func(r *decisionlog.Record) { r.Uncommitted = true }, map[string]uint64{replay.Uncommitted: 1}},
		{"no input", func(r *decisionlog.Record) { r.Description.Input = nil }, map[string]uint64{replay.NoInput: 1}},
		{"too late", func(r *decisionlog.Record) {
			r.Description.Reasons = []decisionlog.Reason{{Code: string(engine.PolicyTimeout)}}
		}, map[string]uint64{replay.Unavailable: 1}},
		{"no facts", func(r *decisionlog.Record) {
			r.Description.Reasons = []decisionlog.Reason{{Code: string(engine.FactsUnavailable)}}
		}, map[string]uint64{replay.Unavailable: 1}},
		{"of another store", func(r *decisionlog.Record) { r.DataRevision += 1000 }, map[string]uint64{replay.HistoryGone: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			record := logged
			row.alter(&record)
			report := w.replay(w.sets[1], listed(record))
			decided := uint64(1)
			if row.want != nil {
				decided = 0
			}
			if report.Decided != decided || report.Changed() || (len(row.want) > 0 && !maps.Equal(report.Skipped, row.want)) {
				t.Errorf("%+v", report)
			}
		})
	}
	failed := logged
	failed.Description.Kind = decisionlog.Token
	if report := w.replay(w.sets[1], listed(failed)); report.Decided != 0 || len(report.Skipped) != 0 {
		t.Errorf("a token: %+v", report)
	}
}

// The same log makes the same report, however many work on it, and on the store opened anew.
func TestReportsAreRepeatable(t *testing.T) {
	folder := t.TempDir()
	store, err := badgerstore.Open(folder, badgerstore.Options{})
	must(t, err)
	w := newWorldOn(t, store, 3)
	for n := range 3000 {
		if n%30 == 0 {
			w.put(fmt.Sprintf(`{"at_most":%d}`, n/30%4), "limits", fmt.Sprintf("d%d", n/30%5))
		}
		w.asked(n%50, n%7)
	}
	var first string
	for _, workers := range []int{1, 4, 2} {
		report, err := replay.Run(t.Context(), replay.Options{Store: store, Engine: w.engine, Candidate: w.sets[2], Workers: workers, Records: w.records()})
		must(t, err)
		text, err := json.Marshal(report)
		must(t, err)
		if first == "" {
			first = string(text)
		}
		if !report.Changed() || string(text) != first {
			t.Errorf("%d workers: %s\nwant %s", workers, text, first)
		}
	}
	must(t, store.Close())
	again, err := badgerstore.Open(folder, badgerstore.Options{})
	must(t, err)
	report, err := replay.Run(t.Context(), replay.Options{Store: again, Engine: w.engine, Candidate: w.sets[2], Records: w.records()})
	must(t, err)
	if text, err := json.Marshal(report); err != nil || string(text) != first {
		t.Errorf("on the store opened anew: %s\nwant %s, %v", text, first, err)
	}
	must(t, again.Close())
}

// There are more subjects than groups, and what they are called is of any length.
func TestReportsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	open := policies(0)
	open["access.rego"] = &fstest.MapFile{Data: []byte("package mandate.access\n\ndecision := {\"allow\": true, \"reasons\": [{\"code\": input.action.name, \"message\": \"all\"}]}\n")}
	candidate, err := engine.Compile(t.Context(), open)
	must(t, err)
	const subjects = 5000
	long := strings.Repeat("7", 2000)
	records := func(yield func(decisionlog.Record, error) bool) {
		for n := range subjects {
			input := fmt.Appendf(nil, `{"subject":{"type":"user","id":"u%d"},"action":{"name":"read %d"},"resource":{"type":"document","id":%q,"properties":{"org":"acme"}}}`, n, n%1500, long)
			record := decisionlog.Record{Entry: decisionlog.Entry{ID: decisionlog.IDAt(time.Now()), DataRevision: w.store.Newest()},
				Description: decisionlog.Description{Kind: decisionlog.Decision, Point: string(engine.Access), Input: input}}
			if !yield(record, nil) {
				return
			}
		}
	}
	report := w.replay(candidate, records)
	total, coarse := uint64(0), 0
	for _, g := range report.Groups {
		total += g.Count
		if g.Subject == "*" {
			coarse++
		}
		if len(g.Examples) > 3 || len(g.Examples[0].Resource) > 300 {
			t.Errorf("%d examples, %d bytes of a resource", len(g.Examples), len(g.Examples[0].Resource))
		}
	}
	if report.ToAllow != subjects || total != subjects || len(report.Groups) > 2010 || coarse == 0 {
		t.Errorf("%d turn, %d in %d groups, %d of them without subjects", report.ToAllow, total, len(report.Groups), coarse)
	}
	if last := report.Groups[0]; last.Rule != "*" || last.Action != "*" || last.Org != "*" {
		t.Errorf("the largest is %+v", last)
	}
}

func TestSamples(t *testing.T) {
	var records []decisionlog.Record
	for n := range 10_000 {
		records = append(records, decisionlog.Record{Entry: decisionlog.Entry{ID: decisionlog.IDAt(time.Unix(1_800_000_000, int64(n)*1000))}})
	}
	sample := func(share float64) (ids []decisionlog.ID) {
		for r, err := range replay.Sample(listed(records...), share) {
			must(t, err)
			ids = append(ids, r.ID)
		}
		return ids
	}
	if all, tenth := sample(1), sample(0.1); len(all) != len(records) || len(tenth) < 800 || len(tenth) > 1200 || !reflect.DeepEqual(tenth, sample(0.1)) {
		t.Errorf("%d of all, %d of a tenth", len(all), len(tenth))
	}
	n := 0
	for range replay.First(listed(records...), 7) {
		n++
	}
	if n != 7 {
		t.Errorf("the first 7 are %d", n)
	}
}

// An error of the log, and the end of the context, end a replay.
func TestReplayEnds(t *testing.T) {
	w := newWorld(t, 1)
	broken := func(yield func(decisionlog.Record, error) bool) { yield(decisionlog.Record{}, datastore.ErrClosed) }
	if _, err := replay.Run(t.Context(), replay.Options{Store: w.store, Engine: w.engine, Candidate: w.sets[0], Records: broken}); err == nil {
		t.Error("a broken log is replayed")
	}
}

// What is beyond the bounds is said to be, and the newest may come first.
func TestBounds(t *testing.T) {
	w := newWorld(t, 2)
	random := rand.New(rand.NewPCG(6, 7))
	for range 20 {
		must(t, w.ask(random, 50))
		w.change(random)
	}
	w.log.Checkpoint()
	newest := func() iter.Seq2[decisionlog.Record, error] {
		return decisionlog.Find(context.Background(), w.folder, decisionlog.Query{})
	}
	whole := w.replay(w.sets[1], w.records())
	for _, row := range []struct {
		name      string
		options   replay.Options
		decided   uint64
		unreached bool
	}{
		{"the newest first", replay.Options{From: 1}, 1000, false},
		{"the newest first, and nothing remembered", replay.Options{}, 1000, false},
		{"not more than 300", replay.Options{Most: 300}, 300, true},
		{"no time", replay.Options{Limit: time.Nanosecond}, 0, true},
	} {
		o := row.options
		o.Store, o.Engine, o.Candidate, o.Records = w.store, w.engine, w.sets[1], newest()
		report, err := replay.Run(t.Context(), o)
		must(t, err)
		if report.Decided != row.decided || (report.Skipped[replay.Unreached] > 0) != row.unreached {
			t.Errorf("%s: %d decided, skipped %v", row.name, report.Decided, report.Skipped)
		}
		if same := report.ToAllow == whole.ToAllow && report.ToDeny == whole.ToDeny && report.Different == whole.Different; same == row.unreached {
			t.Errorf("%s: %d, %d and %d turn, want %d, %d and %d", row.name, report.ToAllow, report.ToDeny, report.Different, whole.ToAllow, whole.ToDeny, whole.Different)
		}
	}
}
