package authn

import (
	"context"
	"time"

	"mandate/datastore/memo"
)

// At resolves who was who at an earlier instant, by the facts of then. It authenticates nobody.
func (a *Authenticator) At(then time.Time) *Authenticator {
	return &Authenticator{tenant: a.tenant, now: func() time.Time { return then }}
}

// Resolve returns the principal that a request names instead of presenting a credential, as the facts know it, or
// nil when there is none of that type and id. Whether it is active is for the policy to judge, which knows no time:
// an API key that has expired is none.
func (a *Authenticator) Resolve(ctx context.Context, r *memo.Reading, subjectType, id string) (*Principal, error) {
	switch PrincipalType(subjectType) {
	case User:
		_, found, err := a.tenant.User(id).Find(ctx, r)
		if err != nil || !found {
			return nil, err
		}
		return &Principal{Type: User, Subject: id}, nil
	case Client:
		client, found, err := a.tenant.Client(id).Find(ctx, r)
		if err != nil || !found {
			return nil, err
		}
		p := clientPrincipal(id, client, "")
		p.Credential = CredentialRef{}
		return p, nil
	case APIKey:
		key, found, err := a.tenant.APIKey(id).Find(ctx, r)
		// Policies know no time, so an expired key is told from a good one here.
		if err != nil || !found || (key.ExpiresAt != nil && a.expired(r, *key.ExpiresAt)) {
			return nil, err
		}
		return &Principal{Type: APIKey, Subject: id, Org: key.Org, Scopes: key.Scopes}, nil
	case Vendor:
		_, found, err := a.tenant.Vendor(id).Find(ctx, r)
		if err != nil || !found {
			return nil, err
		}
		return &Principal{Type: Vendor, Subject: id}, nil
	}
	return nil, nil
}
