package server

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/datastore"
	"mandate/manage"
	"mandate/server/scim"
)

// scimRoutes are SCIM 2.0 (RFC 7644): a face of the members and roles of the one organization that the caller is bound to.
func (h *handler) scimRoutes(base string) {
	base += "/scim/v2"
	app := h.server.app
	on := func(do func(*provisioning) error) fiber.Handler {
		return h.on(surfaceSCIM, func(c *fiber.Ctx) error { return h.provisions(c, do) })
	}
	app.Get(base+"/Users", on((*provisioning).listUsers))
	app.Post(base+"/Users", on((*provisioning).createUser))
	app.Post(base+"/Users/.search", on((*provisioning).listUsers))
	app.Get(base+"/Users/:id", on((*provisioning).getUser))
	app.Put(base+"/Users/:id", on((*provisioning).replaceUser))
	app.Patch(base+"/Users/:id", on((*provisioning).patchUser))
	app.Delete(base+"/Users/:id", on((*provisioning).deleteUser))
	app.Get(base+"/Groups", on((*provisioning).listGroups))
	app.Post(base+"/Groups", on((*provisioning).createGroup))
	app.Post(base+"/Groups/.search", on((*provisioning).listGroups))
	app.Get(base+"/Groups/:id", on((*provisioning).getGroup))
	app.Put(base+"/Groups/:id", on((*provisioning).replaceGroup))
	app.Patch(base+"/Groups/:id", on((*provisioning).patchGroup))
	app.Delete(base+"/Groups/:id", on((*provisioning).deleteGroup))
	app.Get(base+"/ServiceProviderConfig", on(func(p *provisioning) error { return p.write(scim.ServiceProviderConfig(p.base)) }))
	app.Get(base+"/ResourceTypes", on(func(p *provisioning) error { return p.described(scim.ResourceTypes(p.base)) }))
	app.Get(base+"/ResourceTypes/:id", on(func(p *provisioning) error { return p.describedOne(scim.ResourceTypes(p.base)) }))
	app.Get(base+"/Schemas", on(func(p *provisioning) error { return p.described(scim.Schemas(p.base)) }))
	app.Get(base+"/Schemas/:id", on(func(p *provisioning) error { return p.describedOne(scim.Schemas(p.base)) }))
	for _, path := range []string{"/Me", "/Bulk", "/.search"} {
		app.Post(base+path, on((*provisioning).unsupported))
	}
	app.Get(base+"/Me", on((*provisioning).unsupported))
	app.Put(base+"/Me", on((*provisioning).unsupported))
	app.Patch(base+"/Me", on((*provisioning).unsupported))
	app.Delete(base+"/Me", on((*provisioning).unsupported))
}

// provisioning is one request to the SCIM service of an organization.
type provisioning struct {
	*managing
	base   string // URL of the service
	org    string
	unless datastore.Revision // the revision that the caller has already
}

func (h *handler) provisions(c *fiber.Ctx, do func(*provisioning) error) error {
	have := strings.Clone(c.Get(fiber.HeaderIfNoneMatch))
	if c.Method() == http.MethodGet {
		c.Request().Header.Del(fiber.HeaderIfNoneMatch)
	}
	return h.managed(c, []string{"scim"}, func(m *managing) error {
		p := &provisioning{managing: m, base: h.tenant.Issuer + "/scim/v2", org: m.caller.Org}
		if p.org == "" {
			return &requestError{http.StatusForbidden, "org_missing", "the credential is bound to no organization: use an API key of one, with the scope scim"}
		}
		if unless, err := revisionTag(have); err == nil && c.Method() == http.MethodGet {
			p.unless = unless
		}
		return do(p)
	})
}

func (p *provisioning) unsupported() error {
	return &requestError{http.StatusNotImplemented, "not_implemented", "this part of SCIM is not supported here: see ServiceProviderConfig"}
}

// id is that of the resource.
func (p *provisioning) id() (string, error) {
	ids, err := p.ids()
	if err != nil || len(ids) != 1 {
		return "", manage.ErrNotFound
	}
	return ids[0], nil
}

// sent is the body, which may be of either media type.
func (p *provisioning) sent() ([]byte, error) {
	if media := mediaType(p.c); media != scim.MediaType && media != fiber.MIMEApplicationJSON {
		return nil, badRequest("the Content-Type must be application/scim+json or application/json")
	}
	body, err := rawBody(p.c)
	if err != nil {
		return nil, err
	}
	return body, checkObject(body)
}

// change is what a write says: the id of the resource, and the body.
func (p *provisioning) change() (id string, body []byte, err error) {
	if id, err = p.id(); err == nil {
		body, err = p.sent()
	}
	return id, body, err
}

// search is what a listing asks for. Parameters that are unknown are passed over (RFC 7644 §3.12).
func (p *provisioning) search() (scim.Search, error) {
	if p.c.Method() == http.MethodPost {
		body, err := p.sent()
		if err != nil {
			return scim.Search{}, err
		}
		return scim.ParseSearch(body)
	}
	filter := p.parameter("filter")
	if !utf8.ValidString(filter) {
		return scim.Search{}, badRequest("the query is not UTF-8")
	}
	start, err := p.number("startIndex")
	if err != nil {
		return scim.Search{}, err
	}
	count, err := p.number("count")
	if err != nil {
		return scim.Search{}, err
	}
	return scim.NewSearch(filter, start, count, p.names("attributes"), p.names("excludedAttributes"))
}

func (p *provisioning) parameter(name string) string {
	return strings.Clone(string(p.c.Request().URI().QueryArgs().Peek(name)))
}

func (p *provisioning) number(name string) (*int, error) {
	text := p.parameter(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, &scim.Error{Type: "invalidValue", Detail: name + " must be a number"}
	}
	return &n, nil
}

func (p *provisioning) names(parameter string) []string {
	text := p.parameter(parameter)
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (p *provisioning) shown() (scim.Projection, error) {
	return scim.NewProjection(p.names("attributes"), p.names("excludedAttributes"))
}

// write answers with a resource.
func (p *provisioning) write(r scim.Resource) error {
	if err := writeJSON(p.c, r); err != nil {
		return err
	}
	p.c.Response().Header.SetContentType(scim.MediaType)
	return nil
}

// resource answers with a resource at a revision.
func (p *provisioning) resource(r scim.Resource, revision datastore.Revision, created bool) error {
	shown, err := p.shown()
	if err != nil {
		return err
	}
	p.c.Set(fiber.HeaderETag, scim.Version(revision))
	if p.unless != 0 && p.unless == revision {
		p.c.Status(http.StatusNotModified)
		return nil
	}
	if meta, ok := r["meta"].(map[string]any); ok && p.c.Method() != http.MethodGet {
		location, _ := meta["location"].(string)
		p.c.Set(fiber.HeaderLocation, location)
	}
	if err := p.write(shown.Of(r)); err != nil {
		return err
	}
	if created {
		p.c.Status(http.StatusCreated)
	}
	return nil
}

func (p *provisioning) described(all []scim.Resource) error {
	search, err := scim.NewSearch("", nil, nil, nil, nil)
	if err != nil {
		return err
	}
	if p.parameter("filter") != "" { // RFC 7644 §4
		return &requestError{http.StatusForbidden, "filter_unsupported", "this cannot be filtered"}
	}
	return p.write(search.List(len(all), all))
}

func (p *provisioning) describedOne(all []scim.Resource) error {
	id, err := p.id()
	if err != nil {
		return err
	}
	found := scim.Find(all, id)
	if found == nil {
		return manage.ErrNotFound
	}
	return p.write(found)
}

// index is where a search begins, by the attribute that its filter compares.
func index(f *scim.Filter, by map[string]manage.By) (manage.By, string) {
	var names []string
	for name := range by {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(by[a]) - int(by[b]) })
	for _, name := range names { // those that lead to the fewest come first
		if _, value, ok := f.Equals(name); ok {
			return by[name], value
		}
	}
	return manage.Anything, ""
}

func (p *provisioning) listUsers() error {
	search, err := p.search()
	if err != nil {
		return err
	}
	wanted := manage.Search{Skip: search.StartIndex - 1, Limit: search.Count}
	wanted.By, wanted.Value = index(search.Filter, map[string]manage.By{"id": manage.ByID, "userName": manage.ByName,
		"externalId": manage.ByExternalID, "groups.value": manage.ByRole})
	var failed error
	if search.Filter != nil && (wanted.By != manage.ByRole || !search.Filter.Single()) {
		wanted.Match = func(person *manage.Person) bool {
			r, err := scim.UserOf(person, p.base, person.Revision)
			if err != nil {
				failed = err
			}
			return err == nil && search.Filter.Matches(r)
		}
	}
	people, err := p.tenant.Manage.People(p.server.base, p.reading, p.q, p.org, wanted)
	if err := cmp.Or(err, failed); err != nil {
		return err
	}
	found := make([]scim.Resource, len(people.Items))
	for i, person := range people.Items {
		if found[i], err = scim.UserOf(person, p.base, person.Revision); err != nil {
			return err
		}
	}
	return p.write(search.List(people.Total, found))
}

func (p *provisioning) getUser() error {
	id, err := p.id()
	if err != nil {
		return err
	}
	person, err := p.tenant.Manage.Person(p.server.base, p.reading, p.q, p.org, id)
	if err != nil {
		return err
	}
	return p.user(person, person.Revision, false)
}

func (p *provisioning) user(person *manage.Person, revision datastore.Revision, created bool) error {
	r, err := scim.UserOf(person, p.base, revision)
	if err != nil {
		return err
	}
	return p.resource(r, revision, created)
}

// written reads what a write answers with, and says when it is the answer of before.
func (p *provisioning) written(a *manage.Answer, into any) error {
	if a.Repeated {
		p.c.Set("Idempotency-Replayed", "true")
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	return nil
}

// changed answers a write with the person as it is now.
func (p *provisioning) changed(a *manage.Answer, err error) error {
	if err != nil {
		return err
	}
	var person manage.Person
	if err := p.written(a, &person); err != nil {
		return err
	}
	return p.user(&person, a.Revision, a.Created)
}

func (p *provisioning) createUser() error {
	body, err := p.sent()
	if err != nil {
		return err
	}
	sent, err := scim.ParseUser(body)
	if err != nil {
		return err
	}
	data, err := scim.UserData(sent)
	if err != nil {
		return err
	}
	return p.changed(p.tenant.Manage.ProvisionPerson(p.server.base, p.q, p.org, data))
}

func (p *provisioning) replaceUser() error {
	id, body, err := p.change()
	if err != nil {
		return err
	}
	sent, err := scim.ParseUser(body)
	if err != nil {
		return err
	}
	data, err := scim.UserData(sent)
	if err != nil {
		return err
	}
	if named, there := sent["id"]; there && named != nil && named != id {
		return &scim.Error{Type: "mutability", Detail: "the id of a resource never changes"}
	}
	return p.changed(p.tenant.Manage.ChangePerson(p.server.base, p.q, p.org, id,
		func(*manage.Person) (manage.PersonData, error) { return data, nil }))
}

func (p *provisioning) patchUser() error {
	id, body, err := p.change()
	if err != nil {
		return err
	}
	return p.changed(p.tenant.Manage.ChangePerson(p.server.base, p.q, p.org, id, func(person *manage.Person) (manage.PersonData, error) {
		var none manage.PersonData
		operations, err := scim.ParsePatch(body) // anew each time: what it has becomes part of the resource
		if err != nil {
			return none, err
		}
		r, err := scim.UserOf(person, p.base, person.Revision)
		if err != nil {
			return none, err
		}
		if err := scim.Patch(r, operations); err != nil {
			return none, err
		}
		return scim.UserData(r)
	}))
}

// gone answers a deletion (RFC 7644 §3.6).
func (p *provisioning) gone(a *manage.Answer, err error) error {
	if err != nil {
		return err
	}
	if a.Repeated {
		p.c.Set("Idempotency-Replayed", "true")
	}
	p.c.Status(http.StatusNoContent)
	p.c.Response().Header.Set(fiber.HeaderCacheControl, "no-store")
	return nil
}

func (p *provisioning) deleteUser() error {
	id, err := p.id()
	if err != nil {
		return err
	}
	return p.gone(p.tenant.Manage.RemovePerson(p.server.base, p.q, p.org, id))
}

// atSCIM has the statuses of RFC 7644 §3.12.
func (f failure) atSCIM() failure {
	if f.code == "invalid_record" {
		f.status = http.StatusBadRequest
	}
	return f
}

// scimBody is the body of an error. Its scimType is of those that the RFC knows.
func (f failure) scimBody() map[string]any {
	body := map[string]any{"schemas": []string{scim.ErrorSchema}, "status": strconv.Itoa(f.status), "detail": f.detail}
	kinds := map[string]string{"invalid_record": "invalidValue", "invalid_request": "invalidSyntax", "too_many": "tooMany"}
	for _, kind := range []string{"uniqueness", "invalidFilter", "tooMany", "mutability", "invalidSyntax", "invalidPath", "noTarget", "invalidValue"} {
		kinds[kind] = kind
	}
	if kind, ok := kinds[f.code]; ok && (f.status == http.StatusBadRequest || f.status == http.StatusConflict) {
		body["scimType"] = kind
	}
	return body
}
