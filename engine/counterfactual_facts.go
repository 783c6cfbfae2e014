package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore"
	"mandate/directory"
)

// supposals are what could be different one at a time: changes of documents that were read, as a person could make them in the
// directory, and members of the request that a failed condition compares with a constant.
func (s *search) supposals(ctx context.Context, from outcome) ([]supposal, error) {
	asked := s.asked()
	var all []supposal
	n := 0
	for _, p := range from.reads {
		if !isFact(p) {
			continue
		}
		if n++; n > maxSupposedFacts {
			s.cut = true
			break
		}
		text, known := from.facts[p]
		if !known {
			text = s.kept[p]
		}
		var document any
		if text != nil {
			if err := json.Unmarshal(text, &document); err != nil {
				return nil, fmt.Errorf("read %s: %w", p, err)
			}
		}
		f := fact{path: p, at: p.Segments(), text: text}
		f.document, _ = document.(map[string]any)
		var err error
		switch {
		case f.at[0] == "custom":
			f.custom(document, asked)
		case f.at[0] == "orgs" && f.at[2] == "members":
			err = s.member(ctx, &f)
		default:
			f.record(asked)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f.supposals...)
	}
	for _, w := range s.wanted {
		if _, done := from.request[w.request]; !done {
			all = append(all, w)
		}
	}
	return all, nil
}

// isFact says whether p is a document that policies can read.
func isFact(p datastore.Path) bool {
	at := p.Segments()
	depth := directory.DocumentDepth(at)
	return len(at) > 1 && (depth == len(at) || depth == directory.AnyDepth)
}

// asked is what the input says of the request and its subject.
type asked struct {
	action, org, subject string
	at                   time.Time
}

func (s *search) asked() asked {
	in, err := s.question.Input(s.reading())
	var input struct {
		Action    struct{ Name string }
		Principal struct{ Sub string }
		Subject   struct{ ID string }
		Resource  struct {
			Type, ID   string
			Properties map[string]any
		}
	}
	if err != nil || json.Unmarshal(in.Text, &input) != nil {
		return asked{at: s.question.Asked}
	}
	a := asked{at: s.question.Asked, action: input.Action.Name, subject: input.Principal.Sub}
	if a.subject == "" {
		a.subject = input.Subject.ID
	}
	if a.org, _ = input.Resource.Properties["org"].(string); input.Resource.Type == "organization" {
		a.org = input.Resource.ID
	}
	return a
}

// fact is a document, of which supposals are made.
type fact struct {
	path      datastore.Path
	at        []string
	text      []byte         // nil when it is absent
	document  map[string]any // nil when it is no object
	supposals []supposal
}

// suppose adds what the document could be, and how to say that it is not.
func (f *fact) suppose(to any, before, value, after string) {
	text, err := json.Marshal(to)
	if err != nil {
		return // it was made of JSON
	}
	f.supposals = append(f.supposals, supposal{path: f.path, before: before, value: value, after: after, from: f.text, to: text})
}

// with is the document with another member.
func (f *fact) with(member string, value any) map[string]any {
	changed := maps.Clone(f.document)
	if changed == nil {
		changed = map[string]any{}
	}
	if value == nil {
		delete(changed, member)
	} else {
		changed[member] = value
	}
	return changed
}

func (f *fact) list(member string) []any {
	list, _ := f.document[member].([]any)
	return list
}

// listing supposes that the list has one more.
func (f *fact) listing(member, more, before, after string) {
	if more == "" || slices.Contains(f.list(member), any(more)) {
		return
	}
	f.suppose(f.with(member, append(slices.Clone(f.list(member)), more)), before, more, after)
}

func (f *fact) active(name string) {
	if status, ok := f.document["status"].(string); ok && status != string(directory.Active) {
		f.suppose(f.with("status", directory.Active), name+" is "+status+", not ", "active", "")
	}
}

// member supposes another status, another role of those that there are, or the membership itself.
func (s *search) member(ctx context.Context, f *fact) error {
	org, user := f.at[1], f.at[3]
	roles, err := s.roles(ctx, org)
	if err != nil {
		return err
	}
	if f.text == nil {
		for _, role := range roles {
			f.suppose(map[string]any{"roles": []string{role}, "status": directory.Active}, user+" is not a member of "+org+" with the role ", role, "")
		}
		return nil
	}
	f.active("the membership of " + user + " in " + org)
	for _, role := range roles {
		f.listing("roles", role, user+" lacks the role ", " in "+org)
	}
	return nil
}

// roles are those that a member of the organization could have.
func (s *search) roles(ctx context.Context, org string) ([]string, error) {
	var roles []string
	for _, prefix := range []datastore.Path{s.engine.root.Join("orgs", org, "roles"), s.engine.root.Join("roles")} {
		for fact, err := range s.facts.Scan(ctx, prefix, datastore.Path{}) {
			if err != nil {
				return nil, err
			}
			if len(roles) == maxSupposedValues {
				s.cut = true
				break
			}
			at := fact.Path.Segments()
			if role := at[len(at)-1]; !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
	}
	return roles, nil
}

// record supposes what the records of the other collections could be.
func (f *fact) record(a asked) {
	name := f.name()
	switch kind := f.at[0]; {
	case kind == "orgs" && f.at[2] == "integrations":
		if f.text == nil {
			f.suppose(map[string]any{"id": "supposed", "kind": directory.ExternalIntegration, "status": directory.Active, "scopes": []string{a.action}},
				f.at[1]+" has no integration with the vendor "+f.at[3]+" that has the scope ", a.action, "")
			return
		}
		f.active(name)
		f.listing("scopes", a.action, name+" lacks the scope ", "")
	case kind == "orgs" && f.at[2] == "domains":
		if f.document["status"] != string(directory.Verified) {
			f.suppose(f.with("status", directory.Verified), f.at[1]+" has not verified the domain ", f.at[3], "")
		}
	case kind == "relations" && f.text == nil:
		f.suppose(map[string]any{}, "nothing makes "+f.at[4]+" ", f.at[3], " of "+f.at[1]+" "+f.at[2])
	case kind == "users" && f.text == nil:
		f.suppose(map[string]any{"username": f.at[1], "status": directory.Active}, "there is no user ", f.at[1], "")
	case f.document == nil:
	case kind == "clients", kind == "apikeys":
		f.active(name)
		f.listing("scopes", a.action, name+" lacks the scope ", "")
		if kind == "clients" && a.org != f.document["org"] {
			f.listing("orgs", a.org, name+" may not act in ", "")
		}
		text, _ := f.document["expires_at"].(string)
		if end, err := time.Parse(time.RFC3339, text); err == nil && !a.at.Before(end) {
			f.suppose(f.with("expires_at", nil), name+" has expired at ", text, "")
		}
	default:
		f.active(name)
	}
}

// name is how people call a record.
func (f *fact) name() string {
	last := f.at[len(f.at)-1]
	switch f.at[0] {
	case "orgs":
		switch f.at[2] {
		case "profile":
			return "the organization " + f.at[1]
		case "integrations":
			return "the integration of " + last + " with " + f.at[1]
		}
		return "the " + strings.TrimSuffix(f.at[2], "s") + " " + last + " of " + f.at[1]
	case "apikeys":
		return "the API key " + last
	}
	return "the " + strings.TrimSuffix(f.at[0], "s") + " " + last
}

// custom supposes what a document that Mandate knows nothing of could be: what is true or false the opposite, and lists with or without
// who and what was asked about.
func (f *fact) custom(document any, a asked) {
	name := f.path.String()
	if f.text == nil {
		f.suppose(true, name+" is absent, not ", "true", "")
		return
	}
	f.values(name, document, a, func(v any) any { return v })
}

// maxCustomDepth bounds how deep a custom document is looked into.
const maxCustomDepth = 3

func (f *fact) values(name string, v any, a asked, whole func(any) any) {
	switch v := v.(type) {
	case bool:
		f.suppose(whole(!v), fmt.Sprintf("%s is %t, not ", name, v), fmt.Sprint(!v), "")
	case []any:
		for _, about := range []string{a.subject, a.org} {
			if about == "" {
				continue
			}
			if i := slices.Index(v, any(about)); i >= 0 {
				f.suppose(whole(slices.Delete(slices.Clone(v), i, i+1)), name+" has ", about, "")
			} else {
				f.suppose(whole(append(slices.Clone(v), about)), name+" lacks ", about, "")
			}
		}
	case map[string]any:
		if strings.Count(name, ".") == maxCustomDepth || len(v) > maxSupposedValues {
			return
		}
		for _, member := range slices.Sorted(maps.Keys(v)) {
			f.values(name+"."+member, v[member], a, func(changed any) any {
				clone := maps.Clone(v)
				clone[member] = changed
				return whole(clone)
			})
		}
	}
}

// parts are a document without one element of one of its lists: what an allow may rest on.
func (s *search) parts(p datastore.Path, text []byte) ([]supposal, error) {
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	f := fact{path: p, at: p.Segments(), text: text}
	f.document, _ = document.(map[string]any)
	for _, member := range slices.Sorted(maps.Keys(f.document)) {
		list := f.list(member)
		if len(list) > maxSupposedValues {
			continue
		}
		for i, element := range list {
			if value, ok := element.(string); ok {
				f.suppose(f.with(member, slices.Delete(slices.Clone(list), i, i+1)), "", p.String()+": "+strings.TrimSuffix(member, "s")+" "+value, "")
			}
		}
	}
	return f.supposals, nil
}

// requestWanted is what a condition wants the request to be, when it compares a member of it with a constant. The subject is who it is:
// it is never supposed to be somebody else.
func requestWanted(e *ast.Expr) []supposal {
	member := func(t *ast.Term) (string, bool) {
		ref, ok := t.Value.(ast.Ref)
		if !ok || len(ref) < 3 || !ref[0].Equal(ast.InputRootDocument) || !ref.IsGround() {
			return "", false
		}
		names := make([]string, 0, len(ref)-1)
		for _, term := range ref[1:] {
			name, ok := term.Value.(ast.String)
			if !ok || strings.Contains(string(name), ".") {
				return "", false
			}
			names = append(names, string(name))
		}
		free := names[0] == "context" || (names[1] == "properties" && names[0] != "subject" && !slices.Equal(names, []string{"resource", "properties", "org"}))
		return strings.Join(names, "."), free
	}
	want := func(t *ast.Term, value ast.Value) []supposal {
		name, ok := member(t)
		if !ok {
			return nil
		}
		text, err := encodeJSON(value)
		if err != nil {
			return nil
		}
		return []supposal{{request: name, before: "the request's " + name + " is not ", value: string(text), to: text}}
	}
	if t, ok := e.Terms.(*ast.Term); ok && !e.Negated {
		return want(t, ast.Boolean(true))
	}
	operator := e.OperatorTerm()
	if e.Negated || operator == nil || !slices.Contains([]string{"eq", "equal", "assign"}, operator.String()) {
		return nil
	}
	for _, sides := range [][2]*ast.Term{{e.Operand(0), e.Operand(1)}, {e.Operand(1), e.Operand(0)}} {
		switch sides[1].Value.(type) {
		case ast.String, ast.Number, ast.Boolean:
			return want(sides[0], sides[1].Value)
		}
	}
	return nil
}

// withMember is a JSON object with a member at a dotted path.
func withMember(text []byte, name string, value json.RawMessage) ([]byte, error) {
	object := map[string]json.RawMessage{}
	if text != nil {
		if err := json.Unmarshal(text, &object); err != nil {
			return nil, fmt.Errorf("suppose another %s: %w", name, err)
		}
	}
	first, rest, deeper := strings.Cut(name, ".")
	if deeper {
		var err error
		if value, err = withMember(object[first], rest, value); err != nil {
			return nil, err
		}
	}
	object[first] = value
	return json.Marshal(object)
}
