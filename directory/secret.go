package directory

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"

	"mandate/datastore"
)

const redacted = "[redacted]"

// Secret is a value that must not be seen: it prints, logs and marshals as "[redacted]".
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Expose returns the value itself. Each call is a place to look at in a review.
func (s Secret) Expose() string { return s.value }

// IsZero says whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText lets files and requests carry secrets.
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}

// SecretKind is the part of a made secret that says what it opens.
type SecretKind string

const (
	KindAPIKey       SecretKind = "ak"
	KindAPISecret    SecretKind = "as"
	KindClientSecret SecretKind = "cs"
	KindVendorToken  SecretKind = "vt"
	KindPartnerToken SecretKind = "pt"
	KindPassword     SecretKind = "pw"
	KindSession      SecretKind = "ss"
	KindReset        SecretKind = "pr" // of a password
	KindWebhook      SecretKind = "wh" // in the form of Standard Webhooks, not in that of the others
	KindInvitation   SecretKind = "iv"

	// Derived from the master key, so that nothing of them needs to be stored.
	KindCode         SecretKind = "ac" // authorization code
	KindRefreshToken SecretKind = "rt"
	KindDeviceCode   SecretKind = "dc"
)

const (
	secretPrefix = "mdt_"
	secretChars  = 43 // base62 digits of 256 bits
	sumChars     = 6  // base62 digits of a CRC-32
)

// MakeSecret makes a secret of 256 random bits in the form mdt_<kind>_<id>_<secret><crc>, which a scanner can find and
// check. The id says whose it is; one with other characters than letters, digits, "." and "-" is left out as "x".
func MakeSecret(kind SecretKind, id string, random io.Reader) (Secret, error) {
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Secret{}, fmt.Errorf("make a secret: %w", err)
	}
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
	}) {
		id = "x"
	}
	return madeSecret(kind, id, raw[:]), nil
}

func madeSecret(kind SecretKind, id string, raw []byte) Secret {
	s := secretPrefix + string(kind) + "_" + id + "_" + base62(new(big.Int).SetBytes(raw), secretChars)
	return Secret{s + checksum(s)}
}

// Derive makes the secret of that kind and id that only this installation can make, and that can be made again: it is
// verified by DerivedID, without anything of it in the store. The id has letters, digits, "." and "-" only, and must not
// be used again for something else.
func (m *MasterKey) Derive(t Tenant, kind SecretKind, id string) Secret {
	mac := hmac.New(sha256.New, m.deriving)
	for _, part := range []string{string(t), string(kind), id} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return madeSecret(kind, id, mac.Sum(nil))
}

// SigningKey is the key by which this installation signs for that purpose, and for nothing else. It can be made again.
func (m *MasterKey) SigningKey(t Tenant, purpose string) ed25519.PrivateKey {
	mac := hmac.New(sha256.New, m.deriving)
	for _, part := range []string{string(t), "signing key", purpose} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return ed25519.NewKeyFromSeed(mac.Sum(nil))
}

// DerivedID returns the id for which the secret was derived; ok is false for one that this installation has not made,
// or not for this tenant and kind.
func (m *MasterKey) DerivedID(t Tenant, kind SecretKind, s Secret) (id string, ok bool) {
	parts := strings.Split(s.value, "_")
	if len(parts) != 4 || len(s.value) > maxIDBytes {
		return "", false
	}
	ok = subtle.ConstantTimeCompare([]byte(m.Derive(t, kind, parts[2]).value), []byte(s.value)) == 1
	return parts[2], ok
}

// Mistyped says whether s has the form of a made secret but not its checksum, so it cannot be one.
func Mistyped(s string) bool {
	if !strings.HasPrefix(s, secretPrefix) {
		return false
	}
	at := len(s) - sumChars
	return at < len(secretPrefix) || subtle.ConstantTimeCompare([]byte(checksum(s[:at])), []byte(s[at:])) == 0
}

func checksum(s string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), sumChars)
}

func base62(n *big.Int, width int) string {
	s := n.Text(62)
	return strings.Repeat("0", width-len(s)) + s
}

// TokenShape is what a bearer token is, told by its form alone.
type TokenShape int

const (
	OpaqueToken TokenShape = iota // an API key
	JWTToken
	PairToken // a vendor and a partner token, base64(vendor ":" partner) or as they are
)

// ShapeOf tells the shape of a bearer token; for a pair it also returns the two halves. No API key may have another
// shape than OpaqueToken, so that each credential is recognised without guessing.
func ShapeOf(token string) (shape TokenShape, vendor, partner string) {
	if strings.Count(token, ".") == 2 {
		header, _, _ := strings.Cut(token, ".")
		if decoded, err := base64.RawURLEncoding.DecodeString(header); err == nil && strings.HasPrefix(string(decoded), "{") {
			return JWTToken, "", ""
		}
	}
	if v, p, ok := splitPair(token); ok {
		return PairToken, v, p
	}
	trimmed := strings.TrimRight(token, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if decoded, err := encoding.DecodeString(trimmed); err == nil {
			if v, p, ok := splitPair(string(decoded)); ok {
				return PairToken, v, p
			}
		}
	}
	return OpaqueToken, "", ""
}

func splitPair(s string) (vendor, partner string, ok bool) {
	vendor, partner, ok = strings.Cut(s, ":")
	ok = ok && vendor != "" && partner != "" && !strings.Contains(partner, ":") && visible(s)
	return vendor, partner, ok
}

// visible says whether s is made of visible ASCII characters only.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Hash is the stored form of a secret made by a machine: "hmac-sha256$<id of the master key>$<base64url>".
type Hash string

const hashPrefix = "hmac-sha256$"

// MasterKey is the root of an installation's secrets: the pepper of stored hashes and the key that seals private keys
// are derived from it. It never enters the store.
type MasterKey struct {
	id       string
	pepper   []byte
	deriving []byte
	sealer   cipher.AEAD
}

// OpenMasterKey loads the master key of a store, and refuses any other than the one that the store was made with: under
// another, its hashes match nothing and its signing keys stay sealed. Only a store that has none yet gets a new one.
func OpenMasterKey(ctx context.Context, store datastore.Store, file string) (*MasterKey, error) {
	bound := place[Alias](installation, PrivateRoot, "master-key")
	view, err := store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	used, found, err := bound.Find(ctx, view)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(file); found && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the master key %s is missing: the store was made with the master key %s, name its file with --master-key", file, used.ID)
	}
	master, err := LoadMasterKey(file)
	if err != nil {
		return nil, err
	}
	if found {
		if used.ID != master.id {
			return nil, fmt.Errorf("the master key %s has the id %s, the store was made with %s: name its file with --master-key", file, master.id, used.ID)
		}
		return master, nil
	}
	_, err = store.Update(ctx, func(tx datastore.Tx) error { return bound.Put(ctx, tx, Alias{ID: master.id}) })
	return master, err
}

// installation is the tenant under which state of the whole store lies.
const installation = Tenant("default")

// LoadMasterKey reads the master key from a file, and makes the file when there is none.
func LoadMasterKey(file string) (*MasterKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeMasterKeyFile(file); err != nil {
			return nil, fmt.Errorf("make the master key %s: %w", file, err)
		}
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	root, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(root) != 32 {
		return nil, fmt.Errorf("the master key %s must be 64 hexadecimal digits", file)
	}
	return NewMasterKey([32]byte(root))
}

// makeMasterKeyFile never leaves a file without a whole key behind, and of two processes that start at once one wins.
func makeMasterKeyFile(file string) error {
	var root [32]byte
	if _, err := rand.Read(root[:]); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".master-key-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(hex.EncodeToString(root[:]) + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The name must last as well as the store that will depend on it.
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// NewMasterKey derives what is needed from 256 random bits.
func NewMasterKey(root [32]byte) (*MasterKey, error) {
	derive := func(purpose string, size int) []byte {
		key, err := hkdf.Key(sha256.New, root[:], nil, "mandate "+purpose, size)
		if err != nil {
			panic(err) // only for sizes that HKDF cannot make
		}
		return key
	}
	block, err := aes.NewCipher(derive("seal", 32))
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	sealer, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return &MasterKey{id: hex.EncodeToString(derive("id", 4)), pepper: derive("pepper", 32),
		deriving: derive("derive", 32), sealer: sealer}, nil
}

// Hash is the keyed hash of a secret made by a machine: fast, because 256 random bits need no slow hash.
func (m *MasterKey) Hash(s Secret) Hash {
	mac := hmac.New(sha256.New, m.pepper)
	mac.Write([]byte(s.value))
	return Hash(hashPrefix + m.id + "$" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// Matches compares in constant time.
func (m *MasterKey) Matches(s Secret, h Hash) bool {
	return subtle.ConstantTimeCompare([]byte(m.Hash(s)), []byte(h)) == 1
}

// Check says what is wrong with a hash from outside.
func (m *MasterKey) Check(h Hash) error {
	id, sum, ok := strings.Cut(strings.TrimPrefix(string(h), hashPrefix), "$")
	raw, err := base64.RawURLEncoding.DecodeString(sum)
	if !strings.HasPrefix(string(h), hashPrefix) || !ok || err != nil || len(raw) != sha256.Size {
		return errors.New("is not a hash that an export wrote")
	}
	if id != m.id {
		return fmt.Errorf("was made under the master key %s, this installation has %s: start it with the master key of the exporting one", id, m.id)
	}
	return nil
}

// Seal encrypts and authenticates plaintext; what names the place that it is for.
func (m *MasterKey) Seal(plaintext []byte, what string) ([]byte, error) {
	nonce := make([]byte, m.sealer.NonceSize(), m.sealer.NonceSize()+len(plaintext)+m.sealer.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return m.sealer.Seal(nonce, nonce, plaintext, []byte(what)), nil
}

// Open is the inverse of Seal.
func (m *MasterKey) Open(sealed []byte, what string) ([]byte, error) {
	if len(sealed) < m.sealer.NonceSize() {
		return nil, errors.New("open: too short")
	}
	plaintext, err := m.sealer.Open(nil, sealed[:m.sealer.NonceSize()], sealed[m.sealer.NonceSize():], []byte(what))
	if err != nil {
		return nil, fmt.Errorf("open: sealed under another master key, or changed: %w", err)
	}
	return plaintext, nil
}
