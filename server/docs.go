package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/swaggest/openapi-go/openapi31"
)

// docs shows the OpenAPI document to people, a page for each tag.
type docs struct {
	*pages
	spec *openapi31.Spec
}

// docsTopic is a page, and docsOperation an operation on it.
type (
	docsTopic struct {
		Slug, Name, About string
		Operations        []docsOperation
		Topics            []docsTopic // of the first page
		Schemes           []docsMember
	}
	docsOperation struct {
		ID, Method, Path, Summary string
		Words                     []string
		Parameters, Takes         []docsMember
		Media                     string
		Optional                  bool
		Answers, Failures         []docsAnswer
		Credentials               []string
		Curl, Shown               string
	}
	docsAnswer struct {
		Status  string
		Words   string
		Media   string
		Members []docsMember
		Headers []string
	}
	docsMember struct {
		Name, In, Type, Words string
		Must                  string // how it is said that it is there
	}
)

// renderDocs makes the pages of the document.
func (h *handler) renderDocs(spec *openapi31.Spec, into *published) error {
	public, err := url.Parse(h.tenant.Issuer)
	if err != nil {
		return fmt.Errorf("read the issuer: %w", err)
	}
	templates, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return fmt.Errorf("read the templates: %w", err)
	}
	d := docs{&pages{handler: h, templates: templates, public: public}, spec}
	first, all := d.topics()
	into.topics = map[string][]byte{}
	for _, t := range all {
		if into.topics[t.Slug], err = d.render("docstopic", t.Name, t); err != nil {
			return err
		}
	}
	if into.index, err = d.render("docs", "The API of Mandate", first); err != nil {
		return err
	}
	into.missing, err = d.render("docsmissing", "There is no such topic", nil)
	return err
}

func (d docs) render(name, title string, content any) ([]byte, error) {
	var text bytes.Buffer
	if err := d.templates.ExecuteTemplate(&text, name, page{Title: title, Path: d.public.Path, Host: d.public.Host, Content: content}); err != nil {
		return nil, fmt.Errorf("render the page %s: %w", name, err)
	}
	return text.Bytes(), nil
}

// writePage answers with a page that is the same for everybody: it may load nothing but the style sheet, and be framed by nobody.
func writePage(c *fiber.Ctx, status int, text []byte) {
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'")
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Status(status)
	c.Response().Header.SetContentType(fiber.MIMETextHTMLCharsetUTF8)
	c.Response().SetBodyRaw(text)
}

func (d docs) topics() (first docsTopic, all []docsTopic) {
	byTag := map[string]*docsTopic{}
	for _, tag := range d.spec.Tags {
		byTag[tag.Name] = &docsTopic{Slug: slug(tag.Name), Name: tag.Name, About: *tag.Description}
	}
	for _, o := range d.operations() {
		t := byTag[o.tag]
		t.Operations = append(t.Operations, d.operation(o))
	}
	for _, tag := range d.spec.Tags {
		all = append(all, *byTag[tag.Name])
	}
	first.Topics = all
	for _, name := range slices.Sorted(maps.Keys(d.spec.Components.SecuritySchemes)) {
		first.Schemes = append(first.Schemes, docsMember{Name: name, Words: *d.spec.Components.SecuritySchemes[name].SecurityScheme.Description})
	}
	return first, all
}

func slug(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func (d docs) operation(o operation) docsOperation {
	item := d.spec.Paths.MapOfPathItemValues[o.path]
	described, err := item.Operation(o.method)
	if err != nil || described == nil {
		return docsOperation{ID: o.id}
	}
	shown := docsOperation{ID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Curl: d.curl(o)}
	if words := o.words(); words != "" {
		shown.Words = strings.Split(strings.ReplaceAll(words, "`", ""), "\n\n")
	}
	for _, p := range described.Parameters {
		shown.Parameters = append(shown.Parameters, d.parameter(p))
	}
	if described.RequestBody != nil {
		body := described.RequestBody.RequestBody
		shown.Optional = body.Required == nil || !*body.Required
		shown.Media = strings.Join(slices.Sorted(maps.Keys(body.Content)), " or ")
		shown.Takes = d.members(anyOf(body.Content), "", "required")
	}
	for _, requirement := range described.Security {
		shown.Credentials = append(shown.Credentials, cmp.Or(strings.Join(slices.Sorted(maps.Keys(requirement)), " and "), "none"))
	}
	for _, status := range slices.Sorted(maps.Keys(described.Responses.MapOfResponseOrReferenceValues)) {
		r := described.Responses.MapOfResponseOrReferenceValues[status]
		if r.Reference != nil {
			shown.Failures = append(shown.Failures, d.answer(status, r, &shown))
		} else {
			shown.Answers = append(shown.Answers, d.answer(status, r, &shown))
		}
	}
	return shown
}

func (d docs) parameter(p openapi31.ParameterOrReference) docsMember {
	parameter := p.Parameter
	if p.Reference != nil {
		parameter = d.spec.Components.Parameters[last(p.Reference.Ref)].Parameter
	}
	m := docsMember{Name: parameter.Name, In: string(parameter.In), Type: typeWords(parameter.Schema)}
	if parameter.Required != nil && *parameter.Required {
		m.Must = "required"
	}
	if parameter.Description != nil {
		m.Words = strings.ReplaceAll(*parameter.Description, "`", "")
	}
	return m
}

func (d docs) answer(status string, r openapi31.ResponseOrReference, of *docsOperation) docsAnswer {
	response := r.Response
	if r.Reference != nil {
		response = d.spec.Components.Responses[last(r.Reference.Ref)].Response
	}
	shown := docsAnswer{Status: status, Words: strings.ReplaceAll(response.Description, "`", ""), Media: strings.Join(slices.Sorted(maps.Keys(response.Content)), " or ")}
	if r.Reference != nil {
		return shown
	}
	shown.Headers = slices.Sorted(maps.Keys(response.Headers))
	shown.Members = d.members(anyOf(response.Content), "", "always")
	for _, m := range response.Content {
		if m.Example == nil || of.Curl == "" {
			continue
		}
		if text, err := json.MarshalIndent(*m.Example, "", "  "); err == nil {
			of.Shown = string(text)
		}
	}
	return shown
}

func last(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func anyOf(c map[string]openapi31.MediaType) schema {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		return c[name].Schema
	}
	return nil
}

const deepestMember = 3 // of those that are shown

// members are those of the schema, each after the one that it is in.
func (d docs) members(s schema, within, must string) []docsMember {
	if ref, ok := s["$ref"].(string); ok {
		s = d.spec.Components.Schemas[last(ref)]
	}
	for _, name := range []string{"anyOf", "oneOf"} {
		if choices, ok := s[name].([]any); ok && len(choices) > 0 {
			s, _ = choices[0].(schema)
			return d.members(s, within, must)
		}
	}
	if items, ok := s["items"].(schema); ok {
		return d.members(items, within, must)
	}
	properties, _ := s["properties"].(schema)
	required := requiredOf(s)
	var all []docsMember
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		member, _ := properties[name].(schema)
		words, _ := member["description"].(string)
		m := docsMember{Name: within + name, Type: typeWords(member), Words: strings.ReplaceAll(words, "`", "")}
		if slices.Contains(required, name) {
			m.Must = must
		}
		all = append(all, m)
		if strings.Count(within, ".") < deepestMember {
			all = append(all, d.members(member, within+name+".", must)...)
		}
	}
	return all
}

// typeWords say what a member can be.
func typeWords(s schema) string {
	if values, ok := s["enum"].([]any); ok {
		var words []string
		for _, value := range values {
			words = append(words, fmt.Sprint(value))
		}
		return strings.Join(words, ", ")
	}
	if choices, ok := s["anyOf"].([]any); ok {
		var words []string
		for _, choice := range choices {
			one, _ := choice.(schema)
			words = append(words, typeWords(one))
		}
		return strings.Join(words, " or ")
	}
	kind, _ := s["type"].(string)
	if format, ok := s["format"].(string); ok && kind == "string" {
		return format
	}
	if kind == "array" {
		items, _ := s["items"].(schema)
		return "list of " + typeWords(items)
	}
	if s["$ref"] != nil {
		return "object"
	}
	return cmp.Or(kind, "anything")
}

// curl is the command of an operation that has an example. The variables are named like the credentials that serve --dev prints.
func (d docs) curl(o operation) string {
	e := o.example
	if !e.works() {
		return ""
	}
	base := d.tenant.Issuer
	if o.rooted {
		base = d.origin
	}
	path := o.path
	for name, value := range e.path {
		if !isDeep(o.path, name) {
			value = url.PathEscape(value)
		}
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	query := url.Values{}
	for name, value := range e.query {
		query.Set(name, value)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	lines := []string{"curl -s"}
	if o.method != http.MethodGet && (o.method != http.MethodPost || e.body == nil) {
		lines[0] += " -X " + o.method
	}
	lines[0] += " '" + base + path + "'"
	if !e.anonymous {
		lines = append(lines, credentialArgument(cmp.Or(e.as, "operator")))
	}
	if e.confirm {
		lines = append(lines, "-H 'Confirm: true'")
	}
	return strings.Join(append(lines, bodyArguments(o)...), " \\\n  ")
}

// credentialArgument presents a credential of the example.
func credentialArgument(id string) string {
	variable := strings.ToUpper(strings.ReplaceAll(id, "-", "_"))
	if slices.Contains([]string{"operator", "documents-gateway", "acme-key"}, id) {
		return `-H "Authorization: Bearer $` + variable + `_API_KEY"`
	}
	return `-u "` + id + ":$" + variable + `_CLIENT_SECRET"`
}

func bodyArguments(o operation) []string {
	if o.example.body == nil {
		return nil
	}
	fields, _ := o.example.body.(map[string]any)
	if _, isForm := o.takes[fiber.MIMEApplicationForm]; isForm {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			lines = append(lines, fmt.Sprintf("--data-urlencode '%s=%v'", name, fields[name]))
		}
		return lines
	}
	text, err := json.Marshal(o.example.body)
	if err != nil {
		return nil
	}
	media := fiber.MIMEApplicationJSON
	if o.method == http.MethodPatch {
		media = mergePatchType
	}
	return []string{"-H 'Content-Type: " + media + "'", "-d '" + string(text) + "'"}
}
