package manage

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Connections are the identity providers of an organization.
func Connections() Kind { return connections() }

func connections() *kind[directory.Connection] {
	return &kind[directory.Connection]{
		name: "orgs.connections", resource: "connection", path: "orgs/{org}/connections/{id}", keys: []string{"id"}, org: inPath[directory.Connection],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Connection] {
			return t.Connection(ids[0], ids[1])
		},
		file: func(ids []string, c directory.Connection, g given) (*directory.File, string) {
			entry := c.Entry(ids[1])
			entry.ClientSecret = g.ClientSecret
			return within(ids[0], directory.OrgEntry{Connections: []directory.ConnectionEntry{entry}}), "orgs[0].connections[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteConnection(ctx, tx, ids[0], ids[1])
		},
		takes: []string{"client_secret"}, filters: []string{"status", "domain", "issuer"},
		about: aboutConnection,
	}
}

// aboutConnection keeps a connection at its provider, for its users are named by the connection and by what the provider calls them,
// which is unique within one issuer only (OpenID Connect Core §5.7). It checks that the domain of a connection is one that the
// organization has verified, and no other connection's.
func aboutConnection(ctx context.Context, c *change, ids []string, before, after *directory.Connection, _ map[string]any) error {
	if after == nil || after == before {
		return nil
	}
	if before != nil && before.Issuer != after.Issuer {
		return &Conflict{"issuer_fixed", "The issuer of a connection stays: its users are those of this provider. Make another connection."}
	}
	if after.Domain == "" {
		return nil
	}
	enabled := after.Status != directory.Disabled && (before == nil || before.Status == directory.Disabled)
	if before != nil && before.Domain == after.Domain && !enabled {
		return nil
	}
	domain, found, err := c.tenant().Domain(ids[0], after.Domain).Find(ctx, c.reading)
	if err != nil {
		return err
	}
	if !found {
		return &Conflict{"domain_unknown", "The organization has no such domain: add and verify it first."}
	}
	if domain.Status != directory.Verified {
		return domainNotVerified()
	}
	holder, taken, err := c.tenant().DomainConnection(ids[0], after.Domain).Find(ctx, c.reading)
	if err == nil && taken && holder.ID != ids[1] {
		err = &Conflict{"domain_has_connection", "The connection " + holder.ID + " is for this domain already."}
	}
	return err
}

// RotateConnection sets the client secret of a connection, which the provider has made.
func (m *Manager) RotateConnection(ctx context.Context, q *Request, ids []string, body jsontext.Value) (*Answer, error) {
	k := connections()
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		before, err := k.find(ctx, m, c, ids)
		if err != nil {
			return nil, err
		}
		resource := k.resourceOf(ids, before, nil)
		if err := c.permit(ctx, "orgs.connections.rotate", resource); err != nil {
			return nil, err
		}
		if before == nil {
			return nil, ErrNotFound
		}
		if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
			return nil, err
		}
		var secrets given
		if err := json.Unmarshal(body, &secrets, json.RejectUnknownMembers(true)); err != nil {
			return nil, wrongMember(err)
		}
		if secrets.ClientSecret.IsZero() || secrets != (given{ClientSecret: secrets.ClientSecret}) {
			return nil, invalid("client_secret", "must be given, and nothing else")
		}
		if _, err := k.write(ctx, c, ids, before, *before, secrets); err != nil {
			return nil, err
		}
		c.secret = true
		return k.finish(ctx, c, ids, ".rotate", resource, before, nil)
	})
}

// ConnectionTest says what works at the provider of a connection, and what does not.
type ConnectionTest struct {
	OK     bool          `json:"ok"`
	Checks []authn.Check `json:"checks"`
}

// TestConnection asks the provider of a connection now for all that a sign-in needs. Nothing is remembered of it.
func (m *Manager) TestConnection(ctx context.Context, r *memo.Reading, q *Request, ids []string) (*ConnectionTest, error) {
	k := connections()
	connection, err := k.find(ctx, m, r, ids)
	if err != nil {
		return nil, err
	}
	if _, err := m.Permit(ctx, r, q, "orgs.connections.test", k.resourceOf(ids, connection, nil)); err != nil {
		return nil, err
	}
	if connection == nil {
		return nil, ErrNotFound
	}
	test := &ConnectionTest{OK: true}
	if test.Checks, err = m.o.Authn.Probe(ctx, *connection); err != nil {
		return nil, err
	}
	for _, check := range test.Checks {
		test.OK = test.OK && check.OK
	}
	return test, nil
}
