// Package authn turns the credential of a request into a Principal. Each credential type is one file: it recognises
// its own shape and proves one thing, that the credential is genuine. The Authenticator sees to what is common to all:
// there is exactly one credential, and what it rests on (organization, user, client, key, vendor, integration, the key
// owner's role) is in good standing now.
//
// Principals and verified tokens are remembered exactly: for as long as nothing that they rest on has changed and no
// time limit of theirs has passed (package memo).
//
// It must never choose between two credentials, remember that a password was right or that a credential was wrong, keep
// a secret or put one into an error, and never let an answer or its timing tell whether an id exists.
package authn

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// PrincipalType says what kind of party a principal is.
type PrincipalType string

const (
	User     PrincipalType = "user"
	Client   PrincipalType = "client"
	APIKey   PrincipalType = "apikey"
	Vendor   PrincipalType = "vendor"
	Workload PrincipalType = "workload"
)

// Principal is what every credential becomes, and what policies see as input.principal. The names are those of JWT
// and OAuth.
type Principal struct {
	Type            PrincipalType `json:"type"`
	Subject         string        `json:"sub"`
	AuthorizedParty string        `json:"azp,omitempty"` // who acts, when it is not the subject
	Org             string        `json:"org,omitempty"` // the one organization that the credential is for
	// Scopes limit what the credential may do. Nil means that it has no such limit, empty that it may do nothing.
	Scopes     []string      `json:"scopes,omitzero"`
	Audience   []string      `json:"aud,omitempty"`
	Methods    []string      `json:"amr,omitempty"` // how it was authenticated
	Credential CredentialRef `json:"credential,omitzero"`
	Expires    int64         `json:"exp,omitempty"` // seconds since 1970
	AuthTime   int64         `json:"auth_time,omitzero"`
	Actor      *Actor        `json:"act,omitempty"`
	// Roles are those that the credential itself brings, for Org: what the provider of a connection says of its user.
	Roles      []string       `json:"roles,omitempty"`
	Connection string         `json:"connection,omitempty"` // of Org, that vouches for the user
	Confirms   *Confirmation  `json:"cnf,omitempty"`
	Claims     map[string]any `json:"claims,omitempty"`

	// ClientID is the client that an access token was issued to, also when that acts for itself; empty for credentials that
	// are no access tokens, and the issuer for tokens of its exchange endpoints.
	ClientID string `json:"-"`
	// Grant is the id of the grant that an access token rests on, if it does.
	Grant    string `json:"-"`
	IssuedAt int64  `json:"-"` // of an access token, seconds since 1970
	// MustProve says that the client is registered to bind all its tokens to a DPoP key (RFC 9449 §5.2).
	MustProve bool `json:"-"`

	former bool // the API key is one that a rotation has replaced
	digest memo.Key
	bytes  int
}

// Digest stands for all that policies see of a principal that Authenticate has returned, and so for all of it that a
// decision can depend on. Nobody may change such a principal.
func (p *Principal) Digest() memo.Key {
	if p.digest == (memo.Key{}) {
		panic("the principal is not one that Authenticate has returned") // what is remembered would be anybody's
	}
	return p.digest
}

// HasDigest says whether Authenticate has returned the principal.
func (p *Principal) HasDigest() bool { return p.digest != (memo.Key{}) }

// With returns the principal with other scopes, as one that Authenticate has returned. Its own stay.
func (p *Principal) With(scopes []string) (*Principal, error) {
	narrowed := *p
	narrowed.Scopes = scopes
	return &narrowed, narrowed.complete()
}

// Bytes is about what the principal takes in memory: decoded, its claims take a multiple of their text.
func (p *Principal) Bytes() int { return p.bytes }

// complete makes the digest of a principal that will not change any more.
func (p *Principal) complete() error {
	text, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode the principal: %w", err)
	}
	p.digest, p.bytes = memo.KeyOf(text), 400+memo.JSONBytes(text)
	return nil
}

// Actor is a party that acts for the subject; Actor in it is the one for which that acted before (RFC 8693 §4.1).
type Actor struct {
	Type    PrincipalType `json:"sub_type"`
	Subject string        `json:"sub"`
	Actor   *Actor        `json:"act,omitempty"`
}

// Confirmation is the key that whoever presents a token must prove to hold (RFC 7800 §3.1): by a DPoP proof (RFC 9449 §6)
// or a client certificate (RFC 8705 §3.1).
type Confirmation struct {
	Thumbprint string `json:"jkt,omitempty"`
	CertHash   string `json:"x5t#S256,omitempty"`
}

// CredentialRef names the credential that was used, never its secret.
type CredentialRef struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Presented is everything in a request that could be a credential, as the server found it.
type Presented struct {
	Authorization []string     // each Authorization field of the header
	KeyPairs      []Pair       // apikey and apisecret, one entry for each place that had any of them
	Clients       []Pair       // client_id and client_secret likewise
	Basic         BasicMeaning // what a user name in Authorization: Basic is, on this route
	// Registered is set at OAuth endpoints: a client may only use the authentication method that it registered.
	Registered bool
	Body       []BodyProblem // what was ambiguous already while reading, such as a parameter sent twice

	// ClientID is the client_id of an OAuth request that has no secret with it: it names a client that authenticates
	// otherwise, or does not authenticate.
	ClientID      string
	Assertion     directory.Secret // client_assertion (RFC 7521 §4.2)
	AssertionType string           // client_assertion_type
	// Certificates is the chain that the client presented in its TLS handshake, its own first.
	Certificates []*x509.Certificate
	Proofs       []string // each DPoP field of the header
	Method, URL  string   // of the request, as a DPoP proof names them (RFC 9449 §4.2)
	// Address is where the request came from; empty where nobody may be slowed down for it. It is no part of the question who
	// it is, for only passwords are judged by it, and what rests on one is never remembered.
	Address string
	// Foreign says that the request was made to another server, which asks about it: a proof has the nonce of that one.
	Foreign bool
}

// Pair is an id and a secret; either may be missing.
type Pair struct{ ID, Secret directory.Secret }

// BodyProblem describes why credentials could not be read unambiguously.
type BodyProblem string

// BasicMeaning says who can sign in with Authorization: Basic on a route.
type BasicMeaning int

const (
	BasicEither BasicMeaning = iota // a client when the name is a client's id, else a user; the two never coincide
	BasicClient
	BasicUser
)

// Options of an Authenticator.
type Options struct {
	Tenant directory.Tenant
	Master *directory.MasterKey
	Issuer string // of the tenant's own access tokens, and the audience of tokens that call Mandate itself
	// PasswordChecks run at once at most; ten times as many wait. They are shared by all tenants.
	PasswordChecks *PasswordChecks
	ClockLeeway    time.Duration
	Now            func() time.Time
	Store          datastore.Store // where assertions that were used are noted
	// ClientCAs vouch for the certificates of clients that authenticate by tls_client_auth. Without any nobody can.
	ClientCAs *x509.CertPool
	// Providers keeps the keys of external identity providers, for all tenants.
	Providers *Providers
}

// Authenticator authenticates the credentials of one tenant. It is safe for concurrent use.
type Authenticator struct {
	tenant    directory.Tenant
	master    *directory.MasterKey
	issuer    string
	passwords *PasswordChecks
	leeway    time.Duration
	now       func() time.Time
	store     datastore.Store
	clientCAs *x509.CertPool
	providers *Providers
	proofs    *proofs
	throttle  *throttle
	usage     *Usage
}

// New makes an Authenticator.
func New(o Options) *Authenticator {
	if o.Providers == nil {
		o.Providers = NewProviders(ProviderOptions{Now: o.Now})
	}
	return &Authenticator{tenant: o.Tenant, master: o.Master, issuer: o.Issuer, passwords: o.PasswordChecks, leeway: o.ClockLeeway, now: o.Now,
		store: o.Store, clientCAs: o.ClientCAs, providers: o.Providers, proofs: newProofs(o.Now), throttle: newThrottle(o.Now), usage: NewUsage(o.Tenant)}
}

// credential is one credential of a request, recognised by its shape alone. authenticate proves that it is
// genuine; the standing of what it rests on is checked after it, for all types alike.
type credential interface {
	authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error)
}

// recognisers lists the credential types. Each returns those of its type that a request presents.
func recognisers() []func(Presented) ([]credential, error) {
	return []func(Presented) ([]credential, error){
		recogniseBearerKey,
		recogniseAccessToken,
		recognisePartnerToken,
		recogniseBasic,
		recogniseKeyPair,
		recogniseClient,
		recogniseAssertion,
		recogniseNamedClient,
	}
}

// Authenticate returns the principal of the one credential presented, as of the reading. The error is an *Error, or
// one of the store or the context.
func (a *Authenticator) Authenticate(ctx context.Context, r *memo.Reading, presented Presented) (*Principal, error) {
	principals := memo.Table[*Principal]{Kind: "principal"}
	var memory [1024]byte
	question := presented.appendTo(memo.Part(principals.Ask(memory[:]), a.tenant))
	p, err := principals.Get(r, memo.KeyOf(question), func(r *memo.Reading) (*Principal, error) {
		return a.authenticate(ctx, r, presented)
	})
	if err == nil {
		a.usage.note(p, a.now)
	}
	return p, err
}

func (a *Authenticator) authenticate(ctx context.Context, r *memo.Reading, presented Presented) (*Principal, error) {
	if err := presented.unambiguous(); err != nil {
		return nil, err
	}
	var found []credential
	for _, recognise := range recognisers() {
		credentials, err := recognise(presented)
		if err != nil {
			return nil, err
		}
		found = append(found, credentials...)
	}
	switch len(found) {
	case 0:
		return nil, &Error{Kind: Missing, Detail: "the request has no credential"}
	case 1:
	default:
		return nil, ambiguous()
	}
	principal, err := found[0].authenticate(ctx, a, r)
	if err != nil {
		return nil, err
	}
	if err := a.Standing(ctx, r, principal); err != nil {
		return nil, err
	}
	return principal, principal.complete()
}

// ForMandate refuses a token, of the tenant or of an external provider, that was made for another API when it is used to
// call Mandate itself (RFC 9068 §4), and one with none of the scopes that the route takes (RFC 6750 §3.1). What other
// credentials may ask is the policy's matter.
func (a *Authenticator) ForMandate(p *Principal, scopes ...string) error {
	if p.Credential.Type != accessTokenType && p.Credential.Type != externalTokenType {
		return nil
	}
	if !slices.Contains(p.Audience, a.issuer) {
		return &Error{Kind: Invalid, Detail: "the access token is for another audience: get one whose audience is this server's issuer"}
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(p.Scopes, s) }) {
		return &Error{Kind: InsufficientScope, Scope: scopes[0], Detail: "the access token lacks the scope " + strings.Join(scopes, " or ")}
	}
	return nil
}
