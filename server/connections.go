package server

// testConnection asks the provider of a connection for all that a sign-in needs.
func (m *managing) testConnection() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	test, err := m.tenant.Manage.TestConnection(m.server.base, m.reading, m.q, ids)
	if err != nil {
		return err
	}
	return writeJSON(m.c, test)
}

// rotateConnection sets the client secret that the provider has made.
func (m *managing) rotateConnection() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	body, err := m.body(false)
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.RotateConnection(m.server.base, m.q, ids, body)
	if err != nil {
		return err
	}
	return m.answer(answer)
}
