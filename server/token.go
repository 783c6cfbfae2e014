package server

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/directory"
	"mandate/tokens"
)

// parameters are those of a token request, each at most once; several resources may be named (RFC 8707 §2).
type parameters struct {
	values    map[string]string
	resources []string
}

func (p parameters) get(name string) string { return p.values[name] }

// tokenForm is the token endpoint (RFC 6749 §3.2).
func (h *handler) tokenForm(c *fiber.Ctx) error {
	if mediaType(c) != fiber.MIMEApplicationForm {
		return badRequest("the Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := rawBody(c)
	if err != nil {
		return err
	}
	p, err := formParameters(body)
	if err != nil {
		return err
	}
	return h.token(c, p, true)
}

// tokenFormOrJSON is the token endpoint as machine-to-machine products have it: the same parameters in JSON, too. The
// secret is always in such a body, so a client may send it there whichever way it is registered for.
func (h *handler) tokenFormOrJSON(c *fiber.Ctx) error {
	if mediaType(c) != fiber.MIMEApplicationJSON {
		return h.tokenForm(c)
	}
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	p, err := jsonParameters(body)
	if err != nil {
		return err
	}
	return h.token(c, p, false)
}

func formParameters(body []byte) (parameters, error) {
	p := parameters{values: map[string]string{}}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return p, badRequest("the body is not form-encoded")
	}
	for name, values := range form {
		if !utf8.ValidString(name + strings.Join(values, "")) {
			return p, badRequest("a parameter is not UTF-8 (RFC 6749, appendix B)")
		}
		if name == "resource" {
			p.resources = slices.DeleteFunc(values, func(v string) bool { return v == "" }) // absent (RFC 6749 §3.2)
			continue
		}
		if len(values) > 1 {
			return p, badRequest("a parameter was sent more than once")
		}
		p.values[name] = values[0]
	}
	return p, nil
}

func jsonParameters(body []byte) (parameters, error) {
	p := parameters{values: map[string]string{}}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return p, badRequest("the body is not a JSON object")
	}
	for name, value := range members {
		text, ok := value.(string)
		switch name {
		case "grant_type", "client_id", "client_secret", "audience", "scope", "org", "organization", "resource":
			if !ok {
				return p, badRequest("the parameter " + name + " must be a string")
			}
			p.values[name] = text
		}
	}
	if resource := p.get("resource"); resource != "" {
		p.resources = []string{resource}
	}
	return p, nil
}

// token authenticates the client and issues what the policy allows.
func (h *handler) token(c *fiber.Ctx, p parameters, registered bool) error {
	ctx := h.server.base
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	credentials := presented(c, refuseQuery)
	credentials.Basic, credentials.Registered = authn.BasicClient, registered
	if secret := p.get("client_secret"); secret != "" {
		credentials.Clients = append(credentials.Clients, authn.Pair{
			ID: directory.NewSecret(p.get("client_id")), Secret: directory.NewSecret(secret)})
	}
	client, err := h.tenant.Authn.Authenticate(ctx, r, credentials)
	if err != nil {
		return err
	}
	if client.Credential.Type != "client_secret" {
		return &authn.Error{Kind: authn.Invalid, Detail: "authenticate as a client, with its id and secret"}
	}
	if id := p.get("client_id"); id != "" && id != client.Subject {
		return badRequest("client_id is not the client that authenticated")
	}
	response, err := h.tenant.Tokens.Issue(ctx, r, policies, client, tokens.Request{
		GrantType: p.get("grant_type"), Scope: p.get("scope"), Audience: p.get("audience"), Resources: p.resources,
		Org: cmp.Or(p.get("org"), p.get("organization")),
	})
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderPragma, "no-cache")
	return writeJSON(c, response)
}
