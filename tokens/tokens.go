// Package tokens issues the tenant's access tokens. Each grant is one file: it declares what it needs and says whom the
// token is for. The Issuer runs what every grant must go through, so that a new one cannot forget it: scopes and
// audience are well-formed, the policy mandate.tokens decides what the token may carry, and only then it is signed.
//
// It must never sign a token that the policy did not allow, let a policy replace the claims that identify a token, or
// keep a private key readable in the store.
package tokens

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// maxLifetime bounds what a policy may give an access token.
const maxLifetime = 24 * time.Hour

// Request is a request to the token endpoint, parsed. Empty parameters count as absent (RFC 6749 §3.2).
type Request struct {
	GrantType string
	Scope     string   // as sent: scopes between single spaces
	Audience  string   // the audience parameter, or
	Resources []string // RFC 8707
	Org       string   // the organization that the token is to be for
}

// Response is a successful answer of the token endpoint (RFC 6749 §5.1).
type Response struct {
	AccessToken    string             `json:"access_token"`
	TokenType      string             `json:"token_type"`
	ExpiresIn      int64              `json:"expires_in"`
	Scope          string             `json:"scope"`
	PolicyRevision string             `json:"policy_revision"`
	DataRevision   datastore.Revision `json:"data_revision"`
}

// Error is a refusal with the code that RFC 6749 §5.2 or RFC 8707 §2 registers. Cause is for the operator only.
type Error struct {
	Code        string
	Description string
	Cause       error
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }
func (e *Error) Unwrap() error { return e.Cause }

// Options of an Issuer.
type Options struct {
	Tenant   directory.Tenant
	Issuer   string // the iss of every token, and the audience of tokens for Mandate itself
	Master   *directory.MasterKey
	Policy   *engine.Engine
	Lifetime time.Duration // of access tokens when neither client nor API has one of its own
	Now      func() time.Time
}

// Issuer issues the tokens of one tenant. It is safe for concurrent use.
type Issuer struct {
	o      Options
	signer signer
}

// NewIssuer opens the tenant's signing key, and makes one when there is none.
func NewIssuer(ctx context.Context, store datastore.Store, o Options) (*Issuer, error) {
	s, err := openSigner(ctx, store, o)
	if err != nil {
		return nil, fmt.Errorf("signing key of tenant %s: %w", o.Tenant, err)
	}
	return &Issuer{o: o, signer: s}, nil
}

// grant is one way to get a token.
type grant interface {
	// subject is whom the token is for. The client is authenticated.
	subject(client *authn.Principal, r Request) (*authn.Principal, error)
}

func grants() map[string]grant {
	return map[string]grant{
		"client_credentials": clientCredentials{},
	}
}

// GrantTypes lists the grants that work, for discovery.
func GrantTypes() []string {
	var names []string
	for name := range grants() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Issue answers a token request of an authenticated client, as of the reading. The error is an *Error, or one of the store
// or the context.
func (i *Issuer) Issue(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, client *authn.Principal, q Request) (*Response, error) {
	if q.GrantType == "" {
		return nil, &Error{Code: "invalid_request", Description: "the parameter grant_type is missing"}
	}
	g, ok := grants()[q.GrantType]
	if !ok {
		return nil, &Error{Code: "unsupported_grant_type", Description: "this grant_type is not supported, use one of: " + strings.Join(GrantTypes(), ", ")}
	}
	scopes, err := parseScope(q.Scope)
	if err != nil {
		return nil, err
	}
	audience, err := i.audience(ctx, r, client, q)
	if err != nil {
		return nil, err
	}
	principal, err := g.subject(client, q)
	if err != nil {
		return nil, err
	}
	decision, err := i.decide(ctx, r, policies, policyInput{Principal: principal, Caller: client, Request: policyRequest{
		GrantType: q.GrantType, Issuer: i.o.Issuer, Audience: audience.value, API: audience.api, Scopes: scopes,
		Org: q.Org, DefaultLifetime: int64(i.o.Lifetime.Seconds()),
	}})
	if err != nil {
		return nil, err
	}
	return i.sign(principal, client, audience.value, decision, r.Revision())
}

// parseScope splits the scope parameter (RFC 6749 §3.3). Nil means that none was asked for.
func parseScope(scope string) ([]string, error) {
	if scope == "" {
		return nil, nil
	}
	scopes := strings.Split(scope, " ")
	for _, s := range scopes {
		if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c < '!' || c > '~' || c == '"' || c == '\\' }) {
			return nil, &Error{Code: "invalid_scope", Description: "scope must be a list of scopes with single spaces between them"}
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

type audience struct {
	value string
	api   string // id of the API, empty for the issuer itself
}

// audience is the one resource server that the token is for. Left out, it is the only one that the client is registered
// for, or Mandate itself for a client that is registered for none.
func (i *Issuer) audience(ctx context.Context, r datastore.Reader, client *authn.Principal, q Request) (audience, error) {
	asked := q.Audience
	for _, resource := range q.Resources {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return audience{}, &Error{Code: "invalid_target", Description: "resource must be an absolute URI without a fragment"}
		}
		if asked != "" && asked != resource {
			return audience{}, &Error{Code: "invalid_target", Description: "a token is for one resource server: ask for one at a time"}
		}
		asked = resource
	}
	if asked == "" {
		record, err := i.o.Tenant.Client(client.Subject).Get(ctx, r)
		if err != nil {
			return audience{}, err
		}
		switch len(record.Audiences) {
		case 0:
			asked = i.o.Issuer
		case 1:
			asked = record.Audiences[0]
		default:
			return audience{}, &Error{Code: "invalid_target", Description: "the client may get tokens for several audiences: name one with the parameter audience"}
		}
	}
	if asked == i.o.Issuer {
		return audience{value: asked}, nil
	}
	alias, _, err := i.o.Tenant.Audience(asked).Find(ctx, r)
	return audience{value: asked, api: alias.ID}, err
}

// policyInput is the input of mandate.tokens.
type policyInput struct {
	Principal *authn.Principal `json:"principal"`
	Caller    *authn.Principal `json:"caller"`
	Request   policyRequest    `json:"request"`
}

type policyRequest struct {
	GrantType       string   `json:"grant_type"`
	Issuer          string   `json:"issuer"`
	Audience        string   `json:"audience"`
	API             string   `json:"api,omitempty"`
	Scopes          []string `json:"scopes,omitempty"`
	Org             string   `json:"org,omitempty"`
	DefaultLifetime int64    `json:"default_lifetime"`
}

func (i *Issuer) decide(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, input policyInput) (*engine.Decision, error) {
	document, err := json.Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("input of the token policy: %w", err)
	}
	decision, err := i.o.Policy.Decide(ctx, r, policies, engine.Tokens, document)
	if err == nil && decision.Allow {
		return decision, nil
	}
	if ctx.Err() != nil {
		return decision, ctx.Err()
	}
	refusal := &Error{Code: "access_denied", Description: "the token policy refuses the token", Cause: err}
	if len(decision.Reasons) > 0 {
		refusal.Description = decision.Reasons[0].Message
		if code := decision.Reasons[0].Code; slices.Contains(refusals(), code) {
			refusal.Code = code
		}
	}
	return decision, refusal
}

// refusals are the error codes that the token policy may give as the code of its first reason; any other
// becomes access_denied.
func refusals() []string {
	return []string{"invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}
}

// sign makes the RFC 9068 token.
func (i *Issuer) sign(principal, client *authn.Principal, audience string, d *engine.Decision, at datastore.Revision) (*Response, error) {
	lifetime := d.Lifetime
	if lifetime < time.Second || lifetime > maxLifetime {
		return nil, refused(fmt.Errorf("the token policy gave a lifetime of %v, must be between 1s and %v", lifetime, maxLifetime))
	}
	jti := make([]byte, 18)
	if _, err := rand.Read(jti); err != nil {
		return nil, fmt.Errorf("make a token id: %w", err)
	}
	now := i.o.Now()
	scope := strings.Join(d.Scopes, " ")
	claims := jwt.MapClaims{
		"iss": i.o.Issuer, "sub": principal.Subject, "aud": audience, "client_id": client.Subject, "azp": client.Subject,
		"scope": scope, "jti": base64.RawURLEncoding.EncodeToString(jti), "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	if d.Org != "" {
		claims["org"] = d.Org
	}
	for name, value := range d.Claims {
		if slices.Contains(authn.ReservedClaims(), name) {
			return nil, refused(fmt.Errorf("the token policy set the claim %q, which only the issuer may set", name))
		}
		claims[name] = value
	}
	token, err := i.Sign("at+jwt", claims)
	if err != nil {
		return nil, err
	}
	return &Response{AccessToken: token, TokenType: "Bearer", ExpiresIn: int64(lifetime.Seconds()), Scope: scope,
		PolicyRevision: d.PolicyRevision, DataRevision: at}, nil
}

// refused is the answer when the policy allowed something that must not be.
func refused(cause error) error {
	return &Error{Code: "access_denied", Description: "the token policy refuses the token", Cause: cause}
}

// ErrKeyGone means that the store's signing key was sealed under another master key.
var ErrKeyGone = errors.New("the signing key cannot be opened: start with the master key under which it was made")
