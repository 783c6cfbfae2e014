package manage

import (
	"context"

	"mandate/authn"
	"mandate/datastore"
	"mandate/directory"
)

// Clients are the OAuth clients.
func Clients() Kind { return clients() }

func clients() *kind[directory.Client] {
	return &kind[directory.Client]{
		name: "clients", resource: "client", path: "clients/{id}", keys: []string{"id"}, shared: true,
		org:   func(_ []string, c directory.Client) string { return c.Org },
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Client] { return t.Client(ids[0]) },
		file: func(ids []string, c directory.Client, _ given) (*directory.File, string) {
			return &directory.File{Clients: []directory.ClientEntry{c.Entry(ids[0])}}, "clients[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteClient(ctx, tx, ids[0])
		},
		secrets: map[directory.SecretKind]string{directory.KindClientSecret: "client_secret"},
		filters: []string{"status", "kind", "party"},
		indexes: map[string]index{"org": idsOf(directory.Tenant.ClientsOf), "acting_in": idsOf(directory.Tenant.ClientsActingIn),
			"vendor": idsOf(directory.Tenant.ClientsOfVendor)},
		used:  func(ids []string, _ directory.Client) (string, string) { return "clients", ids[0] },
		about: aboutClient,
	}
}

// APIKeys are the keys of organizations, and of the tenant.
func APIKeys() Kind { return apiKeys() }

func apiKeys() *kind[directory.APIKey] {
	return &kind[directory.APIKey]{
		name: "apikeys", resource: "apikey", path: "apikeys/{id}", keys: []string{"id"}, shared: true,
		org:   func(_ []string, k directory.APIKey) string { return k.Org },
		place: func(t directory.Tenant, ids []string) directory.Place[directory.APIKey] { return t.APIKey(ids[0]) },
		file: func(ids []string, k directory.APIKey, _ given) (*directory.File, string) {
			return &directory.File{APIKeys: []directory.APIKeyEntry{k.Entry(ids[0])}}, "api_keys[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteAPIKey(ctx, tx, ids[0])
		},
		secrets: map[directory.SecretKind]string{directory.KindAPIKey: "key", directory.KindAPISecret: "secret"},
		filters: []string{"status", "kind"},
		indexes: map[string]index{"org": idsOf(directory.Tenant.APIKeysOf), "owner": idsOf(directory.Tenant.APIKeysOwnedBy)},
		fixed:   []string{"prefix"},
		used:    func(ids []string, _ directory.APIKey) (string, string) { return "apikeys", ids[0] },
		fill:    fillAPIKey,
		about:   aboutAPIKey,
	}
}

// fillAPIKey makes a key that a user makes the user's own, in the organization that the user is signed in to: the one of the token.
func fillAPIKey(_ context.Context, c *change, key *directory.APIKey) error {
	caller := c.q.Caller
	if caller == nil || caller.Type != authn.User {
		return nil
	}
	if key.Owner == "" {
		key.Owner = caller.Subject
	}
	if key.Org == "" {
		key.Org = caller.Org
	}
	return nil
}

// aboutAPIKey keeps a revoked key revoked, and a new one from having ended already.
func aboutAPIKey(_ context.Context, c *change, _ []string, before, after *directory.APIKey, _ map[string]any) error {
	if after == nil || after == before {
		return nil
	}
	if before != nil && before.Status == directory.Revoked && after.Status != directory.Revoked {
		return errRevoked()
	}
	moved := before == nil || before.ExpiresAt == nil || after.ExpiresAt == nil || !before.ExpiresAt.Equal(*after.ExpiresAt)
	if moved && after.ExpiresAt != nil && !after.ExpiresAt.After(c.at) {
		return invalid("expires_at", "must be in the future")
	}
	return nil
}

// aboutClient keeps a client that acts in some organizations from acting in all of them by accident.
func aboutClient(_ context.Context, c *change, _ []string, before, after *directory.Client, _ map[string]any) error {
	if before == nil || after == nil || c.q.Confirmed {
		return nil
	}
	if (before.Org != "" || len(before.Orgs) > 0) && after.Org == "" && len(after.Orgs) == 0 {
		return &Conflict{"client_unbound", "The client would be bound to no organization, and so act in every one: delete or disable it, or send the header Confirm: true."}
	}
	return nil
}
