package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/swaggest/openapi-go/openapi31"
)

// operation is what OpenAPI says about a route: an entry in one of the tables of the files beside this one. A test fails for a
// route without an entry, and for an answer that its entry does not allow.
type operation struct {
	method, path string // the path as in OpenAPI, below the tenant's base or, when rooted, below the origin
	id           string // unique; programs that are made of the document call the operation so
	tag          string
	summary      string // what it does, in a few words
	about        string
	action       string // what the policy mandate.manage is asked for
	wire         wire
	query        []string // parameters, described in parameterWords
	header       []string
	takes        content // what the body can be
	optional     bool    // the body can be left out
	gives        map[int]content
	example      example
	rooted       bool
}

// content is what a body can be, by media type. A string names a component, a schema is one, and any other value stands for its type.
type content map[string]any

func jsonOf(value any) content { return content{fiber.MIMEApplicationJSON: value} }

func formOf(members ...string) content {
	return content{fiber.MIMEApplicationForm: openMembers(members...)}
}

// wire is what routes have in common: who can call them, and what their errors are like.
type wire struct {
	name     string // of the responses of its errors, among the components
	schemes  [][]string
	media    string
	failure  any
	statuses []int
	header   []string // that answers may have
	failed   []string // that errors always have
}

// document writes the OpenAPI document of one tenant.
type document struct {
	*handler
	spec    openapi31.Spec
	schemas *schemas
	tags    map[string]bool
	ids     map[string]bool
	shown   map[string]recordedExample // by the ids of operations
}

// openAPI is the document that describes every route of the tenant.
func (h *handler) openAPI() (*openapi31.Spec, error) {
	shown, err := readExamples(h.tenant.Issuer)
	if err != nil {
		return nil, err
	}
	d := &document{handler: h, schemas: newSchemas(), tags: map[string]bool{}, ids: map[string]bool{}, shown: shown}
	d.spec.Openapi = "3.1.0"
	d.spec.Info.WithTitle("Mandate").WithVersion("1").WithSummary("Authorization decisions, tokens, and the directory that they rest on.").
		WithDescription(documentWords)
	d.spec.WithServers(openapi31.Server{URL: h.tenant.Issuer})
	d.spec.Components = &openapi31.Components{}
	d.headers()
	d.parameters()
	d.securitySchemes()
	for _, o := range h.operations() {
		if err := d.add(o); err != nil {
			return nil, fmt.Errorf("describe %s %s: %w", o.method, o.path, err)
		}
	}
	for _, t := range tagWords() {
		if d.tags[t.Name] {
			d.spec.Tags = append(d.spec.Tags, t)
			delete(d.tags, t.Name)
		}
	}
	for tag := range d.tags {
		return nil, fmt.Errorf("the tag %q is not described", tag)
	}
	d.spec.Components.Schemas = d.schemas.named
	return &d.spec, d.schemas.err
}

// operations are the entries of all routes.
func (h *handler) operations() []operation {
	all := slices.Concat(decisionOperations(), searchOperations(), drillOperations(), oauthOperations(), exchangeOperations(), collectionOperations(), recordOperations(), keyOperations(), policyOperations(), replayOperations(), partnerOperations(), scimOperations(),
		h.documentOperations(), h.pageOperations())
	if h.tenant.ID == DefaultTenant {
		all = append(all, serviceOperations()...)
	}
	return all
}

func (d *document) add(o operation) error {
	if d.ids[o.id] {
		return fmt.Errorf("the id %s is taken", o.id)
	}
	d.ids[o.id], d.tags[o.tag] = true, true
	described := openapi31.Operation{Tags: []string{o.tag}, Security: []map[string][]string{}}
	described.WithID(o.id).WithSummary(o.summary)
	if words := o.words(); words != "" {
		described.WithDescription(words)
	}
	for _, names := range o.wire.schemes {
		required := map[string][]string{}
		for _, name := range names {
			required[name] = []string{}
		}
		described.Security = append(described.Security, required)
	}
	for _, name := range pathParameters(o.path) {
		described.Parameters = append(described.Parameters, openapi31.ParameterOrReference{Parameter: d.pathParameter(o, name)})
	}
	for _, name := range slices.Concat(o.query, o.header) {
		if _, ok := d.spec.Components.Parameters[name]; !ok {
			return fmt.Errorf("the parameter %q is not described", name)
		}
		described.Parameters = append(described.Parameters, openapi31.ParameterOrReference{Reference: &openapi31.Reference{Ref: "#/components/parameters/" + name}})
	}
	if o.takes != nil {
		body := openapi31.RequestBody{Content: d.content(o.takes, o.example.body)}
		body.WithRequired(!o.optional)
		described.RequestBody = &openapi31.RequestBodyOrReference{RequestBody: &body}
	}
	described.Responses = d.responses(o)
	return d.mount(o, described)
}

// mount puts the operation at its path.
func (d *document) mount(o operation, described openapi31.Operation) error {
	items := d.spec.PathsEns().MapOfPathItemValues
	if items == nil {
		items = map[string]openapi31.PathItem{}
		d.spec.Paths.MapOfPathItemValues = items
	}
	item := items[o.path]
	if o.rooted && d.origin != d.tenant.Issuer {
		item.Servers = []openapi31.Server{{URL: d.origin}}
	}
	if err := item.SetOperation(o.method, &described); err != nil {
		return fmt.Errorf("put it at its path: %w", err)
	}
	items[o.path] = item
	return nil
}

func (o operation) words() string {
	words := o.about
	if o.action != "" {
		words = strings.TrimSpace(words + "\n\nThe policy `mandate.manage` is asked for `" + o.action + "`.")
	}
	return words
}

func pathParameters(path string) []string {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// deepParameter is the extension of a parameter that can have slashes, which OpenAPI cannot say.
const deepParameter = "x-multi-segment"

func (d *document) pathParameter(o operation, name string) *openapi31.Parameter {
	p := &openapi31.Parameter{Name: name, In: openapi31.ParameterInPath, Schema: schema{"type": "string", "minLength": 1}}
	p.WithRequired(true).WithDescription(memberWords(name))
	if isDeep(o.path, name) {
		p.MapOfAnything = map[string]any{deepParameter: true}
	}
	if value, ok := o.example.path[name]; ok {
		p.WithExample(value)
	}
	return p
}

func isDeep(path, name string) bool {
	return (name == "id" && strings.HasSuffix(path, "/custom/{id}")) || name == "path"
}

func (d *document) content(c content, example any) map[string]openapi31.MediaType {
	described := map[string]openapi31.MediaType{}
	for media, value := range c {
		m := openapi31.MediaType{Schema: d.schemas.of(value)}
		if example != nil && media != fiber.MIMEApplicationForm {
			m.WithExample(example)
		}
		described[media] = m
	}
	return described
}

// responses are those of success, and those of the errors that all routes of the wire have.
func (d *document) responses(o operation) *openapi31.Responses {
	all := map[string]openapi31.ResponseOrReference{}
	for status, c := range o.gives {
		response := openapi31.Response{Description: successWords(status), Headers: d.headerRefs(slices.Concat(o.wire.header, headersOf(o, status)))}
		var shown any
		if recorded, ok := d.shown[o.id]; ok && recorded.Status == status {
			shown = recorded.Body
		}
		if len(c) > 0 {
			response.Content = d.content(c, shown)
		}
		all[strconv.Itoa(status)] = openapi31.ResponseOrReference{Response: &response}
	}
	for _, status := range slices.Concat(o.wire.statuses, d.bodyStatuses(o), []int{http.StatusInternalServerError}) {
		code := strconv.Itoa(status)
		if _, known := all[code]; known {
			continue
		}
		name := o.wire.name + code
		if _, known := d.spec.Components.Responses[name]; !known {
			d.spec.Components.WithResponsesItem(name, openapi31.ResponseOrReference{Response: d.failure(o.wire, status)})
		}
		all[code] = openapi31.ResponseOrReference{Reference: &openapi31.Reference{Ref: "#/components/responses/" + name}}
	}
	return &openapi31.Responses{MapOfResponseOrReferenceValues: all}
}

// bodyStatuses are those of errors that only a body can have.
func (d *document) bodyStatuses(o operation) []int {
	if o.takes == nil {
		return []int{http.StatusBadRequest}
	}
	return []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
}

// failure is the response of an error. What never reaches its handler, for it is no valid HTTP or too large, is a problem whatever the
// route.
func (d *document) failure(w wire, status int) *openapi31.Response {
	response := &openapi31.Response{Description: failureWords()[status], Headers: d.headerRefs(slices.Concat(w.header, w.failed))}
	body := content{w.media: w.failure}
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		body[problemType] = schema{"$ref": componentSchemas + "Problem"}
		d.schemas.of(problemOf())
	case http.StatusUnauthorized:
		if w.media != fiber.MIMETextHTML {
			maps.Copy(response.Headers, d.headerRefs([]string{fiber.HeaderWWWAuthenticate}))
		}
	case http.StatusForbidden: // with insufficient_scope
		maps.Copy(response.Headers, d.headerRefs([]string{maybe + fiber.HeaderWWWAuthenticate}))
	case http.StatusTooManyRequests:
		maps.Copy(response.Headers, d.headerRefs([]string{fiber.HeaderRetryAfter}))
	case http.StatusServiceUnavailable:
		maps.Copy(response.Headers, d.headerRefs([]string{maybe + fiber.HeaderRetryAfter}))
	}
	response.Content = d.content(body, nil)
	return response
}

// maybe begins the name of a component that is a header which not every answer has, where another component is the one that always is there.
const maybe = "Optional"

// headersOf are those of an answer with success, beside those that the wire has.
func headersOf(o operation, status int) []string {
	var names []string
	switch {
	case o.wire.name == provisionings().name:
		names = append(names, maybe+fiber.HeaderETag)
	case slices.Contains(o.header, "Confirm") || (o.wire.name == managementWire().name && strings.HasPrefix(o.id, "get")):
		names = append(names, fiber.HeaderETag)
	}
	if slices.Contains(o.header, "Idempotency-Key") {
		names = append(names, "Idempotency-Replayed")
	}
	switch {
	case status == http.StatusSeeOther:
		names = append(names, fiber.HeaderLocation)
	case o.wire.name == provisionings().name && o.method != http.MethodGet:
		names = append(names, maybe+fiber.HeaderLocation)
	}
	return names
}

func (d *document) headerRefs(names []string) map[string]openapi31.HeaderOrReference {
	refs := map[string]openapi31.HeaderOrReference{}
	for _, name := range names {
		refs[strings.TrimPrefix(name, maybe)] = openapi31.HeaderOrReference{Reference: &openapi31.Reference{Ref: "#/components/headers/" + name}}
	}
	return refs
}

// published is the document as it is served: for programs, and as pages for people.
type published struct {
	text           []byte
	index, missing []byte
	topics         map[string][]byte
}

// documentRoutes serve the document. It is made when it is first asked for, and kept.
func (h *handler) documentRoutes(base string) {
	publish := sync.OnceValues(h.publish)
	anybody := func(path string, answer func(c *fiber.Ctx, p *published)) {
		h.server.app.Get(base+path, h.limited(unlimited, surfaceProblem, func(c *fiber.Ctx) error {
			p, err := publish()
			if err != nil {
				return err
			}
			c.Set(fiber.HeaderCacheControl, metadataAge)
			answer(c, p)
			return nil
		}))
	}
	anybody("/openapi.json", func(c *fiber.Ctx, p *published) {
		c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
		c.Response().SetBodyRaw(p.text)
	})
	anybody("/docs", func(c *fiber.Ctx, p *published) { writePage(c, http.StatusOK, p.index) })
	anybody("/docs/:topic", func(c *fiber.Ctx, p *published) {
		if text, ok := p.topics[c.Params("topic")]; ok {
			writePage(c, http.StatusOK, text)
			return
		}
		writePage(c, http.StatusNotFound, p.missing)
	})
}

func (h *handler) publish() (*published, error) {
	spec, err := h.openAPI()
	if err != nil {
		return nil, err
	}
	p := &published{}
	if p.text, err = json.Marshal(spec); err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return p, h.renderDocs(spec, p)
}
