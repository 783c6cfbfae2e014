package server

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/directory"
	"mandate/tokens"
)

// keyRoutes are those of the administrative API for signing keys. The policy mandate.manage decides who may use them, as
// the actions keys.list, keys.rotate and keys.revoke. Each answers with the keys as they are after it.
func (h *handler) keyRoutes(base string) {
	h.server.app.Get(base+"/v1/keys", h.on(surfaceProblem, h.listKeys))
	h.server.app.Post(base+"/v1/keys/rotate", h.on(surfaceProblem, h.rotateKeys))
	h.server.app.Post(base+"/v1/keys/:kid/revoke", h.on(surfaceProblem, h.revokeKey))
}

// allKeys is the resource of an action that is about no key alone.
const allKeys = "*"

func (h *handler) listKeys(c *fiber.Ctx) error {
	return h.ask(c, acceptQuery, []string{"manage"}, func(a *asking) error {
		return a.manageKeys(c, "keys.list", allKeys, func(*tokens.Keyring) error { return nil })
	})
}

func (h *handler) rotateKeys(c *fiber.Ctx) error {
	return h.ask(c, acceptQuery, []string{"manage"}, func(a *asking) error {
		var request struct {
			Algorithm string `json:"alg"`
			Now       bool   `json:"now"`
		}
		if len(c.Request().Body()) > 0 {
			body, err := jsonBody(c)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(body, &request, json.RejectUnknownMembers(true)); err != nil {
				return badRequest("the body may have the members alg, a string, and now, true or false")
			}
		}
		if alg := request.Algorithm; alg != "" && !slices.Contains(directory.SigningAlgorithms(), alg) {
			return badRequest("alg must be one of: " + strings.Join(directory.SigningAlgorithms(), ", "))
		}
		return a.manageKeys(c, "keys.rotate", cmp.Or(request.Algorithm, allKeys), func(keys *tokens.Keyring) error {
			return keys.Rotate(h.server.base, request.Algorithm, request.Now)
		})
	})
}

func (h *handler) revokeKey(c *fiber.Ctx) error {
	return h.ask(c, acceptQuery, []string{"manage"}, func(a *asking) error {
		kid := strings.Clone(c.Params("kid"))
		if !utf8.ValidString(kid) {
			return tokens.ErrNoSuchKey
		}
		return a.manageKeys(c, "keys.revoke", kid, func(keys *tokens.Keyring) error { return keys.Revoke(h.server.base, kid) })
	})
}

func (a *asking) manageKeys(c *fiber.Ctx, action, resource string, do func(*tokens.Keyring) error) error {
	if err := a.permit(action, "key", resource); err != nil {
		return err
	}
	keys := a.tenant.Tokens.Keys()
	if err := do(keys); err != nil {
		return err
	}
	listed, err := keys.List(a.server.base)
	if err != nil {
		return err
	}
	return writeJSON(c, map[string]any{"keys": listed})
}
