package authn

import (
	"context"

	"mandate/datastore/memo"
	"mandate/directory"
)

const integrationType = "integration"

// integration authenticates by the partner token of a delegated integration, which is a whole credential: with it the
// vendor's client acts for the user who enabled the integration.
func (a *Authenticator) integration(ctx context.Context, r *memo.Reading, owner directory.SecretOwner) (*Principal, error) {
	found, exists, err := a.tenant.Integration(owner.Org, owner.ID).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !exists || found.Kind != directory.DelegatedIntegration || found.EnabledBy == "" || found.Client == "" {
		return nil, invalid() // half of a credential (partner.go)
	}
	scopes := found.Scopes
	if scopes == nil {
		scopes = []string{} // nothing, not everything
	}
	return &Principal{
		Type: User, Subject: found.EnabledBy, AuthorizedParty: found.Client, Org: owner.Org, Scopes: scopes,
		Methods: []string{integrationType}, Credential: CredentialRef{Type: integrationType, ID: found.ID},
	}, nil
}

// integrationStanding is that of the relationship behind a delegated integration: the client acts for its vendor, and both
// vendor and integration are active.
func (a *Authenticator) integrationStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	client, _, err := a.tenant.Client(p.AuthorizedParty).Find(ctx, r)
	if err != nil {
		return err
	}
	acting := &Principal{Type: Vendor, Subject: client.Vendor, Org: p.Org, Credential: p.Credential}
	return a.vendorStanding(ctx, r, acting)
}
