package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// subjectCredential is the subject type of a credential that is to be authenticated first.
const subjectCredential = "credential"

// subject is the part of a subject that Mandate itself understands.
type subject struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties jsontext.Value `json:"properties"`
}

// policyInput is the input of mandate.access: the parts as they were sent, and who they are about and from.
type policyInput struct {
	Subject   jsontext.Value   `json:"subject"`
	Action    jsontext.Value   `json:"action"`
	Resource  jsontext.Value   `json:"resource"`
	Context   jsontext.Value   `json:"context,omitempty"`
	Principal *authn.Principal `json:"principal,omitempty"`
	Caller    *authn.Principal `json:"caller"`
}

// evaluate makes one decision, or remembers it. The question is what was asked as it was sent, and read makes the request
// of it. An error is a *requestError for a request that is not one.
func (a *asking) evaluate(ctx context.Context, question []byte, read func() (evaluationRequest, error)) (engine.Answer, error) {
	if a.then != nil {
		return a.evaluateThen(ctx, read)
	}
	span := a.spans.begin("decide")
	answer, err := a.tenant.Engine.Ask(ctx, a.reading, a.policies, engine.Access, question, func(r *memo.Reading) (engine.Input, error) {
		request, err := read()
		if err != nil {
			return engine.Input{}, err
		}
		return a.input(ctx, r, request)
	})
	decided(span, engine.Access, answer, a.reading.Revision())
	if answer.Decision == nil {
		return answer, err
	}
	return answer, a.reportPolicy(ctx, answer.Decision, err)
}

// input makes what the policy decides on.
func (a *asking) input(ctx context.Context, reading *memo.Reading, r evaluationRequest) (in engine.Input, err error) {
	who, err := r.validate()
	if err != nil {
		return in, err
	}
	principal, err := a.principal(ctx, reading, who, r.Subject)
	if refused := (*authn.Error)(nil); errors.As(err, &refused) {
		f, _ := failureOf(refused)
		in.Refused = &engine.Reason{Code: f.code, Message: refused.Detail}
	} else if err != nil {
		return in, err
	}
	if who.Type == subjectCredential {
		// Its properties hold secrets: no policy, log or trace may see them.
		if r.Subject, err = json.Marshal(map[string]string{"type": who.Type, "id": who.ID}, json.Deterministic(true)); err != nil {
			return in, fmt.Errorf("subject without its properties: %w", err)
		}
	}
	in.Text, err = json.Marshal(policyInput{Subject: r.Subject, Action: r.Action, Resource: r.Resource, Context: r.Context,
		Principal: principal, Caller: a.caller})
	if err != nil {
		return in, fmt.Errorf("policy input: %w", err)
	}
	return in, nil
}

// validate checks what AuthZEN §5 requires, and no more: types are not coerced, ids not normalised.
func (r *evaluationRequest) validate() (subject, error) {
	var who subject
	if err := entity("subject", r.Subject, &who); err != nil {
		return who, err
	}
	var action struct {
		Name       string         `json:"name"`
		Properties jsontext.Value `json:"properties"`
	}
	if err := entity("action", r.Action, &action); err != nil {
		return who, err
	}
	var resource subject
	if err := entity("resource", r.Resource, &resource); err != nil {
		return who, err
	}
	for _, required := range []struct{ name, value string }{
		{"subject.type", who.Type}, {"subject.id", who.ID}, {"action.name", action.Name},
		{"resource.type", resource.Type}, {"resource.id", resource.ID},
	} {
		if required.value == "" {
			return who, badRequest(required.name + " is missing, empty or not a string")
		}
	}
	for _, optional := range []struct {
		name  string
		value jsontext.Value
	}{
		{"subject.properties", who.Properties}, {"action.properties", action.Properties},
		{"resource.properties", resource.Properties}, {"context", r.Context},
	} {
		if optional.value != nil && optional.value.Kind() != '{' {
			return who, badRequest(optional.name + " must be an object")
		}
	}
	return who, nil
}

func entity(name string, value jsontext.Value, into any) error {
	if value == nil {
		return badRequest(name + " is missing")
	}
	if value.Kind() != '{' {
		return badRequest(name + " must be an object")
	}
	if err := json.Unmarshal(value, into); err != nil {
		return badRequest("the members of " + name + " have the wrong types: type, id and name are strings")
	}
	return nil
}

// principal resolves the subject, as it was sent: the caller itself, a credential that the caller was given, or a named party.
func (a *asking) principal(ctx context.Context, r *memo.Reading, who subject, sent jsontext.Value) (*authn.Principal, error) {
	if who.Type != subjectCredential {
		return a.resolve(ctx, r, who)
	}
	if a.then != nil && who.ID != "caller" {
		return nil, badRequest("as_of is asked about a named subject, or the caller: a credential that is presented now says nothing of then")
	}
	var properties struct {
		Authorization string `json:"authorization"`
		APIKey        string `json:"apikey"`
		APISecret     string `json:"apisecret"`
		// Of the request that the caller was sent, for a token that is bound to a key (RFC 9449 §7.1).
		Proof  string `json:"dpop"`
		Method string `json:"method"`
		URL    string `json:"url"`
	}
	if who.Properties != nil {
		if err := json.Unmarshal(who.Properties, &properties); err != nil {
			return nil, badRequest("the properties of a credential must be strings")
		}
	}
	if known, ok := a.proved[string(sent)]; ok {
		r.Volatile() // what it rests on was noted elsewhere
		return known.principal, known.err
	}
	var given authn.Presented
	once := false
	switch who.ID {
	case "caller":
		return a.caller, nil
	case "authorization":
		if properties.Authorization == "" {
			return nil, badRequest("subject.properties.authorization is missing: the value of the Authorization header that was received")
		}
		if scheme, _, _ := strings.Cut(properties.Authorization, " "); strings.EqualFold(scheme, "Basic") {
			if a.passwords++; a.passwords > maxPasswords {
				return nil, badRequest(fmt.Sprintf("the request has more than %d subjects with a Basic credential: split the batch", maxPasswords))
			}
			once = true // each time costs a password check
		}
		given.Authorization = []string{properties.Authorization}
		if properties.Proof != "" {
			given.Proofs, given.Method, given.URL, given.Foreign = []string{properties.Proof}, properties.Method, properties.URL, true
			once = true // a proof is good for one request (RFC 9449 §11.1)
		}
	case "apikey":
		if properties.APIKey == "" || properties.APISecret == "" {
			return nil, badRequest("subject.properties must have apikey and apisecret")
		}
		given.KeyPairs = []authn.Pair{{ID: directory.NewSecret(properties.APIKey), Secret: directory.NewSecret(properties.APISecret)}}
	default:
		return nil, badRequest("the id of a credential must be caller, authorization or apikey")
	}
	principal, err := a.tenant.Authn.Authenticate(ctx, r, given)
	if err == nil {
		principal, err = a.tenant.Tokens.Current(ctx, r, a.policies, principal)
	}
	if once {
		if a.proved == nil {
			a.proved = map[string]proved{}
		}
		a.proved[string(sent)] = proved{principal, err}
	}
	return principal, err
}

// unanswered is the denial of an evaluation that was not one. It is recorded as what it is: a question that reached no policy.
func (a *asking) unanswered(wrong *requestError) engine.Answer {
	d := &engine.Decision{Reasons: []engine.Reason{{Code: wrong.Code, Message: wrong.Detail}}, PolicyRevision: a.policies.Revision()}
	var then time.Time
	if a.then != nil {
		then = a.then.at
	}
	return a.tenant.Engine.Unanswered(d, engine.Access, a.reading.Revision(), then)
}
