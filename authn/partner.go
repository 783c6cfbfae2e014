package authn

import (
	"context"
	"errors"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// partnerToken is a vendor's token and the partner token of one of its integrations, each useless without the other:
// base64(vendor ":" partner), or the two as they are.
type partnerToken struct{ vendor, partner directory.Secret }

func recognisePartnerToken(p Presented) ([]credential, error) {
	token, ok := p.authorization("Bearer")
	if !ok {
		return nil, nil
	}
	shape, vendor, partner := directory.ShapeOf(token)
	if shape != directory.PairToken {
		return nil, nil
	}
	return []credential{partnerToken{directory.NewSecret(vendor), directory.NewSecret(partner)}}, nil
}

func (c partnerToken) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	// Both are looked up before either is judged, so nothing tells which half is wrong.
	vendor, vendorErr := a.secretOwner(ctx, r, c.vendor, directory.KindVendorToken)
	partner, partnerErr := a.secretOwner(ctx, r, c.partner, directory.KindPartnerToken)
	for _, err := range []error{vendorErr, partnerErr} {
		if failed := (*Error)(nil); err != nil && !errors.As(err, &failed) {
			return nil, err
		}
	}
	if vendorErr != nil || partnerErr != nil || vendor.ID != partner.ID {
		return nil, invalid()
	}
	integration, err := a.tenant.Integration(partner.Org, partner.ID).Get(ctx, r)
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, vendorRefused()
	}
	if err != nil {
		return nil, err
	}
	if integration.Kind == directory.DelegatedIntegration {
		return nil, invalid() // whose partner token is no half of anything
	}
	return &Principal{
		Type: Vendor, Subject: vendor.ID, Org: partner.Org, Scopes: integration.Scopes,
		Methods: []string{"partner_token"}, Credential: CredentialRef{Type: "partner_token", ID: integration.ID},
	}, nil
}

func vendorRefused() error {
	return &Error{Kind: VendorRefused, Code: "vendor_not_authorized", Detail: "the vendor has no active relationship with the organization"}
}
