package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"mandate/datastore"
	"mandate/engine"
)

// decisions measures one decision at a time about a named subject.
//
// Over HTTP, Mandate authenticates its caller by an API key on each request, resolves the subject from its facts and
// decides. OPA's server authenticates nobody, and gets principal and caller ready made. The bare handler parses the
// request that Mandate gets, and no more: it is the ceiling for any server on Fiber.
//
// In process, Mandate's engine parses the input and reads the facts from a fresh snapshot of the store on disk: with
// nothing remembered at all, with facts that are (each question still being a new one), and with the decision and the
// caller's principal remembered. OPA's library gets the input parsed and has the facts in memory.
func decisions(ctx context.Context, b *bench) (err error) {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveMandate(ctx, g, g.questions)); err != nil {
		return err
	}
	if err := all.start(b.serveOPA(ctx, g, g.questions)); err != nil {
		return err
	}
	if err := all.start(b.serveCeiling(ctx, all[0])); err != nil {
		return err
	}
	d, err := b.prepareDecisions(ctx, g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.store.Close()) }()
	if err := d.compare(ctx, b, all); err != nil {
		return err
	}
	if err := b.race(ctx, b.overHTTP(all...)); err != nil {
		return err
	}
	all.stop() // so that the machine belongs to what follows
	return b.race(ctx, d.inProcess(b))
}

// serveCeiling starts the bare handler, which gets what Mandate gets.
func (b *bench) serveCeiling(ctx context.Context, mandate *served) (*served, error) {
	c, err := startChild(ctx, "bare Fiber handler", "/readyz", ceilingRole)
	if err != nil {
		return nil, err
	}
	s := &served{child: c, name: c.name, items: 1, yes: `"decision":true`, no: `"decision":true`}
	for _, x := range mandate.exchanges {
		s.exchanges = append(s.exchanges, exchange{request: bytes.Replace(x.request, []byte(mandate.address), []byte(c.address), 1)})
	}
	return s, nil
}

// decisionBench is what the contestants in process share.
type decisionBench struct {
	questions []question
	store     datastore.Store
	engine    *mandateEngine
	library   *regoLibrary
	allowed   []bool // the agreed answers
}

func (b *bench) prepareDecisions(ctx context.Context, g *ground) (d *decisionBench, err error) {
	b.say("loading the same facts into OPA's library")
	inputs, err := g.policyInputs(ctx, g.questions)
	if err != nil {
		return nil, err
	}
	d = &decisionBench{questions: g.questions}
	if d.library, err = newRegoLibrary(ctx, g.facts, inputs); err != nil {
		return nil, err
	}
	if d.store, err = g.open(); err != nil {
		return nil, err
	}
	if d.engine, err = newMandateEngine(ctx, g.filled, d.store, inputs); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// compare asks every contestant every question and ends the run when two answers differ. It also warms them up.
func (d *decisionBench) compare(ctx context.Context, b *bench, all servers) error {
	var given []answered
	for _, s := range all {
		a, err := b.ask(ctx, s)
		if err != nil {
			return err
		}
		if s.answers != nil {
			given = append(given, a)
		}
	}
	for _, contestant := range d.contestants() {
		b.say("asking %s, to compare the answers", contestant.name)
		a := answered{name: contestant.name}
		for i := range d.questions {
			one, err := contestant.answer(ctx, i)
			if err != nil {
				return fmt.Errorf("ask %s: %w", contestant.name, err)
			}
			a.answers = append(a.answers, one)
		}
		given = append(given, a)
	}
	for _, a := range given[0].answers {
		d.allowed = append(d.allowed, a.allow)
	}
	return b.agree(d.questions, given, all...)
}

// inProcess is a contestant without a server.
type inProcess struct {
	name   string
	answer func(ctx context.Context, i int) (answer, error)
	allows func(ctx context.Context, i int) (bool, error) // the same without what only a comparison needs
}

func (d *decisionBench) contestants() []inProcess {
	mandate := func(name string, decide func(context.Context, int) (*engine.Decision, error)) inProcess {
		return inProcess{name,
			func(ctx context.Context, i int) (answer, error) {
				decision, err := decide(ctx, i)
				if err != nil {
					return answer{}, err
				}
				return answerOf(decision.Allow, decision.Reasons), nil
			},
			func(ctx context.Context, i int) (bool, error) {
				decision, err := decide(ctx, i)
				return err == nil && decision.Allow, err
			},
		}
	}
	return []inProcess{
		mandate("Mandate's engine, nothing remembered", d.engine.decide),
		mandate("Mandate's engine, new decision, facts remembered", d.engine.decideNew),
		mandate("Mandate's engine, repeated decision with its principal", d.engine.decideAgain),
		{"OPA's library", d.library.answer, func(ctx context.Context, i int) (bool, error) {
			document, err := d.library.decide(ctx, i)
			allow, _ := document["allow"].(bool)
			return allow, err
		}},
	}
}

func (d *decisionBench) inProcess(b *bench) race {
	r := race{title: "In process, one at a time", metrics: []metric{{"time per decision", "µs"}, {"allocations", ""}, {"allocated", "bytes"}}}
	all := d.contestants()
	opa := len(all) - 1
	for i, c := range all {
		r.contestants = append(r.contestants, contestant{c.name, func(ctx context.Context) ([]float64, error) {
			return d.repeat(ctx, b.Duration, func(i int) (bool, error) { return c.allows(ctx, i) })
		}})
		if i != opa {
			r.ratios = append(r.ratios, ratio{"time: OPA's library / " + c.name, 0, opa, i}, ratio{"allocations: " + c.name + " / OPA's library", 1, i, opa})
		}
	}
	return r
}

// repeat takes the questions in turn for the duration and returns time, allocations and bytes per decision.
func (d *decisionBench) repeat(ctx context.Context, duration time.Duration, decide func(i int) (bool, error)) ([]float64, error) {
	const untilClock = 32 // decisions, so that looking at it costs nothing
	var before, after runtime.MemStats
	runtime.GC() // nobody pays for the garbage of the contestant before
	runtime.ReadMemStats(&before)
	start, n := time.Now(), 0
	for time.Since(start) < duration {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for range untilClock {
			i := n % len(d.questions)
			allow, err := decide(i)
			if err != nil {
				return nil, err
			}
			if allow != d.allowed[i] {
				return nil, fmt.Errorf("request %d: the answer has changed to %t", i, allow)
			}
			n++
		}
	}
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	count := float64(n)
	return []float64{
		float64(elapsed.Nanoseconds()) / 1000 / count,
		float64(after.Mallocs-before.Mallocs) / count,
		float64(after.TotalAlloc-before.TotalAlloc) / count,
	}, nil
}
