package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"

	"mandate/datastore"
)

const (
	// maxSessions bounds the sessions of a user: one more ends the oldest.
	maxSessions = 100

	userSubject = "user" // the Kind of a grant that a user has given
)

func (t Tenant) userSessions(user string) datastore.Path {
	return datastore.TenantID(t).Path(PrivateRoot, "usersessions", user)
}

func (t Tenant) userGrants(user string) datastore.Path {
	return datastore.TenantID(t).Path(PrivateRoot, "usergrants", user)
}

// PutSession writes a session, and makes it found by its user.
func (t Tenant) PutSession(ctx context.Context, tx datastore.Tx, h Hash, s Session) error {
	others, oldest, first := 0, Hash(""), Session{}
	err := t.sessions(ctx, tx, s.User, func(h Hash, other Session) error {
		if others++; oldest == "" || other.CreatedAt.Before(first.CreatedAt) {
			oldest, first = h, other
		}
		return nil
	})
	if err != nil {
		return err
	}
	if others >= maxSessions {
		if err := t.DeleteSession(ctx, tx, oldest); err != nil {
			return err
		}
	}
	former, _, err := t.Session(h).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := relink(ctx, tx, t.sessionLinks(h, former), t.sessionLinks(h, s)); err != nil {
		return err
	}
	return PutExpiring(ctx, tx, t.Session(h), s, s.ExpiresAt)
}

// DeleteSession ends a session, if there is one.
func (t Tenant) DeleteSession(ctx context.Context, tx datastore.Tx, h Hash) error {
	session, found, err := t.Session(h).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	return remove(tx, append(t.sessionLinks(h, session), t.Session(h).Path)...)
}

func (t Tenant) sessionLinks(h Hash, s Session) []datastore.Path {
	if s.User == "" {
		return nil
	}
	return []datastore.Path{t.userSessions(s.User).Join(string(h))}
}

func (t Tenant) sessions(ctx context.Context, r datastore.Reader, user string, do func(h Hash, s Session) error) error {
	at := func(h string) Place[Session] { return t.Session(Hash(h)) }
	return linked(ctx, r, t.userSessions(user), "", at, func(h string, s Session) error { return do(Hash(h), s) })
}

// sessionID names a session to people, and is of no use to anybody who wants to be its user.
func sessionID(h Hash) string {
	sum := sha256.Sum256([]byte(h))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// SessionsOf yields the sessions of a user by ids that are no secret, in an order that stays. Those that have expired may be
// among them for a minute.
func (t Tenant) SessionsOf(ctx context.Context, r datastore.Reader, user string, do func(id string, s Session) error) error {
	return t.sessions(ctx, r, user, func(h Hash, s Session) error { return do(sessionID(h), s) })
}

// EndSession ends the session of the user with that id, and says whether there was one.
func (t Tenant) EndSession(ctx context.Context, tx datastore.Tx, user, id string) (found bool, err error) {
	n, err := t.endSessions(ctx, tx, user, func(h Hash) bool { return sessionID(h) == id })
	return n > 0, err
}

// EndSessions ends all sessions of a user, and says how many there were.
func (t Tenant) EndSessions(ctx context.Context, tx datastore.Tx, user string) (ended int, err error) {
	return t.endSessions(ctx, tx, user, func(Hash) bool { return true })
}

func (t Tenant) endSessions(ctx context.Context, tx datastore.Tx, user string, which func(Hash) bool) (int, error) {
	var hashes []Hash
	err := t.sessions(ctx, tx, user, func(h Hash, _ Session) error {
		if which(h) {
			hashes = append(hashes, h)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, h := range hashes {
		if err := t.DeleteSession(ctx, tx, h); err != nil {
			return 0, err
		}
	}
	return len(hashes), nil
}

// PutGrant writes a grant that is new, or has another end or user than before, and makes it found by its user.
func (t Tenant) PutGrant(ctx context.Context, tx datastore.Tx, id string, g Grant) error {
	former, _, err := t.Grant(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := relink(ctx, tx, t.grantLinks(id, former), t.grantLinks(id, g)); err != nil {
		return err
	}
	return PutExpiring(ctx, tx, t.Grant(id), g, g.ExpiresAt)
}

func (t Tenant) grantLinks(id string, g Grant) []datastore.Path {
	if g.Kind != userSubject || g.Subject == "" {
		return nil
	}
	return []datastore.Path{t.userGrants(g.Subject).Join(id)}
}

// DeleteGrant ends a grant with all that came from it, if there is one.
func (t Tenant) DeleteGrant(ctx context.Context, tx datastore.Tx, id string) error {
	grant, found, err := t.Grant(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	return remove(tx, append(t.grantLinks(id, grant), t.Grant(id).Path)...)
}

// GrantsOf yields the grants of a user in the order of their ids, after the given one. Those that have expired may be among
// them for a minute.
func (t Tenant) GrantsOf(ctx context.Context, r datastore.Reader, user, after string, do func(id string, g Grant) error) error {
	return linked(ctx, r, t.userGrants(user), after, t.Grant, do)
}

// EndGrants ends the grants of a user but those to keep, and says how many. Without keep all end.
func (t Tenant) EndGrants(ctx context.Context, tx datastore.Tx, user string, keep func(id string, g Grant) bool) (ended int, err error) {
	var ids []string
	err = t.GrantsOf(ctx, tx, user, "", func(id string, g Grant) error {
		if keep == nil || !keep(id, g) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := t.DeleteGrant(ctx, tx, id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}
