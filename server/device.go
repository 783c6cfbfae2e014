package server

import (
	"cmp"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"mandate/tokens"
)

// deviceAuthorization is the device authorization endpoint (RFC 8628 §3.1).
func (h *handler) deviceAuthorization(c *fiber.Ctx) error {
	p, err := readForm(c)
	if err != nil {
		return err
	}
	return h.oauth(c, p, true, false, func(call *oauthCall) error {
		begun, err := h.tenant.Tokens.AuthorizeDevice(h.server.base, call.reading, call.client, tokens.Request{
			Scope: p.get("scope"), Audience: p.get("audience"), Resources: p.resources, Org: cmp.Or(p.get("org"), p.get("organization")),
		})
		if err != nil {
			return err
		}
		return writeOAuth(c, http.StatusOK, begun)
	})
}
