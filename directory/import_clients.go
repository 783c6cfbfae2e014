package directory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

func (e *ClientEntry) write(ctx context.Context, w *writer) error {
	if err := e.writeSecrets(ctx, w); err != nil {
		return fmt.Errorf("client %s: %w", e.ID, err)
	}
	var rules []FederatedCredential
	for _, entry := range e.FederatedCredentials {
		rule := FederatedCredential(entry)
		rule.Algorithm = cmp.Or(rule.Algorithm, "RS256")
		rules = append(rules, rule)
	}
	if err := e.claimFederated(ctx, w, rules); err != nil {
		return fmt.Errorf("client %s: %w", e.ID, err)
	}
	return w.tenant.PutClient(ctx, w, e.ID, Client{
		Name: e.Name, Kind: cmp.Or(e.Kind, "service"), Party: cmp.Or(e.Party, "first"), Status: cmp.Or(e.Status, Active),
		Org: e.Org, Orgs: e.Orgs, GrantTypes: nonNil(e.GrantTypes), TokenEndpointAuthMethod: e.TokenEndpointAuthMethod,
		Scopes: nonNil(e.Scopes), Audiences: e.Audiences, RedirectURIs: e.RedirectURIs,
		TokenLifetime: int64(e.TokenLifetime.Seconds()), TLSClientAuthSubjectDN: e.TLSClientAuthSubjectDN, JWKS: e.JWKS,
		IDTokenSignedResponseAlg: e.IDTokenSignedResponseAlg, DPoPBoundAccessTokens: e.DPoPBoundAccessTokens,
		RequirePushedRequests: e.RequirePushedRequests, Vendor: e.Vendor, FederatedCredentials: rules,
	})
}

// writeSecrets keeps the secrets that are there when the file gives none, or one of them.
func (e *ClientEntry) writeSecrets(ctx context.Context, w *writer) error {
	place := w.tenant.ClientSecrets(e.ID)
	secrets, found, err := place.Find(ctx, w)
	if err != nil {
		return err
	}
	if !usesSecret(e.TokenEndpointAuthMethod) {
		if !found {
			return nil
		}
		return w.Delete(place.Path)
	}
	switch {
	case len(e.SecretHashes) > 0:
		secrets.Hashes = e.SecretHashes
	case len(e.Secrets) > 0:
		secrets.Hashes = nil
		for _, s := range e.Secrets {
			secrets.Hashes = append(secrets.Hashes, w.master.Hash(s))
		}
	case !e.Secret.IsZero():
		if h := w.master.Hash(e.Secret); !slices.Contains(secrets.Hashes, h) {
			secrets.Hashes = []Hash{h}
		}
	case !found:
		h, err := w.make(KindClientSecret, e.ID)
		if err != nil {
			return err
		}
		secrets.Hashes = []Hash{h}
	}
	return place.Put(ctx, w, secrets)
}

// claimFederated makes the subjects of the rules lead to the client, and gives up those of its former rules.
func (e *ClientEntry) claimFederated(ctx context.Context, w *writer, rules []FederatedCredential) error {
	former, _, err := w.tenant.Client(e.ID).Find(ctx, w)
	if err != nil {
		return err
	}
	for _, rule := range former.FederatedCredentials {
		if slices.ContainsFunc(rules, func(r FederatedCredential) bool { return r.Issuer == rule.Issuer && r.Subject == rule.Subject }) {
			continue
		}
		if err := w.Delete(w.tenant.Federated(rule.Issuer, rule.Subject).Path); err != nil {
			return fmt.Errorf("give up %s of %s: %w", rule.Subject, rule.Issuer, err)
		}
	}
	for _, rule := range rules {
		if err := claim(ctx, w, Place[Alias]{}, w.tenant.Federated(rule.Issuer, rule.Subject), Alias{ID: e.ID}); err != nil {
			return fmt.Errorf("%s of %s: %w", rule.Subject, rule.Issuer, err)
		}
	}
	return nil
}
