package tokens

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/directory"
	"mandate/engine"
)

// token is an access token to be signed.
type token struct {
	claims         accessClaims
	alg            string
	scopes         []string
	lifetime       time.Duration
	refresh        bool // whether a refresh token goes with it
	policyRevision string
}

// accessClaims are the claims of an access token (RFC 9068 §2.2) and Mandate's own, as authn.ReservedClaims names them.
type accessClaims struct {
	Issuer          string              `json:"iss"`
	Subject         string              `json:"sub"`
	Kind            authn.PrincipalType `json:"sub_type"`
	Audience        string              `json:"aud"`
	ClientID        string              `json:"client_id"`
	AuthorizedParty string              `json:"azp"`
	Org             string              `json:"org,omitzero"`
	Scope           string              `json:"scope"`
	ID              string              `json:"jti"`
	IssuedAt        int64               `json:"iat"`
	Expires         int64               `json:"exp"`
	AuthTime        int64               `json:"auth_time,omitzero"`
	Methods         []string            `json:"amr,omitempty"`
	Grant           string              `json:"grant_id,omitzero"`
	Connection      string              `json:"connection,omitzero"`
	Roles           []string            `json:"roles,omitempty"`
	Actor           *authn.Actor        `json:"act,omitzero"`
	Confirms        authn.Confirmation  `json:"cnf,omitzero"`
	Others          jsontext.Value      `json:",embed"` // of the policy
}

// token puts the claims together.
func (i *Issuer) token(a *asked, b *basis, target audience, d *engine.Decision) (*token, error) {
	if d.Lifetime < time.Second || d.Lifetime > maxLifetime {
		return nil, refused(fmt.Errorf("the token policy gave a lifetime of %v, must be between 1s and %v", d.Lifetime, maxLifetime))
	}
	now := i.o.Now()
	lifetime := d.Lifetime
	if !b.notAfter.IsZero() {
		if lifetime = min(lifetime, b.notAfter.Sub(now).Truncate(time.Second)); lifetime < time.Second {
			return nil, &Error{Code: "invalid_grant", Description: "what the token would rest on is about to expire"}
		}
	}
	jti, err := randomID()
	if err != nil {
		return nil, err
	}
	others, err := claimsOfPolicy(d)
	if err != nil {
		return nil, err
	}
	client := i.o.Issuer
	if a.client != nil {
		client = a.client.Subject
	}
	s := b.subject
	claims := accessClaims{Issuer: i.o.Issuer, Subject: s.Subject, Kind: s.Type, Audience: target.value, ClientID: client, AuthorizedParty: client,
		Org: d.Org, Scope: strings.Join(d.Scopes, " "), ID: jti, IssuedAt: now.Unix(), Expires: now.Add(lifetime).Unix(), AuthTime: s.AuthTime,
		Grant: b.grantID, Connection: s.Connection, Roles: s.Roles, Actor: b.act, Confirms: a.Confirms, Others: others}
	if s.Type == authn.User {
		claims.Methods = s.Methods
	}
	return &token{claims: claims, alg: target.alg, scopes: d.Scopes, lifetime: lifetime, policyRevision: d.PolicyRevision,
		refresh: b.refreshable && b.grant != nil}, nil
}

// claimsOfPolicy are those that the policy adds, as JSON; nil when there are none.
func claimsOfPolicy(d *engine.Decision) (jsontext.Value, error) {
	if len(d.Claims) == 0 {
		return nil, nil
	}
	for name := range d.Claims {
		// Many decoders do not tell upper from lower case.
		if slices.ContainsFunc(authn.ReservedClaims(), func(reserved string) bool { return strings.EqualFold(reserved, name) }) {
			return nil, refused(fmt.Errorf("the token policy set the claim %q, which only the issuer may set", name))
		}
	}
	text, err := stdjson.Marshal(d.Claims) // whose json.Number is a number
	if err != nil {
		return nil, refused(fmt.Errorf("encode the claims of the token policy: %w", err))
	}
	return text, nil
}

// sign signs the access token, and the ID token that goes with one of the scope openid.
func (i *Issuer) sign(ctx context.Context, a *asked, b *basis, t *token, response *Response) error {
	signed, err := i.Sign(ctx, a.reading, t.alg, "at+jwt", t.claims)
	if err != nil {
		return err
	}
	response.AccessToken, response.TokenType = signed, "Bearer"
	c := t.claims
	response.Issued = Issued{ID: c.ID, Subject: c.Subject, Client: c.ClientID, Org: c.Org, Audience: c.Audience, Grant: c.Grant, Type: c.Kind,
		ExpiresAt: time.Unix(c.Expires, 0)}
	if a.Confirms.Thumbprint != "" {
		response.TokenType = "DPoP" // RFC 9449 §5
	}
	response.IssuedTokenType = b.issuedType
	response.ExpiresIn, response.Scope = int64(t.lifetime.Seconds()), strings.Join(t.scopes, " ")
	if a.client == nil || b.grant == nil || b.subject.Type != authn.User || !slices.Contains(t.scopes, "openid") {
		return nil
	}
	response.IDToken, err = i.idToken(ctx, a, b, t)
	return err
}

// idToken is that of OpenID Connect Core §2.
func (i *Issuer) idToken(ctx context.Context, a *asked, b *basis, t *token) (string, error) {
	client, err := i.o.Tenant.Client(a.client.Subject).Get(ctx, a.reading)
	if err != nil {
		return "", err
	}
	claims := jwt.MapClaims{"iss": i.o.Issuer, "sub": b.subject.Subject, "aud": a.client.Subject, "azp": a.client.Subject,
		"iat": t.claims.IssuedAt, "exp": t.claims.Expires, "auth_time": b.subject.AuthTime, "amr": b.subject.Methods}
	if b.grant.Nonce != "" {
		claims["nonce"] = b.grant.Nonce
	}
	if t.claims.Org != "" {
		claims["org"] = t.claims.Org
	}
	alg := client.IDTokenSignedResponseAlg
	if alg == "" {
		alg = jwt.SigningMethodRS256.Alg()
	}
	return i.Sign(ctx, a.reading, alg, "JWT", claims)
}

// randomID is of 144 random bits, in the letters, digits, "." and "-" that a derived secret can carry.
func randomID() (string, error) {
	var raw [18]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return strings.ReplaceAll(base64.RawURLEncoding.EncodeToString(raw[:]), "_", "."), nil
}

// refreshToken is the refresh token of that generation.
func (i *Issuer) refreshToken(grant string, generation uint64) directory.Secret {
	return i.o.Master.Derive(i.o.Tenant, directory.KindRefreshToken, fmt.Sprintf("%s.%d", grant, generation))
}
