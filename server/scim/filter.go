package scim

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// Bounds of a filter.
const (
	maxFilterBytes = 4096
	maxFilterDepth = 16
	maxComparisons = 8
)

// Filter is a parsed filter (RFC 7644 §3.4.2.2).
type Filter struct{ root node }

// node is a part of a filter.
type node interface {
	matches(object map[string]any) bool
}

type (
	both   struct{ left, right node }
	either struct{ left, right node }
	not    struct{ of node }
	has    struct{ path path } // a value path: one of the values matches
	test   struct {
		path   path
		op     string
		value  any    // string, float64, bool or nil
		folded string // a text as it is compared
	}
)

func (n both) matches(o map[string]any) bool   { return n.left.matches(o) && n.right.matches(o) }
func (n either) matches(o map[string]any) bool { return n.left.matches(o) || n.right.matches(o) }
func (n not) matches(o map[string]any) bool    { return !n.of.matches(o) }

func (n has) matches(o map[string]any) bool {
	value, _ := get(o, n.path.name)
	if n.path.schema != "" {
		extension, _ := get(o, n.path.schema)
		object, _ := extension.(map[string]any)
		value, _ = get(object, n.path.name)
	}
	many, ok := value.([]any)
	if !ok {
		many = []any{value}
	}
	for _, one := range many {
		if object, ok := one.(map[string]any); ok && n.path.match.matches(object) {
			return true
		}
	}
	return false
}

func (n test) matches(o map[string]any) bool {
	values := n.path.values(o)
	if n.op == "pr" {
		for _, v := range values {
			if v != "" && v != nil {
				return true
			}
		}
		return false
	}
	if n.value == nil {
		return (len(values) == 0) == (n.op == "eq")
	}
	for _, v := range values {
		if n.op == "ne" && n.compare(v, "eq") {
			return false
		}
		if n.op != "ne" && n.compare(v, n.op) {
			return true
		}
	}
	return n.op == "ne"
}

func (n test) compare(have any, op string) bool {
	switch have := have.(type) {
	case string:
		_, ok := n.value.(string)
		return ok && n.compareText(have, op)
	case bool:
		want, ok := n.value.(bool)
		if text, isText := n.value.(string); isText { // as Entra ID writes it
			want, ok = truth(text)
		}
		return ok && op == "eq" && have == want
	case float64:
		want, ok := n.value.(float64)
		return ok && ordered(cmp.Compare(have, want), op)
	}
	return false
}

func (n test) compareText(have, op string) bool {
	want := n.folded
	if n.path.isTime() {
		haveTime, err := time.Parse(time.RFC3339, have)
		wantTime, wrong := time.Parse(time.RFC3339, want)
		return err == nil && wrong == nil && ordered(haveTime.Compare(wantTime), op)
	}
	if !n.path.caseExact() {
		have = strings.ToLower(have)
	}
	switch op {
	case "co":
		return strings.Contains(have, want)
	case "sw":
		return strings.HasPrefix(have, want)
	case "ew":
		return strings.HasSuffix(have, want)
	}
	return ordered(strings.Compare(have, want), op)
}

func ordered(c int, op string) bool {
	switch op {
	case "eq":
		return c == 0
	case "gt":
		return c > 0
	case "ge":
		return c >= 0
	case "lt":
		return c < 0
	case "le":
		return c <= 0
	}
	return false
}

// truth reads a boolean that was sent as a text.
func truth(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

func (p path) isTime() bool {
	return strings.EqualFold(p.name, "meta") && (strings.EqualFold(p.sub, "created") || strings.EqualFold(p.sub, "lastModified"))
}

// caseExact says whether the attribute is compared letter by letter: what names somebody is.
func (p path) caseExact() bool {
	switch strings.ToLower(p.name) {
	case "id", "externalid":
		return p.sub == ""
	case "members", "groups":
		return strings.EqualFold(p.sub, "value") || p.sub == ""
	}
	return false
}

// Matches says whether the filter finds the resource. Without a filter, all are found.
func (f *Filter) Matches(r Resource) bool { return f == nil || f.root.matches(r) }

// Equals is a value that all which the filter finds have in one of the attributes, such as "emails.value"; ok is false when
// there is none.
func (f *Filter) Equals(attributes ...string) (attribute, value string, ok bool) {
	if f == nil {
		return "", "", false
	}
	return equals(f.root, attributes)
}

func equals(n node, attributes []string) (string, string, bool) {
	switch n := n.(type) {
	case both:
		if a, v, ok := equals(n.left, attributes); ok {
			return a, v, true
		}
		return equals(n.right, attributes)
	case has:
		a, v, ok := equals(n.path.match, []string{"value"})
		if !ok {
			return "", "", false
		}
		return among(n.path.name+"."+a, v, attributes)
	case test:
		value, isText := n.value.(string)
		if n.op != "eq" || !isText || n.path.schema != "" {
			return "", "", false
		}
		name := n.path.name
		if n.path.sub != "" {
			name += "." + n.path.sub
		}
		return among(name, value, attributes)
	}
	return "", "", false
}

func among(name, value string, attributes []string) (string, string, bool) {
	for _, a := range attributes {
		if strings.EqualFold(a, name) || strings.EqualFold(a, name+".value") {
			return a, value, true
		}
	}
	return "", "", false
}

// ParseFilter reads a filter; nil for an empty text.
func ParseFilter(text string) (*Filter, error) {
	if text == "" {
		return nil, nil
	}
	p := &parser{text: text}
	if err := p.check(); err != nil {
		return nil, err
	}
	root, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = p.fail("ends too late")
	}
	if err != nil {
		return nil, err
	}
	return &Filter{root}, nil
}

// parser reads a filter or the path of a patch from left to right.
type parser struct {
	text        string
	at          int
	comparisons int
	forPath     bool
}

func (p *parser) check() error {
	if len(p.text) > maxFilterBytes || !utf8.ValidString(p.text) {
		return p.fail(fmt.Sprintf("has more than %d bytes or is not UTF-8", maxFilterBytes))
	}
	return nil
}

func (p *parser) fail(problem string) error {
	if p.forPath {
		return wrong("invalidPath", fmt.Sprintf("the path %s, at byte %d", problem, p.at))
	}
	return wrong("invalidFilter", fmt.Sprintf("the filter %s, at byte %d", problem, p.at))
}

// peek is the next token without being taken, empty at the end.
func (p *parser) peek() string {
	at := p.at
	token := p.next()
	p.at = at
	return token
}

// next takes a token: a bracket, a JSON string or a word.
func (p *parser) next() string {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	start := p.at
	if start == len(p.text) {
		return ""
	}
	switch p.text[start] {
	case '(', ')', '[', ']':
		p.at++
		return p.text[start:p.at]
	case '"':
		for p.at++; p.at < len(p.text); p.at++ {
			switch p.text[p.at] {
			case '\\':
				p.at++
			case '"':
				p.at++
				return p.text[start:p.at]
			}
		}
		p.at = len(p.text)
		return p.text[start:]
	}
	for p.at < len(p.text) && !strings.ContainsRune(` ()[]"`, rune(p.text[p.at])) {
		p.at++
	}
	return p.text[start:p.at]
}

// word takes the next token when it is that word.
func (p *parser) word(w string) bool {
	if !strings.EqualFold(p.peek(), w) {
		return false
	}
	p.next()
	return true
}

// joined reads parts with that word between them.
func (p *parser) joined(depth int, word string, part func(int) (node, error), join func(left, right node) node) (node, error) {
	if depth > maxFilterDepth {
		return nil, p.fail("is nested too deep")
	}
	left, err := part(depth)
	for err == nil && p.word(word) {
		var right node
		if right, err = part(depth); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

func (p *parser) or(depth int) (node, error) {
	return p.joined(depth, "or", p.and, func(l, r node) node { return either{l, r} })
}

func (p *parser) and(depth int) (node, error) {
	return p.joined(depth, "and", p.one, func(l, r node) node { return both{l, r} })
}

func (p *parser) one(depth int) (node, error) {
	if p.word("not") {
		if p.peek() != "(" {
			return nil, p.fail("needs a ( after not")
		}
		of, err := p.group(depth, "(", ")")
		return not{of}, err
	}
	if p.peek() == "(" {
		return p.group(depth, "(", ")")
	}
	return p.comparison(depth)
}

// group reads what is between brackets.
func (p *parser) group(depth int, opening, closing string) (node, error) {
	if p.next() != opening {
		return nil, p.fail("needs a " + opening)
	}
	n, err := p.or(depth + 1)
	if err == nil && p.next() != closing {
		err = p.fail("needs a " + closing)
	}
	return n, err
}

func (p *parser) comparison(depth int) (node, error) {
	if p.comparisons++; p.comparisons > maxComparisons {
		return nil, p.fail(fmt.Sprintf("has more than %d comparisons", maxComparisons))
	}
	attribute, err := p.attribute(depth)
	if err != nil {
		return nil, err
	}
	if next := p.peek(); attribute.match != nil && attribute.sub == "" && !isOperator(next) {
		return has{attribute}, nil
	}
	op := strings.ToLower(p.next())
	switch {
	case !isOperator(op):
		return nil, p.fail("needs an operator, such as eq")
	case op == "pr":
		return test{path: attribute, op: op}, nil
	}
	var value any
	if err := json.Unmarshal([]byte(p.next()), &value); err != nil {
		return nil, p.fail("needs a JSON value: a text is in double quotes")
	}
	compared := test{path: attribute, op: op, value: value}
	switch value := value.(type) {
	case string:
		if compared.folded = value; !attribute.caseExact() && !attribute.isTime() {
			compared.folded = strings.ToLower(value)
		}
		return compared, nil
	case float64:
		return compared, nil
	case bool, nil:
		if op == "eq" || op == "ne" {
			return compared, nil
		}
	}
	return nil, p.fail("compares a value in a way that it does not have")
}

func isOperator(word string) bool {
	switch strings.ToLower(word) {
	case "eq", "ne", "co", "sw", "ew", "pr", "gt", "ge", "lt", "le":
		return true
	}
	return false
}

// attribute reads a path, which may have a filter of its values and a part of them: emails[type eq "work"].value.
func (p *parser) attribute(depth int) (path, error) {
	name := p.next()
	attribute, ok := pathOf(name)
	if !ok {
		return attribute, p.fail("needs the name of an attribute")
	}
	if p.at >= len(p.text) || p.text[p.at] != '[' {
		return attribute, nil
	}
	var err error
	if attribute.match, err = p.group(depth+1, "[", "]"); err != nil {
		return attribute, err
	}
	if p.at < len(p.text) && p.text[p.at] == '.' {
		sub := strings.TrimPrefix(p.next(), ".")
		if !isName(sub) || attribute.sub != "" {
			return attribute, p.fail("needs the name of a part after the dot")
		}
		attribute.sub = sub
	}
	return attribute, nil
}

// pathOf is the path that a text names: name, name.sub, or either after a schema and a colon.
func pathOf(text string) (path, bool) {
	var p path
	if len(text) > 4 && strings.EqualFold(text[:4], "urn:") {
		schema, name := cutSchema(text)
		switch {
		case strings.EqualFold(schema, UserSchema), strings.EqualFold(schema, GroupSchema):
		case strings.EqualFold(schema, EnterpriseSchema):
			p.schema = EnterpriseSchema
		default:
			p.schema = schema
		}
		text = name
	}
	var dotted bool
	p.name, p.sub, dotted = strings.Cut(text, ".")
	return p, isName(p.name) && (!dotted || isName(p.sub))
}

// cutSchema divides a path at the end of its schema, which may have colons and dots in it.
func cutSchema(text string) (schema, name string) {
	for _, known := range []string{EnterpriseSchema, UserSchema, GroupSchema} {
		if len(text) > len(known) && strings.EqualFold(text[:len(known)], known) && text[len(known)] == ':' {
			return text[:len(known)], text[len(known)+1:]
		}
	}
	i := strings.LastIndexByte(text, ':')
	return text[:i], text[i+1:]
}

// isName says whether the text can name an attribute (RFC 7643 §2.1).
func isName(text string) bool {
	for i, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 && c != '$' || i > 0 && (c < '0' || c > '9') && c != '-' && c != '_') {
			return false
		}
	}
	return text != "" && text != "$"
}

// Single says whether the filter is one comparison.
func (f *Filter) Single() bool {
	if f == nil {
		return false
	}
	_, single := f.root.(test)
	return single
}

// Names says whether the filter compares the attribute.
func (f *Filter) Names(attribute string) bool { return f != nil && names(f.root, attribute) }

func names(n node, attribute string) bool {
	switch n := n.(type) {
	case both:
		return names(n.left, attribute) || names(n.right, attribute)
	case either:
		return names(n.left, attribute) || names(n.right, attribute)
	case not:
		return names(n.of, attribute)
	case has:
		return strings.EqualFold(n.path.name, attribute)
	case test:
		return strings.EqualFold(n.path.name, attribute)
	}
	return false
}
