package directory

import "time"

// The records as entries of a directory file. Secrets are apart from both.

func (a API) Entry(id string) APIEntry {
	return APIEntry{ID: id, Audience: a.Audience, Scopes: a.Scopes, TokenLifetime: seconds(a.TokenLifetime), SigningAlg: a.SigningAlg}
}

func (e RoleEntry) role() Role {
	e.Permissions = nonNil(e.Permissions)
	return Role(e)
}

func (d Domain) Entry(domain string) DomainEntry {
	entry := DomainEntry{Domain: domain, Status: d.Status, VerifiedAt: d.VerifiedAt, FailingSince: d.FailingSince, AutoJoin: d.AutoJoin}
	if d.Challenge != nil {
		entry.Challenge = d.Challenge.Value
	}
	return entry
}

func (c Connection) Entry(id string) ConnectionEntry {
	return ConnectionEntry{ID: id, Issuer: c.Issuer, Status: c.Status, Domain: c.Domain, ClientID: c.ClientID, Audiences: c.Audiences,
		Algorithm: c.Algorithm, Claims: c.Claims, RoleClaim: c.RoleClaim, RoleMapping: c.RoleMapping}
}

func (i Integration) Entry(org, vendor string) IntegrationEntry {
	return IntegrationEntry{ID: i.ID, Vendor: vendor, Org: org, Kind: i.Kind, Status: i.Status, Scopes: i.Scopes,
		EnabledBy: i.EnabledBy, Client: i.Client, EnabledAt: i.EnabledAt, SuspendedBy: i.SuspendedBy}
}

func (k APIKey) Entry(id string) APIKeyEntry {
	return APIKeyEntry{ID: id, Org: k.Org, Owner: k.Owner, Kind: k.Kind, Status: k.Status, Scopes: k.Scopes,
		Audiences: k.Audiences, ExpiresAt: k.ExpiresAt}
}

func (c Client) Entry(id string) ClientEntry {
	entry := ClientEntry{ID: id, Name: c.Name, Kind: c.Kind, Party: c.Party, Status: c.Status, Org: c.Org, Orgs: c.Orgs,
		Vendor: c.Vendor, GrantTypes: c.GrantTypes, TokenEndpointAuthMethod: c.TokenEndpointAuthMethod, Scopes: c.Scopes,
		Audiences: c.Audiences, RedirectURIs: c.RedirectURIs, TokenLifetime: seconds(c.TokenLifetime),
		IDTokenSignedResponseAlg: c.IDTokenSignedResponseAlg, DPoPBoundAccessTokens: c.DPoPBoundAccessTokens,
		RequirePushedRequests: c.RequirePushedRequests, TLSClientAuthSubjectDN: c.TLSClientAuthSubjectDN, JWKS: c.JWKS}
	for _, rule := range c.FederatedCredentials {
		entry.FederatedCredentials = append(entry.FederatedCredentials, FederatedCredentialEntry(rule))
	}
	return entry
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
