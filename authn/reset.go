package authn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	resetLifetime = time.Hour
	// resetPause is between two mails to one user.
	resetPause = time.Minute
	// resetsAtOnce bounds how many users are mailed who share an address.
	resetsAtOnce = 5
)

// ErrReset means that a secret does not let anybody set a password, or not any more.
var ErrReset = errors.New("this link is not good, or not any more: ask for another one")

// Reset is a secret that lets whoever has it set another password, to be mailed to the user.
type Reset struct {
	Username  string
	Email     string
	Secret    directory.Secret
	ExpiresAt time.Time
}

// AdmitReset says whether somebody at the address may ask for resets now. An *Error of the kind Busy says when.
func (a *Authenticator) AdmitReset(address string) error {
	if address == "" {
		return nil
	}
	return a.throttle.reset(address)
}

// BeginResets begins the resets of those who have the user name or the email address. It writes as much when there is nobody.
func (a *Authenticator) BeginResets(ctx context.Context, tx datastore.Tx, name string) ([]Reset, error) {
	var users []string
	alias, known, err := a.tenant.Username(name).Find(ctx, tx)
	if err != nil {
		return nil, err
	}
	if known {
		users = append(users, alias.ID)
	}
	err = a.tenant.UsersByEmail(ctx, tx, name, func(user string) error {
		if len(users) == resetsAtOnce {
			return directory.ErrEnough
		}
		if user != alias.ID {
			users = append(users, user)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var begun []Reset
	for _, user := range users {
		reset, ok, err := a.BeginReset(ctx, tx, user)
		if err != nil {
			return nil, err
		}
		if ok {
			begun = append(begun, reset)
		}
	}
	if len(begun) == 0 {
		_, err = a.putReset(ctx, tx, directory.PasswordReset{})
	}
	return begun, err
}

// BeginReset begins the reset of the user's password, and puts an end to the one before. There is none for a user who has been
// mailed a moment ago, who is not active, who has no address, or whom a provider of an organization signs in: that one has the say.
func (a *Authenticator) BeginReset(ctx context.Context, tx datastore.Tx, id string) (reset Reset, begun bool, err error) {
	user, found, err := a.tenant.User(id).Find(ctx, tx)
	if err != nil || !found || user.Status != directory.Active || !directory.ValidEmail(user.Email) || strings.Contains(id, "|") {
		return reset, false, err
	}
	if _, _, external, err := a.ConnectionFor(ctx, memo.Over(tx), user.Email); err != nil || external {
		return reset, false, err
	}
	secrets, _, err := a.tenant.UserSecrets(id).Find(ctx, tx)
	if err != nil {
		return reset, false, err
	}
	if secrets.Reset != "" {
		former, found, err := a.tenant.PasswordReset(secrets.Reset).Find(ctx, tx)
		if err != nil || (found && a.now().Before(former.ExpiresAt.Add(resetPause-resetLifetime))) {
			return reset, false, err
		}
	}
	reset, err = a.putReset(ctx, tx, directory.PasswordReset{User: id, Email: user.Email})
	if err != nil {
		return reset, false, err
	}
	reset.Username, reset.Email = user.Username, user.Email
	secrets.Reset = a.master.Hash(reset.Secret)
	return reset, true, a.tenant.UserSecrets(id).Put(ctx, tx, secrets)
}

func (a *Authenticator) putReset(ctx context.Context, tx datastore.Tx, record directory.PasswordReset) (Reset, error) {
	secret, err := directory.MakeSecret(directory.KindReset, "", rand.Reader)
	if err != nil {
		return Reset{}, err
	}
	record.ExpiresAt = a.now().Add(resetLifetime)
	err = directory.PutExpiring(ctx, tx, a.tenant.PasswordReset(a.master.Hash(secret)), record, record.ExpiresAt)
	return Reset{Secret: secret, ExpiresAt: record.ExpiresAt}, err
}

// Resets is the user whose password the secret lets set: ErrReset when there is none.
func (a *Authenticator) Resets(ctx context.Context, r datastore.Reader, secret directory.Secret) (id string, user directory.User, err error) {
	if directory.Mistyped(secret.Expose()) {
		return "", user, ErrReset
	}
	h := a.master.Hash(secret)
	reset, found, err := a.tenant.PasswordReset(h).Find(ctx, r)
	if err != nil {
		return "", user, err
	}
	if !found || !a.now().Before(reset.ExpiresAt) {
		return "", user, ErrReset
	}
	secrets, _, err := a.tenant.UserSecrets(reset.User).Find(ctx, r)
	if err != nil {
		return "", user, err
	}
	if user, found, err = a.tenant.User(reset.User).Find(ctx, r); err != nil {
		return "", user, err
	}
	if !found || user.Status != directory.Active || secrets.Reset != h || !directory.SameEmail(user.Email, reset.Email) {
		return "", user, ErrReset
	}
	return reset.User, user, nil
}

// FinishReset sets the password, by its hash, of the user whom the secret was mailed to, once, and returns the user as before and
// after. The sessions of the user end, and the address has proved to be the user's.
func (a *Authenticator) FinishReset(ctx context.Context, tx datastore.Tx, secret directory.Secret, hash string) (id string, before, after directory.User, err error) {
	if id, before, err = a.Resets(ctx, tx, secret); err != nil {
		return id, before, after, err
	}
	after = before
	after.EmailVerified = true
	if err := a.tenant.PutUser(ctx, tx, id, after); err != nil {
		return id, before, after, err
	}
	if err := tx.Delete(a.tenant.PasswordReset(a.master.Hash(secret)).Path); err != nil {
		return id, before, after, fmt.Errorf("end the reset of a password: %w", err)
	}
	if _, err := a.tenant.EndSessions(ctx, tx, id); err != nil {
		return id, before, after, err
	}
	return id, before, after, a.tenant.PutPassword(ctx, tx, id, hash)
}
