package decisionlog

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Path is what the record is about, as OPA's decision log names it: the rule that decided, or mandate/authentication or mandate/token.
func (d *Description) Path() string {
	switch d.Kind {
	case Authentication, Token:
		return "mandate/" + string(d.Kind)
	case DataQuery:
		return d.Point
	}
	return d.Point + "/decision"
}

// Result is what was answered, as a policy gives it.
type Result struct {
	Allow       bool           `json:"allow"`
	Reasons     []Reason       `json:"reasons,omitempty"`
	Obligations jsontext.Value `json:"obligations,omitempty"`
	Granted     jsontext.Value `json:",embed"`
}

// Result is what was answered: a Result, or the document that was asked for.
func (d *Description) Result() any {
	if d.Kind == DataQuery {
		return d.Answer
	}
	return Result{Allow: d.Allow, Reasons: d.Reasons, Obligations: d.Obligations, Granted: d.Granted}
}

// EventInput is what was asked: the input of the policy, or the details of an authentication or a token. It is nil when nothing is known.
func (d *Description) EventInput() any {
	switch noted := d.Kind == Authentication || d.Kind == Token; {
	case noted && d.Details != nil:
		return d.Details
	case !noted && d.Input != nil:
		return d.Input
	}
	return nil
}

// EventText is the record as the masks see it, in the words of OPA's decision log.
func (d *Description) EventText() ([]byte, error) {
	return json.Marshal(struct {
		Path      string   `json:"path"`
		Kind      Kind     `json:"kind"`
		Input     any      `json:"input,omitempty"`
		Result    any      `json:"result,omitempty"`
		Footprint []string `json:"footprint,omitempty"`
	}{d.Path(), d.Kind, d.EventInput(), d.Result(), d.Footprint}, json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}
