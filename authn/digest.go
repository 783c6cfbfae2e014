package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"

	"mandate/datastore"
)

// CredentialDigest stands for what a user or an API key proves itself with: it is another one once the password or the
// secret was replaced, which ends what was begun with the former one.
func (a *Authenticator) CredentialDigest(ctx context.Context, r datastore.Reader, kind PrincipalType, id string) (string, error) {
	var credential string
	switch kind {
	case User:
		secrets, _, err := a.tenant.UserSecrets(id).Find(ctx, r)
		if err != nil {
			return "", err
		}
		credential = secrets.PasswordHash
	case APIKey:
		secrets, _, err := a.tenant.KeySecrets(id).Find(ctx, r)
		if err != nil {
			return "", err
		}
		credential = string(secrets.Key) + " " + string(secrets.Secret)
	}
	sum := sha256.Sum256([]byte(credential))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
