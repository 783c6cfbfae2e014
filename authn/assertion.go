package authn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	privateKeyJWT = "private_key_jwt" // OpenID Connect Core §9

	jwtAssertion      = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	assertionLifetime = 5 * time.Minute
	maxJTIBytes       = 256
)

// assertion is a JWT that a client has signed to authenticate itself (RFC 7521 §4.2, RFC 7523 §2.2). It is good once.
type assertion struct {
	jwt      directory.Secret
	clientID string // the parameter client_id, if it was sent
	url      string // of the endpoint
}

func recogniseAssertion(p Presented) ([]credential, error) {
	switch {
	case p.Assertion.IsZero() && p.AssertionType == "":
		return nil, nil
	case p.Assertion.IsZero():
		return nil, &Error{Kind: Malformed, Detail: "client_assertion_type came without client_assertion"}
	case p.AssertionType != jwtAssertion:
		return nil, &Error{Kind: Malformed, Detail: "client_assertion_type must be " + jwtAssertion}
	}
	return []credential{assertion{p.Assertion, p.ClientID, p.URL}}, nil
}

func (c assertion) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	r.Volatile()
	t, err := readJWT(c.jwt)
	if err != nil {
		return nil, err
	}
	id := t.claim("sub")
	if err := c.check(t, id); err != nil {
		return nil, err
	}
	client, _, err := a.tenant.Client(id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	expires, err := c.verify(a, t, client)
	if err != nil {
		return nil, err
	}
	if err := a.once(ctx, "assertion", id, t.claim("jti"), expires.Add(a.leeway)); err != nil {
		return nil, err
	}
	return clientPrincipal(id, client, privateKeyJWT), nil
}

// check finds what is wrong with an assertion whoever the client is, so whoever sent it can be told.
func (c assertion) check(t jwtOf, id string) error {
	var problem string
	alg, _ := t.header["alg"].(string)
	kid, named := t.header["kid"]
	_, critical := t.header["crit"]
	switch _, text := kid.(string); {
	case !slices.Contains(directory.AcceptedAlgorithms(), alg):
		problem = "must be signed with one of " + strings.Join(directory.AcceptedAlgorithms(), ", ")
	case !slices.Contains([]string{"", "jwt", "jose", "client-authentication+jwt"}, t.typ()):
		problem = "is a JWT for another purpose: see its typ (RFC 8725 §3.11)"
	case critical:
		problem = "has critical header parameters, none of which is understood (RFC 7515 §4.1.11)"
	case named && !text:
		problem = "has a kid that is no string"
	case id == "" || t.claim("iss") != id:
		problem = "must have the client_id as its iss and its sub"
	case c.clientID != "" && c.clientID != id:
		problem = "is that of another client than client_id (RFC 7521 §4.2)"
	default:
		return nil
	}
	return &Error{Kind: Invalid, Detail: "the client_assertion " + problem}
}

// verify verifies the signature by a key that the client registered, which the header can choose by kid only, and then the
// claims. It takes as long for a client that has none, or that does not exist.
func (c assertion) verify(a *Authenticator, t jwtOf, client directory.Client) (expires time.Time, err error) {
	alg, _ := t.header["alg"].(string)
	kid, _ := t.header["kid"].(string)
	var key crypto.PublicKey
	if client.TokenEndpointAuthMethod == privateKeyJWT {
		key = registeredKey(client.JWKS, kid, alg)
	}
	known := key != nil
	if !known {
		if key, err = decoyKey(alg); err != nil {
			return expires, err
		}
	}
	audiences := []string{a.issuer, a.issuer + "/oauth2/token", a.issuer + "/oauth/token", a.issuer + "/oauth2/par"}
	if c.url != "" {
		audiences = append(audiences, c.url)
	}
	parser := a.parser(jwt.WithValidMethods([]string{alg}), jwt.WithAudience(audiences...), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	_, err = parser.ParseWithClaims(t.text, jwt.MapClaims{}, func(*jwt.Token) (any, error) { return key, nil })
	if !known || (err != nil && !errors.Is(err, jwt.ErrTokenInvalidClaims)) {
		return expires, invalid()
	}
	return a.assertionClaims(t, err)
}

// assertionClaims finds what is wrong with the claims of an assertion with a good signature (RFC 7523 §3). The parser has
// found err.
func (a *Authenticator) assertionClaims(t jwtOf, err error) (expires time.Time, _ error) {
	var problem string
	exp, expErr := t.claims.GetExpirationTime()
	jti := t.claim("jti")
	switch {
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		problem = "must have the issuer, or the URL of this endpoint, as its aud"
	case expErr != nil || exp == nil:
		problem = "must have the time when it expires as its exp"
	case errors.Is(err, jwt.ErrTokenExpired):
		problem = "has expired"
	case errors.Is(err, jwt.ErrTokenNotValidYet) || errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		problem = "is from the future: see its nbf and iat, and the clock"
	case err != nil:
		problem = "has claims that are not good: see its aud, exp, nbf and iat"
	case exp.After(a.now().Add(assertionLifetime + a.leeway)):
		problem = fmt.Sprintf("must expire within %d minutes", int(assertionLifetime.Minutes()))
	case jti == "" || len(jti) > maxJTIBytes:
		problem = fmt.Sprintf("must have a jti of 1 to %d characters", maxJTIBytes)
	default:
		return exp.Time, nil
	}
	return expires, &Error{Kind: Invalid, Detail: "the client_assertion " + problem}
}

// once refuses an assertion that was used before (OpenID Connect Core §9, RFC 7523 §3 item 7), and notes that it is used now.
func (a *Authenticator) once(ctx context.Context, what, issuer, jti string, until time.Time) error {
	first, err := a.tenant.UseOnce(ctx, a.store, what, string(memo.Part(memo.Part(nil, issuer), jti)), until)
	if err != nil {
		return fmt.Errorf("note the use of an assertion: %w", err)
	}
	if !first {
		return &Error{Kind: Invalid, Code: "assertion_replayed", Detail: "the assertion was used before: each needs a jti of its own"}
	}
	return nil
}
