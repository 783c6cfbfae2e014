package server

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/directory"
	"mandate/manage"
	"mandate/tokens"
)

// tokenForm is the token endpoint (RFC 6749 §3.2).
func (h *handler) tokenForm(c *fiber.Ctx) error {
	p, err := readForm(c)
	if err != nil {
		return err
	}
	return h.token(c, p, true)
}

// tokenFormOrJSON is the token endpoint as machine-to-machine products have it.
func (h *handler) tokenFormOrJSON(c *fiber.Ctx) error {
	p, isJSON, err := readFormOrJSON(c)
	if err != nil {
		return err
	}
	return h.token(c, p, !isJSON)
}

// token authenticates the client and issues what the policy allows.
func (h *handler) token(c *fiber.Ctx, p parameters, registered bool) error {
	// An assertion says itself which client it stands for (RFC 7523 §3.1).
	without := clientless(p.get("grant_type") == directory.JWTBearerGrant)
	return h.oauth(c, p, registered, without, func(call *oauthCall) error {
		response, err := call.issue(c)
		if err != nil {
			return err
		}
		return writeOAuth(c, http.StatusOK, response)
	})
}

// issue issues what the request asks for.
func (call *oauthCall) issue(c *fiber.Ctx) (*tokens.Response, error) {
	confirms, err := call.confirms()
	if err != nil {
		return nil, err
	}
	q := tokens.Request{
		GrantType: call.get("grant_type"), Scope: call.get("scope"), Audience: call.get("audience"), Resources: call.resources,
		Org:  cmp.Or(call.get("org"), call.get("organization")),
		Code: call.get("code"), RedirectURI: call.get("redirect_uri"), CodeVerifier: call.get("code_verifier"),
		RefreshToken: call.secret("refresh_token"), DeviceCode: call.secret("device_code"), Assertion: call.secret("assertion"),
		SubjectToken: call.secret("subject_token"), SubjectTokenType: call.get("subject_token_type"),
		ActorToken: call.secret("actor_token"), ActorTokenType: call.get("actor_token_type"), RequestedTokenType: call.get("requested_token_type"),
		Presented: call.presented, Confirms: confirms,
	}
	response, err := call.tenant.Tokens.Issue(call.server.base, call.reading, call.policies, call.client, q)
	call.noteToken(c, call.reading, call.policies, call.client, q, response, err)
	return response, err
}

// push is the pushed authorization request endpoint (RFC 9126 §2).
func (h *handler) push(c *fiber.Ctx) error {
	p, err := readForm(c)
	if err != nil {
		return err
	}
	return h.oauth(c, p, true, false, func(call *oauthCall) error {
		confirms, err := call.confirms()
		if err != nil {
			return err
		}
		pushed, err := h.tenant.Tokens.Push(h.server.base, call.reading, call.client, p.form(), confirms.Thumbprint)
		if err != nil {
			return err
		}
		return writeOAuth(c, http.StatusCreated, pushed)
	})
}

// revoke is the revocation endpoint (RFC 7009). The hint is not needed: what a token is can be seen.
func (h *handler) revoke(c *fiber.Ctx) error {
	p, err := readForm(c)
	if err != nil {
		return err
	}
	return h.revokeToken(c, p, true)
}

func (h *handler) revokeToken(c *fiber.Ctx, p parameters, registered bool) error {
	return h.oauth(c, p, registered, false, func(call *oauthCall) error {
		if err := h.tenant.Tokens.Revoke(h.server.base, call.reading, call.client, p.secret("token")); err != nil {
			return err
		}
		return ok(c)
	})
}

// introspect is the introspection endpoint (RFC 7662), for clients and for whoever else may ask about tokens. The policy
// mandate.manage decides whether the caller may see this one, as the action tokens.introspect; what it may not see
// looks like a token that is not active.
func (h *handler) introspect(c *fiber.Ctx) error {
	p, err := readForm(c)
	if err != nil {
		return err
	}
	return h.introspectToken(c, p, true)
}

func (h *handler) introspectToken(c *fiber.Ctx, p parameters, registered bool) error {
	if p.get("client_secret") == "" && p.get("client_assertion") == "" && p.get("client_id") == "" {
		if scheme, _, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " "); scheme != "" && !strings.EqualFold(scheme, "Basic") {
			if err := h.ask(c, refuseQuery, []string{"decide", "manage"}, func(a *asking) error { return a.introspect(c, p) }); err != nil {
				h.noteRefused(c, err)
				h.server.fail(c, surfaceBearer, err) // RFC 7662 §2.3
			}
			return nil
		}
	}
	return h.oauth(c, p, registered, false, func(call *oauthCall) error {
		if call.client.Methods[0] == "none" {
			return &authn.Error{Kind: authn.Invalid, Detail: "a client that does not authenticate cannot introspect tokens (RFC 7662 §2.1)"}
		}
		return (&asking{handler: h, reading: call.reading, policies: call.policies, caller: call.client}).introspect(c, p)
	})
}

func (a *asking) introspect(c *fiber.Ctx, p parameters) error {
	if p.get("token") == "" {
		return badRequest("the parameter token is missing")
	}
	found, err := a.tenant.Tokens.Introspect(a.server.base, a.reading, a.policies, p.secret("token"))
	if err != nil {
		return err
	}
	if found.Active {
		_, err := a.manage("tokens.introspect", map[string]any{"type": "token", "id": cmp.Or(found.ID, "refresh_token"), "properties": found.Properties()})
		if refused := (*manage.Refusal)(nil); errors.As(err, &refused) {
			found = &tokens.Introspection{}
		} else if err != nil {
			return err
		}
	}
	return writeOAuth(c, http.StatusOK, found)
}
