package server

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/manage"
)

// secretRoutes are those by which secrets are made anew.
func (h *handler) secretRoutes(base string) {
	app := h.server.app
	app.Post(base+"/v1/apikeys/:id/rotate", h.manages(func(m *managing) error { return m.rotate((*manage.Manager).RotateAPIKey) }))
	app.Post(base+"/v1/clients/:id/rotate", h.manages(func(m *managing) error { return m.rotate((*manage.Manager).RotateClientSecret) }))
	app.Delete(base+"/v1/clients/:id/secrets/former", h.manages(func(m *managing) error { return m.act((*manage.Manager).EndFormerSecret) }))
	app.Post(base+"/v1/vendors/:id/rotate", h.manages(func(m *managing) error { return m.act((*manage.Manager).RotateVendorToken) }))
	app.Post(base+"/v1/webhooks/:id/rotate", h.manages(func(m *managing) error { return m.rotate((*manage.Manager).RotateWebhookSecret) }))
}

// deliveryRoutes are those of what is sent to webhooks.
func (h *handler) deliveryRoutes(base string) {
	app := h.server.app
	app.Post(base+"/v1/webhooks/:id/test", h.manages(func(m *managing) error { return m.act((*manage.Manager).TestWebhook) }))
	app.Get(base+"/v1/deliveries", h.manages((*managing).listDeliveries))
	app.Post(base+"/v1/deliveries/:id/replay", h.manages(func(m *managing) error { return m.act((*manage.Manager).Replay) }))
}

// act does something to a record that is not said by a body.
func (m *managing) act(do func(*manage.Manager, context.Context, *manage.Request, string) (*manage.Answer, error)) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := do(m.tenant.Manage, m.server.base, m.q, ids[0])
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// rotate makes the secret of a record anew, in the way that the body says, if there is one.
func (m *managing) rotate(do func(*manage.Manager, context.Context, *manage.Request, string, jsontext.Value) (*manage.Answer, error)) error {
	body, err := m.optionalBody()
	if err != nil {
		return err
	}
	return m.act(func(manager *manage.Manager, ctx context.Context, q *manage.Request, id string) (*manage.Answer, error) {
		return do(manager, ctx, q, id, body)
	})
}

func (m *managing) listDeliveries() error {
	page, err := m.page(manage.DeliveryFilters())
	if err != nil {
		return err
	}
	listing, err := m.tenant.Manage.Deliveries(m.server.base, m.reading, m.q, page)
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}
