package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
)

// decisions measures one decision at a time about a named subject.
//
// Over HTTP, Mandate authenticates its caller by an API key on each request, resolves the subject from its facts and
// decides. OPA's server authenticates nobody, and gets principal and caller ready made. The bare handler parses the
// request that Mandate gets, and no more: it is the ceiling for any server on Fiber.
//
// In process, Mandate's engine parses the input and reads the facts from a fresh snapshot of the store on disk. OPA's
// library gets the input parsed and has the facts in memory.
func decisions(ctx context.Context, b *bench) (err error) {
	w := generate(b.Seed, b.Orgs, b.Members, b.Requests)
	b.note("%s requests, facts of %s organizations with %s members each, seed %d", humanize.Comma(int64(b.Requests)),
		humanize.Comma(int64(b.Orgs)), humanize.Comma(int64(b.Members)), b.Seed)
	d, err := prepareDecisions(ctx, b, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.store.close()) }()
	servers, stop, err := d.startServers(ctx, b)
	defer stop()
	if err != nil {
		return err
	}
	if err := d.compare(ctx, b, servers); err != nil {
		return err
	}
	if err := b.race(ctx, d.overHTTP(b, servers)); err != nil {
		return err
	}
	stop() // so that the machine belongs to what follows
	return b.race(ctx, d.inProcess(b))
}

// decisionBench is what the contestants of the suite share.
type decisionBench struct {
	questions []question
	store     *filled
	facts     []byte
	sources   map[string]string
	inputs    [][]byte
	engine    *mandateEngine
	library   *regoLibrary
	allowed   []bool // the agreed answers
}

func prepareDecisions(ctx context.Context, b *bench, w workload) (d *decisionBench, err error) {
	b.say("importing %s members", humanize.Comma(int64(b.Orgs*b.Members)))
	d = &decisionBench{questions: w.questions}
	if d.store, err = fill(ctx, filepath.Join(b.temp, "data"), w.file, b.progress); err != nil {
		return nil, err
	}
	if err := d.load(ctx, b); err != nil {
		return nil, errors.Join(err, d.store.close())
	}
	return d, nil
}

// load copies the folder for the server and reads from the store what others are given.
func (d *decisionBench) load(ctx context.Context, b *bench) error {
	if err := d.store.copyTo(filepath.Join(b.temp, "served")); err != nil {
		return err
	}
	view, err := d.store.store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	b.say("loading the same facts into OPA's library")
	if d.facts, err = facts(ctx, view); err != nil {
		return err
	}
	if d.sources, err = regoSources(); err != nil {
		return err
	}
	if d.inputs, err = d.store.policyInputs(ctx, view, d.questions); err != nil {
		return err
	}
	if d.engine, err = newMandateEngine(ctx, d.store.store, d.inputs); err != nil {
		return err
	}
	d.library, err = newRegoLibrary(ctx, d.sources, d.facts, d.inputs)
	return err
}

// served is a server that runs, and all questions as it is asked them.
type served struct {
	*child
	exchanges []exchange
	answer    func(body []byte) (answer, error) // nil for one that does not decide
	yes, no   string                            // what the body of an answer contains
}

// startServers returns the servers and what stops them, also those that had started before an error.
func (d *decisionBench) startServers(ctx context.Context, b *bench) (servers []*served, stop func(), err error) {
	stop = func() {
		for _, s := range servers {
			s.stop()
		}
	}
	b.say("building and starting the servers")
	binary, err := buildMandate(ctx, b.temp)
	if err != nil {
		return servers, stop, err
	}
	for _, start := range []func() (*served, error){
		func() (*served, error) {
			c, err := startMandate(ctx, binary, filepath.Join(b.temp, "served"))
			return &served{child: c, answer: mandateAnswer, yes: `"decision":true`, no: `"decision":false`}, err
		},
		func() (*served, error) {
			c, err := startOPA(ctx, filepath.Join(b.temp, "opa"), d.sources, d.facts)
			return &served{child: c, answer: opaAnswer, yes: `"allow":true`, no: `"allow":false`}, err
		},
		func() (*served, error) {
			c, err := startChild(ctx, "bare Fiber handler", "/readyz", ceilingRole)
			return &served{child: c, yes: `"decision":true`, no: `"decision":true`}, err
		},
	} {
		s, err := start()
		if err != nil {
			return servers, stop, err
		}
		servers = append(servers, s)
		b.tick("%s is ready", s.name)
	}
	return servers, stop, d.exchanges(servers)
}

func (d *decisionBench) exchanges(servers []*served) error {
	mandate, opa, ceiling := servers[0], servers[1], servers[2]
	for i, q := range d.questions {
		body, err := json.Marshal(q)
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		mandate.exchanges = append(mandate.exchanges, exchange{request: post(mandate.address, mandatePath, d.store.authorization(), body)})
		opa.exchanges = append(opa.exchanges, opaExchange(opa.address, d.inputs[i]))
		ceiling.exchanges = append(ceiling.exchanges, exchange{request: post(ceiling.address, mandatePath, d.store.authorization(), body)})
	}
	return nil
}

// compare asks every contestant every question and ends the run when two answers differ. It also warms them up.
func (d *decisionBench) compare(ctx context.Context, b *bench, servers []*served) error {
	var all []answered
	for _, s := range servers {
		b.say("asking %s, to compare the answers", s.name)
		a := answered{name: s.name, answers: make([]answer, len(d.questions))}
		err := each(ctx, s.address, s.exchanges, b.Connections, func(i int, body []byte) (err error) {
			if s.answer != nil {
				a.answers[i], err = s.answer(body)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("ask %s: %w", s.name, errors.Join(err, s.check()))
		}
		if s.answer != nil {
			all = append(all, a)
		}
	}
	for _, contestant := range []struct {
		name   string
		answer func(context.Context, int) (answer, error)
	}{{"Mandate's engine", d.engine.answer}, {"OPA's library", d.library.answer}} {
		b.say("asking %s, to compare the answers", contestant.name)
		a := answered{name: contestant.name}
		for i := range d.questions {
			one, err := contestant.answer(ctx, i)
			if err != nil {
				return fmt.Errorf("ask %s: %w", contestant.name, err)
			}
			a.answers = append(a.answers, one)
		}
		all = append(all, a)
	}
	if err := mustAgree(d.questions, all); err != nil {
		return err
	}
	d.agree(all[0].answers, servers)
	var names []string
	for _, a := range all {
		names = append(names, a.name)
	}
	b.note("%s agree on every answer and its reason", strings.Join(names, ", "))
	b.note("%s", tallyOf(all[0].answers))
	return nil
}

// agree makes every answer that is timed be checked against the agreed one.
func (d *decisionBench) agree(answers []answer, servers []*served) {
	d.allowed = make([]bool, len(answers))
	for i, a := range answers {
		d.allowed[i] = a.allow
		for _, s := range servers {
			s.exchanges[i].expect = []byte(s.no)
			if a.allow {
				s.exchanges[i].expect = []byte(s.yes)
			}
		}
	}
}

func (d *decisionBench) overHTTP(b *bench, servers []*served) race {
	r := race{
		title:   fmt.Sprintf("Over HTTP, %d connections", b.Connections),
		metrics: []metric{{"decisions per second", ""}, {"latency p50", "ms"}, {"p99", "ms"}},
		ratios: []ratio{
			{"decisions per second: Mandate / OPA server", 0, 0, 1},
			{"decisions per second: Mandate / bare Fiber handler", 0, 0, 2},
		},
	}
	for _, s := range servers {
		r.contestants = append(r.contestants, contestant{s.name, func(ctx context.Context) ([]float64, error) {
			t, err := drive(ctx, s.address, s.exchanges, b.Connections, b.Duration)
			if err != nil {
				return nil, errors.Join(err, s.check())
			}
			return t.values(), nil
		}})
	}
	return r
}

func (d *decisionBench) inProcess(b *bench) race {
	return race{
		title:   "In process, one at a time",
		metrics: []metric{{"time per decision", "µs"}, {"allocations", ""}, {"allocated", "bytes"}},
		contestants: []contestant{
			{"Mandate's engine", func(ctx context.Context) ([]float64, error) {
				return d.repeat(ctx, b.Duration, func(i int) (bool, error) {
					decision, err := d.engine.decide(ctx, i)
					return decision.Allow, err
				})
			}},
			{"OPA's library", func(ctx context.Context) ([]float64, error) {
				return d.repeat(ctx, b.Duration, func(i int) (bool, error) {
					document, err := d.library.decide(ctx, i)
					allow, _ := document["allow"].(bool)
					return allow, err
				})
			}},
		},
		ratios: []ratio{
			{"time: OPA's library / Mandate's engine", 0, 1, 0},
			{"allocations: Mandate's engine / OPA's library", 1, 0, 1},
		},
	}
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
