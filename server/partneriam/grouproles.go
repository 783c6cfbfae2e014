package partneriam

import (
	"context"
	"slices"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

// groupRole gives who is in a group of the provider a role in the organization.
type groupRole struct {
	ID      string `json:"Id"`
	GroupID string `json:"GroupId"`
	Name    string
	RoleID  string `json:"RoleId"`
}

type groupRoleBody struct {
	GroupID *string `json:"GroupId"`
	Name    *string
	RoleID  *string `json:"RoleId"`
}

func groupRolesOf(org string, c directory.Connection, note connectionNotes, own map[string]bool) []groupRole {
	all := []groupRole{}
	for group := range c.RoleMapping {
		all = append(all, groupRoleOf(org, group, c, note, own))
	}
	slices.SortFunc(all, func(a, b groupRole) int { return strings.Compare(a.GroupID, b.GroupID) })
	return all
}

func groupRoleOf(org, group string, c directory.Connection, note connectionNotes, own map[string]bool) groupRole {
	return groupRole{ID: pack(groupRoleID, group), GroupID: group, Name: note.group(group), RoleID: roleOf(org, c.RoleMapping[group], own).id()}
}

// group is the name of the mapping of a group, which is the group's when it was made elsewhere.
func (note connectionNotes) group(group string) string {
	if name := note.Groups[group]; name != "" {
		return name
	}
	return group
}

func listGroupRoles(ctx context.Context, c *call) (any, error) {
	org, o, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	id, err := c.connectionID()
	if err != nil {
		return nil, err
	}
	record, err := get[directory.Connection](ctx, c, manage.Connections(), org, id)
	if err != nil {
		return nil, err
	}
	own, err := ownRoles(ctx, c, org)
	return list[groupRole]{groupRolesOf(org, record, notesOf(o).Connections[id], own)}, err
}

func createGroupRole(ctx context.Context, c *call) (any, error) {
	var body groupRoleBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	return c.inConnection(ctx, func(ctx context.Context, b batch, at connectionAt) (any, error) {
		for _, required := range []struct {
			name  string
			value *string
		}{{"GroupId", body.GroupID}, {"Name", body.Name}, {"RoleId", body.RoleID}} {
			if required.value == nil || *required.value == "" {
				return nil, fail(7900, "The "+required.name+" is required.")
			}
		}
		return b.setGroupRole(ctx, at, "", *body.GroupID, *body.Name, *body.RoleID, c.Now())
	})
}

func updateGroupRole(ctx context.Context, c *call) (any, error) {
	var body groupRoleBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	return c.inGroupRole(ctx, func(ctx context.Context, b batch, at connectionAt, former string) (any, error) {
		own, err := ownRoles(ctx, b, at.org)
		if err != nil {
			return nil, err
		}
		group, name, role := former, at.note.group(former), roleOf(at.org, at.record.RoleMapping[former], own).id()
		set(&group, body.GroupID)
		set(&name, body.Name)
		set(&role, body.RoleID)
		if group == "" || name == "" {
			return nil, fail(7900, "GroupId and Name cannot be empty.")
		}
		return b.setGroupRole(ctx, at, former, group, name, role, c.Now())
	})
}

func deleteGroupRole(ctx context.Context, c *call) (any, error) {
	return c.inGroupRole(ctx, func(ctx context.Context, b batch, at connectionAt, group string) (any, error) {
		delete(at.record.RoleMapping, group)
		delete(at.note.Groups, group)
		return deleted{true}, b.setConnection(ctx, at, c.Now())
	})
}

// inGroupRole runs a write of the group role that the route names.
func (c *call) inGroupRole(ctx context.Context, do func(context.Context, batch, connectionAt, string) (any, error)) (any, error) {
	group, ok := only(groupRoleID, c.Params[2])
	if !ok {
		return nil, fail(8164, "It is not the id of a group role.")
	}
	return c.inConnection(ctx, func(ctx context.Context, b batch, at connectionAt) (any, error) {
		if _, there := at.record.RoleMapping[group]; !there {
			return nil, fail(8163, "The connection has no such group role.")
		}
		return do(ctx, b, at, group)
	})
}

// setGroupRole maps a group, instead of the former one.
func (b batch) setGroupRole(ctx context.Context, at connectionAt, former, group, name, roleID string, now time.Time) (any, error) {
	names, err := rolesIn(ctx, b, at.org, []string{roleID})
	if err != nil {
		return nil, err
	}
	if _, taken := at.record.RoleMapping[group]; taken && group != former {
		return nil, fail(8162, "The connection has a group role of this group already.")
	}
	for other := range at.record.RoleMapping {
		if other != former && at.note.group(other) == name {
			return nil, fail(8161, "The connection has a group role with this name already.")
		}
	}
	if at.record.RoleMapping == nil {
		at.record.RoleMapping = map[string]string{}
	}
	if at.note.Groups == nil {
		at.note.Groups = map[string]string{}
	}
	delete(at.record.RoleMapping, former)
	delete(at.note.Groups, former)
	at.record.RoleMapping[group], at.note.Groups[group] = names[0], name
	if err := b.setConnection(ctx, at, now); err != nil {
		return nil, noRole(err, "role_mapping")
	}
	own, err := ownRoles(ctx, b, at.org)
	return groupRoleOf(at.org, group, at.record, at.note, own), err
}

// setConnection writes a connection with its notes.
func (b batch) setConnection(ctx context.Context, at connectionAt, now time.Time) error {
	at.note.Name = at.notes.name(at.id)
	if err := b.put(ctx, manage.Connections(), at.record, at.org, at.id); err != nil {
		return err
	}
	return b.noted(ctx, at.org, at.id, &at.note, now)
}
