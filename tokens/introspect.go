package tokens

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// Introspection is what a token is good for now (RFC 7662 §2.2). Of one that is not active it says nothing else.
type Introspection struct {
	Active    bool                `json:"active"`
	Issuer    string              `json:"iss,omitempty"`
	Subject   string              `json:"sub,omitempty"`
	Kind      authn.PrincipalType `json:"sub_type,omitempty"`
	Audience  []string            `json:"aud,omitempty"`
	ClientID  string              `json:"client_id,omitempty"`
	Org       string              `json:"org,omitempty"`
	Scope     string              `json:"scope,omitempty"`
	TokenType string              `json:"token_type,omitempty"`
	IssuedAt  int64               `json:"iat,omitzero"`
	Expires   int64               `json:"exp,omitzero"`
	ID        string              `json:"jti,omitempty"`
	Actor     *authn.Actor        `json:"act,omitempty"`
	Confirms  *authn.Confirmation `json:"cnf,omitempty"`
}

// Properties are what a policy needs to know to say who may see this.
func (i *Introspection) Properties() map[string]any {
	properties := map[string]any{"client_id": i.ClientID, "aud": i.Audience}
	if i.Org != "" {
		properties["org"] = i.Org
	}
	return properties
}

// Introspect says what an access token or a refresh token is good for now. Whether the caller may know it is not its matter.
func (i *Issuer) Introspect(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, token directory.Secret) (*Introspection, error) {
	if id, generation, g, err := i.findRefresh(ctx, r, token); err != nil || id != "" {
		if err != nil || generation != g.Generation {
			return &Introspection{}, err
		}
		return i.refreshIntrospection(ctx, r, policies, g)
	}
	p, err := i.o.Authn.Inspect(ctx, r, token)
	if err == nil {
		p, err = i.Current(ctx, r, policies, p)
	}
	var failed *authn.Error
	if errors.As(err, &failed) {
		return &Introspection{}, nil
	}
	if err != nil {
		return nil, err
	}
	if p.Expires <= i.o.Now().Unix() { // the leeway is for the clocks of others
		return &Introspection{}, nil
	}
	found := &Introspection{Active: true, Issuer: i.o.Issuer, Subject: p.Subject, Kind: p.Type, Audience: p.Audience, ClientID: p.ClientID,
		Org: p.Org, Scope: strings.Join(p.Scopes, " "), TokenType: "Bearer", IssuedAt: p.IssuedAt, Expires: p.Expires, ID: p.Credential.ID,
		Actor: p.Actor, Confirms: p.Confirms}
	if p.Confirms != nil && p.Confirms.Thumbprint != "" {
		found.TokenType = "DPoP"
	}
	return found, nil
}

// refreshIntrospection says of a refresh token what the next access token would be. Its audience is for the client to know.
func (i *Issuer) refreshIntrospection(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, g directory.Grant) (*Introspection, error) {
	p, err := i.subject(ctx, r, g)
	if err == nil {
		p.ClientID, p.Audience = cmp.Or(g.Client, i.o.Issuer), []string{g.Audience}
		var narrowed *authn.Principal
		if narrowed, err = i.current(ctx, r, policies, p); err == nil {
			p = narrowed
		}
	}
	var ended *Error
	var failed *authn.Error
	if errors.As(err, &ended) || errors.As(err, &failed) {
		return &Introspection{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &Introspection{Active: true, Issuer: i.o.Issuer, Subject: g.Subject, Kind: authn.PrincipalType(g.Kind), ClientID: g.Client, Org: g.Org,
		Scope: strings.Join(p.Scopes, " "), IssuedAt: g.CreatedAt.Unix(), Expires: g.ExpiresAt.Unix()}, nil
}

// findRefresh finds the grant of a genuine refresh token, be it the newest or not. The id is empty for anything else.
func (i *Issuer) findRefresh(ctx context.Context, r *memo.Reading, token directory.Secret) (id string, generation uint64, g directory.Grant, err error) {
	name, _ := i.o.Master.DerivedID(i.o.Tenant, directory.KindRefreshToken, token)
	id, generation, ok := cutGeneration(name)
	if !ok {
		return "", 0, g, nil
	}
	g, found, err := i.o.Tenant.Grant(id).Find(ctx, r)
	if err != nil || !found || generation > g.Generation || !i.o.Now().Before(g.ExpiresAt) {
		return "", 0, g, err
	}
	return id, generation, g, nil
}

// Revoke ends a token (RFC 7009): a refresh token with all that came from its grant, also when it is no more the newest, and an
// access token for itself. Those of another client stay, and look like ones that are unknown or have ended: no client learns
// here whether a token is good. Those of the exchange endpoints have no client, so whoever holds them can end them.
func (i *Issuer) Revoke(ctx context.Context, r *memo.Reading, client *authn.Principal, token directory.Secret) error {
	if token.IsZero() {
		return &Error{Code: "invalid_request", Description: "the parameter token is missing"}
	}
	id, _, g, err := i.findRefresh(ctx, r, token)
	if err != nil {
		return err
	}
	if id != "" {
		if g.Client != "" && g.Client != client.Subject {
			return nil
		}
		return i.commit(ctx, "revoke a grant", func(tx datastore.Tx) error { return i.o.Tenant.DeleteGrant(ctx, tx, id) })
	}
	p, err := i.o.Authn.Inspect(ctx, r, token)
	var failed *authn.Error
	switch {
	case errors.As(err, &failed):
		return nil
	case err != nil:
		return err
	case p.ClientID != client.Subject && p.ClientID != i.o.Issuer:
		return nil
	}
	until := time.Unix(p.Expires, 0).Add(time.Minute) // the largest leeway
	return i.commit(ctx, "revoke an access token", func(tx datastore.Tx) error {
		return directory.PutExpiring(ctx, tx, i.o.Tenant.RevokedToken(p.Credential.ID), directory.Expiry{ExpiresAt: until}, until)
	})
}

func (i *Issuer) commit(ctx context.Context, what string, change func(datastore.Tx) error) error {
	if _, err := i.store.Update(ctx, change); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
