package tokens

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	rsaBits     = 2048 // RFC 7518 §3.3 asks for no less
	signerBytes = 4096 // about what an opened key takes in memory
)

// KeyOptions of a Keyring.
type KeyOptions struct {
	Tenant   directory.Tenant
	Master   *directory.MasterKey // seals the private keys
	Lifetime time.Duration        // how long a key signs before the next one does
	Now      func() time.Time
}

// Keyring is the signing keys of one tenant. The facts alone say which key signs, so a rotation or a revocation counts for
// the very next token. It is safe for concurrent use.
type Keyring struct {
	o        KeyOptions
	store    datastore.Store
	question memo.Key

	making sync.Mutex // held while the first key of an algorithm is made
	mu     sync.Mutex
	opened ring // the last one, of which the next one takes what has not changed
}

// NewKeyring is the keyring of the tenant in the store. It makes no key before one is needed.
func NewKeyring(store datastore.Store, o KeyOptions) *Keyring {
	return &Keyring{o: o, store: store, question: memo.KeyOf(memo.Part(rings().Ask(nil), o.Tenant))}
}

func rings() memo.Table[ring] { return memo.Table[ring]{Kind: "keyring"} }

// ring is what signs now: the newest key of each algorithm whose time has come.
type ring map[string]*signer

// Bytes implements memo.Sized.
func (r ring) Bytes() int { return 100 + signerBytes*len(r) }

// signer is a private key, opened.
type signer struct {
	kid    string
	sealed []byte
	method jwt.SigningMethod
	key    crypto.Signer
}

// Keys are those that sign the issuer's tokens.
func (i *Issuer) Keys() *Keyring { return i.keys }

// Sign makes a JWT of the given type, with claims that are a JSON object, by the tenant's key for the algorithm, ES256 when
// that is empty. Its header has alg, kid and typ.
func (i *Issuer) Sign(ctx context.Context, r *memo.Reading, alg, typ string, claims any) (string, error) {
	s, err := i.keys.signer(ctx, r, cmp.Or(alg, jwt.SigningMethodES256.Alg()))
	if err != nil {
		return "", fmt.Errorf("open a signing key: %w", err)
	}
	return s.sign(typ, claims)
}

// sign does what golang-jwt does for a token, without a header to put together each time. A kid is base64url, and typ
// one of the few that Mandate uses: neither needs to be escaped.
func (s *signer) sign(typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("encode the claims of a token: %w", err)
	}
	header := `{"alg":"` + s.method.Alg() + `","kid":"` + s.kid + `","typ":"` + typ + `"}`
	encoding := base64.RawURLEncoding
	token := make([]byte, 0, encoding.EncodedLen(len(header))+encoding.EncodedLen(len(payload))+encoding.EncodedLen(rsaBits/8)+2)
	token = append(encoding.AppendEncode(token, []byte(header)), '.')
	token = encoding.AppendEncode(token, payload)
	signature, err := s.method.Sign(string(token), s.key)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return string(encoding.AppendEncode(append(token, '.'), signature)), nil
}

// signer is the key that signs with the algorithm now; the first one is made when it is asked for.
func (k *Keyring) signer(ctx context.Context, r *memo.Reading, alg string) (*signer, error) {
	signing, err := k.ring(ctx, r)
	if err != nil {
		return nil, err
	}
	if s := signing[alg]; s != nil {
		return s, nil
	}
	return k.first(ctx, alg)
}

func (k *Keyring) ring(ctx context.Context, r *memo.Reading) (ring, error) {
	return rings().Get(r, k.question, func(r *memo.Reading) (ring, error) {
		keys, err := k.read(ctx, r)
		if err != nil {
			return nil, err
		}
		now := k.o.Now()
		k.mu.Lock()
		defer k.mu.Unlock()
		signing := ring{}
		for _, key := range keys {
			switch {
			case key.SignsFrom.After(now):
				r.NotAfter(key.SignsFrom)
			case signing[key.Algorithm] == nil:
				if signing[key.Algorithm], err = k.open(key); err != nil {
					return nil, err
				}
			}
		}
		k.opened = signing
		return signing, nil
	})
}

// open opens a private key, or takes it from the last ring: parsing one costs as much as signing with it.
func (k *Keyring) open(key storedKey) (*signer, error) {
	if s := k.opened[key.Algorithm]; s != nil && s.kid == key.kid && bytes.Equal(s.sealed, key.Sealed) {
		return s, nil
	}
	plain, err := k.o.Master.Open(key.Sealed, sealedFor(key.kid))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyGone, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", key.kid, err)
	}
	method := jwt.GetSigningMethod(key.Algorithm)
	able, ok := private.(crypto.Signer)
	if !ok || method == nil {
		return nil, fmt.Errorf("signing key %s cannot sign with %q", key.kid, key.Algorithm)
	}
	return &signer{kid: key.kid, sealed: key.Sealed, method: method, key: able}, nil
}

// first makes the first key of an algorithm, which signs at once. Whoever else needs it meanwhile waits for it.
func (k *Keyring) first(ctx context.Context, alg string) (*signer, error) {
	k.making.Lock()
	defer k.making.Unlock()
	look := func() (*signer, error) {
		view, err := k.store.View(ctx)
		if err != nil {
			return nil, fmt.Errorf("open a view: %w", err)
		}
		defer view.Close()
		signing, err := k.ring(ctx, memo.Over(view))
		return signing[alg], err
	}
	if s, err := look(); err != nil || s != nil {
		return s, err
	}
	_, err := k.publish(ctx, alg, func(keys []storedKey, now time.Time) (time.Time, bool) {
		return now, !slices.ContainsFunc(keys, func(key storedKey) bool { return key.Algorithm == alg && !key.SignsFrom.After(now) })
	})
	if err != nil {
		return nil, err
	}
	s, err := look()
	if err == nil && s == nil {
		err = fmt.Errorf("no key signs with %s", alg)
	}
	return s, err
}

// publish makes a key of the algorithm, and stores it if it is still wanted then, to sign from the time that wanted says.
// The kid is empty when it was not.
func (k *Keyring) publish(ctx context.Context, alg string, wanted func(keys []storedKey, now time.Time) (time.Time, bool)) (kid string, err error) {
	made, err := k.make(alg)
	if err != nil {
		return "", err
	}
	_, err = k.store.Update(ctx, func(tx datastore.Tx) error {
		kid = ""
		keys, err := k.read(ctx, tx)
		if err != nil {
			return err
		}
		from, ok := wanted(keys, k.o.Now().UTC())
		if !ok {
			return nil
		}
		if len(keys) >= maxKeys {
			return ErrTooManyKeys
		}
		kid, made.SignsFrom = made.kid, from
		return k.o.Tenant.SigningKey(kid).Put(ctx, tx, made.SigningKey)
	})
	if err != nil {
		return "", fmt.Errorf("publish a signing key: %w", err)
	}
	return kid, nil
}

// storedKey is a signing key with its id.
type storedKey struct {
	kid string
	directory.SigningKey
}

// read returns all keys, those of one algorithm together and the newest of them first.
func (k *Keyring) read(ctx context.Context, r datastore.Reader) ([]storedKey, error) {
	var keys []storedKey
	err := k.o.Tenant.SigningKeys(ctx, r, func(kid string, key directory.SigningKey) error {
		keys = append(keys, storedKey{kid, key})
		return nil
	})
	slices.SortFunc(keys, func(a, b storedKey) int {
		return cmp.Or(strings.Compare(a.Algorithm, b.Algorithm), b.SignsFrom.Compare(a.SignsFrom), b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.kid, b.kid))
	})
	return keys, err
}

// make makes a key for the algorithm whose id is its RFC 7638 thumbprint.
func (k *Keyring) make(alg string) (made storedKey, err error) {
	private, err := generate(alg)
	if err != nil {
		return made, fmt.Errorf("make a key: %w", err)
	}
	entry, err := jwk.Import(private.Public())
	if err != nil {
		return made, fmt.Errorf("make a key: %w", err)
	}
	thumbprint, err := entry.Thumbprint(crypto.SHA256)
	if err != nil {
		return made, fmt.Errorf("make a key: %w", err)
	}
	made.kid = base64.RawURLEncoding.EncodeToString(thumbprint)
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return made, fmt.Errorf("make a key: %w", err)
	}
	made.Algorithm, made.CreatedAt = alg, k.o.Now().UTC()
	if made.Public, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return made, fmt.Errorf("make a key: %w", err)
	}
	made.Sealed, err = k.o.Master.Seal(plain, sealedFor(made.kid))
	return made, err
}

func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256", "PS256":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("tokens cannot be signed with %q, only with one of: %s", alg, strings.Join(directory.SigningAlgorithms(), ", "))
}

func sealedFor(kid string) string { return "signing key " + kid }

// keySet is a JWK Set, encoded.
type keySet []byte

// Bytes implements memo.Sized.
func (s keySet) Bytes() int { return len(s) }

// KeySet is the tenant's public keys as a JWK Set (RFC 7517 §5), those that do not sign yet and those that have signed
// included. Nobody may change it.
func (i *Issuer) KeySet(ctx context.Context, r *memo.Reading) ([]byte, error) {
	sets := memo.Table[keySet]{Kind: "jwks"}
	return sets.Get(r, memo.KeyOf(memo.Part(sets.Ask(nil), i.o.Tenant)), func(r *memo.Reading) (keySet, error) {
		keys, err := i.keys.read(ctx, r)
		if err != nil {
			return nil, err
		}
		set := jwk.NewSet()
		for _, key := range keys {
			entry, err := key.publicJWK()
			if err != nil {
				return nil, err
			}
			if err := set.AddKey(entry); err != nil {
				return nil, fmt.Errorf("signing key %s: %w", key.kid, err)
			}
		}
		return json.Marshal(set)
	})
}

func (key storedKey) publicJWK() (jwk.Key, error) {
	public, err := x509.ParsePKIXPublicKey(key.Public)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", key.kid, err)
	}
	entry, err := jwk.Import(public)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", key.kid, err)
	}
	for name, value := range map[string]string{jwk.KeyIDKey: key.kid, jwk.AlgorithmKey: key.Algorithm, jwk.KeyUsageKey: "sig"} {
		if err := entry.Set(name, value); err != nil {
			return nil, fmt.Errorf("signing key %s: set %s: %w", key.kid, name, err)
		}
	}
	return entry, nil
}
