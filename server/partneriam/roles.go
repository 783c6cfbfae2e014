package partneriam

import (
	"context"
	"slices"
	"strings"

	"mandate/directory"
	"mandate/manage"
)

// Levels of roles.
const (
	levelTenant = "tenant"
	levelOrg    = "org"
)

// roleShown is a role. Its name is its id in Mandate, so it cannot be changed.
type roleShown struct {
	ID          string `json:"Id"`
	Name        string
	Description string
	Level       string
	OrgID       string `json:"OrgId"`
	Permissions []rolePermission
	IsDefault   bool `json:"IsDefault,omitzero"`
}

// rolePermission is a permission in a role.
type rolePermission struct{ ID, Name, Description string }

type roleBody struct {
	Name        string
	Description *string
	Permissions *[]string
}

// kind is where the role is.
func (r role) kind() (manage.Kind, []string) {
	if r.org == "" {
		return manage.Roles(), []string{r.name}
	}
	return manage.OrgRoles(), []string{r.org, r.name}
}

func (r role) show(record directory.Role, known permissionNotes) roleShown {
	shown := roleShown{ID: r.id(), Name: r.name, Description: record.Description, Level: levelTenant, Permissions: []rolePermission{},
		IsDefault: record.Default}
	if r.org != "" {
		shown.Level, shown.OrgID = levelOrg, pack(orgID, r.org)
	}
	for _, name := range record.Permissions {
		shown.Permissions = append(shown.Permissions, rolePermission{pack(permID, name), name, known[name].Description})
	}
	return shown
}

// roleAt reads the role with that id.
func roleAt(ctx context.Context, from records, id string) (directory.Role, error) {
	r, err := parseRole(id)
	if err != nil {
		return directory.Role{}, err
	}
	kind, ids := r.kind()
	return get[directory.Role](ctx, from, kind, ids...)
}

// rolesIn are the names by which members of the organization have the roles. A role of the tenant is hidden there by one that the
// organization defines by the same name.
func rolesIn(ctx context.Context, from records, org string, ids []string) ([]string, error) {
	own, err := ownRoles(ctx, from, org)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, id := range ids {
		r, err := parseRole(id)
		if err != nil {
			return nil, err
		}
		if (r.org != "" && r.org != org) || (r.org == "" && own[r.name]) {
			return nil, fail(8142, "The role is not one that members of this organization can have.")
		}
		if r.org != "" && !own[r.name] {
			return nil, fail(8125, "The organization has no such role.")
		}
		if !slices.Contains(names, r.name) {
			names = append(names, r.name)
		}
	}
	return names, nil
}

// ownRoles are the names of the roles that the organization defines.
func ownRoles(ctx context.Context, from records, org string) (map[string]bool, error) {
	all, err := every[directory.Role](ctx, from, manage.OrgRoles(), org)
	own := map[string]bool{}
	for _, e := range all {
		own[e.id] = true
	}
	return own, err
}

// roleOf is the role that a member of the organization has by the name, where own are the organization's own.
func roleOf(org, name string, own map[string]bool) role {
	if own[name] {
		return role{org, name}
	}
	return role{name: name}
}

// noRole is the error of a write that names a role which there is not.
func noRole(err error, member string) error {
	if strings.HasPrefix(field(err), member) {
		return fail(8125, "There is no such role.")
	}
	return err
}

// rolesOf are those of the organization, or of the tenant.
func rolesOf(ctx context.Context, from records, org string) ([]roleShown, error) {
	kind, parents := manage.Roles(), []string{}
	if org != "" {
		kind, parents = manage.OrgRoles(), []string{org}
	}
	all, err := every[directory.Role](ctx, from, kind, parents...)
	if err != nil {
		return nil, err
	}
	known, err := permissionsOf(ctx, from)
	shown := []roleShown{}
	for _, e := range all {
		shown = append(shown, role{org, e.id}.show(e.record, known))
	}
	return shown, err
}

func listRoles(ctx context.Context, c *call) (any, error) {
	all, err := rolesOf(ctx, c, "")
	return list[roleShown]{all}, err
}

func listOrgRoles(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	all, err := rolesOf(ctx, c, org)
	return list[roleShown]{all}, err
}

func createRole(ctx context.Context, c *call) (any, error) {
	var body roleBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) { return b.createRole(ctx, "", body) })
}

func createOrgRole(ctx context.Context, c *call) (any, error) {
	var body roleBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		return b.createRole(ctx, org, body)
	})
}

func (b batch) createRole(ctx context.Context, org string, body roleBody) (any, error) {
	if strings.TrimSpace(body.Name) == "" {
		return nil, fail(8127, "Send a Name.")
	}
	r := role{org, body.Name}
	changes, err := b.changesOf(ctx, body, nil)
	if err != nil {
		return nil, err
	}
	changes["id"] = r.name
	if body.Permissions == nil {
		changes["permissions"] = []string{}
	}
	kind, ids := r.kind()
	if err := b.create(ctx, kind, ids[:len(ids)-1], changes); err != nil {
		return nil, instead(err, "already_exists", fail(8123, "There is a role with this name already."))
	}
	return showRole(ctx, b, r.id())
}

// changesOf are the members of the record that the body sets. The role may keep permissions that are in no list.
func (b batch) changesOf(ctx context.Context, body roleBody, had []string) (map[string]any, error) {
	changes := map[string]any{}
	if body.Description != nil {
		changes["description"] = *body.Description
	}
	if body.Permissions == nil {
		return changes, nil
	}
	known, err := permissionsOf(ctx, b)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, id := range *body.Permissions {
		name, ok := only(permID, id)
		if _, listed := known[name]; !ok || (!listed && !slices.Contains(had, name)) {
			return nil, fail(8119, "There is no permission with the id "+id+".")
		}
		names = append(names, name)
	}
	changes["permissions"] = names
	return changes, nil
}

func showRole(ctx context.Context, from records, id string) (any, error) {
	r, err := parseRole(id)
	if err != nil {
		return nil, err
	}
	record, err := roleAt(ctx, from, id)
	if err != nil {
		return nil, err
	}
	known, err := permissionsOf(ctx, from)
	return r.show(record, known), err
}

func getRole(ctx context.Context, c *call) (any, error) { return showRole(ctx, c, c.Params[0]) }

func updateRole(ctx context.Context, c *call) (any, error) {
	var body roleBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	r, err := parseRole(c.Params[0])
	if err != nil {
		return nil, err
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		record, err := roleAt(ctx, b, r.id())
		if err != nil {
			return nil, err
		}
		if body.Name != "" && body.Name != r.name {
			return nil, fail(7900, "The name of a role cannot be changed: make another role.")
		}
		changes, err := b.changesOf(ctx, body, record.Permissions)
		if err != nil {
			return nil, err
		}
		kind, ids := r.kind()
		if err := b.patch(ctx, kind, changes, ids...); err != nil {
			return nil, err
		}
		return showRole(ctx, b, r.id())
	})
}

// deleteRole deletes a role. That nobody knows whether members have a role of the tenant must be confirmed, for which this wire has
// nothing but the request itself.
func deleteRole(ctx context.Context, c *call) (any, error) {
	r, err := parseRole(c.Params[0])
	if err != nil {
		return nil, err
	}
	if r.org == "" {
		request := *c.Request
		request.Confirmed = true
		c.Request = &request
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		kind, ids := r.kind()
		return deleted{true}, b.remove(ctx, kind, ids...)
	})
}

func setDefaultRole(ctx context.Context, c *call) (any, error) {
	r, err := parseRole(c.Params[0])
	if err != nil {
		return nil, err
	}
	if r.org != "" {
		return nil, fail(8143, "A role of an organization cannot be the default of the tenant.")
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		if _, err := roleAt(ctx, b, r.id()); err != nil {
			return nil, err
		}
		all, err := every[directory.Role](ctx, b, manage.Roles())
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if !e.record.Default || e.id == r.name {
				continue
			}
			if err := b.patch(ctx, manage.Roles(), map[string]any{"default": nil}, e.id); err != nil {
				return nil, err
			}
		}
		return struct{ IsDefault bool }{true}, b.patch(ctx, manage.Roles(), map[string]any{"default": true}, r.name)
	})
}

// findRole finds a role by its name: one of an organization, or of the tenant.
func findRole(ctx context.Context, c *call) (any, error) {
	r := role{name: c.Params[0]}
	if id := c.Query["orgid"]; id != "" {
		org, _, err := c.org(ctx, id)
		if err != nil {
			return nil, err
		}
		r.org = org
	}
	found, err := showRole(ctx, c, r.id())
	return list[any]{[]any{found}}, err
}
