package server

import (
	"slices"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
)

// userinfo says who the user of an access token is, as far as its scopes go (OpenID Connect Core §5.3).
func (h *handler) userinfo(c *fiber.Ctx) error {
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	p, err := h.authenticate(r, policies, h.presented(c, refuseQuery))
	if err != nil {
		return err
	}
	if err := h.admit(c, p); err != nil {
		return err
	}
	// Whatever API the token is for: openid is a scope of the issuer itself, which no API can offer.
	if p.ClientID == "" || p.Type != authn.User || !slices.Contains(p.Scopes, "openid") {
		return refusedAs(&authn.Error{Kind: authn.InsufficientScope, Scope: "openid", Detail: "send an access token of a user with the scope openid"}, p.Credential)
	}
	claims := map[string]any{"sub": p.Subject}
	if p.Org != "" {
		claims["org"] = p.Org
	}
	user, known, err := h.tenant.ID.User(p.Subject).Find(h.server.base, r)
	if err != nil {
		return err
	}
	if known && slices.Contains(p.Scopes, "profile") {
		claims["preferred_username"] = user.Username
	}
	if known && user.Email != "" && slices.Contains(p.Scopes, "email") {
		claims["email"] = user.Email
	}
	return writeJSON(c, claims)
}
