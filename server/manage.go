package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/manage"
)

const (
	maxIdempotencyKey = 255
	maxRequestID      = 128
)

// manageRoutes are those of the management API: all collections alike, and what more can be done to some records.
func (h *handler) manageRoutes(base string) {
	app := h.server.app
	h.crossOriginBelow(base + "/v1/")
	h.integrationRoutes(base)
	h.secretRoutes(base)
	h.deliveryRoutes(base)
	h.oemRoutes(base)
	h.scimRoutes(base)
	h.partnerIAMRoutes(base)
	h.replayRoutes(base) // before those of all sets
	h.policyRoutes(base)
	for _, k := range manage.Kinds() {
		if k.Name() == manage.Integrations().Name() {
			continue
		}
		record := base + "/v1/" + routeOf(k.Path())
		collection := record[:strings.LastIndexByte(record, '/')]
		app.Get(collection, h.manages(func(m *managing) error { return m.list(k) }))
		app.Get(record, h.manages(func(m *managing) error { return m.get(k) }))
		if k.Removable() {
			app.Delete(record, h.manages(func(m *managing) error { return m.delete(k) }))
		}
		if !k.Writable() {
			continue
		}
		app.Post(collection, h.manages(func(m *managing) error { return m.create(k) }))
		app.Put(record, h.manages(func(m *managing) error { return m.put(k, false) }))
		app.Patch(record, h.manages(func(m *managing) error { return m.put(k, true) }))
	}
	h.sessionRoutes(base)
	app.Post(base+"/v1/orgs/:org/invitations/:id/resend", h.manages((*managing).resendInvitation))
	app.Post(base+"/v1/orgs/:org/invitations/:id/accept", h.manages((*managing).acceptInvitation))
	app.Post(base+"/v1/orgs/:org/domains/:domain/verify", h.manages((*managing).verifyDomain))
	app.Post(base+"/v1/orgs/:org/connections/:id/test", h.manages((*managing).testConnection))
	app.Post(base+"/v1/orgs/:org/connections/:id/rotate", h.manages((*managing).rotateConnection))
}

// routeOf is a path with its names in the form of the router. The id of a custom document may have slashes.
func routeOf(path string) string {
	if path == "custom/{id}" {
		return "custom/*"
	}
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// managing is one request to the management API.
type managing struct {
	*asking
	c *fiber.Ctx
	q *manage.Request
}

// manages authenticates the caller of a management route.
func (h *handler) manages(do func(*managing) error) fiber.Handler {
	return h.on(surfaceProblem, func(c *fiber.Ctx) error { return h.managed(c, []string{"manage"}, do) })
}

func (h *handler) managed(c *fiber.Ctx, scopes []string, do func(*managing) error) error {
	return h.ask(c, acceptQuery, scopes, func(a *asking) error {
		q, err := a.request(c)
		if err != nil {
			return err
		}
		if err := do(&managing{a, c, q}); err != nil {
			return a.policyFailure(err)
		}
		return nil
	})
}

// request is what the header says about a request.
func (a *asking) request(c *fiber.Ctx) (*manage.Request, error) {
	q := &manage.Request{Caller: a.caller, Policies: a.policies, ID: string(c.Response().Header.Peek(fiber.HeaderXRequestID))}
	if !isRequestID(q.ID) {
		q.ID = a.server.decisions.next()
		c.Set(fiber.HeaderXRequestID, q.ID)
	}
	if key := c.Get("Idempotency-Key"); key != "" {
		if len(key) > maxIdempotencyKey || !utf8.ValidString(key) {
			return nil, badRequest(fmt.Sprintf("the Idempotency-Key must have at most %d bytes of UTF-8", maxIdempotencyKey))
		}
		q.Key = strings.Clone(key)
		asked := memo.Part(memo.Part(memo.Part(nil, c.Method()), string(c.Request().URI().PathOriginal())), string(c.Request().Body()))
		for _, condition := range []string{fiber.HeaderIfMatch, fiber.HeaderIfNoneMatch, "Confirm"} {
			asked = memo.Part(asked, c.Get(condition))
		}
		q.Digest = memo.KeyOf(asked)
	}
	var err error
	if q.IfMatch, err = revisionTag(c.Get(fiber.HeaderIfMatch)); err != nil {
		return nil, err
	}
	switch c.Get(fiber.HeaderIfNoneMatch) {
	case "":
	case "*":
		q.IfNone = c.Method() != http.MethodGet
	default:
		return nil, badRequest("If-None-Match can be * only: to create what is not there")
	}
	q.Confirmed = c.Get("Confirm") == "true"
	return q, nil
}

// isRequestID says whether a request's own id can be kept in an audit record.
func isRequestID(id string) bool {
	return id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// revisionTag is the revision in an entity tag, 0 for none.
func revisionTag(tag string) (datastore.Revision, error) {
	if tag == "" {
		return 0, nil
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(tag, "W/"), `"`), `"`)
	revision, err := strconv.ParseUint(bare, 10, 64)
	if err != nil || revision == 0 {
		return 0, badRequest("If-Match must be the ETag of an answer: its revision in quotes")
	}
	return datastore.Revision(revision), nil
}

// ids are those of the path.
func (m *managing) ids() ([]string, error) {
	var ids []string
	for _, name := range m.c.Route().Params {
		id, err := url.PathUnescape(m.c.Params(name))
		if err != nil || id == "" || !utf8.ValidString(id) {
			return nil, manage.ErrNotFound
		}
		ids = append(ids, strings.Clone(id))
	}
	return ids, nil
}

func (m *managing) get(k manage.Kind) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.Get(m.server.base, m.reading, m.q, k, ids...)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) list(k manage.Kind) error {
	parents, err := m.ids()
	if err != nil {
		return err
	}
	page, err := m.page(k.Filters())
	if err != nil {
		return err
	}
	listing, err := m.tenant.Manage.List(m.server.base, m.reading, m.q, k, parents, page)
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}

// page is the part of a collection that the query asks for.
func (m *managing) page(filters []string) (manage.Page, error) {
	page := manage.Page{Filter: map[string]string{}}
	for name, value := range m.c.Request().URI().QueryArgs().All() {
		parameter, text := string(name), string(value)
		if !utf8.ValidString(text) {
			return page, badRequest("the query is not UTF-8")
		}
		switch {
		case parameter == "limit":
			limit, err := strconv.Atoi(text)
			if err != nil || limit < 1 || limit > manage.MaxPage {
				return page, badRequest(fmt.Sprintf("limit must be 1 to %d", manage.MaxPage))
			}
			page.Limit = limit
		case parameter == "cursor":
			page.Cursor = text
		case parameter == "at_least", isCredential(parameter):
		case slices.Contains(filters, parameter) && text == "":
			return page, badRequest(parameter + " is empty: leave it out")
		case slices.Contains(filters, parameter):
			page.Filter[parameter] = text
		default:
			return page, badRequest("the query can have limit, cursor, at_least" + strings.Join(append([]string{""}, filters...), ", "))
		}
	}
	return page, nil
}

func (m *managing) create(k manage.Kind) error {
	parents, err := m.ids()
	if err != nil {
		return err
	}
	body, err := jsonBody(m.c)
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.Create(m.server.base, m.q, k, parents, manage.Write{Body: body})
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) put(k manage.Kind, merge bool) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	body, err := m.body(merge)
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.Put(m.server.base, m.q, k, ids, manage.Write{Body: body, Merge: merge})
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// body is a JSON object, or a merge patch, which has a media type of its own (RFC 7396 §4).
func (m *managing) body(merge bool) ([]byte, error) {
	if merge && mediaType(m.c) == "application/merge-patch+json" {
		body, err := rawBody(m.c)
		if err != nil {
			return nil, err
		}
		return body, checkObject(body)
	}
	return jsonBody(m.c)
}

func (m *managing) delete(k manage.Kind) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.Delete(m.server.base, m.q, k, ids...)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// answer writes a record with its revision, which is its entity tag.
func (m *managing) answer(a *manage.Answer) error {
	document, err := a.Document()
	if err != nil {
		return err
	}
	if err := writeText(m.c, document); err != nil {
		return err
	}
	m.c.Set(fiber.HeaderETag, `"`+strconv.FormatUint(uint64(a.Revision), 10)+`"`)
	if a.Repeated {
		m.c.Set("Idempotency-Replayed", "true")
	}
	if a.Created {
		m.c.Status(http.StatusCreated)
	}
	return nil
}

func (m *managing) resendInvitation() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.ResendInvitation(m.server.base, m.q, ids[0], ids[1])
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// acceptInvitation accepts for the user who calls, or by a backend for the user that it names.
func (m *managing) acceptInvitation() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	var request struct {
		User string `json:"user,omitempty"`
	}
	if err := m.read(&request); err != nil {
		return err
	}
	answer, err := m.tenant.Manage.AcceptInvitation(m.server.base, m.q, ids[0], ids[1], request.User, directory.Secret{})
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// read reads the body of an operation, which may be left out.
func (m *managing) read(into any) error {
	if len(m.c.Request().Body()) == 0 {
		return nil
	}
	body, err := jsonBody(m.c)
	if err != nil {
		return err
	}
	return manage.Decode(body, into)
}
