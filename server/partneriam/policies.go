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
// the auto_join of its verified domains. PasswordPolicy and SessionPolicy are kept and returned, and Mandate does not enforce them;
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

// joins says whether people join by signing in.
func (p policies) joins() bool {
	return p.JITPolicy != nil && p.JITPolicy.Enabled != nil && *p.JITPolicy.Enabled
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
		return notesOf(record).Policies, err
	})
}

// setPolicies sets those that are given.
func (b batch) setPolicies(ctx context.Context, id string, given *policies, now time.Time) error {
	o, err := get[directory.Org](ctx, b, manage.Orgs(), id)
	if err != nil {
		return err
	}
	n := notesOf(o)
	joined := n.Policies.joins()
	if given.JITPolicy != nil {
		n.Policies.JITPolicy = given.JITPolicy
	}
	if given.MFAPolicy != nil {
		n.Policies.MFAPolicy = given.MFAPolicy
	}
	if given.MemberPolicy != nil {
		n.Policies.MemberPolicy = given.MemberPolicy
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
	if n.Policies.joins() && !joined {
		if err := b.hasConnection(ctx, id); err != nil {
			return err
		}
	}
	if given.JITPolicy == nil && given.MemberPolicy == nil {
		return nil
	}
	return b.letJoin(ctx, id, n.Policies)
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

// letJoin lets the people of the verified domains join as the policies say, or no more.
func (b batch) letJoin(ctx context.Context, org string, p policies) error {
	roles, err := b.joinsAs(ctx, org, p)
	if err != nil {
		return err
	}
	all, err := every[directory.Domain](ctx, b, manage.Domains(), org)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.record.Status != directory.Verified || slices.Equal(e.record.AutoJoin, roles) {
			continue
		}
		if err := b.patch(ctx, manage.Domains(), map[string]any{"auto_join": roles}, org, e.id); err != nil {
			return err
		}
	}
	return nil
}

// joinsAs are the roles of those who join: of the organization's own policy, or the default role of the tenant.
func (b batch) joinsAs(ctx context.Context, org string, p policies) ([]string, error) {
	if p.MemberPolicy != nil && p.MemberPolicy.DefaultMemberRole != "" {
		named, err := b.memberRole(ctx, org, p.MemberPolicy.DefaultMemberRole)
		if err != nil || p.joins() {
			return named, err
		}
	}
	if !p.joins() {
		return []string{}, nil
	}
	all, err := every[directory.Role](ctx, b, manage.Roles())
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.record.Default {
			return []string{e.id}, nil
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
