package directory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes bounds a directory file.
const MaxFileBytes = 256 << 20

// File is a directory file: what import reads and export writes. Status fields left out mean active.
type File struct {
	Tenant       string               `yaml:"tenant,omitempty"`
	Roles        map[string]RoleEntry `yaml:"roles,omitempty"`
	APIs         []APIEntry           `yaml:"apis,omitempty"`
	Orgs         []OrgEntry           `yaml:"orgs,omitempty"`
	Users        []UserEntry          `yaml:"users,omitempty"`
	Clients      []ClientEntry        `yaml:"clients,omitempty"`
	APIKeys      []APIKeyEntry        `yaml:"api_keys,omitempty"`
	Vendors      []VendorEntry        `yaml:"vendors,omitempty"`
	Integrations []IntegrationEntry   `yaml:"integrations,omitempty"`
	Consents     []ConsentEntry       `yaml:"consents,omitempty"`
	Relations    []RelationEntry      `yaml:"relations,omitempty"`
	// Custom holds documents by their path below custom: "maintenance", or "blocked/10.0.0.1" in a set of many.
	Custom map[string]any `yaml:"custom,omitempty"`

	node *yaml.Node // for the lines of problems; nil when the file was not parsed
}

type RoleEntry struct {
	Permissions []string `yaml:"permissions" json:"permissions"`
	Description string   `yaml:"description,omitempty" json:"description,omitempty"`
	Default     bool     `yaml:"default,omitempty" json:"default,omitzero"`
}

type APIEntry struct {
	ID            string        `yaml:"id" json:"id"`
	Audience      string        `yaml:"audience" json:"audience"`
	Scopes        []string      `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	TokenLifetime time.Duration `yaml:"token_lifetime,omitempty" json:"token_lifetime,omitzero"`
	SigningAlg    string        `yaml:"signing_alg,omitempty" json:"signing_alg,omitempty"`
}

type OrgEntry struct {
	ID          string               `yaml:"id" json:"id"`
	Name        string               `yaml:"name,omitempty" json:"name,omitempty"`
	Status      Status               `yaml:"status,omitempty" json:"status,omitempty"`
	Parent      string               `yaml:"parent,omitempty" json:"parent,omitempty"`
	Metadata    map[string]any       `yaml:"metadata,omitempty" json:"metadata,omitempty"`
	Domains     []DomainEntry        `yaml:"domains,omitempty" json:"domains,omitempty"`
	Roles       map[string]RoleEntry `yaml:"roles,omitempty" json:"roles,omitempty"`
	Members     []MemberEntry        `yaml:"members,omitempty" json:"members,omitempty"`
	Connections []ConnectionEntry    `yaml:"connections,omitempty" json:"connections,omitempty"`

	// Within says that the entry is only about what the organization has, which must exist, and not about itself.
	Within bool `yaml:"-" json:"-"`
}

// DomainEntry is written as the bare domain when it is verified and there is no more to say. Challenge is the value of the TXT record.
type DomainEntry struct {
	Domain       string     `yaml:"domain" json:"domain"`
	Status       Status     `yaml:"status,omitempty" json:"status"`
	Challenge    string     `yaml:"challenge,omitempty" json:"challenge,omitempty"`
	VerifiedAt   *time.Time `yaml:"verified_at,omitempty" json:"verified_at,omitzero"`
	FailingSince *time.Time `yaml:"failing_since,omitempty" json:"failing_since,omitzero"`
	AutoJoin     []string   `yaml:"auto_join,omitempty" json:"auto_join,omitempty"`
}

type MemberEntry struct {
	User     string     `yaml:"user" json:"user"`
	Roles    []string   `yaml:"roles" json:"roles"`
	Status   Status     `yaml:"status,omitempty" json:"status,omitempty"`
	JoinedAt *time.Time `yaml:"joined_at,omitempty" json:"joined_at,omitzero"`
}

// ConnectionEntry has no hash of the client secret: Mandate itself presents that one, so an export leaves it out.
type ConnectionEntry struct {
	ID           string            `yaml:"id" json:"id"`
	Issuer       string            `yaml:"issuer" json:"issuer"`
	Status       Status            `yaml:"status,omitempty" json:"status,omitempty"`
	Domain       string            `yaml:"domain,omitempty" json:"domain,omitempty"`
	ClientID     string            `yaml:"client_id" json:"client_id"`
	ClientSecret Secret            `yaml:"client_secret,omitempty" json:"client_secret,omitzero"`
	Audiences    []string          `yaml:"audiences" json:"audiences"`
	Algorithm    string            `yaml:"algorithm,omitempty" json:"algorithm,omitempty"`
	Claims       map[string]string `yaml:"claims,omitempty" json:"claims,omitempty"`
	RoleClaim    string            `yaml:"role_claim,omitempty" json:"role_claim,omitempty"`
	RoleMapping  map[string]string `yaml:"role_mapping,omitempty" json:"role_mapping,omitempty"`
}

type UserEntry struct {
	ID            string `yaml:"id" json:"id"`
	Username      string `yaml:"username,omitempty" json:"username,omitempty"` // the id, when left out
	Email         string `yaml:"email,omitempty" json:"email,omitempty"`
	EmailVerified bool   `yaml:"email_verified,omitempty" json:"email_verified,omitzero"`
	Status        Status `yaml:"status,omitempty" json:"status,omitempty"`
	Password      Secret `yaml:"password,omitempty" json:"password,omitzero"`
	PasswordHash  string `yaml:"password_hash,omitempty" json:"password_hash,omitempty"`
}

// ClientEntry gives its live secrets as secret, as secrets (the new one and the old one, while it is being replaced), or
// by their hashes.
type ClientEntry struct {
	ID                       string                     `yaml:"id" json:"id"`
	Name                     string                     `yaml:"name,omitempty" json:"name,omitempty"`
	Secret                   Secret                     `yaml:"secret,omitempty" json:"secret,omitzero"`
	Secrets                  []Secret                   `yaml:"secrets,omitempty" json:"secrets,omitempty"`
	SecretHashes             []Hash                     `yaml:"secret_hashes,omitempty" json:"secret_hashes,omitempty"`
	Kind                     string                     `yaml:"kind,omitempty" json:"kind,omitempty"`
	Party                    string                     `yaml:"party,omitempty" json:"party,omitempty"`
	Status                   Status                     `yaml:"status,omitempty" json:"status,omitempty"`
	Org                      string                     `yaml:"org,omitempty" json:"org,omitempty"`
	Orgs                     []string                   `yaml:"orgs,omitempty" json:"orgs,omitempty"`
	Vendor                   string                     `yaml:"vendor,omitempty" json:"vendor,omitempty"`
	GrantTypes               []string                   `yaml:"grant_types,omitempty" json:"grant_types,omitempty"`
	TokenEndpointAuthMethod  string                     `yaml:"token_endpoint_auth_method,omitempty" json:"token_endpoint_auth_method,omitempty"`
	Scopes                   []string                   `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	Audiences                []string                   `yaml:"audiences,omitempty" json:"audiences,omitempty"`
	RedirectURIs             []string                   `yaml:"redirect_uris,omitempty" json:"redirect_uris,omitempty"`
	TokenLifetime            time.Duration              `yaml:"token_lifetime,omitempty" json:"token_lifetime,omitzero"`
	IDTokenSignedResponseAlg string                     `yaml:"id_token_signed_response_alg,omitempty" json:"id_token_signed_response_alg,omitempty"`
	DPoPBoundAccessTokens    bool                       `yaml:"dpop_bound_access_tokens,omitempty" json:"dpop_bound_access_tokens,omitzero"`
	RequirePushedRequests    bool                       `yaml:"require_pushed_authorization_requests,omitempty" json:"require_pushed_authorization_requests,omitzero"`
	TLSClientAuthSubjectDN   string                     `yaml:"tls_client_auth_subject_dn,omitempty" json:"tls_client_auth_subject_dn,omitempty"`
	JWKS                     map[string]any             `yaml:"jwks,omitempty" json:"jwks,omitempty"`
	FederatedCredentials     []FederatedCredentialEntry `yaml:"federated_credentials,omitempty" json:"federated_credentials,omitempty"`
}

// FederatedCredentialEntry is a trust rule; its algorithm is RS256 when left out.
type FederatedCredentialEntry struct {
	Issuer    string            `yaml:"issuer" json:"issuer"`
	Subject   string            `yaml:"subject" json:"subject"`
	Audience  string            `yaml:"audience" json:"audience"`
	Algorithm string            `yaml:"algorithm,omitempty" json:"algorithm,omitempty"`
	Claims    map[string]string `yaml:"claims,omitempty" json:"claims,omitempty"`
}

type APIKeyEntry struct {
	ID         string     `yaml:"id" json:"id"`
	Org        string     `yaml:"org,omitempty" json:"org,omitempty"`
	Owner      string     `yaml:"owner,omitempty" json:"owner,omitempty"`
	Kind       string     `yaml:"kind,omitempty" json:"kind,omitempty"`
	Status     Status     `yaml:"status,omitempty" json:"status,omitempty"`
	Scopes     []string   `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	Audiences  []string   `yaml:"audiences,omitempty" json:"audiences,omitempty"`
	ExpiresAt  *time.Time `yaml:"expires_at,omitempty" json:"expires_at,omitzero"`
	Key        Secret     `yaml:"key,omitempty" json:"key,omitzero"`
	Secret     Secret     `yaml:"secret,omitempty" json:"secret,omitzero"`
	KeyHash    Hash       `yaml:"key_hash,omitempty" json:"key_hash,omitempty"`
	SecretHash Hash       `yaml:"secret_hash,omitempty" json:"secret_hash,omitempty"`
}

type VendorEntry struct {
	ID        string `yaml:"id" json:"id"`
	Name      string `yaml:"name,omitempty" json:"name,omitempty"`
	Status    Status `yaml:"status,omitempty" json:"status,omitempty"`
	Token     Secret `yaml:"token,omitempty" json:"token,omitzero"`
	TokenHash Hash   `yaml:"token_hash,omitempty" json:"token_hash,omitempty"`
}

type IntegrationEntry struct {
	ID               string     `yaml:"id" json:"id"`
	Vendor           string     `yaml:"vendor" json:"vendor"`
	Org              string     `yaml:"org" json:"org"`
	Kind             string     `yaml:"kind,omitempty" json:"kind,omitempty"`
	Status           Status     `yaml:"status,omitempty" json:"status,omitempty"`
	Scopes           []string   `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	EnabledBy        string     `yaml:"enabled_by,omitempty" json:"enabled_by,omitempty"`
	Client           string     `yaml:"client,omitempty" json:"client,omitempty"`
	EnabledAt        *time.Time `yaml:"enabled_at,omitempty" json:"enabled_at,omitempty"`
	SuspendedBy      string     `yaml:"suspended_by,omitempty" json:"suspended_by,omitempty"`
	PartnerToken     Secret     `yaml:"partner_token,omitempty" json:"partner_token,omitzero"`
	PartnerTokenHash Hash       `yaml:"partner_token_hash,omitempty" json:"partner_token_hash,omitempty"`
}

type ConsentEntry struct {
	User     string   `yaml:"user" json:"user"`
	Client   string   `yaml:"client" json:"client"`
	Audience string   `yaml:"audience" json:"audience"` // of the API, or the issuer
	Scopes   []string `yaml:"scopes" json:"scopes"`
	Org      string   `yaml:"org,omitempty" json:"org,omitempty"`
}

// RelationEntry is a tuple; resource and subject are written type:id.
type RelationEntry struct {
	Resource string `yaml:"resource" json:"resource"`
	Relation string `yaml:"relation" json:"relation"`
	Subject  string `yaml:"subject" json:"subject"`
}

func (d *DomainEntry) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		d.Domain, d.Status = node.Value, Verified
		return nil
	}
	known := []string{"domain", "status", "challenge", "verified_at", "failing_since", "auto_join"}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; !slices.Contains(known, key.Value) {
			return fmt.Errorf("line %d: field %s not found in a domain", key.Line, key.Value)
		}
	}
	type plain DomainEntry
	return node.Decode((*plain)(d))
}

func (d DomainEntry) MarshalYAML() (any, error) {
	if d.Status == Verified && d.Challenge == "" && d.VerifiedAt == nil && len(d.AutoJoin) == 0 {
		return d.Domain, nil
	}
	type plain DomainEntry
	return plain(d), nil
}

// Problem is one thing that is wrong with a directory file.
type Problem struct {
	Line    int    // 0 when it is not known
	Field   string // "orgs[0].members[2].user"
	Message string
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	return b.String() + p.Message
}

// Problems is the error for a directory file: all that is wrong with it, a line each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// ParseFile reads a directory file. Unknown keys, keys given twice and values of the wrong type are errors, returned
// as Problems with their lines.
func ParseFile(r io.Reader) (*File, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the directory file: %w", err)
	}
	if len(text) > MaxFileBytes {
		return nil, fmt.Errorf("the directory file is larger than %d MiB: split it", MaxFileBytes>>20)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, yamlProblems(err)
	}
	file := File{node: &node}
	if err := DecodeYAML(text, &file); err != nil {
		return nil, err
	}
	return &file, nil
}

// DecodeYAML reads one YAML document into a struct. Unknown keys, keys given twice and values of the wrong type
// are returned as Problems with their lines, which never repeat a value.
func DecodeYAML(text []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return yamlProblems(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Problems{{Message: "there is a second document in the file"}}
	}
	return nil
}

// yamlProblems takes the lines out of the YAML library's errors, which carry them in their texts only.
func yamlProblems(err error) Problems {
	messages := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		messages = typed.Errors
	}
	lined := regexp.MustCompile(`(?s)^line (\d+): (?:cannot unmarshal (\S+)(?: .*)? into (\S+)|field (\S+) not found in .*|(.*))$`)
	var problems Problems
	for _, message := range messages {
		problem := Problem{Message: message}
		if m := lined.FindStringSubmatch(message); m != nil {
			problem.Line, _ = strconv.Atoi(m[1])
			switch {
			case m[2] != "":
				// The value itself may be a secret: it is not repeated.
				problem.Message = fmt.Sprintf("%s cannot be used as %s here", strings.TrimPrefix(m[2], "!!"), plainType(m[3]))
			case m[4] != "":
				problem.Message = fmt.Sprintf("unknown key %q", m[4])
			default:
				problem.Message = m[5]
			}
		}
		problems = append(problems, problem)
	}
	return problems
}

func plainType(goType string) string {
	switch {
	case goType == "time.Duration":
		return "a duration such as 10m"
	case goType == "time.Time":
		return "a time such as 2030-01-31T12:00:00Z"
	case goType == "bool":
		return "true or false"
	case goType == "string", strings.HasPrefix(goType, "directory.") && !strings.HasSuffix(goType, "Entry"):
		return "text"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	}
	return "a mapping"
}

// line finds the line of a field such as "orgs[0].members[2].user", or of the nearest thing around it.
func (f *File) line(field string) int {
	if f.node == nil || len(f.node.Content) == 0 {
		return 0
	}
	node := f.node.Content[0]
	for _, part := range strings.FieldsFunc(field, func(c rune) bool { return c == '.' || c == '[' || c == ']' }) {
		next := child(node, part)
		if next == nil {
			break
		}
		node = next
	}
	return node.Line
}

func child(node *yaml.Node, part string) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i < len(node.Content) {
			return node.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

// Write writes the file as YAML.
func (f *File) Write(w io.Writer) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(f); err != nil {
		return fmt.Errorf("write the directory file: %w", err)
	}
	return encoder.Close()
}
