package authn

import (
	"context"
	"errors"
	"slices"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// standing checks, at every use, that all a principal rests on is active now. The caller has proved to hold the
// credential, so it is told what is wrong.
func (a *Authenticator) standing(ctx context.Context, view datastore.View, p *Principal) error {
	check := map[PrincipalType]func(context.Context, datastore.View, *Principal) error{
		User: a.userStanding, Client: a.clientStanding, APIKey: a.keyStanding, Vendor: a.vendorStanding,
	}[p.Type]
	if check == nil {
		return inactive("principal_unknown", "the credential is for a kind of party that is not known here")
	}
	if err := check(ctx, view, p); err != nil {
		return err
	}
	if p.AuthorizedParty != "" && p.AuthorizedParty != p.Subject {
		acting := &Principal{Type: Client, Subject: p.AuthorizedParty, Org: p.Org}
		if err := a.clientStanding(ctx, view, acting); err != nil {
			return err
		}
	}
	if p.Org == "" {
		return nil
	}
	org, found, err := a.tenant.Org(p.Org).Find(ctx, view)
	if err == nil && (!found || org.Status != directory.Active) {
		err = inactive("org_suspended", "the organization of the credential is not active")
	}
	return err
}

func (a *Authenticator) userStanding(ctx context.Context, view datastore.View, p *Principal) error {
	user, found, err := a.tenant.User(p.Subject).Find(ctx, view)
	if err != nil {
		return err
	}
	if !found || user.Status != directory.Active {
		return inactive("user_disabled", "the user is not active")
	}
	if p.Org == "" {
		return nil
	}
	_, err = a.activeMember(ctx, view, p.Org, p.Subject)
	return err
}

func (a *Authenticator) activeMember(ctx context.Context, view datastore.View, org, user string) (directory.Member, error) {
	member, found, err := a.tenant.Member(org, user).Find(ctx, view)
	if err == nil && (!found || member.Status != directory.Active) {
		err = inactive("membership_inactive", "the user is not an active member of the organization")
	}
	return member, err
}

func (a *Authenticator) clientStanding(ctx context.Context, view datastore.View, p *Principal) error {
	client, found, err := a.tenant.Client(p.Subject).Find(ctx, view)
	if err != nil {
		return err
	}
	if !found || client.Status != directory.Active {
		return inactive("client_disabled", "the client is not active")
	}
	if p.Org != "" && p.Org != client.Org && !slices.Contains(client.Orgs, p.Org) {
		return inactive("client_not_in_org", "the client may not act in the organization any more")
	}
	// A token carries no more than its client may have now. Of scopes taken from the record itself, all stay.
	p.Scopes = slices.DeleteFunc(slices.Clone(p.Scopes), func(s string) bool { return !slices.Contains(client.Scopes, s) })
	return nil
}

func (a *Authenticator) keyStanding(ctx context.Context, view datastore.View, p *Principal) error {
	key, found, err := a.tenant.APIKey(p.Subject).Find(ctx, view)
	if err != nil {
		return err
	}
	if !found || key.Status != directory.Active {
		return inactive("key_revoked", "the API key has been revoked")
	}
	if expired(key, a.now()) {
		return inactive("key_expired", "the API key has expired")
	}
	if key.Owner == "" {
		return nil
	}
	owner := &Principal{Type: User, Subject: key.Owner}
	if err := a.userStanding(ctx, view, owner); err != nil {
		if failed := (*Error)(nil); errors.As(err, &failed) {
			return inactive("owner_inactive", "the owner of the API key is not active")
		}
		return err
	}
	member, err := a.activeMember(ctx, view, key.Org, key.Owner)
	if err == nil && !slices.Contains(member.Roles, directory.DeveloperRole) {
		err = inactive("owner_not_developer", "the owner of the API key no longer holds the role developer in its organization")
	}
	return err
}

func (a *Authenticator) vendorStanding(ctx context.Context, view datastore.View, p *Principal) error {
	vendor, found, err := a.tenant.Vendor(p.Subject).Find(ctx, view)
	if err != nil {
		return err
	}
	if !found || vendor.Status != directory.Active {
		return vendorRefused()
	}
	integration, found, err := a.tenant.Integration(p.Org, p.Subject).Find(ctx, view)
	if err == nil && (!found || integration.Status != directory.Active || integration.ID != p.Credential.ID) {
		err = vendorRefused()
	}
	return err
}

func expired(key directory.APIKey, now time.Time) bool {
	return key.ExpiresAt != nil && !now.Before(*key.ExpiresAt)
}
