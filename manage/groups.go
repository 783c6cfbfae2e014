package manage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"

	"mandate/directory"
)

// GroupData is what an organization's own directory of people says of a group.
type GroupData struct {
	Name       string          // empty leaves it
	ExternalID *string         // nil leaves it
	Members    map[string]bool // who is to be in the group, and who is not
	Only       bool            // whether nobody else is to be in it
}

// maxMemberChanges bounds how many members of a group one request changes.
const maxMemberChanges = 1000

func (d GroupData) check() error {
	if d.ExternalID == nil {
		return nil
	}
	return checkExternal(*d.ExternalID)
}

func orgRoles() *kind[directory.Role] { return OrgRoles().(*kind[directory.Role]) }

// ProvisionGroup defines a role of the organization without permissions, which is for others to give it.
func (m *Manager) ProvisionGroup(ctx context.Context, q *Request, org string, d GroupData) (*Answer, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		c = c.unconditional()
		if err := c.newName(ctx, org, "", d.Name); err != nil {
			return nil, err
		}
		after, ids := directory.Role{Permissions: []string{}}, []string{org, d.Name}
		resource := orgRoles().resourceOf(ids, nil, &after)
		if err := orgRoles().about(ctx, c, ids, nil, &after, resource.Properties); err != nil {
			return nil, err
		}
		if err := c.permit(ctx, "orgs.roles.create", resource); err != nil {
			return nil, err
		}
		if hidden, err := m.group(ctx, c, org, d.Name); err != nil {
			return nil, err
		} else if hidden != nil {
			return nil, taken("The displayName")
		}
		if err := write(ctx, c, orgRoles(), ids, map[string]any{"permissions": after.Permissions}); err != nil {
			return nil, err
		}
		g, err := m.group(ctx, c, org, d.Name)
		if err != nil {
			return nil, err
		}
		d.Name = ""
		if err := c.changeGroup(ctx, org, g, d); err != nil {
			return nil, err
		}
		return c.groupAnswer(ctx, org, g.ID, true, true)
	})
}

// newName refuses the name of a group that the caller can see, for the group with that id.
func (c *change) newName(ctx context.Context, org, id, name string) error {
	alias, found, err := c.tenant().ProvisionedAs(directory.ProvisionedRoles, org, "display_name", name).Find(ctx, c)
	if err != nil {
		return err
	}
	if found && alias.ID != id {
		return taken("The displayName")
	}
	if name == id {
		return nil
	}
	other, err := c.m.group(ctx, c, org, name)
	if err != nil || other == nil {
		return err
	}
	visible, err := c.permitted(ctx, "orgs.roles.get", groupResource(org, name))
	if err == nil && visible {
		err = taken("The displayName")
	}
	return err
}

// ChangeGroup makes of a group what edit makes of what is there now.
func (m *Manager) ChangeGroup(ctx context.Context, q *Request, org, id string, withMembers bool, edit func(*Group) (GroupData, error)) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		g, err := c.seenGroup(ctx, org, id)
		if err != nil {
			return nil, err
		}
		d, err := edit(g)
		if err != nil {
			return nil, err
		}
		if err := d.check(); err != nil {
			return nil, err
		}
		if err := c.unconditional().changeGroup(ctx, org, g, d); err != nil {
			return nil, err
		}
		return c.groupAnswer(ctx, org, id, withMembers, false)
	})
}

func (c *change) seenGroup(ctx context.Context, org, id string) (*Group, error) {
	if err := c.permit(ctx, "orgs.roles.get", groupResource(org, id)); err != nil {
		return nil, err
	}
	g, err := c.m.group(ctx, c, org, id)
	switch {
	case err != nil:
		return nil, err
	case g == nil:
		return nil, ErrNotFound
	case c.q.IfMatch != 0 && c.q.IfMatch != g.Revision:
		return nil, ErrChanged
	}
	return g, nil
}

func (c *change) changeGroup(ctx context.Context, org string, g *Group, d GroupData) error {
	next := g.Provisioned
	if next.ModifiedAt = c.at.UTC(); next.CreatedAt.IsZero() && g.Revision == 0 {
		next.CreatedAt = next.ModifiedAt
	}
	if d.ExternalID != nil {
		next.ExternalID = *d.ExternalID
	}
	if d.Name != "" && d.Name != g.Name() {
		if err := c.newName(ctx, org, g.ID, d.Name); err != nil {
			return err
		}
		if next.DisplayName = d.Name; d.Name == g.ID {
			next.DisplayName = ""
		}
	}
	if next.ExternalID != g.Provisioned.ExternalID || next.DisplayName != g.Provisioned.DisplayName {
		if err := c.permit(ctx, "orgs.roles.update", groupResource(org, g.ID)); err != nil {
			return err
		}
	}
	if err := c.provision(ctx, directory.ProvisionedRoles, org, g.ID, g.Provisioned, next); err != nil {
		return err
	}
	changed, err := c.changeHolders(ctx, org, g.ID, d)
	if err != nil || !changed {
		return err
	}
	return c.tenant().PutProvisioned(ctx, c, directory.ProvisionedRoles, org, g.ID, next) // the group has another revision
}

// changeHolders gives the role and takes it, and says whether that has changed anything.
func (c *change) changeHolders(ctx context.Context, org, role string, d GroupData) (changed bool, err error) {
	wanted := maps.Clone(d.Members)
	if d.Only {
		holders, err := c.m.allHolders(ctx, c, org, role, maxSearched)
		if err != nil {
			return false, err
		}
		wanted = map[string]bool{}
		for _, user := range holders {
			wanted[user] = false
		}
		maps.Copy(wanted, d.Members)
	}
	changes := 0
	for _, user := range slices.Sorted(maps.Keys(wanted)) {
		member, found, err := c.tenant().Member(org, user).Find(ctx, c)
		if err != nil {
			return false, err
		}
		if !found {
			if wanted[user] {
				return false, invalid("members", fmt.Sprintf("has %q, who is no member of the organization", user))
			}
			continue
		}
		at := slices.Index(member.Roles, role)
		if wanted[user] == (at >= 0) {
			continue
		}
		if changes++; changes > maxMemberChanges {
			return false, ErrTooMany
		}
		roles := slices.Clone(member.Roles)
		if at >= 0 {
			roles = slices.Delete(roles, at, at+1)
		} else {
			roles = append(roles, role)
		}
		if err := write(ctx, c, members(), []string{org, user}, map[string]any{"roles": roles}); err != nil {
			return false, err
		}
	}
	return changes > 0, nil
}

func (c *change) groupAnswer(ctx context.Context, org, id string, withMembers, created bool) (*Answer, error) {
	g, err := c.m.group(ctx, c, org, id)
	if err != nil {
		return nil, err
	}
	if withMembers {
		if g.Members, err = c.m.allHolders(ctx, c, org, id, maxSearched); err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(g, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a group: %w", err)
	}
	return &Answer{Body: body, Revision: g.Revision, Created: created}, nil
}

// RemoveGroup takes the role from all who hold it, and deletes it.
func (m *Manager) RemoveGroup(ctx context.Context, q *Request, org, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		if _, err := c.seenGroup(ctx, org, id); err != nil {
			return nil, err
		}
		c = c.unconditional()
		if _, err := c.changeHolders(ctx, org, id, GroupData{Only: true}); err != nil {
			return nil, err
		}
		return orgRoles().delete(ctx, c, []string{org, id})
	})
}
