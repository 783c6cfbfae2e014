package authn

import (
	"context"
	"errors"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// keyPair is an API key of the kind pair: apikey says which, apisecret proves it.
type keyPair struct{ key, secret directory.Secret }

func recogniseKeyPair(p Presented) ([]credential, error) {
	var found []credential
	for _, pair := range p.KeyPairs {
		if pair.ID.IsZero() || pair.Secret.IsZero() {
			return nil, &Error{Kind: Malformed, Detail: "apikey and apisecret go together: one of them is missing"}
		}
		found = append(found, keyPair{key: pair.ID, secret: pair.Secret})
	}
	return found, nil
}

func (c keyPair) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	owner, key, err := a.findKey(ctx, r, c.key, directory.PairKey)
	if err != nil {
		return nil, err
	}
	secrets, err := a.tenant.KeySecrets(owner.ID).Get(ctx, r)
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, invalid()
	}
	if err != nil {
		return nil, err
	}
	p := keyPrincipal(owner, key, "key_pair")
	if p.former && secrets.Former == nil {
		return nil, invalid()
	}
	secret := secrets.Secret
	if p.former {
		secret = secrets.Former.Secret
	}
	if !a.master.Matches(c.secret, secret) {
		return nil, invalid()
	}
	return p, nil
}
