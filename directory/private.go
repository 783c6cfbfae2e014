package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"mandate/datastore"
)

// UserSecrets, and the other records of this file, are private state: policies never see them.
type UserSecrets struct {
	PasswordHash string `json:"password_hash"`
	Upgraded     string `json:"upgraded,omitempty"` // the digest that the password had under its first hash
	Reset        Hash   `json:"reset,omitempty"`    // of the one token that may set another password: see PasswordReset
}

// Digest stands for the password, without telling it: another one for each password that the user gets, and the same after the
// hash of one was upgraded.
func (s UserSecrets) Digest() string {
	if s.Upgraded != "" {
		return s.Upgraded
	}
	sum := sha256.Sum256([]byte(s.PasswordHash))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PasswordReset lets whoever has a token that was mailed to the user set another password, once. It is good while the token is
// the newest one, which UserSecrets says, and the address is the user's.
type PasswordReset struct {
	User      string    `json:"user"`
	Email     string    `json:"email"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ClientSecrets holds the hashes of a client's live secrets: two while one is being replaced.
type ClientSecrets struct {
	Hashes []Hash `json:"hashes"`
}

// KeySecrets holds the hash of an API key and, for a pair, that of its secret.
type KeySecrets struct {
	Key    Hash       `json:"key"`
	Secret Hash       `json:"secret,omitempty"`
	Former *FormerKey `json:"former,omitempty"` // what the newest rotation has replaced
}

// TokenSecret holds the hash of a vendor's or an integration's token.
type TokenSecret struct {
	Token Hash `json:"token"`
}

// SecretOwner says whose a secret is that is looked up by its hash.
type SecretOwner struct {
	Kind SecretKind `json:"kind"`
	ID   string     `json:"id"`            // of the API key or the vendor
	Org  string     `json:"org,omitempty"` // for partner tokens: the organization of the integration
	// ExpiresAt is when a former API key ends; zero for what has no end.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Alias leads from a unique attribute to the id of the record that has it.
type Alias struct {
	ID string `json:"id"`
}

// SigningKey is a key that signs the tenant's tokens. Sealed is the PKCS #8 private key under the master key; Public
// is the PKIX public key.
//
// A key is published from its making on, signs from SignsFrom until a newer one of its algorithm does, and is removed when
// the last token that it signed has expired. A revoked key is removed at once.
type SigningKey struct {
	Algorithm string    `json:"alg"`
	Public    []byte    `json:"public"`
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"created_at"`
	SignsFrom time.Time `json:"signs_from"`
}

func (t Tenant) UserSecrets(user string) Place[UserSecrets] {
	return place[UserSecrets](t, PrivateRoot, "users", user)
}

// PasswordReset is what the token with that hash is good for.
func (t Tenant) PasswordReset(h Hash) Place[PasswordReset] {
	return place[PasswordReset](t, PrivateRoot, "resets", string(h))
}

func (t Tenant) ClientSecrets(client string) Place[ClientSecrets] {
	return place[ClientSecrets](t, PrivateRoot, "clients", client)
}

func (t Tenant) KeySecrets(key string) Place[KeySecrets] {
	return place[KeySecrets](t, PrivateRoot, "apikeys", key)
}

func (t Tenant) VendorSecret(vendor string) Place[TokenSecret] {
	return place[TokenSecret](t, PrivateRoot, "vendors", vendor)
}

func (t Tenant) IntegrationSecret(org, vendor string) Place[TokenSecret] {
	return place[TokenSecret](t, PrivateRoot, "integrations", org, vendor)
}

// SecretOwner finds whose a presented API key, vendor token or partner token is. The look-up goes by keyed hash,
// so its timing tells nothing about the secrets that exist.
func (t Tenant) SecretOwner(h Hash) Place[SecretOwner] {
	return place[SecretOwner](t, PrivateRoot, "secrets", string(h))
}

// Username leads to the user with that username.
func (t Tenant) Username(username string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "usernames", username)
}

// Audience leads to the API with that audience.
func (t Tenant) Audience(audience string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "audiences", audience)
}

// SigningKey is the key with that key id.
func (t Tenant) SigningKey(kid string) Place[SigningKey] {
	return place[SigningKey](t, PrivateRoot, "keys", kid)
}

// SigningKeys yields the tenant's signing keys in the order of their ids.
func (t Tenant) SigningKeys(ctx context.Context, r datastore.Reader, do func(kid string, key SigningKey) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "keys"), func(segments []string, key SigningKey) error {
		return do(segments[len(segments)-1], key)
	})
}

var errTaken = errors.New("belongs to another record already")

// claim makes the unique attribute at p lead to owner, and gives up the former one.
func claim[T comparable](ctx context.Context, tx datastore.Tx, former, p Place[T], owner T) error {
	if former.Path.Valid() && former.Path != p.Path {
		if err := tx.Delete(former.Path); err != nil {
			return fmt.Errorf("give up %s: %w", former.Path, err)
		}
	}
	if !p.Path.Valid() {
		return nil
	}
	holder, found, err := p.Find(ctx, tx)
	if err != nil {
		return err
	}
	if found && holder != owner {
		return errTaken
	}
	return p.Put(ctx, tx, owner)
}
