package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore/memo"
)

// Point names a package of the policy set whose rule "decision" is asked.
type Point string

// The decisions that every policy set must define.
const (
	Access Point = "mandate/access" // may this principal do this
	Tokens Point = "mandate/tokens" // what may this token carry
	Manage Point = "mandate/manage" // who may change the directory
)

// maxLifetime bounds what a policy can ask for: more is a mistake of units.
const maxLifetime = 100 * 365 * 24 * time.Hour

// Decision is what a policy has decided, or the denial in its place. Scopes, Lifetime, Claims and Org are of
// token decisions. It is shared by all who ask the same: nobody may change it.
type Decision struct {
	Allow       bool
	Reasons     []Reason
	Obligations json.RawMessage // a list; nil when there are none
	Scopes      []string
	Lifetime    time.Duration
	Claims      map[string]any // numbers are json.Number
	Org         string

	PolicyRevision string

	members []byte // see AppendMembers
	bytes   int
	usual   bool // its memory is that of the policy set
}

// Obliges says whether the decision has an obligation of that type. An error means that the policy gave something else than a
// list of objects.
func (d *Decision) Obliges(kind string) (bool, error) {
	o, err := d.Obligation(kind)
	return o != nil, err
}

// Obligation is the first obligation of that type as JSON, nil when there is none.
func (d *Decision) Obligation(kind string) (json.RawMessage, error) {
	if d.Obligations == nil {
		return nil, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(d.Obligations, &all); err != nil {
		return nil, fmt.Errorf("the policy's obligations are not a list: %w", err)
	}
	for _, one := range all {
		var typed struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(one, &typed); err != nil {
			return nil, fmt.Errorf("an obligation of the policy is not an object: %w", err)
		}
		if typed.Type == kind {
			return one, nil
		}
	}
	return nil, nil
}

// AppendMembers appends the reasons, obligations and policy revision as members of a JSON object. That text is made once
// for each decision of a policy, as most are given many times.
func (d *Decision) AppendMembers(b []byte) []byte {
	if d.members != nil {
		return append(b, d.members...)
	}
	b = append(b, `"reasons":[`...)
	for i, r := range d.Reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(append(b, `{"code":`...), r.Code)
		b = append(appendQuoted(append(b, `,"message":`...), r.Message), '}')
	}
	b = append(b, `],"obligations":`...)
	if d.Obligations == nil {
		b = append(b, "[]"...)
	}
	b = append(b, d.Obligations...)
	return appendQuoted(append(b, `,"policy_revision":`...), d.PolicyRevision)
}

func appendQuoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD")) // fails for invalid UTF-8 only
	return b
}

// Bytes is about what it takes in memory to remember the decision.
func (d *Decision) Bytes() int {
	if d.usual {
		return 0
	}
	return d.bytes
}

// usual are the decisions that a policy set has made first. Most are few and the same for many questions: those share
// one in memory. There is an end to it, because reasons may repeat what was asked.
type usual struct {
	mu    sync.RWMutex
	known map[string]*Decision // by what they say
}

const maxUsual, maxUsualBytes = 256, 4 << 10

// of returns the decision that says the same as d, perhaps d itself.
func (u *usual) of(d *Decision) *Decision {
	if d.Scopes != nil || d.Lifetime != 0 || d.Claims != nil || d.Org != "" || len(d.members) > maxUsualBytes {
		return d
	}
	says := strconv.FormatBool(d.Allow) + string(d.members)
	u.mu.RLock()
	known, full := u.known[says], len(u.known) == maxUsual
	u.mu.RUnlock()
	if known != nil || full {
		return cmp.Or(known, d)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if known := u.known[says]; known != nil || len(u.known) == maxUsual {
		return cmp.Or(known, d)
	}
	if u.known == nil {
		u.known = make(map[string]*Decision)
	}
	d.usual = true
	u.known[says] = d
	return d
}

// stamp says by which policies the decision was made, after which nobody changes it.
func (d *Decision) stamp(policies string) *Decision {
	d.PolicyRevision = policies
	d.members = d.AppendMembers(nil)
	// Reasons and obligations are in there twice. Decoded claims take a multiple of their text.
	d.bytes += 400 + 3*len(d.members) + 50*(len(d.Reasons)+len(d.Scopes))
	return d
}

// Reason says in a stable code and in words why a decision is as it is.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Kind says what kept a policy from deciding. It is the code of the reason that the denial carries.
type Kind string

const (
	PolicyUndefined  Kind = "policy_undefined"  // no rule gave a decision
	PolicyError      Kind = "policy_error"      // the evaluation failed, or its result is no decision
	PolicyTimeout    Kind = "policy_timeout"    // it took longer than its limit, or than the caller waited
	PolicyLimit      Kind = "policy_limit"      // it asked for more facts than one evaluation may read
	FactsUnavailable Kind = "facts_unavailable" // the datastore failed
)

// message is what the caller of a decision may know: not which rule or fact failed, that is in the EvaluationError.
func (k Kind) message() string {
	switch k {
	case PolicyUndefined:
		return "no policy applies to this request"
	case PolicyTimeout:
		return "the decision took too long"
	case PolicyLimit:
		return "the decision needs more facts than it may read"
	case FactsUnavailable:
		return "the facts for this decision are unavailable"
	}
	return "the policy could not be evaluated"
}

// EvaluationError says to the operator why a policy did not decide.
type EvaluationError struct {
	Kind Kind
	Err  error
}

func (e *EvaluationError) Error() string { return fmt.Sprintf("%s: %v", e.Kind, e.Err) }

func (e *EvaluationError) Unwrap() error { return e.Err }

func denied(k Kind) *Decision {
	return &Decision{Reasons: []Reason{{Code: string(k), Message: k.message()}}}
}

// decisionOf reads a decision document. It is strict about names as well as types: a misspelled obligation that
// nobody reads would be an allow without its condition.
func decisionOf(v ast.Value) (*Decision, error) {
	object, ok := v.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("is %s, not an object", ast.ValueName(v))
	}
	d := &Decision{}
	decided := false
	err := object.Iter(func(key, value *ast.Term) error {
		name, ok := key.Value.(ast.String)
		if !ok {
			return fmt.Errorf("has a field %v, whose name is no string", key)
		}
		var err error
		switch name {
		case "allow":
			var allow ast.Boolean
			allow, decided = value.Value.(ast.Boolean)
			d.Allow = bool(allow)
			if !decided {
				err = fmt.Errorf("is %s, not a boolean", ast.ValueName(value.Value))
			}
		case "reasons":
			d.Reasons, err = list(value.Value, reasonOf)
		case "obligations":
			d.Obligations, err = obligationsOf(value.Value)
		case "scopes":
			d.Scopes, err = list(value.Value, text)
		case "lifetime":
			d.Lifetime, err = lifetimeOf(value.Value)
		case "claims":
			d.Claims, err = claimsOf(value.Value)
			d.bytes += memo.JSONBytes([]byte(value.Value.String()))
		case "org":
			d.Org, err = text(value.Value)
		default:
			return fmt.Errorf("has a field %q, which no decision has", string(name))
		}
		if err != nil {
			return fmt.Errorf("field %q: %w", string(name), err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !decided {
		return nil, errors.New(`lacks the field "allow"`)
	}
	return d, nil
}

// list reads an array, or a set in the order of its elements, so that policies may collect with "contains".
func list[T any](v ast.Value, element func(ast.Value) (T, error)) ([]T, error) {
	var terms []*ast.Term
	switch v := v.(type) {
	case *ast.Array:
		terms = make([]*ast.Term, 0, v.Len())
		v.Foreach(func(t *ast.Term) { terms = append(terms, t) })
	case ast.Set:
		terms = v.Slice()
	default:
		return nil, fmt.Errorf("is %s, not an array or a set", ast.ValueName(v))
	}
	if len(terms) == 0 {
		return nil, nil
	}
	elements := make([]T, len(terms))
	for i, t := range terms {
		var err error
		if elements[i], err = element(t.Value); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return elements, nil
}

func text(v ast.Value) (string, error) {
	s, ok := v.(ast.String)
	if !ok {
		return "", fmt.Errorf("is %s, not a string", ast.ValueName(v))
	}
	// It may be a part of the whole input or of a fact, which a decision that is remembered must not keep.
	return strings.Clone(string(s)), nil
}

func obligationsOf(v ast.Value) (json.RawMessage, error) {
	switch v.(type) {
	case *ast.Array, ast.Set:
		return encodeJSON(v)
	}
	return nil, fmt.Errorf("is %s, not an array or a set", ast.ValueName(v))
}

func reasonOf(v ast.Value) (Reason, error) {
	object, ok := v.(ast.Object)
	if !ok {
		return Reason{}, fmt.Errorf("is %s, not an object", ast.ValueName(v))
	}
	var r Reason
	err := object.Iter(func(key, value *ast.Term) error {
		var err error
		switch {
		case key.Equal(ast.InternedTerm("code")):
			r.Code, err = text(value.Value)
		case key.Equal(ast.InternedTerm("message")):
			r.Message, err = text(value.Value)
		default:
			return fmt.Errorf("has a field %v, which no reason has", key)
		}
		if err != nil {
			return fmt.Errorf("field %v: %w", key, err)
		}
		return nil
	})
	if err == nil && r.Code == "" {
		err = errors.New("lacks a code")
	}
	return r, err
}

func lifetimeOf(v ast.Value) (time.Duration, error) {
	n, ok := v.(ast.Number)
	if !ok {
		return 0, fmt.Errorf("is %s, not a number of seconds", ast.ValueName(v))
	}
	seconds, err := json.Number(n).Float64()
	if err != nil || seconds != math.Trunc(seconds) || seconds < 0 || seconds > maxLifetime.Seconds() {
		return 0, fmt.Errorf("is %v, not a whole number of seconds from 0 to %.0f", n, maxLifetime.Seconds())
	}
	return time.Duration(seconds) * time.Second, nil
}

func claimsOf(v ast.Value) (map[string]any, error) {
	if _, ok := v.(ast.Object); !ok {
		return nil, fmt.Errorf("is %s, not an object", ast.ValueName(v))
	}
	text, err := encodeJSON(v)
	if err != nil {
		return nil, err
	}
	var claims map[string]any // a copy, for the reason given at text
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return claims, decoder.Decode(&claims)
}
