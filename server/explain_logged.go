package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/policyset"
)

// explanationRoutes explain what was decided. The policy mandate.manage decides who may see it, as the action decisions.explain.
func (h *handler) explanationRoutes(base string) {
	h.server.app.Get(base+"/v1/decisions/:id/explanation", h.manages(heavy((*managing).explainLogged)))
	h.server.app.Get(base+"/v1/decisions/:id/scenario", h.manages(heavy((*managing).scenarioOf)))
}

// repetition says whether a logged decision came out the same when it was made again.
type repetition struct {
	Same bool `json:"same"`
	// Logged is what was decided, when that differs.
	Logged *loggedDecision `json:"logged,omitempty"`
	// Inexact says why it could not be made again exactly.
	Inexact string `json:"inexact,omitempty"`
}

type loggedDecision struct {
	Allow       bool                 `json:"allow"`
	Reasons     []decisionlog.Reason `json:"reasons"`
	Obligations jsontext.Value       `json:"obligations,omitempty"`
}

// logged is a decision of the log with what it takes to make it again.
type logged struct {
	record   decisionlog.Record
	view     datastore.View
	set      *engine.PolicySet
	question engine.Question
}

func (l *logged) close() { l.view.Close() }

// again opens what a logged decision was made by and of. It must be closed.
func (m *managing) again(ctx context.Context, record decisionlog.Record) (*logged, error) {
	d := record.Description
	if (d.Kind != decisionlog.Decision && d.Kind != decisionlog.AsOf) || d.Input == nil {
		return nil, &requestError{http.StatusUnprocessableEntity, "not_a_decision", "the record is of no question that a policy has decided: there is nothing to make again"}
	}
	asked := record.Asked()
	if d.Kind == decisionlog.AsOf {
		var err error
		if asked, err = time.Parse(time.RFC3339Nano, d.Details["as_of"]); err != nil {
			return nil, &requestError{http.StatusUnprocessableEntity, "not_repeatable", "the record does not say as of when it was asked: that is masked"}
		}
	}
	set, err := m.tenant.Policies.Compiled(ctx, m.reading, d.PolicyRevision)
	if errors.Is(err, policyset.ErrUnknown) {
		return nil, &requestError{http.StatusGone, "policy_gone", fmt.Sprintf("the policy set %.12s that has decided is not stored here", d.PolicyRevision)}
	}
	if err != nil {
		return nil, err
	}
	view, err := m.server.store.ViewAt(ctx, record.DataRevision)
	if err != nil {
		return nil, pastFailure(err)
	}
	then := *m.asking
	then.then = &thenAt{at: asked, authn: m.tenant.Authn.At(asked)}
	q := engine.Question{Point: engine.Point(d.Point), Asked: asked, Logged: true}
	if d.Refused != nil {
		refused := engine.Reason(*d.Refused)
		q.Input = func(*memo.Reading) (engine.Input, error) { return engine.Input{Text: d.Input, Refused: &refused}, nil }
	} else {
		first := true
		q.Input = func(r *memo.Reading) (engine.Input, error) {
			in := engine.Input{Text: d.Input}
			if first || q.Point != engine.Access {
				first = false
				return in, nil
			}
			return then.withStanding(ctx, r, in)
		}
	}
	return &logged{record, view, set, q}, nil
}

// inexact says why a logged decision cannot be made again exactly.
func (l *logged) inexact() string {
	switch d := l.record.Description; {
	case len(d.Erased) > 0 || len(d.Masked) > 0 || d.MaskFailed:
		return "its record is masked: what the policy mandate.log.mask has removed or replaced was another when it was decided"
	case l.record.Uncommitted:
		return "it was made within a change of the facts: what that had written before is of no revision"
	}
	return ""
}

// explainLogged makes a logged decision again, by its own policy set, on the facts and at the instant of then, and explains it.
func (m *managing) explainLogged() error {
	record, err := m.record("decisions.explain")
	if err != nil {
		return err
	}
	ctx := m.server.base
	l, err := m.again(ctx, record)
	if err != nil {
		return err
	}
	defer l.close()
	x, err := m.tenant.Engine.Explain(ctx, memo.Over(l.view), l.set, l.question)
	if x.Decision == nil {
		return pastFailure(err)
	}
	if err := m.reportPolicy(ctx, x.Decision, err); err != nil {
		return pastFailure(err)
	}
	explained := Explained{Decision: x.Allow, Explanation: explanationOf(x)}
	explained.Context.DecisionID, explained.Context.PolicyRevision, explained.Context.DataRevision = record.ID.String(), x.PolicyRevision, record.DataRevision
	explained.Context.AsOf = record.Description.Details["as_of"]
	explained.Context.Reasons = slices.Concat([]engine.Reason{}, x.Reasons)
	explained.Context.Obligations = []any{}
	if x.Obligations != nil {
		if err := json.Unmarshal(x.Obligations, &explained.Context.Obligations); err != nil {
			return fmt.Errorf("explain a decision: %w", err)
		}
	}
	explained.Explanation.Repeated = repeated(record, x.Decision, l.inexact())
	if org := record.Description.About().Org; m.seesOnly("decisions.explain", record.ID.String(), org) {
		explained.Explanation.within(org)
	}
	return writeJSON(m.c, explained)
}

func repeated(record decisionlog.Record, d *engine.Decision, inexact string) *repetition {
	was := record.Description
	// What is masked in the record may be no more than a message.
	same := func(a decisionlog.Reason, b engine.Reason) bool {
		return a == decisionlog.Reason(b) || (inexact != "" && a.Code == b.Code)
	}
	r := &repetition{Inexact: inexact, Same: was.Allow == d.Allow && slices.EqualFunc(was.Reasons, d.Reasons, same) &&
		(inexact != "" || sameObligations(was.Obligations, jsontext.Value(d.Obligations)))}
	if !r.Same {
		r.Logged = &loggedDecision{was.Allow, was.Reasons, was.Obligations}
	}
	return r
}

// sameObligations compares lists, of which the log leaves out an empty one.
func sameObligations(a, b jsontext.Value) bool {
	texts := [2]string{}
	for i, list := range []jsontext.Value{a.Clone(), b.Clone()} {
		if len(list) > 0 && list.Canonicalize() != nil {
			return false
		}
		if texts[i] = string(list); texts[i] == "[]" {
			texts[i] = ""
		}
	}
	return texts[0] == texts[1]
}

// isCredentialSubject says whether the subject of an input is given by a credential.
func isCredentialSubject(input []byte) bool {
	var in struct {
		Subject struct {
			Type string `json:"type"`
		} `json:"subject"`
	}
	return json.Unmarshal(input, &in) == nil && in.Subject.Type == subjectCredential
}

// withStanding is an input as its principal would be by other facts: a named party is looked up again, and an API key that was presented
// has the scopes of its record.
func (a *asking) withStanding(ctx context.Context, r *memo.Reading, in engine.Input) (engine.Input, error) {
	members := map[string]jsontext.Value{}
	var who struct {
		Subject   subject          `json:"subject"`
		Principal map[string]any   `json:"principal"`
		Caller    *authn.Principal `json:"caller"`
	}
	if in.Refused != nil || json.Unmarshal(in.Text, &members) != nil || json.Unmarshal(in.Text, &who) != nil {
		return in, nil //nolint:nilerr // of what is no input, nothing can be supposed
	}
	credential := who.Subject.Type == subjectCredential
	if credential && who.Principal["type"] != string(authn.APIKey) {
		return in, nil
	}
	if credential {
		who.Subject.Type = string(authn.APIKey)
		who.Subject.ID, _ = who.Principal["sub"].(string)
	}
	principal, err := a.resolve(ctx, r, who.Subject)
	if err != nil {
		return in, err
	}
	switch {
	case principal == nil:
		delete(members, "principal")
	case credential:
		who.Principal["scopes"] = slices.Concat([]string{}, principal.Scopes)
		members["principal"], err = json.Marshal(who.Principal, json.Deterministic(true))
	default:
		members["principal"], err = json.Marshal(principal)
	}
	if err == nil {
		in.Text, err = json.Marshal(members, json.Deterministic(true))
	}
	if err != nil {
		return in, fmt.Errorf("policy input: %w", err)
	}
	return in, nil
}
