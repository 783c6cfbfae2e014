package authn

import (
	"context"
	"fmt"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// restAfterCheck is for how many times as long as a check took its place stays empty. So a place takes a tenth of a core at
// most, however many passwords come in.
const restAfterCheck = 9

// PasswordChecks bounds how many passwords are verified at once, how often, and how many wait for it: each costs about
// 20 ms of a core and 19 MiB, and the decisions of everybody else must not pay for a flood of guesses.
type PasswordChecks struct {
	running   chan struct{}
	waiting   chan struct{}
	upgrading chan struct{}
	decoy     string // a hash to verify for names that nobody has
}

// NewPasswordChecks makes a bound of so many checks at once.
func NewPasswordChecks(atOnce int) (*PasswordChecks, error) {
	decoy, err := directory.HashPassword(directory.NewSecret("the password of a user that does not exist"))
	if err != nil {
		return nil, err
	}
	return &PasswordChecks{running: make(chan struct{}, atOnce), waiting: make(chan struct{}, 10*atOnce), upgrading: make(chan struct{}, 1), decoy: decoy}, nil
}

func (c *PasswordChecks) verify(ctx context.Context, password directory.Secret, hash string) (ok bool, err error) {
	err = c.inTurn(ctx, func() error {
		ok, err = directory.PasswordMatches(password, hash)
		return err
	})
	return ok, err
}

// hash makes the hash of a new password, which costs what a check does.
func (c *PasswordChecks) hash(ctx context.Context, password directory.Secret) (hash string, err error) {
	err = c.inTurn(ctx, func() error {
		hash, err = directory.HashPassword(password)
		return err
	})
	return hash, err
}

func (c *PasswordChecks) inTurn(ctx context.Context, do func() error) error {
	select {
	case c.waiting <- struct{}{}:
	default:
		return &Error{Kind: Busy, Detail: "too many sign-ins at once: try again in a few seconds"}
	}
	defer func() { <-c.waiting }()
	select {
	case c.running <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to verify a password: %w", ctx.Err())
	}
	began := time.Now()
	defer func() { time.AfterFunc(restAfterCheck*time.Since(began), func() { <-c.running }) }()
	return do()
}

// upgrade hashes a password that was found right as new ones are, unless one is being hashed already: it takes no turn of those
// who sign in, and comes once for each password.
func (c *PasswordChecks) upgrade(password directory.Secret) (hash string, err error) {
	select {
	case c.upgrading <- struct{}{}:
		defer func() { <-c.upgrading }()
		return directory.HashPassword(password)
	default:
		return "", nil
	}
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
	a.upgrade(ctx, alias.ID, password, secrets.PasswordHash)
	return &Principal{Type: User, Subject: alias.ID, Methods: []string{"pwd"}, Credential: CredentialRef{Type: "password", ID: alias.ID}}, nil
}

// upgrade replaces the hash of a right password by one of today's, when it is weaker. The next sign-in tries again what fails here.
func (a *Authenticator) upgrade(ctx context.Context, user string, password directory.Secret, former string) {
	if !directory.PasswordOutdated(former) {
		return
	}
	hash, err := a.passwords.upgrade(password)
	if err != nil || hash == "" {
		return
	}
	_, _ = a.store.Update(ctx, func(tx datastore.Tx) error { return a.tenant.UpgradePassword(ctx, tx, user, former, hash) })
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

// HashPassword makes the hash of a password that somebody has chosen, when it is its turn and the password is good enough.
func (a *Authenticator) HashPassword(ctx context.Context, password directory.Secret) (string, error) {
	if err := directory.CheckPassword(password); err != nil {
		return "", fmt.Errorf("set a password that %w", err)
	}
	return a.passwords.hash(ctx, password)
}
