package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/swaggest/jsonschema-go"

	"mandate/datastore"
	"mandate/directory"
)

// schema is a JSON Schema (draft 2020-12).
type schema = map[string]any

const componentSchemas = "#/components/schemas/"

// named is a schema that is to be a component.
type named struct {
	name string
	schema
}

// schemas are those of a document. The first error is kept.
type schemas struct {
	reflector jsonschema.Reflector
	named     map[string]schema
	prefix    string // of the names of components that are made of types
	err       error
}

func newSchemas() *schemas { return &schemas{named: map[string]schema{}} }

// of is the schema of a value of a content.
func (s *schemas) of(value any) schema {
	switch v := value.(type) {
	case string:
		return schema{"$ref": componentSchemas + v}
	case named:
		s.named[v.name] = v.schema
		return schema{"$ref": componentSchemas + v.name}
	case schema:
		return v
	case schemaOf:
		return v.schemaBy(s)
	case nil:
		return schema{}
	}
	return s.reflect(value)
}

// reflect is the closed schema of what values of the type are encoded as.
func (s *schemas) reflect(value any) schema {
	t := reflect.TypeOf(value)
	made, err := s.reflector.Reflect(value, jsonschema.DefinitionsPrefix(componentSchemas),
		jsonschema.ProcessWithoutTags, jsonschema.InterceptDefName(func(t reflect.Type, _ string) string { return s.prefix + upperFirst(t.Name()) }),
		jsonschema.CollectDefinitions(func(name string, made jsonschema.Schema) { s.keep(name, made) }),
		jsonschema.InterceptNullability(interceptNull),
		jsonschema.InterceptSchema(interceptSchema),
		jsonschema.InterceptProp(func(p jsonschema.InterceptPropParams) error { return interceptMember(t, p) }))
	if err != nil {
		s.fail(fmt.Errorf("the schema of %v: %w", t, err))
	}
	return s.plain(made)
}

func (s *schemas) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *schemas) keep(name string, made jsonschema.Schema) {
	if _, known := s.named[name]; !known {
		s.named[name] = s.plain(made)
	}
}

func (s *schemas) plain(made jsonschema.Schema) schema {
	text, err := json.Marshal(made)
	if err != nil {
		s.fail(fmt.Errorf("encode a schema: %w", err))
	}
	plain := schema{}
	if err := json.Unmarshal(text, &plain); err != nil {
		s.fail(fmt.Errorf("read a schema: %w", err))
	}
	return plain
}

// interceptSchema closes objects, and knows the types that are not encoded as what they are made of.
func interceptSchema(p jsonschema.InterceptSchemaParams) (stop bool, err error) {
	t := p.Value.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[jsontext.Value](), reflect.TypeFor[json.RawMessage]():
		*p.Schema = jsonschema.Schema{}
		return true, nil
	case reflect.TypeFor[directory.Secret]():
		*p.Schema = jsonschema.Schema{}
		p.Schema.AddType(jsonschema.String)
		return true, nil
	case reflect.TypeFor[datastore.Revision]():
		*p.Schema = jsonschema.Schema{}
		p.Schema.AddType(jsonschema.Integer)
		return true, nil
	}
	if p.Processed && t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() {
		p.Schema.WithAdditionalProperties(*(&jsonschema.SchemaOrBool{}).WithTypeBoolean(false))
	}
	return false, nil
}

// interceptNull leaves null to pointers: lists and maps are encoded as empty.
func interceptNull(p jsonschema.InterceptNullabilityParams) {
	if p.Type.Kind() != reflect.Pointer || p.OmitEmpty {
		p.Schema.RemoveType(jsonschema.Null)
	}
}

// interceptMember requires a member that is always encoded, and describes it.
func interceptMember(of reflect.Type, p jsonschema.InterceptPropParams) error {
	if !p.Processed {
		return nil
	}
	_, options, _ := strings.Cut(p.Field.Tag.Get("json"), ",")
	if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
		if !slices.Contains(p.ParentSchema.Required, p.Name) {
			p.ParentSchema.Required = append(p.ParentSchema.Required, p.Name)
		}
		if p.Field.Type.Kind() == reflect.Pointer && p.PropertySchema.Ref != nil {
			p.PropertySchema.AnyOf = []jsonschema.SchemaOrBool{(&jsonschema.Schema{Ref: p.PropertySchema.Ref}).ToSchemaOrBool(), jsonschema.Null.ToSchemaOrBool()}
			p.PropertySchema.Ref = nil
		}
	}
	if words := memberWords(p.Name); words != "" {
		p.PropertySchema.WithDescription(words)
	}
	if values := memberValues(of.Name(), p.Name); values != nil {
		p.PropertySchema.WithEnum(values...)
	}
	return nil
}

// members is a closed object. Each member is written as its name, then ! if it is required, then its type: nothing for a string, *
// for a list of strings, or a colon and the name of the type.
func members(list ...string) schema {
	properties, required := schema{}, []string{}
	for _, text := range list {
		text, kind, typed := strings.Cut(text, ":")
		text, many := strings.CutSuffix(text, "*")
		name, must := strings.CutSuffix(text, "!")
		member := schema{"type": "string"}
		switch {
		case typed && kind == "any":
			member = schema{}
		case typed:
			member = schema{"type": kind}
		case many:
			member = schema{"type": "array", "items": schema{"type": "string"}}
		}
		if words := memberWords(name); words != "" {
			member["description"] = words
		}
		properties[name] = member
		if must {
			required = append(required, name)
		}
	}
	made := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		made["required"] = required
	}
	return made
}

// openMembers is members of which others are ignored.
func openMembers(list ...string) schema {
	made := members(list...)
	delete(made, "additionalProperties")
	return made
}

// with is the object with further members.
func with(object, more schema) schema {
	made, properties := maps.Clone(object), schema{}
	for _, s := range []schema{object, more} {
		if own, ok := s["properties"].(schema); ok {
			maps.Copy(properties, own)
		}
	}
	made["properties"] = properties
	required := slices.Concat(requiredOf(object), requiredOf(more))
	slices.Sort(required)
	if required = slices.Compact(required); len(required) > 0 {
		made["required"] = required
	}
	return made
}

func requiredOf(object schema) []string {
	switch required := object["required"].(type) {
	case []string:
		return required
	case []any:
		names := make([]string, len(required))
		for i, name := range required {
			names[i], _ = name.(string)
		}
		return names
	}
	return nil
}

// requiring is the object with only these members required.
func requiring(object schema, names ...string) schema {
	made := maps.Clone(object)
	delete(made, "required")
	if len(names) > 0 {
		made["required"] = names
	}
	return made
}

// mergePatchOf is a JSON Merge Patch of the object (RFC 7396): any member may be left out, and null removes it.
func mergePatchOf(object schema) schema {
	patch, properties := requiring(object), schema{}
	own, _ := object["properties"].(schema)
	for name, member := range own {
		s, _ := member.(schema)
		properties[name] = nullable(s)
	}
	patch["properties"] = properties
	return patch
}

func nullable(s schema) schema {
	if _, typed := s["type"]; !typed && s["$ref"] == nil {
		return s // anything
	}
	made := schema{"anyOf": []any{s, schema{"type": "null"}}}
	if words, ok := s["description"]; ok {
		bare := maps.Clone(s)
		delete(bare, "description")
		made = schema{"anyOf": []any{bare, schema{"type": "null"}}, "description": words}
	}
	return made
}

func listOf(items any) schema { return schema{"type": "array", "items": items} }

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return string(unicode.ToUpper(rune(s[0]))) + s[1:]
}

// camel joins words: "organization role" is OrganizationRole.
func camel(words string) string {
	var joined strings.Builder
	for word := range strings.FieldsSeq(words) {
		joined.WriteString(upperFirst(word))
	}
	return joined.String()
}
