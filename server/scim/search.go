package scim

import (
	"strings"

	"github.com/go-json-experiment/json"
)

// Search is a request for some of the resources (RFC 7644 §3.4.2, §3.4.3).
type Search struct {
	Filter     *Filter
	StartIndex int
	Count      int
	Shown      Projection
}

// The bounds of a page.
const (
	defaultCount = 100
	maxCount     = 500
)

// NewSearch makes one of its parameters; start and count are nil for the default.
func NewSearch(filter string, start, count *int, attributes, excluded []string) (Search, error) {
	s := Search{StartIndex: 1, Count: defaultCount}
	var err error
	if s.Filter, err = ParseFilter(filter); err != nil {
		return s, err
	}
	if start != nil {
		s.StartIndex = max(1, *start)
	}
	if count != nil {
		s.Count = min(max(0, *count), maxCount)
	}
	s.Shown, err = NewProjection(attributes, excluded)
	return s, err
}

// ParseSearch reads the body of a request to .search.
func ParseSearch(body []byte) (Search, error) {
	var sent Resource
	if err := json.Unmarshal(body, &sent); err != nil {
		return Search{}, wrong("invalidSyntax", "the body is not a SearchRequest")
	}
	if err := needSchema(sent, searchSchema); err != nil {
		return Search{}, err
	}
	var request struct {
		Filter     string   `json:"filter"`
		StartIndex *int     `json:"startIndex"`
		Count      *int     `json:"count"`
		Attributes []string `json:"attributes"`
		Excluded   []string `json:"excludedAttributes"`
	}
	if err := json.Unmarshal(body, &request, json.MatchCaseInsensitiveNames(true)); err != nil {
		return Search{}, wrong("invalidSyntax", "a member of the SearchRequest has the wrong type")
	}
	return NewSearch(request.Filter, request.StartIndex, request.Count, request.Attributes, request.Excluded)
}

// List is the answer to a search, of which the resources are one page.
func (s Search) List(total int, resources []Resource) Resource {
	many := make([]any, len(resources))
	for i, r := range resources {
		many[i] = s.Shown.Of(r)
	}
	return Resource{"schemas": []any{listSchema}, "totalResults": total, "startIndex": s.StartIndex, "itemsPerPage": len(many), "Resources": many}
}

// Projection says which attributes are shown (RFC 7644 §3.9).
type Projection struct{ only, without []path }

// maxShown bounds how many attributes can be named.
const maxShown = 100

// NewProjection makes one of the attributes to show, or not to show.
func NewProjection(attributes, excluded []string) (Projection, error) {
	var p Projection
	if len(attributes)+len(excluded) > maxShown {
		return p, wrong("invalidValue", "too many attributes are named")
	}
	for i, names := range [][]string{attributes, excluded} {
		for _, name := range names {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			named, ok := pathOf(name)
			if strings.EqualFold(name, EnterpriseSchema) {
				named, ok = path{name: EnterpriseSchema}, true
			}
			if !ok {
				return p, wrong("invalidValue", "attributes and excludedAttributes must be names of attributes")
			}
			if i == 0 {
				p.only = append(p.only, named)
			} else {
				p.without = append(p.without, named)
			}
		}
	}
	return p, nil
}

// Hides says whether an attribute is not shown.
func (p Projection) Hides(name string) bool {
	in := func(paths []path) bool {
		for _, one := range paths {
			if one.schema == "" && strings.EqualFold(one.name, name) {
				return true
			}
		}
		return false
	}
	return len(p.only) > 0 && !in(p.only) || in(p.without)
}

// Of is the resource with what is shown of it. Its schemas and its id always are.
func (p Projection) Of(r Resource) Resource {
	shown := r
	if len(p.only) > 0 {
		shown = Resource{"schemas": r["schemas"], "id": r["id"]}
		for _, one := range p.only {
			one.copy(r, shown)
		}
		if r["id"] == nil {
			delete(shown, "id")
		}
	}
	for _, one := range p.without {
		if one.schema == "" && (strings.EqualFold(one.name, "id") || strings.EqualFold(one.name, "schemas")) {
			continue
		}
		one.drop(shown)
	}
	return shown
}

// copy gives the attribute that the path names to another resource, if there is one.
func (p path) copy(from, to map[string]any) {
	if p.schema != "" {
		extension, _ := get(from, p.schema)
		object, ok := extension.(map[string]any)
		if !ok {
			return
		}
		part, _ := get(to, p.schema)
		shown, ok := part.(map[string]any)
		if !ok {
			shown = map[string]any{}
		}
		path{name: p.name, sub: p.sub}.copy(object, shown)
		set(to, p.schema, shown)
		return
	}
	value, ok := get(from, p.name)
	if !ok {
		return
	}
	if p.sub == "" {
		set(to, properName(from, p.name), value)
		return
	}
	already, _ := get(to, p.name)
	switch value := value.(type) {
	case map[string]any:
		shown, ok := already.(map[string]any)
		if !ok {
			shown = map[string]any{}
		}
		path{name: p.sub}.copy(value, shown)
		set(to, properName(from, p.name), shown)
	case []any:
		shown, ok := already.([]any)
		if !ok {
			shown = make([]any, len(value))
		}
		for i, one := range value {
			if shown[i] == nil {
				shown[i] = map[string]any{}
			}
			object, isObject := one.(map[string]any)
			if target, ok := shown[i].(map[string]any); ok && isObject {
				path{name: p.sub}.copy(object, target)
			}
		}
		set(to, properName(from, p.name), shown)
	}
}

// properName is the name as the object has it.
func properName(object map[string]any, name string) string {
	for key := range object {
		if strings.EqualFold(key, name) {
			return key
		}
	}
	return name
}

func (p path) drop(from map[string]any) {
	if p.schema != "" {
		extension, _ := get(from, p.schema)
		if object, ok := extension.(map[string]any); ok {
			path{name: p.name, sub: p.sub}.drop(object)
		}
		return
	}
	if p.sub == "" {
		set(from, p.name, nil)
		return
	}
	value, _ := get(from, p.name)
	for _, one := range listOf(value) {
		if object, ok := one.(map[string]any); ok {
			set(object, p.sub, nil)
		}
	}
}
