package policycheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// decisionLimit is what a decision of a scenario may take: more than a server's, because tests run on machines that are busy.
const decisionLimit = 5 * time.Second

// Runner decides scenarios as a server does.
type Runner struct {
	Set *engine.PolicySet
	// Store is where the facts are put, those of each scenario into a tenant of its own. Nothing else may be in it.
	Store  datastore.Store
	Master *directory.MasterKey
	Run    *regexp.Regexp // what the name of a request has to match; nil for all
}

// RunScenarios runs scenarios and returns a result for each of their requests.
func (r Runner) RunScenarios(ctx context.Context, all []Scenario) ([]Result, error) {
	var results []Result
	for i, s := range all {
		ended, err := r.scenario(ctx, directory.Tenant("scenario-"+strconv.Itoa(i)), s)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", s.File, err)
		}
		results = append(results, ended...)
	}
	return results, nil
}

// stage is where one scenario is played.
type stage struct {
	Runner
	tenant   directory.Tenant
	scenario Scenario
	at       time.Time // zero for the time of the test
	memo     *memo.Memo
	engine   *engine.Engine
	authn    *authn.Authenticator
}

func (r Runner) scenario(ctx context.Context, tenant directory.Tenant, s Scenario) ([]Result, error) {
	st := &stage{Runner: r, tenant: tenant, scenario: s}
	st.memo = memo.New(r.Store, memo.Options{Now: st.now})
	st.engine = engine.New(datastore.TenantID(tenant), r.Set, engine.Options{EvaluationLimit: decisionLimit, Now: st.now})
	st.authn = authn.New(authn.Options{Tenant: tenant, Master: r.Master, Store: r.Store, Now: st.now})
	results, goOn, err := st.step(ctx, &s.Step, s.Title)
	for i := 0; i < len(s.Then) && goOn && err == nil; i++ {
		var more []Result
		more, goOn, err = st.step(ctx, &s.Then[i].Step, s.Title+", "+s.Then[i].When, "then", strconv.Itoa(i))
		results = append(results, more...)
	}
	return results, err
}

func (st *stage) now() time.Time {
	if st.at.IsZero() {
		return time.Now()
	}
	return st.at
}

// step brings the facts about and asks. goOn is false when the facts are wrong, so that nothing after them means anything.
func (st *stage) step(ctx context.Context, s *Step, title string, above ...string) (results []Result, goOn bool, err error) {
	if !s.At.IsZero() {
		st.at = s.At
	}
	err = st.bring(ctx, s)
	if wrong := (directory.Problems)(nil); errors.As(err, &wrong) {
		for _, p := range wrong {
			at := append(append(slices.Clone(above), "given"), fieldParts(p.Field)...)
			results = append(results, Result{Name: title, File: st.scenario.File, Line: lineOf(st.scenario.node, at), Outcome: Error,
				Message: "given." + p.Field + ": " + p.Message})
		}
		return results, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for i := range s.Requests {
		q := &s.Requests[i]
		result := Result{Name: title + ": " + q.name(), File: st.scenario.File, Line: q.Line}
		if st.Run != nil && !st.Run.MatchString(result.Name) {
			continue
		}
		began := time.Now()
		err := st.ask(ctx, q, &result)
		if refused := (*refusedRequest)(nil); errors.As(err, &refused) {
			result.Outcome, result.Message = Error, refused.why
		} else if err != nil {
			return nil, false, err
		}
		result.Seconds = since(began)
		results = append(results, result)
	}
	return results, true, nil
}

// bring imports the directory file and writes the raw facts.
func (st *stage) bring(ctx context.Context, s *Step) error {
	if s.Given != nil {
		if _, err := (directory.Importer{Store: st.Store, Master: st.Master}).Import(ctx, st.tenant, s.Given); err != nil {
			return err
		}
	}
	if len(s.Facts) == 0 {
		return nil
	}
	_, err := st.Store.Update(ctx, func(tx datastore.Tx) error {
		for text, document := range s.Facts {
			p := datastore.TenantID(st.tenant).Path(factPath(text).Segments()...)
			if document == nil {
				if err := tx.Delete(p); err != nil {
					return fmt.Errorf("take away %s: %w", text, err)
				}
				continue
			}
			if err := tx.Put(p, bytes.Clone(document)); err != nil {
				return fmt.Errorf("write %s: %w", text, err)
			}
		}
		return nil
	})
	return err
}

// name is what the request is called where it has no name.
func (q *Request) name() string {
	switch {
	case q.Name != "":
		return q.Name
	case q.Input != nil:
		return q.Point
	}
	name := q.Subject + " " + q.Action + " " + q.Resource
	if q.Org != "" {
		name += " of " + q.Org
	}
	return name
}

// refusedRequest is a request that a server would not even ask its policies.
type refusedRequest struct{ why string }

func (e *refusedRequest) Error() string { return e.why }

// question is the input of mandate.access, as the server makes it.
type question struct {
	Subject   named            `json:"subject"`
	Action    action           `json:"action"`
	Resource  resource         `json:"resource"`
	Context   jsontext.Value   `json:"context,omitempty"`
	Principal *authn.Principal `json:"principal,omitempty"`
	Caller    *authn.Principal `json:"caller"`
}

type named struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type action struct {
	Name string `json:"name"`
}

type resource struct {
	named      `json:",embed"`
	Properties map[string]jsontext.Value `json:"properties,omitempty"`
}

// ask has the request decided and compares the decision with what is expected.
func (st *stage) ask(ctx context.Context, q *Request, result *Result) error {
	reading, set := st.engine.Begin(st.memo)
	defer reading.End()
	asked := engine.Question{Point: engine.Access, Asked: st.now(), Logged: true, Input: func(r *memo.Reading) (engine.Input, error) {
		text, err := st.input(ctx, r, q)
		return engine.Input{Text: text}, err
	}}
	if q.Input != nil {
		asked.Point = engine.Point(q.Point)
	}
	in, err := asked.Input(reading)
	if err != nil {
		return err
	}
	d, failure := st.engine.Decide(ctx, reading, set, asked.Point, in.Text)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("decide %s: %w", q.name(), err)
	}
	wrong := q.differences(d)
	if wrong == nil {
		result.Outcome = Passed
		return nil
	}
	result.Outcome, result.Message = Failed, strings.Join(wrong, "; ")
	for _, reason := range d.Reasons {
		result.Details = append(result.Details, "reason "+reason.Code+": "+reason.Message)
	}
	if failure != nil {
		result.Details = append(result.Details, "the policy failed: "+failure.Error())
		return nil
	}
	explanation, err := st.engine.Explain(ctx, reading, set, asked)
	if err != nil {
		result.Details = append(result.Details, "no explanation: "+err.Error())
	}
	result.Details = append(result.Details, why(explanation)...)
	return nil
}

// input is the whole input of the policy.
func (st *stage) input(ctx context.Context, reading *memo.Reading, q *Request) ([]byte, error) {
	if q.Input != nil {
		return q.Input, nil
	}
	// A credential of the operator's own: it may ask about everybody and every organization.
	caller := &authn.Principal{Type: authn.Workload, Subject: "scenario", Scopes: []string{"decide"}}
	if q.Caller != "" {
		var err error
		if caller, err = st.caller(ctx, reading, q.Caller); err != nil {
			return nil, err
		}
	}
	in := question{Action: action{q.Action}, Context: jsontext.Value(q.Context), Caller: caller}
	in.Subject.Type, in.Subject.ID, _ = strings.Cut(q.Subject, ":")
	in.Resource.Type, in.Resource.ID, _ = strings.Cut(q.Resource, ":")
	if q.Subject == "caller" {
		in.Subject, in.Principal = named{"credential", "caller"}, caller
	} else {
		var err error
		if in.Principal, err = st.authn.Resolve(ctx, reading, in.Subject.Type, in.Subject.ID); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", q.Subject, err)
		}
	}
	if q.Properties != nil {
		if err := json.Unmarshal(q.Properties, &in.Resource.Properties); err != nil {
			return nil, fmt.Errorf("read the properties: %w", err)
		}
	}
	if q.Org != "" {
		if in.Resource.Properties == nil {
			in.Resource.Properties = map[string]jsontext.Value{}
		}
		org, err := jsontext.AppendQuote(nil, q.Org)
		if err != nil {
			return nil, fmt.Errorf("encode the organization: %w", err)
		}
		in.Resource.Properties["org"] = org
	}
	text, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the input: %w", err)
	}
	return text, nil
}

// caller is a party that asks: one that a server would have authenticated.
func (st *stage) caller(ctx context.Context, reading *memo.Reading, name string) (*authn.Principal, error) {
	kind, id, _ := strings.Cut(name, ":")
	caller, err := st.authn.Resolve(ctx, reading, kind, id)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	if caller == nil {
		return nil, &refusedRequest{fmt.Sprintf("the caller %s is not among the facts: add it below given:", name)}
	}
	if err := st.authn.Standing(ctx, reading, caller); err != nil {
		if refused := (*authn.Error)(nil); errors.As(err, &refused) {
			return nil, &refusedRequest{fmt.Sprintf("the caller %s would not get as far as a policy: %s", name, refused.Detail)}
		}
		return nil, fmt.Errorf("standing of %s: %w", name, err)
	}
	return caller, nil
}
