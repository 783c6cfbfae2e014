package authn

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
)

// IDTokenSubject is whom one of the tenant's own ID tokens is about. It may have expired: a client sends it as a hint at who
// was signed in (OpenID Connect Core §3.1.2.1). Anything else is an *Error.
func (a *Authenticator) IDTokenSubject(ctx context.Context, r *memo.Reading, token string) (string, error) {
	var claims jwt.RegisteredClaims
	var failed error
	parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	_, err := parser.ParseWithClaims(token, &claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		key, found, err := a.tenant.SigningKey(kid).Find(ctx, r)
		if err != nil {
			failed = err
			return nil, err
		}
		if !found || token.Method.Alg() != key.Algorithm || token.Header["typ"] != "JWT" {
			return nil, invalid()
		}
		return x509.ParsePKIXPublicKey(key.Public)
	})
	if failed != nil {
		return "", fmt.Errorf("verify an ID token: %w", failed)
	}
	if err != nil || claims.Issuer != a.issuer || claims.Subject == "" {
		return "", invalid()
	}
	return claims.Subject, nil
}
