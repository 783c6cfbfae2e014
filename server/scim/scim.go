// Package scim is the wire of SCIM 2.0 (RFC 7643, RFC 7644), by which an organization's own directory keeps its people here: resources,
// filters, patches and schemas. It knows neither HTTP nor where anything is stored.
//
// It must never grow beyond its bounds on what is sent, or let a client set what is read-only.
package scim

import (
	"strings"
)

// The schemas of resources and messages.
const (
	UserSchema       = "urn:ietf:params:scim:schemas:core:2.0:User"
	GroupSchema      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	EnterpriseSchema = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	ErrorSchema      = "urn:ietf:params:scim:api:messages:2.0:Error"
	listSchema       = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	patchSchema      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	searchSchema     = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
)

// MediaType is that of all bodies (RFC 7644 §8.1).
const MediaType = "application/scim+json"

// Error is a request that cannot be answered, with the scimType of RFC 7644 §3.12.
type Error struct{ Type, Detail string }

func (e *Error) Error() string { return e.Detail }

func wrong(kind, detail string) error { return &Error{kind, detail} }

// Resource is one as it goes over the wire.
type Resource map[string]any

// get finds an attribute, whatever the case of its name (RFC 7643 §2.1).
func get(object map[string]any, name string) (any, bool) {
	if value, ok := object[name]; ok {
		return value, true
	}
	for key, value := range object {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return nil, false
}

// set gives an attribute a value under the name that it has, nil for none.
func set(object map[string]any, name string, value any) {
	for key := range object {
		if strings.EqualFold(key, name) {
			name = key
			break
		}
	}
	if value == nil {
		delete(object, name)
		return
	}
	object[name] = value
}

// path names an attribute: of the resource or of an extension, the whole or a part, of all values or of those that match.
type path struct {
	schema, name, sub string
	match             node
}

// values are those under the path.
func (p path) values(resource map[string]any) []any {
	if p.schema != "" {
		extension, _ := get(resource, p.schema)
		resource, _ = extension.(map[string]any)
	}
	value, ok := get(resource, p.name)
	if !ok {
		return nil
	}
	many, isMany := value.([]any)
	if !isMany {
		many = []any{value}
	}
	var found []any
	for _, one := range many {
		object, complex := one.(map[string]any)
		sub := p.sub
		switch {
		case p.match != nil && (!complex || !p.match.matches(object)):
			continue
		case !complex && sub == "":
			found = append(found, one)
			continue
		case !complex:
			continue
		case sub == "" && isMany:
			sub = "value"
		case sub == "":
			found = append(found, one)
			continue
		}
		if part, ok := get(object, sub); ok {
			found = append(found, part)
		}
	}
	return found
}
