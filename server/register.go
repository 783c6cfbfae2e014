package server

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/engine"
	"mandate/tokens"
)

// maxRegistration bounds what software of others can leave here.
const maxRegistration = 32 << 10

// register is the registration endpoint for clients (RFC 7591 §3). Whether this one may register, with which initial access
// token or without, and what it can have at most is decided by the policy mandate.manage, as the action clients.register.
func (h *handler) register(c *fiber.Ctx) error {
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	a := &asking{handler: h, reading: r, policies: policies}
	if credentials := h.presented(c, refuseQuery); !credentials.Empty() {
		var err error
		if a.caller, err = h.authenticate(r, policies, credentials); err != nil {
			return err
		}
		if err := h.admit(c, a.caller); err != nil {
			return err
		}
		if err := h.tenant.Authn.ForMandate(a.caller, "register", "manage"); err != nil {
			return refusedAs(err, a.caller.Credential)
		}
	}
	decision, err := a.manage("clients.register", map[string]any{"type": "client"})
	if err != nil {
		if a.caller == nil {
			return &authn.Error{Kind: authn.Missing, Detail: "registration needs an initial access token"}
		}
		return err
	}
	limit, err := limitOf(decision)
	if err != nil {
		return err
	}
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	if len(body) > maxRegistration {
		return &requestError{http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("client metadata may have %d KiB at most", maxRegistration>>10)}
	}
	var metadata tokens.Registration
	if err := json.Unmarshal(body, &metadata); err != nil {
		return &tokens.Error{Code: "invalid_client_metadata", Description: "the body is not client metadata: a member has the wrong type"}
	}
	registered, err := h.tenant.Tokens.Register(h.server.base, metadata, limit)
	if err != nil {
		return err
	}
	return writeOAuth(c, http.StatusCreated, registered)
}

// limitOf is what the policy lets a client that registers have. Without that obligation it is nothing.
func limitOf(d *engine.Decision) (limit tokens.RegistrationLimit, err error) {
	obligation, err := d.Obligation("limit_client")
	if err != nil || obligation == nil {
		return limit, err
	}
	if err := json.Unmarshal(obligation, &limit); err != nil {
		return limit, fmt.Errorf("the policy's obligation limit_client: %w", err)
	}
	return limit, nil
}
