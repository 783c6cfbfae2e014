package scim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Bounds of a patch, and of what a user is made of, so that comparing all with all costs little.
const (
	maxOperations     = 1000
	maxUserOperations = 100
	maxValues         = 100 // of an attribute
	maxNames          = 100 // of an object
)

// narrow refuses a value that is made of too much.
func narrow(value any) error {
	var parts []any
	switch value := value.(type) {
	case map[string]any:
		if len(value) > maxNames {
			return wrong("tooMany", fmt.Sprintf("an object has more than %d attributes", maxNames))
		}
		for _, part := range value {
			parts = append(parts, part)
		}
	case []any:
		if len(value) > maxValues {
			return wrong("tooMany", fmt.Sprintf("an attribute has more than %d values", maxValues))
		}
		parts = value
	}
	for _, part := range parts {
		if err := narrow(part); err != nil {
			return err
		}
	}
	return nil
}

// Operation is one of a patch (RFC 7644 §3.5.2).
type Operation struct {
	op    string // add, replace or remove
	path  *path  // nil for the resource itself
	value any
}

// ParsePatch reads the body of a PATCH. The names of operations may have capital letters, as Entra ID writes them.
func ParsePatch(body []byte) ([]Operation, error) {
	var request Resource
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, wrong("invalidSyntax", "the body is not a PatchOp")
	}
	if err := needSchema(request, patchSchema); err != nil {
		return nil, err
	}
	listed, _ := get(request, "Operations")
	sent, ok := listed.([]any)
	if !ok || len(sent) == 0 || len(sent) > maxOperations {
		return nil, wrong("invalidSyntax", fmt.Sprintf("Operations must be 1 to %d operations", maxOperations))
	}
	operations := make([]Operation, len(sent))
	for i, one := range sent {
		object, _ := one.(map[string]any)
		name, _ := get(object, "op")
		text, _ := name.(string)
		o := Operation{op: strings.ToLower(text)}
		if o.op != "add" && o.op != "replace" && o.op != "remove" {
			return nil, wrong("invalidSyntax", "op must be add, replace or remove")
		}
		value, hasValue := get(object, "value")
		o.value = value
		at, hasPath := get(object, "path")
		if where, isText := at.(string); hasPath && isText && where != "" {
			p, err := parsePath(where)
			if err != nil {
				return nil, err
			}
			o.path = &p
		} else if hasPath && at != nil && !isText {
			return nil, wrong("invalidPath", "path must be a text")
		}
		if o.op == "remove" && o.path == nil {
			return nil, wrong("noTarget", "remove needs a path")
		}
		if _, isObject := value.(map[string]any); o.path == nil && !isObject {
			return nil, wrong("invalidValue", "without a path, the value must be an object")
		}
		if o.op != "remove" && !hasValue {
			return nil, wrong("invalidValue", o.op+" needs a value")
		}
		operations[i] = o
	}
	return operations, nil
}

func parsePath(text string) (path, error) {
	p := &parser{text: text, forPath: true}
	if err := p.check(); err != nil {
		return path{}, err
	}
	// A path may be that of a whole extension.
	if strings.EqualFold(text, EnterpriseSchema) {
		return path{schema: EnterpriseSchema}, nil
	}
	found, err := p.attribute(0)
	switch {
	case err != nil:
		return found, err
	case p.peek() != "":
		return found, p.fail("ends too late")
	case found.schema != "" && found.schema != EnterpriseSchema:
		return found, p.fail("has a schema that there is not")
	}
	return found, nil
}

// readOnly says whether clients cannot set the attribute.
func readOnly(p path) bool {
	if p.schema != "" {
		return false
	}
	switch strings.ToLower(p.name) {
	case "id", "meta", "groups", "schemas":
		return true
	}
	return false
}

// Patch applies the operations to the resource. What a value without a path says of read-only attributes is passed over, as some
// clients send the whole resource.
func Patch(r Resource, operations []Operation) error {
	if len(operations) > maxUserOperations {
		return wrong("tooMany", fmt.Sprintf("a patch of a user has more than %d operations", maxUserOperations))
	}
	for _, o := range operations {
		if err := narrow(o.value); err != nil {
			return err
		}
		if o.path != nil {
			if readOnly(*o.path) {
				return wrong("mutability", "the attribute "+o.path.name+" is read-only")
			}
			if err := apply(r, o.op, *o.path, o.value); err != nil {
				return err
			}
			continue
		}
		if err := applyAll(r, o); err != nil {
			return err
		}
	}
	return nil
}

// applyAll applies an operation without a path: its value has attributes by their names or paths.
func applyAll(r Resource, o Operation) error {
	object, _ := o.value.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		parts, isObject := value.(map[string]any)
		schema := ""
		switch {
		case isObject && strings.EqualFold(name, UserSchema): // its attributes, as if they were there without it
		case isObject && strings.EqualFold(name, EnterpriseSchema):
			schema = EnterpriseSchema
		default:
			p, err := parsePath(name)
			if err != nil {
				return err
			}
			if err := applyWritable(r, o.op, p, value); err != nil {
				return err
			}
			continue
		}
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			if !isName(part) {
				return wrong("invalidPath", "an attribute of a schema has no proper name")
			}
			if err := applyWritable(r, o.op, path{schema: schema, name: part}, parts[part]); err != nil {
				return err
			}
		}
	}
	return nil
}

func applyWritable(r Resource, op string, p path, value any) error {
	if readOnly(p) {
		return nil
	}
	return apply(r, op, p, value)
}

func apply(r Resource, op string, p path, value any) error {
	holder := map[string]any(r)
	if p.schema != "" {
		extension, _ := get(r, p.schema)
		object, ok := extension.(map[string]any)
		if !ok {
			object = map[string]any{}
		}
		if p.name == "" {
			return applyExtension(r, op, p.schema, object, value)
		}
		holder = object
		defer func() {
			if len(object) == 0 {
				set(r, p.schema, nil)
				return
			}
			set(r, p.schema, object)
		}()
	}
	current, _ := get(holder, p.name)
	next, err := changed(op, p, current, value)
	if err != nil {
		return err
	}
	set(holder, p.name, next)
	return nil
}

func applyExtension(r Resource, op, schema string, object map[string]any, value any) error {
	given, ok := value.(map[string]any)
	switch {
	case op == "remove":
		set(r, schema, nil)
		return nil
	case !ok:
		return wrong("invalidValue", "the value of an extension must be an object")
	}
	for name, part := range given {
		set(object, name, part)
	}
	set(r, schema, object)
	return nil
}

// changed is what an attribute becomes, nil for none.
func changed(op string, p path, current, value any) (any, error) {
	many, isMany := current.([]any)
	switch {
	case p.match != nil:
		return changedValues(op, p, many, value)
	case p.sub != "" && isMany:
		for _, one := range many {
			if object, ok := one.(map[string]any); ok {
				changePart(op, object, p.sub, value)
			}
		}
		return many, nil
	case p.sub != "":
		object, ok := current.(map[string]any)
		if !ok {
			object = map[string]any{}
		}
		if changePart(op, object, p.sub, value); len(object) == 0 {
			return nil, nil
		}
		return object, nil
	case isMany && len(many)+len(listOf(value)) > maxValues:
		return nil, wrong("tooMany", fmt.Sprintf("%s would have more than %d values", p.name, maxValues))
	case op == "remove" && value != nil && isMany: // those values only, as Entra ID writes it
		return without(many, value), nil
	case op == "remove":
		return nil, nil
	case op == "add" && isMany:
		return joined(many, value), nil
	}
	if object, ok := current.(map[string]any); ok {
		if given, ok := value.(map[string]any); ok {
			for name, part := range given {
				set(object, name, part)
			}
			return object, nil
		}
	}
	return value, nil
}

func changePart(op string, object map[string]any, part string, value any) {
	if op == "remove" {
		value = nil
	}
	set(object, part, value)
}

// changedValues changes those of the values that match. When none does, one is made that would, if the path says how.
func changedValues(op string, p path, many []any, value any) (any, error) {
	var kept []any
	found := false
	for _, one := range many {
		object, ok := one.(map[string]any)
		if !ok || !p.match.matches(object) {
			kept = append(kept, one)
			continue
		}
		found = true
		switch given, isObject := value.(map[string]any); {
		case op == "remove" && p.sub == "":
			continue
		case p.sub != "":
			changePart(op, object, p.sub, value)
		case isObject:
			for name, part := range given {
				set(object, name, part)
			}
		default:
			return nil, wrong("invalidValue", "the value of "+p.name+" must be an object")
		}
		kept = append(kept, object)
	}
	if !found && op != "remove" {
		fresh, err := p.fresh(value)
		if err != nil {
			return nil, err
		}
		kept = append(kept, fresh)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return kept, nil
}

// fresh is a new value that the path would find: emails[type eq "work"].value makes one of that type.
func (p path) fresh(value any) (map[string]any, error) {
	wanted, ok := p.match.(test)
	if !ok || wanted.op != "eq" || wanted.path.sub != "" {
		return nil, wrong("noTarget", "no value of "+p.name+" matches")
	}
	made := map[string]any{}
	given, isObject := value.(map[string]any)
	switch {
	case p.sub != "":
		made[p.sub] = value
	case isObject:
		for name, part := range given {
			made[name] = part
		}
	default:
		return nil, wrong("invalidValue", "the value of "+p.name+" must be an object")
	}
	set(made, wanted.path.name, wanted.value)
	return made, nil
}

// listOf is a value as the list of its values.
func listOf(value any) []any {
	if many, ok := value.([]any); ok {
		return many
	}
	if value == nil {
		return nil
	}
	return []any{value}
}

// valueOf is what tells a value from the others of its attribute.
func valueOf(one any) any {
	if object, ok := one.(map[string]any); ok {
		value, _ := get(object, "value")
		return value
	}
	return one
}

func sameValue(one any) func(any) bool {
	value, isText := valueOf(one).(string)
	return func(other any) bool {
		text, ok := valueOf(other).(string)
		return isText && ok && text == value
	}
}

func without(many []any, value any) any {
	for _, gone := range listOf(value) {
		many = slices.DeleteFunc(slices.Clone(many), sameValue(gone))
	}
	if len(many) == 0 {
		return nil
	}
	return many
}

// joined are the values with more. There is one primary at most: the one that was set last (RFC 7644 §3.5.2.1).
func joined(many []any, value any) any {
	for _, one := range listOf(value) {
		if object, ok := one.(map[string]any); ok && isTrue(object["primary"]) {
			for _, other := range many {
				if former, ok := other.(map[string]any); ok {
					delete(former, "primary")
				}
			}
		}
		if at := slices.IndexFunc(many, sameValue(one)); at >= 0 {
			many[at] = one
			continue
		}
		many = append(many, one)
	}
	return many
}

func isTrue(value any) bool {
	switch value := value.(type) {
	case bool:
		return value
	case string:
		is, ok := truth(value)
		return ok && is
	}
	return false
}

// needSchema refuses a body of another kind.
func needSchema(r Resource, schema string) error {
	listed, _ := get(r, "schemas")
	schemas, _ := listed.([]any)
	if !slices.ContainsFunc(schemas, func(s any) bool { text, ok := s.(string); return ok && strings.EqualFold(text, schema) }) {
		return wrong("invalidSyntax", "schemas must have "+schema)
	}
	return nil
}
