// Package tokens issues the tenant's access tokens. Each grant is one file: it declares what it needs and says whom the
// token is for. The Issuer runs what every grant must go through, so that a new one cannot forget it: scopes and
// audience are well-formed, the policy mandate.tokens decides what the token may carry, and only then it is signed.
//
// It must never sign a token that the policy did not allow, let a policy replace the claims that identify a token, or
// keep a private key readable in the store.
package tokens

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

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

	Code, RedirectURI, CodeVerifier  string           // RFC 6749 §4.1.3, RFC 7636 §4.5
	RefreshToken                     directory.Secret // RFC 6749 §6
	DeviceCode                       directory.Secret // RFC 8628 §3.4
	Assertion                        directory.Secret // RFC 7523 §2.1
	SubjectToken, ActorToken         directory.Secret // RFC 8693 §2.1
	SubjectTokenType, ActorTokenType string
	RequestedTokenType               string

	// Presented is the request's own header and connection: where tokens in it that are bound to a key are proved.
	Presented authn.Presented
	// Confirms is the key that the request has proved to hold, to which the tokens will be bound.
	Confirms authn.Confirmation
}

// Response is a successful answer of the token endpoint (RFC 6749 §5.1, RFC 8693 §2.2.1, OpenID Connect Core §3.1.3.3).
type Response struct {
	AccessToken      string             `json:"access_token"`
	IssuedTokenType  string             `json:"issued_token_type,omitempty"`
	TokenType        string             `json:"token_type"`
	ExpiresIn        int64              `json:"expires_in"`
	Scope            string             `json:"scope"`
	RefreshToken     string             `json:"refresh_token,omitempty"`
	RefreshExpiresIn int64              `json:"refresh_expires_in,omitzero"`
	IDToken          string             `json:"id_token,omitempty"`
	PolicyRevision   string             `json:"policy_revision"`
	DataRevision     datastore.Revision `json:"data_revision"`

	Issued Issued `json:"-"`
}

// Issued says what an access token is, for those who must not see the token.
type Issued struct {
	ID, Subject, Client, Org, Audience, Grant string

	Type      authn.PrincipalType
	ExpiresAt time.Time
}

// Error is a refusal with the code that RFC 6749 §5.2 or RFC 8707 §2 registers. Cause is for the operator only.
type Error struct {
	Code        string
	Description string
	Cause       error

	event *SecurityEvent // to report once the refusal is committed
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }
func (e *Error) Unwrap() error { return e.Cause }

// SecurityEvent is something that an operator should know of: somebody may have got hold of what is not theirs.
type SecurityEvent struct {
	Type          string // code_replayed, refresh_token_reused
	Grant, Client string
	Subject, Org  string
}

// Options of an Issuer.
type Options struct {
	Tenant   directory.Tenant
	Issuer   string // the iss of every token, and the audience of tokens for Mandate itself
	Master   *directory.MasterKey
	Policy   *engine.Engine
	Authn    *authn.Authenticator
	Lifetime time.Duration // of access tokens when neither client nor API has one of its own
	// CodeLifetime is that of authorization codes; a refresh token can be used for RefreshLifetime, and the one before the
	// newest for RefreshGrace after it was replaced, in case the answer was lost.
	CodeLifetime, RefreshLifetime, RefreshGrace time.Duration
	// KeyLifetime is how long a key signs before the next one does.
	KeyLifetime time.Duration
	// Report is told of security events. It must not block.
	Report func(SecurityEvent)
	Now    func() time.Time
}

// Issuer issues the tokens of one tenant. It is safe for concurrent use.
type Issuer struct {
	o     Options
	store datastore.Store
	keys  *Keyring
}

// NewIssuer opens the tenant's signing keys, and makes one when there is none.
func NewIssuer(ctx context.Context, store datastore.Store, o Options) (*Issuer, error) {
	i := &Issuer{o: o, store: store,
		keys: NewKeyring(store, KeyOptions{Tenant: o.Tenant, Master: o.Master, Lifetime: o.KeyLifetime, Now: o.Now})}
	if _, err := i.keys.first(ctx, jwt.SigningMethodES256.Alg()); err != nil {
		return nil, fmt.Errorf("signing key of tenant %s: %w", o.Tenant, err)
	}
	return i, nil
}

// grant is one way to get a token: one file each.
type grant interface {
	// prove checks that what the request presents is good, and says what the token would rest on. It changes nothing. The
	// client is authenticated; a public one has only said who it is. Refusals are *Error.
	prove(ctx context.Context, i *Issuer, asked *asked) (*basis, error)
}

// asked is a request in progress: who asks for what, at which instant.
type asked struct {
	Request
	reading  *memo.Reading
	policies *engine.PolicySet
	client   *authn.Principal // nil at the exchange endpoints, which need none
	scopes   []string         // the parameter scope; nil when it was not sent
}

// basis is what a token rests on.
type basis struct {
	subject *authn.Principal // whom the token is for; its scopes, when there are any, are the most that the token can have
	actor   *authn.Principal // who acts for the subject beside the client (RFC 8693 §2.1)
	act     *authn.Actor     // the chain that the token will show (RFC 8693 §4.1)

	audience string    // that was settled already; the token cannot be for another one
	org      string    // likewise
	notAfter time.Time // the token ends with what it rests on; zero for no such end

	issuedType string // issued_token_type (RFC 8693 §2.2.1)

	// grantID and grant are the grant that the token rests on, if it does.
	grantID string
	grant   *directory.Grant
	// refreshable says that a refresh token may come with the token.
	refreshable bool
	// spend makes the change that the token costs, such as the redemption of a code, on the facts of this very moment. A
	// refusal is committed with what it has changed; an error is not.
	spend func(ctx context.Context, tx datastore.Tx, refresh bool) (generation uint64, refusal *Error, err error)
}

func grants() map[string]grant {
	return map[string]grant{
		"client_credentials":     clientCredentials{},
		"authorization_code":     authorizationCode{},
		"refresh_token":          refreshToken{},
		deviceGrantType:          deviceCode{},
		exchangeGrantType:        tokenExchange{},
		directory.JWTBearerGrant: jwtBearer{},
	}
}

// GrantTypes lists the grants that work, for discovery.
func GrantTypes() []string {
	return slices.Sorted(maps.Keys(grants()))
}

// Issue answers a token request of an authenticated client, as of the reading. The error is an *Error, an *authn.Error, or
// one of the store or the context.
func (i *Issuer) Issue(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, client *authn.Principal, q Request) (*Response, error) {
	if q.GrantType == "" {
		return nil, &Error{Code: "invalid_request", Description: "the parameter grant_type is missing"}
	}
	g, ok := grants()[q.GrantType]
	if !ok {
		return nil, &Error{Code: "unsupported_grant_type", Description: "this grant_type is not supported, use one of: " + strings.Join(GrantTypes(), ", ")}
	}
	return i.issue(ctx, &asked{Request: q, reading: r, policies: policies, client: client}, g)
}

// issue runs what every token goes through: what the request presents is proved, the policy decides, what the token costs is
// committed, and only then it is given.
func (i *Issuer) issue(ctx context.Context, a *asked, g grant) (*Response, error) {
	var err error
	if a.scopes, err = parseScope(a.Scope); err != nil {
		return nil, err
	}
	b, err := g.prove(ctx, i, a)
	if err != nil {
		return nil, err
	}
	if a.client != nil && a.client.MustProve && a.Confirms.Thumbprint == "" {
		return nil, &Error{Code: "invalid_dpop_proof", Description: "the client is registered to bind its tokens to a key: send a DPoP proof"}
	}
	target, err := i.audience(ctx, a, b)
	if err != nil {
		return nil, err
	}
	decision, err := i.decide(ctx, a, b, target)
	if err != nil {
		return nil, err
	}
	if b.grant != nil && b.grant.Audience == "" {
		b.grant.Audience, b.grant.Org, b.grant.Scopes = target.value, decision.Org, decision.Scopes // one that begins now
	}
	t, err := i.token(a, b, target, decision)
	if err != nil {
		return nil, err
	}
	response, err := i.spend(ctx, a, b, t)
	if err != nil {
		return nil, err
	}
	return response, i.sign(ctx, a, b, t, response)
}

// spend commits what the token costs, when it costs something.
func (i *Issuer) spend(ctx context.Context, a *asked, b *basis, t *token) (*Response, error) {
	response := &Response{PolicyRevision: t.policyRevision, DataRevision: a.reading.Revision()}
	if b.spend == nil {
		return response, nil
	}
	var generation uint64
	var refusal *Error
	_, err := i.store.Update(ctx, func(tx datastore.Tx) (err error) {
		generation, refusal, err = b.spend(ctx, tx, t.refresh)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("commit what a token costs: %w", err)
	case refusal != nil:
		if refusal.event != nil {
			i.o.Report(*refusal.event)
		}
		return nil, refusal
	case t.refresh:
		response.RefreshToken = i.refreshToken(b.grantID, generation).Expose()
		response.RefreshExpiresIn = int64(i.o.RefreshLifetime.Seconds())
	}
	return response, nil
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
	alg   string // with which the API's tokens are signed
}

// audience is the one resource server that the token is for. Left out, it is the one that was settled before, the only one
// that the client is registered for, or Mandate itself for a client that is registered for none.
func (i *Issuer) audience(ctx context.Context, a *asked, b *basis) (audience, error) {
	named := a.Audience
	for _, resource := range a.Resources {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return audience{}, &Error{Code: "invalid_target", Description: "resource must be an absolute URI without a fragment"}
		}
		if named != "" && named != resource {
			return audience{}, &Error{Code: "invalid_target", Description: "a token is for one resource server: ask for one at a time"}
		}
		named = resource
	}
	if b.audience != "" && named != "" && named != b.audience {
		return audience{}, &Error{Code: "invalid_target", Description: "this grant is for another resource server: ask for the one that it was given for"}
	}
	named = cmp.Or(named, b.audience)
	if named == "" {
		var err error
		if named, err = i.onlyAudience(ctx, a, b); err != nil {
			return audience{}, err
		}
	}
	return i.target(ctx, a.reading, named)
}

// Bytes implements memo.Sized.
func (a audience) Bytes() int { return 100 + len(a.value) + len(a.api) }

// target looks an audience up. What is the audience of no API is for the policy to refuse.
func (i *Issuer) target(ctx context.Context, r *memo.Reading, named string) (audience, error) {
	if named == i.o.Issuer {
		return audience{value: named}, nil
	}
	audiences := memo.Table[audience]{Kind: "audience"}
	var memory [256]byte
	question := memo.Part(memo.Part(audiences.Ask(memory[:]), i.o.Tenant), named)
	return audiences.Get(r, memo.KeyOf(question), func(r *memo.Reading) (audience, error) { return i.findTarget(ctx, r, named) })
}

func (i *Issuer) findTarget(ctx context.Context, r *memo.Reading, named string) (audience, error) {
	alias, found, err := i.o.Tenant.Audience(named).Find(ctx, r)
	if err != nil || !found {
		return audience{value: named}, err
	}
	api, err := i.o.Tenant.API(alias.ID).Get(ctx, r)
	return audience{value: named, api: alias.ID, alg: api.SigningAlg}, err
}

func (i *Issuer) onlyAudience(ctx context.Context, a *asked, b *basis) (string, error) {
	var registered []string
	switch {
	case a.client != nil:
		record, err := i.o.Tenant.Client(a.client.Subject).Get(ctx, a.reading)
		if err != nil {
			return "", err
		}
		registered = record.Audiences
	case b.subject.Type == authn.APIKey:
		record, err := i.o.Tenant.APIKey(b.subject.Subject).Get(ctx, a.reading)
		if err != nil {
			return "", err
		}
		registered = record.Audiences
	}
	if len(registered) == 0 && a.client == nil {
		var err error
		if registered, err = i.someAudiences(ctx, a.reading); err != nil {
			return "", err
		}
	}
	switch len(registered) {
	case 0:
		return i.o.Issuer, nil
	case 1:
		return registered[0], nil
	}
	return "", &Error{Code: "invalid_target", Description: "the token could be for several audiences: name one with the parameter audience"}
}

// someAudiences are those of the tenant's first two APIs: enough to know whether there is only one.
func (i *Issuer) someAudiences(ctx context.Context, r *memo.Reading) ([]string, error) {
	var found []string
	err := i.o.Tenant.APIs(ctx, r, func(_ string, api directory.API) error {
		if found = append(found, api.Audience); len(found) == 2 {
			return directory.ErrEnough
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ErrKeyGone means that the store's signing key was sealed under another master key.
var ErrKeyGone = errors.New("the signing key cannot be opened: start with the master key under which it was made")
