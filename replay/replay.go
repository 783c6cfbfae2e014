// Package replay decides again what was decided, by another policy set: what would this change have done? What the decision log
// has is decided at its own revision of the facts and its own instant (Run), what is decided now beside the answer (Shadow).
//
// It must never change anything, record what it decides, or take a decision that it could not make for an unchanged one.
package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine"
)

// Options of a replay.
type Options struct {
	Store     datastore.Store
	Engine    *engine.Engine
	Candidate *engine.PolicySet
	// Records in their order. Those that are no decisions are passed over.
	Records  iter.Seq2[decisionlog.Record, error]
	Workers  int // as many as there are processors when zero
	Examples int // of each group; 3 when zero
	// Limit and Most bound the replay when they are not zero: what is not decided again within the time, and what comes after that
	// many records, is skipped as Unreached.
	Limit time.Duration
	Most  uint64
	// From is the oldest revision of the facts that the records have, where they do not come the oldest first.
	From datastore.Revision
	// Progress is told now and then how many records are done, and the last of them, from the calling goroutine.
	Progress func(done uint64, last decisionlog.ID)
}

// Report is what has turned.
type Report struct {
	Candidate string `json:"candidate"`
	Decided   uint64 `json:"decided"` // decisions made again
	ToAllow   uint64 `json:"to_allow"`
	ToDeny    uint64 `json:"to_deny"`
	// Different are those of the same outcome with other reasons, obligations or grants.
	Different uint64            `json:"different"`
	Skipped   map[string]uint64 `json:"skipped,omitempty"` // by why they could not be decided again: the constants below
	Groups    []Group           `json:"groups"`            // the largest first
}

// Changed says whether anything has turned.
func (r *Report) Changed() bool { return r.ToAllow+r.ToDeny+r.Different > 0 }

// Why a record cannot be decided again.
const (
	Masked      = "masked"       // its input was masked
	Uncommitted = "uncommitted"  // it was decided within a change of the facts
	HistoryGone = "history_gone" // its facts are older than the retention window, or of another store
	NoInput     = "no_input"     // the question reached no policy
	Unavailable = "unavailable"  // the policy had not the time or not the facts to decide
	Unreached   = "unreached"    // it is beyond the bounds of the replay; there may be more of these than are counted
)

// Group is requests that turn alike. Where there are too many groups, "*" stands for whatever is not told apart.
type Group struct {
	Turns    engine.Turn `json:"turns"`
	Point    string      `json:"point"`
	Rule     string      `json:"rule"` // code of the first reason: of the set that allows, else of the candidate
	Org      string      `json:"org,omitempty"`
	Subject  string      `json:"subject"` // type:id
	Action   string      `json:"action"`
	Count    uint64      `json:"count"`
	Examples []Example   `json:"examples"` // the first
}

// Example is one of the requests of a group.
type Example struct {
	ID           string               `json:"id"`
	Time         time.Time            `json:"time"`
	DataRevision datastore.Revision   `json:"data_revision"`
	Resource     string               `json:"resource,omitempty"` // type:id
	Before       []decisionlog.Reason `json:"before"`
	After        []decisionlog.Reason `json:"after"`
	// Rules are those of the candidate that held, where it allows; else those that did not, with the condition that failed.
	Rules []engine.RuleTrace `json:"rules"`
}

const (
	chunkRecords    = 256
	chunkBytes      = 4 << 20   // of inputs
	chunksPerWorker = 4         // that wait
	memoryBytes     = 128 << 20 // for what is remembered during a replay
	// attempts are how often a decision is tried that takes too long: a busy machine is no difference.
	attempts = 3
)

// Run replays the records.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Examples <= 0 {
		o.Examples = defaultExamples
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{Options: o, history: history{store: o.Store}, turns: newTurns(o.Candidate.Revision(), o.Examples), time: ctx}
	if o.Limit > 0 {
		bounded, cancel := context.WithTimeout(ctx, o.Limit)
		defer cancel()
		r.time = bounded
	}
	if err := r.history.begin(ctx, r.time, o.From); err != nil {
		return nil, fmt.Errorf("replay the decision log: %w", err)
	}
	work := make(chan *chunk, chunksPerWorker*o.Workers)
	ended := make(chan struct{}, o.Workers)
	for range o.Workers {
		go func() {
			for c := range work {
				c.err = r.decide(ctx, c)
				close(c.done)
			}
			ended <- struct{}{}
		}()
	}
	err := r.feed(ctx, work)
	cancel()
	close(work)
	for range o.Workers {
		<-ended
	}
	if err != nil {
		return nil, fmt.Errorf("replay the decision log: %w", err)
	}
	return r.turns.report(), nil
}

// run is a replay under way.
type run struct {
	Options
	history history
	turns   *turns
	waiting []*chunk // in their order
	read    uint64
	time    context.Context // ends when no more is decided
}

// chunk is consecutive records.
type chunk struct {
	memo    *memo.Memo
	records []decisionlog.Record
	done    chan struct{}
	// What came of it, once done is closed.
	found   []found
	skipped map[string]uint64
	err     error
}

// found is a record that turns.
type found struct {
	record   *decisionlog.Record
	turn     engine.Turn
	decision *engine.Decision
}

// feed hands out the records and takes in what comes of them, in order, so that a report depends on nothing but its log.
func (r *run) feed(ctx context.Context, work chan<- *chunk) error {
	c := &chunk{}
	fed, bytes := uint64(0), 0
	for record, err := range r.Records {
		if err != nil {
			return err
		}
		if record.Description.Kind != decisionlog.Decision {
			continue
		}
		if fed++; r.time.Err() != nil || (r.Most > 0 && fed > r.Most) {
			r.turns.skipped[Unreached]++
			break
		}
		c.records = append(c.records, record)
		if bytes += len(record.Description.Input); len(c.records) < chunkRecords && bytes < chunkBytes {
			continue
		}
		bytes = 0
		if err := r.hand(ctx, work, c); err != nil {
			return err
		}
		c = &chunk{records: make([]decisionlog.Record, 0, chunkRecords)}
	}
	if err := r.hand(ctx, work, c); err != nil {
		return err
	}
	for len(r.waiting) > 0 {
		if err := r.take(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *run) hand(ctx context.Context, work chan<- *chunk, c *chunk) (err error) {
	newest := datastore.Revision(0)
	for i := range c.records {
		newest = max(newest, c.records[i].DataRevision)
	}
	if c.memo, err = r.history.reach(ctx, newest); err != nil {
		return err
	}
	c.done = make(chan struct{})
	for len(r.waiting) >= cap(work) {
		if err := r.take(ctx); err != nil {
			return err
		}
	}
	r.waiting = append(r.waiting, c)
	work <- c // there is room: what waits is no more than that
	return nil
}

// take takes in the chunk that has waited for longest.
func (r *run) take(ctx context.Context) error {
	c := r.waiting[0]
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.waiting = r.waiting[1:]
	if c.err != nil {
		return c.err
	}
	r.read += uint64(len(c.records))
	r.turns.decided += uint64(len(c.records))
	for why, n := range c.skipped {
		r.turns.skipped[why] += n
		r.turns.decided -= n
	}
	for _, f := range c.found {
		if err := r.add(ctx, c.memo, f); err != nil {
			return err
		}
	}
	if r.Progress != nil && len(c.records) > 0 {
		r.Progress(r.read, c.records[len(c.records)-1].ID)
	}
	return nil
}

// add counts what turns, and explains the first of each group.
func (r *run) add(ctx context.Context, m *memo.Memo, f found) error {
	d := &f.record.Description
	example := r.turns.add(turned{turn: f.turn, point: d.Point, input: d.Input, before: d.Reasons, beforeAllows: d.Allow, after: f.decision})
	if example == nil {
		return nil
	}
	example.ID, example.Time, example.DataRevision = f.record.ID.String(), f.record.ID.Time().UTC(), f.record.DataRevision
	reading := m.BeginAt(f.record.DataRevision)
	defer reading.End()
	rules, err := r.Engine.Trace(ctx, reading, r.Candidate, engine.Point(d.Point), inputOf(d), f.record.Asked())
	example.explain(rules, f.decision.Allow)
	return err
}

func inputOf(d *decisionlog.Description) engine.Input {
	in := engine.Input{Text: d.Input}
	if d.Refused != nil {
		refused := engine.Reason(*d.Refused)
		in.Refused = &refused
	}
	return in
}

// decide decides the records of a chunk again.
func (r *run) decide(ctx context.Context, c *chunk) error {
	var reading *memo.Reading
	defer func() {
		if reading != nil {
			reading.End()
		}
	}()
	c.skipped = map[string]uint64{}
	for i := range c.records {
		record := &c.records[i]
		why := undecidable(record)
		if r.time.Err() != nil {
			why = Unreached
		}
		if why != "" {
			c.skipped[why]++
			continue
		}
		if reading == nil || reading.Revision() != record.DataRevision {
			if reading != nil {
				reading.End()
			}
			reading = c.memo.BeginAt(record.DataRevision)
		}
		d, err := r.again(ctx, reading, record)
		switch {
		case errors.Is(err, datastore.ErrRevisionGone), errors.Is(err, datastore.ErrRevisionAhead):
			c.skipped[HistoryGone]++
			continue
		case err != nil:
			return fmt.Errorf("decide %s again: %w", record.ID, err)
		}
		if turn := d.TurnFromLogged(&record.Description); turn != engine.Same {
			c.found = append(c.found, found{record, turn, d})
		}
	}
	return nil
}

// undecidable says why a record cannot be decided again.
func undecidable(r *decisionlog.Record) string {
	d := &r.Description
	switch {
	case d.MaskFailed, len(d.Erased) > 0, len(d.Masked) > 0:
		return Masked
	case r.Uncommitted:
		return Uncommitted
	case d.Input == nil:
		return NoInput
	case !d.Allow && len(d.Reasons) > 0 && transient(engine.Kind(d.Reasons[0].Code)):
		return Unavailable
	}
	return ""
}

// transient says whether a failure says nothing about the policy.
func transient(k engine.Kind) bool { return k == engine.PolicyTimeout || k == engine.FactsUnavailable }

// again decides a record again, or remembers how another one on the same question was decided.
func (r *run) again(ctx context.Context, reading *memo.Reading, record *decisionlog.Record) (*engine.Decision, error) {
	d := &record.Description
	in := inputOf(d)
	decisions := memo.Table[*engine.Decision]{Kind: "again"}
	var memory [4096]byte
	question := memo.Part(memo.Part(decisions.Ask(memory[:]), d.Point), in.Text)
	if in.Refused != nil {
		question = memo.Part(memo.Part(question, in.Refused.Code), in.Refused.Message)
	}
	for attempt := 1; ; attempt++ {
		decision, err := decisions.Get(reading, memo.KeyOf(question), func(reading *memo.Reading) (*engine.Decision, error) {
			return r.Engine.Again(ctx, reading, r.Candidate, engine.Point(d.Point), in, record.Asked())
		})
		failed := (*engine.EvaluationError)(nil)
		switch {
		case err == nil:
			return decision, nil
		case !errors.As(err, &failed), failed.Kind == engine.FactsUnavailable:
			return nil, err
		case failed.Kind == engine.PolicyTimeout && attempt < attempts:
			continue
		}
		return decision, nil // the denial of a policy that fails
	}
}

// history knows what has changed between the revisions that a replay has come to.
type history struct {
	store  datastore.Store
	clock  *datastore.Clock
	marked datastore.Revision
	memo   *memo.Memo
}

// begin marks what was changed from a revision up to now, for records that do not come the oldest first. When that takes longer than
// there is time for, it is done without: less is remembered then.
func (h *history) begin(ctx, bounded context.Context, from datastore.Revision) error {
	if from == 0 {
		return nil
	}
	_, err := h.reach(bounded, from)
	if err == nil {
		_, err = h.reach(bounded, h.store.Newest())
	}
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		h.clock, err = nil, nil
	}
	return err
}

// reach marks what was changed up to a revision. The Memo remembers what is read at any revision up to there.
func (h *history) reach(ctx context.Context, to datastore.Revision) (*memo.Memo, error) {
	to = min(to, h.store.Newest())
	if h.clock != nil && to <= h.marked {
		return h.memo, nil
	}
	if h.clock != nil {
		err := h.mark(ctx, to)
		if !errors.Is(err, datastore.ErrRevisionGone) {
			return h.memo, err
		}
	}
	// It begins at the newest, for of what was changed before nothing is known, or not any more.
	h.clock, h.marked = datastore.NewClock(to), to
	h.memo = memo.New(h.store, memo.Options{Bytes: memoryBytes, Clock: h.clock})
	return h.memo, nil
}

func (h *history) mark(ctx context.Context, to datastore.Revision) error {
	for change, err := range h.store.Watch(ctx, h.marked) {
		if err != nil {
			return fmt.Errorf("read what has changed: %w", err)
		}
		h.clock.Mark(change.Revision, change.Writes)
		if h.marked = change.Revision; h.marked >= to {
			break
		}
	}
	return nil
}
