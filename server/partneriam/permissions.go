package partneriam

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

// permissionsAt is the custom document that describes permissions. In Mandate a permission is no more than its name in a role, so
// this is the list that people choose from, and no permission is given or taken by it.
const permissionsAt = "partner_iam/permissions"

// permissionNotes are the permissions by their names.
type permissionNotes map[string]permissionNote

type permissionNote struct {
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"created_at"`
	ModifiedAt  time.Time `json:"modified_at"`
}

type permission struct {
	ID           string `json:"Id"`
	Name         string
	Description  string
	CreatedDate  time.Time
	ModifiedDate time.Time
}

type permissionBody struct {
	Name        string
	Description *string
}

// permissionsOf are those that there are, none for a caller who may not see the custom documents.
func permissionsOf(ctx context.Context, from records) (permissionNotes, error) {
	document, err := get[struct {
		Value permissionNotes `json:"value"`
	}](ctx, from, manage.Custom(), permissionsAt)
	if document.Value == nil {
		document.Value = permissionNotes{}
	}
	known, refused := (*Error)(nil), (*manage.Refusal)(nil)
	if errors.As(err, &known) || errors.As(err, &refused) {
		err = nil
	}
	return document.Value, err
}

func (n permissionNotes) show(name string) permission {
	note := n[name]
	return permission{pack(permID, name), name, note.Description, note.CreatedAt, note.ModifiedAt}
}

// permission is the name of the one that the route names.
func (c *call) permission() (string, error) {
	if strings.TrimSpace(c.Params[0]) == "" {
		return "", fail(8122, "Send the id of a permission.")
	}
	name, ok := only(permID, c.Params[0])
	if !ok {
		return "", noPermission()
	}
	return name, nil
}

func noPermission() error { return fail(8119, "There is no permission with this id.") }

// changePermissions writes the list that do makes of the one that there is.
func (c *call) changePermissions(ctx context.Context, do func(context.Context, batch, permissionNotes) (any, error)) (any, error) {
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		all, err := permissionsOf(ctx, b)
		if err != nil {
			return nil, err
		}
		shown, err := do(ctx, b, all)
		if err != nil {
			return nil, err
		}
		return shown, b.put(ctx, manage.Custom(), map[string]any{"value": all}, permissionsAt)
	})
}

func listPermissions(ctx context.Context, c *call) (any, error) {
	if _, err := c.List(ctx, manage.Custom(), nil, manage.Page{Limit: 1}); err != nil {
		return nil, explained(manage.Custom(), err)
	}
	all, err := permissionsOf(ctx, c)
	shown := list[permission]{Data: []permission{}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		shown.Data = append(shown.Data, all.show(name))
	}
	return shown, err
}

func createPermission(ctx context.Context, c *call) (any, error) {
	var body permissionBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	return c.changePermissions(ctx, func(_ context.Context, _ batch, all permissionNotes) (any, error) {
		if !isPermission(body.Name) {
			return nil, fail(7900, "The Name must be 1 to 255 visible ASCII characters without quotation marks and backslashes.")
		}
		if _, there := all[body.Name]; there {
			return nil, fail(8120, "There is a permission with this name already.")
		}
		if len(all) >= maxListed {
			return nil, fail(7900, "There are too many permissions.")
		}
		note := permissionNote{CreatedAt: c.Now().UTC(), ModifiedAt: c.Now().UTC()}
		if body.Description != nil {
			note.Description = *body.Description
		}
		all[body.Name] = note
		return all.show(body.Name), nil
	})
}

// isPermission checks the syntax of RFC 6749 §3.3, which permissions share with scopes.
func isPermission(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

func getPermission(ctx context.Context, c *call) (any, error) {
	name, err := c.permission()
	if err != nil {
		return nil, err
	}
	all, err := permissionsOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if _, there := all[name]; !there {
		return nil, noPermission()
	}
	return all.show(name), nil
}

func updatePermission(ctx context.Context, c *call) (any, error) {
	var body permissionBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	name, err := c.permission()
	if err != nil {
		return nil, err
	}
	return c.changePermissions(ctx, func(_ context.Context, _ batch, all permissionNotes) (any, error) {
		note, there := all[name]
		if !there {
			return nil, noPermission()
		}
		if body.Name != "" && body.Name != name {
			if _, taken := all[body.Name]; taken {
				return nil, fail(8120, "Another permission has this name.")
			}
			return nil, fail(7900, "The name of a permission cannot be changed: roles have it by its name.")
		}
		if body.Description != nil {
			note.Description = *body.Description
		}
		note.ModifiedAt = c.Now().UTC()
		all[name] = note
		return all.show(name), nil
	})
}

// deletePermission takes a permission from the list, when no role of the tenant has it. The roles of organizations keep theirs.
func deletePermission(ctx context.Context, c *call) (any, error) {
	name, err := c.permission()
	if err != nil {
		return nil, err
	}
	return c.changePermissions(ctx, func(ctx context.Context, b batch, all permissionNotes) (any, error) {
		if _, there := all[name]; !there {
			return nil, noPermission()
		}
		roles, err := every[directory.Role](ctx, b, manage.Roles())
		if err != nil {
			return nil, err
		}
		for _, e := range roles {
			if slices.Contains(e.record.Permissions, name) {
				return nil, fail(8119, "The role "+e.id+" has this permission: take it from the role first.")
			}
		}
		delete(all, name)
		return deleted{true}, nil
	})
}
