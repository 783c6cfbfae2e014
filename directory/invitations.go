package directory

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"mandate/datastore"
)

// States of an invitation. One that has expired is still invited by its record.
const (
	Invited  Status = "invited"
	Accepted Status = "accepted"
)

// Invitation asks the person behind an email address to become a member of an organization with these roles. Status:
// invited, accepted, revoked.
type Invitation struct {
	Email      string    `json:"email"`
	Roles      []string  `json:"roles"`
	Status     Status    `json:"status"`
	InvitedBy  string    `json:"invited_by,omitempty"` // a user
	AcceptedBy string    `json:"accepted_by,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
	SentAt     time.Time `json:"sent_at,omitzero"`
	// RedirectURI is where the person goes who has accepted: one of the redirect URIs of a first party's client, if any.
	RedirectURI string `json:"redirect_uri,omitempty"`
	// Mailed says that nobody but the mailbox has been given the link, so that who follows it has proved to own the address.
	Mailed bool `json:"mailed"`
}

// Live says whether it can still be accepted.
func (i Invitation) Live(now time.Time) bool { return i.Status == Invited && now.Before(i.ExpiresAt) }

// InvitationRef names an invitation.
type InvitationRef struct {
	Org string `json:"org"`
	ID  string `json:"id"`
}

type invitationToken struct {
	Token Hash `json:"token"`
}

// Invitation is an invitation of an organization.
func (t Tenant) Invitation(org, id string) Place[Invitation] {
	return place[Invitation](t, "orgs", org, "invitations", id)
}

// InvitationOf leads to the newest invitation of the address to the organization.
func (t Tenant) InvitationOf(org, email string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "invited", org, emailKey(email))
}

// InvitationID leads to the invitation with that id, of whatever organization.
func (t Tenant) InvitationID(id string) Place[InvitationRef] {
	return place[InvitationRef](t, PrivateRoot, "invitations", id)
}

// InvitationMails counts what an organization has mailed in the hour that ends then.
type InvitationMails struct {
	Count     int       `json:"count"`
	ExpiresAt time.Time `json:"expires_at"`
}

// InvitationMails are those of an organization.
func (t Tenant) InvitationMails(org string) Place[InvitationMails] {
	return place[InvitationMails](t, PrivateRoot, "invitationmails", org)
}

// InvitationByToken leads to the invitation that the token of a link accepts.
func (t Tenant) InvitationByToken(h Hash) Place[InvitationRef] {
	return place[InvitationRef](t, PrivateRoot, "invitationtokens", string(h))
}

func (t Tenant) invitationToken(org, id string) Place[invitationToken] {
	return place[invitationToken](t, PrivateRoot, "invitationsecrets", org, id)
}

// OpenInvitation is one that somebody has made and nobody has accepted, for as long as it is good.
type OpenInvitation struct {
	Org       string    `json:"org"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (t Tenant) openInvitations(user string) datastore.Path {
	return t.owned("invitations", byUser, user)
}

// OpenInvitationsBy yields those that a user has made, of all organizations, in the order of their ids. Those that have expired
// may be among them for a minute.
func (t Tenant) OpenInvitationsBy(ctx context.Context, r datastore.Reader, user string, do func(id string, i OpenInvitation) error) error {
	return each(ctx, r, t.openInvitations(user), func(segments []string, i OpenInvitation) error { return do(segments[len(segments)-1], i) })
}

// PutInvitation writes an invitation, and makes it found by its id and its address, and by who invites while it is open.
func (t Tenant) PutInvitation(ctx context.Context, tx datastore.Tx, org, id string, i Invitation) error {
	if err := t.InvitationOf(org, i.Email).Put(ctx, tx, Alias{ID: id}); err != nil {
		return err
	}
	if err := t.InvitationID(id).Put(ctx, tx, InvitationRef{org, id}); err != nil {
		return err
	}
	if i.InvitedBy != "" {
		open := Place[OpenInvitation]{t.openInvitations(i.InvitedBy).Join(id)}
		var err error
		if i.Status == Invited {
			err = PutExpiring(ctx, tx, open, OpenInvitation{org, i.ExpiresAt}, i.ExpiresAt)
		} else {
			err = remove(tx, open.Path)
		}
		if err != nil {
			return err
		}
	}
	return t.Invitation(org, id).Put(ctx, tx, i)
}

// MakeInvitationToken makes the token of the invitation's link, and puts an end to the one before.
func (t Tenant) MakeInvitationToken(ctx context.Context, tx datastore.Tx, m *MasterKey, org, id string) (Secret, error) {
	if err := t.EndInvitationToken(ctx, tx, org, id); err != nil {
		return Secret{}, err
	}
	token, err := MakeSecret(KindInvitation, "", rand.Reader)
	if err != nil {
		return Secret{}, err
	}
	h := m.Hash(token)
	if err := t.InvitationByToken(h).Put(ctx, tx, InvitationRef{org, id}); err != nil {
		return Secret{}, err
	}
	return token, t.invitationToken(org, id).Put(ctx, tx, invitationToken{h})
}

// EndInvitationToken makes the link of the invitation lead nowhere.
func (t Tenant) EndInvitationToken(ctx context.Context, tx datastore.Tx, org, id string) error {
	former, found, err := t.invitationToken(org, id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	for _, p := range []datastore.Path{t.InvitationByToken(former.Token).Path, t.invitationToken(org, id).Path} {
		if err := tx.Delete(p); err != nil {
			return fmt.Errorf("end the link of an invitation: %w", err)
		}
	}
	return nil
}

// DeleteInvitation deletes an invitation with its link.
func (t Tenant) DeleteInvitation(ctx context.Context, tx datastore.Tx, org, id string) error {
	invitation, found, err := t.Invitation(org, id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	if err := t.EndInvitationToken(ctx, tx, org, id); err != nil {
		return err
	}
	paths := []datastore.Path{t.InvitationOf(org, invitation.Email).Path, t.InvitationID(id).Path, t.Invitation(org, id).Path}
	if invitation.InvitedBy != "" {
		paths = append(paths, t.openInvitations(invitation.InvitedBy).Join(id))
	}
	return remove(tx, paths...)
}
