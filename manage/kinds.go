package manage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/directory"
)

const orgType = "organization"

// Kinds are all collections.
func Kinds() []Kind {
	return []Kind{Orgs(), Members(), OrgRoles(), Domains(), Connections(), Invitations(), Integrations(), Roles(), APIs(), Users(), Clients(), APIKeys(), Vendors(), Webhooks(), Consents(), Relations(), Custom(), Audits(), OrgAudits()}
}

// inPath is the organization of what lies below one.
func inPath[T any](ids []string, _ T) string { return ids[0] }

// within is a directory file about something that the organization has.
func within(org string, e directory.OrgEntry) *directory.File {
	e.ID, e.Within = org, true
	return &directory.File{Orgs: []directory.OrgEntry{e}}
}

// Orgs are the organizations.
func Orgs() Kind {
	return &kind[directory.Org]{
		name: "orgs", resource: orgType, path: "orgs/{id}", keys: []string{"id"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Org] { return t.Org(ids[0]) },
		file: func(ids []string, o directory.Org, _ given) (*directory.File, string) {
			return &directory.File{Orgs: []directory.OrgEntry{{ID: ids[0], Name: o.Name, Status: o.Status, Parent: o.Parent, Metadata: o.Metadata}}}, "orgs[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteOrg(ctx, tx, ids[0])
		},
		filters: []string{"status"},
		indexes: map[string]index{"parent": func(ctx context.Context, r datastore.Reader, t directory.Tenant, parent, after string, do func(string) error) error {
			return t.Children(ctx, r, parent, after, do)
		}},
		all: func(ctx context.Context, r datastore.Reader, t directory.Tenant, _, after string, do func(string) error) error {
			return t.Orgs(ctx, r, after, do)
		},
		about: aboutOrg,
	}
}

// aboutOrg keeps the tree of organizations a tree.
func aboutOrg(ctx context.Context, c *change, ids []string, before, after *directory.Org, _ map[string]any) error {
	if after == nil {
		return c.withoutChildren(ctx, ids[0])
	}
	if before != nil && before.Parent == after.Parent {
		return nil
	}
	parent := after.Parent
	for range maxAncestors {
		if parent == "" {
			return nil
		}
		if parent == ids[0] {
			return invalid("parent", "would make the organization its own ancestor")
		}
		above, _, err := c.tenant().Org(parent).Find(ctx, c.reading)
		if err != nil {
			return err
		}
		parent = above.Parent
	}
	return invalid("parent", "has too many organizations above it")
}

// maxAncestors bounds how deep organizations can lie below each other.
const maxAncestors = 4

func (c *change) withoutChildren(ctx context.Context, org string) error {
	var child string
	err := c.tenant().Children(ctx, c.reading, org, "", func(id string) error {
		child = id
		return directory.ErrEnough
	})
	if err == nil && child != "" {
		err = &Conflict{"has_children", "The organization has children, such as " + child + ": delete or move them first."}
	}
	return err
}

// Members are the members of an organization.
func Members() Kind {
	return &kind[directory.Member]{
		name: "orgs.members", resource: "member", path: "orgs/{org}/members/{user}", keys: []string{"user"}, org: inPath[directory.Member],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Member] {
			return t.Member(ids[0], ids[1])
		},
		file: func(ids []string, m directory.Member, _ given) (*directory.File, string) {
			return within(ids[0], directory.OrgEntry{Members: []directory.MemberEntry{{User: ids[1], Roles: m.Roles, Status: m.Status, JoinedAt: m.JoinedAt}}}),
				"orgs[0].members[0]"
		},
		revoke: func(ctx context.Context, c *change, ids []string, _ directory.Member) error {
			if err := c.endIntegrations(ctx, ids[0], ids[1]); err != nil {
				return err
			}
			if err := c.endKeys(ctx, ids[0], ids[1]); err != nil {
				return err
			}
			if err := c.endInvitations(ctx, ids[0], ids[1]); err != nil {
				return err
			}
			return c.tenant().DeleteMember(ctx, c, ids[0], ids[1])
		},
		fixed: []string{"joined_at"}, filters: []string{"roles", "status"},
		about: aboutMember,
	}
}

// aboutMember tells the policy which roles nobody else holds in the organization.
func aboutMember(ctx context.Context, c *change, ids []string, before, after *directory.Member, properties map[string]any) error {
	if before == nil {
		if after != nil && after.JoinedAt == nil {
			after.JoinedAt = &c.at
		}
		return nil
	}
	sole, err := c.soleHolderOf(ctx, ids[0], ids[1], *before)
	properties["sole_holder_of"] = sole
	return err
}

// soleHolderOf are the roles of the member that no other active user holds in the organization by an active membership.
func (c *change) soleHolderOf(ctx context.Context, org, user string, member directory.Member) ([]string, error) {
	sole := []string{}
	for _, role := range member.Roles {
		only, err := c.tenant().SoleHolder(ctx, c.reading, org, role, user)
		if err != nil {
			return nil, err
		}
		if only {
			sole = append(sole, role)
		}
	}
	return sole, nil
}

// soleHolderIn are those of all organizations of the user.
func (c *change) soleHolderIn(ctx context.Context, user string) (map[string][]string, error) {
	in := map[string][]string{}
	err := c.tenant().OrgsOf(ctx, c.reading, user, func(org string) error {
		_, found, err := c.tenant().Org(org).Find(ctx, c.reading)
		if err != nil || !found {
			return err
		}
		member, _, err := c.tenant().Member(org, user).Find(ctx, c.reading)
		if err != nil {
			return err
		}
		if sole, err := c.soleHolderOf(ctx, org, user, member); err != nil {
			return err
		} else if len(sole) > 0 {
			in[org] = sole
		}
		return nil
	})
	return in, err
}

// endKeys deletes the API keys of the user for the organization: they must not come alive when the user joins again.
func (c *change) endKeys(ctx context.Context, org, user string) error {
	keys := map[string]directory.APIKey{}
	err := c.tenant().APIKeysOwnedBy(ctx, c, user, "", func(id string, key directory.APIKey) error {
		if key.Org == org {
			keys[id] = key
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		if err := c.tenant().DeleteAPIKey(ctx, c, id); err != nil {
			return err
		}
		gone := Resource{Type: "apikey", ID: id, Properties: map[string]any{"org": org}}
		if err := c.done(ctx, "apikeys.delete", gone, keys[id], nil); err != nil {
			return err
		}
	}
	return nil
}

// OrgRoles are the roles that an organization defines.
func OrgRoles() Kind {
	return &kind[directory.Role]{
		name: "orgs.roles", resource: "role", path: "orgs/{org}/roles/{id}", keys: []string{"id"}, org: inPath[directory.Role],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Role] {
			return t.OrgRole(ids[0], ids[1])
		},
		file: func(ids []string, r directory.Role, _ given) (*directory.File, string) {
			return within(ids[0], directory.OrgEntry{Roles: map[string]directory.RoleEntry{ids[1]: directory.RoleEntry(r)}}), "orgs[0].roles." + ids[1]
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteOrgRole(ctx, tx, ids[0], ids[1])
		},
		about: aboutOrgRole,
	}
}

// Roles are those of the tenant.
func Roles() Kind {
	return &kind[directory.Role]{
		name: "roles", resource: "role", path: "roles/{id}", keys: []string{"id"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Role] { return t.Role(ids[0]) },
		file: func(ids []string, r directory.Role, _ given) (*directory.File, string) {
			return &directory.File{Roles: map[string]directory.RoleEntry{ids[0]: directory.RoleEntry(r)}}, "roles." + ids[0]
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteRole(ctx, tx, ids[0])
		},
		about: aboutRole,
	}
}

// aboutRole keeps the role for new members, of which there is one.
func aboutRole(ctx context.Context, c *change, _ []string, before, after *directory.Role, _ map[string]any) error {
	was := before != nil && before.Default
	if after == nil && was {
		return &Conflict{"default_role", "It is the role of new members: make another role that first."}
	}
	if after == nil || !after.Default || was {
		return nil
	}
	for fact, err := range c.reading.Scan(ctx, prefixOf(c.tenant(), []string{"roles"}), datastore.Path{}) {
		if err != nil {
			return fmt.Errorf("look for the default role: %w", err)
		}
		var other directory.Role
		if err := json.Unmarshal(fact.Value, &other); err != nil {
			return fmt.Errorf("look for the default role: %w", err)
		}
		if other.Default {
			return &Conflict{"default_role_taken", "Another role is the default one: make it an ordinary one first."}
		}
	}
	return nil
}

// APIs are the resource servers.
func APIs() Kind {
	return &kind[directory.API]{
		name: "apis", resource: "api", path: "apis/{id}", keys: []string{"id"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.API] { return t.API(ids[0]) },
		file: func(ids []string, a directory.API, _ given) (*directory.File, string) {
			return &directory.File{APIs: []directory.APIEntry{a.Entry(ids[0])}}, "apis[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteAPI(ctx, tx, ids[0])
		},
		filters: []string{"audience"},
	}
}

// Users are the people of the tenant.
func Users() Kind {
	return &kind[directory.User]{
		name: "users", resource: "user", path: "users/{id}", keys: []string{"id"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.User] { return t.User(ids[0]) },
		file: func(ids []string, u directory.User, g given) (*directory.File, string) {
			return &directory.File{Users: []directory.UserEntry{{ID: ids[0], Username: u.Username, Email: u.Email, EmailVerified: u.EmailVerified,
				Status: u.Status, PasswordHash: g.PasswordHash}}}, "users[0]"
		},
		revoke: func(ctx context.Context, c *change, ids []string, _ directory.User) error {
			var orgs []string
			if err := c.tenant().OrgsOf(ctx, c, ids[0], func(org string) error { orgs = append(orgs, org); return nil }); err != nil {
				return err
			}
			for _, org := range orgs {
				if err := c.endIntegrations(ctx, org, ids[0]); err != nil {
					return err
				}
				if err := c.endKeys(ctx, org, ids[0]); err != nil {
					return err
				}
			}
			if err := c.endInvitations(ctx, "", ids[0]); err != nil {
				return err
			}
			return c.tenant().DeleteUser(ctx, c, ids[0])
		},
		about: aboutUser,
		takes: []string{"password_hash"}, filters: []string{"status", "username", "email"},
	}
}

// aboutUser sees to it that an address that changes is proved anew, and tells the policy which roles nobody holds any more without
// a user who goes.
func aboutUser(ctx context.Context, c *change, ids []string, before, after *directory.User, properties map[string]any) (err error) {
	if c.Tx == nil {
		return nil // it is read
	}
	if before != nil && after != nil && !directory.SameEmail(before.Email, after.Email) {
		after.EmailVerified = false
	}
	if after != nil && after.Status == directory.Active {
		return nil
	}
	// Whoever may not know of the user must not tell by the work it takes either.
	if hidden := c.permit(ctx, "users.get", Resource{Type: "user", ID: ids[0]}); hidden == nil && before != nil && before.Status == directory.Active {
		properties["sole_holder_in"], err = c.soleHolderIn(ctx, ids[0])
	}
	return err
}

// Consents are what users let clients do. They are given on the consent page, and can be read and taken back here.
func Consents() Kind {
	return &kind[directory.Consent]{
		name: "consents", resource: "consent", path: "consents/{user}/{client}", keys: []string{"client"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Consent] {
			return t.Consent(ids[0], ids[1])
		},
		remove: func(_ context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return tx.Delete(t.Consent(ids[0], ids[1]).Path)
		},
		about: func(_ context.Context, _ *change, ids []string, _, _ *directory.Consent, properties map[string]any) error {
			properties["user"] = ids[0]
			return nil
		},
	}
}

// Relations are relationship tuples, for sharing single resources.
func Relations() Kind {
	return &kind[directory.Relation]{
		name: "relations", resource: "relation", path: "relations/{type}/{id}/{relation}/{subject}", keys: []string{"type", "id", "relation", "subject"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Relation] {
			return t.Relation(ids[0], ids[1], ids[2], ids[3])
		},
		file: func(ids []string, _ directory.Relation, _ given) (*directory.File, string) {
			return &directory.File{Relations: []directory.RelationEntry{{Resource: ids[0] + ":" + ids[1], Relation: ids[2], Subject: ids[3]}}}, "relations[0]"
		},
		remove: func(_ context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return tx.Delete(t.Relation(ids[0], ids[1], ids[2], ids[3]).Path)
		},
	}
}

// Custom are the documents of a security team's own, by their path: "blocked/10.0.0.1".
func Custom() Kind {
	return &kind[directory.CustomValue]{
		name: "custom", resource: "custom", path: "custom/{id}", keys: []string{"id"}, deep: true,
		place: func(t directory.Tenant, ids []string) directory.Place[directory.CustomValue] { return t.Custom(ids[0]) },
		wrap:  func(text jsontext.Value) jsontext.Value { return fmt.Appendf(nil, `{"value":%s}`, text) },
		file: func(ids []string, v directory.CustomValue, _ given) (*directory.File, string) {
			return &directory.File{Custom: map[string]any{ids[0]: v.Value}}, "custom." + ids[0]
		},
		remove: func(_ context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return tx.Delete(t.Custom(ids[0]).Path)
		},
	}
}

// Audits are the audit records of the tenant, the newest first.
func Audits() Kind {
	return &kind[directory.Audit]{
		name: "audit", resource: "audit", path: "audit/{id}", keys: []string{"id"}, filters: []string{"action"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Audit] { return t.Audit(ids[0]) },
		scan:  func([]string) []string { return []string{directory.PrivateRoot, "audit"} },
	}
}

// OrgAudits are those about what belongs to one organization.
func OrgAudits() Kind {
	return &kind[directory.Audit]{
		name: "orgs.audit", resource: "audit", path: "orgs/{org}/audit/{id}", keys: []string{"id"}, org: inPath[directory.Audit], filters: []string{"action"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Audit] { return t.Audit(ids[1]) },
		among: func(ids []string, a directory.Audit) bool { return a.Resource.Org == ids[0] },
		all: func(ctx context.Context, r datastore.Reader, t directory.Tenant, org, after string, do func(string) error) error {
			return t.AuditsOf(ctx, r, org, after, do)
		},
	}
}

// idsOf is an index of the directory, which has the records as well.
func idsOf[T any](of func(directory.Tenant, context.Context, datastore.Reader, string, string, func(string, T) error) error) index {
	return func(ctx context.Context, r datastore.Reader, t directory.Tenant, value, after string, do func(id string) error) error {
		return of(t, ctx, r, value, after, func(id string, _ T) error { return do(id) })
	}
}
