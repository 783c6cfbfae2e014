package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// checked holds every request and every answer of the whole suite against the OpenAPI document that the server itself serves:
// an answer must be declared with its status, headers, media type and members, and what is answered with success must have
// been asked as the document says.
type checked struct {
	*http.Transport
	mu        sync.Mutex
	documents map[string]*documented // by the base of the tenant, and by origin for servers that have more
	problems  map[string]bool
	answers   map[string]int // by operation and status
}

func newChecked(t *http.Transport) *checked {
	return &checked{Transport: t, documents: map[string]*documented{}, problems: map[string]bool{}, answers: map[string]int{}}
}

// documented is a document, with its schemas compiled.
type documented struct {
	document map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema
	paths    []documentedRoute
}

type documentedRoute struct {
	name    string
	pattern *regexp.Regexp
	names   []string
}

const documentURL = "https://mandate.example/openapi.json"

func (c *checked) RoundTrip(request *http.Request) (*http.Response, error) {
	var sent []byte
	if request.Body != nil {
		var err error
		if sent, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(sent))
	}
	response, err := c.Transport.RoundTrip(request)
	if err != nil || request.Method == http.MethodOptions || request.Method == http.MethodHead {
		return response, err // preflight is for browsers (Fetch §4.8), HEAD is GET without a body
	}
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(got))
	c.check(request, sent, response, got)
	return response, nil
}

func (c *checked) check(request *http.Request, sent []byte, response *http.Response, got []byte) {
	base, path := "", request.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/t/"+string(staging)); ok && (rest == "" || rest[0] == '/') {
		base, path = "/t/"+string(staging), rest
	}
	if strings.HasPrefix(path, "/.well-known/") && strings.HasSuffix(path, "/t/"+string(staging)) {
		base = "/t/" + string(staging)
	}
	origin := request.URL.Scheme + "://" + request.URL.Host
	d := c.documentOf(origin, base, base)
	if d == nil {
		return
	}
	problem := func(format string, a ...any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.problems[fmt.Sprintf(format, a...)] = true
	}
	if bytes.Contains(got, []byte("there is nothing at this path")) {
		return // a server that has fewer routes than others
	}
	name, operation, values := d.find(request.Method, path)
	if operation == nil {
		if d = c.documentOf(origin, base, origin+base); d == nil {
			return
		}
		name, operation, values = d.find(request.Method, path)
	}
	if operation == nil {
		if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusMethodNotAllowed && !isRawPage(path) && response.StatusCode < 500 && !brokenHTTP(response.StatusCode) {
			problem("%s %s is answered %d and not described", request.Method, path, response.StatusCode)
		}
		return
	}
	id, _ := operation["operationId"].(string)
	c.mu.Lock()
	c.answers[fmt.Sprintf("%s %d", id, response.StatusCode)]++
	c.mu.Unlock()
	for _, found := range d.answerProblems(name, request.Method, operation, response, got) {
		problem("%s, answered %d: %s", id, response.StatusCode, found)
	}
	if response.StatusCode < 300 {
		for _, found := range d.requestProblems(name, request, operation, values, sent) {
			problem("%s, asked in a way that is not described: %s", id, found)
		}
	}
}

func isRawPage(path string) bool { return strings.HasPrefix(path, "/assets/") }

// brokenHTTP are the statuses of what no operation has seen.
func brokenHTTP(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestHeaderFieldsTooLarge || status == http.StatusRequestEntityTooLarge
}

// documentOf is what a server says about itself, kept under the key; nil for servers of others, and for one that is stopping.
func (c *checked) documentOf(origin, base, key string) *documented {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, known := c.documents[key]; known {
		return d
	}
	request, err := http.NewRequest(http.MethodGet, origin+base+"/openapi.json", nil)
	if err != nil {
		return nil
	}
	response, err := c.Transport.RoundTrip(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil
	}
	d, err := newDocumented(text)
	if err != nil {
		return nil
	}
	c.documents[key] = d
	return d
}

func newDocumented(text []byte) (*documented, error) {
	d := &documented{schemas: map[string]*jsonschema.Schema{}, compiler: jsonschema.NewCompiler()}
	d.compiler.AssertFormat()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d.document, _ = document.(map[string]any)
	paths, ok := d.document["paths"].(map[string]any)
	if !ok {
		return nil, errors.New("it is no OpenAPI document")
	}
	if err := d.compiler.AddResource(documentURL, document); err != nil {
		return nil, err
	}
	for name, item := range paths {
		d.paths = append(d.paths, patternOf(name, item))
	}
	slices.SortFunc(d.paths, func(a, b documentedRoute) int { // what is written out goes before what has parameters
		return strings.Compare(strings.ReplaceAll(a.name, "{", "~"), strings.ReplaceAll(b.name, "{", "~"))
	})
	return d, nil
}

func patternOf(name string, item any) documentedRoute {
	deep, _ := json.Marshal(item)
	p := documentedRoute{name: name}
	var pattern strings.Builder
	for i, segment := range strings.Split(name, "/") {
		if i > 0 {
			pattern.WriteByte('/')
		}
		parameter, ok := strings.CutPrefix(segment, "{")
		switch {
		case ok && bytes.Contains(deep, []byte("x-multi-segment")):
			p.names = append(p.names, strings.TrimSuffix(parameter, "}"))
			pattern.WriteString("(.+)")
		case ok:
			p.names = append(p.names, strings.TrimSuffix(parameter, "}"))
			pattern.WriteString("([^/]+)")
		default:
			pattern.WriteString(regexp.QuoteMeta(segment))
		}
	}
	p.pattern = regexp.MustCompile("^" + pattern.String() + "$")
	return p
}

// find is the operation of a request, with the parameters of its path.
func (d *documented) find(method, path string) (name string, operation map[string]any, values map[string]string) {
	for _, p := range d.paths {
		match := p.pattern.FindStringSubmatch(path)
		if match == nil {
			continue
		}
		item, _ := d.document["paths"].(map[string]any)[p.name].(map[string]any)
		operation, ok := item[strings.ToLower(method)].(map[string]any)
		if !ok {
			continue
		}
		values = map[string]string{}
		for i, parameter := range p.names {
			values[parameter], _ = url.PathUnescape(match[i+1])
		}
		return p.name, operation, values
	}
	return "", nil, nil
}

// resolve follows a reference, and says where its target is.
func (d *documented) resolve(value any, at string) (map[string]any, string) {
	object, _ := value.(map[string]any)
	ref, ok := object["$ref"].(string)
	if !ok {
		return object, at
	}
	var target any = d.document
	for segment := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		target = target.(map[string]any)[segment]
	}
	return target.(map[string]any), strings.TrimPrefix(ref, "#")
}

// schemaProblem says what is wrong with a value by the schema at that place of the document.
func (d *documented) schemaProblem(at string, value any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.schemas[at]
	if s == nil {
		var err error
		if s, err = d.compiler.Compile(documentURL + "#" + at); err != nil {
			return err
		}
		d.schemas[at] = s
	}
	return s.Validate(value)
}

func pointer(segments ...string) string {
	var p strings.Builder
	for _, segment := range segments {
		p.WriteByte('/')
		p.WriteString(url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(segment)))
	}
	return p.String()
}

// general are headers that mean the same in all answers (RFC 9110, Fetch), and need no words.
func general(name string) bool {
	return strings.HasPrefix(name, "Access-Control-") ||
		slices.Contains([]string{"Date", "Content-Length", "Content-Type", "Server", "Connection", "Cache-Control", "Allow", "Vary"}, name)
}

func (d *documented) answerProblems(path, method string, operation map[string]any, response *http.Response, got []byte) (problems []string) {
	status := strconv.Itoa(response.StatusCode)
	declared, ok := operation["responses"].(map[string]any)[status]
	if !ok {
		return []string{"the status is not described; " + string(got[:min(len(got), 200)])}
	}
	answer, at := d.resolve(declared, pointer("paths", path, strings.ToLower(method), "responses", status))
	headers, _ := answer["headers"].(map[string]any)
	for name, h := range headers {
		header, _ := d.resolve(h, "")
		if header["required"] == true && response.Header.Get(name) == "" {
			problems = append(problems, "the header "+name+" is missing")
		}
	}
	for name := range response.Header {
		if !general(name) && !slices.ContainsFunc(slices.Collect(maps.Keys(headers)), func(h string) bool { return strings.EqualFold(h, name) }) {
			problems = append(problems, "the header "+name+" is not described")
		}
	}
	contents, _ := answer["content"].(map[string]any)
	if len(got) == 0 && len(contents) == 0 {
		return problems
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if _, ok := contents[media]; !ok {
		return append(problems, "the media type "+media+" is not described")
	}
	var value any = string(got)
	if strings.HasSuffix(media, "json") {
		var err error
		if value, err = jsonschema.UnmarshalJSON(bytes.NewReader(got)); err != nil {
			return append(problems, "no JSON")
		}
	}
	if err := d.schemaProblem(at+pointer("content", media, "schema"), value); err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}

func (d *documented) requestProblems(path string, request *http.Request, operation map[string]any, values map[string]string, sent []byte) (problems []string) {
	here := pointer("paths", path, strings.ToLower(request.Method))
	query := d.queryCredentials()
	parameters, _ := operation["parameters"].([]any)
	for i, p := range parameters {
		parameter, at := d.resolve(p, here+pointer("parameters", strconv.Itoa(i)))
		name, _ := parameter["name"].(string)
		var given []string
		switch parameter["in"] {
		case "path":
			given = []string{values[name]}
		case "query":
			query[name] = true
			given = request.URL.Query()[name]
		case "header":
			given = request.Header.Values(name)
		}
		for _, text := range given {
			if text == "" {
				continue
			}
			if err := d.schemaProblem(at+pointer("schema"), parameterValue(parameter, text)); err != nil {
				problems = append(problems, name+": "+err.Error())
			}
		}
	}
	isPage := slices.Contains(operation["tags"].([]any), any("Pages")) // which pass over what others add to links
	for name := range request.URL.Query() {
		if !query[name] && !isPage {
			problems = append(problems, "the query has "+name)
		}
	}
	return append(problems, d.bodyProblems(here, request, operation, sent)...)
}

// queryCredentials are the parameters of queries that are security schemes.
func (d *documented) queryCredentials() map[string]bool {
	names := map[string]bool{}
	components, _ := d.document["components"].(map[string]any)
	schemes, _ := components["securitySchemes"].(map[string]any)
	for _, s := range schemes {
		scheme, _ := s.(map[string]any)
		if name, ok := scheme["name"].(string); ok && scheme["in"] == "query" {
			names[name] = true
		}
	}
	return names
}

func (d *documented) bodyProblems(here string, request *http.Request, operation map[string]any, sent []byte) []string {
	body, at := d.resolve(operation["requestBody"], here+pointer("requestBody"))
	switch {
	case len(sent) == 0 && body["required"] == true:
		return []string{"there is no body"}
	case len(sent) == 0:
		return nil
	case body == nil:
		return []string{"there is a body"}
	}
	media, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type"))
	if _, ok := body["content"].(map[string]any)[media]; !ok {
		return []string{"the media type of the body is " + media}
	}
	var value any
	var err error
	switch {
	case strings.HasSuffix(media, "json"):
		value, err = jsonschema.UnmarshalJSON(bytes.NewReader(sent))
	case media == "application/gzip", media == "application/vnd.openpolicyagent.bundles":
		value = string(sent)
	default:
		value, err = formValue(sent)
	}
	if err == nil {
		err = d.schemaProblem(at+pointer("content", media, "schema"), value)
	}
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

func parameterValue(parameter map[string]any, text string) any {
	if schema, _ := parameter["schema"].(map[string]any); schema["type"] == "integer" {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return text
}

// formValue is a form as its schema has it: resource can come more than once, everything else once.
func formValue(sent []byte) (any, error) {
	form, err := url.ParseQuery(string(sent))
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	for name, values := range form {
		object[name] = values[0]
		if name == "resource" {
			list := []any{}
			for _, v := range values {
				list = append(list, v)
			}
			object[name] = list
		}
	}
	return object, nil
}

// report is what was found in the whole suite.
func (c *checked) report() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.problems))
}
