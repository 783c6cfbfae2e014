package partneriam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

// userRole is one role of one member of an organization.
type userRole struct {
	ID          string `json:"Id"`
	UID         string `json:"Uid"`
	RoleID      string `json:"RoleId"`
	OrgID       string `json:"OrgId"`
	Email       string
	CreatedDate time.Time `json:"CreatedDate,omitzero"` // when the user joined the organization
}

type userRolesBody struct{ RoleIds []string }

// rowsOf are the roles of a member.
func rowsOf(ctx context.Context, from records, org, user, email string, member directory.Member) ([]userRole, error) {
	own, err := ownRoles(ctx, from, org)
	return rows(org, user, email, member, own), err
}

func rows(org, user, email string, member directory.Member, own map[string]bool) []userRole {
	all := []userRole{}
	for _, name := range member.Roles {
		row := userRole{ID: pack(userRoleID, org, user, name), UID: user, RoleID: roleOf(org, name, own).id(), OrgID: pack(orgID, org), Email: email}
		if member.JoinedAt != nil {
			row.CreatedDate = *member.JoinedAt
		}
		all = append(all, row)
	}
	return all
}

// email is that of a user, empty for a caller who may not see users.
func email(ctx context.Context, from records, user string) (string, error) {
	record, err := get[directory.User](ctx, from, manage.Users(), user)
	known, refused := (*Error)(nil), (*manage.Refusal)(nil)
	if errors.As(err, &known) || errors.As(err, &refused) {
		err = nil
	}
	return record.Email, err
}

// user is the one that the route names.
func (c *call) user() (string, error) {
	if strings.TrimSpace(c.Params[0]) == "" {
		return "", fail(8131, "Send the id of a user.")
	}
	return c.Params[0], nil
}

// memberships are those of the user, of which there must be one.
func memberships(ctx context.Context, from records, user string) ([]manage.Membership, error) {
	all, err := from.Memberships(ctx, user)
	if err == nil && len(all) == 0 {
		return nil, fail(8135, "The user is a member of no organization.")
	}
	return all, err
}

func contextOfUser(ctx context.Context, c *call) (any, error) {
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	all, err := memberships(ctx, c, user)
	if err != nil {
		return nil, err
	}
	return everyRow(ctx, c, user, all)
}

func everyRow(ctx context.Context, from records, user string, all []manage.Membership) (any, error) {
	address, err := email(ctx, from, user)
	if err != nil {
		return nil, err
	}
	shown := list[userRole]{Data: []userRole{}}
	for _, m := range all {
		roles, err := rowsOf(ctx, from, m.Org, user, address, m.Member)
		if err != nil {
			return nil, err
		}
		shown.Data = append(shown.Data, roles...)
	}
	return shown, nil
}

func contextInOrg(ctx context.Context, c *call) (any, error) {
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	org, _, err := c.org(ctx, c.Params[1])
	if err != nil {
		return nil, err
	}
	return memberRows(ctx, c, org, user)
}

func memberRows(ctx context.Context, from records, org, user string) (any, error) {
	member, err := get[directory.Member](ctx, from, manage.Members(), org, user)
	if err != nil {
		return nil, err
	}
	return everyRow(ctx, from, user, []manage.Membership{{Org: org, Member: member}})
}

func contextOfOrg(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	all, err := every[directory.Member](ctx, c, manage.Members(), org)
	if err != nil {
		return nil, err
	}
	own, err := ownRoles(ctx, c, org)
	if err != nil {
		return nil, err
	}
	shown := list[userRole]{Data: []userRole{}}
	for _, e := range all {
		address, err := email(ctx, c, e.id)
		if err != nil {
			return nil, err
		}
		shown.Data = append(shown.Data, rows(org, e.id, address, e.record, own)...)
	}
	return shown, nil
}

func leaveAll(ctx context.Context, c *call) (any, error) {
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		all, err := memberships(ctx, b, user)
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if err := b.remove(ctx, manage.Members(), m.Org, user); err != nil {
				return nil, err
			}
		}
		return deleted{true}, nil
	})
}

func leave(ctx context.Context, c *call) (any, error) {
	user, err := c.user()
	if err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[1], func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		return deleted{true}, b.remove(ctx, manage.Members(), org, user)
	})
}

// assign gives a user roles in an organization beside those that the user has, and makes the user a member who is none.
func assign(ctx context.Context, c *call) (any, error) {
	user, ids, err := c.roleIDs()
	if err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[1], func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		added, err := b.give(ctx, org, user, ids)
		if err != nil {
			return nil, err
		}
		if added < len(ids) {
			return nil, fail(8130, "The user has such a role already.")
		}
		return memberRows(ctx, b, org, user)
	})
}

// assignEverywhere gives a user roles of the tenant in all organizations of the user.
func assignEverywhere(ctx context.Context, c *call) (any, error) {
	user, ids, err := c.roleIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if r, err := parseRole(id); err != nil {
			return nil, err
		} else if r.org != "" {
			return nil, fail(8143, "It is a role of an organization.")
		}
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		if _, err := get[directory.User](ctx, b, manage.Users(), user); err != nil {
			return nil, err
		}
		all, err := memberships(ctx, b, user)
		if err != nil {
			return nil, err
		}
		given := 0
		for _, m := range all {
			added, err := b.give(ctx, m.Org, user, ids)
			if err != nil {
				return nil, err
			}
			given += added
		}
		if given == 0 {
			return nil, fail(8130, "The user has these roles already.")
		}
		if all, err = memberships(ctx, b, user); err != nil {
			return nil, err
		}
		return everyRow(ctx, b, user, all)
	})
}

// roleIDs are those that the body names for the user of the route.
func (c *call) roleIDs() (user string, ids []string, err error) {
	var body userRolesBody
	if err := c.read(&body, 7934); err != nil {
		return "", nil, err
	}
	if user, err = c.user(); err != nil {
		return "", nil, err
	}
	if len(body.RoleIds) == 0 {
		return "", nil, fail(7900, "RoleIds is required.")
	}
	slices.Sort(body.RoleIds)
	return user, slices.Compact(body.RoleIds), nil
}

// give adds roles to those that the user has in the organization, and says how many are new.
func (b batch) give(ctx context.Context, org, user string, ids []string) (int, error) {
	names, err := rolesIn(ctx, b, org, ids)
	if err != nil {
		return 0, err
	}
	member, err := get[directory.Member](ctx, b, manage.Members(), org, user)
	if none := (*Error)(nil); err != nil && (!errors.As(err, &none) || none.Code != 8135) {
		return 0, err
	}
	fresh := err != nil
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(member.Roles, name) })
	if len(names) == 0 {
		return 0, nil
	}
	roles := slices.Concat(member.Roles, names)
	if fresh {
		err = b.create(ctx, manage.Members(), []string{org}, map[string]any{"user": user, "roles": roles})
	} else {
		err = b.patch(ctx, manage.Members(), map[string]any{"roles": roles}, org, user)
	}
	if field(err) == "user" {
		return 0, fail(8132, fmt.Sprintf("There is no user %q.", user))
	}
	return len(names), noRole(err, "roles")
}
