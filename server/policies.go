package server

import (
	"slices"
	"strings"

	"mandate/manage"
	"mandate/policyset"
)

// bundleTypes are the media types of an OPA bundle.
func bundleTypes() []string {
	return []string{"application/gzip", "application/vnd.openpolicyagent.bundles"}
}

// policyRoutes are those of the policy sets.
func (h *handler) policyRoutes(base string) {
	app, all := h.server.app, base+"/v1/policies"
	app.Get(all, h.manages((*managing).listPolicies))
	app.Post(all, h.manages((*managing).pushPolicies))
	app.Get(all+"/activations", h.manages((*managing).listActivations))
	app.Post(all+"/rollback", h.manages((*managing).rollBackPolicies))
	app.Delete(all+"/shadow", h.manages((*managing).endPolicyShadow))
	app.Get(all+"/:set", h.manages((*managing).getPolicy))
	app.Get(all+"/:set/files", h.manages((*managing).policyFiles))
	app.Get(all+"/:set/diff/:other", h.manages((*managing).diffPolicies))
	app.Get(all+"/:set/review", h.manages((*managing).policyReview))
	app.Post(all+"/:set/activate", h.manages((*managing).activatePolicies))
	app.Post(all+"/:set/shadow", h.manages((*managing).shadowPolicies))
	app.Post(all+"/:set/acknowledge", h.manages((*managing).acknowledgePolicies))
}

func (m *managing) listPolicies() error {
	page, err := m.page(nil)
	if err != nil {
		return err
	}
	listing, err := m.tenant.Manage.ListPolicies(m.server.base, m.reading, m.q, page)
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}

func (m *managing) listActivations() error {
	page, err := m.page(nil)
	if err != nil {
		return err
	}
	listing, err := m.tenant.Manage.ListActivations(m.server.base, m.reading, m.q, page)
	if err != nil {
		return err
	}
	return writeJSON(m.c, listing)
}

func (m *managing) pushPolicies() error {
	answer, err := m.tenant.Manage.PushPolicies(m.server.base, m.reading, m.q, m.pushedFiles)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

// pushedFiles are those of a bundle, with the note in the query, or those in JSON.
func (m *managing) pushedFiles() (pushed manage.PolicyFiles, err error) {
	if !slices.Contains(bundleTypes(), mediaType(m.c)) {
		return pushed, m.read(&pushed)
	}
	raw, err := rawBody(m.c)
	if err != nil {
		return pushed, err
	}
	pushed.Note = strings.Clone(m.c.Query("note"))
	if pushed.Files, err = policyset.ReadBundle(raw, nil); err != nil {
		err = manage.RefusedBundle(err)
	}
	return pushed, err
}

func (m *managing) getPolicy() error {
	return m.named(func(set string) (*manage.Answer, error) {
		return m.tenant.Manage.GetPolicy(m.server.base, m.reading, m.q, set)
	})
}

func (m *managing) policyReview() error {
	return m.named(func(set string) (*manage.Answer, error) {
		return m.tenant.Manage.PolicyReviewed(m.server.base, m.reading, m.q, set)
	})
}

func (m *managing) policyFiles() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	files, err := m.tenant.Manage.PolicyFiles(m.server.base, m.reading, m.q, ids[0])
	if err != nil {
		return err
	}
	return writeJSON(m.c, manage.PolicyFiles{Files: files})
}

func (m *managing) diffPolicies() error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	diff, err := m.tenant.Manage.DiffPolicies(m.server.base, m.reading, m.q, ids[0], ids[1])
	if err != nil {
		return err
	}
	return writeJSON(m.c, diff)
}

func (m *managing) activatePolicies() error {
	return m.changed(func(set string, body *manage.PolicyChange) (*manage.Answer, error) {
		return m.tenant.Manage.ActivatePolicies(m.server.base, m.q, set, body.Note)
	})
}

func (m *managing) shadowPolicies() error {
	return m.changed(func(set string, body *manage.PolicyChange) (*manage.Answer, error) {
		return m.tenant.Manage.ShadowPolicies(m.server.base, m.q, set, body.Note)
	})
}

func (m *managing) endPolicyShadow() error {
	answer, err := m.tenant.Manage.ShadowPolicies(m.server.base, m.q, "", "")
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) acknowledgePolicies() error {
	var body manage.PolicyAcknowledging
	if err := m.read(&body); err != nil {
		return err
	}
	return m.named(func(set string) (*manage.Answer, error) {
		return m.tenant.Manage.AcknowledgePolicies(m.server.base, m.q, set, body.Groups, body.Note)
	})
}

func (m *managing) rollBackPolicies() error {
	var body manage.PolicyRollback
	if err := m.read(&body); err != nil {
		return err
	}
	answer, err := m.tenant.Manage.RollBackPolicies(m.server.base, m.q, body.To, body.Note)
	if err != nil {
		return err
	}
	return m.answer(answer)
}

func (m *managing) changed(do func(set string, body *manage.PolicyChange) (*manage.Answer, error)) error {
	var body manage.PolicyChange
	if err := m.read(&body); err != nil {
		return err
	}
	return m.named(func(set string) (*manage.Answer, error) { return do(set, &body) })
}

// named answers what is done with the one that the path names.
func (m *managing) named(do func(id string) (*manage.Answer, error)) error {
	ids, err := m.ids()
	if err != nil {
		return err
	}
	answer, err := do(ids[0])
	if err != nil {
		return err
	}
	return m.answer(answer)
}
