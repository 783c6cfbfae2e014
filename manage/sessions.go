package manage

import (
	"context"
	"fmt"
	"maps"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/delivery"
	"mandate/directory"
)

// session is what is shown of a login session.
type session struct {
	Org        string    `json:"org,omitempty"`
	Connection string    `json:"connection,omitempty"`
	Methods    []string  `json:"amr"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// grant is what is shown of a grant: what the user lets a client do.
type grant struct {
	Type      string    `json:"type"`
	Client    string    `json:"client,omitempty"`
	Org       string    `json:"org,omitempty"`
	Audience  string    `json:"audience"`
	Scopes    []string  `json:"scopes"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ofUser is the resource of what belongs to a user.
func ofUser(kind, id, user string) Resource {
	return Resource{Type: kind, ID: id, Properties: map[string]any{"user": user}}
}

// show adds what has no record that is managed as such.
func (p *page) show(id string, what any) error {
	body, err := document([]string{"id"}, []string{id}, what)
	if err != nil {
		return err
	}
	p.looked++
	p.Items = append(p.Items, body)
	return nil
}

// known refuses what is asked about a user who does not exist, after the policy was asked.
func (m *Manager) known(ctx context.Context, r datastore.Reader, user string) error {
	_, found, err := m.o.Tenant.User(user).Find(ctx, r)
	if err == nil && !found {
		err = ErrNotFound
	}
	return err
}

// Sessions are the login sessions of a user.
func (m *Manager) Sessions(ctx context.Context, r *memo.Reading, q *Request, user string) (*Listing, error) {
	if _, err := m.Permit(ctx, r, q, "users.sessions.list", ofUser("session", "*", user)); err != nil {
		return nil, err
	}
	if err := m.known(ctx, r, user); err != nil {
		return nil, err
	}
	filled, _, err := newPage(r, Page{Limit: MaxPage})
	if err != nil {
		return nil, err
	}
	err = m.o.Tenant.SessionsOf(ctx, r, user, func(id string, s directory.Session) error {
		if !m.o.Now().Before(s.ExpiresAt) {
			return nil
		}
		return filled.show(id, session{s.Org, s.Connection, s.Methods, s.CreatedAt, s.ExpiresAt})
	})
	return &filled.Listing, err
}

// EndSession ends one login session of a user, or all when the id is empty.
func (m *Manager) EndSession(ctx context.Context, q *Request, user, id string) (*Answer, error) {
	return m.end(ctx, q, "users.sessions.delete", "session", user, id, func(c *change) (int, error) {
		if id == "" {
			return c.tenant().EndSessions(ctx, c, user)
		}
		found, err := c.tenant().EndSession(ctx, c, user, id)
		if err == nil && !found {
			err = ErrNotFound
		}
		return 1, err
	})
}

// Grants are what a user lets clients do, as long as it is good.
func (m *Manager) Grants(ctx context.Context, r *memo.Reading, q *Request, user string, p Page) (*Listing, error) {
	if _, err := m.Permit(ctx, r, q, "users.grants.list", ofUser("grant", "*", user)); err != nil {
		return nil, err
	}
	if err := m.known(ctx, r, user); err != nil {
		return nil, err
	}
	filled, after, err := newPage(r, p)
	if err != nil {
		return nil, err
	}
	last := after
	err = m.o.Tenant.GrantsOf(ctx, r, user, after, func(id string, g directory.Grant) error {
		if filled.full(last) {
			return directory.ErrEnough
		}
		last = id
		if !m.o.Now().Before(g.ExpiresAt) {
			return nil
		}
		return filled.show(id, grant{g.Type, g.Client, g.Org, g.Audience, g.Scopes, g.CreatedAt, g.ExpiresAt})
	})
	return &filled.Listing, err
}

// EndGrant ends one grant of a user with all that came from it, or all when the id is empty.
func (m *Manager) EndGrant(ctx context.Context, q *Request, user, id string) (*Answer, error) {
	return m.end(ctx, q, "users.grants.delete", "grant", user, id, func(c *change) (int, error) {
		if id == "" {
			return c.tenant().EndGrants(ctx, c, user, nil)
		}
		g, found, err := c.tenant().Grant(id).Find(ctx, c)
		if err != nil {
			return 0, err
		}
		if !found || g.Kind != "user" || g.Subject != user {
			return 0, ErrNotFound
		}
		return 1, c.tenant().DeleteGrant(ctx, c, id)
	})
}

func (m *Manager) end(ctx context.Context, q *Request, action, kind, user, id string, do func(*change) (int, error)) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		named := id
		if named == "" {
			named = "*"
		}
		resource := ofUser(kind, named, user)
		if err := c.permit(ctx, action, resource); err != nil {
			return nil, err
		}
		if err := m.known(ctx, c, user); err != nil {
			return nil, err
		}
		ended, err := do(c)
		if err != nil {
			return nil, err
		}
		body, err := withMember([]byte("{}"), "ended", ended)
		if err != nil {
			return nil, err
		}
		return &Answer{Body: body}, c.done(ctx, action, resource, nil, nil)
	})
}

// ResetPassword mails a link to the user by which another password can be set.
func (m *Manager) ResetPassword(ctx context.Context, q *Request, user string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		resource := ofUser("user", user, user)
		if err := c.permit(ctx, "users.password", resource); err != nil {
			return nil, err
		}
		if err := m.known(ctx, c, user); err != nil {
			return nil, err
		}
		reset, begun, err := m.o.Authn.BeginReset(ctx, c, user)
		if err != nil {
			return nil, err
		}
		if !begun {
			return nil, &Conflict{"reset_impossible",
				"No mail was sent: the user is not active, has no email address, signs in at the provider of an organization, or was sent one a moment ago."}
		}
		if err := m.o.Deliveries.Mail(ctx, c, delivery.PasswordReset(m.o.Issuer, reset.Email, reset.Username, reset.Secret, reset.ExpiresAt)); err != nil {
			return nil, err
		}
		body, err := withMember([]byte("{}"), "expires_at", reset.ExpiresAt)
		if err != nil {
			return nil, err
		}
		return &Answer{Body: body}, c.done(ctx, "users.password", resource, nil, nil)
	})
}

// TakeConsentBack takes back what the user has let the client do for the organization or, when it is empty, for none. What rests
// on it is good for nothing from then on.
func (m *Manager) TakeConsentBack(ctx context.Context, q *Request, user, client, org string) error {
	_, err := m.change(ctx, q, func(c *change) (*Answer, error) {
		resource := ofUser("consent", client, user)
		place := c.tenant().Consent(user, client)
		before, found, err := place.Find(ctx, c)
		if err != nil {
			return nil, err
		}
		if found {
			resource.Properties["before"] = before
		}
		if err := c.permit(ctx, "consents.delete", resource); err != nil {
			return nil, err
		}
		if _, given := before.Orgs[org]; !given {
			return &Answer{}, nil
		}
		after := directory.Consent{Orgs: maps.Clone(before.Orgs)}
		if delete(after.Orgs, org); len(after.Orgs) == 0 {
			if err := c.Delete(place.Path); err != nil {
				return nil, fmt.Errorf("take a consent back: %w", err)
			}
			return &Answer{}, c.done(ctx, "consents.delete", resource, before, nil)
		}
		if err := place.Put(ctx, c, after); err != nil {
			return nil, err
		}
		return &Answer{}, c.done(ctx, "consents.delete", resource, before, after)
	})
	return err
}

// FinishReset sets the password of the user whom the secret was mailed to, once. Who has the secret needs no other credential.
func (m *Manager) FinishReset(ctx context.Context, r datastore.Reader, q *Request, secret, password directory.Secret) error {
	if _, _, err := m.o.Authn.Resets(ctx, r, secret); err != nil {
		return err // before it costs a hash
	}
	hash, err := m.o.Authn.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	_, err = m.change(ctx, q, func(c *change) (*Answer, error) {
		id, before, after, err := m.o.Authn.FinishReset(ctx, c, secret, hash)
		if err != nil {
			return nil, err
		}
		c.reason = byMail
		return &Answer{}, c.done(ctx, "users.reset", ofUser("user", id, id), before, after)
	})
	return err
}
