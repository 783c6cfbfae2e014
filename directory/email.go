package directory

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"mandate/datastore"
)

// The bounds of a local part and of an address (RFC 5321 §4.5.3.1).
const (
	maxLocalBytes = 64
	maxEmailBytes = 254
)

// ValidEmail says whether it is one bare address (RFC 5321 §4.1.2) in ASCII: addresses say who somebody is, and other scripts
// have letters that look alike. Quoted local parts and address literals are not taken either.
func ValidEmail(email string) bool {
	parsed, err := mail.ParseAddress(email)
	at := strings.LastIndexByte(email, '@')
	return err == nil && parsed.Name == "" && parsed.Address == email && len(email) <= maxEmailBytes && at <= maxLocalBytes &&
		visible(email) && !strings.ContainsFunc(email[at+1:], notOfHost)
}

// CheckEmail says what is wrong with an address that is not valid.
func CheckEmail(email string) error {
	if !ValidEmail(email) {
		return errors.New("is not a bare email address in ASCII, such as alice@acme.example")
	}
	return nil
}

func notOfHost(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
}

// SameEmail says whether two addresses are one, whatever the case of their letters.
func SameEmail(a, b string) bool {
	return a != "" && emailKey(a) == emailKey(b)
}

// emailKey is the form in which addresses are compared; empty for what is none.
func emailKey(email string) string {
	if !ValidEmail(email) {
		return ""
	}
	return strings.ToLower(email)
}

func (t Tenant) emailOf(email, user string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "emails", emailKey(email), user)
}

// UsersByEmail yields the users who have the email address, verified or not, in the order of their ids.
func (t Tenant) UsersByEmail(ctx context.Context, r datastore.Reader, email string, do func(user string) error) error {
	key := emailKey(email)
	if key == "" {
		return nil
	}
	prefix := datastore.TenantID(t).Path(PrivateRoot, "emails", key)
	return each(ctx, r, prefix, func(segments []string, _ Alias) error { return do(segments[3]) })
}

// PutUser writes a user, and makes it found by its username and its email address.
func (t Tenant) PutUser(ctx context.Context, tx datastore.Tx, id string, u User) error {
	former, found, err := t.User(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	var old Place[Alias]
	if found {
		old = t.Username(former.Username)
	}
	if err := claim(ctx, tx, old, t.Username(u.Username), Alias{ID: id}); err != nil {
		return fmt.Errorf("username: %w", err)
	}
	if emailKey(former.Email) != emailKey(u.Email) && emailKey(former.Email) != "" {
		if err := tx.Delete(t.emailOf(former.Email, id).Path); err != nil {
			return fmt.Errorf("give up the email address: %w", err)
		}
	}
	if emailKey(u.Email) != "" {
		if err := t.emailOf(u.Email, id).Put(ctx, tx, Alias{ID: id}); err != nil {
			return err
		}
	}
	return t.User(id).Put(ctx, tx, u)
}
