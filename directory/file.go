package directory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
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
	Permissions []string `yaml:"permissions"`
}

type APIEntry struct {
	ID            string        `yaml:"id"`
	Audience      string        `yaml:"audience"`
	Scopes        []string      `yaml:"scopes,omitempty"`
	TokenLifetime time.Duration `yaml:"token_lifetime,omitempty"`
	SigningAlg    string        `yaml:"signing_alg,omitempty"`
}

type OrgEntry struct {
	ID          string               `yaml:"id"`
	Name        string               `yaml:"name,omitempty"`
	Status      Status               `yaml:"status,omitempty"`
	Parent      string               `yaml:"parent,omitempty"`
	Metadata    map[string]any       `yaml:"metadata,omitempty"`
	Domains     []DomainEntry        `yaml:"domains,omitempty"`
	Roles       map[string]RoleEntry `yaml:"roles,omitempty"`
	Members     []MemberEntry        `yaml:"members,omitempty"`
	Connections []ConnectionEntry    `yaml:"connections,omitempty"`
}

// DomainEntry is written as the bare domain when it is verified, else as {domain, status}.
type DomainEntry struct {
	Domain string
	Status Status
}

type MemberEntry struct {
	User     string     `yaml:"user"`
	Roles    []string   `yaml:"roles"`
	Status   Status     `yaml:"status,omitempty"`
	JoinedAt *time.Time `yaml:"joined_at,omitempty"`
}

// ConnectionEntry has no hash of the client secret: Mandate itself presents that one, so an export leaves it out.
type ConnectionEntry struct {
	ID           string            `yaml:"id"`
	Issuer       string            `yaml:"issuer"`
	Status       Status            `yaml:"status,omitempty"`
	ClientID     string            `yaml:"client_id"`
	ClientSecret Secret            `yaml:"client_secret,omitempty"`
	Audiences    []string          `yaml:"audiences"`
	Algorithm    string            `yaml:"algorithm,omitempty"`
	Claims       map[string]string `yaml:"claims,omitempty"`
	RoleClaim    string            `yaml:"role_claim,omitempty"`
	RoleMapping  map[string]string `yaml:"role_mapping,omitempty"`
}

type UserEntry struct {
	ID           string `yaml:"id"`
	Username     string `yaml:"username,omitempty"` // the id, when left out
	Email        string `yaml:"email,omitempty"`
	Status       Status `yaml:"status,omitempty"`
	Password     Secret `yaml:"password,omitempty"`
	PasswordHash string `yaml:"password_hash,omitempty"`
}

// ClientEntry gives its live secrets as secret, as secrets (the new one and the old one, while it is being replaced), or
// by their hashes.
type ClientEntry struct {
	ID                       string                     `yaml:"id"`
	Name                     string                     `yaml:"name,omitempty"`
	Secret                   Secret                     `yaml:"secret,omitempty"`
	Secrets                  []Secret                   `yaml:"secrets,omitempty"`
	SecretHashes             []Hash                     `yaml:"secret_hashes,omitempty"`
	Kind                     string                     `yaml:"kind,omitempty"`
	Party                    string                     `yaml:"party,omitempty"`
	Status                   Status                     `yaml:"status,omitempty"`
	Org                      string                     `yaml:"org,omitempty"`
	Orgs                     []string                   `yaml:"orgs,omitempty"`
	Vendor                   string                     `yaml:"vendor,omitempty"`
	GrantTypes               []string                   `yaml:"grant_types,omitempty"`
	TokenEndpointAuthMethod  string                     `yaml:"token_endpoint_auth_method,omitempty"`
	Scopes                   []string                   `yaml:"scopes,omitempty"`
	Audiences                []string                   `yaml:"audiences,omitempty"`
	RedirectURIs             []string                   `yaml:"redirect_uris,omitempty"`
	TokenLifetime            time.Duration              `yaml:"token_lifetime,omitempty"`
	IDTokenSignedResponseAlg string                     `yaml:"id_token_signed_response_alg,omitempty"`
	DPoPBoundAccessTokens    bool                       `yaml:"dpop_bound_access_tokens,omitempty"`
	RequirePushedRequests    bool                       `yaml:"require_pushed_authorization_requests,omitempty"`
	TLSClientAuthSubjectDN   string                     `yaml:"tls_client_auth_subject_dn,omitempty"`
	JWKS                     map[string]any             `yaml:"jwks,omitempty"`
	FederatedCredentials     []FederatedCredentialEntry `yaml:"federated_credentials,omitempty"`
}

// FederatedCredentialEntry is a trust rule; its algorithm is RS256 when left out.
type FederatedCredentialEntry struct {
	Issuer    string            `yaml:"issuer"`
	Subject   string            `yaml:"subject"`
	Audience  string            `yaml:"audience"`
	Algorithm string            `yaml:"algorithm,omitempty"`
	Claims    map[string]string `yaml:"claims,omitempty"`
}

type APIKeyEntry struct {
	ID         string     `yaml:"id"`
	Org        string     `yaml:"org,omitempty"`
	Owner      string     `yaml:"owner,omitempty"`
	Kind       string     `yaml:"kind,omitempty"`
	Status     Status     `yaml:"status,omitempty"`
	Scopes     []string   `yaml:"scopes,omitempty"`
	Audiences  []string   `yaml:"audiences,omitempty"`
	ExpiresAt  *time.Time `yaml:"expires_at,omitempty"`
	Key        Secret     `yaml:"key,omitempty"`
	Secret     Secret     `yaml:"secret,omitempty"`
	KeyHash    Hash       `yaml:"key_hash,omitempty"`
	SecretHash Hash       `yaml:"secret_hash,omitempty"`
}

type VendorEntry struct {
	ID        string `yaml:"id"`
	Name      string `yaml:"name,omitempty"`
	Status    Status `yaml:"status,omitempty"`
	Token     Secret `yaml:"token,omitempty"`
	TokenHash Hash   `yaml:"token_hash,omitempty"`
}

type IntegrationEntry struct {
	ID               string   `yaml:"id"`
	Vendor           string   `yaml:"vendor"`
	Org              string   `yaml:"org"`
	Kind             string   `yaml:"kind,omitempty"`
	Status           Status   `yaml:"status,omitempty"`
	Scopes           []string `yaml:"scopes,omitempty"`
	EnabledBy        string   `yaml:"enabled_by,omitempty"`
	Client           string   `yaml:"client,omitempty"`
	PartnerToken     Secret   `yaml:"partner_token,omitempty"`
	PartnerTokenHash Hash     `yaml:"partner_token_hash,omitempty"`
}

type ConsentEntry struct {
	User     string   `yaml:"user"`
	Client   string   `yaml:"client"`
	Audience string   `yaml:"audience"` // of the API, or the issuer
	Scopes   []string `yaml:"scopes"`
	Org      string   `yaml:"org,omitempty"`
}

// RelationEntry is a tuple; resource and subject are written type:id.
type RelationEntry struct {
	Resource string `yaml:"resource"`
	Relation string `yaml:"relation"`
	Subject  string `yaml:"subject"`
}

func (d *DomainEntry) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		d.Domain, d.Status = node.Value, Verified
		return nil
	}
	var full struct {
		Domain string `yaml:"domain"`
		Status Status `yaml:"status"`
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; key.Value != "domain" && key.Value != "status" {
			return fmt.Errorf("line %d: field %s not found in a domain", key.Line, key.Value)
		}
	}
	if err := node.Decode(&full); err != nil {
		return err
	}
	d.Domain, d.Status = full.Domain, full.Status
	return nil
}

func (d DomainEntry) MarshalYAML() (any, error) {
	if d.Status == Verified {
		return d.Domain, nil
	}
	return map[string]string{"domain": d.Domain, "status": string(d.Status)}, nil
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
