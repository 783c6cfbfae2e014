package server

import (
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/directory"
)

// secretsInQuery says what a route does with credentials in its query.
type secretsInQuery bool

const (
	refuseQuery secretsInQuery = false
	acceptQuery secretsInQuery = true // the administrative API only: queries end up in the logs of proxies
)

// presented collects everything in the header and the query that could be a credential. It copies, for the
// strings of a Fiber context end with the handler.
func presented(c *fiber.Ctx, query secretsInQuery) authn.Presented {
	var p authn.Presented
	for _, value := range c.Request().Header.PeekAll(fiber.HeaderAuthorization) {
		p.Authorization = append(p.Authorization, string(value))
	}
	key, keys := secretHeader(c, "X-Api-Key")
	secret, secrets := secretHeader(c, "X-Api-Secret")
	if keys > 1 {
		p.Body = append(p.Body, "the header X-API-Key was sent more than once")
	}
	if secrets > 1 {
		p.Body = append(p.Body, "the header X-API-Secret was sent more than once")
	}
	if !key.IsZero() || !secret.IsZero() {
		p.KeyPairs = append(p.KeyPairs, authn.Pair{ID: key, Secret: secret})
	}
	if len(c.Request().URI().QueryString()) > 0 {
		p = withQuery(p, c, query)
	}
	return p
}

// secretHeader returns a header field, and how many there are.
func secretHeader(c *fiber.Ctx, name string) (directory.Secret, int) {
	values := c.Request().Header.PeekAll(name)
	if len(values) == 0 {
		return directory.Secret{}, 0
	}
	return directory.NewSecret(string(values[0])), len(values)
}

// withQuery adds what the query has.
func withQuery(p authn.Presented, c *fiber.Ctx, query secretsInQuery) authn.Presented {
	found := map[string]string{}
	for name, value := range c.Request().URI().QueryArgs().All() {
		parameter := string(name)
		switch strings.ToLower(parameter) {
		case "apikey", "apisecret", "client_id", "client_secret", "access_token":
			if _, twice := found[parameter]; twice {
				p.Body = append(p.Body, authn.BodyProblem("the parameter "+parameter+" was sent more than once"))
			}
			found[parameter] = string(value)
		}
	}
	if len(found) == 0 {
		return p
	}
	if _, token := found["access_token"]; token || query == refuseQuery {
		p.Body = append(p.Body, "credentials are not taken from the query here: send them in a header")
		return p
	}
	pair := func(id, secret string) authn.Pair {
		return authn.Pair{ID: directory.NewSecret(found[id]), Secret: directory.NewSecret(found[secret])}
	}
	if p1 := pair("apikey", "apisecret"); !p1.ID.IsZero() || !p1.Secret.IsZero() {
		p.KeyPairs = append(p.KeyPairs, p1)
	}
	if p2 := pair("client_id", "client_secret"); !p2.ID.IsZero() || !p2.Secret.IsZero() {
		p.Clients = append(p.Clients, p2)
	}
	return p
}
