package server

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// crossOrigin lets the scripts of any origin read what a path answers, as apps that run in a browser need. No cookie counts
// there, so a page can do nothing in the name of whoever looks at it. Everything else is for its own origin, above all the
// authorization endpoint (RFC 9700 §2.6).
func (h *handler) crossOrigin(path string, methods ...string) {
	allowed := strings.Join(methods, ", ")
	h.server.app.Use(path, func(c *fiber.Ctx) error {
		if c.Path() != path {
			return c.Next()
		}
		return readable(c, allowed)
	})
}

// crossOriginBelow is crossOrigin for the management API, by which the people of an organization manage it from a product's
// pages, with their access tokens. A page that sends a secret instead learns nothing (see secretInBrowser).
func (h *handler) crossOriginBelow(path string) {
	h.server.app.Use(path, func(c *fiber.Ctx) error { return readable(c, "GET, POST, PUT, PATCH, DELETE") })
}

// readable lets the scripts of any origin read the answer.
func readable(c *fiber.Ctx, methods string) error {
	if c.Get(fiber.HeaderOrigin) == "" {
		return c.Next()
	}
	c.Set(fiber.HeaderAccessControlAllowOrigin, "*")
	c.Set(fiber.HeaderAccessControlExposeHeaders, "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, RateLimit, RateLimit-Policy")
	if c.Method() != http.MethodOptions {
		return c.Next()
	}
	c.Set(fiber.HeaderAccessControlAllowMethods, methods)
	c.Set(fiber.HeaderAccessControlAllowHeaders, "Authorization, Content-Type, Confirm, DPoP, Idempotency-Key, If-Match, If-None-Match, MCP-Protocol-Version")
	c.Set(fiber.HeaderAccessControlMaxAge, "3600")
	return c.SendStatus(http.StatusNoContent)
}
