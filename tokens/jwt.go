package tokens

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/directory"
	"mandate/engine"
)

// token is an access token to be signed.
type token struct {
	claims         jwt.MapClaims
	alg            string
	scopes         []string
	lifetime       time.Duration
	refresh        bool // whether a refresh token goes with it
	policyRevision string
}

// token puts the claims together (RFC 9068 §2.2).
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
	client := i.o.Issuer
	if a.client != nil {
		client = a.client.Subject
	}
	s := b.subject
	claims := jwt.MapClaims{
		"iss": i.o.Issuer, "sub": s.Subject, "sub_type": s.Type, "aud": target.value, "client_id": client, "azp": client,
		"scope": strings.Join(d.Scopes, " "), "jti": jti, "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	for name, value := range map[string]string{"org": d.Org, "grant_id": b.grantID, "connection": s.Connection} {
		if value != "" {
			claims[name] = value
		}
	}
	if s.AuthTime != 0 {
		claims["auth_time"] = s.AuthTime
	}
	if s.Type == authn.User && len(s.Methods) > 0 {
		claims["amr"] = s.Methods
	}
	if len(s.Roles) > 0 {
		claims["roles"] = s.Roles
	}
	if b.act != nil {
		claims["act"] = b.act
	}
	if a.Confirms != (authn.Confirmation{}) {
		claims["cnf"] = a.Confirms
	}
	for name, value := range d.Claims {
		// Many decoders do not tell upper from lower case.
		if slices.ContainsFunc(authn.ReservedClaims(), func(reserved string) bool { return strings.EqualFold(reserved, name) }) {
			return nil, refused(fmt.Errorf("the token policy set the claim %q, which only the issuer may set", name))
		}
		claims[name] = value
	}
	return &token{claims: claims, alg: target.alg, scopes: d.Scopes, lifetime: lifetime, policyRevision: d.PolicyRevision,
		refresh: b.refreshable && b.grant != nil}, nil
}

// sign signs the access token, and the ID token that goes with one of the scope openid.
func (i *Issuer) sign(ctx context.Context, a *asked, b *basis, t *token, response *Response) error {
	signed, err := i.Sign(ctx, a.reading, t.alg, "at+jwt", t.claims)
	if err != nil {
		return err
	}
	response.AccessToken, response.TokenType = signed, "Bearer"
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
		"iat": t.claims["iat"], "exp": t.claims["exp"], "auth_time": b.subject.AuthTime, "amr": b.subject.Methods}
	if b.grant.Nonce != "" {
		claims["nonce"] = b.grant.Nonce
	}
	if org, ok := t.claims["org"]; ok {
		claims["org"] = org
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
