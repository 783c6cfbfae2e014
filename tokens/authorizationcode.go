package tokens

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"mandate/datastore"
	"mandate/directory"
)

// authorizationCode is RFC 6749 §4.1.3 with PKCE (RFC 7636). A code is the secret derived from the id of its grant, so
// that a code which is presented a second time is known for what it is, and ends the grant (RFC 6749 §4.1.2).
type authorizationCode struct{}

func (authorizationCode) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	if a.Code == "" {
		return nil, &Error{Code: "invalid_request", Description: "the parameter code is missing"}
	}
	bad := &Error{Code: "invalid_grant", Description: "the code is not valid: unknown, expired, used, or given to another client"}
	id, ok := i.o.Master.DerivedID(i.o.Tenant, directory.KindCode, directory.NewSecret(a.Code))
	if !ok {
		return nil, bad
	}
	g, found, err := i.o.Tenant.Grant(id).Find(ctx, a.reading)
	if err != nil {
		return nil, err
	}
	if !found || g.Code == nil || g.Client != a.client.Subject {
		return nil, bad
	}
	b := &basis{grantID: id, grant: &g, audience: g.Audience, org: g.Org, spend: i.redeem(id, a, bad)}
	// Who cannot redeem the code cannot end its grant by trying.
	if err := codeMatches(g.Code, a); err != nil {
		return nil, err
	}
	if g.Code.Redeemed {
		_, err := i.spend(ctx, a, b, &token{})
		return nil, err
	}
	if !i.o.Now().Before(g.Code.ExpiresAt) {
		return nil, bad
	}
	if b.subject, err = i.subject(ctx, a.reading, g); err != nil {
		return nil, err
	}
	b.refreshable, err = i.mayRefresh(ctx, a, g)
	return b, err
}

// redeem marks the code as used. Used already, it ends the grant and all that came from it.
func (i *Issuer) redeem(id string, a *asked, bad *Error) func(context.Context, datastore.Tx, bool) (uint64, *Error, error) {
	return func(ctx context.Context, tx datastore.Tx, refresh bool) (uint64, *Error, error) {
		place := i.o.Tenant.Grant(id)
		g, found, err := place.Find(ctx, tx)
		if err != nil || !found {
			return 0, bad, err
		}
		if g.Code == nil || g.Code.Redeemed {
			replayed, err := i.endGrant(ctx, tx, id, g, "code_replayed", bad)
			return 0, replayed, err
		}
		g.Code.Redeemed = true
		i.begin(&g, a, refresh)
		return g.Generation, nil, i.o.Tenant.PutGrant(ctx, tx, id, g)
	}
}

// begin makes a grant last as long as the tokens that it gives now, and counts the first refresh token when one goes with them.
func (i *Issuer) begin(g *directory.Grant, a *asked, refresh bool) {
	now := i.o.Now()
	g.ExpiresAt = now.Add(maxLifetime) // its access tokens have ended by then
	if refresh {
		g.Generation, g.RotatedAt, g.ExpiresAt = 1, now, now.Add(i.o.RefreshLifetime)
		i.bind(g, a)
	}
}

// codeMatches checks what binds the code to the request that it answers (RFC 6749 §4.1.3, RFC 7636 §4.6).
func codeMatches(c *directory.Code, a *asked) error {
	if (a.RedirectURI != "" || c.Given) && a.RedirectURI != c.RedirectURI {
		return &Error{Code: "invalid_grant", Description: "redirect_uri is not the one of the authorization request"}
	}
	switch {
	case c.Thumbprint != "" && c.Thumbprint != a.Confirms.Thumbprint:
		return &Error{Code: "invalid_grant", Description: "the code is bound to a key: send a DPoP proof of it (RFC 9449 §10)"}
	case a.CodeVerifier == "":
		return &Error{Code: "invalid_grant", Description: "the parameter code_verifier is missing"}
	case !wellFormedVerifier(a.CodeVerifier):
		return &Error{Code: "invalid_grant", Description: "code_verifier must be 43 to 128 letters, digits, hyphens, dots, underscores and tildes"}
	}
	sum := sha256.Sum256([]byte(a.CodeVerifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(c.Challenge)) == 0 {
		return &Error{Code: "invalid_grant", Description: "code_verifier does not match the code_challenge of the authorization request"}
	}
	return nil
}

func wellFormedVerifier(v string) bool {
	return len(v) >= 43 && len(v) <= 128 && !strings.ContainsFunc(v, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
	})
}

// mayRefresh says whether a refresh token goes with the grant: the client is registered for it, and with OpenID Connect
// the user has let it have offline access (Core §11).
func (i *Issuer) mayRefresh(ctx context.Context, a *asked, g directory.Grant) (bool, error) {
	if slices.Contains(g.Scopes, "openid") && !slices.Contains(g.Scopes, "offline_access") {
		return false, nil
	}
	client, err := i.o.Tenant.Client(g.Client).Get(ctx, a.reading)
	return slices.Contains(client.GrantTypes, "refresh_token"), err
}

// bind binds the refresh tokens of a public client to the key that its tokens are bound to (RFC 9449 §5, RFC 8705 §4). Those
// of another one are bound to its authentication.
func (i *Issuer) bind(g *directory.Grant, a *asked) {
	if a.client != nil && a.client.Methods[0] == "none" {
		g.Thumbprint, g.CertHash = a.Confirms.Thumbprint, a.Confirms.CertHash
	}
}

// endGrant ends a grant: its refresh tokens and, at Mandate's own endpoints, its access tokens are good for nothing from now on.
// The refusal is to be reported.
func (i *Issuer) endGrant(ctx context.Context, tx datastore.Tx, id string, g directory.Grant, event string, bad *Error) (*Error, error) {
	if err := i.o.Tenant.DeleteGrant(ctx, tx, id); err != nil {
		return nil, fmt.Errorf("end a grant: %w", err)
	}
	reported := *bad
	reported.event = &SecurityEvent{Type: event, Grant: id, Client: g.Client, Subject: g.Subject, Org: g.Org}
	return &reported, nil
}
