package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/policycheck"
)

// scenarioFile is a scenario that a policy repository can keep.
type scenarioFile struct {
	Scenario string `json:"scenario"`
}

// scenarioOf writes a logged decision as a test: what it rests on, and no more. That can be facts of any organization, so it is for those
// who may see the decisions of all.
func (m *managing) scenarioOf() error {
	record, err := m.record("decisions.explain")
	if err != nil {
		return err
	}
	if record.Description.About().Org != "" {
		if err := m.permitRecords("decisions.explain", record.ID.String(), ""); err != nil {
			return err
		}
	}
	ctx := m.server.base
	l, err := m.again(ctx, record)
	if err != nil {
		return err
	}
	defer l.close()
	if why := cmp.Or(l.inexact(), refusedOf(record)); why != "" {
		return &requestError{http.StatusUnprocessableEntity, "not_repeatable", "the decision cannot be made again from its record: " + why}
	}
	minimal, err := m.tenant.Engine.Minimal(ctx, memo.Over(l.view), l.set, l.question)
	if err != nil && !errors.Is(err, engine.ErrUnrepeatable) {
		return m.policyFailure(pastFailure(err))
	}
	if err != nil || !repeated(record, minimal.Decision, "").Same {
		return &requestError{http.StatusUnprocessableEntity, "not_repeatable", "the decision comes out differently when it is made again: see its explanation"}
	}
	text, err := m.scenario(ctx, l, minimal)
	if err != nil {
		return err
	}
	return writeJSON(m.c, scenarioFile{string(text)})
}

func refusedOf(record decisionlog.Record) string {
	if record.Description.Refused == nil {
		return ""
	}
	return "it was about a credential that was refused, and credentials are not logged"
}

// scenario writes the file, reads it again and decides by what it says.
func (m *managing) scenario(ctx context.Context, l *logged, minimal engine.Minimal) ([]byte, error) {
	d := minimal.Decision
	request := policycheck.Request{Point: string(l.question.Point), Input: policycheck.Document(minimal.Input), Expect: policycheck.Deny}
	if d.Allow {
		request.Expect = policycheck.Allow
	}
	for _, reason := range d.Reasons {
		request.Reasons = append(request.Reasons, reason.Code)
	}
	if d.Obligations != nil {
		request.Obligations = policycheck.Document(d.Obligations)
	}
	if granted := l.record.Description.Granted; granted != nil {
		request.Granted = policycheck.Document(granted)
	}
	s := policycheck.Scenario{Title: "decision " + l.record.ID.String(),
		Comment: fmt.Sprintf("Decided on %s by the policy set %.12s.", l.question.Asked.UTC().Format(time.RFC3339), d.PolicyRevision),
		Step:    policycheck.Step{At: l.question.Asked.UTC(), Requests: []policycheck.Request{request}}}
	for path, document := range minimal.Facts {
		if s.Facts == nil {
			s.Facts = map[string]policycheck.Document{}
		}
		s.Facts[path] = policycheck.Document(document)
	}
	var text bytes.Buffer
	if err := policycheck.Write(&text, s); err != nil {
		return nil, err
	}
	return text.Bytes(), m.passes(ctx, l, text.Bytes(), d)
}

// passes decides what the written scenario asks, on the facts that it has.
func (m *managing) passes(ctx context.Context, l *logged, text []byte, wanted *engine.Decision) error {
	read, err := policycheck.Parse("scenario.yaml", text)
	if err != nil {
		return fmt.Errorf("read the scenario that was written: %w", err)
	}
	facts := map[string]jsontext.Value{}
	for path, document := range read.Facts {
		facts[path] = jsontext.Value(document)
	}
	in := engine.Input{Text: read.Requests[0].Input}
	d, err := m.tenant.Engine.Again(ctx, m.tenant.Engine.Supposing(facts), l.set, l.question.Point, in, read.At)
	if err != nil {
		return m.policyFailure(err)
	}
	if d.Allow != wanted.Allow || !slices.Equal(d.Reasons, wanted.Reasons) {
		return fmt.Errorf("the scenario that was written comes to %v, and not to %v", d.Reasons, wanted.Reasons)
	}
	return nil
}
