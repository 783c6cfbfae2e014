package partneriam

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

type invitation struct {
	ID             string `json:"Id"`
	EmailID        string `json:"EmailId"`
	Status         string
	RoleIDs        []string `json:"RoleIds"`
	OrgID          string   `json:"OrgId"`
	CreatedDate    time.Time
	ExpirationDate time.Time
	ModifiedDate   time.Time
	InviterUID     string `json:"InviterUid"`
}

type inviteBody struct {
	Email      string   `json:"email"`
	RoleIDs    []string `json:"roleIds"`
	OrgID      string   `json:"orgId"`
	InviterUID string   `json:"inviterUid"`
}

// updateInvitationBody has the name RolesIds, which only this body has.
type updateInvitationBody struct {
	RolesIds    []string
	ResendEmail bool
}

const expired = "expired"

// invitation shows an invitation. It was last changed when its mail was last sent, as far as Mandate records that.
func (a *API) invitation(org, id string, i directory.Invitation, own map[string]bool) invitation {
	shown := invitation{ID: pack(invID, org, id), EmailID: i.Email, Status: string(i.Status), RoleIDs: []string{}, OrgID: pack(orgID, org),
		CreatedDate: i.CreatedAt, ExpirationDate: i.ExpiresAt, ModifiedDate: i.SentAt, InviterUID: i.InvitedBy}
	if i.Status == directory.Invited && !i.Live(a.Now()) {
		shown.Status = expired
	}
	for _, name := range i.Roles {
		shown.RoleIDs = append(shown.RoleIDs, roleOf(org, name, own).id())
	}
	return shown
}

func (a *API) invitationAt(ctx context.Context, from records, org, id string) (any, error) {
	record, err := get[directory.Invitation](ctx, from, manage.Invitations(), org, id)
	if err != nil {
		return nil, err
	}
	own, err := ownRoles(ctx, from, org)
	return a.invitation(org, id, record, own), err
}

// invitationID is the one that the route names.
func (c *call) invitationID() (org, id string, err error) {
	if strings.TrimSpace(c.Params[0]) == "" {
		return "", "", fail(908, "Send the id of an invitation.")
	}
	parts := unpack(invID, c.Params[0])
	if len(parts) != 2 {
		return "", "", fail(8175, "It is not the id of an invitation.")
	}
	return parts[0], parts[1], nil
}

func invite(ctx context.Context, c *call) (any, error) {
	var body inviteBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	if body.Email == "" || len(body.RoleIDs) == 0 || body.OrgID == "" || body.InviterUID == "" {
		return nil, fail(908, "email, roleIds, orgId and inviterUid are required.")
	}
	id := strings.ToLower(rand.Text())
	return c.inOrg(ctx, body.OrgID, func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		roles, err := rolesIn(ctx, b, org, body.RoleIDs)
		if err != nil {
			return nil, err
		}
		record := map[string]any{"id": id, "email": body.Email, "roles": roles, "invited_by": body.InviterUID}
		if url := c.Query["invitation_url"]; url != "" {
			record["redirect_uri"] = url
		}
		err = b.create(ctx, manage.Invitations(), []string{org}, record)
		switch field(err) {
		case "email":
			return nil, fail(8137, "It is not an email address.")
		case "invited_by":
			return nil, fail(8174, "inviterUid is not the id of an active user.")
		case "redirect_uri":
			return nil, fail(8176, "invitation_url is no redirect URI of an application of the tenant's own.")
		}
		if err := noRole(err, "roles"); err != nil {
			return nil, err
		}
		return c.invitationAt(ctx, b, org, id)
	})
}

func listInvitations(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Query["orgid"])
	if err != nil {
		return nil, err
	}
	all, err := every[directory.Invitation](ctx, c, manage.Invitations(), org)
	if err != nil {
		return nil, err
	}
	own, err := ownRoles(ctx, c, org)
	shown := struct {
		Data       []invitation
		TotalCount int
	}{[]invitation{}, len(all)}
	for _, e := range all {
		shown.Data = append(shown.Data, c.invitation(org, e.id, e.record, own))
	}
	return shown, err
}

func getInvitation(ctx context.Context, c *call) (any, error) {
	org, id, err := c.invitationID()
	if err != nil {
		return nil, err
	}
	return c.invitationAt(ctx, c, org, id)
}

// updateInvitation changes the roles of an invitation, and sends it again.
func updateInvitation(ctx context.Context, c *call) (any, error) {
	var body updateInvitationBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	org, id, err := c.invitationID()
	if err != nil {
		return nil, err
	}
	if len(body.RolesIds) == 0 && !body.ResendEmail {
		return nil, fail(908, "RolesIds or ResendEmail is required.")
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		record, err := get[directory.Invitation](ctx, b, manage.Invitations(), org, id)
		if err != nil {
			return nil, err
		}
		if url := c.Query["invitation_url"]; url != "" && url != record.RedirectURI {
			return nil, fail(8176, "The URL of an invitation cannot be changed: revoke it and make another one.")
		}
		if len(body.RolesIds) > 0 {
			roles, err := rolesIn(ctx, b, org, body.RolesIds)
			if err != nil {
				return nil, err
			}
			if err := b.patch(ctx, manage.Invitations(), map[string]any{"roles": roles}, org, id); err != nil {
				return nil, noRole(err, "roles")
			}
		}
		if body.ResendEmail {
			if _, err := b.ResendInvitation(ctx, org, id); err != nil {
				return nil, explained(manage.Invitations(), err)
			}
		}
		return c.invitationAt(ctx, b, org, id)
	})
}

func revokeInvitation(ctx context.Context, c *call) (any, error) {
	org, id, err := c.invitationID()
	if err != nil {
		return nil, err
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		if err := b.remove(ctx, manage.Invitations(), org, id); err != nil {
			return nil, err
		}
		return c.invitationAt(ctx, b, org, id)
	})
}

func resendInvitation(ctx context.Context, c *call) (any, error) {
	org, id, err := c.invitationID()
	if err != nil {
		return nil, err
	}
	if _, err := c.Manage.ResendInvitation(ctx, c.Request, org, id); err != nil {
		return nil, explained(manage.Invitations(), err)
	}
	return struct{ Resent bool }{true}, nil
}
