package tokens

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore"
	"mandate/directory"
)

// signer signs with the tenant's newest key.
type signer struct {
	kid    string
	method jwt.SigningMethod
	key    crypto.Signer
}

// Sign makes a JWT of the given type. Its header has alg, kid and typ.
func (i *Issuer) Sign(typ string, claims jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(i.signer.method, claims)
	token.Header["typ"] = typ
	token.Header["kid"] = i.signer.kid
	signed, err := token.SignedString(i.signer.key)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed, nil
}

// KeySet is the tenant's public keys as a JWK Set (RFC 7517 §5).
func (i *Issuer) KeySet(ctx context.Context, r datastore.Reader) ([]byte, error) {
	set := jwk.NewSet()
	err := i.o.Tenant.SigningKeys(ctx, r, func(kid string, key directory.SigningKey) error {
		public, err := x509.ParsePKIXPublicKey(key.Public)
		if err != nil {
			return fmt.Errorf("signing key %s: %w", kid, err)
		}
		entry, err := publicJWK(kid, key.Algorithm, public)
		if err != nil {
			return err
		}
		return set.AddKey(entry)
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(set)
}

func publicJWK(kid, algorithm string, public crypto.PublicKey) (jwk.Key, error) {
	entry, err := jwk.Import(public)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", kid, err)
	}
	for name, value := range map[string]string{jwk.KeyIDKey: kid, jwk.AlgorithmKey: algorithm, jwk.KeyUsageKey: "sig"} {
		if err := entry.Set(name, value); err != nil {
			return nil, fmt.Errorf("signing key %s: set %s: %w", kid, name, err)
		}
	}
	return entry, nil
}

// openSigner opens the newest signing key, or makes the first one in the same transaction that found none.
func openSigner(ctx context.Context, store datastore.Store, o Options) (signer, error) {
	var opened signer
	_, err := store.Update(ctx, func(tx datastore.Tx) error {
		var kid string
		var newest directory.SigningKey
		err := o.Tenant.SigningKeys(ctx, tx, func(id string, key directory.SigningKey) error {
			if kid == "" || key.CreatedAt.After(newest.CreatedAt) {
				kid, newest = id, key
			}
			return nil
		})
		if err != nil {
			return err
		}
		if kid == "" {
			if kid, newest, err = makeKey(o); err != nil {
				return err
			}
			if err := o.Tenant.SigningKey(kid).Put(ctx, tx, newest); err != nil {
				return err
			}
		}
		opened, err = open(o.Master, kid, newest)
		return err
	})
	return opened, err
}

func open(master *directory.MasterKey, kid string, key directory.SigningKey) (signer, error) {
	plain, err := master.Open(key.Sealed, sealedFor(kid))
	if err != nil {
		return signer{}, fmt.Errorf("%w: %w", ErrKeyGone, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return signer{}, fmt.Errorf("signing key %s: %w", kid, err)
	}
	method := jwt.GetSigningMethod(key.Algorithm)
	able, ok := private.(crypto.Signer)
	if !ok || method == nil {
		return signer{}, fmt.Errorf("signing key %s cannot sign with %q", kid, key.Algorithm)
	}
	return signer{kid: kid, method: method, key: able}, nil
}

// makeKey makes an ES256 key whose id is its RFC 7638 thumbprint.
func makeKey(o Options) (kid string, key directory.SigningKey, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", key, fmt.Errorf("make a key: %w", err)
	}
	entry, err := jwk.Import(private.Public())
	if err != nil {
		return "", key, fmt.Errorf("make a key: %w", err)
	}
	thumbprint, err := entry.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", key, fmt.Errorf("make a key: %w", err)
	}
	kid = base64.RawURLEncoding.EncodeToString(thumbprint)
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", key, fmt.Errorf("make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return "", key, fmt.Errorf("make a key: %w", err)
	}
	sealed, err := o.Master.Seal(plain, sealedFor(kid))
	if err != nil {
		return "", key, err
	}
	return kid, directory.SigningKey{Algorithm: jwt.SigningMethodES256.Alg(), Public: public, Sealed: sealed, CreatedAt: o.Now()}, nil
}

func sealedFor(kid string) string { return "signing key " + kid }
