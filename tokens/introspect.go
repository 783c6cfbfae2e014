package tokens

import (
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
	if id, g, err := i.findRefresh(ctx, r, token); err != nil || id != "" {
		return i.refreshIntrospection(ctx, r, g, err)
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
	found := &Introspection{Active: true, Issuer: i.o.Issuer, Subject: p.Subject, Kind: p.Type, Audience: p.Audience, ClientID: p.ClientID,
		Org: p.Org, Scope: strings.Join(p.Scopes, " "), TokenType: "Bearer", IssuedAt: p.IssuedAt, Expires: p.Expires, ID: p.Credential.ID,
		Actor: p.Actor, Confirms: p.Confirms}
	if p.Confirms != nil && p.Confirms.Thumbprint != "" {
		found.TokenType = "DPoP"
	}
	return found, nil
}

func (i *Issuer) refreshIntrospection(ctx context.Context, r *memo.Reading, g directory.Grant, err error) (*Introspection, error) {
	if err != nil {
		return nil, err
	}
	if _, err := i.subject(ctx, r, g); err != nil {
		if ended := (*Error)(nil); errors.As(err, &ended) {
			return &Introspection{}, nil
		}
		return nil, err
	}
	// Its scopes and audience are for the client to know, which learns them with each access token.
	return &Introspection{Active: true, Issuer: i.o.Issuer, Subject: g.Subject, Kind: authn.PrincipalType(g.Kind), ClientID: g.Client, Org: g.Org,
		Scope: strings.Join(g.Scopes, " "), IssuedAt: g.CreatedAt.Unix(), Expires: g.ExpiresAt.Unix()}, nil
}

// findRefresh finds the grant of a refresh token that may be used now. The id is empty for anything else.
func (i *Issuer) findRefresh(ctx context.Context, r *memo.Reading, token directory.Secret) (id string, g directory.Grant, err error) {
	name, ok := i.o.Master.DerivedID(i.o.Tenant, directory.KindRefreshToken, token)
	if !ok {
		return "", g, nil
	}
	id, generation, ok := cutGeneration(name)
	if !ok {
		return "", g, nil
	}
	g, found, err := i.o.Tenant.Grant(id).Find(ctx, r)
	if err != nil || !found || generation != g.Generation || !i.o.Now().Before(g.ExpiresAt) {
		return "", g, err
	}
	return id, g, nil
}

// Revoke ends a token (RFC 7009): a refresh token with all that came from its grant, an access token for itself. One that is
// unknown or has ended already is no error; one of another client is.
func (i *Issuer) Revoke(ctx context.Context, r *memo.Reading, client *authn.Principal, token directory.Secret) error {
	if token.IsZero() {
		return &Error{Code: "invalid_request", Description: "the parameter token is missing"}
	}
	foreign := &Error{Code: "unauthorized_client", Description: "the token was issued to another client"}
	id, g, err := i.findRefresh(ctx, r, token)
	if err != nil {
		return err
	}
	if id != "" {
		if g.Client != client.Subject {
			return foreign
		}
		return i.commit(ctx, "revoke a grant", func(tx datastore.Tx) error { return tx.Delete(i.o.Tenant.Grant(id).Path) })
	}
	p, err := i.o.Authn.Inspect(ctx, r, token)
	var failed *authn.Error
	switch {
	case errors.As(err, &failed):
		return nil
	case err != nil:
		return err
	case p.ClientID != client.Subject:
		return foreign
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
