package engine

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
)

// maxFootprint bounds the facts that are recorded of one decision.
const maxFootprint = 64

// Log is where the engine records its decisions.
func (e *Engine) Log() *decisionlog.Log { return e.log }

// describe writes what the record of a decision says beside when it was made.
func (e *Engine) describe(ctx context.Context, ev *evaluation, p Point, in Input, d *Decision) decisionlog.Ref {
	if !e.log.On() {
		return decisionlog.Ref{}
	}
	description := &decisionlog.Description{Kind: decisionlog.Decision, Point: string(p), PolicyRevision: ev.set.revision,
		Allow: d.Allow, Obligations: jsontext.Value(d.Obligations), Granted: d.granted(), Footprint: ev.facts.footprint()}
	if ev.input != nil {
		description.Input = jsontext.Value(in.Text) // else it is no JSON
	}
	for _, r := range d.Reasons {
		description.Reasons = append(description.Reasons, decisionlog.Reason(r))
	}
	if in.Refused != nil {
		refused := decisionlog.Reason(*in.Refused)
		description.Refused = &refused
	}
	ev.mask(ctx, description)
	if ev.asOf {
		markAsOf(description, ev.now)
	}
	return e.log.Describe(description)
}

// markAsOf says of a record that the question was about an earlier instant.
func markAsOf(d *decisionlog.Description, then time.Time) {
	d.Kind, d.Details = decisionlog.AsOf, map[string]string{"as_of": then.UTC().Format(time.RFC3339Nano)}
}

// record records a decision that nobody remembers.
func (e *Engine) record(ctx context.Context, ev *evaluation, p Point, in Input, d *Decision, asked time.Time) Answer {
	entry := decisionlog.Entry{DataRevision: ev.facts.reading.Revision(), Allow: d.Allow}
	for {
		if id, err := e.log.Append(e.describe(ctx, ev, p, in, d), asked, entry); err == nil {
			e.measures.add(p, d.Allow, false, false, id.Time().Sub(asked))
			return Answer{d, id}
		}
	}
}

// Unanswered records the denial of what never reached the policy at p. It was asked about an earlier instant unless then is zero.
func (e *Engine) Unanswered(d *Decision, p Point, at datastore.Revision, then time.Time) Answer {
	description := &decisionlog.Description{Kind: decisionlog.Decision, Point: string(p), PolicyRevision: d.PolicyRevision}
	for _, r := range d.Reasons {
		description.Reasons = append(description.Reasons, decisionlog.Reason(r))
	}
	if !then.IsZero() {
		markAsOf(description, then)
	}
	e.measures.add(p, false, false, true, 0)
	return Answer{d, e.log.Record(description, e.options.Now(), decisionlog.Entry{DataRevision: at})}
}

// Note records what is no decision, as it is masked by the set: a credential that was refused, or a token that was issued or refused. What
// the records of refused credentials have in common is described once, so that a flood of them costs the log little.
func (e *Engine) Note(ctx context.Context, r *memo.Reading, set *PolicySet, d decisionlog.Description) decisionlog.ID {
	asked := e.options.Now()
	d.PolicyRevision = set.revision
	entry := decisionlog.Entry{DataRevision: r.Revision(), Allow: d.Allow}
	for {
		id, err := e.log.Append(e.noted(ctx, r, set, d, asked), asked, entry)
		if err == nil {
			return id
		}
	}
}

func (e *Engine) noted(ctx context.Context, r *memo.Reading, set *PolicySet, d decisionlog.Description, now time.Time) decisionlog.Ref {
	describe := func(r *memo.Reading) *decided {
		ev := &evaluation{engine: e, set: set, facts: newFacts(r, e.root, e.options.ScanLimit), now: now}
		described := d
		ev.mask(ctx, &described)
		return &decided{&Decision{}, e.log.Describe(&described)}
	}
	if d.Kind != decisionlog.Authentication {
		return describe(r).ref
	}
	notes := memo.Table[*decided]{Kind: "note"}
	text, _ := d.EventText() // made of texts
	asked := memo.Part(memo.Part(memo.Part(notes.Ask(nil), e.tenant), set.revision), text)
	asked = binary.LittleEndian.AppendUint32(asked, e.log.Epoch())
	known, _ := notes.Get(r, memo.KeyOf(asked), func(r *memo.Reading) (*decided, error) { return describe(r), nil })
	return known.ref
}

// granted is what a decision on a token says beside the others.
func (d *Decision) granted() jsontext.Value {
	if d.Scopes == nil && d.Lifetime == 0 && d.Claims == nil && d.Org == "" {
		return nil
	}
	text, err := json.Marshal(struct {
		Scopes   []string       `json:"scopes,omitempty"`
		Lifetime int64          `json:"lifetime,omitzero"`
		Claims   map[string]any `json:"claims,omitempty"`
		Org      string         `json:"org,omitempty"`
	}{d.Scopes, int64(d.Lifetime / time.Second), d.Claims, d.Org}, json.Deterministic(true))
	if err != nil {
		return nil // it was made of JSON
	}
	return text
}

// footprint are the facts that were read, as decisionlog.Description has them.
func (f *facts) footprint() []string {
	var paths []string
	add := func(path string, found bool) {
		if !found {
			path = "!" + path
		}
		paths = append(paths, path)
	}
	for _, d := range f.first {
		add(d.path.String(), d.value != nil)
	}
	for p, v := range f.more {
		add(p.String(), v != nil)
	}
	for _, s := range f.scans {
		add(s.prefix.String()+"/", s.value != nil)
	}
	slices.Sort(paths)
	if len(paths) > maxFootprint {
		paths = append(paths[:maxFootprint], "…")
	}
	return paths
}

// PrincipalUnknown is the reason of a policy that refuses only because it does not know the subject. Whoever asks may
// know better why, and says it instead.
const PrincipalUnknown = "principal_unknown"

// about is the answer about a credential that was refused: a denial, whatever the policy says without a principal. A caller
// that may not ask about others hears only that, as it would of a good one; else it could try out credentials here.
func (d *Decision) about(refused Reason) *Decision {
	if !d.Allow && len(d.Reasons) > 0 && d.Reasons[0].Code != PrincipalUnknown {
		return d
	}
	return (&Decision{Reasons: []Reason{refused}}).stamp(d.PolicyRevision)
}
