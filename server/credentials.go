package server

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// secretsInQuery says what a route does with credentials in its query.
type secretsInQuery bool

const (
	refuseQuery secretsInQuery = false
	acceptQuery secretsInQuery = true // the administrative API only: queries end up in the logs of proxies
)

// presented collects everything in the header, the query and the connection that could be a credential or prove one. It
// copies, for the strings of a Fiber context end with the handler.
func (h *handler) presented(c *fiber.Ctx, query secretsInQuery) authn.Presented {
	p := authn.Presented{Address: h.server.address(c)}
	if state := c.Context().TLSConnectionState(); state != nil {
		p.Certificates = state.PeerCertificates
	}
	if proofs := c.Request().Header.PeekAll("DPoP"); len(proofs) > 0 {
		p.Method, p.URL = c.Method(), h.urlOf(c)
		for _, proof := range proofs {
			p.Proofs = append(p.Proofs, string(proof))
		}
	}
	for _, value := range c.Request().Header.PeekAll(fiber.HeaderAuthorization) {
		p.Authorization = append(p.Authorization, string(value))
	}
	p = withPairHeaders(p, c, "X-Api-Key", "X-Api-Secret")
	p = withPairHeaders(p, c, "X-Loginradius-Apikey", "X-Loginradius-Apisecret")
	if len(c.Request().URI().QueryString()) > 0 {
		p = h.withQuery(p, c, query)
	}
	return p
}

// withPairHeaders adds the key pair that the header has by these names.
func withPairHeaders(p authn.Presented, c *fiber.Ctx, keyName, secretName string) authn.Presented {
	key, keys := secretHeader(c, keyName)
	secret, secrets := secretHeader(c, secretName)
	if keys > 1 || secrets > 1 {
		p.Body = append(p.Body, authn.BodyProblem("the header "+keyName+" or "+secretName+" was sent more than once"))
	}
	if !key.IsZero() || !secret.IsZero() {
		p.KeyPairs = append(p.KeyPairs, authn.Pair{ID: key, Secret: secret})
	}
	return p
}

// urlOf is the URL of the request as the outside knows it, without its query.
func (h *handler) urlOf(c *fiber.Ctx) string {
	return h.origin + string(c.Request().URI().PathOriginal())
}

// authenticate returns the principal of the one credential presented. One of Mandate's own access tokens is good for what
// the token policy would let it carry now.
func (h *handler) authenticate(r *memo.Reading, policies *engine.PolicySet, p authn.Presented) (*authn.Principal, error) {
	principal, err := h.prove(r, p)
	if err != nil {
		return nil, err
	}
	current, err := h.tenant.Tokens.Current(h.server.base, r, policies, principal)
	if err != nil {
		return nil, refusedAs(err, principal.Credential)
	}
	return current, nil
}

// secretHeader returns a header field, and how many there are.
func secretHeader(c *fiber.Ctx, name string) (directory.Secret, int) {
	values := c.Request().Header.PeekAll(name)
	if len(values) == 0 {
		return directory.Secret{}, 0
	}
	return directory.NewSecret(string(values[0])), len(values)
}

// deprecated is since when credentials in a query are deprecated, as RFC 9745 §2.1 writes it: the 1st of January 2026.
const deprecated = "@1767225600"

// withQuery adds what the query has.
func (h *handler) withQuery(p authn.Presented, c *fiber.Ctx, query secretsInQuery) authn.Presented {
	found := map[string]string{}
	for name, value := range c.Request().URI().QueryArgs().All() {
		parameter := string(name)
		if isCredential(parameter) {
			if _, twice := found[parameter]; twice {
				p.Body = append(p.Body, authn.BodyProblem("the parameter "+parameter+" was sent more than once"))
			}
			found[parameter] = string(value)
		}
	}
	if len(found) == 0 {
		return p
	}
	if _, token := found["access_token"]; token || query == refuseQuery || h.tenant.RefuseQueryCredentials {
		p.Body = append(p.Body, "credentials are not taken from the query here: send them in a header")
		return p
	}
	c.Set("Deprecation", deprecated)
	h.inQuery.Inc()
	pair := func(id, secret string) authn.Pair {
		return authn.Pair{ID: directory.NewSecret(found[id]), Secret: directory.NewSecret(found[secret])}
	}
	if p1 := pair("apikey", "apisecret"); !p1.ID.IsZero() || !p1.Secret.IsZero() {
		p.KeyPairs = append(p.KeyPairs, p1)
	}
	for _, names := range [][2]string{{"client_id", "client_secret"}, {"clientID", "clientSecret"}} {
		if client := pair(names[0], names[1]); !client.ID.IsZero() || !client.Secret.IsZero() {
			p.Clients = append(p.Clients, client)
		}
	}
	return p
}

// isCredential says whether a parameter of a query is for a credential.
func isCredential(parameter string) bool {
	switch strings.ToLower(parameter) {
	case "apikey", "apisecret", "client_id", "client_secret", "clientid", "clientsecret", "access_token":
		return true
	}
	return false
}

// isSecret says whether the caller has presented a secret itself, and no token that was issued for one.
func isSecret(p *authn.Principal) bool {
	return p.Credential.Type != "access_token" && p.Credential.Type != "external_token"
}

// secretInBrowser refuses a secret that a page of a browser has sent to the administrative API: there it is none any more. The page
// does not learn the answer.
func secretInBrowser(c *fiber.Ctx) error {
	c.Response().Header.Del(fiber.HeaderAccessControlAllowOrigin)
	return &requestError{http.StatusForbidden, "secret_in_browser",
		"the request comes from a page, where no secret stays one: call from a backend, or with an access token of the user"}
}
