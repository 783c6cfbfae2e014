package replay_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/policyset"
	"mandate/replay"
)

const tenant = directory.Tenant("default")

// policies are a set that decides by facts, by what it finds in a scan, by the time, and by the number of the set.
func policies(n int) fstest.MapFS {
	return fstest.MapFS{
		"access.rego": {Data: fmt.Appendf(nil, `package mandate.access

number := %d

rules contains "granted" if {
	some user in data.custom.grants[input.resource.id].users
	user == input.subject.id
}

rules contains "quiet" if {
	input.action.name == "scan"
	count([id | some id, block in data.custom.blocks; block.user == input.subject.id]) <= number %% 3
}

rules contains "in_time" if {
	input.action.name == "wait"
	time.now_ns() %% 1000 < 100 * number
}

rules contains "by_limit" if data.custom.limits[input.resource.id].at_most > number

decision := {
	"allow": count(rules) > 0,
	"reasons": [{"code": code, "message": sprintf("%%s by set %%d", [code, number])} | some code in rules],
	"obligations": [{"type": "log", "until": data.custom.limits[input.resource.id].at_most} | "by_limit" in rules],
}
`, n)},
		"tokens.rego": {Data: fmt.Appendf(nil, `package mandate.tokens

decision := {
	"allow": input.request.scope in data.custom.scopes.known,
	"scopes": [input.request.scope],
	"lifetime": %d,
	"claims": {"known": data.custom.scopes.known},
	"org": "acme",
}
`, 60+n)},
		"manage.rego": {Data: []byte("package mandate.manage\n\ndecision := {\"allow\": false, \"reasons\": [{\"code\": \"principal_unknown\", \"message\": \"nobody\"}]}\n")},
	}
}

// world is an engine with its store, its log and the policy sets that it decides by in turn.
type world struct {
	t       testing.TB
	store   datastore.Store
	memo    *memo.Memo
	folder  string
	log     *decisionlog.Log
	engine  *engine.Engine
	library *policyset.Library
	sets    []*engine.PolicySet
	ahead   atomic.Int64 // of the time
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB, sets int) *world {
	t.Helper()
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return newWorldOn(t, store, sets)
}

func newWorldOn(t testing.TB, store datastore.Store, sets int) *world {
	t.Helper()
	w := &world{t: t, store: store, folder: t.TempDir()}
	w.memo = memo.New(store, memo.Options{Bytes: 64 << 20, Now: w.now})
	var err error
	// Several segments, so that descriptions are written again.
	w.log, err = decisionlog.Open(w.folder, decisionlog.Options{Tenant: string(tenant), SegmentBytes: 4 << 20, Now: w.now})
	must(t, err)
	t.Cleanup(func() { must(t, w.log.Close()) })
	for n := range sets {
		set, err := engine.Compile(t.Context(), policies(n))
		must(t, err)
		w.sets = append(w.sets, set)
	}
	w.engine = engine.New(datastore.TenantID(tenant), w.sets[0], engine.Options{EvaluationLimit: 10 * time.Second, Log: w.log, Now: w.now})
	w.library = policyset.New(policyset.Options{Tenant: tenant, Store: store, Engine: w.engine, Now: time.Now})
	for _, set := range w.sets {
		_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
			return w.library.Add(t.Context(), tx, set, policyset.Origin{Source: "push"})
		})
		must(t, err)
	}
	w.activate(0)
	return w
}

func (w *world) activate(n int) {
	w.t.Helper()
	ctx := context.Background()
	_, err := w.store.Update(ctx, func(tx datastore.Tx) error {
		return w.library.Activate(ctx, tx, w.sets[n].Revision(), "activate", policyset.Origin{By: "alice"})
	})
	must(w.t, err)
	must(w.t, w.library.Apply(ctx))
}

// put sets a document below custom; empty removes it.
func (w *world) put(value string, path ...string) {
	w.t.Helper()
	_, err := w.store.Update(context.Background(), func(tx datastore.Tx) error {
		p := datastore.TenantID(tenant).Path(append([]string{"custom"}, path...)...)
		if value == "" {
			return tx.Delete(p)
		}
		return tx.Put(p, []byte(value))
	})
	must(w.t, err)
}

func (w *world) records() iter.Seq2[decisionlog.Record, error] {
	w.log.Checkpoint()
	return decisionlog.Read(context.Background(), w.folder, 0)
}

// by are the decisions that a set has made.
func by(records iter.Seq2[decisionlog.Record, error], set string) iter.Seq2[decisionlog.Record, error] {
	return func(yield func(decisionlog.Record, error) bool) {
		for r, err := range records {
			if (err != nil || r.Description.PolicyRevision == set) && !yield(r, err) {
				return
			}
		}
	}
}

func (w *world) replay(candidate *engine.PolicySet, records iter.Seq2[decisionlog.Record, error]) *replay.Report {
	w.t.Helper()
	report, err := replay.Run(w.t.Context(), replay.Options{Store: w.store, Engine: w.engine, Candidate: candidate, Records: records})
	must(w.t, err)
	return report
}

func accessInput(user int, action string, document int) []byte {
	return fmt.Appendf(nil, `{"subject":{"type":"user","id":"u%d"},"action":{"name":%q},"resource":{"type":"document","id":"d%d",`+
		`"properties":{"org":"acme"}}}`, user, action, document)
}

// ask asks some questions in one request.
func (w *world) ask(random *rand.Rand, questions int) error {
	ctx := context.Background()
	r, set := w.engine.Begin(w.memo)
	defer r.End()
	for range questions {
		point := engine.Access
		action := []string{"read", "read", "read", "scan", "wait"}[random.IntN(5)]
		in := engine.Input{Text: accessInput(random.IntN(20), action, random.IntN(20))}
		switch random.IntN(10) {
		case 0:
			point, in.Text = engine.Tokens, fmt.Appendf(nil, `{"request":{"stage":"issue","scope":"s%d"}}`, random.IntN(6))
		case 1:
			point = engine.Manage
		}
		if random.IntN(20) == 0 {
			in.Refused = &engine.Reason{Code: "credential_invalid", Message: "the credential is not known"}
		}
		question := append(memo.Part(nil, in.Text), fmt.Sprint(in.Refused != nil)...)
		if _, err := w.engine.Ask(ctx, r, set, point, question, func(*memo.Reading) (engine.Input, error) { return in, nil }); err != nil {
			return err
		}
	}
	return nil
}

// change changes one fact, or the policies.
func (w *world) change(random *rand.Rand) {
	switch random.IntN(8) {
	case 0:
		w.activate(random.IntN(len(w.sets)))
	case 1, 2:
		w.put(fmt.Sprintf(`{"users":["u%d","u%d"]}`, random.IntN(20), random.IntN(20)), "grants", fmt.Sprintf("d%d", random.IntN(20)))
	case 3:
		w.put("", "grants", fmt.Sprintf("d%d", random.IntN(20)))
	case 4, 5:
		w.put(fmt.Sprintf(`{"user":"u%d"}`, random.IntN(20)), "blocks", fmt.Sprintf("b%d", random.IntN(50)))
	case 6:
		w.put(fmt.Sprintf(`{"at_most":%d}`, random.IntN(5)), "limits", fmt.Sprintf("d%d", random.IntN(20)))
	case 7:
		w.put(fmt.Sprintf(`{"known":["s%d","s%d"]}`, random.IntN(6), random.IntN(6)), "scopes")
	}
}

// TestOwnLogComesOutTheSame makes random decisions while facts and policies change, and replays each by the set that has made it.
func TestOwnLogComesOutTheSame(t *testing.T) {
	changes, batches := 1000, 10
	if testing.Short() {
		changes = 100
	}
	w := newWorld(t, 4)
	random := rand.New(rand.NewPCG(6, 5))
	for range changes {
		var asking sync.WaitGroup
		for range 2 {
			random := rand.New(rand.NewPCG(random.Uint64(), 0))
			asking.Go(func() {
				for range batches / 2 {
					if err := w.ask(random, 10); err != nil {
						t.Error(err)
					}
				}
			})
		}
		w.change(random)
		asking.Wait()
	}
	made := map[string]uint64{}
	remembered, allowed := 0, 0
	for r, err := range w.records() {
		must(t, err)
		made[r.Description.PolicyRevision]++
		if r.Remembered {
			remembered++
		}
		if r.Allow {
			allowed++
		}
	}
	decided := uint64(0)
	for _, set := range w.sets {
		report := w.replay(set, by(w.records(), set.Revision()))
		decided += report.Decided
		if report.Changed() || report.Decided != made[set.Revision()] || len(report.Skipped) > 0 {
			t.Errorf("set %s has made %d decisions, of which %d turn, %d differ: skipped %v, %.1v", set.ShortRevision(), made[set.Revision()],
				report.ToAllow+report.ToDeny, report.Different, report.Skipped, report.Groups[:min(1, len(report.Groups))])
		}
	}
	if want := uint64(changes * batches * 10); decided != want || remembered == 0 || allowed == 0 {
		t.Errorf("%d of %d decided again; %d were remembered, %d allowed", decided, want, remembered, allowed)
	}
	t.Logf("%d decisions, %d of them remembered, %d allowed", decided, remembered, allowed)
	other := w.replay(w.sets[1], by(w.records(), w.sets[0].Revision()))
	if !other.Changed() {
		t.Error("another set decides all the same")
	}
}
