package server

import (
	"github.com/gofiber/fiber/v2"

	"mandate/manage"
	"mandate/server/scim"
)

func (p *provisioning) listGroups() error {
	search, err := p.search()
	if err != nil {
		return err
	}
	by, value := index(search.Filter, map[string]manage.By{"id": manage.ByID, "displayName": manage.ByName, "externalId": manage.ByExternalID})
	matches := func(g *manage.Group) bool { return search.Filter.Matches(scim.GroupOf(g, p.base, g.Revision)) }
	compared := search.Filter.Names("members")
	groups, err := p.tenant.Manage.Groups(p.server.base, p.reading, p.q, p.org, by, value, compared, matches)
	if err != nil {
		return err
	}
	total := len(groups)
	from := min(search.StartIndex-1, total)
	groups = groups[from:min(from+search.Count, total)]
	if !compared && !search.Shown.Hides("members") {
		if err := p.tenant.Manage.FillGroups(p.server.base, p.reading, p.q, p.org, groups...); err != nil {
			return err
		}
	}
	var found []scim.Resource
	for _, g := range groups {
		found = append(found, scim.GroupOf(g, p.base, g.Revision))
	}
	return p.write(search.List(total, found))
}

// withMembers says whether the members of a group are to be shown, of which there may be many.
func (p *provisioning) withMembers() (bool, error) {
	shown, err := p.shown()
	return !shown.Hides("members"), err
}

func (p *provisioning) getGroup() error {
	id, err := p.id()
	if err != nil {
		return err
	}
	withMembers, err := p.withMembers()
	if err != nil {
		return err
	}
	g, err := p.tenant.Manage.Group(p.server.base, p.reading, p.q, p.org, id, withMembers)
	if err != nil {
		return err
	}
	return p.resource(scim.GroupOf(g, p.base, g.Revision), g.Revision, false)
}

func (p *provisioning) changedGroup(a *manage.Answer, err error) error {
	if err != nil {
		return err
	}
	var g manage.Group
	if err := p.written(a, &g); err != nil {
		return err
	}
	return p.resource(scim.GroupOf(&g, p.base, a.Revision), a.Revision, a.Created)
}

func (p *provisioning) createGroup() error {
	body, err := p.sent()
	if err != nil {
		return err
	}
	data, err := scim.ParseGroup(body)
	if err != nil {
		return err
	}
	return p.changedGroup(p.tenant.Manage.ProvisionGroup(p.server.base, p.q, p.org, data))
}

func (p *provisioning) replaceGroup() error {
	id, body, err := p.change()
	if err != nil {
		return err
	}
	data, err := scim.ParseGroup(body)
	if err != nil {
		return err
	}
	withMembers, err := p.withMembers()
	if err != nil {
		return err
	}
	return p.changedGroup(p.tenant.Manage.ChangeGroup(p.server.base, p.q, p.org, id, withMembers,
		func(*manage.Group) (manage.GroupData, error) { return data, nil }))
}

// patchGroup answers without the group, which may have very many members (RFC 7644 §3.5.2).
func (p *provisioning) patchGroup() error {
	id, body, err := p.change()
	if err != nil {
		return err
	}
	operations, err := scim.ParsePatch(body)
	if err != nil {
		return err
	}
	data, err := scim.GroupPatch(operations)
	if err != nil {
		return err
	}
	answer, err := p.tenant.Manage.ChangeGroup(p.server.base, p.q, p.org, id, false,
		func(*manage.Group) (manage.GroupData, error) { return data, nil })
	if err != nil {
		return err
	}
	p.c.Set(fiber.HeaderETag, scim.Version(answer.Revision))
	return p.gone(answer, nil)
}

func (p *provisioning) deleteGroup() error {
	id, err := p.id()
	if err != nil {
		return err
	}
	return p.gone(p.tenant.Manage.RemoveGroup(p.server.base, p.q, p.org, id))
}
