package partneriam

import (
	"context"
	"errors"
	"slices"
	"time"

	"mandate/directory"
	"mandate/manage"
)

// policies are those of an organization. JITPolicy and MemberPolicy say who joins the organization by signing in, and as what: they are
// the auto_join of its verified domains, and kept nowhere else. PasswordPolicy and SessionPolicy are kept and returned, and Mandate does not enforce them;
// a second factor, which it does not have, cannot be enforced, and so MFAPolicy cannot say that it is.
type policies struct {
	JITPolicy      *jitPolicy      `json:"JITPolicy,omitempty"`
	MFAPolicy      *mfaPolicy      `json:"MFAPolicy,omitempty"`
	MemberPolicy   *memberPolicy   `json:"MemberPolicy,omitempty"`
	PasswordPolicy *passwordPolicy `json:"PasswordPolicy,omitempty"`
	SessionPolicy  *sessionPolicy  `json:"SessionPolicy,omitempty"`
}

type jitPolicy struct{ Enabled *bool }

type mfaPolicy struct{ EnforcementMode string }

type memberPolicy struct{ DefaultMemberRole string }

type passwordPolicy struct {
	MinLength          *int  `json:"MinLength,omitempty"`
	MaxLength          *int  `json:"MaxLength,omitempty"`
	RequireUppercase   *bool `json:"RequireUppercase,omitempty"`
	RequireLowercase   *bool `json:"RequireLowercase,omitempty"`
	RequireNumber      *bool `json:"RequireNumber,omitempty"`
	RequireSpecialChar *bool `json:"RequireSpecialChar,omitempty"`
	ExpiryDays         *int  `json:"ExpiryDays,omitempty"`
}

type sessionPolicy struct {
	AccessTokenTTL  *int `json:"AccessTokenTTL,omitempty"`
	RefreshTokenTTL *int `json:"RefreshTokenTTL,omitempty"`
}

// contradicts says what in them cannot be together.
func (p policies) contradicts() error {
	var numbers []*int
	if password := p.PasswordPolicy; password != nil {
		numbers = append(numbers, password.MinLength, password.MaxLength, password.ExpiryDays)
		if above(password.MinLength, password.MaxLength) {
			return fail(7900, "MinLength is more than MaxLength.")
		}
	}
	if session := p.SessionPolicy; session != nil {
		numbers = append(numbers, session.AccessTokenTTL, session.RefreshTokenTTL)
		if above(session.AccessTokenTTL, session.RefreshTokenTTL) {
			return fail(7900, "AccessTokenTTL is more than RefreshTokenTTL.")
		}
	}
	if slices.ContainsFunc(numbers, func(n *int) bool { return n != nil && *n < 0 }) {
		return fail(7900, "A number is less than 0.")
	}
	if p.MFAPolicy != nil && !slices.Contains([]string{"", "none", "optional"}, p.MFAPolicy.EnforcementMode) {
		return fail(8160, "There is no second factor in this tenant that could be enforced.")
	}
	return nil
}

func above(least, most *int) bool { return least != nil && most != nil && *least > *most }

func setPolicies(ctx context.Context, c *call) (any, error) {
	var body policies
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, id string, _ directory.Org) (any, error) {
		if err := b.setPolicies(ctx, id, &body, c.Now()); err != nil {
			return nil, err
		}
		record, err := get[directory.Org](ctx, b, manage.Orgs(), id)
		if err != nil {
			return nil, err
		}
		all, err := every[directory.Domain](ctx, b, manage.Domains(), id)
		if err != nil {
			return nil, err
		}
		return policiesOf(ctx, b, id, notesOf(record), all)
	})
}

// policiesOf are the policies of an organization that has these domains. MemberPolicy is left out when it could not say it all.
func policiesOf(ctx context.Context, from records, org string, n notes, domains []entry[directory.Domain]) (policies, error) {
	roles, alike := joinedAs(domains)
	enabled := roles != nil
	shown := n.Policies
	shown.JITPolicy = &jitPolicy{&enabled}
	if !alike || len(roles) != 1 {
		return shown, nil
	}
	own, err := ownRoles(ctx, from, org)
	shown.MemberPolicy = &memberPolicy{roleOf(org, roles[0], own).id()}
	return shown, err
}

// setPolicies sets those that are given.
func (b batch) setPolicies(ctx context.Context, id string, given *policies, now time.Time) error {
	o, err := get[directory.Org](ctx, b, manage.Orgs(), id)
	if err != nil {
		return err
	}
	n := notesOf(o)
	if given.MFAPolicy != nil {
		n.Policies.MFAPolicy = given.MFAPolicy
	}
	if given.PasswordPolicy != nil {
		n.Policies.PasswordPolicy = given.PasswordPolicy
	}
	if given.SessionPolicy != nil {
		n.Policies.SessionPolicy = given.SessionPolicy
	}
	n.ModifiedAt = now.UTC()
	if err := b.put(ctx, manage.Orgs(), n.with(o), id); err != nil {
		return err
	}
	if err := n.Policies.contradicts(); err != nil {
		return err
	}
	return b.letJoin(ctx, id, given)
}

// hasConnection refuses an organization without a provider whose users could join.
func (b batch) hasConnection(ctx context.Context, org string) error {
	all, err := every[directory.Connection](ctx, b, manage.Connections(), org)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(e entry[directory.Connection]) bool { return e.record.Status == directory.Active }) {
		return fail(8181, "The organization has no active connection.")
	}
	return nil
}

// joinedAs are the roles with which people of the verified domains join, nil when nobody does, and whether they are alike in all
// domains that let people join.
func joinedAs(domains []entry[directory.Domain]) (roles []string, alike bool) {
	for _, e := range domains {
		switch {
		case e.record.Status != directory.Verified || len(e.record.AutoJoin) == 0:
		case roles == nil:
			roles = e.record.AutoJoin
		case !slices.Equal(roles, e.record.AutoJoin):
			return roles, false
		}
	}
	return roles, true
}

// letJoin lets the people of the verified domains join as the given policies say, or no more. What they leave out is as the domains
// say: the metadata of an organization may have been written by somebody who may not say who joins it.
func (b batch) letJoin(ctx context.Context, org string, given *policies) error {
	var enabled *bool
	if given.JITPolicy != nil {
		enabled = given.JITPolicy.Enabled
	}
	var named []string
	if given.MemberPolicy != nil && given.MemberPolicy.DefaultMemberRole != "" {
		var err error
		if named, err = b.memberRole(ctx, org, given.MemberPolicy.DefaultMemberRole); err != nil {
			return err
		}
	}
	if enabled == nil && named == nil {
		return nil
	}
	all, err := every[directory.Domain](ctx, b, manage.Domains(), org)
	if err != nil {
		return err
	}
	joined, _ := joinedAs(all)
	switch {
	case enabled == nil && joined == nil:
		return fail(8159, "DefaultMemberRole is the role of those who join, and nobody does: send JITPolicy with it.")
	case enabled != nil && *enabled && joined == nil:
		if err := b.hasConnection(ctx, org); err != nil {
			return err
		}
	}
	for _, e := range all {
		joins := len(e.record.AutoJoin) > 0
		if enabled != nil {
			joins = *enabled
		}
		roles := named
		switch {
		case e.record.Status != directory.Verified:
			continue
		case !joins:
			roles = []string{}
		case named == nil && len(e.record.AutoJoin) > 0:
			continue
		case named == nil:
			if roles, err = b.joinsAs(ctx, org, all); err != nil {
				return err
			}
		}
		if slices.Equal(e.record.AutoJoin, roles) {
			continue
		}
		if err := b.patch(ctx, manage.Domains(), map[string]any{"auto_join": roles}, org, e.id); err != nil {
			return err
		}
	}
	return nil
}

// joinsAs are the roles of those who join when the request names none: those of the other domains, or the default role of the tenant.
func (b batch) joinsAs(ctx context.Context, org string, domains []entry[directory.Domain]) ([]string, error) {
	roles, alike := joinedAs(domains)
	if !alike {
		return nil, fail(8159, "Set DefaultMemberRole, for the domains have different ones.")
	}
	if roles != nil {
		return roles, nil
	}
	all, err := every[directory.Role](ctx, b, manage.Roles())
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.record.Default {
			return b.memberRole(ctx, org, role{name: e.id}.id())
		}
	}
	return nil, fail(8159, "Set DefaultMemberRole, for the tenant has no default role.")
}

// memberRole is the role with that id, if members of the organization can have it.
func (b batch) memberRole(ctx context.Context, org, id string) ([]string, error) {
	named, err := rolesIn(ctx, b, org, []string{id})
	if err == nil {
		_, err = roleAt(ctx, b, id)
	}
	if known := (*Error)(nil); errors.As(err, &known) {
		return nil, fail(8159, "DefaultMemberRole is no role of the tenant or the organization.")
	}
	return named, err
}
