package server

import (
	"cmp"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/tokens"
)

// exchangeCredential turns a user's password or an API key into a token that stands for it, so that neither reaches the code
// of a client. No body is needed; audience, scope and org in one, as a form or JSON, ask for less.
func (h *handler) exchangeCredential(c *fiber.Ctx) error {
	var p parameters
	if len(c.Request().Body()) > 0 {
		var err error
		if p, _, err = readFormOrJSON(c); err != nil {
			return err
		}
	}
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	credentials := h.presented(c, refuseQuery)
	credentials.Basic = authn.BasicUser
	holder, err := h.prove(r, credentials)
	if err != nil {
		return err
	}
	if err := h.admit(c, holder); err != nil {
		return err
	}
	if holder.Credential.Type != "password" && holder.Credential.Type != "api_key" {
		return refusedAs(&authn.Error{Kind: authn.Invalid, Detail: "send a user name and password (Basic) or an API key (Bearer)"}, holder.Credential)
	}
	q := tokens.Request{Scope: p.get("scope"), Audience: p.get("audience"), Resources: p.resources, Org: cmp.Or(p.get("org"), p.get("organization"))}
	response, err := h.tenant.Tokens.Exchange(h.server.base, r, policies, holder, q)
	q.GrantType = holder.Credential.Type // as the policy sees it
	h.noteToken(c, r, policies, holder, q, response, err)
	if err != nil {
		return err
	}
	return writeOAuth(c, http.StatusOK, response)
}

// refreshExchanged gives the next tokens for a refresh token of the exchange endpoints.
func (h *handler) refreshExchanged(c *fiber.Ctx) error {
	p, _, err := readFormOrJSON(c)
	if err != nil {
		return err
	}
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	if credentials := h.presented(c, refuseQuery); !credentials.Empty() {
		return badRequest("the refresh token goes into the body, without another credential")
	}
	q := tokens.Request{GrantType: "refresh_token", RefreshToken: p.secret("refresh_token"), Scope: p.get("scope"), Audience: p.get("audience"), Resources: p.resources}
	response, err := h.tenant.Tokens.Issue(h.server.base, r, policies, nil, q)
	h.noteToken(c, r, policies, nil, q, response, err)
	if err != nil {
		return err
	}
	return writeOAuth(c, http.StatusOK, response)
}
