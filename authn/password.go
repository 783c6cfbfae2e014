package authn

import (
	"context"
	"fmt"
	"time"

	"mandate/datastore/memo"
	"mandate/directory"
)

// restAfterCheck is for how many times as long as a check took its place stays empty. So a place takes a tenth of a core at
// most, however many passwords come in.
const restAfterCheck = 9

// PasswordChecks bounds how many passwords are verified at once, how often, and how many wait for it: each costs about
// 20 ms of a core and 19 MiB, and the decisions of everybody else must not pay for a flood of guesses.
type PasswordChecks struct {
	running chan struct{}
	waiting chan struct{}
	decoy   string // a hash to verify for names that nobody has
}

// NewPasswordChecks makes a bound of so many checks at once.
func NewPasswordChecks(atOnce int) (*PasswordChecks, error) {
	decoy, err := directory.HashPassword(directory.NewSecret("the password of a user that does not exist"))
	if err != nil {
		return nil, err
	}
	return &PasswordChecks{running: make(chan struct{}, atOnce), waiting: make(chan struct{}, 10*atOnce), decoy: decoy}, nil
}

func (c *PasswordChecks) verify(ctx context.Context, password directory.Secret, hash string) (bool, error) {
	select {
	case c.waiting <- struct{}{}:
	default:
		return false, &Error{Kind: Busy, Detail: "too many sign-ins at once: try again in a few seconds"}
	}
	defer func() { <-c.waiting }()
	select {
	case c.running <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("wait to verify a password: %w", ctx.Err())
	}
	began := time.Now()
	defer func() { time.AfterFunc(restAfterCheck*time.Since(began), func() { <-c.running }) }()
	return directory.PasswordMatches(password, hash)
}

// pretend takes the time of a password check and finds the credential invalid.
func (c *PasswordChecks) pretend(ctx context.Context, password directory.Secret) error {
	if _, err := c.verify(ctx, password, c.decoy); err != nil {
		return err
	}
	return invalid()
}

// wrongPassword is the answer to a password that no user has, whatever the name: after the same time, and as often.
func (a *Authenticator) wrongPassword(ctx context.Context, username string, password directory.Secret, address string) error {
	return a.throttle.password(username, address, func() error { return a.passwords.pretend(ctx, password) })
}

// password authenticates a user by username and password, in the same time whether the user exists or not.
func (a *Authenticator) password(ctx context.Context, r *memo.Reading, username string, password directory.Secret, address string) (*Principal, error) {
	// What is remembered is found by a fast hash of the credential, which would undo the slow one of the password.
	r.Volatile()
	alias, known, err := a.tenant.Username(username).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	var secrets directory.UserSecrets
	if known {
		if secrets, _, err = a.tenant.UserSecrets(alias.ID).Find(ctx, r); err != nil {
			return nil, err
		}
	}
	if secrets.PasswordHash == "" {
		return nil, a.wrongPassword(ctx, username, password, address)
	}
	err = a.throttle.password(username, address, func() error {
		ok, err := a.passwords.verify(ctx, password, secrets.PasswordHash)
		if err == nil && !ok {
			err = invalid()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Principal{Type: User, Subject: alias.ID, Methods: []string{"pwd"}, Credential: CredentialRef{Type: "password", ID: alias.ID}}, nil
}

// SignIn authenticates a person who gives username and password at the address, for a session. A *Error of the kind Busy
// says when to try again.
func (a *Authenticator) SignIn(ctx context.Context, r *memo.Reading, username string, password directory.Secret, address string) (*Principal, error) {
	p, err := a.password(ctx, r, username, password, address)
	if err != nil {
		return nil, err
	}
	if err := a.Standing(ctx, r, p); err != nil {
		return nil, err
	}
	p.AuthTime = a.now().Unix()
	return p, p.complete()
}
