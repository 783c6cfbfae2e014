package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
)

// Terms of the records: each action is asked for in every second organization only.
const (
	findActions = 20
	findOrgs    = 1000
	// findQuestions are those that repeat, each with a subject of its own.
	findQuestions = 20_000
	findRare      = 3 // records of the rare subject
	findPage      = 1000
)

// decisionfind measures how long it takes to find among many records of the decision log, when decisions repeat and when no two are
// alike. The log is written by the writer that serves, and lies in the page cache when it is read.
func decisionfind(ctx context.Context, b *bench) error {
	var r race
	r.title = fmt.Sprintf("find in %s records of the decision log", humanize.Comma(int64(b.LogRecords)))
	for _, kind := range []struct {
		name   string
		repeat bool
	}{{"decisions that repeat", true}, {"no two decisions alike", false}} {
		log := &foundLog{folder: filepath.Join(b.temp, kind.name), repeat: kind.repeat, records: b.LogRecords}
		begun := time.Now()
		if err := log.write(ctx, b); err != nil {
			return err
		}
		size, err := log.size()
		if err != nil {
			return err
		}
		b.note("%s: %s on disk, written and sealed in %s", kind.name, humanize.IBytes(size), time.Since(begun).Round(time.Second))
		if len(r.metrics) == 0 {
			for _, q := range log.queries() {
				r.metrics = append(r.metrics, metric{q.name, "ms"})
			}
			r.metrics = append(r.metrics, metric{"memory afterwards", "MiB"})
		}
		r.contestants = append(r.contestants, contestant{kind.name, log.measure})
	}
	b.note("of many, the newest %d are read", findPage)
	return b.race(ctx, r)
}

// foundLog is a log that is asked.
type foundLog struct {
	folder  string
	repeat  bool
	records int

	middle, later decisionlog.ID // some records apart
}

func (l *foundLog) write(ctx context.Context, b *bench) (err error) {
	log, err := decisionlog.Open(l.folder, decisionlog.Options{Tenant: "default", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	running, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() { log.Run(running) })
	defer ended.Wait()
	defer stop()
	const together = 16 // commits share a write, as they do for as many connections
	refs := make([]decisionlog.Ref, findQuestions)
	mark := log.Mark()
	for i := range l.records {
		ref, question := &decisionlog.Ref{}, i
		if l.repeat {
			question = int(uint32(i) * 2654435761 % findQuestions)
			ref = &refs[question]
		}
		asked := time.Now()
		rare := i%max(l.records/findRare, 1) == l.records/findRare/2
		if rare {
			ref, question = &decisionlog.Ref{}, -1
		}
		entry := decisionlog.Entry{DataRevision: 1, Allow: question%5 != 0, Remembered: l.repeat}
		id, err := log.Append(*ref, asked, entry)
		for err != nil {
			*ref = log.Describe(l.describe(question))
			id, err = log.Append(*ref, asked, entry)
		}
		switch i {
		case l.records / 2:
			l.middle = id
		case l.records/2 + findPage:
			l.later = id
		}
		if i%together == 0 || i == l.records-1 {
			if err := log.Commit(mark); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			b.tick("writing %s of %s records", humanize.Comma(int64(i)), humanize.Comma(int64(l.records)))
		}
	}
	return log.Tidy(ctx)
}

// describe is what the engine writes of a decision on a member's document.
func (l *foundLog) describe(question int) *decisionlog.Description {
	user, org := fmt.Sprintf("user-%d", question), question%findOrgs
	if question < 0 {
		user, org = "rare", 1
	}
	action := org % findActions
	allow := question%5 != 0
	code := "role"
	if !allow {
		code = "role_missing"
	}
	at := fmt.Sprintf("/t/default/orgs/company-%d", org)
	return &decisionlog.Description{Kind: decisionlog.Decision, Point: "mandate/access", Allow: allow,
		PolicyRevision: "8d1f6f1f0b0f4a53b8b4a5a0e3a1c7d2",
		Reasons:        []decisionlog.Reason{{Code: code, Message: "The role editor in company-" + fmt.Sprint(org) + "."}},
		Input: jsontext.Value(fmt.Sprintf(`{"subject":{"type":"user","id":%[1]q},"action":{"name":"documents:a%[2]d"},`+
			`"resource":{"type":"document","id":"report-of-%[1]s","properties":{"org":"company-%[3]d"}},`+
			`"principal":{"type":"user","sub":%[1]q},"caller":{"type":"apikey","sub":"gateway","scopes":["decide"],"credential":{"type":"api_key","id":"gateway"}}}`,
			user, action, org)),
		Footprint: []string{at, at + "/members/" + user, "!" + at + "/policies", "/t/default/roles/editor", "/t/default/users/" + user}}
}

type findQuery struct {
	name  string
	query decisionlog.Query
	want  int // records, up to a page
}

func (l *foundLog) queries() []findQuery {
	return []findQuery{
		{"a rare subject", decisionlog.Query{Subject: "user:rare"}, findRare},
		{"a frequent action", decisionlog.Query{Action: "documents:a1"}, findPage},
		{"no such subject", decisionlog.Query{Subject: "user:nobody"}, 0},
		{"by id", decisionlog.Query{From: l.middle, Until: l.middle + 1}, 1},
		{"a time", decisionlog.Query{From: l.middle, Until: l.later}, findPage},
		{"action and organization that never meet", decisionlog.Query{Action: "documents:a1", Org: "company-2"}, 0},
		{"action and reason in an organization", decisionlog.Query{Action: "documents:a5", Org: "company-5", Reason: "role_missing"}, findPage},
	}
}

// measure asks everything once.
func (l *foundLog) measure(ctx context.Context) ([]float64, error) {
	var values []float64
	debug.FreeOSMemory()
	for _, q := range l.queries() {
		begun, found := time.Now(), 0
		for _, err := range decisionlog.Find(ctx, l.folder, q.query) {
			if err != nil {
				return nil, err
			}
			if found++; found == findPage {
				break
			}
		}
		values = append(values, float64(time.Since(begun))/float64(time.Millisecond))
		if q.want != findPage && found != q.want {
			return nil, fmt.Errorf("%s: %d records were found, there are %d", q.name, found, q.want)
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return append(values, float64(memory.Sys-memory.HeapReleased)/(1<<20)), nil
}

func (l *foundLog) size() (size uint64, err error) {
	files, err := os.ReadDir(l.folder)
	if err != nil {
		return 0, fmt.Errorf("look at the log: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return 0, fmt.Errorf("look at the log: %w", err)
		}
		size += uint64(info.Size())
	}
	return size, nil
}
