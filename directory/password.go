package directory

import (
	"errors"
	"fmt"

	"github.com/alexedwards/argon2id"
)

// passwordParams are OWASP's for argon2id: 19 MiB, 2 passes, 1 lane.
func passwordParams() *argon2id.Params {
	return &argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// HashPassword makes an argon2id hash in PHC form. It costs about 20 ms and 19 MiB: bound how many run at once.
func HashPassword(password Secret) (string, error) {
	hash, err := argon2id.CreateHash(password.value, passwordParams())
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// PasswordMatches verifies a password against a PHC hash, at the cost that the hash asks for.
func PasswordMatches(password Secret, hash string) (bool, error) {
	ok, err := argon2id.ComparePasswordAndHash(password.value, hash)
	if err != nil {
		return false, fmt.Errorf("verify a password: %w", err)
	}
	return ok, nil
}

// checkPasswordHash refuses hashes that are not argon2id, or whose cost would let a login exhaust the machine.
func checkPasswordHash(hash string) error {
	params, salt, key, err := argon2id.DecodeHash(hash)
	if err != nil {
		return errors.New("is not an argon2id hash in PHC form ($argon2id$v=19$m=…,t=…,p=…$salt$hash)")
	}
	if params.Memory < 8 || params.Memory > 256<<10 || params.Iterations < 1 || params.Iterations > 16 ||
		params.Parallelism < 1 || params.Parallelism > 16 || len(salt) < 8 || len(key) < 16 || len(key) > 128 {
		return errors.New("has parameters out of bounds: at most m=262144, t=16, p=16; salt of 8 bytes or more, hash of 16 to 128 bytes")
	}
	return nil
}
