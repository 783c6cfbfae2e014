package manage

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"mandate/authn"
	"mandate/datastore"
	"mandate/directory"
)

// FindInvitation is the live invitation that the token of a link accepts, ErrNotFound when there is none.
func (m *Manager) FindInvitation(ctx context.Context, r datastore.Reader, token directory.Secret) (directory.InvitationRef, directory.Invitation, error) {
	var none directory.Invitation
	if token.IsZero() || directory.Mistyped(token.Expose()) {
		return directory.InvitationRef{}, none, ErrNotFound
	}
	ref, found, err := m.o.Tenant.InvitationByToken(m.o.Master.Hash(token)).Find(ctx, r)
	if err != nil {
		return ref, none, err
	}
	if !found {
		return ref, none, ErrNotFound
	}
	invitation, found, err := m.o.Tenant.Invitation(ref.Org, ref.ID).Find(ctx, r)
	if err == nil && (!found || !invitation.Live(m.o.Now())) {
		err = ErrNotFound
	}
	return ref, invitation, err
}

// AcceptInvitation makes the user a member, with the roles of the invitation that there still are beside those that a membership
// has already. The user is the caller when it is empty. Token is that of the link, if the user has followed it.
func (m *Manager) AcceptInvitation(ctx context.Context, q *Request, org, id, user string, token directory.Secret) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		before, found, err := c.tenant().Invitation(org, id).Find(ctx, c)
		if err != nil {
			return nil, err
		}
		if user == "" && c.q.Caller != nil && c.q.Caller.Type == authn.User {
			user = c.q.Caller.Subject
		}
		resource := Resource{Type: "invitation", ID: id, Properties: map[string]any{"org": org, "user": user}}
		if found {
			resource.Properties["before"] = before
		}
		if err := c.proveMailbox(ctx, org, id, user, before, token); err != nil {
			return nil, err
		}
		if err := c.permit(ctx, "orgs.invitations.accept", resource); err != nil {
			return nil, err
		}
		if !found {
			return nil, ErrNotFound
		}
		return c.accept(ctx, org, id, user, before, resource)
	})
}

// proveMailbox notes that the user owns the address of the invitation, when its link was sent there and nowhere else.
func (c *change) proveMailbox(ctx context.Context, org, id, user string, i directory.Invitation, token directory.Secret) error {
	if token.IsZero() || !i.Mailed {
		return nil
	}
	ref, found, err := c.tenant().InvitationByToken(c.m.o.Master.Hash(token)).Find(ctx, c)
	if err != nil || !found || ref != (directory.InvitationRef{Org: org, ID: id}) {
		return err
	}
	record, found, err := c.tenant().User(user).Find(ctx, c)
	if err != nil || !found || record.EmailVerified || !directory.SameEmail(record.Email, i.Email) {
		return err
	}
	was := record
	record.EmailVerified, c.reason = true, byMail
	if err := c.tenant().PutUser(ctx, c, user, record); err != nil {
		return err
	}
	return c.done(ctx, "users.update", ofUser("user", user, user), was, record)
}

func (c *change) accept(ctx context.Context, org, id, user string, before directory.Invitation, resource Resource) (*Answer, error) {
	if err := c.open(before); err != nil {
		return nil, err
	}
	record, found, err := c.tenant().User(user).Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if !found || record.Status != directory.Active || !record.EmailVerified || !directory.SameEmail(record.Email, before.Email) {
		return nil, &Conflict{"wrong_person", "The invitation is for another email address than the verified one of the user."}
	}
	member, isMember, err := c.tenant().Member(org, user).Find(ctx, c)
	if err != nil {
		return nil, err
	}
	was := member
	if !isMember {
		member = directory.Member{Roles: []string{}, Status: directory.Active, JoinedAt: &c.at}
	}
	roles, err := c.m.rolesThere(ctx, c, org, before.Roles)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		if !slices.Contains(member.Roles, role) {
			member.Roles = append(slices.Clone(member.Roles), role)
		}
	}
	if _, err := members().write(ctx, c, []string{org, user}, nil, member, given{}); err != nil {
		return nil, err
	}
	after := before
	after.Status, after.AcceptedBy = directory.Accepted, user
	if err := c.tenant().EndInvitationToken(ctx, c, org, id); err != nil {
		return nil, err
	}
	if err := c.tenant().PutInvitation(ctx, c, org, id, after); err != nil {
		return nil, err
	}
	if err := c.done(ctx, "orgs.invitations.accept", resource, before, after); err != nil {
		return nil, err
	}
	joined := Resource{Type: "member", ID: user, Properties: map[string]any{"org": org}}
	action, former := "orgs.members.create", any(nil)
	if isMember {
		action, former = "orgs.members.update", was
	}
	if err := c.done(ctx, action, joined, former, member); err != nil {
		return nil, err
	}
	body, err := document([]string{"id"}, []string{org, id}, after)
	return &Answer{Body: body}, err
}

// RegisterInvited makes the account of somebody who was invited by mail and has none: the address, which the link has proved to
// be theirs, is the username.
func (m *Manager) RegisterInvited(ctx context.Context, q *Request, token, password directory.Secret) error {
	hash, err := m.o.Authn.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	_, err = m.change(ctx, q, func(c *change) (*Answer, error) {
		ref, i, err := m.FindInvitation(ctx, c, token)
		if err != nil {
			return nil, err
		}
		user := directory.User{Username: i.Email, Email: i.Email, EmailVerified: true, Status: directory.Active}
		id := strings.ToLower(rand.Text())
		resource := Resource{Type: "user", ID: id, Properties: map[string]any{"org": ref.Org, "invitation": ref.ID, "mailed": i.Mailed, "after": user}}
		if err := c.permit(ctx, "users.register", resource); err != nil {
			return nil, err
		}
		if !i.Mailed {
			return nil, &Conflict{"address_not_proved", "The link did not come by mail: sign in with the account that has this address."}
		}
		err = m.o.Tenant.UsersByEmail(ctx, c, i.Email, func(string) error {
			return &Conflict{"address_taken", "There is an account with this address: sign in with it."}
		})
		if err != nil {
			return nil, err
		}
		file := &directory.File{Users: []directory.UserEntry{{ID: id, Username: user.Username, Email: user.Email, EmailVerified: true, PasswordHash: hash}}}
		if _, err := file.Put(ctx, m.o.Tenant, c, m.o.Master); err != nil {
			return nil, fmt.Errorf("make the account of an invitation: %w", err)
		}
		return &Answer{}, c.done(ctx, "users.register", resource, nil, user)
	})
	return err
}
