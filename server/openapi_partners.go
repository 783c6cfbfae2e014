package server

import (
	"maps"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/directory"
	"mandate/server/partneriam"
	"mandate/tokens"
)

// partnerOperations are those of the wires of vendors and partners.
func partnerOperations() []operation {
	all := []operation{oemOperation()}
	for _, route := range partneriam.Routes() {
		d := route.Describe()
		o := operation{method: route.Method, path: "/v2/manage" + route.Path, id: d.ID, tag: "Partner IAM", summary: d.Summary, wire: partnerIAM(), query: d.Query,
			gives: map[int]content{http.StatusOK: jsonOf(wireType{d.Answer, "Partner"})}}
		if route.Method != http.MethodGet {
			o.header = []string{"Idempotency-Key"}
		}
		if d.Body != nil {
			o.takes = jsonOf(ignoring{wireType{d.Body, "Partner"}})
		}
		all = append(all, o)
	}
	return append(all, partnerTokens()...)
}

// partnerIAM is the wire of the partner IAM API.
func partnerIAM() wire {
	w := writing()
	w.schemes = append(w.schemes, []string{"partnerQueryClient", "partnerQueryClientSecret"})
	w.name, w.media, w.failure, w.failed = "partner", fiber.MIMEApplicationJSON, named{"PartnerError", members("ErrorCode!:integer", "Message!", "Description!")}, nil
	return w
}

// wireType is the schema of a type of a wire, whose components have names of their own.
type wireType struct {
	value  any
	prefix string
}

func (w wireType) schemaBy(s *schemas) schema {
	before := s.prefix
	s.prefix = w.prefix
	defer func() { s.prefix = before }()
	return s.reflect(w.value)
}

// ignoring is a body of which members that are not known are ignored, at any depth.
type ignoring struct{ body wireType }

func (i ignoring) schemaBy(s *schemas) schema {
	i.body.prefix += "Body"
	made := openAll(i.body.schemaBy(s))
	for name, component := range s.named {
		if strings.HasPrefix(name, i.body.prefix) {
			s.named[name] = openAll(component)
		}
	}
	return made
}

func openAll(made schema) schema {
	made = requiring(made)
	delete(made, "additionalProperties")
	return made
}

func oemOperation() operation {
	named := members("id!", "vendorId!", "integrationKind!")
	made := members("integration!", "partnerApiKey!", "status!:integer", "message!")
	made["properties"].(schema)["integration"] = named
	asked := members("integrationType!", "organizationId!", "vendorId!")
	asked["properties"].(schema)["integrationType"] = schema{"type": "string", "enum": []any{directory.ExternalIntegration}}
	return operation{method: http.MethodPost, path: "/api/oem-api/integration", id: "createOEMIntegration", tag: "Integrations", summary: "Integrate a vendor's application with an organization",
		about:  "The same as creating an integration, on the wire that vendors know.",
		action: "orgs.integrations.create", wire: oem(), header: []string{"Idempotency-Key"}, takes: jsonOf(asked), gives: map[int]content{http.StatusCreated: jsonOf(made)}}
}

// partnerTokens are the endpoints of that wire for the tokens of machines.
func partnerTokens() []operation {
	both := func(c content) content {
		c = maps.Clone(c)
		c[fiber.MIMEApplicationJSON] = c[fiber.MIMEApplicationForm]
		return c
	}
	all := []operation{
		{path: "/service/oauth/token", id: "partnerToken", tag: "Partner IAM", summary: "Get a token for a machine", takes: both(authenticating("grant_type", "audience", "scope", "org", "organization")),
			gives: map[int]content{http.StatusOK: jsonOf(partnerToken{})}},
		{path: "/service/oauth/introspect", id: "introspectPartnerToken", tag: "Partner IAM", summary: "Ask what a token is good for", action: "tokens.introspect",
			takes: both(authenticating("token", "token_type_hint")), gives: map[int]content{http.StatusOK: jsonOf(tokens.Introspection{})}},
		{path: "/service/oauth/revoke", id: "revokePartnerToken", tag: "Partner IAM", summary: "Revoke a token", takes: both(authenticating("token", "token_type_hint")),
			gives: map[int]content{http.StatusOK: nil}},
	}
	for i := range all {
		all[i].method, all[i].wire = http.MethodPost, oauth()
	}
	return append(all, operation{method: http.MethodGet, path: "/service/oauth/jwks", id: "partnerKeys", tag: "Partner IAM", summary: "The public keys of the tenant", wire: documents(),
		gives: map[int]content{http.StatusOK: jsonOf(keySetOf())}})
}

// partnerToken is a token response that has the lifetime twice.
type partnerToken struct{}

func (partnerToken) schemaBy(s *schemas) schema {
	return with(s.reflect(tokens.Response{}), members("expire_in!"))
}
