package directory

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
)

// The bounds of what an import takes: nobody's login may exhaust the machine.
const (
	maxHashBytes      = 512
	maxArgonMemory    = 64 << 10 // KiB
	maxArgonPasses    = 10
	maxArgonLanes     = 4
	maxBcryptCost     = 14
	minPBKDF2         = 1_000
	maxPBKDF2         = 5_000_000
	bcryptReads       = 72 // bytes of a password
	minSalt, maxSalt  = 8, 64
	minKey, maxKey    = 16, 64
	unknownHashFormat = "is neither argon2id ($argon2id$v=19$m=…,t=…,p=…$salt$hash) nor bcrypt ($2b$…) nor PBKDF2 ($pbkdf2-sha256$i=…$salt$hash)"
)

// passwordHash is one of a kind that Mandate verifies.
type passwordHash interface {
	matches(password string) (bool, error)
	check() error
}

// checkPasswordHash refuses hashes of other kinds, and those whose cost would let a login exhaust the machine.
func checkPasswordHash(hash string) error {
	parsed, err := parsePasswordHash(hash)
	if err != nil {
		return err
	}
	return parsed.check()
}

func parsePasswordHash(hash string) (passwordHash, error) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(hash, "$"), "$")
	switch {
	case len(hash) > maxHashBytes || !strings.HasPrefix(hash, "$"):
	case kind == "argon2id":
		return argonHash(hash), nil
	case kind == "2a" || kind == "2b" || kind == "2y":
		return bcryptHash(hash), nil
	case kind == "pbkdf2-sha256" || kind == "pbkdf2-sha512":
		return parsePBKDF2(hash)
	}
	return nil, errors.New(unknownHashFormat)
}

type argonHash string

func (h argonHash) matches(password string) (bool, error) {
	return argon2id.ComparePasswordAndHash(password, string(h))
}

func (h argonHash) check() error {
	p, salt, key, err := argon2id.DecodeHash(string(h))
	if err != nil {
		return errors.New(unknownHashFormat)
	}
	if p.Memory < 8 || p.Memory > maxArgonMemory || p.Iterations < 1 || p.Iterations > maxArgonPasses || p.Parallelism < 1 ||
		p.Parallelism > maxArgonLanes || len(salt) < minSalt || len(salt) > maxSalt || len(key) < minKey || len(key) > maxKey {
		return fmt.Errorf("has parameters out of bounds: at most m=%d, t=%d, p=%d; salt of %d to %d bytes, hash of %d to %d bytes",
			maxArgonMemory, maxArgonPasses, maxArgonLanes, minSalt, maxSalt, minKey, maxKey)
	}
	return nil
}

type bcryptHash string

// matches refuses a password of which bcrypt would read a part only, after the same time as any other.
func (h bcryptHash) matches(password string) (bool, error) {
	err := bcrypt.CompareHashAndPassword([]byte(h), []byte(password))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil && len(password) <= bcryptReads, err
}

func (h bcryptHash) check() error {
	cost, err := bcrypt.Cost([]byte(h))
	if err != nil || !regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`).MatchString(string(h)) {
		return errors.New("is not a bcrypt hash ($2b$10$ and 53 characters)")
	}
	if cost > maxBcryptCost {
		return fmt.Errorf("has a cost out of bounds: at most %d", maxBcryptCost)
	}
	return nil
}

// pbkdf2Hash is in the PHC form $pbkdf2-sha256$i=600000$salt$hash, or as passlib writes it: $pbkdf2-sha256$600000$salt$hash, with
// dots for the plus signs of Base64.
type pbkdf2Hash struct {
	sha512     bool
	iterations int
	salt, key  []byte
}

func parsePBKDF2(hash string) (pbkdf2Hash, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 5 {
		return pbkdf2Hash{}, errors.New(unknownHashFormat)
	}
	h := pbkdf2Hash{sha512: parts[1] == "pbkdf2-sha512"}
	rounds, _, _ := strings.Cut(strings.TrimPrefix(parts[2], "i="), ",") // what may follow is the length, which shows
	var errs [3]error
	h.iterations, errs[0] = strconv.Atoi(rounds)
	for i, into := range []*[]byte{&h.salt, &h.key} {
		text := strings.ReplaceAll(strings.TrimRight(parts[3+i], "="), ".", "+")
		*into, errs[1+i] = base64.RawStdEncoding.DecodeString(text)
	}
	if errors.Join(errs[:]...) != nil {
		return pbkdf2Hash{}, errors.New(unknownHashFormat)
	}
	return h, nil
}

func (h pbkdf2Hash) matches(password string) (bool, error) {
	derive := func() ([]byte, error) { return pbkdf2.Key(sha256.New, password, h.salt, h.iterations, len(h.key)) }
	if h.sha512 {
		derive = func() ([]byte, error) { return pbkdf2.Key(sha512.New, password, h.salt, h.iterations, len(h.key)) }
	}
	key, err := derive()
	return err == nil && subtle.ConstantTimeCompare(key, h.key) == 1, err
}

// check bounds the hash by the size of the digest as well: more would cost the iterations again.
func (h pbkdf2Hash) check() error {
	most := sha256.Size
	if h.sha512 {
		most = sha512.Size
	}
	if h.iterations < minPBKDF2 || h.iterations > maxPBKDF2 || len(h.salt) < minSalt || len(h.salt) > maxSalt ||
		len(h.key) < minKey || len(h.key) > most {
		return fmt.Errorf("has parameters out of bounds: %d to %d iterations, salt of %d to %d bytes, hash of %d to %d bytes",
			minPBKDF2, maxPBKDF2, minSalt, maxSalt, minKey, most)
	}
	return nil
}
