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
	var pair authn.Pair
	var keys, secrets int
	for name, value := range c.Request().Header.All() {
		switch string(name) { // in the canonical form
		case fiber.HeaderAuthorization:
			p.Authorization = append(p.Authorization, string(value))
		case "X-Api-Key":
			pair.ID = directory.NewSecret(string(value))
			keys++
		case "X-Api-Secret":
			pair.Secret = directory.NewSecret(string(value))
			secrets++
		}
	}
	if keys > 1 {
		p.Body = append(p.Body, "the header X-API-Key was sent more than once")
	}
	if secrets > 1 {
		p.Body = append(p.Body, "the header X-API-Secret was sent more than once")
	}
	if !pair.ID.IsZero() || !pair.Secret.IsZero() {
		p.KeyPairs = append(p.KeyPairs, pair)
	}
	fromQuery(&p, c, query)
	return p
}

func fromQuery(p *authn.Presented, c *fiber.Ctx, query secretsInQuery) {
	if len(c.Request().URI().QueryString()) == 0 {
		return
	}
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
		return
	}
	if _, token := found["access_token"]; token || query == refuseQuery {
		p.Body = append(p.Body, "credentials are not taken from the query here: send them in a header")
		return
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
}
