package manage

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/authn"
	"mandate/datastore"
	"mandate/delivery"
	"mandate/directory"
)

// Bounds of invitations: how long one is good for, and how long to wait before its mail is sent again.
const (
	invitationLifetime    = 7 * 24 * time.Hour
	maxInvitationLifetime = 30 * 24 * time.Hour
	resendPause           = time.Minute
)

const (
	deliverByMail = "mail"
	deliverHere   = "return" // the link is in the answer, for a product that sends mails of its own
)

// Invitations are those of an organization. Deleting one revokes it: it stays to be seen.
func Invitations() Kind {
	return &kind[directory.Invitation]{
		name: "orgs.invitations", resource: "invitation", path: "orgs/{org}/invitations/{id}", keys: []string{"id"}, org: inPath[directory.Invitation],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Invitation] {
			return t.Invitation(ids[0], ids[1])
		},
		store:   storeInvitation,
		revoke:  revokeInvitation,
		secrets: map[directory.SecretKind]string{directory.KindInvitation: "link"},
		takes:   []string{"deliver"},
		fixed:   []string{"status", "accepted_by", "created_at", "sent_at", "mailed"},
		filters: []string{"status", "email", "roles"},
		about:   aboutInvitation,
	}
}

// aboutInvitation sets what only Mandate sets, and checks that there is somebody to invite.
func aboutInvitation(ctx context.Context, c *change, ids []string, before, after *directory.Invitation, _ map[string]any) error {
	if before != nil && after != before { // the caller wants to change it
		if problem := c.open(*before); problem != nil {
			return problem
		}
	}
	if after == nil || after == before {
		return nil
	}
	if before != nil {
		if !directory.SameEmail(before.Email, after.Email) || before.InvitedBy != after.InvitedBy || before.RedirectURI != after.RedirectURI {
			return invalid("email", "cannot be changed, nor who invites and where to: revoke the invitation and make another one")
		}
		return c.lifetime(after)
	}
	after.Status, after.CreatedAt = directory.Invited, c.at.UTC()
	if caller := c.q.Caller; caller != nil && caller.Type == authn.User {
		after.InvitedBy = caller.Subject
	}
	if err := directory.CheckEmail(after.Email); err != nil {
		return invalid("email", err.Error())
	}
	if err := c.lifetime(after); err != nil {
		return err
	}
	if err := c.inviter(ctx, after.InvitedBy); err != nil {
		return err
	}
	if after.RedirectURI != "" {
		if err := c.ownRedirect(ctx, after.RedirectURI); err != nil {
			return err
		}
	}
	return c.notThere(ctx, ids[0], after.Email)
}

// inviter refuses an invitation in the name of nobody.
func (c *change) inviter(ctx context.Context, user string) error {
	if user == "" {
		return nil
	}
	record, found, err := c.tenant().User(user).Find(ctx, c)
	if err == nil && (!found || record.Status != directory.Active) {
		err = invalid("invited_by", "is not an active user")
	}
	return err
}

// ownRedirect refuses to send people anywhere but to the tenant's own applications.
func (c *change) ownRedirect(ctx context.Context, uri string) error {
	for fact, err := range c.Scan(ctx, prefixOf(c.tenant(), []string{"clients"}), datastore.Path{}) {
		if err != nil {
			return fmt.Errorf("look for a redirect URI: %w", err)
		}
		var client directory.Client
		if err := json.Unmarshal(fact.Value, &client); err != nil {
			return fmt.Errorf("look for a redirect URI: %w", err)
		}
		if client.Party != "third" && client.Status == directory.Active && slices.Contains(client.RedirectURIs, uri) {
			return nil
		}
	}
	return invalid("redirect_uri", "is not a redirect URI of a first party's client")
}

func (c *change) lifetime(i *directory.Invitation) error {
	if i.ExpiresAt.IsZero() {
		i.ExpiresAt = i.CreatedAt.Add(invitationLifetime)
	}
	if !i.ExpiresAt.After(c.at) || i.ExpiresAt.After(c.at.Add(maxInvitationLifetime)) {
		return invalid("expires_at", "must be in the future, by 30 days at most")
	}
	return nil
}

// open says why an invitation cannot be changed any more.
func (c *change) open(i directory.Invitation) error {
	switch {
	case i.Status == directory.Accepted:
		return &Conflict{"invitation_accepted", "The invitation has been accepted."}
	case i.Status == directory.Revoked:
		return &Conflict{"invitation_revoked", "The invitation has been revoked: make another one."}
	case !i.Live(c.at):
		return &Conflict{"invitation_expired", "The invitation has expired: make another one."}
	}
	return nil
}

// notThere refuses to invite whom there is an invitation for, and who is a member.
func (c *change) notThere(ctx context.Context, org, email string) error {
	alias, found, err := c.tenant().InvitationOf(org, email).Find(ctx, c)
	if err != nil {
		return err
	}
	if found {
		former, _, err := c.tenant().Invitation(org, alias.ID).Find(ctx, c)
		if err != nil {
			return err
		}
		if former.Live(c.at) {
			return &Conflict{"already_invited", "There is an invitation for this address already: send it again, or revoke it first."}
		}
	}
	var member bool
	err = c.tenant().UsersByEmail(ctx, c, email, func(user string) error {
		_, found, err := c.tenant().Member(org, user).Find(ctx, c)
		if member = member || found; member {
			return directory.ErrEnough
		}
		return err
	})
	if err == nil && member {
		err = &Conflict{"already_member", "The person with this address is a member already: change the roles instead."}
	}
	return err
}

func storeInvitation(ctx context.Context, c *change, ids []string, before *directory.Invitation, after directory.Invitation, g given) ([]directory.Made, error) {
	if problems := c.checkRoles(ctx, ids[0], after.Roles); problems != nil {
		return nil, problems
	}
	switch g.Deliver {
	case "", deliverByMail, deliverHere:
	default:
		return nil, invalid("deliver", "must be mail or return")
	}
	if before != nil {
		return nil, c.tenant().PutInvitation(ctx, c, ids[0], ids[1], after)
	}
	return c.send(ctx, ids[0], ids[1], after, g.Deliver)
}

// checkRoles says which roles there are not.
func (c *change) checkRoles(ctx context.Context, org string, roles []string) error {
	if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(roles))), slices.Sorted(slices.Values(roles))) {
		return invalid("roles", "has a role twice")
	}
	for i, role := range roles {
		_, own, err := c.tenant().OrgRole(org, role).Find(ctx, c)
		if err != nil {
			return err
		}
		_, found, err := c.tenant().Role(role).Find(ctx, c)
		if err != nil {
			return err
		}
		if !own && !found {
			return invalid(fmt.Sprintf("roles[%d]", i), "there is no such role, neither of the tenant nor of the organization")
		}
	}
	return nil
}

// send makes the link anew, and has it mailed or returns it.
func (c *change) send(ctx context.Context, org, id string, i directory.Invitation, deliver string) ([]directory.Made, error) {
	token, err := c.tenant().MakeInvitationToken(ctx, c, c.m.o.Master, org, id)
	if err != nil {
		return nil, err
	}
	i.SentAt = c.at.UTC()
	i.Mailed = deliver != deliverHere && (i.Mailed || i.SentAt.Equal(i.CreatedAt))
	if err := c.tenant().PutInvitation(ctx, c, org, id, i); err != nil {
		return nil, err
	}
	if deliver == deliverHere {
		link := c.m.o.Issuer + "/invitation/" + token.Expose()
		return []directory.Made{{Kind: directory.KindInvitation, ID: id, Secret: directory.NewSecret(link)}}, nil
	}
	profile, err := c.tenant().Org(org).Get(ctx, c)
	if err != nil {
		return nil, err
	}
	inviter := profile.Name
	if user, found, err := c.tenant().User(i.InvitedBy).Find(ctx, c); err != nil {
		return nil, err
	} else if found {
		inviter = user.Username
	}
	err = c.m.o.Deliveries.Mail(ctx, c, delivery.Invitation(c.m.o.Issuer, i.Email, profile.Name, inviter, token, i.ExpiresAt))
	return nil, err
}

func revokeInvitation(ctx context.Context, c *change, ids []string, before directory.Invitation) error {
	before.Status = directory.Revoked
	if err := c.tenant().EndInvitationToken(ctx, c, ids[0], ids[1]); err != nil {
		return err
	}
	return c.tenant().PutInvitation(ctx, c, ids[0], ids[1], before)
}

// ResendInvitation sends the invitation once more, with another link: the former one leads nowhere from then on.
func (m *Manager) ResendInvitation(ctx context.Context, q *Request, org, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) { return c.resend(ctx, org, id) })
}

// ResendInvitation sends the invitation once more, as Manager.ResendInvitation does.
func (b *Batch) ResendInvitation(ctx context.Context, org, id string) (*Answer, error) {
	return b.one(false).resend(ctx, org, id)
}

func (c *change) resend(ctx context.Context, org, id string) (*Answer, error) {
	before, found, err := c.tenant().Invitation(org, id).Find(ctx, c)
	if err != nil {
		return nil, err
	}
	resource := Resource{Type: "invitation", ID: id, Properties: map[string]any{"org": org}}
	if found {
		resource.Properties["before"] = before
	}
	if _, err := c.permit(ctx, "orgs.invitations.resend", resource); err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotFound
	}
	if err := c.open(before); err != nil {
		return nil, err
	}
	if wait := before.SentAt.Add(resendPause).Sub(c.at); wait > 0 {
		return nil, &Conflict{"sent_already", fmt.Sprintf("The invitation has just been sent: wait %d seconds.", int(wait.Seconds())+1)}
	}
	if _, err := c.send(ctx, org, id, before, deliverByMail); err != nil {
		return nil, err
	}
	after, err := c.tenant().Invitation(org, id).Get(ctx, c)
	if err != nil {
		return nil, err
	}
	body, err := document([]string{"id"}, []string{org, id}, after)
	if err != nil {
		return nil, err
	}
	return &Answer{Body: body}, c.done(ctx, "orgs.invitations.resend", resource, before, after)
}

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

// AcceptInvitation makes the user a member, with the roles of the invitation beside those that a membership has already. The
// user is the caller when it is empty. Token is that of the link, if the user has followed it.
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
		if _, err := c.permit(ctx, "orgs.invitations.accept", resource); err != nil {
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
	record.EmailVerified = true
	return c.tenant().PutUser(ctx, c, user, record)
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
	for _, role := range before.Roles {
		if !slices.Contains(member.Roles, role) {
			member.Roles = append(slices.Clone(member.Roles), role)
		}
	}
	if _, err := within(org, directory.OrgEntry{Members: []directory.MemberEntry{
		{User: user, Roles: member.Roles, Status: member.Status, JoinedAt: member.JoinedAt}}}).Put(ctx, c.tenant(), c, c.m.o.Master); err != nil {
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
		if _, err := c.permit(ctx, "users.register", resource); err != nil {
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
