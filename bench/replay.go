package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/policies"
	"mandate/replay"
	"mandate/server"
)

// Of the log that is replayed: how many rounds of all questions it has, and how many decisions there are for each change of a fact.
const (
	replayRounds       = 20
	decisionsPerChange = 50
)

// replaying measures how fast a decision log is decided again, each decision at its own revision of the facts. The candidate comes to
// the same, which is checked.
func replaying(ctx context.Context, b *bench) (err error) {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	inputs, err := g.policyInputs(ctx, g.questions)
	if err != nil {
		return err
	}
	f := &filled{folder: filepath.Join(b.temp, "replayed"), secrets: g.secrets}
	if err := g.copyTo(f.folder); err != nil {
		return err
	}
	store, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	set, err := engine.CompileTested(ctx, policies.FS)
	if err != nil {
		return fmt.Errorf("compile the policies: %w", err)
	}
	candidate, err := candidateOf(ctx)
	if err != nil {
		return err
	}
	folder := filepath.Join(b.temp, "decisions")
	log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: string(server.DefaultTenant)})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	e := engine.New(datastore.TenantID(server.DefaultTenant), set, engine.Options{EvaluationLimit: patience, Log: log})
	b.say("making %s decisions to replay", humanize.Comma(int64(replayRounds*len(inputs))))
	changes, err := decideAll(ctx, e, store, g, inputs)
	if err := errors.Join(err, log.Close()); err != nil {
		return err
	}
	b.note("%s decisions at %s revisions", humanize.Comma(int64(replayRounds*len(inputs))), humanize.Comma(int64(changes)))
	r := race{title: "Replay", metrics: []metric{{"decisions per second", ""}},
		ratios: []ratio{{"decisions per second: all processors / one worker", 0, 0, 1}}}
	for _, c := range []struct {
		name    string
		workers int
	}{{"all processors", 0}, {"one worker", 1}} {
		r.contestants = append(r.contestants, contestant{c.name, func(ctx context.Context) ([]float64, error) {
			start := time.Now()
			report, err := replay.Run(ctx, replay.Options{Store: store, Engine: e, Candidate: candidate, Workers: c.workers,
				Records: decisionlog.Read(ctx, folder, 0)})
			if err != nil {
				return nil, err
			}
			if report.Changed() || report.Decided != uint64(replayRounds*len(inputs)) {
				return nil, fmt.Errorf("the replay comes to something else: %d decided, %d different, skipped %v", report.Decided,
					report.ToAllow+report.ToDeny+report.Different, report.Skipped)
			}
			return []float64{float64(report.Decided) / time.Since(start).Seconds()}, nil
		}})
	}
	return b.race(ctx, r)
}

// candidateOf is another set than the built-in one, which decides the same.
func candidateOf(ctx context.Context) (*engine.PolicySet, error) {
	files := []engine.File{{Name: "candidate.rego", Text: "package candidate\n"}}
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		files = append(files, engine.File{Name: name, Text: string(text)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	set, err := engine.CompileFiles(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("compile the candidate: %w", err)
	}
	return set, nil
}

// decideAll decides all questions some times in random order, every second one about a resource that nobody else asks about, while
// documents of members change. It returns how many changes there were.
func decideAll(ctx context.Context, e *engine.Engine, store datastore.Store, g *ground, inputs [][]byte) (changes int, err error) {
	random := rand.New(rand.NewPCG(g.seed, 6))
	members := g.written()
	m := memo.New(store, memo.Options{Bytes: remembering})
	for n := range replayRounds * len(inputs) {
		if n%decisionsPerChange == 0 && len(members) > 0 {
			if err := change(ctx, store, members[random.IntN(len(members))]); err != nil {
				return changes, err
			}
			changes++
		}
		k := random.IntN(len(inputs))
		input := inputs[k]
		if n%2 == 1 {
			id := g.questions[k].Resource.ID
			input = bytes.Replace(input, []byte(id), fmt.Appendf(nil, "%s-%d", id, n), 1)
		}
		r, set := e.Begin(m)
		_, err := e.Decide(ctx, r, set, engine.Access, input)
		r.End()
		if err != nil {
			return changes, fmt.Errorf("decide: %w", err)
		}
		if n%1000 == 0 {
			if err := e.Log().Commit(e.Log().Mark()); err != nil {
				return changes, err
			}
		}
	}
	return changes, nil
}
