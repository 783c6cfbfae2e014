package authn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// sessionLifetime is that of a login session, however it is used.
const sessionLifetime = 12 * time.Hour

// BeginSession begins the login session of a user who has just signed in, and returns the secret that the browser keeps.
func (a *Authenticator) BeginSession(ctx context.Context, user *Principal) (directory.Secret, error) {
	secret, err := directory.MakeSecret(directory.KindSession, "", rand.Reader)
	if err != nil {
		return directory.Secret{}, err
	}
	now := a.now()
	session := directory.Session{User: user.Subject, AuthTime: user.AuthTime, Methods: user.Methods, CreatedAt: now, ExpiresAt: now.Add(sessionLifetime)}
	if user.Connection != "" {
		session.Org, session.Connection = user.Org, user.Connection
	}
	_, err = a.store.Update(ctx, func(tx datastore.Tx) error {
		if session.Credential, err = a.CredentialDigest(ctx, tx, User, user.Subject); err != nil {
			return err
		}
		return a.tenant.PutSession(ctx, tx, a.master.Hash(secret), session)
	})
	if err != nil {
		return directory.Secret{}, fmt.Errorf("begin a session: %w", err)
	}
	return secret, nil
}

// Session returns the user of a login session; nil when there is no such session, or what it rests on has ended.
func (a *Authenticator) Session(ctx context.Context, r *memo.Reading, secret directory.Secret) (*Principal, error) {
	if secret.IsZero() || directory.Mistyped(secret.Expose()) {
		return nil, nil
	}
	session, found, err := a.tenant.Session(a.master.Hash(secret)).Find(ctx, r)
	if err != nil || !found || !a.now().Before(session.ExpiresAt) {
		return nil, err
	}
	r.NotAfter(session.ExpiresAt)
	if digest, err := a.CredentialDigest(ctx, r, User, session.User); err != nil || digest != session.Credential {
		return nil, err
	}
	p := &Principal{
		Type: User, Subject: session.User, Org: session.Org, Connection: session.Connection, Methods: session.Methods, AuthTime: session.AuthTime,
		Credential: CredentialRef{Type: "session", ID: session.User}, Expires: session.ExpiresAt.Unix(),
	}
	if _, known, err := a.tenant.User(p.Subject).Find(ctx, r); err != nil || !known {
		return nil, err // the standing of a connection's user alone needs no record
	}
	if err := a.Standing(ctx, r, p); err != nil {
		if ended := (*Error)(nil); errors.As(err, &ended) {
			return nil, nil
		}
		return nil, err
	}
	return p, p.complete()
}

// EndSession ends a login session, if there is one.
func (a *Authenticator) EndSession(ctx context.Context, secret directory.Secret) error {
	_, err := a.store.Update(ctx, func(tx datastore.Tx) error {
		return a.tenant.DeleteSession(ctx, tx, a.master.Hash(secret))
	})
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}
