package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
	"mandate/directory"
)

const accessTokenType = "access_token"

// accessToken is a JWT: one that the tenant itself issued (RFC 9068), sent as a bearer token or with a DPoP proof, or one of
// another issuer (externaltoken.go).
type accessToken struct {
	token     directory.Secret
	presented Presented
}

func recogniseAccessToken(p Presented) ([]credential, error) {
	token, withProof := p.authorization("DPoP")
	if !withProof {
		var ok bool
		if token, ok = p.authorization("Bearer"); !ok {
			return nil, nil
		}
	}
	if shape, _, _ := directory.ShapeOf(token); shape != directory.JWTToken {
		if withProof {
			return nil, invalid() // nothing else can be bound to a key
		}
		return nil, nil
	}
	return []credential{accessToken{directory.NewSecret(token), p}}, nil
}

// accessClaims are the claims of RFC 9068 §2.2 and Mandate's own: org, sub_type and grant_id. Names count letter by letter, so
// that no other claim is taken for one of them.
type accessClaims struct {
	jwt.RegisteredClaims
	ClientID string        `json:"client_id"`
	Org      string        `json:"org"`
	Scope    *string       `json:"scope"`
	Kind     PrincipalType `json:"sub_type"`
	Grant    string        `json:"grant_id"`
	Methods  []string      `json:"amr"`
	AuthTime int64         `json:"auth_time"`
	Actor    *Actor        `json:"act"`
	Confirms *Confirmation `json:"cnf"`
	// Of a user whom the connection of Org vouches for.
	Connection string   `json:"connection"`
	Roles      []string `json:"roles"`
	// Others as they are written, so that numbers stay exact.
	Others map[string]jsontext.Value `json:",embed"`
}

// UnmarshalJSON implements json.Unmarshaler of the standard library, which reads names in any case otherwise.
func (c *accessClaims) UnmarshalJSON(text []byte) error {
	type plain accessClaims
	return json.Unmarshal(text, (*plain)(c))
}

// verifiedToken is what a token says of which the signature and the time are good.
type verifiedToken struct {
	accessClaims
	extra map[string]any // the claims that are not reserved
	bytes int
}

func (t *verifiedToken) Bytes() int { return t.bytes }

func (c accessToken) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	if a.foreign(c) {
		return a.externalToken(ctx, r, c.token)
	}
	token, err := a.verified(ctx, r, c.token)
	if err != nil {
		return nil, err
	}
	if err := a.confirm(r, c, token.Confirms); err != nil {
		return nil, err
	}
	p := a.tokenPrincipal(token)
	return p, a.tokenStanding(ctx, r, p)
}

func (a *Authenticator) verified(ctx context.Context, r *memo.Reading, token directory.Secret) (*verifiedToken, error) {
	tokens := memo.Table[*verifiedToken]{Kind: "token"}
	question := memo.Part(memo.Part(tokens.Ask(nil), a.tenant), token.Expose())
	return tokens.Get(r, memo.KeyOf(question), func(r *memo.Reading) (*verifiedToken, error) {
		return a.verify(ctx, r, token)
	})
}

// Inspect verifies an access token as Authenticate does, but for somebody who holds it without having to prove more:
// who introspects or revokes a token, not who uses it. Anything that is no good token of this issuer is an *Error.
func (a *Authenticator) Inspect(ctx context.Context, r *memo.Reading, token directory.Secret) (*Principal, error) {
	if shape, _, _ := directory.ShapeOf(token.Expose()); shape != directory.JWTToken {
		return nil, invalid()
	}
	verified, err := a.verified(ctx, r, token)
	if err != nil {
		return nil, err
	}
	p := a.tokenPrincipal(verified)
	if err := a.tokenStanding(ctx, r, p); err != nil {
		return nil, err
	}
	if err := a.Standing(ctx, r, p); err != nil {
		return nil, err
	}
	return p, p.complete()
}

func (a *Authenticator) verify(ctx context.Context, r *memo.Reading, presented directory.Secret) (*verifiedToken, error) {
	var storeErr error
	parser := a.parser(jwt.WithIssuer(a.issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	verified := &verifiedToken{extra: map[string]any{}}
	claims := &verified.accessClaims
	_, err := parser.ParseWithClaims(presented.Expose(), claims, func(token *jwt.Token) (any, error) {
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
	if claims.Subject == "" || claims.ClientID == "" || claims.ID == "" || len(claims.Audience) == 0 || claims.IssuedAt == nil || claims.Kind == "" {
		return nil, invalid()
	}
	verified.bytes = 1000 + 2*len(presented.Expose())
	for name, value := range claims.Others {
		if !slices.Contains(ReservedClaims(), name) {
			verified.extra[name] = value
			verified.bytes += 200 + memo.JSONBytes(value)
		}
	}
	claims.Others = nil
	r.NotAfter(claims.ExpiresAt.Add(a.leeway))
	return verified, nil
}

// StillStands checks what Standing does, of a principal that Authenticate has returned, and that its access token has not
// been revoked since.
func (a *Authenticator) StillStands(ctx context.Context, r *memo.Reading, p *Principal) error {
	if p.Credential.Type == accessTokenType {
		if err := a.tokenStanding(ctx, r, p); err != nil {
			return err
		}
	}
	return a.Standing(ctx, r, p)
}

// tokenStanding checks that the token was not revoked, nor the grant that it rests on.
func (a *Authenticator) tokenStanding(ctx context.Context, r *memo.Reading, p *Principal) error {
	revoked := inactive("token_revoked", "the access token has been revoked: get a new one")
	_, found, err := a.tenant.RevokedToken(p.Credential.ID).Find(ctx, r)
	if err != nil {
		return err
	}
	if found {
		return revoked
	}
	if p.Grant == "" {
		return nil
	}
	grant, found, err := a.tenant.Grant(p.Grant).Find(ctx, r)
	if err != nil {
		return err
	}
	if !found {
		return revoked
	}
	return a.GrantStanding(ctx, r, grant)
}

// GrantStanding checks what a grant rests on: its client, which counts also for what others have made of its tokens, the
// credential that was exchanged for it, and the consent, that very one and not another that the user has given since.
func (a *Authenticator) GrantStanding(ctx context.Context, r *memo.Reading, g directory.Grant) error {
	if g.Client != "" {
		if err := a.clientStanding(ctx, r, &Principal{Type: Client, Subject: g.Client, AuthorizedParty: g.Client, Org: g.Org}); err != nil {
			return err
		}
	}
	if g.Credential != "" {
		good, err := a.proves(ctx, r, PrincipalType(g.Kind), g.Subject, g.Credential)
		if err != nil {
			return err
		}
		if !good {
			return inactive("credential_replaced", "the password or key that was exchanged has been replaced: exchange the new one")
		}
	}
	if g.Consent == "" {
		return nil
	}
	consent, _, err := a.tenant.Consent(g.Subject, g.Client).Find(ctx, r)
	if err == nil && consent.Orgs[g.Org].ID != g.Consent {
		err = inactive("consent_withdrawn", "the user has taken back what the token rests on")
	}
	return err
}

// ReservedClaims say what a token is. Only the issuer sets them, and policies see them as members of the principal.
func ReservedClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope", "org", "act", "may_act", "cnf", "auth_time", "acr", "amr",
		"sub_type", "grant_id", "connection", "roles"}
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
		Type: token.Kind, Subject: token.Subject, Org: token.Org, Scopes: []string{}, Audience: token.Audience, Methods: token.Methods,
		Credential: CredentialRef{Type: accessTokenType, ID: token.ID}, Expires: token.ExpiresAt.Unix(), AuthTime: token.AuthTime,
		Actor: token.Actor, Confirms: token.Confirms, Claims: token.extra, ClientID: token.ClientID, Grant: token.Grant,
		Connection: token.Connection, Roles: token.Roles,
		IssuedAt: token.IssuedAt.Unix(),
	}
	if len(p.Methods) == 0 {
		p.Methods = []string{"token"}
	}
	if token.Scope != nil {
		p.Scopes = strings.Fields(*token.Scope)
	}
	if token.Subject != token.ClientID && token.ClientID != a.issuer {
		p.AuthorizedParty = token.ClientID
	}
	return p
}
