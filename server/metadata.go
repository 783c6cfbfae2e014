package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
	"mandate/tokens"
)

// metadataAge is how long others may keep discovery documents.
const metadataAge = "public, max-age=300"

// authzenMetadata describes the policy decision point (AuthZEN §9), signed as well (§9.1.3).
func (h *handler) authzenMetadata(c *fiber.Ctx) error {
	metadata := map[string]any{
		"policy_decision_point":       h.tenant.Issuer,
		"access_evaluation_endpoint":  h.tenant.Issuer + "/access/v1/evaluation",
		"access_evaluations_endpoint": h.tenant.Issuer + "/access/v1/evaluations",
		"search_subject_endpoint":     h.tenant.Issuer + "/access/v1/search/subject",
		"search_resource_endpoint":    h.tenant.Issuer + "/access/v1/search/resource",
		"search_action_endpoint":      h.tenant.Issuer + "/access/v1/search/action",
	}
	claims := jwt.MapClaims{"iss": h.tenant.Issuer}
	maps.Copy(claims, metadata)
	r := h.server.memo.Begin()
	defer r.End()
	signed, err := h.tenant.Tokens.Sign(h.server.base, r, "", "JWT", claims)
	if err != nil {
		return err
	}
	metadata["signed_metadata"] = signed
	return writeMetadata(c, metadata)
}

// oauthMetadata describes the authorization server (RFC 8414 §2): exactly what works.
func (h *handler) oauthMetadata(c *fiber.Ctx) error { return writeMetadata(c, h.authorizationServer()) }

// openIDMetadata says the same, and what OpenID Connect Discovery §3 asks for.
func (h *handler) openIDMetadata(c *fiber.Ctx) error {
	metadata := h.authorizationServer()
	maps.Copy(metadata, map[string]any{
		"userinfo_endpoint":                     h.tenant.Issuer + "/userinfo",
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": directory.SigningAlgorithms(),
		"claims_supported":                      []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "amr", "nonce", "azp", "org", "preferred_username", "email"},
		"request_parameter_supported":           false,
		"request_uri_parameter_supported":       false,
		"claims_parameter_supported":            false,
	})
	return writeMetadata(c, metadata)
}

func (h *handler) authorizationServer() map[string]any {
	at := func(path string) string { return h.tenant.Issuer + path }
	methods := []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}
	metadata := map[string]any{
		"issuer":                                         h.tenant.Issuer,
		"authorization_endpoint":                         at("/authorize"),
		"token_endpoint":                                 at("/oauth2/token"),
		"jwks_uri":                                       at("/.well-known/jwks.json"),
		"pushed_authorization_request_endpoint":          at("/oauth2/par"),
		"device_authorization_endpoint":                  at("/oauth2/device_authorization"),
		"introspection_endpoint":                         at("/oauth2/introspect"),
		"revocation_endpoint":                            at("/oauth2/revoke"),
		"registration_endpoint":                          at("/oauth2/register"),
		"grant_types_supported":                          tokens.GrantTypes(),
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"scopes_supported":                               []string{"openid", "profile", "email", "offline_access"},
		"prompt_values_supported":                        []string{"none", "login", "consent", "select_account"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"dpop_signing_alg_values_supported":              directory.AcceptedAlgorithms(),
		"protected_resources":                            []string{h.tenant.Issuer},
	}
	if h.tenant.ClientCertificates {
		methods = append(methods, "tls_client_auth", "self_signed_tls_client_auth")
		metadata["tls_client_certificate_bound_access_tokens"] = true
	}
	for _, endpoint := range []string{"token", "revocation", "introspection"} {
		metadata[endpoint+"_endpoint_auth_methods_supported"] = methods
		metadata[endpoint+"_endpoint_auth_signing_alg_values_supported"] = directory.AcceptedAlgorithms()
	}
	metadata["introspection_endpoint_auth_methods_supported"] = slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == "none" })
	return metadata
}

// resourceMetadata describes Mandate itself as a resource that its access tokens open (RFC 9728 §2).
func (h *handler) resourceMetadata(c *fiber.Ctx) error {
	return writeMetadata(c, map[string]any{
		"resource":                          h.tenant.Issuer,
		"authorization_servers":             []string{h.tenant.Issuer},
		"jwks_uri":                          h.tenant.Issuer + "/.well-known/jwks.json",
		"scopes_supported":                  []string{"decide", "manage", "register"},
		"bearer_methods_supported":          []string{"header"},
		"dpop_signing_alg_values_supported": directory.AcceptedAlgorithms(),
	})
}

// resourceMetadataURL is where that document is: between the host and the path of the resource (RFC 9728 §3.1).
func (h *handler) resourceMetadataURL() string {
	return h.origin + "/.well-known/oauth-protected-resource" + strings.TrimPrefix(h.tenant.Issuer, h.origin)
}

// jwks is the tenant's public keys (RFC 7517).
func (h *handler) jwks(c *fiber.Ctx) error {
	r := h.server.memo.Begin()
	defer r.End()
	set, err := h.tenant.Tokens.KeySet(h.server.base, r)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, metadataAge)
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(set)
	return nil
}

func writeMetadata(c *fiber.Ctx, metadata map[string]any) error {
	text, err := json.Marshal(metadata, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	c.Set(fiber.HeaderCacheControl, metadataAge)
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(text)
	return nil
}
