package scim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
	"mandate/manage"
)

// UserOf is a person as a SCIM User (RFC 7643 §4.1). Base is the URL of the service, revision that of the person.
func UserOf(p *manage.Person, base string, revision datastore.Revision) (Resource, error) {
	r := Resource{}
	if len(p.Provisioned.Attributes) > 0 {
		if err := json.Unmarshal(p.Provisioned.Attributes, &r); err != nil {
			return nil, fmt.Errorf("read the attributes of a user: %w", err)
		}
	}
	r["schemas"] = schemasOf(UserSchema, r)
	r["id"], r["userName"], r["active"] = p.ID, p.User.Username, p.Member.Status == directory.Active
	if p.Provisioned.ExternalID != "" {
		r["externalId"] = p.Provisioned.ExternalID
	}
	r["emails"] = emailsOf(r, p.User.Email)
	groups := []any{}
	for _, role := range p.Member.Roles {
		groups = append(groups, map[string]any{"value": role, "display": role, "type": "direct"})
	}
	if len(groups) > 0 {
		r["groups"] = groups
	}
	created := p.Provisioned.CreatedAt
	if created.IsZero() && p.Member.JoinedAt != nil {
		created = *p.Member.JoinedAt
	}
	r["meta"] = metaOf("User", base+"/Users/"+segment(p.ID), revision, created, p.Provisioned.ModifiedAt)
	if len(listOf(r["emails"])) == 0 {
		delete(r, "emails")
	}
	return r, nil
}

// schemasOf are those of a resource: its own, and of what else it has.
func schemasOf(core string, r Resource) []any {
	all := []any{core}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if strings.HasPrefix(name, "urn:") {
			all = append(all, name)
		}
	}
	return all
}

func metaOf(kind, location string, revision datastore.Revision, created, modified time.Time) map[string]any {
	meta := map[string]any{"resourceType": kind, "location": location, "version": Version(revision)}
	if !created.IsZero() {
		meta["created"] = created.UTC().Format(time.RFC3339Nano)
	}
	if modified.IsZero() {
		modified = created
	}
	if !modified.IsZero() {
		meta["lastModified"] = modified.UTC().Format(time.RFC3339Nano)
	}
	return meta
}

// Version is a revision as an entity tag (RFC 7644 §3.14).
func Version(revision datastore.Revision) string { return fmt.Sprintf(`W/"%d"`, revision) }

// emailsOf are the email addresses as they were sent, of which the primary one is that of the user.
func emailsOf(r Resource, email string) []any {
	sent := listOf(r["emails"])
	at := primary(sent)
	if email == "" {
		return sent
	}
	if at < 0 {
		return append(sent, map[string]any{"value": email, "type": "work", "primary": true})
	}
	if object, ok := sent[at].(map[string]any); ok {
		object["value"] = email
	}
	return sent
}

// primary is which of the values is the first one: that which says so, else the one for work, else the first; -1 for none.
func primary(many []any) int {
	is := func(test func(map[string]any) bool) int {
		return slices.IndexFunc(many, func(one any) bool {
			object, ok := one.(map[string]any)
			return ok && test(object)
		})
	}
	for _, test := range []func(map[string]any) bool{
		func(o map[string]any) bool { return isTrue(o["primary"]) },
		func(o map[string]any) bool { kind, _ := o["type"].(string); return strings.EqualFold(kind, "work") },
		func(map[string]any) bool { return true },
	} {
		if at := is(test); at >= 0 {
			return at
		}
	}
	return -1
}

// ParseUser reads a resource that was sent (RFC 7644 §3.3).
func ParseUser(body []byte) (Resource, error) { return parse(body, UserSchema) }

func parse(body []byte, schema string) (Resource, error) {
	var r Resource
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, wrong("invalidSyntax", "the body is not a JSON object")
	}
	return r, needSchema(r, schema)
}

// UserData is what the resource says of a person. Attributes that are read-only, or that the
// schemas do not have, are passed over: a password as well.
func UserData(sent Resource) (manage.PersonData, error) {
	var d manage.PersonData
	if err := narrow(map[string]any(sent)); err != nil {
		return d, err
	}
	r, err := normal(sent)
	if err != nil {
		return d, err
	}
	if d.Username, err = text(r, "userName"); err != nil {
		return d, err
	}
	if d.Username == "" {
		return d, wrong("invalidValue", "userName is missing")
	}
	if d.ExternalID, err = text(r, "externalId"); err != nil {
		return d, err
	}
	switch active := r["active"].(type) {
	case nil:
	case bool:
		d.Active = &active
	case string: // as Entra ID sends it
		is, ok := truth(active)
		if !ok {
			return d, wrong("invalidValue", "active must be true or false")
		}
		d.Active = &is
	default:
		return d, wrong("invalidValue", "active must be true or false")
	}
	if d.Email, err = emailIn(r); err != nil {
		return d, err
	}
	stored := kept(r, append(user(), attribute{name: EnterpriseSchema, kind: "complex", parts: enterprise()}))
	for _, name := range []string{"groups", "userName", "active"} {
		delete(stored, name)
	}
	if d.Attributes, err = attributes(stored); err != nil {
		return d, err
	}
	return d, nil
}

func attributes(r Resource) ([]byte, error) {
	if len(r) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the attributes: %w", err)
	}
	return text, nil
}

func text(r Resource, name string) (string, error) {
	value, ok := r[name]
	if !ok {
		return "", nil
	}
	found, ok := value.(string)
	if !ok || strings.TrimSpace(found) != found {
		return "", wrong("invalidValue", name+" must be a text without space around it")
	}
	return found, nil
}

// emailIn is the primary email address of a resource, empty for none.
func emailIn(r Resource) (string, error) {
	sent, there := r["emails"]
	many, ok := sent.([]any)
	if there && !ok {
		return "", wrong("invalidValue", "emails must be a list")
	}
	at := primary(many)
	for _, one := range many {
		if object, ok := one.(map[string]any); !ok || !isText(object["value"]) {
			return "", wrong("invalidValue", "each of the emails must have a value")
		}
	}
	if at < 0 {
		return "", nil
	}
	object, _ := many[at].(map[string]any)
	return text(object, "value")
}

func isText(value any) bool {
	found, ok := value.(string)
	return ok && found != ""
}

// normal is the resource with the names of the core attributes written as the schema has them, and without what is unassigned: null
// and empty lists (RFC 7643 §2.1, §2.5).
func normal(sent Resource) (Resource, error) {
	names := map[string]string{}
	for _, a := range append(userAttributes(), "id", "schemas", "meta", "groups", "password", "externalId", "members", EnterpriseSchema) {
		names[strings.ToLower(a)] = a
	}
	return cleaned(sent, names)
}

func cleaned(sent map[string]any, names map[string]string) (map[string]any, error) {
	made, seen := map[string]any{}, map[string]bool{}
	for name, value := range sent {
		if known, ok := names[strings.ToLower(name)]; ok {
			name = known
		}
		value, err := cleanedValue(value)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if seen[strings.ToLower(name)] {
			return nil, wrong("invalidSyntax", "an attribute is there twice, with letters of another case")
		}
		made[name], seen[strings.ToLower(name)] = value, true
	}
	return made, nil
}

func cleanedValue(value any) (any, error) {
	switch value := value.(type) {
	case map[string]any:
		object, err := cleaned(value, map[string]string{"value": "value", "type": "type", "primary": "primary"})
		if len(object) == 0 || err != nil {
			return nil, err
		}
		return object, nil
	case []any:
		var many []any
		for _, one := range value {
			one, err := cleanedValue(one)
			if err != nil {
				return nil, err
			}
			if one != nil {
				many = append(many, one)
			}
		}
		if len(many) == 0 {
			return nil, nil
		}
		return many, nil
	}
	return value, nil
}
