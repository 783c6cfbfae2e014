package tokens

import (
	"context"
	"strconv"
	"strings"

	"mandate/authn"
	"mandate/datastore"
	"mandate/directory"
)

// refreshToken is RFC 6749 §6 with rotation (RFC 9700 §4.14.2). A refresh token is derived from the id of its grant and a
// number, of which only the newest is good. So an older one is known as genuine: somebody uses it who should not have
// it, or should have a newer one, and the whole grant ends. Only for a short while after it was replaced, and while its
// successor was not used, it gets that very successor again: the answer may have been lost.
type refreshToken struct{}

func (refreshToken) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	if a.RefreshToken.IsZero() {
		return nil, &Error{Code: "invalid_request", Description: "the parameter refresh_token is missing"}
	}
	bad := &Error{Code: "invalid_grant", Description: "the refresh token is not valid: unknown, expired, used, revoked, or given to another client"}
	name, _ := i.o.Master.DerivedID(i.o.Tenant, directory.KindRefreshToken, a.RefreshToken)
	id, generation, ok := cutGeneration(name)
	if !ok {
		return nil, bad
	}
	g, found, err := i.o.Tenant.Grant(id).Find(ctx, a.reading)
	if err != nil {
		return nil, err
	}
	client := ""
	if a.client != nil {
		client = a.client.Subject
	}
	// A stranger's use changes nothing: whoever is not the client cannot end its grant.
	if !found || g.Client != client || !boundTo(g, a.Confirms) || !i.o.Now().Before(g.ExpiresAt) {
		return nil, bad
	}
	b := &basis{grantID: id, grant: &g, audience: g.Audience, org: g.Org, refreshable: true, spend: i.rotate(id, generation, bad)}
	if !i.isGood(g, generation) {
		_, err := i.spend(ctx, a, b, &token{})
		return nil, err
	}
	if b.subject, err = i.subject(ctx, a.reading, g); err != nil {
		return nil, err
	}
	b.notAfter = expiry(b.subject)
	return b, nil
}

func cutGeneration(name string) (id string, generation uint64, ok bool) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return "", 0, false
	}
	generation, err := strconv.ParseUint(name[at+1:], 10, 64)
	return name[:at], generation, err == nil
}

// isGood says whether the refresh token of that generation may be used now.
func (i *Issuer) isGood(g directory.Grant, generation uint64) bool {
	return generation == g.Generation || (generation+1 == g.Generation && i.o.Now().Before(g.RotatedAt.Add(i.o.RefreshGrace)))
}

// rotate replaces the refresh token by its successor, which is the one that a retry gets as well.
func (i *Issuer) rotate(id string, generation uint64, bad *Error) func(context.Context, datastore.Tx, bool) (uint64, *Error, error) {
	return func(ctx context.Context, tx datastore.Tx, _ bool) (uint64, *Error, error) {
		place := i.o.Tenant.Grant(id)
		g, found, err := place.Find(ctx, tx)
		switch {
		case err != nil || !found:
			return 0, bad, err
		case !i.isGood(g, generation):
			reused, err := i.endGrant(ctx, tx, id, g, "refresh_token_reused", bad)
			return 0, reused, err
		case generation < g.Generation:
			return g.Generation, nil, nil
		}
		now := i.o.Now()
		g.Generation, g.RotatedAt, g.ExpiresAt = g.Generation+1, now, now.Add(i.o.RefreshLifetime)
		return g.Generation, nil, place.Put(ctx, tx, g)
	}
}

func boundTo(g directory.Grant, c authn.Confirmation) bool {
	return (g.Thumbprint == "" || g.Thumbprint == c.Thumbprint) && (g.CertHash == "" || g.CertHash == c.CertHash)
}
