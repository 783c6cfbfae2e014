package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
	"mandate/directory"
)

const accessTokenType = "access_token"

// accessToken is a JWT that the tenant itself issued (RFC 9068).
type accessToken struct{ token directory.Secret }

func recogniseAccessToken(p Presented) ([]credential, error) {
	token, ok := p.authorization("Bearer")
	if !ok {
		return nil, nil
	}
	if shape, _, _ := directory.ShapeOf(token); shape != directory.JWTToken {
		return nil, nil
	}
	return []credential{accessToken{directory.NewSecret(token)}}, nil
}

// accessClaims are the claims of RFC 9068 §2.2 and Mandate's org.
type accessClaims struct {
	jwt.RegisteredClaims
	ClientID        string  `json:"client_id"`
	AuthorizedParty string  `json:"azp"`
	Org             string  `json:"org"`
	Scope           *string `json:"scope"`
}

// verifiedToken is what a token says of which the signature and the time are good.
type verifiedToken struct {
	accessClaims
	extra map[string]any
	bytes int
}

func (t *verifiedToken) Bytes() int { return t.bytes }

func (c accessToken) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	tokens := memo.Table[*verifiedToken]{Kind: "token"}
	question := memo.Part(memo.Part(tokens.Ask(nil), a.tenant), c.token.Expose())
	token, err := tokens.Get(r, memo.KeyOf(question), func(r *memo.Reading) (*verifiedToken, error) {
		return c.verify(ctx, a, r)
	})
	if err != nil {
		return nil, err
	}
	return a.tokenPrincipal(token), nil
}

func (c accessToken) verify(ctx context.Context, a *Authenticator, r *memo.Reading) (*verifiedToken, error) {
	var storeErr error
	parser := jwt.NewParser(jwt.WithIssuer(a.issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(a.leeway), jwt.WithTimeFunc(a.now), jwt.WithStrictDecoding())
	verified := &verifiedToken{}
	claims := &verified.accessClaims
	_, err := parser.ParseWithClaims(c.token.Expose(), claims, func(token *jwt.Token) (any, error) {
		key, err := a.verificationKey(ctx, r, token)
		if failed := (*Error)(nil); err != nil && !errors.As(err, &failed) {
			storeErr = err
		}
		return key, err
	})
	switch {
	case storeErr != nil:
		return nil, storeErr
	case errors.Is(err, jwt.ErrTokenExpired):
		// Said only when the signature was good: golang-jwt verifies it before the claims.
		return nil, &Error{Kind: Invalid, Code: "token_expired", Detail: "the access token has expired: get a new one"}
	case err != nil:
		return nil, invalid()
	}
	if claims.Subject == "" || claims.ClientID == "" || claims.ID == "" || len(claims.Audience) == 0 || claims.IssuedAt == nil {
		return nil, invalid()
	}
	if verified.extra, err = extraClaims(c.token.Expose()); err != nil {
		return nil, invalid()
	}
	extra, err := json.Marshal(verified.extra)
	if err != nil {
		return nil, invalid()
	}
	verified.bytes = 1000 + 2*len(c.token.Expose()) + memo.JSONBytes(extra)
	r.NotAfter(claims.ExpiresAt.Add(a.leeway))
	return verified, nil
}

// ReservedClaims say what a token is. Only the issuer sets them, and policies see them as members of the principal.
func ReservedClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope", "org", "act", "may_act", "cnf", "auth_time", "acr", "amr"}
}

// extraClaims are the others of a verified token.
func extraClaims(token string) (map[string]any, error) {
	all := jwt.MapClaims{}
	if _, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(token, all); err != nil {
		return nil, err
	}
	for _, name := range ReservedClaims() {
		delete(all, name)
	}
	return all, nil
}

// verificationKey finds the key by the kid among the tenant's own; nothing else in the header, such as jku, x5u or
// jwk, is looked at. The algorithm is the key's, never the header's choice (RFC 8725 §3.1).
func (a *Authenticator) verificationKey(ctx context.Context, r *memo.Reading, token *jwt.Token) (any, error) {
	if typ, _ := token.Header["typ"].(string); !strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), "at+jwt") {
		return nil, invalid() // an ID token, say (RFC 9068 §4)
	}
	if _, critical := token.Header["crit"]; critical {
		return nil, invalid() // RFC 7515 §4.1.11: none is understood
	}
	kid, _ := token.Header["kid"].(string)
	key, found, err := a.tenant.SigningKey(kid).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !found || token.Method.Alg() != key.Algorithm {
		return nil, invalid()
	}
	public, err := x509.ParsePKIXPublicKey(key.Public)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", kid, err)
	}
	return public, nil
}

func (a *Authenticator) tokenPrincipal(token *verifiedToken) *Principal {
	p := &Principal{
		Type: Client, Subject: token.Subject, Org: token.Org, Scopes: []string{}, Audience: token.Audience, Methods: []string{"token"},
		Credential: CredentialRef{Type: accessTokenType, ID: token.ID}, Expires: token.ExpiresAt.Unix(), Claims: token.extra,
	}
	if token.Scope != nil {
		p.Scopes = strings.Fields(*token.Scope)
	}
	// The two differ when the client acts for somebody (RFC 9068 §2.2: without a user, sub is the client).
	if token.Subject != token.ClientID {
		p.Type, p.AuthorizedParty = User, token.ClientID
	}
	return p
}
