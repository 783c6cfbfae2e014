package authn

import (
	"context"
	"errors"
	"slices"
	"time"

	"mandate/datastore/memo"
	"mandate/directory"
)

// Standing checks that all a principal rests on is active now. Authenticate has done so; whoever makes a principal of what was
// proved earlier, such as the subject of a grant, must do it. It says what is wrong, for who is told has proved to hold the
// credential: by an *Error of the kind Inactive or VendorRefused.
func (a *Authenticator) Standing(ctx context.Context, r *memo.Reading, p *Principal) error {
	check := map[PrincipalType]func(context.Context, *memo.Reading, *Principal) error{
		User: a.userStanding, Client: a.clientStanding, APIKey: a.keyStanding, Vendor: a.vendorStanding,
	}[p.Type]
	if check == nil {
		return inactive("principal_unknown", "the credential is for a kind of party that is not known here")
	}
	if err := check(ctx, r, p); err != nil {
		return err
	}
	if p.AuthorizedParty != "" && p.AuthorizedParty != p.Subject {
		acting := &Principal{Type: Client, Subject: p.AuthorizedParty, AuthorizedParty: p.AuthorizedParty, Org: p.Org}
		if err := a.clientStanding(ctx, r, acting); err != nil {
			return err
		}
	}
	if p.Credential.Type == integrationType {
		if err := a.integrationStanding(ctx, r, p); err != nil {
			return err
		}
	}
	if p.Org == "" {
		return nil
	}
	org, found, err := a.tenant.Org(p.Org).Find(ctx, r)
	if err == nil && (!found || org.Status != directory.Active) {
		err = inactive("org_suspended", "the organization of the credential is not active")
	}
	return err
}

func (a *Authenticator) userStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	user, found, err := a.tenant.User(p.Subject).Find(ctx, r)
	if err != nil {
		return err
	}
	if p.Connection != "" {
		if err := a.connectionStanding(ctx, r, p); err != nil || !found {
			return err
		}
	}
	if !found || user.Status != directory.Active {
		return inactive("user_disabled", "the user is not active")
	}
	if p.Org == "" {
		return nil
	}
	_, err = a.activeMember(ctx, r, p.Org, p.Subject)
	return err
}

// connectionStanding is that of the connection by whose word a user is known.
func (a *Authenticator) connectionStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	_, err := a.activeConnection(ctx, r, p.Org, p.Connection)
	return err
}

func (a *Authenticator) activeMember(ctx context.Context, r *memo.Reading, org, user string) (directory.Member, error) {
	member, found, err := a.tenant.Member(org, user).Find(ctx, r)
	if err == nil && (!found || member.Status != directory.Active) {
		err = inactive("membership_inactive", "the user is not an active member of the organization")
	}
	return member, err
}

func (a *Authenticator) clientStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	client, found, err := a.tenant.Client(p.Subject).Find(ctx, r)
	if err != nil {
		return err
	}
	if !found || client.Status != directory.Active {
		return inactive("client_disabled", "the client is not active")
	}
	// One that is bound to no organization acts in any, for those who let it; not for itself.
	bound := client.Org != "" || len(client.Orgs) > 0 || p.AuthorizedParty == ""
	if p.Org != "" && bound && p.Org != client.Org && !slices.Contains(client.Orgs, p.Org) {
		return inactive("client_not_in_org", "the client may not act in the organization any more")
	}
	return nil
}

func (a *Authenticator) keyStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	key, found, err := a.tenant.APIKey(p.Subject).Find(ctx, r)
	if err != nil {
		return err
	}
	if !found || key.Status != directory.Active {
		return inactive("key_revoked", "the API key has been revoked")
	}
	if key.ExpiresAt != nil && a.expired(r, *key.ExpiresAt) {
		return inactive("key_expired", "the API key has expired")
	}
	if key.Owner == "" {
		return nil
	}
	owner := &Principal{Type: User, Subject: key.Owner}
	if err := a.userStanding(ctx, r, owner); err != nil {
		if failed := (*Error)(nil); errors.As(err, &failed) {
			return inactive("owner_inactive", "the owner of the API key is not active")
		}
		return err
	}
	member, err := a.activeMember(ctx, r, key.Org, key.Owner)
	if err == nil && !slices.Contains(member.Roles, directory.DeveloperRole) {
		err = inactive("owner_not_developer", "the owner of the API key no longer holds the role developer in its organization")
	}
	return err
}

func (a *Authenticator) vendorStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	vendor, found, err := a.tenant.Vendor(p.Subject).Find(ctx, r)
	if err != nil {
		return err
	}
	if !found || vendor.Status != directory.Active {
		return vendorRefused()
	}
	integration, found, err := a.tenant.Integration(p.Org, p.Subject).Find(ctx, r)
	named := p.Credential.Type == "partner_token" || p.Credential.Type == integrationType
	if err == nil && (!found || integration.Status != directory.Active || (named && integration.ID != p.Credential.ID)) {
		err = vendorRefused()
	}
	return err
}

// expired says whether a key's end has come. What rests on a key of which it has not must be asked again when it does.
func (a *Authenticator) expired(r *memo.Reading, end time.Time) bool {
	if !a.now().Before(end) {
		return true
	}
	r.NotAfter(end)
	return false
}
