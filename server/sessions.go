package server

import "mandate/manage"

// sessionRoutes are those for what a user is signed in to, and has let clients do.
func (h *handler) sessionRoutes(base string) {
	app, user := h.server.app, base+"/v1/users/:user"
	app.Get(user+"/sessions", h.manages((*managing).sessions))
	app.Delete(user+"/sessions", h.manages((*managing).endSession))
	app.Delete(user+"/sessions/:id", h.manages((*managing).endSession))
	app.Get(user+"/grants", h.manages((*managing).grants))
	app.Delete(user+"/grants", h.manages((*managing).endGrant))
	app.Delete(user+"/grants/:id", h.manages((*managing).endGrant))
	app.Post(user+"/reset", h.manages((*managing).resetPassword))
}

func (m *managing) sessions() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	listing, err := m.tenant.Manage.Sessions(m.server.base, m.reading, m.q, ids[0])
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}

func (m *managing) grants() error {
	return m.listed(func(user string, page manage.Page) (*manage.Listing, error) {
		return m.tenant.Manage.Grants(m.server.base, m.reading, m.q, user, page)
	})
}

// listed answers a page of what belongs to the one that the path names.
func (m *managing) listed(list func(id string, page manage.Page) (*manage.Listing, error)) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	page, err := m.page(nil)
	if err != nil {
		return err
	}
	listing, err := list(ids[0], page)
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}

func (m *managing) endSession() error {
	return m.ended(func(user, id string) (*manage.Answer, error) {
		return m.tenant.Manage.EndSession(m.server.base, m.q, user, id)
	})
}

func (m *managing) endGrant() error {
	return m.ended(func(user, id string) (*manage.Answer, error) {
		return m.tenant.Manage.EndGrant(m.server.base, m.q, user, id)
	})
}

func (m *managing) resetPassword() error {
	return m.ended(func(user, _ string) (*manage.Answer, error) {
		return m.tenant.Manage.ResetPassword(m.server.base, m.q, user)
	})
}

// ended answers what was done to something of a user, or to all of it when there is no id in the path.
func (m *managing) ended(do func(user, id string) (*manage.Answer, error)) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := do(ids[0], append(ids, "")[1])
	if err != nil {
		return err
	}
	return m.answer(answer)
}
