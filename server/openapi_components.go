package server

import (
	"net/http"
	"slices"

	"github.com/gofiber/fiber/v2"
	"github.com/swaggest/openapi-go/openapi31"

	"mandate/manage"
)

const problemType = "application/problem+json"

func limitHeaders(more ...string) []string {
	return append([]string{fiber.HeaderXRequestID, "RateLimit", "RateLimit-Policy", "DPoP-Nonce"}, more...)
}

// anyCredential are the ways to authenticate where credentials of all types can come.
func anyCredential() [][]string {
	return [][]string{{"bearer"}, {"basic"}, {"keyPair", "keyPairSecret"}, {"dpop"}, {"oauth2"}}
}

// managementWire is the wire of the management API.
func managementWire() wire {
	schemes := append(anyCredential(), []string{"queryKey", "queryKeySecret"}, []string{"queryClient", "queryClientSecret"})
	return wire{name: "managing", schemes: schemes, media: problemType, failure: problemOf(), header: limitHeaders("Deprecation"), failed: []string{fiber.HeaderXRequestID},
		statuses: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity,
			http.StatusTooManyRequests, http.StatusServiceUnavailable}}
}

// writing is that of what changes something.
func writing() wire {
	w := managementWire()
	w.name = "writing"
	w.statuses = append(w.statuses, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusNotImplemented)
	return w
}

// measuring is that of the metrics, which are not limited.
func measuring() wire {
	w := managementWire()
	w.schemes = anyCredential()
	return w
}

// documents is that of what anybody may read.
func documents() wire {
	return wire{name: "reading", media: problemType, failure: problemOf(), header: []string{fiber.HeaderXRequestID, "DPoP-Nonce"},
		statuses: []int{http.StatusServiceUnavailable}}
}

func authZEN() wire {
	return wire{name: "deciding", schemes: anyCredential(), media: fiber.MIMEApplicationJSON, failure: named{"AuthZENError", schema{"type": "string"}},
		header: limitHeaders(), statuses: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}}
}

func oauthError() any { return named{"OAuthError", members("error!", "error_description!")} }

// oauth is the wire of the endpoints for clients, which can authenticate by members of the form as well.
func oauth() wire {
	return wire{name: "oauth", schemes: [][]string{{"basic"}, {"mutualTLS"}, {}, {"bearer"}}, media: fiber.MIMEApplicationJSON, failure: oauthError(),
		header:   limitHeaders(fiber.HeaderPragma),
		statuses: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}}
}

func bearers() wire {
	w := oauth()
	w.name, w.schemes = "bearer", [][]string{{"bearer"}, {"dpop"}, {"oauth2"}}
	return w
}

func exchanging() wire {
	w := oauth()
	w.name, w.schemes = "exchanging", [][]string{{"basic"}, {"bearer"}, {"keyPair", "keyPairSecret"}}
	return w
}

func oem() wire {
	w := writing()
	w.header = append(w.header, maybe+fiber.HeaderWWWAuthenticate) // with insufficient_scope, too
	w.name, w.media, w.failure, w.failed = "oem", fiber.MIMEApplicationJSON, named{"OEMError", members("error!", "error_description!", "status!:integer")}, nil
	return w
}

func pageHeaders() []string {
	return []string{fiber.HeaderContentSecurityPolicy, fiber.HeaderXFrameOptions, fiber.HeaderXContentTypeOptions, fiber.HeaderReferrerPolicy}
}

// browsing is the wire of pages.
func browsing() wire {
	return wire{name: "browsing", schemes: [][]string{{}, {"session"}}, media: fiber.MIMETextHTML, failure: schema{"type": "string"},
		header:   append(limitHeaders(), fiber.HeaderSetCookie, fiber.HeaderContentSecurityPolicy, fiber.HeaderXFrameOptions, fiber.HeaderXContentTypeOptions, fiber.HeaderReferrerPolicy),
		statuses: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable}}
}

// problemOf is the body of an error (RFC 9457).
func problemOf() named {
	made := members("type!", "title!", "status!:integer", "code!", "detail!", "request_id!", "errors", "groups")
	made["properties"].(schema)["errors"] = listOf(members("field!", "message!"))
	made["properties"].(schema)["groups"] = listOf(turnMembers())
	return named{"Problem", made}
}

func (d *document) headers() {
	always := []string{fiber.HeaderETag, fiber.HeaderWWWAuthenticate, fiber.HeaderRetryAfter, fiber.HeaderLocation}
	for name, words := range headerWords() {
		h := openapi31.Header{Schema: schema{"type": "string"}}
		h.WithDescription(words).WithRequired(slices.Contains(always, name))
		d.spec.Components.WithHeadersItem(name, openapi31.HeaderOrReference{Header: &h})
	}
}

func (d *document) parameters() {
	add := func(name string, in openapi31.ParameterIn, s schema, words string) {
		p := openapi31.Parameter{Name: name, In: in, Schema: s}
		d.spec.Components.WithParametersItem(name, openapi31.ParameterOrReference{Parameter: p.WithDescription(words)})
	}
	for name, words := range parameterWords() {
		s := schema{"type": "string"}
		switch name {
		case "limit":
			s = schema{"type": "integer", "minimum": 1, "maximum": manage.MaxPage}
		case "at_least":
			s = schema{"type": "integer", "minimum": 0}
		}
		add(name, openapi31.ParameterInQuery, s, words)
	}
	for name, words := range requestHeaderWords() {
		s := schema{"type": "string"}
		switch name {
		case "Confirm":
			s = schema{"type": "string", "enum": []any{"true"}}
		case fiber.HeaderIfNoneMatch:
			s = schema{"type": "string", "enum": []any{"*"}}
		case "Idempotency-Key":
			s = schema{"type": "string", "maxLength": maxIdempotencyKey}
		}
		add(name, openapi31.ParameterInHeader, s, words)
	}
	have := openapi31.Parameter{Name: fiber.HeaderIfNoneMatch, In: openapi31.ParameterInHeader, Schema: schema{"type": "string"}}
	d.spec.Components.WithParametersItem(scimIfNoneMatch, openapi31.ParameterOrReference{Parameter: have.WithDescription("The ETag of what the caller has.")})
	filters := []string{}
	for _, k := range manage.Kinds() {
		filters = append(filters, k.Filters()...)
	}
	for _, name := range append(filters, manage.DeliveryFilters()...) {
		if _, known := d.spec.Components.Parameters[name]; !known {
			add(name, openapi31.ParameterInQuery, schema{"type": "string"}, "Only those whose `"+name+"` is this, or has it.")
		}
	}
}

func (d *document) securitySchemes() {
	add := func(name string, s openapi31.SecurityScheme, words string) {
		d.spec.Components.WithSecuritySchemesItem(name, openapi31.SecuritySchemeOrReference{SecurityScheme: s.WithDescription(words)})
	}
	key := func(name string, in openapi31.SecuritySchemeAPIKeyIn) openapi31.SecurityScheme {
		return openapi31.SecurityScheme{APIKey: &openapi31.SecuritySchemeAPIKey{Name: name, In: in}}
	}
	add("bearer", openapi31.SecurityScheme{HTTPBearer: &openapi31.SecuritySchemeHTTPBearer{Scheme: "bearer"}},
		"An access token (RFC 6750), an API key of the kind bearer, or base64(vendor token:partner token) of a vendor.")
	add("basic", openapi31.SecurityScheme{HTTP: &openapi31.SecuritySchemeHTTP{Scheme: "basic"}}, "A client and its secret (RFC 6749 §2.3.1), or a user and its password.")
	add("dpop", openapi31.SecurityScheme{HTTP: &openapi31.SecuritySchemeHTTP{Scheme: "dpop"}}, "An access token that is bound to a key, with a proof in the header DPoP (RFC 9449).")
	add("keyPair", key("X-API-Key", openapi31.SecuritySchemeAPIKeyInHeader), "The key of an API key of the kind pair.")
	add("keyPairSecret", key("X-API-Secret", openapi31.SecuritySchemeAPIKeyInHeader), "Its secret.")
	const inQuery = " Deprecated: queries end up in the logs of proxies. An operator can switch it off."
	add("queryKey", key("apikey", openapi31.SecuritySchemeAPIKeyInQuery), "The key of a pair."+inQuery)
	add("queryKeySecret", key("apisecret", openapi31.SecuritySchemeAPIKeyInQuery), "Its secret."+inQuery)
	add("queryClient", key("client_id", openapi31.SecuritySchemeAPIKeyInQuery), "A client."+inQuery)
	add("queryClientSecret", key("client_secret", openapi31.SecuritySchemeAPIKeyInQuery), "Its secret."+inQuery)
	add("partnerQueryClient", key("clientID", openapi31.SecuritySchemeAPIKeyInQuery), "A client, as partners know it."+inQuery)
	add("partnerQueryClientSecret", key("clientSecret", openapi31.SecuritySchemeAPIKeyInQuery), "Its secret."+inQuery)
	add("mutualTLS", openapi31.SecurityScheme{MutualTLS: &openapi31.MutualTLS{}}, "A client by its certificate (RFC 8705), where the server asks for certificates.")
	add("session", key("the browser's session", openapi31.SecuritySchemeAPIKeyInCookie), "A person who has signed in.")
	scopes := map[string]string{"decide": "Ask for decisions.", "manage": "Use the management API.", "register": "Register clients."}
	token := d.tenant.Issuer + "/oauth2/token"
	flows := openapi31.OauthFlows{ClientCredentials: &openapi31.OauthFlowsDefsClientCredentials{TokenURL: token, Scopes: scopes},
		AuthorizationCode: &openapi31.OauthFlowsDefsAuthorizationCode{AuthorizationURL: d.tenant.Issuer + "/authorize", TokenURL: token, RefreshURL: &token, Scopes: scopes}}
	add("oauth2", openapi31.SecurityScheme{Oauth2: &openapi31.SecuritySchemeOauth2{Flows: flows}}, "An access token for Mandate itself: its audience is the issuer.")
}
