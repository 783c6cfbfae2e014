package directory

import (
	"context"
	"fmt"
	"slices"

	"mandate/datastore"
)

// Deletion stays of a record whose id is never given to another: old tokens, grants and logs name it. When that was is the
// time of its commit.
type Deletion struct {
	Collection string `json:"collection"`
}

// deletion is that of an id. Users, clients and API keys share one space of ids.
func (t Tenant) deletion(collection, id string) Place[Deletion] {
	switch collection {
	case "users", "clients", "apikeys":
		collection = "subjects"
	}
	return place[Deletion](t, PrivateRoot, "deleted", collection, id)
}

// Deleted says whether the id was that of a record of the collection, or of one with which it shares its ids, that was deleted.
// Those of organizations, users, clients, API keys, vendors and connections are kept.
func (t Tenant) Deleted(ctx context.Context, r datastore.Reader, collection, id string) (bool, error) {
	_, found, err := t.deletion(collection, id).Find(ctx, r)
	return found, err
}

// Each of the following deletes a record, with its secrets and all that leads to it, if there is one.

// DeleteAPIKey deletes an API key.
func (t Tenant) DeleteAPIKey(ctx context.Context, tx datastore.Tx, id string) error {
	key, found, err := t.APIKey(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	secrets, _, err := t.KeySecrets(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	owner := SecretOwner{Kind: KindAPIKey, ID: id}
	if err := t.endFormer(ctx, tx, owner, secrets.Former); err != nil {
		return err
	}
	if err := t.disown(ctx, tx, owner, secrets.Key); err != nil {
		return err
	}
	return t.bury(ctx, tx, "apikeys", id, append(t.keyLinks(id, key), t.KeySecrets(id).Path)...)
}

// DeleteClient deletes a client. Consents and grants that name it are good for nothing without it.
func (t Tenant) DeleteClient(ctx context.Context, tx datastore.Tx, id string) error {
	client, found, err := t.Client(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	for _, rule := range client.FederatedCredentials {
		if err := release(ctx, tx, t.Federated(rule.Issuer, rule.Subject), Alias{ID: id}); err != nil {
			return err
		}
	}
	return t.bury(ctx, tx, "clients", id, append(t.clientLinks(id, client), t.ClientSecrets(id).Path)...)
}

// DeleteVendor deletes a vendor. Its integrations and clients, of which there may be any number, are good for nothing without it
// and are found by IntegrationsOf and ClientsOfVendor.
func (t Tenant) DeleteVendor(ctx context.Context, tx datastore.Tx, id string) error {
	if _, found, err := t.Vendor(id).Find(ctx, tx); err != nil || !found {
		return err
	}
	secret, _, err := t.VendorSecret(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := t.disown(ctx, tx, SecretOwner{Kind: KindVendorToken, ID: id}, secret.Token); err != nil {
		return err
	}
	return t.bury(ctx, tx, "vendors", id, t.VendorSecret(id).Path)
}

// DeleteIntegration deletes an integration.
func (t Tenant) DeleteIntegration(ctx context.Context, tx datastore.Tx, org, vendor string) error {
	integration, found, err := t.Integration(org, vendor).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	secret, _, err := t.IntegrationSecret(org, vendor).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := t.disown(ctx, tx, SecretOwner{Kind: KindPartnerToken, ID: vendor, Org: org}, secret.Token); err != nil {
		return err
	}
	if err := release(ctx, tx, t.IntegrationID(integration.ID), IntegrationRef{Org: org, Vendor: vendor}); err != nil {
		return err
	}
	return remove(tx, append(t.integrationLinks(org, vendor, integration), t.Integration(org, vendor).Path,
		t.IntegrationSecret(org, vendor).Path, t.LastUse("integrations", integration.ID).Path)...)
}

// DeleteMember deletes a membership, the integrations by which vendors act for the user in the organization, and ends the user's
// grants for it: none of them comes alive when the user joins again. The user's API keys for the organization would, and are the
// caller's matter. It is remembered that the user has left: see HasLeft.
func (t Tenant) DeleteMember(ctx context.Context, tx datastore.Tx, org, user string) error {
	member, found, err := t.Member(org, user).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	if err := t.left(org, user).Put(ctx, tx, link{}); err != nil {
		return err
	}
	if _, err := t.EndGrants(ctx, tx, user, func(_ string, g Grant) bool { return g.Org != org }); err != nil {
		return err
	}
	var vendors []string
	err = t.IntegrationsEnabledBy(ctx, tx, org, user, func(vendor string, _ Integration) error { vendors = append(vendors, vendor); return nil })
	if err != nil {
		return err
	}
	for _, vendor := range vendors {
		if err := t.DeleteIntegration(ctx, tx, org, vendor); err != nil {
			return err
		}
	}
	if err := t.DeleteProvisioned(ctx, tx, ProvisionedMembers, org, user); err != nil {
		return err
	}
	return remove(tx, append(t.memberLinks(org, user, member), t.Member(org, user).Path, t.membership(user, org).Path)...)
}

// forgetMember deletes the membership of a user or in an organization that is deleted too.
func (t Tenant) forgetMember(ctx context.Context, tx datastore.Tx, org, user string) error {
	if err := t.DeleteMember(ctx, tx, org, user); err != nil {
		return err
	}
	return remove(tx, t.left(org, user).Path)
}

// DeleteUser deletes a user, with the memberships and consents, sessions and grants. The API keys that the user owns are good
// for nothing without their owner, and are found by APIKeysOwnedBy.
func (t Tenant) DeleteUser(ctx context.Context, tx datastore.Tx, id string) error {
	user, found, err := t.User(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	var orgs []string
	if err := t.OrgsOf(ctx, tx, id, func(org string) error { orgs = append(orgs, org); return nil }); err != nil {
		return err
	}
	for _, org := range orgs {
		if err := t.forgetMember(ctx, tx, org, id); err != nil {
			return err
		}
	}
	secrets, _, err := t.UserSecrets(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	paths := []datastore.Path{t.UserSecrets(id).Path}
	if secrets.Reset != "" {
		paths = append(paths, t.PasswordReset(secrets.Reset).Path)
	}
	if emailKey(user.Email) != "" {
		paths = append(paths, t.emailOf(user.Email, id).Path)
	}
	err = t.Consents(ctx, tx, id, func(client string, _ Consent) error {
		paths = append(paths, t.Consent(id, client).Path)
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := t.EndSessions(ctx, tx, id); err != nil {
		return err
	}
	if _, err := t.EndGrants(ctx, tx, id, nil); err != nil {
		return err
	}
	if err := release(ctx, tx, t.Username(user.Username), Alias{ID: id}); err != nil {
		return err
	}
	return t.bury(ctx, tx, "users", id, paths...)
}

// DeleteDomain deletes a domain of an organization.
func (t Tenant) DeleteDomain(ctx context.Context, tx datastore.Tx, org, domain string) error {
	if err := release(ctx, tx, t.VerifiedDomain(domain), Alias{ID: org}); err != nil {
		return err
	}
	if err := t.EndDomainChecks(ctx, tx, org, domain); err != nil {
		return err
	}
	return remove(tx, t.Domain(org, domain).Path)
}

// deletedConnection is what the ids of a connection's users begin with, which stands for it once it is deleted.
func deletedConnection(org, id string) string { return org + "|" + id }

// DeleteConnection deletes a connection of an organization. Its id is not given again there: another provider would speak for its
// users.
func (t Tenant) DeleteConnection(ctx context.Context, tx datastore.Tx, org, id string) error {
	connection, found, err := t.Connection(org, id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	for _, audience := range connection.Audiences {
		if err := release(ctx, tx, t.ProviderConnection(connection.Issuer, audience), ConnectionRef{Org: org, ID: id}); err != nil {
			return err
		}
	}
	if connection.Domain != "" {
		if err := release(ctx, tx, t.DomainConnection(org, connection.Domain), Alias{ID: id}); err != nil {
			return err
		}
	}
	if err := remove(tx, t.Connection(org, id).Path, t.ConnectionSecret(org, id).Path); err != nil {
		return err
	}
	return t.deletion("connections", deletedConnection(org, id)).Put(ctx, tx, Deletion{Collection: "connections"})
}

// DeleteAPI deletes an API.
func (t Tenant) DeleteAPI(ctx context.Context, tx datastore.Tx, id string) error {
	api, found, err := t.API(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	if err := release(ctx, tx, t.Audience(api.Audience), Alias{ID: id}); err != nil {
		return err
	}
	return remove(tx, t.API(id).Path)
}

// DeleteRole deletes a role of the tenant. That nobody holds it is the caller's matter, as it is for DeleteOrgRole.
func (t Tenant) DeleteRole(_ context.Context, tx datastore.Tx, id string) error {
	return remove(tx, t.Role(id).Path)
}

// DeleteOrgRole deletes a role of an organization.
func (t Tenant) DeleteOrgRole(ctx context.Context, tx datastore.Tx, org, id string) error {
	if err := t.DeleteProvisioned(ctx, tx, ProvisionedRoles, org, id); err != nil {
		return err
	}
	return remove(tx, t.OrgRole(org, id).Path)
}

// DeleteOrg deletes an organization, by which everything in it is good for nothing. What it had, which may be more than one
// transaction takes, is removed by Sweep: members, roles, domains, connections, integrations, API keys, webhooks, and the
// clients whose home it was. Its audit records stay.
func (t Tenant) DeleteOrg(ctx context.Context, tx datastore.Tx, id string) error {
	org, found, err := t.Org(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	if err := t.leftBy(id).Put(ctx, tx, Alias{ID: id}); err != nil {
		return err
	}
	if err := t.deletion("orgs", id).Put(ctx, tx, Deletion{Collection: "orgs"}); err != nil {
		return err
	}
	if org.Parent != "" {
		if err := remove(tx, t.child(org.Parent, id).Path); err != nil {
			return err
		}
	}
	return remove(tx, t.Org(id).Path)
}

// leftBy is there while something is left of a deleted organization.
func (t Tenant) leftBy(org string) Place[Alias] { return place[Alias](t, PrivateRoot, "left", org) }

// sweepOrgs removes what is left of deleted organizations, and says how many records that were.
func (t Tenant) sweepOrgs(ctx context.Context, store datastore.Store) (removed int, err error) {
	for more := true; more; {
		var gone int
		_, err := store.Update(ctx, func(tx datastore.Tx) (err error) {
			gone, more, err = t.sweepOrg(ctx, tx)
			return err
		})
		if err != nil {
			return removed, fmt.Errorf("remove what is left of an organization: %w", err)
		}
		removed += gone
	}
	return removed, nil
}

// sweepOrg removes some of what is left of the first deleted organization.
func (t Tenant) sweepOrg(ctx context.Context, tx datastore.Tx) (removed int, more bool, err error) {
	org := ""
	err = links(ctx, tx, datastore.TenantID(t).Path(PrivateRoot, "left"), "", func(id string) error { org = id; return ErrEnough })
	if err != nil || org == "" {
		return 0, false, err
	}
	var changes []func() error
	note := func(change func() error) error {
		if changes = append(changes, change); len(changes) == sweepAtOnce {
			return ErrEnough
		}
		return nil
	}
	for _, collect := range []func() error{
		func() error { return t.within(ctx, tx, org, note) },
		func() error {
			return t.APIKeysOf(ctx, tx, org, "", func(id string, _ APIKey) error {
				return note(func() error { return t.DeleteAPIKey(ctx, tx, id) })
			})
		},
		func() error {
			return t.ClientsOf(ctx, tx, org, "", func(id string, _ Client) error {
				return note(func() error { return t.DeleteClient(ctx, tx, id) })
			})
		},
		func() error {
			return t.WebhooksOf(ctx, tx, org, "", func(id string, _ Webhook) error {
				return note(func() error { return t.DeleteWebhook(ctx, tx, id) })
			})
		},
		func() error {
			return each(ctx, tx, datastore.TenantID(t).Path(PrivateRoot, "provisioned", org), func(at []string, _ Provisioned) error {
				return note(func() error { return t.DeleteProvisioned(ctx, tx, at[3], org, at[4]) })
			})
		},
		func() error {
			return links(ctx, tx, datastore.TenantID(t).Path(PrivateRoot, "leftmembers", org), "", func(user string) error {
				return note(func() error { return remove(tx, t.left(org, user).Path) })
			})
		},
		func() error {
			return links(ctx, tx, datastore.TenantID(t).Path(PrivateRoot, "endedintegrations", org), "", func(vendor string) error {
				return note(func() error { return remove(tx, t.IntegrationEnding(org, vendor).Path) })
			})
		},
	} {
		if len(changes) == sweepAtOnce {
			break
		}
		if err := collect(); err != nil {
			return 0, false, err
		}
	}
	for _, change := range changes {
		if err := change(); err != nil {
			return 0, false, err
		}
	}
	if len(changes) < sweepAtOnce {
		err = remove(tx, t.leftBy(org).Path)
	}
	return len(changes), true, err
}

// within notes how to delete each document below an organization.
func (t Tenant) within(ctx context.Context, tx datastore.Tx, org string, note func(change func() error) error) error {
	return each(ctx, tx, datastore.TenantID(t).Path("orgs", org), func(at []string, _ any) error {
		id := at[len(at)-1]
		return note(func() error {
			switch at[2] {
			case "members":
				return t.forgetMember(ctx, tx, org, id)
			case "domains":
				return t.DeleteDomain(ctx, tx, org, id)
			case "connections":
				return t.DeleteConnection(ctx, tx, org, id)
			case "integrations":
				return t.DeleteIntegration(ctx, tx, org, id)
			case "invitations":
				return t.DeleteInvitation(ctx, tx, org, id)
			case "roles":
				return t.DeleteOrgRole(ctx, tx, org, id)
			}
			return remove(tx, datastore.TenantID(t).Path(at...))
		})
	})
}

// bury deletes a record and what else is given, and sees to it that the id is not given again.
func (t Tenant) bury(ctx context.Context, tx datastore.Tx, collection, id string, others ...datastore.Path) error {
	record := datastore.TenantID(t).Path(collection, id)
	if err := remove(tx, slices.Concat([]datastore.Path{record, t.LastUse(collection, id).Path}, others)...); err != nil {
		return err
	}
	return t.deletion(collection, id).Put(ctx, tx, Deletion{Collection: collection})
}

func remove(tx datastore.Tx, paths ...datastore.Path) error {
	for _, p := range paths {
		if err := tx.Delete(p); err != nil {
			return fmt.Errorf("delete %s: %w", p, err)
		}
	}
	return nil
}

// release gives up what leads to the owner, if it does.
func release[T comparable](ctx context.Context, tx datastore.Tx, p Place[T], owner T) error {
	holder, found, err := p.Find(ctx, tx)
	if err != nil || !found || holder != owner {
		return err
	}
	return remove(tx, p.Path)
}
