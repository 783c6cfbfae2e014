package manage

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/directory"
)

// document is a record with the members that name it. The revision, which a write does not know yet, is added by
// WithRevision.
func document(keys, ids []string, record any) (jsontext.Value, error) {
	text, err := json.Marshal(record, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range keys {
		if hasMember(text, key) {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:", key)
		name, err := json.Marshal(ids[len(ids)-len(keys)+i])
		if err != nil {
			return nil, fmt.Errorf("encode an id: %w", err)
		}
		b.Write(name)
	}
	rest := bytes.TrimPrefix(text, []byte("{"))
	if !bytes.Equal(rest, []byte("}")) && b.Len() > 1 {
		b.WriteByte(',')
	}
	b.Write(rest)
	return b.Bytes(), nil
}

func hasMember(object jsontext.Value, name string) bool {
	var members map[string]jsontext.Value
	if json.Unmarshal(object, &members) != nil {
		return false
	}
	_, ok := members[name]
	return ok
}

// withMember adds a member to the end of an object that does not have it.
func withMember(object jsontext.Value, name string, value any) (jsontext.Value, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode a member: %w", err)
	}
	comma := ","
	if bytes.Equal(object, []byte("{}")) {
		comma = ""
	}
	return fmt.Appendf(bytes.TrimSuffix(slices.Clone(object), []byte("}")), "%s%q:%s}", comma, name, text), nil
}

// Document is the body of the answer with its revision.
func (a *Answer) Document() (jsontext.Value, error) {
	return withMember(a.Body, "revision", a.Revision)
}

// mergePatch applies a JSON Merge Patch (RFC 7396 §2).
func mergePatch(target, patch jsontext.Value) (jsontext.Value, error) {
	var changes map[string]jsontext.Value
	if patch.Kind() != '{' {
		return patch, nil
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, invalid("", "the body is not a JSON Merge Patch")
	}
	members := map[string]jsontext.Value{}
	if target.Kind() == '{' {
		if err := json.Unmarshal(target, &members); err != nil {
			return nil, fmt.Errorf("apply a patch: %w", err)
		}
	}
	for name, change := range changes {
		if change.Kind() == 'n' {
			delete(members, name)
			continue
		}
		merged, err := mergePatch(members[name], change)
		if err != nil {
			return nil, err
		}
		members[name] = merged
	}
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("apply a patch: %w", err)
	}
	return text, nil
}

// equalJSON compares two JSON values, whatever the order of their members.
func equalJSON(a, b jsontext.Value) bool {
	a, b = a.Clone(), b.Clone()
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}

// Decode reads the body of an operation, in which every member must be known: *Invalid for one that is not.
func Decode(body jsontext.Value, into any) error {
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return wrongMember(err)
	}
	return nil
}

// wrongMember says which member of a body is not what it must be.
func wrongMember(err error) error {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return invalid("", "the body is not what a record is made of")
	}
	field := strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
	if errors.Is(err, json.ErrUnknownName) {
		return invalid(field, "is not a member of this record")
	}
	return invalid(field, "has the wrong type")
}

// below are the problems of a directory file as those of the one record in it.
func below(problems directory.Problems, at string) directory.Problems {
	all := make(directory.Problems, len(problems))
	for i, p := range problems {
		all[i] = directory.Problem{Field: strings.TrimPrefix(strings.TrimPrefix(p.Field, at), "."), Message: p.Message}
	}
	return all
}

// idIn is the id that a body gives to a new record, or a new one.
func idIn(k Kind, body jsontext.Value) (id string, from idFrom, err error) {
	_, last := cutLast(k.Path())
	name := strings.Trim(last, "{}")
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return "", "", invalid("", "the body must be a JSON object")
	}
	value, ok := members[name]
	if !ok && name == "id" {
		return strings.ToLower(rand.Text()), idMade, nil
	}
	if !ok || json.Unmarshal(value, &id) != nil || id == "" {
		return "", "", invalid(name, "is missing or not a string")
	}
	return id, idInBody, nil
}

// cutLast cuts a path before its last segment.
func cutLast(path string) (above, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// matches says whether the record has all the values: a member is the text, or a list that has it.
func matches(record jsontext.Value, values map[string]string) bool {
	if len(values) == 0 {
		return true
	}
	var members map[string]any
	if json.Unmarshal(record, &members) != nil {
		return false
	}
	for name, want := range values {
		switch value := members[name].(type) {
		case string:
			if value != want {
				return false
			}
		case []any:
			if !slices.Contains(value, any(want)) {
				return false
			}
		case nil:
			return false
		default:
			if fmt.Sprint(value) != want {
				return false
			}
		}
	}
	return true
}

// prefixOf is the place above the records of a collection.
func prefixOf(t directory.Tenant, segments []string) datastore.Path {
	return datastore.TenantID(t).Path(segments...)
}

// parentsOf are the names in a route above its last segment: the organization, or the user, that the collection belongs to.
func parentsOf(path string) []string {
	above, _ := cutLast(path)
	var names []string
	for segment := range strings.SplitSeq(above, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// collectionPath are the segments of a route above its last one, with the ids in place of the names.
func collectionPath(path string, parents []string) []string {
	above, _ := cutLast(path)
	var segments []string
	next := 0
	for segment := range strings.SplitSeq(above, "/") {
		if strings.HasPrefix(segment, "{") && next < len(parents) {
			segment = parents[next]
			next++
		}
		segments = append(segments, cmp.Or(segment, "?"))
	}
	return segments
}
