package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	noisyConnections = 64
	noisyEvery       = 20 * time.Millisecond

	steadyConnections = 8
	steadyPerSecond   = 50
	vendorLimit       = "60/s+20" // more than all steady connections can send at once when the machine has held them up
)

// noisy measures the decisions that one vendor asks for, evenly and below its limit, while another one asks for far more than
// its own: for batches of decisions that nobody asked for before, with many tokens of one client. Beside it stands the same
// while the other one is quiet, and both on a server that limits nobody.
func noisy(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	for name, settings := range map[string][]string{"limits": {"--rate-limits-decisions-client", vendorLimit}, "no limits": nil} {
		folder := filepath.Join(b.temp, name)
		if err := g.copyTo(folder); err != nil {
			return err
		}
		if err := all.start(b.serveFolder(ctx, folder, g, g.questions, settings...)); err != nil {
			return err
		}
		all[len(all)-1].name = name
	}
	slices.SortFunc(all, func(s, other *served) int { return len(s.name) - len(other.name) })
	if err := b.compare(ctx, g.questions, all...); err != nil { // with an API key, which is no client's
		return err
	}
	b.note("one vendor asks %d times a second; the other for batches of %d, over %d connections, each at most every %v, with %d tokens; each may ask %s",
		steadyPerSecond, batchItems, noisyConnections, noisyEvery, accessTokens/keyClients, vendorLimit)
	b.note("the latency counts from when a request was due; one that is due before its connection has the last answer is not sent")
	r := race{title: "Decisions of one vendor over HTTP",
		metrics: []metric{{"decisions per second", ""}, {"latency p50", "ms"}, {"p99", "ms"}, {"batches of the other per second", ""}, {"refused", ""}}}
	for i, s := range all {
		steady, crowd, err := b.vendors(ctx, g, s)
		if err != nil {
			return err
		}
		ask := func(ctx context.Context) ([]float64, error) {
			t, err := pace(ctx, s.address, steady, b.Duration)
			return t.values(), errors.Join(err, s.check())
		}
		r.contestants = append(r.contestants,
			contestant{s.name + ", the other is quiet", func(ctx context.Context) ([]float64, error) {
				values, err := ask(ctx)
				return append(values, 0, 0), err
			}},
			contestant{s.name + ", the other is noisy", func(ctx context.Context) (values []float64, err error) {
				f, err := crowd.flood(ctx, s.address, func() (err error) {
					values, err = ask(ctx)
					return err
				})
				return append(values, f.answered, f.refused), err
			}})
		for m, what := range []string{"decisions", "p50", "p99"} {
			r.ratios = append(r.ratios, ratio{what + ", " + s.name + ": noisy / quiet", m, 2*i + 1, 2 * i})
		}
	}
	return b.race(ctx, r)
}

// vendors are what one vendor asks the server, and the crowd that the other one is. What a batch has of its own is the id of
// a resource that none of its items uses: no decision in it was made before.
func (b *bench) vendors(ctx context.Context, g *ground, s *served) (steady []exchange, other crowd, err error) {
	tokens, err := b.accessTokens(ctx, g, s.child)
	if err != nil {
		return nil, other, err
	}
	token := func(client, i int) string { return "Bearer " + tokens[(client+i*keyClients)%len(tokens)] }
	one, err := askMandate(s.child, s.name, g.questions, func(i int) string { return token(0, i) })
	if err != nil {
		return nil, other, err
	}
	for i, x := range s.exchanges {
		one.exchanges[i].expect = x.expect
	}
	two := &served{name: s.name}
	for items := range slices.Chunk(g.questions, batchItems) {
		body, err := json.Marshal(map[string]any{"resource": map[string]string{"type": "document", "id": "noise" + noSerial()}, "evaluations": items})
		if err != nil {
			return nil, other, fmt.Errorf("encode a batch: %w", err)
		}
		two.exchanges = append(two.exchanges, exchange{request: post(s.address, batchPath, token(1, len(two.exchanges)), body)})
	}
	return one.exchanges, crowd{connections: noisyConnections, every: noisyEvery, status: http.StatusOK,
		request: func(c *connection, i int) []byte { return c.numbering(two.exchanges[i%len(two.exchanges)]) }}, two.number()
}

// pace sends the exchanges evenly for the duration, over connections that take turns. One whose turn comes before it has its
// last answer leaves it out. Before that, for a tenth of the duration, it does the same without counting.
func pace(ctx context.Context, address string, exchanges []exchange, duration time.Duration) (tally, error) {
	const n = steadyConnections
	connections, closeAll, err := connect(ctx, address, n, duration+answerLimit)
	if err != nil {
		return tally{}, err
	}
	defer closeAll()
	start := time.Now()
	begin := start.Add(duration / 10)
	end := begin.Add(duration)
	latencies := make([][]time.Duration, n)
	errs := make([]error, n)
	var done sync.WaitGroup
	for k, c := range connections {
		done.Go(func() {
			answered := start
			for i := k; errs[k] == nil; i += n {
				due := start.Add(time.Duration(i) * time.Second / steadyPerSecond)
				if !due.Before(end) {
					return
				}
				if due.Before(answered) {
					continue
				}
				select {
				case <-time.After(time.Until(due)):
				case <-ctx.Done():
					return
				}
				errs[k] = c.do(exchanges[i%len(exchanges)])
				answered = time.Now()
				if !due.Before(begin) {
					latencies[k] = append(latencies[k], answered.Sub(due))
				}
			}
		})
	}
	done.Wait()
	if err := first(ctx, errs); err != nil {
		return tally{}, err
	}
	return tallied(slices.Concat(latencies...), duration)
}
