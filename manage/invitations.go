package manage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mandate/authn"
	"mandate/delivery"
	"mandate/directory"
)

// Bounds of invitations: how long one is good for, and how long to wait before its mail is sent again.
const (
	invitationLifetime    = 7 * 24 * time.Hour
	maxInvitationLifetime = 30 * 24 * time.Hour
	resendPause           = time.Minute
	// maxOpenInvitations bounds those that one user has made: all end with the membership.
	maxOpenInvitations = 1000
	// maxInvitationMails bounds what an organization mails in an hour.
	maxInvitationMails = 500
)

const (
	deliverByMail = "mail"
	deliverHere   = "return" // the link is in the answer, for a product that sends mails of its own

	// byMail is the reason of what is changed because somebody has what was mailed to a user's address.
	byMail = "mail"
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
func aboutInvitation(ctx context.Context, c *change, ids []string, before, after *directory.Invitation, properties map[string]any) error {
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
	if err := c.inviter(ctx, ids[0], after.InvitedBy, properties); err != nil {
		return err
	}
	if after.RedirectURI != "" {
		if err := c.ownRedirect(ctx, ids[0], after.RedirectURI); err != nil {
			return err
		}
	}
	return c.notThere(ctx, ids[0], after.Email)
}

// inviter refuses an invitation in the name of nobody, and too many of one user. Whether the one who invites is of the
// organization is told the policy, which says for whom that matters.
func (c *change) inviter(ctx context.Context, org, user string, properties map[string]any) error {
	if user == "" {
		return nil
	}
	member, _, err := c.tenant().Member(org, user).Find(ctx, c)
	if err != nil {
		return err
	}
	record, _, err := c.tenant().User(user).Find(ctx, c)
	if err != nil {
		return err
	}
	properties["inviter_is_member"] = member.Status == directory.Active && record.Status == directory.Active
	if record.Status != directory.Active {
		return invalid("invited_by", "is not an active user")
	}
	made := 0
	err = c.tenant().OpenInvitationsBy(ctx, c, user, func(string, directory.OpenInvitation) error {
		if made++; made == maxOpenInvitations {
			return &Conflict{"too_many_invitations", fmt.Sprintf("There are %d open invitations by this user: revoke some first.", maxOpenInvitations)}
		}
		return nil
	})
	return err
}

// ownRedirect refuses to send people anywhere but to the applications of the tenant's own, and of the organization's own.
func (c *change) ownRedirect(ctx context.Context, org, uri string) error {
	known := false
	for _, home := range []string{"", org} {
		err := c.tenant().ClientsWithTarget(ctx, c, home, uri, func(_ string, client directory.Client) error {
			if known = client.Status == directory.Active; known {
				return directory.ErrEnough
			}
			return nil
		})
		if err != nil {
			return err
		}
		if known {
			return nil
		}
	}
	return invalid("redirect_uri", "is not a redirect URI of a first party's client, without an organization or of this one")
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

// formerly is the newest invitation of the address to the organization so far.
func (c *change) formerly(ctx context.Context, org, email string) (former directory.Invitation, err error) {
	alias, found, err := c.tenant().InvitationOf(org, email).Find(ctx, c)
	if err == nil && found {
		former, _, err = c.tenant().Invitation(org, alias.ID).Find(ctx, c)
	}
	return former, err
}

// paused refuses to send another mail to whom one has just been sent.
func (c *change) paused(i directory.Invitation) error {
	if wait := i.SentAt.Add(resendPause).Sub(c.at); wait > 0 {
		return &Conflict{"sent_already", fmt.Sprintf("An invitation for this address has just been sent: wait %d seconds.", int(wait.Seconds())+1)}
	}
	return nil
}

// notThere refuses to invite whom there is an invitation for, and who is a member.
func (c *change) notThere(ctx context.Context, org, email string) error {
	former, err := c.formerly(ctx, org, email)
	if err != nil {
		return err
	}
	if former.Live(c.at) {
		return &Conflict{"already_invited", "There is an invitation for this address already: send it again, or revoke it first."}
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
	if g.Deliver != deliverHere {
		former, err := c.formerly(ctx, ids[0], after.Email)
		if err != nil {
			return nil, err
		}
		if err := c.paused(former); err != nil {
			return nil, err
		}
	}
	return c.send(ctx, ids[0], ids[1], after, g.Deliver)
}

// checkRoles says which roles there are not.
func (c *change) checkRoles(ctx context.Context, org string, roles []string) error {
	if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(roles))), slices.Sorted(slices.Values(roles))) {
		return invalid("roles", "has a role twice")
	}
	for i, role := range roles {
		there, err := c.m.roleThere(ctx, c, org, role)
		if err != nil {
			return err
		}
		if !there {
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
	inviter := "" // nobody is named
	if user, found, err := c.tenant().User(i.InvitedBy).Find(ctx, c); err != nil {
		return nil, err
	} else if found {
		inviter = user.Username
	}
	if err := c.countMail(ctx, org); err != nil {
		return nil, err
	}
	err = c.m.o.Deliveries.Mail(ctx, c, delivery.Invitation(c.m.o.Issuer, i.Email, profile.Name, inviter, token, i.ExpiresAt))
	return nil, err
}

// countMail refuses to mail more to people whom nobody knows than an organization invites in an hour.
func (c *change) countMail(ctx context.Context, org string) error {
	mails, found, err := c.tenant().InvitationMails(org).Find(ctx, c)
	if err != nil {
		return err
	}
	if !found || !c.at.Before(mails.ExpiresAt) {
		mails = directory.InvitationMails{ExpiresAt: c.at.UTC().Add(time.Hour)}
	}
	if mails.Count == maxInvitationMails {
		return &Conflict{"too_many_mails", fmt.Sprintf("The organization has mailed %d invitations in this hour: go on in the next one.", maxInvitationMails)}
	}
	mails.Count++
	return directory.PutExpiring(ctx, c, c.tenant().InvitationMails(org), mails, mails.ExpiresAt)
}

func revokeInvitation(ctx context.Context, c *change, ids []string, before directory.Invitation) error {
	before.Status = directory.Revoked
	if err := c.tenant().EndInvitationToken(ctx, c, ids[0], ids[1]); err != nil {
		return err
	}
	return c.tenant().PutInvitation(ctx, c, ids[0], ids[1], before)
}

// endInvitations revokes the open invitations that the user could make as a member of the organization: those to it, and those to its
// children where the user is no member. With org empty it is all that the user has made.
func (c *change) endInvitations(ctx context.Context, org, user string) error {
	var open [][]string
	err := c.tenant().OpenInvitationsBy(ctx, c, user, func(id string, i directory.OpenInvitation) error {
		ends := org == "" || i.Org == org
		if !ends {
			profile, _, err := c.tenant().Org(i.Org).Find(ctx, c)
			if err != nil {
				return err
			}
			_, stays, err := c.tenant().Member(i.Org, user).Find(ctx, c)
			if err != nil {
				return err
			}
			ends = profile.Parent == org && !stays
		}
		if ends {
			open = append(open, []string{i.Org, id})
		}
		return nil
	})
	if err != nil {
		return err
	}
	k := Invitations().(*kind[directory.Invitation])
	for _, ids := range open {
		before, err := k.find(ctx, c.m, c, ids)
		if err != nil {
			return err
		}
		if before == nil || !before.Live(c.at) {
			continue
		}
		if err := revokeInvitation(ctx, c, ids, *before); err != nil {
			return err
		}
		if err := c.done(ctx, "orgs.invitations.delete", k.resourceOf(ids, before, nil), before, nil); err != nil {
			return err
		}
	}
	return nil
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
	if err := c.permit(ctx, "orgs.invitations.resend", resource); err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotFound
	}
	if err := c.open(before); err != nil {
		return nil, err
	}
	if err := c.paused(before); err != nil {
		return nil, err
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
