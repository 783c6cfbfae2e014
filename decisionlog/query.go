package decisionlog

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Query chooses records. What is empty chooses all.
type Query struct {
	Kind  Kind
	Point string
	// Subject is type:id, of input.subject or of input.principal.
	Subject  string
	Resource string // type:id
	Action   string // its name
	// Org is the organization of the resource: its property org, or its id where it is one.
	Org            string
	Caller         string // type:sub
	Reason         string // the code of a reason
	PolicyRevision string
	Allow          *bool
	// From and Until bound the ids: From is the first, Until the first not any more (0: no end).
	From, Until ID
	// OldestFirst turns the order, which is newest first.
	OldestFirst bool
}

// Matches says whether the query chooses the record.
func (q Query) Matches(r *Record) bool {
	return q.within(r.ID) && (q.Allow == nil || *q.Allow == r.Allow) && q.describes(&r.Description)
}

func (q Query) within(id ID) bool { return id >= q.From && (q.Until == 0 || id < q.Until) }

// describes says whether the query chooses what is so described, when and however it was decided.
func (q Query) describes(d *Description) bool {
	t := termsOf(d)
	for f, wanted := range q.terms() {
		if wanted != "" && !slices.Contains(t[f], wanted) {
			return false
		}
	}
	return true
}

// mayDescribe says whether the query may choose what is described by a text, without parsing it: where nothing is escaped, each term
// is there as it is, or what comes after its last colon.
func (q Query) mayDescribe(text []byte) bool {
	if bytes.IndexByte(text, '\\') >= 0 {
		return true
	}
	for _, term := range q.terms() {
		end := term[strings.LastIndexByte(term, ':')+1:]
		if !bytes.Contains(text, []byte(end)) && !strings.ContainsRune(end, utf8.RuneError) { // which stands for what is not UTF-8
			return false
		}
	}
	return true
}

// anything says whether the query chooses by nothing but ids.
func (q Query) anything() bool { return q.Allow == nil && q.terms() == [fields]string{} }

// A field of a record that a query can ask for.
const (
	fieldKind = iota
	fieldPoint
	fieldPolicyRevision
	fieldSubject
	fieldResource
	fieldAction
	fieldOrg
	fieldCaller
	fieldReason
	fields
)

// terms are what the query asks for of each field, empty for all.
func (q Query) terms() [fields]string {
	return [fields]string{fieldKind: string(q.Kind), fieldPoint: q.Point, fieldPolicyRevision: q.PolicyRevision, fieldSubject: q.Subject,
		fieldResource: q.Resource, fieldAction: q.Action, fieldOrg: q.Org, fieldCaller: q.Caller, fieldReason: q.Reason}
}

// organization is the type of a resource that is an organization.
const organization = "organization"

// asked is what can be found of the input of a policy. A member that has another type than it should is not there.
type asked struct {
	Subject   party `json:"subject"`
	Principal party `json:"principal"`
	Caller    party `json:"caller"`
	Action    struct {
		Name text `json:"name"`
	} `json:"action"`
	Resource struct {
		Type       text `json:"type"`
		ID         text `json:"id"`
		Properties struct {
			Org text `json:"org"`
		} `json:"properties"`
	} `json:"resource"`
}

type party struct {
	Type text `json:"type"`
	ID   text `json:"id"`
	Sub  text `json:"sub"`
}

// text is a string, or empty when it is something else.
type text string

// UnmarshalJSONFrom reads any value.
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	value, err := d.ReadValue()
	if err != nil || value.Kind() != '"' {
		return err
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	*t = text(unquoted)
	return err
}

// termsOf are the values of each field of what is so described.
func termsOf(d *Description) (t [fields][]string) {
	var in asked
	if len(d.Input) > 0 {
		// What went wrong says nothing about the members before it.
		_ = json.Unmarshal(d.Input, &in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	}
	add := func(field int, value string) {
		if value != "" && !slices.Contains(t[field], value) {
			t[field] = append(t[field], value)
		}
	}
	pair := func(field int, kind, id text) {
		if kind != "" && id != "" {
			add(field, string(kind)+":"+string(id))
		}
	}
	add(fieldKind, string(d.Kind))
	add(fieldPoint, d.Point)
	add(fieldPolicyRevision, d.PolicyRevision)
	pair(fieldSubject, in.Subject.Type, in.Subject.ID)
	pair(fieldSubject, in.Principal.Type, in.Principal.Sub)
	pair(fieldResource, in.Resource.Type, in.Resource.ID)
	add(fieldAction, string(in.Action.Name))
	add(fieldOrg, string(in.Resource.Properties.Org))
	if in.Resource.Type == organization {
		add(fieldOrg, string(in.Resource.ID))
	}
	pair(fieldCaller, in.Caller.Type, in.Caller.Sub)
	for _, r := range d.Reasons {
		add(fieldReason, r.Code)
	}
	return t
}
