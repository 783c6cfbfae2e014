package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// parameters are those of a request to an OAuth endpoint, each at most once; several resources may be named (RFC 8707 §2).
type parameters struct {
	values    map[string]string
	resources []string
}

func (p parameters) get(name string) string { return p.values[name] }

func (p parameters) secret(name string) directory.Secret { return directory.NewSecret(p.values[name]) }

// form is what the parameters are as a form.
func (p parameters) form() url.Values {
	form := url.Values{}
	for name, value := range p.values {
		form.Set(name, value)
	}
	if len(p.resources) > 0 {
		form["resource"] = p.resources
	}
	return form
}

// readForm reads the parameters of a form-encoded body.
func readForm(c *fiber.Ctx) (parameters, error) {
	if mediaType(c) != fiber.MIMEApplicationForm {
		return parameters{}, badRequest("the Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := rawBody(c)
	if err != nil {
		return parameters{}, err
	}
	return formParameters(body)
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

// readFormOrJSON reads the parameters as machine-to-machine products send them: the same ones in JSON, too.
func readFormOrJSON(c *fiber.Ctx) (p parameters, isJSON bool, err error) {
	if mediaType(c) != fiber.MIMEApplicationJSON {
		p, err = readForm(c)
		return p, false, err
	}
	body, err := jsonBody(c)
	if err != nil {
		return p, true, err
	}
	p, err = jsonParameters(body)
	return p, true, err
}

func jsonParameters(body []byte) (parameters, error) {
	p := parameters{values: map[string]string{}}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return p, badRequest("the body is not a JSON object")
	}
	for name, value := range members {
		if !isTokenParameter(name) {
			continue
		}
		text, ok := value.(string)
		if !ok {
			return p, badRequest("the parameter " + name + " must be a string")
		}
		p.values[name] = text
	}
	if resource := p.get("resource"); resource != "" {
		p.resources = []string{resource}
	}
	return p, nil
}

func isTokenParameter(name string) bool {
	return slices.Contains([]string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "audience", "scope", "org",
		"organization", "resource", "token", "code", "redirect_uri", "code_verifier", "refresh_token", "device_code", "assertion", "subject_token",
		"subject_token_type", "actor_token", "actor_token_type", "requested_token_type"}, name)
}

// oauthCall is one request to an OAuth endpoint, at one instant. Client is nil where none had to authenticate.
type oauthCall struct {
	*handler
	parameters
	reading   *memo.Reading
	policies  *engine.PolicySet
	presented authn.Presented
	client    *authn.Principal
}

// clientless says that a request need not come from a client that the server knows.
type clientless bool

// oauth authenticates the client of a request with these parameters, by the method that it registered. A body in JSON
// always carries the secret, so its client may send it there whichever way it is registered for.
func (h *handler) oauth(c *fiber.Ctx, p parameters, registered bool, without clientless, do func(*oauthCall) error) error {
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	call := &oauthCall{handler: h, parameters: p, reading: r, policies: policies, presented: h.presented(c, refuseQuery)}
	credentials := call.presented
	credentials.Proofs, credentials.Method = nil, "" // the proof is for the tokens, not for the client (RFC 9449 §5)
	credentials.Basic, credentials.Registered, credentials.URL = authn.BasicClient, registered, h.urlOf(c)
	credentials.Assertion, credentials.AssertionType = p.secret("client_assertion"), p.get("client_assertion_type")
	switch secret := p.secret("client_secret"); {
	case !secret.IsZero():
		credentials.Clients = append(credentials.Clients, authn.Pair{ID: p.secret("client_id"), Secret: secret})
	case bool(without):
		call.presented.ClientID = p.get("client_id") // names whom the request is for (RFC 7521 §4.1)
	default:
		credentials.ClientID = p.get("client_id")
	}
	client, err := h.prove(r, credentials)
	if missing := (*authn.Error)(nil); bool(without) && errors.As(err, &missing) && missing.Kind == authn.Missing {
		return do(call)
	}
	if err != nil {
		return err
	}
	if err := h.admit(c, client); err != nil {
		return err
	}
	if client.Type != authn.Client || client.ClientID != "" {
		return refusedAs(&authn.Error{Kind: authn.Invalid, Detail: "authenticate as a client, by the method that it is registered for"}, client.Credential)
	}
	if c.Get(fiber.HeaderOrigin) != "" && client.Methods[0] != "none" {
		return badRequest("the request comes from a page, where nothing stays secret: register an app that runs in a browser without a secret")
	}
	if id := p.get("client_id"); id != "" && id != client.Subject {
		return badRequest("client_id is not the client that authenticated")
	}
	call.client = client
	return do(call)
}

// confirms is the key to which tokens are to be bound: that of the request's DPoP proof, and that of the certificate by which
// the client authenticated.
func (call *oauthCall) confirms() (authn.Confirmation, error) {
	thumbprint, err := call.tenant.Authn.Proof(call.presented)
	if err != nil {
		return authn.Confirmation{}, err
	}
	bound := authn.Confirmation{Thumbprint: thumbprint}
	if call.client != nil && call.client.Confirms != nil {
		bound.CertHash = call.client.Confirms.CertHash
	}
	return bound, nil
}

// writeOAuth answers an OAuth request (RFC 6749 §5.1).
func writeOAuth(c *fiber.Ctx, status int, document any) error {
	c.Set(fiber.HeaderPragma, "no-cache")
	if err := writeJSON(c, document); err != nil {
		return err
	}
	c.Status(status)
	return nil
}

// ok answers with 200 and no content that matters (RFC 7009 §2.2).
func ok(c *fiber.Ctx) error {
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Status(http.StatusOK)
	return nil
}
