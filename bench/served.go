package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
)

// served is a server that runs, and all questions as it is asked them.
type served struct {
	*child
	name      string
	exchanges []exchange
	items     int                                 // questions in each exchange
	answers   func(body []byte) ([]answer, error) // nil for one that does not decide
	yes, no   string                              // what the body of an answer contains
	keys      string                              // path of the keys of one that issues tokens
}

// one reads an answer to a single question.
func one(read func(body []byte) (answer, error)) func(body []byte) ([]answer, error) {
	return func(body []byte) ([]answer, error) {
		a, err := read(body)
		return []answer{a}, err
	}
}

// servers are those that have started, so that all of them can be stopped however far a suite has come.
type servers []*served

func (all servers) stop() {
	for _, s := range all {
		s.stop()
	}
}

// start adds a server, unless there was an error before.
func (all *servers) start(s *served, err error) error {
	if err != nil {
		return err
	}
	*all = append(*all, s)
	return nil
}

// serveMandate starts Mandate on a copy of the folder, and asks it with the API key.
func (b *bench) serveMandate(ctx context.Context, g *ground, questions []question) (*served, error) {
	folder := filepath.Join(b.temp, "served")
	if err := g.copyTo(folder); err != nil {
		return nil, err
	}
	return b.serveFolder(ctx, folder, g, questions)
}

func (b *bench) serveFolder(ctx context.Context, folder string, g *ground, questions []question, settings ...string) (*served, error) {
	binary, err := b.mandate(ctx)
	if err != nil {
		return nil, err
	}
	b.say("starting Mandate")
	c, err := startMandate(ctx, binary, folder, settings...)
	if err != nil {
		return nil, err
	}
	return askMandate(c, c.name, questions, func(int) string { return g.authorization() })
}

// askMandate asks what listens as Mandate's server does, with the credential that is given for each question.
func askMandate(c *child, name string, questions []question, authorization func(i int) string) (*served, error) {
	s := &served{child: c, name: name, items: 1, answers: one(mandateAnswer),
		yes: `"decision":true`, no: `"decision":false`}
	for i, q := range questions {
		body, err := json.Marshal(q)
		if err != nil {
			c.stop()
			return nil, fmt.Errorf("encode a request: %w", err)
		}
		s.exchanges = append(s.exchanges, exchange{request: post(c.address, mandatePath, authorization(i), body)})
	}
	return s, nil
}

// serveOPA starts OPA's server, and asks it what Mandate would ask its engine.
func (b *bench) serveOPA(ctx context.Context, g *ground, questions []question) (*served, error) {
	inputs, err := g.policyInputs(ctx, questions)
	if err != nil {
		return nil, err
	}
	b.say("starting OPA's server")
	c, err := startOPA(ctx, filepath.Join(b.temp, "policies"), g.facts)
	if err != nil {
		return nil, err
	}
	s := &served{child: c, name: c.name, items: 1, answers: one(opaAnswer), yes: `"allow":true`, no: `"allow":false`}
	for _, input := range inputs {
		s.exchanges = append(s.exchanges, opaExchange(c.address, input))
	}
	return s, nil
}

// ask sends every exchange of a server once. It also warms it up.
func (b *bench) ask(ctx context.Context, s *served) (answered, error) {
	b.say("asking %s, to compare the answers", s.name)
	a := answered{name: s.name, answers: make([]answer, len(s.exchanges)*s.items)}
	err := each(ctx, s.address, s.exchanges, b.Connections, func(i int, body []byte) error {
		if s.answers == nil {
			return nil
		}
		answers, err := s.answers(body)
		if err == nil && len(answers) != s.items {
			err = fmt.Errorf("%d answers to %d questions", len(answers), s.items)
		}
		copy(a.answers[i*s.items:], answers)
		return err
	})
	if err != nil {
		return a, fmt.Errorf("ask %s: %w", s.name, errors.Join(err, s.check()))
	}
	return a, nil
}

// compare asks all servers all questions, and ends the run when two answers differ.
func (b *bench) compare(ctx context.Context, questions []question, servers ...*served) error {
	var all []answered
	for _, s := range servers {
		a, err := b.ask(ctx, s)
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	return b.agree(questions, all, servers...)
}

// agree ends the run when two answers differ, and makes every answer that is timed be checked against the agreed one.
func (b *bench) agree(questions []question, all []answered, servers ...*served) error {
	if err := mustAgree(questions, all); err != nil {
		return err
	}
	for _, s := range servers {
		s.expect(all[0].answers)
	}
	var names []string
	for _, a := range all {
		names = append(names, a.name)
	}
	if len(all) > 1 {
		b.note("%s agree on every answer and its reason", strings.Join(names, "; "))
	}
	b.note("%s", tallyOf(all[0].answers))
	return nil
}

func (s *served) expect(answers []answer) {
	for i := range s.exchanges {
		expect := make([][]byte, s.items)
		for k, a := range answers[i*s.items : (i+1)*s.items] {
			expect[k] = []byte(s.no)
			if a.allow {
				expect[k] = []byte(s.yes)
			}
		}
		s.exchanges[i].expect = expect
	}
}

// throughput are the metrics of load.
func throughput() []metric {
	return []metric{{"decisions per second", ""}, {"latency p50", "ms"}, {"p99", "ms"}}
}

// load drives a server for one measurement.
func (b *bench) load(ctx context.Context, s *served) ([]float64, error) {
	t, err := drive(ctx, s.address, s.exchanges, b.Connections, b.Duration)
	if err != nil {
		return nil, errors.Join(err, s.check())
	}
	t.perSecond *= float64(s.items)
	return t.values(), nil
}

// overHTTP races servers. The ratios are of the first one to each of the others.
func (b *bench) overHTTP(servers ...*served) race {
	r := race{title: fmt.Sprintf("Over HTTP, %d connections", b.Connections), metrics: throughput()}
	for i, s := range servers {
		r.contestants = append(r.contestants, contestant{s.name, func(ctx context.Context) ([]float64, error) {
			return b.load(ctx, s)
		}})
		if i > 0 {
			r.ratios = append(r.ratios, ratio{"decisions per second: " + servers[0].name + " / " + s.name, 0, 0, i})
		}
	}
	return r
}
