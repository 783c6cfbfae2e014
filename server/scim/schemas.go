package scim

import (
	"slices"
	"strings"
)

// attribute describes one of a schema (RFC 7643 §7).
type attribute struct {
	name, kind string
	many       bool
	exact      bool
	required   bool
	readOnly   bool
	unique     bool
	parts      []attribute
}

func (a attribute) resource() map[string]any {
	r := map[string]any{"name": a.name, "type": a.kind, "multiValued": a.many, "required": a.required, "caseExact": a.exact,
		"mutability": "readWrite", "returned": "default", "uniqueness": "none"}
	if a.readOnly {
		r["mutability"] = "readOnly"
	}
	if a.unique {
		r["uniqueness"] = "server"
	}
	if len(a.parts) > 0 {
		r["subAttributes"] = resources(a.parts)
	}
	return r
}

func resources(attributes []attribute) []any {
	many := make([]any, len(attributes))
	for i, a := range attributes {
		many[i] = a.resource()
	}
	return many
}

// texts are attributes that are texts without more to them.
func texts(names ...string) []attribute {
	made := make([]attribute, len(names))
	for i, name := range names {
		made[i] = attribute{name: name, kind: "string"}
	}
	return made
}

// valued is an attribute of several values, which have a type and of which one is primary.
func valued(name string, more ...string) attribute {
	parts := append(texts(append([]string{"value", "display", "type"}, more...)...), attribute{name: "primary", kind: "boolean"})
	return attribute{name: name, kind: "complex", many: true, parts: parts}
}

func user() []attribute {
	all := []attribute{
		{name: "userName", kind: "string", required: true, unique: true},
		{name: "name", kind: "complex", parts: texts("formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix")},
	}
	all = append(all, texts("displayName", "nickName", "profileUrl", "title", "userType", "preferredLanguage", "locale", "timezone")...)
	return append(all, attribute{name: "active", kind: "boolean"},
		valued("emails"), valued("phoneNumbers"), valued("ims"), valued("photos"),
		valued("addresses", "formatted", "streetAddress", "locality", "region", "postalCode", "country"),
		attribute{name: "groups", kind: "complex", many: true, readOnly: true, parts: []attribute{
			{name: "value", kind: "string", exact: true, readOnly: true}, {name: "display", kind: "string", readOnly: true},
			{name: "type", kind: "string", readOnly: true}}},
		valued("entitlements"), valued("roles"), valued("x509Certificates"))
}

func userAttributes() []string {
	var names []string
	for _, a := range user() {
		names = append(names, a.name)
	}
	return names
}

// kept is what the attributes describe of an object, under their names as they have them. Nothing else is stored: it may be secret.
func kept(object map[string]any, attributes []attribute) map[string]any {
	made := map[string]any{}
	for _, a := range attributes {
		if value, ok := get(object, a.name); ok {
			set(made, a.name, a.kept(value))
		}
	}
	return made
}

// kept is the value as the attribute has it, nil when nothing is left.
func (a attribute) kept(value any) any {
	if !a.many {
		return a.keptOne(value)
	}
	var many []any
	for _, one := range listOf(value) {
		if one = a.keptOne(one); one != nil {
			many = append(many, one)
		}
	}
	if len(many) == 0 {
		return nil
	}
	return many
}

func (a attribute) keptOne(value any) any {
	if text, isText := value.(string); isText && a.kind == "complex" { // as Entra ID writes a manager
		value = map[string]any{"value": text}
	}
	switch value := value.(type) {
	case map[string]any:
		if object := kept(value, a.parts); len(object) > 0 {
			return object
		}
	case string:
		if a.kind != "boolean" {
			return value
		}
		if is, ok := truth(value); ok {
			return is
		}
	case bool:
		if a.kind == "boolean" {
			return value
		}
	}
	return nil
}

func group() []attribute {
	return []attribute{
		{name: "displayName", kind: "string", required: true, exact: true, unique: true},
		{name: "members", kind: "complex", many: true, parts: []attribute{
			{name: "value", kind: "string", exact: true, required: true}, {name: "$ref", kind: "reference", readOnly: true}, {name: "type", kind: "string"}}},
	}
}

func enterprise() []attribute {
	return append(texts("employeeNumber", "costCenter", "organization", "division", "department"),
		attribute{name: "manager", kind: "complex", parts: texts("value", "$ref", "displayName")})
}

const (
	schemaSchema = "urn:ietf:params:scim:schemas:core:2.0:Schema"
	typeSchema   = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	configSchema = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
)

// Schemas are what resources are made of.
func Schemas(base string) []Resource {
	describe := func(id, name, about string, attributes []attribute) Resource {
		return Resource{"schemas": []any{schemaSchema}, "id": id, "name": name, "description": about, "attributes": resources(attributes),
			"meta": map[string]any{"resourceType": "Schema", "location": base + "/Schemas/" + id}}
	}
	return []Resource{
		describe(UserSchema, "User", "A member of the organization.", user()),
		describe(GroupSchema, "Group", "A role that members of the organization hold.", group()),
		describe(EnterpriseSchema, "EnterpriseUser", "What an employer knows of a user.", enterprise()),
	}
}

// ResourceTypes are the kinds of resources.
func ResourceTypes(base string) []Resource {
	describe := func(name, schema, about string) Resource {
		return Resource{"schemas": []any{typeSchema}, "id": name, "name": name, "endpoint": "/" + name + "s", "schema": schema, "description": about,
			"meta": map[string]any{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + name}}
	}
	users := describe("User", UserSchema, "A member of the organization.")
	users["schemaExtensions"] = []any{map[string]any{"schema": EnterpriseSchema, "required": false}}
	return []Resource{users, describe("Group", GroupSchema, "A role that members of the organization hold.")}
}

// ServiceProviderConfig says what is supported (RFC 7643 §5).
func ServiceProviderConfig(base string) Resource {
	supported := func(is bool) map[string]any { return map[string]any{"supported": is} }
	return Resource{"schemas": []any{configSchema}, "patch": supported(true), "changePassword": supported(false), "sort": supported(false),
		"etag": supported(true), "filter": map[string]any{"supported": true, "maxResults": maxCount},
		"bulk": map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"authenticationSchemes": []any{map[string]any{"type": "oauthbearertoken", "name": "API key",
			"description": "An API key of the organization with the scope scim, as a bearer token.", "specUri": "https://www.rfc-editor.org/info/rfc6750", "primary": true}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": base + "/ServiceProviderConfig"}}
}

// Find is the resource with that id, nil for none.
func Find(resources []Resource, id string) Resource {
	at := slices.IndexFunc(resources, func(r Resource) bool { have, _ := r["id"].(string); return strings.EqualFold(have, id) })
	if at < 0 {
		return nil
	}
	return resources[at]
}
