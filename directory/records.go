package directory

import "time"

// Status is the state of a record. Which values a collection knows is written at its record.
type Status string

const (
	Active    Status = "active"
	Suspended Status = "suspended" // for the time being; organizations, members, vendors, integrations
	Disabled  Status = "disabled"  // users and clients
	Revoked   Status = "revoked"   // API keys, for good
	Pending   Status = "pending"   // a domain before its challenge was met
	Verified  Status = "verified"
)

// Kinds of API keys.
const (
	BearerKey = "bearer" // one secret, sent as a bearer token
	PairKey   = "pair"   // apikey and apisecret
)

// DeveloperRole is the role that the owner of an API key must hold in the key's organization at every use of the key.
const DeveloperRole = "developer"

// Org is an organization, a customer of the tenant. Status: active, suspended.
type Org struct {
	Name     string         `json:"name"`
	Status   Status         `json:"status"`
	Parent   string         `json:"parent,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// Member is a user's membership in an organization. Status: active, suspended.
type Member struct {
	Roles    []string   `json:"roles"`
	Status   Status     `json:"status"`
	JoinedAt *time.Time `json:"joined_at,omitempty"`
}

// Role is a named set of permissions, of the tenant or of one organization.
type Role struct {
	Permissions []string `json:"permissions"`
	Description string   `json:"description,omitempty"`
	// Default says that it is the role of the tenant for new members of whom nothing else is said. It cannot be deleted.
	Default bool `json:"default,omitzero"`
}

// Domain is an internet domain that an organization claims: its own once the challenge was found in the DNS, or by the word of who
// imported it as verified, and without a challenge. Status: pending, verified.
type Domain struct {
	Status     Status           `json:"status"`
	Challenge  *DomainChallenge `json:"challenge,omitempty"`
	VerifiedAt *time.Time       `json:"verified_at,omitempty"`
	// FailingSince is when the challenge of a verified domain was first not found, if it was not found again since.
	FailingSince *time.Time `json:"failing_since,omitempty"`
	// AutoJoin are the roles of whoever signs in with a verified email address in the domain, and is no member yet.
	AutoJoin []string `json:"auto_join,omitempty"`
}

// Connection is an external OpenID Connect provider of an organization. It must name its audiences. Only tokens signed by
// its one algorithm count (RFC 8725 §3.1), and only those with all its claims: a provider that many organizations share tells
// them apart by one. No other connection of the tenant has the same issuer and audience. One with a domain signs in those who have an
// address in it, and no other of the organization does; one without is for all other domains of the organization. Status: active,
// disabled.
type Connection struct {
	Issuer      string            `json:"issuer"`
	Status      Status            `json:"status"`
	Domain      string            `json:"domain,omitempty"`
	ClientID    string            `json:"client_id"`
	Audiences   []string          `json:"audiences"`
	Algorithm   string            `json:"algorithm"`
	Claims      map[string]string `json:"claims,omitempty"`
	RoleClaim   string            `json:"role_claim,omitempty"`
	RoleMapping map[string]string `json:"role_mapping,omitempty"` // provider's group to role
}

// Integration is the relationship in which a vendor may act for an organization. Status: active, suspended.
//
// The partner token of an external integration is one half of a credential, the vendor's token the other. That of a
// delegated one is a whole credential: with it the vendor, by its Client, acts for the user EnabledBy.
type Integration struct {
	ID        string   `json:"id"`
	Kind      string   `json:"kind"` // external, delegated
	Status    Status   `json:"status"`
	Scopes    []string `json:"scopes"`
	EnabledBy string   `json:"enabled_by,omitempty"`
	Client    string   `json:"client,omitempty"`
	// EnabledAt is when the user did, which is the record of what the user has let the vendor do.
	EnabledAt *time.Time `json:"enabled_at,omitempty"`
	// SuspendedBy is the side that has suspended it and can resume it: see the constants below.
	SuspendedBy string `json:"suspended_by,omitempty"`
}

// The sides of an integration, and who stands above both.
const (
	SideOrg    = "org"
	SideVendor = "vendor"
	SideTenant = "tenant"
)

// Kinds of integrations.
const (
	ExternalIntegration  = "external"
	DelegatedIntegration = "delegated"
)

// User is a person. The username is unique in the tenant, and no client's id. Status: active, disabled.
type User struct {
	Username      string `json:"username"`
	Email         string `json:"email,omitempty"`
	EmailVerified bool   `json:"email_verified,omitzero"`
	Status        Status `json:"status"`
}

// Client is an OAuth client. Org is its home organization; Orgs are those it may act in beside it. Without a
// TokenEndpointAuthMethod it may send its secret either way, as client_secret_basic or client_secret_post.
// TokenLifetime is in seconds, 0 for the API's own. Status: active, disabled.
type Client struct {
	Name                    string   `json:"name,omitempty"`
	Kind                    string   `json:"kind"`  // service, web, native, spa
	Party                   string   `json:"party"` // first, third
	Status                  Status   `json:"status"`
	Org                     string   `json:"org,omitempty"`
	Orgs                    []string `json:"orgs,omitempty"`
	GrantTypes              []string `json:"grant_types"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method,omitempty"`
	Scopes                  []string `json:"scopes"`
	Audiences               []string `json:"audiences,omitempty"`
	RedirectURIs            []string `json:"redirect_uris,omitempty"`
	TokenLifetime           int64    `json:"token_lifetime,omitempty"`
	TLSClientAuthSubjectDN  string   `json:"tls_client_auth_subject_dn,omitempty"`
	// JWKS holds the public keys of a client that authenticates with private_key_jwt, or the certificates (x5c) of one that
	// does with self_signed_tls_client_auth (RFC 7517 §5, RFC 8705 §2.2).
	JWKS map[string]any `json:"jwks,omitempty"`
	// IDTokenSignedResponseAlg is RS256 when empty (OpenID Connect Dynamic Client Registration §2).
	IDTokenSignedResponseAlg string `json:"id_token_signed_response_alg,omitempty"`
	DPoPBoundAccessTokens    bool   `json:"dpop_bound_access_tokens,omitzero"`              // RFC 9449 §5.2
	RequirePushedRequests    bool   `json:"require_pushed_authorization_requests,omitzero"` // RFC 9126 §6
	Vendor                   string `json:"vendor,omitempty"`                               // whose integrations the client acts for
	// FederatedCredentials are the workloads that are this client without a secret of its own (RFC 7523 §2.1).
	FederatedCredentials []FederatedCredential `json:"federated_credentials,omitempty"`
}

// FederatedCredential is a trust rule: a JWT of that issuer about that subject for that audience stands for the client,
// when it has all the claims as well. A pair of issuer and subject leads to one client of the tenant.
type FederatedCredential struct {
	Issuer    string            `json:"issuer"`
	Subject   string            `json:"subject"`
	Audience  string            `json:"audience"`
	Algorithm string            `json:"algorithm"`
	Claims    map[string]string `json:"claims,omitempty"`
}

// API is a resource server for which tokens are issued. TokenLifetime is in seconds, 0 for the tenant's default. Its
// tokens are signed with SigningAlg: ES256 when empty, RS256, PS256 or EdDSA.
type API struct {
	Audience      string   `json:"audience"`
	Scopes        []string `json:"scopes"`
	TokenLifetime int64    `json:"token_lifetime,omitempty"`
	SigningAlg    string   `json:"signing_alg,omitempty"`
}

// APIKey is a key of an organization, or of the tenant when Org is empty. Status: active, revoked.
type APIKey struct {
	Org    string   `json:"org,omitempty"`
	Owner  string   `json:"owner,omitempty"`
	Kind   string   `json:"kind"`
	Status Status   `json:"status"`
	Scopes []string `json:"scopes"`
	// Audiences are those that the holder stands for when it presents tokens of others; empty for every one.
	Audiences []string   `json:"audiences,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Prefix is how a key that was made here begins, for people to tell theirs apart.
	Prefix string `json:"prefix,omitempty"`
}

// Vendor is a company whose software integrates for organizations. Status: active, suspended.
type Vendor struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
}

// Consent is what a user let a client do, by organization; the key "" is for what needs none.
type Consent struct {
	Orgs map[string]ConsentGiven `json:"orgs"`
}

// ConsentGiven names the consent by an ID of its own: what rests on one that was taken back does not come alive with the
// next.
type ConsentGiven struct {
	ID      string              `json:"id"`
	Scopes  map[string][]string `json:"scopes"` // by audience: one API's "read" is not another's
	GivenAt time.Time           `json:"given_at,omitzero"`
}

// Relation is a relationship tuple; its path says all there is to say.
type Relation struct{}
