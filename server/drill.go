package server

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/access"
	"mandate/directory"
	"mandate/manage"
)

// maxDeedsTime bounds how long the decision log is read for one answer.
const maxDeedsTime = 5 * time.Second

// Drilled is what is said of a credential that has leaked: what descends from it, what was done by it, and what it reaches now.
type Drilled struct {
	manage.Drill `json:",embed"`
	Deeds        *access.Deeds   `json:"deeds"`
	Reach        *SearchResponse `json:"reach"`
}

// drillRoutes are for credentials that have leaked. The policy mandate.manage decides who may ask, as apikeys.drill and the like, and
// about each record that is revoked.
func (h *handler) drillRoutes(base string) {
	app := h.server.app
	app.Post(base+"/v1/credentials/identify", h.manages((*managing).identify))
	for kind, path := range drillPaths() {
		app.Post(base+path+"/drill", h.manages(heavy(func(m *managing) error { return m.drill(kind) })))
		app.Post(base+path+"/drill/revoke", h.manages(heavy(func(m *managing) error { return m.revokeDrilled(kind) })))
	}
}

// drillPaths are those of the records, by the types of their principals.
func drillPaths() map[string]string {
	return map[string]string{"apikey": "/v1/apikeys/:id", "client": "/v1/clients/:id", "vendor": "/v1/vendors/:id", "integration": "/v1/orgs/:org/integrations/:vendor"}
}

// identify says whose a secret is, which is in the body so that it is in no log.
func (m *managing) identify() error {
	body, err := jsonBody(m.c)
	if err != nil {
		return err
	}
	var asked struct {
		Secret string `json:"secret"`
	}
	if err := manage.Decode(body, &asked); err != nil {
		return err
	}
	if asked.Secret == "" {
		return badRequest("secret is missing: the whole text of the credential")
	}
	holder, err := m.tenant.Manage.Identify(m.server.base, m.reading, m.q, directory.NewSecret(asked.Secret))
	if err != nil {
		return err
	}
	return writeJSON(m.c, holder)
}

func (m *managing) holder(kind string) (manage.Holder, error) {
	ids, err := m.ids()
	if err != nil {
		return manage.Holder{}, err
	}
	if len(ids) == 2 {
		return manage.Holder{Type: kind, Org: ids[0], ID: ids[1]}, nil
	}
	return manage.Holder{Type: kind, ID: ids[0]}, nil
}

func (m *managing) drill(kind string) error {
	holder, err := m.holder(kind)
	if err != nil {
		return err
	}
	drill, err := m.tenant.Manage.Drill(m.server.base, m.reading, m.q, holder)
	if err != nil {
		return err
	}
	party := access.Entity{Type: holder.Type, ID: holder.ID}
	if kind == "integration" {
		party.Type = "vendor"
	}
	drilled := Drilled{Drill: *drill}
	if drilled.Deeds, err = m.deeds(m.server.base, party, holder.Org); err != nil {
		return err
	}
	if drilled.Reach, err = m.reachOf(m.server.base, party, holder.Org); err != nil {
		return err
	}
	return writeJSON(m.c, drilled)
}

func (m *managing) deeds(ctx context.Context, party access.Entity, org string) (*access.Deeds, error) {
	log := m.tenant.Engine.Log()
	if !log.On() {
		return &access.Deeds{Deeds: []access.Deed{}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxDeedsTime)
	defer cancel()
	return access.DeedsOf(ctx, log.Folder(), party, org)
}

// reachOf is the first page of what a party can do now.
func (a *asking) reachOf(ctx context.Context, party access.Entity, org string) (*SearchResponse, error) {
	subject, err := json.Marshal(map[string]string{"type": party.Type, "id": party.ID}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode an entity: %w", err)
	}
	s := &search{asking: a, kind: searchReach, at: a.tenant.Now(), within: org,
		request: searchRequest{evaluationRequest: evaluationRequest{Subject: subject}, Org: org, limit: usualResults}}
	return &s.answer, s.run(ctx, org)
}

func (m *managing) revokeDrilled(kind string) error {
	holder, err := m.holder(kind)
	if err != nil {
		return err
	}
	if len(m.c.Request().Body()) > 0 {
		return badRequest("there is nothing to send in the body")
	}
	answer, err := m.tenant.Manage.RevokeDrilled(m.server.base, m.reading, m.q, holder)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// unusedRoutes say what nobody has used. The policy mandate.manage is asked for access.search, of the whole tenant.
func (h *handler) unusedRoutes(base string) {
	h.server.app.Get(base+"/v1/access/unused", h.limited(decisionRoutes, surfaceProblem, func(c *fiber.Ctx) error {
		return h.managed(c, []string{"manage"}, heavy((*managing).unused))
	}))
}
