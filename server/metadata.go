package server

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"

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
	}
	claims := jwt.MapClaims{"iss": h.tenant.Issuer}
	for name, value := range metadata {
		claims[name] = value
	}
	signed, err := h.tenant.Tokens.Sign("JWT", claims)
	if err != nil {
		return err
	}
	metadata["signed_metadata"] = signed
	return writeMetadata(c, metadata)
}

// oauthMetadata describes the authorization server (RFC 8414 §2): exactly what works.
func (h *handler) oauthMetadata(c *fiber.Ctx) error {
	return writeMetadata(c, map[string]any{
		"issuer":                                h.tenant.Issuer,
		"token_endpoint":                        h.tenant.Issuer + "/oauth2/token",
		"jwks_uri":                              h.tenant.Issuer + "/.well-known/jwks.json",
		"grant_types_supported":                 tokens.GrantTypes(),
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		// Required (RFC 8414 §2), and there is no authorization endpoint yet to which another could be sent.
		"response_types_supported": []string{"none"},
	})
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
