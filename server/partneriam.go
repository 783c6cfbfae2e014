package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/server/partneriam"
	"mandate/tokens"
)

// partnerIAMRoutes are the wire of a partner IAM API: a face of /v1, and the endpoints of its tokens.
func (h *handler) partnerIAMRoutes(base string) {
	api := &partneriam.API{Manage: h.tenant.Manage, RedirectURI: h.tenant.Issuer + callbackPath, Now: h.tenant.Now}
	for _, route := range partneriam.Routes() {
		path := strings.NewReplacer("{", ":", "}", "").Replace(route.Path)
		h.server.app.Add(route.Method, base+"/v2/manage"+path, h.on(surfacePartnerIAM, func(c *fiber.Ctx) error {
			return h.managed(c, []string{"manage"}, func(m *managing) error { return m.partnerIAM(api, route) })
		}))
	}
	oauth := base + "/service/oauth"
	h.server.app.Post(oauth+"/token", h.on(surfaceOAuth, h.partnerIAMToken))
	h.server.app.Post(oauth+"/introspect", h.on(surfaceOAuth, h.formOrJSON(h.introspectToken)))
	h.server.app.Post(oauth+"/revoke", h.on(surfaceOAuth, h.formOrJSON(h.revokeToken)))
	h.server.app.Get(oauth+"/jwks", h.limited(tokenRoutes, surfaceProblem, h.jwks))
}

// partnerIAM serves a route to machines: the token of a user is for no route of this wire, whatever it carries.
func (m *managing) partnerIAM(api *partneriam.API, route partneriam.Route) error {
	if m.caller.Type != authn.Client && m.caller.Type != authn.APIKey {
		return &requestError{http.StatusForbidden, "machines_only", "call with a key pair, a client or a machine-to-machine token"}
	}
	if m.q.IfMatch != 0 || m.q.IfNone {
		return badRequest("there are no revisions on this API: leave out If-Match and If-None-Match, or write at /v1")
	}
	call := partneriam.Call{Reading: m.reading, Request: m.q, Query: map[string]string{}}
	var err error
	if call.Params, err = m.ids(); err != nil {
		return err
	}
	for name, value := range m.c.Request().URI().QueryArgs().All() {
		call.Query[string(name)] = string(value)
	}
	if len(m.c.Request().Body()) > 0 {
		if call.Body, err = jsonBody(m.c); err != nil {
			return err
		}
	}
	document, err := api.Serve(m.server.base, route, call)
	if err != nil {
		return err
	}
	return writeJSON(m.c, document)
}

// atPartnerIAM is the failure as that wire has it.
func (f failure) atPartnerIAM(err error) (failure, *partneriam.Error) {
	e := (*partneriam.Error)(nil)
	if !errors.As(err, &e) {
		e = partneriam.ErrorOf(f.status, f.code, f.detail)
	}
	f.status = e.Status
	return f, e
}

// partnerIAMToken issues tokens to machines, which must say for which API. Its answer has the lifetime twice.
func (h *handler) partnerIAMToken(c *fiber.Ctx) error {
	p, isJSON, err := readFormOrJSON(c)
	if err != nil {
		return err
	}
	if p.get("audience") == "" {
		return badRequest("The audience is a required parameter.")
	}
	if grant := p.get("grant_type"); grant != "" && grant != "client_credentials" {
		return &tokens.Error{Code: "unsupported_grant_type", Description: "grant_type must be client_credentials here"}
	}
	return h.oauth(c, p, !isJSON, false, func(call *oauthCall) error {
		response, err := call.issue(c)
		if err != nil {
			return err
		}
		return writeOAuth(c, http.StatusOK, struct {
			*tokens.Response `json:",embed"`
			ExpireIn         string `json:"expire_in"`
		}{response, strconv.FormatInt(response.ExpiresIn, 10)})
	})
}

// formOrJSON reads the parameters of a request either way.
func (h *handler) formOrJSON(do func(*fiber.Ctx, parameters, bool) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		p, isJSON, err := readFormOrJSON(c)
		if err != nil {
			return err
		}
		return do(c, p, !isJSON)
	}
}
