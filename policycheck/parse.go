package policycheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"mandate/datastore"
	"mandate/directory"
	"mandate/engine"
)

// scenarioSuffix is how the name of a scenario file ends. It is not that of YAML, because "opa test" takes any .yaml file for data.
const scenarioSuffix = ".scenario"

// A scenario is read by people; these bounds keep a file chosen by mistake from filling the memory.
const (
	maxScenarioBytes = 4 << 20
	maxScenarios     = 2000
)

// ReadScenarios reads all scenario files below fsys, in the order of their names, except those whose name, or whose folder's name,
// begins with a dot. What is wrong with them is returned as an *engine.CompileError.
func ReadScenarios(fsys fs.FS) ([]Scenario, error) {
	var all []Scenario
	var problems []engine.Problem
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), ".") && name != ".":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		case almostScenario(entry.Name()):
			problems = append(problems, engine.Problem{File: name,
				Message: "is not read: the name of a scenario file ends in " + scenarioSuffix + ", for OPA's tools would take it for data"})
			return nil
		case !strings.HasSuffix(entry.Name(), scenarioSuffix):
			return nil
		case len(all) == maxScenarios:
			return fmt.Errorf("there are more than %d scenario files", maxScenarios)
		}
		s, wrong, err := readScenario(fsys, name)
		all, problems = append(all, s), append(problems, wrong...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read scenarios: %w", err)
	}
	if problems != nil {
		return nil, &engine.CompileError{Problems: problems}
	}
	return all, nil
}

// almostScenario says whether somebody will have meant a scenario file.
func almostScenario(name string) bool {
	base := strings.TrimSuffix(name, path.Ext(name))
	return strings.HasSuffix(base, scenarioSuffix) || strings.HasSuffix(name, ".scenarios")
}

func readScenario(fsys fs.FS, name string) (Scenario, []engine.Problem, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return Scenario{}, nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxScenarioBytes+1))
	if err != nil {
		return Scenario{}, nil, err
	}
	if len(text) > maxScenarioBytes {
		return Scenario{}, []engine.Problem{{File: name, Message: fmt.Sprintf("is larger than %d MiB", maxScenarioBytes>>20)}}, nil
	}
	s, err := Parse(name, text)
	if refused := (*engine.CompileError)(nil); errors.As(err, &refused) {
		return s, refused.Problems, nil
	}
	return s, nil, err
}

// Parse reads a scenario file. All that is wrong with it is returned as an *engine.CompileError, with lines.
func Parse(name string, text []byte) (Scenario, error) {
	s := Scenario{File: path.Clean(name)}
	p := parser{file: s.File}
	var root yaml.Node
	err := directory.DecodeYAML(text, &s)
	if err == nil {
		err = yaml.Unmarshal(text, &root)
	}
	if wrong := (directory.Problems)(nil); errors.As(err, &wrong) {
		for _, problem := range wrong {
			if value, ok := strings.CutPrefix(problem.Message, "parsing time "); ok && problem.Line == 0 {
				problem = badTime(value, text)
			}
			p.report(problem.Line, "%s", hint(problem.Message))
		}
	} else if err != nil {
		p.report(0, "%v", err)
	}
	if p.problems == nil {
		if len(root.Content) > 0 {
			s.node, p.root = root.Content[0], root.Content[0]
		}
		p.scenario(&s)
	}
	if p.problems != nil {
		return s, &engine.CompileError{Problems: p.problems}
	}
	return s, nil
}

// badTime is the YAML library's error for a text that is no time, which says the text and not its line.
func badTime(quoted string, text []byte) directory.Problem {
	problem := directory.Problem{Message: "is no time: write one such as 2030-01-31T12:00:00Z"}
	quoted, _ = strconv.QuotedPrefix(quoted)
	value, err := strconv.Unquote(quoted)
	if err != nil {
		return problem
	}
	problem.Message = quoted + " " + problem.Message
	if before, _, found := bytes.Cut(text, []byte(value)); found {
		problem.Line = 1 + bytes.Count(before, []byte("\n"))
	}
	return problem
}

// hint says of keys that are somewhere else where they belong.
func hint(message string) string {
	key, unknown := strings.CutPrefix(message, "unknown key ")
	if !unknown {
		return message
	}
	key, _ = strconv.Unquote(key)
	switch {
	case slices.Contains([]string{"roles", "apis", "orgs", "users", "clients", "api_keys", "vendors", "integrations", "consents", "relations", "custom"}, key):
		return message + ": facts belong below given:"
	case key == "reason":
		return message + ": write reasons: [role_missing]"
	case slices.Contains([]string{"subject", "action", "resource", "expect"}, key):
		return message + ": a request belongs below requests:, in a list"
	case key == "decision" || key == "allow" || key == "result":
		return message + ": write expect: allow or expect: deny"
	}
	return message
}

// parser collects what is wrong with a scenario.
type parser struct {
	file     string
	root     *yaml.Node
	problems []engine.Problem
}

func (p *parser) report(line int, format string, args ...any) {
	p.problems = append(p.problems, engine.Problem{File: p.file, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) scenario(s *Scenario) {
	if s.Title == "" {
		p.report(1, `has no title: write scenario: "what it shows" at its top`)
	}
	if len(s.Requests) == 0 && len(s.Then) == 0 {
		p.report(1, "asks nothing: write a request below requests:, such as {subject: \"user:bob\", action: \"documents:read\", resource: \"document:report\", org: acme, expect: allow}")
	}
	p.step(&s.Step)
	for i := range s.Then {
		at := p.lineAt("then", strconv.Itoa(i))
		if s.Then[i].When == "" {
			p.report(at, "a step has no title: write when: what has happened")
		}
		if len(s.Then[i].Requests) == 0 {
			p.report(at, "a step asks nothing: write a request below requests:")
		}
		p.step(&s.Then[i].Step, "then", strconv.Itoa(i))
	}
}

func (p *parser) step(s *Step, above ...string) {
	for fact := range s.Facts {
		if !factPath(fact).IsDocument() {
			p.report(p.lineAt(append(above, "facts", fact)...), "%q is not where a policy reads a document: write a path such as orgs/acme/members/bob", fact)
		}
	}
	for i := range s.Requests {
		at := append(slices.Clone(above), "requests", strconv.Itoa(i))
		s.Requests[i].Line = p.lineAt(at...)
		p.request(&s.Requests[i])
	}
}

// scenarioTenant is where the facts of a scenario are while its paths are checked.
const scenarioTenant = datastore.TenantID("scenario")

// factPath is the path of a fact that policies can read, else the zero Path.
func factPath(text string) datastore.Path {
	at := datastore.ParseKey(string(scenarioTenant) + "/" + text)
	if !at.Valid() {
		return datastore.Path{}
	}
	segments := at.Segments()
	depth := directory.DocumentDepth(segments)
	if depth == len(segments) || (depth == directory.AnyDepth && len(segments) > 1) {
		return at
	}
	return datastore.Path{}
}

func (p *parser) request(r *Request) {
	switch r.Expect {
	case Allow, Deny:
	case "":
		p.report(r.Line, "says no outcome: write expect: allow or expect: deny")
	default:
		p.report(r.Line, "expect is %q: write allow or deny", r.Expect)
	}
	if r.Obligations != nil && jsontext.Value(r.Obligations).Kind() != '[' {
		p.report(r.Line, "obligations must be a list, such as [{type: mask, field: email}]")
	}
	for _, o := range []struct {
		key   string
		value Document
	}{{"properties", r.Properties}, {"context", r.Context}, {"granted", r.Granted}} {
		if o.value != nil && jsontext.Value(o.value).Kind() != '{' {
			p.report(r.Line, "%s must be a mapping", o.key)
		}
	}
	if r.Input != nil || r.Point != "" {
		p.raw(r)
		return
	}
	if r.Granted != nil {
		p.report(r.Line, "granted is of decisions on tokens: write point: mandate/tokens and an input")
	}
	if r.Org != "" && r.Properties != nil {
		var properties struct {
			Org jsontext.Value `json:"org"`
		}
		if json.Unmarshal(r.Properties, &properties) == nil && properties.Org != nil {
			p.report(r.Line, "says the organization twice: take it from the properties")
		}
	}
	for _, part := range []struct{ key, value, example string }{
		{"subject", r.Subject, "user:bob"}, {"resource", r.Resource, "document:report"}, {"caller", r.Caller, "apikey:gateway"},
	} {
		switch kind, id, ok := strings.Cut(part.value, ":"); {
		case part.value == "" && part.key == "caller", part.key == "subject" && part.value == "caller":
		case part.value == "":
			p.report(r.Line, "has no %s: write %s: %q", part.key, part.key, part.example)
		case !ok || kind == "" || id == "":
			p.report(r.Line, "%s is %q: write its type and id, such as %q", part.key, part.value, part.example)
		}
	}
	if r.Action == "" {
		p.report(r.Line, `has no action: write action: "documents:read"`)
	}
}

func (p *parser) raw(r *Request) {
	points := []string{string(engine.Access), string(engine.Tokens), string(engine.Manage)}
	if !slices.Contains(points, r.Point) {
		p.report(r.Line, "a raw input needs its point: write point: one of %s", strings.Join(points, ", "))
	}
	if r.Input == nil || jsontext.Value(r.Input).Kind() != '{' {
		p.report(r.Line, "a point needs the policy's whole input: write input: {…}")
	}
	if r.Subject+r.Action+r.Resource+r.Org+r.Caller != "" || r.Properties != nil || r.Context != nil {
		p.report(r.Line, "has an input and parts of a question beside it: they belong into the input, for that is all that the policy sees")
	}
}

func (p *parser) lineAt(parts ...string) int { return lineOf(p.root, parts) }

// fieldParts are the parts of a field such as "orgs[0].members[2].user".
func fieldParts(field string) []string {
	return strings.FieldsFunc(field, func(c rune) bool { return c == '.' || c == '[' || c == ']' })
}

// lineOf finds the line of what the parts lead to, or of the nearest thing around it.
func lineOf(node *yaml.Node, parts []string) int {
	if node == nil {
		return 0
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if len(parts) == 0 {
		return node.Line
	}
	switch node.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(parts[0]); err == nil && i < len(node.Content) {
			return lineOf(node.Content[i], parts[1:])
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == parts[0] {
				if len(parts) == 1 {
					return node.Content[i].Line
				}
				return lineOf(node.Content[i+1], parts[1:])
			}
		}
	}
	return node.Line
}
