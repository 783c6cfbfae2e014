package authn

import (
	"context"
	"slices"
	"time"

	"mandate/datastore/memo"
	"mandate/directory"
)

// maxAssertionLifetime bounds how long before its end an assertion is taken.
const maxAssertionLifetime = time.Hour

// Federated returns the client for which a JWT of another issuer stands, as an authorization grant (RFC 7523 §2.1): that of
// a CI job, say, by a trust rule of the client. An assertion with a jti is good for one time. The error is an *Error, or one of
// the store or the context.
func (a *Authenticator) Federated(ctx context.Context, r *memo.Reading, assertion directory.Secret) (*Principal, error) {
	r.Volatile()
	t, err := readJWT(assertion)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", "jwt", "jose"}, t.typ()) {
		return nil, invalid() // an access token, say (RFC 8725 §3.11)
	}
	alias, found, err := a.tenant.Federated(t.claim("iss"), t.claim("sub")).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, invalid()
	}
	client, found, err := a.tenant.Client(alias.ID).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	rule := trustRule(client, t)
	if !found || rule == nil {
		return nil, invalid()
	}
	if _, err := a.verifyProvided(ctx, t, rule.Issuer, rule.Algorithm); err != nil {
		return nil, err
	}
	if err := a.useAssertion(ctx, t); err != nil {
		return nil, err
	}
	p := clientPrincipal(alias.ID, client, "federated")
	p.Credential = CredentialRef{Type: "federated", ID: rule.Issuer}
	if err := a.Standing(ctx, r, p); err != nil {
		return nil, err
	}
	return p, p.complete()
}

// trustRule is the rule of the client that the assertion meets, or nil. What it says is not verified yet.
func trustRule(client directory.Client, t jwtOf) *directory.FederatedCredential {
	audience, err := t.claims.GetAudience()
	if err != nil || client.Status != directory.Active {
		return nil
	}
	for _, rule := range client.FederatedCredentials {
		if rule.Issuer != t.claim("iss") || rule.Subject != t.claim("sub") || !slices.Contains(audience, rule.Audience) {
			continue
		}
		if t.has(rule.Claims) {
			return &rule
		}
	}
	return nil
}

// useAssertion checks that a verified assertion ends soon, and that it was not used before when it says how to tell.
func (a *Authenticator) useAssertion(ctx context.Context, t jwtOf) error {
	expires, err := t.claims.GetExpirationTime()
	if err != nil || expires == nil || expires.After(a.now().Add(maxAssertionLifetime+a.leeway)) {
		return &Error{Kind: Invalid, Code: "assertion_too_long", Detail: "the assertion is good for longer than an hour: send one that ends sooner"}
	}
	jti, given := t.claims["jti"]
	if !given {
		return nil
	}
	id, isText := jti.(string)
	if !isText || id == "" {
		return invalid()
	}
	return a.once(ctx, "assertion-grant", t.claim("iss"), id, expires.Add(a.leeway))
}
