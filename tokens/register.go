package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mandate/directory"
)

// Registration is the metadata of a client that registers itself (RFC 7591 §2): those that mean something here, the others
// are left out of the answer.
type Registration struct {
	RedirectURIs            []string       `json:"redirect_uris,omitempty"`
	TokenEndpointAuthMethod string         `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes              []string       `json:"grant_types,omitempty"`
	ResponseTypes           []string       `json:"response_types,omitempty"`
	ClientName              string         `json:"client_name,omitempty"`
	Scope                   string         `json:"scope,omitempty"`
	ApplicationType         string         `json:"application_type,omitempty"`
	JWKS                    map[string]any `json:"jwks,omitempty"`
	JWKSURI                 string         `json:"jwks_uri,omitempty"`
	IDTokenSignedAlg        string         `json:"id_token_signed_response_alg,omitempty"`
	TLSClientAuthSubjectDN  string         `json:"tls_client_auth_subject_dn,omitempty"`
	DPoPBoundAccessTokens   bool           `json:"dpop_bound_access_tokens,omitempty"`
	RequirePushedRequests   bool           `json:"require_pushed_authorization_requests,omitempty"`
}

// Registered is the answer to a registration (RFC 7591 §3.2.1). The secret is shown this once.
type Registered struct {
	ClientID      string `json:"client_id"`
	IssuedAt      int64  `json:"client_id_issued_at"`
	Secret        string `json:"client_secret,omitempty"`
	SecretExpires *int64 `json:"client_secret_expires_at,omitempty"`
	Registration
}

// RegistrationLimit is what the policy lets clients that register have: the most, whatever they ask for.
type RegistrationLimit struct {
	Scopes    []string `json:"scopes"`
	Audiences []string `json:"audiences"`
}

// Register makes a client of somebody else's software (RFC 7591): it is of the third party, so users are asked for their
// consent. It goes through the same checks as a directory file. Refusals are *Error.
func (i *Issuer) Register(ctx context.Context, m Registration, limit RegistrationLimit) (*Registered, error) {
	if m.JWKSURI != "" {
		return nil, &Error{Code: "invalid_client_metadata", Description: "jwks_uri is not supported: send the keys themselves as jwks"}
	}
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = "client_secret_basic" // RFC 7591 §2
	}
	if m.GrantTypes == nil {
		m.GrantTypes = []string{"authorization_code"}
	}
	for _, name := range m.GrantTypes {
		if !slices.Contains([]string{"authorization_code", "refresh_token", deviceGrantType}, name) {
			return nil, &Error{Code: "invalid_client_metadata", Description: "clients that register themselves act for users: grant_types can have authorization_code, refresh_token and " + deviceGrantType}
		}
	}
	if slices.ContainsFunc(m.ResponseTypes, func(t string) bool { return t != "code" }) {
		return nil, &Error{Code: "invalid_client_metadata", Description: "response_types can have code only"}
	}
	if slices.Contains(m.GrantTypes, "authorization_code") {
		m.ResponseTypes = []string{"code"}
	}
	scopes, err := parseScope(m.Scope)
	if err != nil {
		return nil, &Error{Code: "invalid_client_metadata", Description: "scope must be a list of scopes with single spaces between them"}
	}
	if scopes == nil {
		scopes = limit.Scopes
	}
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(limit.Scopes, s) })
	m.Scope = strings.Join(scopes, " ")
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	kind := "web"
	switch {
	case m.TokenEndpointAuthMethod == "none":
		kind = "native"
	case m.ApplicationType == "native":
		kind = "native"
	}
	var made []directory.Made
	importer := directory.Importer{Store: i.store, Master: i.o.Master, Progress: func(_, _ int, secrets []directory.Made) { made = append(made, secrets...) }}
	_, err = importer.Import(ctx, i.o.Tenant, &directory.File{Clients: []directory.ClientEntry{{
		ID: id, Name: m.ClientName, Kind: kind, Party: "third", GrantTypes: m.GrantTypes, TokenEndpointAuthMethod: m.TokenEndpointAuthMethod,
		Scopes: scopes, Audiences: limit.Audiences, RedirectURIs: m.RedirectURIs, JWKS: m.JWKS, TLSClientAuthSubjectDN: m.TLSClientAuthSubjectDN,
		IDTokenSignedResponseAlg: m.IDTokenSignedAlg, DPoPBoundAccessTokens: m.DPoPBoundAccessTokens, RequirePushedRequests: m.RequirePushedRequests,
	}}})
	var problems directory.Problems
	if errors.As(err, &problems) {
		return nil, registrationProblem(problems[0])
	}
	if err != nil {
		return nil, fmt.Errorf("register a client: %w", err)
	}
	answer := &Registered{ClientID: id, IssuedAt: i.o.Now().Unix(), Registration: m}
	for _, secret := range made {
		answer.Secret, answer.SecretExpires = secret.Secret.Expose(), new(int64) // 0: it does not expire
	}
	return answer, nil
}

func registrationProblem(p directory.Problem) *Error {
	field := strings.TrimPrefix(p.Field, "clients[0].")
	refusal := &Error{Code: "invalid_client_metadata", Description: field + " " + p.Message}
	if strings.HasPrefix(field, "redirect_uris") {
		refusal.Code = "invalid_redirect_uri"
	}
	return refusal
}
