package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	passwordPath = "/auth"
	guessers     = 1000
	guessEvery   = 500 * time.Millisecond
	guesses      = 20_000
)

// passwords measures decisions and token requests while a thousand connections guess passwords, beside the same without.
// All of them guess at once, then each again once or twice a second, as soon as it has its answer. The names that they try
// are so many that the throttle of a name never answers, but for one row, in which they are one. The server checks
// few passwords at once and refuses most guesses. How many it checks is a setting, so that there are two servers.
func passwords(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	for _, atOnce := range []int{1, 2} {
		folder := filepath.Join(b.temp, "checks-"+strconv.Itoa(atOnce))
		if err := g.copyTo(folder); err != nil {
			return err
		}
		if err := all.start(b.serveFolder(ctx, folder, g, g.questions, "--limits-password-checks-at-once", strconv.Itoa(atOnce))); err != nil {
			return err
		}
		all[len(all)-1].name = fmt.Sprintf("Mandate that checks %d at once", atOnce)
	}
	if err := b.compare(ctx, g.questions, all...); err != nil {
		return err
	}
	var both [2]loads
	for i, s := range all {
		both[i] = loads{s, b.askForTokens(s.child, formTokenPath, keysPath, g.filled)}
	}
	if err := b.compareTokens(ctx, servers{both[0].tokens, both[1].tokens}); err != nil {
		return err
	}
	b.note("%d connections guess, all at once at first; a guess is answered 401 when it was checked, else 429", guessers)
	return b.race(ctx, b.whileGuessed(g, both[0], both[1]))
}

// loads are what one server is asked at the same time.
type loads struct {
	decisions, tokens *served
}

// drive returns decisions and tokens per second, and of each how long nearly all take.
func (l loads) drive(ctx context.Context, b *bench) ([]float64, error) {
	var decided, issued tally
	var errs [2]error
	var done sync.WaitGroup
	done.Go(func() {
		decided, errs[0] = drive(ctx, l.decisions.address, l.decisions.exchanges, b.Connections, b.Duration)
	})
	done.Go(func() { issued, errs[1] = drive(ctx, l.tokens.address, l.tokens.exchanges, b.Connections, b.Duration) })
	done.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, l.decisions.check())
	}
	d, i := decided.values(), issued.values()
	return []float64{d[0], d[2], i[0], i[2]}, nil
}

// whileGuessed races a server without guesses with itself under them. The one server checks one password at once, the
// other two.
func (b *bench) whileGuessed(g *ground, one, two loads) race {
	r := race{title: fmt.Sprintf("Decisions and tokens over HTTP, %d connections each", b.Connections),
		metrics: []metric{{"decisions per second", ""}, {"p99", "ms"}, {"tokens per second", ""}, {"p99", "ms"}, {"guesses checked per second", ""}, {"refused", ""}}}
	r.contestants = append(r.contestants, contestant{"no guesses", func(ctx context.Context) ([]float64, error) {
		values, err := two.drive(ctx, b)
		return append(values, 0, 0), err
	}})
	for _, guessed := range []struct {
		name    string
		at      loads
		guesses [][]byte
	}{
		{"many names, 1 checked at once", one, g.guesses(one.decisions.address, guesses)},
		{"many names, 2 checked at once", two, g.guesses(two.decisions.address, guesses)},
		{"one name, refused unchecked", two, g.guesses(two.decisions.address, 1)},
	} {
		i := len(r.contestants)
		r.contestants = append(r.contestants, contestant{guessed.name, func(ctx context.Context) (values []float64, err error) {
			f, err := guessing(guessed.guesses).flood(ctx, guessed.at.decisions.address, func() (err error) {
				values, err = guessed.at.drive(ctx, b)
				return err
			})
			return append(values, f.answered, f.refused), err
		}})
		for m, what := range []string{"decisions", "p99 of decisions", "tokens", "p99 of tokens"} {
			r.ratios = append(r.ratios, ratio{what + ": " + guessed.name + " / no guesses", m, i, 0})
		}
	}
	return r
}

// guesses are sign-ins with a wrong password, for so many different names. The first ones are of users.
func (w workload) guesses(address string, names int) [][]byte {
	all := make([][]byte, names)
	for i := range all {
		name := userID(i/w.members, i%w.members)
		all[i] = post(address, passwordPath, "Basic "+base64.StdEncoding.EncodeToString([]byte(name+":not the password")), nil)
	}
	return all
}

// guessing is a crowd that makes the guesses in turn.
func guessing(guesses [][]byte) crowd {
	return crowd{connections: guessers, every: guessEvery, status: http.StatusUnauthorized,
		request: func(_ *connection, i int) []byte { return guesses[i%len(guesses)] }}
}

// crowd is connections of which each sends the next request once in every to twice that, and as soon as it has an answer.
type crowd struct {
	connections int
	every       time.Duration
	request     func(c *connection, i int) []byte
	status      int // of an answer; 429 is one that was refused
}

// flooded is how much was answered each second.
type flooded struct {
	answered, refused float64
}

// flood sends while do runs, and returns when the last request is answered.
func (w crowd) flood(ctx context.Context, address string, do func() error) (flooded, error) {
	connections, closeAll, err := connect(ctx, address, w.connections, time.Minute+answerLimit)
	if err != nil {
		return flooded{}, err
	}
	var answered, refused atomic.Int64
	var over atomic.Bool
	errs := make([]error, len(connections)+1)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	start := time.Now()
	var done sync.WaitGroup
	for k, c := range connections {
		done.Go(func() {
			tick := time.NewTicker(w.every + time.Duration(k)*w.every/time.Duration(w.connections))
			defer tick.Stop()
			for i := k; ; i += len(connections) {
				status, err := c.send(w.request(c, i))
				switch {
				case err == nil && over.Load():
					return
				case err == nil && status == w.status:
					answered.Add(1)
				case err == nil && status == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					errs[k] = errors.Join(err, fmt.Errorf("a request of the flood is answered %d: %.500s", status, c.response.Body()))
					return
				}
				select {
				case <-tick.C:
				case <-sending.Done():
					return
				}
			}
		})
	}
	errs[len(connections)] = do()
	seconds := time.Since(start).Seconds()
	over.Store(true)
	stop()
	done.Wait() // what is still answered would cost whoever is measured next
	closeAll()
	return flooded{float64(answered.Load()) / seconds, float64(refused.Load()) / seconds}, first(ctx, errs)
}
