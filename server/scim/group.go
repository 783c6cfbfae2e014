package scim

import (
	"net/url"
	"strings"

	"mandate/datastore"
	"mandate/manage"
)

// segment is an id as a segment of a URL.
func segment(id string) string { return url.PathEscape(id) }

// GroupOf is a group as a SCIM Group (RFC 7643 §4.2).
func GroupOf(g *manage.Group, base string, revision datastore.Revision) Resource {
	location := base + "/Groups/" + segment(g.ID)
	r := Resource{"schemas": []any{GroupSchema}, "id": g.ID, "displayName": g.Name(),
		"meta": metaOf("Group", location, revision, g.Provisioned.CreatedAt, g.Provisioned.ModifiedAt)}
	if g.Provisioned.ExternalID != "" {
		r["externalId"] = g.Provisioned.ExternalID
	}
	if len(g.Members) > 0 {
		many := make([]any, len(g.Members))
		for i, user := range g.Members {
			many[i] = map[string]any{"value": user, "type": "User", "$ref": base + "/Users/" + segment(user)}
		}
		r["members"] = many
	}
	return r
}

// ParseGroup reads a resource that was sent, as all that there is to be of the group.
func ParseGroup(body []byte) (manage.GroupData, error) {
	var d manage.GroupData
	sent, err := parse(body, GroupSchema)
	if err != nil {
		return d, err
	}
	r, err := normal(sent)
	if err != nil {
		return d, err
	}
	if d.Name, err = text(r, "displayName"); err != nil {
		return d, err
	}
	if d.Name == "" {
		return d, wrong("invalidValue", "displayName is missing")
	}
	external, err := text(r, "externalId")
	if err != nil {
		return d, err
	}
	d.ExternalID, d.Only, d.Members = &external, true, map[string]bool{}
	return d, setMembers(d.Members, r["members"], true)
}

// setMembers notes of the users in a value whether they are to be members.
func setMembers(members map[string]bool, value any, in bool) error {
	for _, one := range listOf(value) {
		id, ok := valueOf(one).(string)
		if !ok || id == "" {
			return wrong("invalidValue", "each of the members must have a value: the id of a user")
		}
		if object, isObject := one.(map[string]any); isObject {
			if kind, _ := object["type"].(string); kind != "" && !strings.EqualFold(kind, "User") {
				return wrong("invalidValue", "only users can be members of a group")
			}
		}
		members[id] = in
	}
	return nil
}

// GroupPatch is what the operations make of any group. Its members need not be known, however many they are.
func GroupPatch(operations []Operation) (manage.GroupData, error) {
	d := manage.GroupData{Members: map[string]bool{}}
	for _, o := range operations {
		if o.path != nil {
			if err := patchGroup(&d, o.op, *o.path, o.value); err != nil {
				return d, err
			}
			continue
		}
		object, _ := o.value.(map[string]any)
		for name, value := range object {
			p, err := parsePath(name)
			if err != nil {
				return d, err
			}
			if readOnly(p) {
				continue
			}
			if err := patchGroup(&d, o.op, p, value); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

func patchGroup(d *manage.GroupData, op string, p path, value any) error {
	switch {
	case readOnly(p):
		return wrong("mutability", "the attribute "+p.name+" is read-only")
	case p.schema != "" || p.sub != "":
		return wrong("invalidPath", "a group has no such attribute")
	}
	switch strings.ToLower(p.name) {
	case "displayname":
		name, ok := value.(string)
		if op == "remove" || !ok || name == "" || strings.TrimSpace(name) != name {
			return wrong("invalidValue", "displayName must be a text without space around it")
		}
		d.Name = name
	case "externalid":
		id, ok := value.(string)
		if !ok && op != "remove" {
			return wrong("invalidValue", "externalId must be a text")
		}
		d.ExternalID = &id
	case "members":
		return patchMembers(d, op, p, value)
	default:
		return wrong("invalidPath", "a group has no attribute "+p.name)
	}
	return nil
}

func patchMembers(d *manage.GroupData, op string, p path, value any) error {
	if p.match != nil {
		_, id, ok := equals(p.match, []string{"value"})
		if _, alone := p.match.(test); !ok || !alone || op != "remove" {
			return wrong("invalidPath", `members can be removed by members[value eq "…"], one at a time`)
		}
		d.Members[id] = false
		return nil
	}
	switch {
	case op == "add":
		return setMembers(d.Members, value, true)
	case op == "remove" && value != nil:
		return setMembers(d.Members, value, false)
	}
	d.Only = true
	clear(d.Members)
	if op == "remove" {
		return nil
	}
	return setMembers(d.Members, value, true)
}
