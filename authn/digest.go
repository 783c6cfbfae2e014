package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// CredentialDigest stands for what a user or an API key proves itself with: it is another one once the password or the
// secret was replaced, which ends what was begun with the former one.
func (a *Authenticator) CredentialDigest(ctx context.Context, r datastore.Reader, kind PrincipalType, id string) (string, error) {
	switch kind {
	case User:
		secrets, _, err := a.tenant.UserSecrets(id).Find(ctx, r)
		return secrets.Digest(), err
	case APIKey:
		secrets, _, err := a.tenant.KeySecrets(id).Find(ctx, r)
		return keyDigest(secrets.Key, secrets.Secret), err
	}
	return keyDigest("", ""), nil
}

func keyDigest(key, secret directory.Hash) string {
	sum := sha256.Sum256([]byte(string(key) + " " + string(secret)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PresentedDigest is the digest of what the principal has proved itself with just now, which may be a former API key.
func (a *Authenticator) PresentedDigest(ctx context.Context, r datastore.Reader, p *Principal) (string, error) {
	if p.former {
		secrets, _, err := a.tenant.KeySecrets(p.Subject).Find(ctx, r)
		if err == nil && secrets.Former == nil {
			err = invalid()
		}
		if err != nil {
			return "", err
		}
		return keyDigest(secrets.Former.Key, secrets.Former.Secret), nil
	}
	return a.CredentialDigest(ctx, r, p.Type, p.Subject)
}

// proves says whether the digest is that of a credential which is still good: the one that is there, or the former API key
// until its end.
func (a *Authenticator) proves(ctx context.Context, r *memo.Reading, kind PrincipalType, id, digest string) (bool, error) {
	now, err := a.CredentialDigest(ctx, r, kind, id)
	if err != nil || now == digest || kind != APIKey {
		return now == digest, err
	}
	secrets, _, err := a.tenant.KeySecrets(id).Find(ctx, r)
	if err != nil || secrets.Former == nil || keyDigest(secrets.Former.Key, secrets.Former.Secret) != digest {
		return false, err
	}
	return !a.expired(r, secrets.Former.Until), nil
}
