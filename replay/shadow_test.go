package replay_test

import (
	"context"
	"testing"
	"time"

	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/replay"
)

// compared waits until the candidate has been compared, or could not be, for n decisions.
func compared(t testing.TB, e *engine.Engine, n uint64) engine.Shadowed {
	t.Helper()
	for t.Context().Err() == nil {
		if c := e.Shadow().Counts(); c.Compared+c.Failed >= n {
			return c
		}
	}
	return engine.Shadowed{}
}

// asked asks whether a user may read a document.
func (w *world) asked(user, document int) engine.Answer {
	w.t.Helper()
	r, set := w.engine.Begin(w.memo)
	defer r.End()
	in := accessInput(user, "read", document)
	a, err := w.engine.Ask(context.Background(), r, set, engine.Access, in,
		func(*memo.Reading) (engine.Input, error) { return engine.Input{Text: in}, nil })
	must(w.t, err)
	return a
}

func (w *world) shadow(t testing.TB) *replay.Shadow {
	shadow := replay.NewShadow(string(tenant), w.engine, w.memo)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		shadow.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return shadow
}

func TestShadowIsComparedAndNeverAnswered(t *testing.T) {
	w := newWorld(t, 4)
	w.put(`{"at_most":2}`, "limits", "d1") // more than set 0 and set 1 ask for
	w.put(`{"users":["u7"]}`, "grants", "d2")
	shadow := w.shadow(t)
	if _, found := shadow.Report(); found {
		t.Error("there is a report without a shadow")
	}
	before := w.asked(1, 1)
	w.engine.SetShadow(w.sets[3])
	for range 5 {
		if a := w.asked(1, 1); !a.Allow || a.PolicyRevision != w.sets[0].Revision() || a.Reasons[0] != before.Reasons[0] {
			t.Fatalf("the answer is %+v", a.Decision)
		}
	}
	if c := compared(t, w.engine, 1); c.Compared != 1 {
		t.Errorf("what is remembered is compared again: %+v", c)
	}
	w.engine.SetShadow(w.sets[3]) // which does so already
	w.asked(1, 1)
	last := w.asked(5, 2) // denied by both
	compared(t, w.engine, 2)
	live, found := shadow.Report()
	if !found || live.Candidate != w.sets[3].Revision() || live.Active != w.sets[0].Revision() || live.Decided != 2 || live.ToDeny != 1 ||
		live.ToAllow+live.Different != 0 || len(live.Skipped) > 0 || last.Allow {
		t.Errorf("%+v", live)
	}
	if len(live.Groups) != 1 {
		t.Fatalf("%+v", live.Groups)
	}
	g := live.Groups[0]
	if g.Turns != engine.ToDeny || g.Rule != "by_limit" || g.Org != "acme" || g.Subject != "user:u1" || g.Action != "read" || g.Count != 1 {
		t.Errorf("%+v", g)
	}
	example := g.Examples[0]
	if id, err := decisionlog.ParseID(example.ID); err != nil || id <= before.ID || example.Resource != "document:d1" ||
		len(example.Before) != 1 || len(example.After) != 0 || len(example.Rules) == 0 || example.Rules[0].Failed == nil {
		t.Errorf("%+v, %v", example, err)
	}
	w.put(`{"at_most":4}`, "limits", "d1") // upon which both allow: with a reason that names the set
	w.asked(1, 1)
	compared(t, w.engine, 3)
	if live, _ := shadow.Report(); live.Decided != 3 || live.Different != 1 {
		t.Errorf("after a change of the facts: %+v", live)
	}
	w.engine.Swap(w.sets[1])
	if live, _ := shadow.Report(); live.Decided != 0 || live.Active != w.sets[1].Revision() || live.Changed() {
		t.Errorf("beside another set it goes on: %+v", live)
	}
	w.engine.SetShadow(nil)
	w.asked(1, 1)
	if _, found := shadow.Report(); found {
		t.Error("there is a report of a shadow that has ended")
	}
}

// TestShadowIsDropped asks for more than can wait: nobody compares, and everything is answered.
func TestShadowIsDropped(t *testing.T) {
	w := newWorld(t, 2)
	w.engine.SetShadow(w.sets[1])
	const questions = 5000
	for n := range questions {
		w.asked(n, n)
	}
	dropped := w.engine.Shadow().Counts().Dropped
	if dropped == 0 || dropped >= questions {
		t.Fatalf("%d of %d were dropped", dropped, questions)
	}
	shadow := w.shadow(t)
	c := compared(t, w.engine, questions-dropped)
	if live, _ := shadow.Report(); c.Compared != questions-dropped || live.Skipped[replay.Dropped] != dropped || c.Failed != 0 {
		t.Errorf("%+v, %+v", c, live.Skipped)
	}
	w.ahead.Add(int64(time.Minute)) // upon which what was dropped comes again, and nothing else
	for n := range questions {
		w.asked(n, n)
	}
	if c := compared(t, w.engine, questions); c.Compared != questions || c.Dropped != dropped {
		t.Errorf("in the end: %+v", c)
	}
}
