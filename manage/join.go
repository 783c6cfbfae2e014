package manage

import (
	"context"
	"fmt"
	"strings"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// itself runs a write that nobody has asked for: that Mandate makes by a rule which somebody has set, for the reason given.
func (m *Manager) itself(ctx context.Context, reason string, do func(*change) error) error {
	_, err := m.o.Store.Update(ctx, func(tx datastore.Tx) error {
		return do(&change{Tx: tx, m: m, q: &Request{Policies: m.o.Policy.Policies()}, reading: memo.Over(tx), at: m.o.Now(), reason: reason})
	})
	return err
}

// AutoJoin makes a user who has just signed in a member of the organization that has verified the domain of the user's verified email
// address, when the domain says with which roles. Nobody's membership is changed by that, and nobody whose membership was taken away
// gets it back.
func (m *Manager) AutoJoin(ctx context.Context, r *memo.Reading, user string) error {
	if org, _, err := m.joins(ctx, r, user); err != nil || org == "" {
		return err
	}
	err := m.itself(ctx, "auto_join", func(c *change) error {
		org, roles, err := m.joins(ctx, c, user)
		if err != nil || org == "" {
			return err
		}
		at := c.at.UTC()
		member := directory.Member{Roles: roles, Status: directory.Active, JoinedAt: &at}
		if err := c.tenant().PutMember(ctx, c, org, user, member); err != nil {
			return err
		}
		resource := Resource{Type: "member", ID: user, Properties: map[string]any{"org": org}}
		return c.done(ctx, "orgs.members.join", resource, nil, member)
	})
	if err != nil {
		return fmt.Errorf("join an organization: %w", err)
	}
	return nil
}

// joins is the organization that the user joins, empty for none, and with which roles: those that there are.
func (m *Manager) joins(ctx context.Context, r datastore.Reader, id string) (org string, roles []string, err error) {
	t := m.o.Tenant
	user, found, err := t.User(id).Find(ctx, r)
	if err != nil || !found || user.Status != directory.Active || !user.EmailVerified || directory.CheckEmail(user.Email) != nil {
		return "", nil, err
	}
	name := strings.ToLower(user.Email[strings.LastIndexByte(user.Email, '@')+1:])
	owner, found, err := t.VerifiedDomain(name).Find(ctx, r)
	if err != nil || !found {
		return "", nil, err
	}
	domain, _, err := t.Domain(owner.ID, name).Find(ctx, r)
	if err != nil || domain.Status != directory.Verified || len(domain.AutoJoin) == 0 {
		return "", nil, err
	}
	profile, _, err := t.Org(owner.ID).Find(ctx, r)
	if err != nil || profile.Status != directory.Active {
		return "", nil, err
	}
	if _, member, err := t.Member(owner.ID, id).Find(ctx, r); err != nil || member {
		return "", nil, err
	}
	if left, err := t.HasLeft(ctx, r, owner.ID, id); err != nil || left {
		return "", nil, err
	}
	if roles, err = m.rolesThere(ctx, r, owner.ID, domain.AutoJoin); err != nil {
		return "", nil, err
	}
	if len(roles) == 0 {
		return "", nil, nil
	}
	return owner.ID, roles, nil
}

// rolesThere are those of the roles that there are.
func (m *Manager) rolesThere(ctx context.Context, r datastore.Reader, org string, roles []string) (there []string, err error) {
	for _, role := range roles {
		found, err := m.roleThere(ctx, r, org, role)
		if err != nil {
			return nil, err
		}
		if found {
			there = append(there, role)
		}
	}
	return there, nil
}

// roleThere says whether the organization or the tenant has the role.
func (m *Manager) roleThere(ctx context.Context, r datastore.Reader, org, role string) (bool, error) {
	_, found, err := m.o.Tenant.OrgRole(org, role).Find(ctx, r)
	if err == nil && !found {
		_, found, err = m.o.Tenant.Role(role).Find(ctx, r)
	}
	return found, err
}
