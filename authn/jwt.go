package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
)

const maxJWTBytes = 32 << 10 // an ID token with many groups is longer than a header may be

// jwtOf is a JWT of which nothing is verified yet.
type jwtOf struct {
	text   string
	header map[string]any
	claims jwt.MapClaims
}

// readJWT reads a JWT without believing it.
func readJWT(token directory.Secret) (jwtOf, error) {
	t := jwtOf{text: token.Expose(), claims: jwt.MapClaims{}}
	if len(t.text) > maxJWTBytes {
		return t, invalid()
	}
	parsed, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(t.text, t.claims)
	if err != nil {
		return t, invalid()
	}
	t.header = parsed.Header
	return t, nil
}

func (t jwtOf) claim(name string) string {
	value, _ := t.claims[name].(string)
	return value
}

// typ is the type of the JWT in lower case (RFC 7515 §4.1.9).
func (t jwtOf) typ() string {
	typ, _ := t.header["typ"].(string)
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

// has says whether the JWT has all of these claims, as texts.
func (t jwtOf) has(claims map[string]string) bool {
	for name, value := range claims {
		if given, isText := t.claims[name].(string); !isText || given != value {
			return false
		}
	}
	return true
}

// parser verifies JWTs by the clock of the Authenticator.
func (a *Authenticator) parser(more ...jwt.ParserOption) *jwt.Parser {
	return jwt.NewParser(append(more, jwt.WithLeeway(a.leeway), jwt.WithTimeFunc(a.now), jwt.WithStrictDecoding())...)
}

// verifyProvided verifies a JWT of the issuer by the one algorithm (RFC 8725 §3.1), and says until when that holds. Of the
// header only kid selects a key: jku, x5u and jwk are not looked at.
func (a *Authenticator) verifyProvided(ctx context.Context, t jwtOf, issuer, alg string) (until time.Time, err error) {
	kid, _ := t.header["kid"].(string)
	_, critical := t.header["crit"] // RFC 7515 §4.1.11: none is understood
	if given, _ := t.header["alg"].(string); given != alg || kid == "" || critical {
		return until, invalid()
	}
	key, until, err := a.providers.key(ctx, issuer, kid, alg)
	if err != nil {
		return until, err
	}
	claims := jwt.MapClaims{}
	parser := a.parser(jwt.WithValidMethods([]string{alg}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	_, err = parser.ParseWithClaims(t.text, claims, func(*jwt.Token) (any, error) { return key, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		// Said only when the signature was good: golang-jwt verifies it before the claims.
		return until, &Error{Kind: Invalid, Code: "token_expired", Detail: "the token of the identity provider has expired: get a new one"}
	case err != nil:
		return until, invalid()
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return until, invalid()
	}
	return earliest(until, expires.Add(a.leeway)), nil
}
