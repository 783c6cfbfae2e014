package directory

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"mandate/datastore"
)

// Export reads everything of a tenant into a directory file. Of secrets it has the hashes only, which an installation
// with the same master key can import.
func Export(ctx context.Context, t Tenant, r datastore.Reader) (*File, error) {
	x := exporter{ctx: ctx, r: r, t: t, file: &File{Tenant: string(t)}}
	for _, collect := range []func() error{x.roles, x.apis, x.orgsAndBelow, x.users, x.clients, x.apiKeys, x.vendors,
		x.consents, x.relations, x.custom} {
		if err := collect(); err != nil {
			return nil, err
		}
	}
	return x.file, nil
}

type exporter struct {
	ctx  context.Context
	r    datastore.Reader
	t    Tenant
	file *File
}

func (x *exporter) prefix(segments ...string) datastore.Path {
	return datastore.TenantID(x.t).Path(segments...)
}

func (x *exporter) roles() error {
	return each(x.ctx, x.r, x.prefix("roles"), func(at []string, role Role) error {
		if x.file.Roles == nil {
			x.file.Roles = map[string]RoleEntry{}
		}
		x.file.Roles[at[1]] = RoleEntry(role)
		return nil
	})
}

func (x *exporter) apis() error {
	return each(x.ctx, x.r, x.prefix("apis"), func(at []string, api API) error {
		x.file.APIs = append(x.file.APIs, APIEntry{ID: at[1], Audience: api.Audience, Scopes: api.Scopes,
			TokenLifetime: seconds(api.TokenLifetime), SigningAlg: api.SigningAlg})
		return nil
	})
}

// orgsAndBelow goes over the organizations one by one, so that documents of any order come to their own.
func (x *exporter) orgsAndBelow() error {
	var ids []string
	err := each(x.ctx, x.r, x.prefix("orgs"), func(at []string, _ any) error {
		if at[2] == "profile" {
			ids = append(ids, at[1])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := x.org(id); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) org(id string) error {
	profile, err := x.t.Org(id).Get(x.ctx, x.r)
	if err != nil {
		return err
	}
	entry := OrgEntry{ID: id, Name: profile.Name, Status: profile.Status, Parent: profile.Parent, Metadata: profile.Metadata}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "roles"), func(at []string, role Role) error {
		if entry.Roles == nil {
			entry.Roles = map[string]RoleEntry{}
		}
		entry.Roles[at[3]] = RoleEntry(role)
		return nil
	})
	if err != nil {
		return err
	}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "members"), func(at []string, m Member) error {
		entry.Members = append(entry.Members, MemberEntry{User: at[3], Roles: m.Roles, Status: m.Status, JoinedAt: m.JoinedAt})
		return nil
	})
	if err != nil {
		return err
	}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "domains"), func(at []string, d Domain) error {
		entry.Domains = append(entry.Domains, DomainEntry{Domain: at[3], Status: d.Status})
		return nil
	})
	if err != nil {
		return err
	}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "connections"), func(at []string, c Connection) error {
		entry.Connections = append(entry.Connections, ConnectionEntry{ID: at[3], Issuer: c.Issuer, Status: c.Status,
			ClientID: c.ClientID, Audiences: c.Audiences, Algorithm: c.Algorithm, Claims: c.Claims, RoleClaim: c.RoleClaim, RoleMapping: c.RoleMapping})
		return nil
	})
	if err != nil {
		return err
	}
	x.file.Orgs = append(x.file.Orgs, entry)
	return each(x.ctx, x.r, x.prefix("orgs", id, "integrations"), func(at []string, i Integration) error {
		secret, _, err := x.t.IntegrationSecret(id, at[3]).Find(x.ctx, x.r)
		x.file.Integrations = append(x.file.Integrations, IntegrationEntry{ID: i.ID, Vendor: at[3], Org: id, Kind: i.Kind,
			Status: i.Status, Scopes: i.Scopes, EnabledBy: i.EnabledBy, Client: i.Client, PartnerTokenHash: secret.Token})
		return err
	})
}

func (x *exporter) users() error {
	return each(x.ctx, x.r, x.prefix("users"), func(at []string, u User) error {
		secrets, _, err := x.t.UserSecrets(at[1]).Find(x.ctx, x.r)
		x.file.Users = append(x.file.Users, UserEntry{ID: at[1], Username: u.Username, Email: u.Email, Status: u.Status, PasswordHash: secrets.PasswordHash})
		return err
	})
}

func (x *exporter) clients() error {
	return each(x.ctx, x.r, x.prefix("clients"), func(at []string, c Client) error {
		secrets, _, err := x.t.ClientSecrets(at[1]).Find(x.ctx, x.r)
		entry := ClientEntry{ID: at[1], Name: c.Name, SecretHashes: secrets.Hashes, Kind: c.Kind,
			Party: c.Party, Status: c.Status, Org: c.Org, Orgs: c.Orgs, Vendor: c.Vendor, GrantTypes: c.GrantTypes,
			TokenEndpointAuthMethod: c.TokenEndpointAuthMethod, Scopes: c.Scopes, Audiences: c.Audiences,
			RedirectURIs: c.RedirectURIs, TokenLifetime: seconds(c.TokenLifetime),
			IDTokenSignedResponseAlg: c.IDTokenSignedResponseAlg, DPoPBoundAccessTokens: c.DPoPBoundAccessTokens,
			RequirePushedRequests: c.RequirePushedRequests, TLSClientAuthSubjectDN: c.TLSClientAuthSubjectDN, JWKS: c.JWKS}
		for _, rule := range c.FederatedCredentials {
			entry.FederatedCredentials = append(entry.FederatedCredentials, FederatedCredentialEntry(rule))
		}
		x.file.Clients = append(x.file.Clients, entry)
		return err
	})
}

func (x *exporter) apiKeys() error {
	return each(x.ctx, x.r, x.prefix("apikeys"), func(at []string, k APIKey) error {
		secrets, _, err := x.t.KeySecrets(at[1]).Find(x.ctx, x.r)
		x.file.APIKeys = append(x.file.APIKeys, APIKeyEntry{ID: at[1], Org: k.Org, Owner: k.Owner, Kind: k.Kind, Status: k.Status,
			Scopes: k.Scopes, Audiences: k.Audiences, ExpiresAt: k.ExpiresAt, KeyHash: secrets.Key, SecretHash: secrets.Secret})
		return err
	})
}

func (x *exporter) vendors() error {
	return each(x.ctx, x.r, x.prefix("vendors"), func(at []string, v Vendor) error {
		secret, _, err := x.t.VendorSecret(at[1]).Find(x.ctx, x.r)
		x.file.Vendors = append(x.file.Vendors, VendorEntry{ID: at[1], Name: v.Name, Status: v.Status, TokenHash: secret.Token})
		return err
	})
}

func (x *exporter) consents() error {
	return each(x.ctx, x.r, x.prefix("consents"), func(at []string, c Consent) error {
		for _, org := range slices.Sorted(maps.Keys(c.Orgs)) {
			for _, audience := range slices.Sorted(maps.Keys(c.Orgs[org].Scopes)) {
				x.file.Consents = append(x.file.Consents, ConsentEntry{User: at[1], Client: at[2], Audience: audience,
					Scopes: c.Orgs[org].Scopes[audience], Org: org})
			}
		}
		return nil
	})
}

func (x *exporter) relations() error {
	return each(x.ctx, x.r, x.prefix("relations"), func(at []string, _ Relation) error {
		x.file.Relations = append(x.file.Relations, RelationEntry{Resource: at[1] + ":" + at[2], Relation: at[3], Subject: at[4]})
		return nil
	})
}

func (x *exporter) custom() error {
	return each(x.ctx, x.r, x.prefix("custom"), func(at []string, value any) error {
		if x.file.Custom == nil {
			x.file.Custom = map[string]any{}
		}
		x.file.Custom[strings.Join(at[1:], "/")] = value
		return nil
	})
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
