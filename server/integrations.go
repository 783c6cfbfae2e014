package server

import (
	"github.com/gofiber/fiber/v2"

	"mandate/manage"
)

// integrationRoutes are those of the relationships between organizations and vendors, which both sides can see and cut.
func (h *handler) integrationRoutes(base string) {
	app, k := h.server.app, manage.Integrations()
	all := base + "/v1/orgs/:org/integrations"
	one := all + "/:vendor"
	app.Get(all, h.integrates(func(m *managing) error { return m.list(k) }))
	app.Post(all, h.integrates(func(m *managing) error { return m.create(k) }))
	app.Get(one, h.integrates(func(m *managing) error { return m.get(k) }))
	app.Put(one, h.integrates((*managing).enableIntegration))
	app.Patch(one, h.integrates(func(m *managing) error { return m.put(k, true) }))
	app.Delete(one, h.integrates(func(m *managing) error { return m.delete(k) }))
	app.Post(one+"/rotate", h.integrates((*managing).rotateIntegration))
	app.Get(base+"/v1/vendors/:vendor/integrations", h.integrates((*managing).listVendorIntegrations))
}

// integrates is manages, also for the clients of vendors.
func (h *handler) integrates(do func(*managing) error) fiber.Handler {
	return h.on(surfaceProblem, func(c *fiber.Ctx) error { return h.managed(c, []string{"manage", "oem:partner_token"}, do) })
}

// optionalBody is a JSON object, or empty.
func (m *managing) optionalBody() ([]byte, error) {
	if len(m.c.Request().Body()) == 0 {
		return nil, nil
	}
	return jsonBody(m.c)
}

func (m *managing) enableIntegration() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	body, err := jsonBody(m.c)
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.Enable(m.server.base, m.q, ids[0], ids[1], body)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) rotateIntegration() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	body, err := m.optionalBody()
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.RotateIntegration(m.server.base, m.q, ids[0], ids[1], body)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) listVendorIntegrations() error {
	return m.listed(func(vendor string, page manage.Page) (*manage.Listing, error) {
		return m.tenant.Manage.VendorIntegrations(m.server.base, m.reading, m.q, vendor, page)
	})
}
