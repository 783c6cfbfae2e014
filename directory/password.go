package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"

	"mandate/datastore"
)

// passwordParams are OWASP's for argon2id: 19 MiB, 2 passes, 1 lane.
func passwordParams() *argon2id.Params {
	return &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

const (
	minPasswordChars = 8
	maxPasswordBytes = 1024
)

// CheckPassword refuses a password that nobody should choose (NIST SP 800-63B §3.1.1.2): the length counts, in code points, and
// not what it is composed of. The error says what to do.
func CheckPassword(password Secret) error {
	switch {
	case !utf8.ValidString(password.value) || strings.ContainsFunc(password.value, func(c rune) bool { return !unicode.IsGraphic(c) }):
		return errors.New("has a character that cannot be shown")
	case utf8.RuneCountInString(password.value) < minPasswordChars:
		return fmt.Errorf("must have at least %d characters", minPasswordChars)
	case len(password.value) > maxPasswordBytes:
		return fmt.Errorf("is longer than %d bytes", maxPasswordBytes)
	}
	return nil
}

// HashPassword makes an argon2id hash in PHC form, of the normalized password (NIST SP 800-63B §3.1.1.2). It costs about 20 ms
// and 19 MiB: bound how many run at once.
func HashPassword(password Secret) (string, error) {
	hash, err := argon2id.CreateHash(norm.NFKC.String(password.value), passwordParams())
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// PasswordMatches verifies a password against a hash of any kind that an import takes, at the cost that the hash asks for. Who
// made the hash may have normalized the password or not, so one that is not normal is verified in both forms.
func PasswordMatches(password Secret, hash string) (bool, error) {
	parsed, err := parsePasswordHash(hash)
	if err != nil {
		return false, fmt.Errorf("verify a password: the hash %w", err)
	}
	ok, err := parsed.matches(password.value)
	if normal := norm.NFKC.String(password.value); err == nil && !ok && normal != password.value {
		ok, err = parsed.matches(normal)
	}
	if err != nil {
		return false, fmt.Errorf("verify a password: %w", err)
	}
	return ok, nil
}

// PasswordOutdated says whether the hash is of another kind than HashPassword makes, or weaker.
func PasswordOutdated(hash string) bool {
	params, salt, key, err := argon2id.DecodeHash(hash)
	today := passwordParams()
	return err != nil || params.Memory*params.Iterations < today.Memory*today.Iterations ||
		len(salt) < int(today.SaltLength) || len(key) < int(today.KeyLength)
}

// PutPassword gives a user another password. What rests on the former one ends, a reset that is under way as well.
func (t Tenant) PutPassword(ctx context.Context, tx datastore.Tx, user, hash string) error {
	former, _, err := t.UserSecrets(user).Find(ctx, tx)
	if err != nil || former.PasswordHash == hash {
		return err
	}
	return t.UserSecrets(user).Put(ctx, tx, UserSecrets{PasswordHash: hash})
}

// UpgradePassword replaces the hash of a password by another one of the same password. What rests on the password stays. It
// does nothing when the hash is not the user's any more.
func (t Tenant) UpgradePassword(ctx context.Context, tx datastore.Tx, user, former, hash string) error {
	secrets, _, err := t.UserSecrets(user).Find(ctx, tx)
	if err != nil || secrets.PasswordHash != former {
		return err
	}
	secrets.Upgraded, secrets.PasswordHash = secrets.Digest(), hash
	return t.UserSecrets(user).Put(ctx, tx, secrets)
}
