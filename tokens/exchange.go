package tokens

import (
	"context"
	"strings"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// Exchange answers at the exchange endpoints, which no client is registered for: a user's password or an API key becomes a
// token for that user or key, with a refresh token. Mandate itself is the client, by the name of its issuer. The policy
// sees the grant types password and api_key.
func (i *Issuer) Exchange(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, holder *authn.Principal, q Request) (*Response, error) {
	q.GrantType = "password"
	if holder.Type == authn.APIKey {
		q.GrantType = "api_key"
	}
	return i.issue(ctx, &asked{Request: q, reading: r, policies: policies}, credentialExchange{holder})
}

// credentialExchange begins a grant of what the holder of a credential may have.
type credentialExchange struct{ holder *authn.Principal }

func (e credentialExchange) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	org, err := i.onlyOrg(ctx, a, e.holder)
	if err != nil {
		return nil, err
	}
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	now := i.o.Now()
	subject := *e.holder
	digest, err := i.o.Authn.PresentedDigest(ctx, a.reading, &subject)
	if err != nil {
		return nil, err
	}
	g := &directory.Grant{Type: a.GrantType, Kind: string(subject.Type), Subject: subject.Subject, Methods: subject.Methods, Credential: digest, CreatedAt: now}
	if subject.Type == authn.User {
		subject.AuthTime = now.Unix()
		g.AuthTime = subject.AuthTime
	}
	b := &basis{subject: &subject, org: org, grantID: id, grant: g, refreshable: true, notAfter: expiry(&subject)}
	b.spend = func(ctx context.Context, tx datastore.Tx, _ bool) (uint64, *Error, error) {
		g.Generation, g.RotatedAt, g.ExpiresAt = 1, now, now.Add(i.o.RefreshLifetime)
		return 1, nil, i.o.Tenant.PutGrant(ctx, tx, id, *g)
	}
	return b, nil
}

// onlyOrg is the organization that the token is for when none was asked for: a user's only one. One of several has to be named.
func (i *Issuer) onlyOrg(ctx context.Context, a *asked, holder *authn.Principal) (string, error) {
	if a.Org != "" || holder.Org != "" || holder.Type != authn.User {
		return holder.Org, nil
	}
	orgs, err := i.candidates(ctx, a.reading, &Authorization{}, holder)
	if err != nil {
		return "", err
	}
	if len(orgs) > 1 {
		return "", &Error{Code: "invalid_request", Description: "the user is a member of several organizations: name one with the parameter org: " + strings.Join(orgs, ", ")}
	}
	return orgs[0], nil
}

// expiry is when a principal's credential ends, zero when it does not.
func expiry(p *authn.Principal) time.Time {
	return earlier(time.Time{}, p.Expires)
}
