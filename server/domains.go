package server

// verifyDomain looks for the challenge of a domain.
func (m *managing) verifyDomain() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := m.tenant.Manage.VerifyDomain(m.server.base, m.reading, m.q, ids)
	if err != nil {
		return err
	}
	return m.answer(answer)
}
