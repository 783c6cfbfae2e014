package authn

import (
	"context"
	"errors"
	"slices"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// bearerKey is an API key sent as a bearer token, or a partner token that is a whole credential (integration.go).
type bearerKey struct{ key directory.Secret }

func recogniseBearerKey(p Presented) ([]credential, error) {
	token, ok := p.authorization("Bearer")
	if !ok {
		return nil, nil
	}
	if shape, _, _ := directory.ShapeOf(token); shape != directory.OpaqueToken {
		return nil, nil
	}
	return []credential{bearerKey{directory.NewSecret(token)}}, nil
}

func (c bearerKey) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	owner, err := a.secretOwner(ctx, r, c.key, directory.KindAPIKey, directory.KindPartnerToken)
	if err != nil {
		return nil, err
	}
	if owner.Kind == directory.KindPartnerToken {
		return a.integration(ctx, r, owner)
	}
	owner, key, err := a.findKey(ctx, r, c.key, directory.BearerKey)
	if err != nil {
		return nil, err
	}
	return keyPrincipal(owner, key, "bearer_key"), nil
}

// findKey looks an API key up by the keyed hash of the key. Unknown keys, and those of the other kind, are invalid.
func (a *Authenticator) findKey(ctx context.Context, r *memo.Reading, presented directory.Secret, kind string) (directory.SecretOwner, directory.APIKey, error) {
	owner, err := a.secretOwner(ctx, r, presented, directory.KindAPIKey)
	if err != nil {
		return owner, directory.APIKey{}, err
	}
	key, err := a.tenant.APIKey(owner.ID).Get(ctx, r)
	if errors.Is(err, datastore.ErrNotFound) || (err == nil && key.Kind != kind) {
		return owner, key, invalid()
	}
	return owner, key, err
}

// secretOwner finds whose secret it is; one of no such kind is as invalid as an unknown one, and so is a former one from its end on.
func (a *Authenticator) secretOwner(ctx context.Context, r *memo.Reading, presented directory.Secret, kinds ...directory.SecretKind) (directory.SecretOwner, error) {
	if directory.Mistyped(presented.Expose()) {
		return directory.SecretOwner{}, invalid()
	}
	owner, found, err := a.tenant.SecretOwner(a.master.Hash(presented)).Find(ctx, r)
	if err == nil && (!found || !slices.Contains(kinds, owner.Kind) || (!owner.ExpiresAt.IsZero() && a.expired(r, owner.ExpiresAt))) {
		err = invalid()
	}
	return owner, err
}

// keyPrincipal is that of a former key as well, but for its end.
func keyPrincipal(owner directory.SecretOwner, key directory.APIKey, method string) *Principal {
	p := &Principal{
		Type: APIKey, Subject: owner.ID, Org: key.Org, Scopes: key.Scopes, Methods: []string{method},
		Credential: CredentialRef{Type: "api_key", ID: owner.ID}, former: !owner.ExpiresAt.IsZero(),
	}
	if key.ExpiresAt != nil {
		p.Expires = key.ExpiresAt.Unix()
	}
	if p.former && (p.Expires == 0 || owner.ExpiresAt.Unix() < p.Expires) {
		p.Expires = owner.ExpiresAt.Unix()
	}
	return p
}
