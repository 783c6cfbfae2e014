// Package sink sends the records of a decision log to where they are wanted beside it: as JSON Lines to a file or to the standard
// output, or to a server that speaks OPA's decision log protocol.
//
// A sink follows the segments of the log and notes beside them how far it has come. So nothing waits in memory, one that
// is away delays only itself, and after a restart it goes on where it was: each record arrives at least once, unless its retention has
// ended before that, which is reported.
package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/decisionlog"
)

const (
	defaultBatch = 1000
	maxWait      = time.Second // for a batch to become full
	firstRetry   = time.Second
	lastRetry    = time.Minute
)

// Destination takes records.
type Destination interface {
	// Deliver returns when the records are where they should be, or with an error. Those that it returns can never be delivered.
	Deliver(ctx context.Context, tenant string, batch []decisionlog.Record) (undeliverable int, err error)
}

// Options of a Sink.
type Options struct {
	Name   string // of the file in which it notes how far it has come
	Tenant string
	Log    *decisionlog.Log
	To     Destination
	Batch  int // records at once; 1000 when zero
	// Report is told when the sink fails and when it works again (nil), and what it has lost.
	Report func(error)
	Now    func() time.Time
	// After waits; time.After when nil.
	After func(time.Duration) <-chan time.Time
}

// Sink sends the records of one log to one destination.
type Sink struct {
	o    Options
	last decisionlog.ID // that was delivered

	delivered, failures, dropped atomic.Uint64
	waiting                      atomic.Uint64 // the first record that is not delivered, 0 for none
	failing                      bool
}

// New makes a Sink; Run runs it.
func New(o Options) *Sink {
	if o.Batch <= 0 {
		o.Batch = defaultBatch
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	return &Sink{o: o}
}

// Run sends what is in the log and what comes into it until ctx ends.
func (s *Sink) Run(ctx context.Context) {
	if !s.o.Log.On() {
		return
	}
	if err := s.load(); err != nil {
		s.o.Report(err)
	}
	s.missed(ctx)
	for ctx.Err() == nil {
		if err := s.follow(ctx); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("follow the decision log: %w", err))
			s.rest(ctx, firstRetry)
		}
	}
}

// follow reads in a goroutine of its own, so that a batch need not wait until it is full.
func (s *Sink) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	records, after := make(chan decisionlog.Record), s.last
	var ended error
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	reading.Go(func() {
		defer close(records)
		for r, err := range s.o.Log.Follow(ctx, after, decisionlog.Query{}) {
			if err != nil {
				ended = err
				return
			}
			select {
			case records <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		batch := s.collect(records)
		if len(batch) == 0 {
			return ended // it was set before the channel was closed
		}
		if !s.deliver(ctx, batch) {
			return ctx.Err()
		}
	}
}

// maxBatchBytes bounds the inputs of a batch, beside the number of its records.
const maxBatchBytes = 8 << 20

// collect returns the next records; none when there will be no more.
func (s *Sink) collect(records <-chan decisionlog.Record) []decisionlog.Record {
	first, ok := <-records
	if !ok {
		return nil
	}
	s.waiting.Store(uint64(first.ID))
	batch := append(make([]decisionlog.Record, 0, 16), first)
	late := s.o.After(maxWait)
	for bytes := len(first.Description.Input); len(batch) < s.o.Batch && bytes < maxBatchBytes; {
		select {
		case r, ok := <-records:
			if !ok {
				return batch
			}
			batch = append(batch, r)
			bytes += len(r.Description.Input)
		case <-late:
			return batch
		}
	}
	return batch
}

// deliver tries until the batch is delivered, or ctx ends.
func (s *Sink) deliver(ctx context.Context, batch []decisionlog.Record) bool {
	wait, away := firstRetry, false
	for {
		undeliverable, err := s.o.To.Deliver(ctx, s.o.Tenant, batch)
		if err == nil {
			s.delivered.Add(uint64(len(batch) - undeliverable))
			if undeliverable > 0 {
				s.dropped.Add(uint64(undeliverable))
				s.o.Report(fmt.Errorf("%d records are too large for the sink %s and are left out", undeliverable, s.o.Name))
			}
			break
		}
		if ctx.Err() != nil {
			return false
		}
		away = true
		s.fail(err)
		// Several servers do not come back at the same moment.
		s.rest(ctx, wait/2+rand.N(wait/2)) //nolint:gosec // nobody gains by guessing it
		wait = min(2*wait, lastRetry)
	}
	s.works()
	s.last = batch[len(batch)-1].ID
	s.waiting.Store(0)
	if err := s.save(); err != nil {
		s.o.Report(err)
	}
	if away {
		s.missed(ctx)
	}
	return true
}

func (s *Sink) rest(ctx context.Context, d time.Duration) {
	select {
	case <-s.o.After(d):
	case <-ctx.Done():
	}
}

func (s *Sink) fail(err error) {
	s.failures.Add(1)
	if !s.failing {
		s.failing = true
		s.o.Report(fmt.Errorf("sink %s: %w", s.o.Name, err))
	}
}

func (s *Sink) works() {
	if s.failing {
		s.failing = false
		s.o.Report(nil)
	}
}

// missed reports records whose retention has ended before the sink has come to them: those after the last one that was delivered, when it is
// no more in the log itself.
func (s *Sink) missed(ctx context.Context) {
	if s.last == 0 {
		return
	}
	for oldest, err := range decisionlog.Find(ctx, s.o.Log.Folder(), decisionlog.Query{OldestFirst: true}) {
		if err == nil && oldest.ID > s.last {
			s.dropped.Add(1)
			s.o.Report(fmt.Errorf("sink %s: the records between %s and %s are lost to it, for their retention has ended", s.o.Name,
				s.last.Time().UTC().Format(time.RFC3339), oldest.ID.Time().UTC().Format(time.RFC3339)))
		}
		return
	}
}

// position is the file that says how far the sink has come. It is no segment.
func (s *Sink) position() string { return filepath.Join(s.o.Log.Folder(), "sink-"+s.o.Name) }

func (s *Sink) load() error {
	text, err := os.ReadFile(s.position())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it begins with the oldest record
	}
	if err == nil {
		s.last, err = decisionlog.ParseID(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return fmt.Errorf("sink %s begins again, for it is not known how far it had come: %w", s.o.Name, err)
	}
	return nil
}

// save notes how far the sink has come. The file is whole at any time.
func (s *Sink) save() error {
	name := s.position()
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(s.last.String() + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("note how far the sink %s has come: %w", s.o.Name, err)
	}
	return nil
}

// Stats are the figures of a sink since it was made.
type Stats struct {
	Delivered, Failures uint64
	// Dropped counts the records that could not be delivered, and the times at which the retention of some has ended before.
	Dropped uint64
	// Lag is for how long a record has waited to be delivered.
	Lag time.Duration
}

// Stats are the present figures.
func (s *Sink) Stats() Stats {
	stats := Stats{Delivered: s.delivered.Load(), Failures: s.failures.Load(), Dropped: s.dropped.Load()}
	if first := decisionlog.ID(s.waiting.Load()); first != 0 {
		stats.Lag = max(0, s.o.Now().Sub(first.Time()))
	}
	return stats
}

// Collectors are the figures for Prometheus.
func (s *Sink) Collectors() []prometheus.Collector {
	labels := prometheus.Labels{"tenant": s.o.Tenant, "sink": s.o.Name}
	counter := func(name, help string, value func(Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(s.Stats())) })
	}
	return []prometheus.Collector{
		counter("mandate_decision_log_sink_delivered_total", "Records that a sink has taken.", func(s Stats) uint64 { return s.Delivered }),
		counter("mandate_decision_log_sink_failures_total", "Attempts at which a sink has failed.", func(s Stats) uint64 { return s.Failures }),
		counter("mandate_decision_log_sink_dropped_total", "Records that a sink cannot take, and gaps because their retention had ended.",
			func(s Stats) uint64 { return s.Dropped }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_decision_log_sink_lag_seconds", Help: "For how long a record has waited for its sink.",
			ConstLabels: labels}, func() float64 { return s.Stats().Lag.Seconds() }),
	}
}
