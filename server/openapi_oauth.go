package server

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/tokens"
)

// tokenParameters are those of all grants; a grant needs some of them.
func tokenParameters() []string {
	return []string{"grant_type!", "client_id", "client_secret", "client_assertion", "client_assertion_type", "audience", "scope", "org", "organization", "resource*",
		"code", "redirect_uri", "code_verifier", "refresh_token", "device_code", "assertion", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
		"requested_token_type"}
}

// authenticating are the parameters by which a client can authenticate in the form (RFC 6749 §2.3.1, RFC 7521 §4.2).
func authenticating(more ...string) content {
	return formOf(append([]string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}, more...)...)
}

// oauthOperations are those of the authorization server that clients call.
func oauthOperations() []operation {
	token := map[int]content{http.StatusOK: jsonOf(tokens.Response{})}
	asked := formOf(tokenParameters()...)
	proof := []string{"DPoP"}
	inJSON := openMembers(tokenParameters()...)
	inJSON["properties"].(schema)["resource"] = schema{"type": "string"}
	clientCredentials := map[string]any{"grant_type": "client_credentials", "audience": "https://documents.example"}
	all := []operation{
		{path: "/oauth2/token", id: "token", tag: "Tokens", summary: "Get a token", about: "The token endpoint (RFC 6749 §3.2) for all grants, the token exchange among them (RFC 8693).",
			header: proof, takes: asked, gives: token, example: example{body: clientCredentials, as: "acme-sync"}},
		{path: "/oauth/token", id: "tokenOrJSON", tag: "Tokens", summary: "Get a token, by parameters in JSON as well", about: "The same as /oauth2/token, as machine-to-machine products have it.",
			header: proof, takes: content{fiber.MIMEApplicationForm: asked[fiber.MIMEApplicationForm], fiber.MIMEApplicationJSON: inJSON}, gives: token},
		{path: "/oauth2/par", id: "pushAuthorizationRequest", tag: "Tokens", summary: "Push an authorization request", about: "RFC 9126.", header: proof,
			takes: authenticating("response_type", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "resource*", "audience", "org", "organization", "prompt", "login_hint", "max_age"),
			gives: map[int]content{http.StatusCreated: jsonOf(tokens.Pushed{})}, example: example{as: "documents-app", body: map[string]any{"response_type": "code",
				"redirect_uri": "http://127.0.0.1:8081/callback", "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"}}},
		{path: "/oauth2/device_authorization", id: "authorizeDevice", tag: "Tokens", summary: "Begin a device authorization", about: "RFC 8628.",
			takes: authenticating("scope", "audience", "resource*", "org", "organization"), gives: map[int]content{http.StatusOK: jsonOf(tokens.DeviceResponse{})},
			example: example{anonymous: true, body: map[string]any{"client_id": "acme-cli", "audience": "https://documents.example"}}},
		{path: "/oauth2/revoke", id: "revokeToken", tag: "Tokens", summary: "Revoke a token", about: "RFC 7009. A token that is not known is as good as revoked.",
			takes: authenticating("token", "token_type_hint"), gives: map[int]content{http.StatusOK: nil}, example: example{as: "acme-sync", body: map[string]any{"token": "of-former-days"}}},
		{path: "/oauth2/introspect", id: "introspectToken", tag: "Tokens", summary: "Ask what a token is good for", about: "RFC 7662. What the caller may not see looks like a token that is not active.",
			action: "tokens.introspect", takes: authenticating("token", "token_type_hint"), gives: map[int]content{http.StatusOK: jsonOf(tokens.Introspection{})},
			example: example{as: "documents-api", body: map[string]any{"token": "of-former-days"}}},
	}
	for i := range all {
		all[i].method, all[i].wire = http.MethodPost, oauth()
	}
	return append(all, registering()...)
}

func registering() []operation {
	claims := jsonOf(members("sub!", "org", "preferred_username", "email"))
	all := []operation{
		{method: http.MethodPost, path: "/oauth2/register", id: "registerClient", tag: "Tokens", summary: "Register a client", about: "RFC 7591. Members that mean nothing here are left out of the answer.",
			action: "clients.register", wire: bearers(), takes: jsonOf(clientMetadata{}), gives: map[int]content{http.StatusCreated: jsonOf(tokens.Registered{})}},
		{method: http.MethodGet, path: "/userinfo", id: "userinfo", tag: "Tokens", summary: "Who the user of an access token is", about: "OpenID Connect Core §5.3. The token needs the scope `openid`.",
			wire: bearers(), gives: map[int]content{http.StatusOK: claims}},
		{method: http.MethodPost, path: "/userinfo", id: "userinfoByPost", tag: "Tokens", summary: "The same as GET", wire: bearers(), gives: map[int]content{http.StatusOK: claims}},
	}
	all[0].wire.schemes = append([][]string{{}}, all[0].wire.schemes...) // the policy can let anybody register
	return all
}

// clientMetadata are those of RFC 7591 §2, of which others are ignored.
type clientMetadata struct{}

func (clientMetadata) schemaBy(s *schemas) schema {
	made := requiring(s.reflect(tokens.Registration{}))
	delete(made, "additionalProperties")
	return made
}

// exchangeOperations turn what a person or a program has into a token.
func exchangeOperations() []operation {
	token := map[int]content{http.StatusOK: jsonOf(tokens.Response{})}
	both := func(list ...string) content {
		inJSON := openMembers(list...)
		if _, ok := inJSON["properties"].(schema)["resource"]; ok {
			inJSON["properties"].(schema)["resource"] = schema{"type": "string"}
		}
		return content{fiber.MIMEApplicationForm: openMembers(list...), fiber.MIMEApplicationJSON: inJSON}
	}
	var all []operation
	for i, path := range []string{"/auth", "/auth/", "/1/auth", "/1/auth/"} {
		o := operation{method: http.MethodPost, path: path, id: "exchange" + []string{"", "Slash", "V1", "V1Slash"}[i], tag: "Exchange",
			summary: "Turn a password or an API key into a token", about: "Neither reaches the code of a client then. No body is needed; one asks for less.",
			wire: exchanging(), takes: both("audience", "scope", "org", "organization", "resource*"), optional: true, gives: token}
		if i > 0 {
			o.about = "The same as POST /auth, for those who know it by this path."
		} else {
			o.example = example{as: "acme-key", body: map[string]any{"audience": "https://documents.example"}}
		}
		all = append(all, o)
	}
	for i, path := range []string{"/auth/refresh", "/1/auth/refresh"} {
		all = append(all, operation{method: http.MethodPost, path: path, id: "refresh" + []string{"", "V1"}[i], tag: "Exchange", summary: "Get the next token",
			about: "For the refresh token of an exchange.", wire: exchanging(), takes: both("refresh_token!", "scope", "audience", "resource*"), gives: token})
	}
	all[len(all)-1].wire.schemes, all[len(all)-2].wire.schemes = nil, nil
	return all
}

// documentOperations are what anybody may read.
func (h *handler) documentOperations() []operation {
	all := []operation{
		{path: "/openapi.json", id: "openAPI", tag: "Documents", summary: "This document", gives: map[int]content{http.StatusOK: jsonOf(schema{"type": "object"})}},
		{path: "/docs", id: "docs", tag: "Documents", summary: "This document, for people", gives: map[int]content{http.StatusOK: html()}},
		{path: "/docs/{topic}", id: "docsOfTopic", tag: "Documents", summary: "The operations of a topic", gives: map[int]content{http.StatusOK: html(), http.StatusNotFound: html()}},
		{path: "/.well-known/jwks.json", id: "jwks", tag: "Documents", summary: "The public keys of the tenant", about: "RFC 7517.",
			gives: map[int]content{http.StatusOK: jsonOf(keySetOf())}},
		{path: "/.well-known/openid-configuration", id: "openIDConfiguration", tag: "Documents", summary: "OpenID Connect Discovery",
			gives: map[int]content{http.StatusOK: jsonOf(openIDMetadataOf())}},
		{path: "/.well-known/oauth-authorization-server", id: "authorizationServerMetadata", tag: "Documents", summary: "Metadata of the authorization server", about: "RFC 8414.",
			rooted: true, gives: map[int]content{http.StatusOK: jsonOf(authorizationServerOf())}},
		{path: "/.well-known/oauth-protected-resource", id: "protectedResourceMetadata", tag: "Documents", summary: "Metadata of Mandate as a protected resource", about: "RFC 9728.",
			rooted: true, gives: map[int]content{http.StatusOK: jsonOf(members("resource!", "authorization_servers!*", "jwks_uri!", "scopes_supported!*", "bearer_methods_supported!*", "dpop_signing_alg_values_supported!*"))}},
		{path: "/.well-known/authzen-configuration", id: "authzenConfiguration", tag: "Documents", summary: "Metadata of the policy decision point", about: "AuthZEN §9.",
			rooted: true, gives: map[int]content{http.StatusOK: jsonOf(members("policy_decision_point!", "access_evaluation_endpoint!", "access_evaluations_endpoint!", "search_subject_endpoint!", "search_resource_endpoint!",
				"search_action_endpoint!", "signed_metadata!"))}},
	}
	for i := range all {
		o := &all[i]
		o.method, o.wire = http.MethodGet, documents()
		if strings.HasPrefix(o.path, "/docs") {
			o.wire.header = append(o.wire.header, pageHeaders()...)
		}
		o.example.ready, o.example.anonymous = o.rooted || strings.HasPrefix(o.path, "/.well-known/"), true
		if o.rooted {
			o.path += strings.TrimPrefix(h.tenant.Issuer, h.origin)
		}
	}
	return all
}

func keySetOf() schema {
	made := members("keys!")
	made["properties"].(schema)["keys"] = listOf(openMembers("kty!", "kid!", "alg!", "use"))
	return made
}

func authorizationServerOf() schema {
	return members("issuer!", "authorization_endpoint!", "token_endpoint!", "jwks_uri!", "pushed_authorization_request_endpoint!", "device_authorization_endpoint!",
		"introspection_endpoint!", "revocation_endpoint!", "registration_endpoint!", "grant_types_supported!*", "response_types_supported!*", "response_modes_supported!*",
		"scopes_supported!*", "prompt_values_supported!*", "code_challenge_methods_supported!*", "authorization_response_iss_parameter_supported!:boolean",
		"dpop_signing_alg_values_supported!*", "protected_resources!*", "tls_client_certificate_bound_access_tokens:boolean",
		"token_endpoint_auth_methods_supported!*", "token_endpoint_auth_signing_alg_values_supported!*",
		"revocation_endpoint_auth_methods_supported!*", "revocation_endpoint_auth_signing_alg_values_supported!*",
		"introspection_endpoint_auth_methods_supported!*", "introspection_endpoint_auth_signing_alg_values_supported!*")
}

func openIDMetadataOf() schema {
	return with(authorizationServerOf(), members("userinfo_endpoint!", "subject_types_supported!*", "id_token_signing_alg_values_supported!*", "claims_supported!*",
		"request_parameter_supported!:boolean", "request_uri_parameter_supported!:boolean", "claims_parameter_supported!:boolean"))
}

func html() content { return content{fiber.MIMETextHTML: schema{"type": "string"}} }

// pageOperations are what a person's browser is shown.
func (h *handler) pageOperations() []operation {
	sealed := "continue!"
	all := []operation{
		{path: "/authorize", id: "authorize", tag: "Pages", summary: "The authorization endpoint", about: "RFC 6749 §3.1. Where nobody has to be asked, the browser is sent back to the client at once.",
			query: []string{"response_type", "client_id", "redirect_uri", "request_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "resource", "audience", "org", "organization", "prompt", "login_hint", "max_age"}},
		{method: http.MethodPost, path: "/authorize", id: "authorizeByForm", tag: "Pages", summary: "The same, by a form", takes: content{fiber.MIMEApplicationForm: openMembers()}},
		{path: "/consent", id: "showConsent", tag: "Pages", summary: "Ask whether a client may", query: []string{"continue"}},
		{method: http.MethodPost, path: "/consent", id: "decideConsent", tag: "Pages", summary: "Answer that", takes: formOf(sealed, "decision", "org")},
		{path: "/login", id: "showLogin", tag: "Pages", summary: "Ask who somebody is"},
		{method: http.MethodPost, path: "/login", id: "signIn", tag: "Pages", summary: "Sign in", takes: formOf(sealed, "username", "password")},
		{path: callbackPath, id: "signedInElsewhere", tag: "Pages", summary: "Come back from an identity provider", query: []string{"code", "state", "iss", "error", "error_description"}},
		{path: "/logout", id: "showLogout", tag: "Pages", summary: "Ask whether to sign out"},
		{method: http.MethodPost, path: "/logout", id: "signOut", tag: "Pages", summary: "Sign out", takes: formOf("continue")},
		{path: devicePath, id: "showDevice", tag: "Pages", summary: "Ask for the code that a device shows", query: []string{"user_code"}},
		{method: http.MethodPost, path: devicePath, id: "findDevice", tag: "Pages", summary: "Find the device", takes: formOf(sealed, "user_code")},
		{method: http.MethodPost, path: devicePath + "/consent", id: "decideDevice", tag: "Pages", summary: "Answer whether it may", takes: formOf(sealed, "decision", "org")},
		{path: devicePath + "/done", id: "deviceDone", tag: "Pages", summary: "Go back to the device"},
		{path: accountPath, id: "showAccount", tag: "Pages", summary: "What the user has allowed"},
		{method: http.MethodPost, path: accountPath + "/revoke", id: "revokeConsent", tag: "Pages", summary: "Take it back", takes: formOf(sealed, "client", "org")},
		{path: invitationPath + "/{token}", id: "showInvitation", tag: "Pages", summary: "Show an invitation"},
		{method: http.MethodPost, path: invitationPath + "/{token}", id: "acceptInvitationPage", tag: "Pages", summary: "Accept it", takes: formOf(sealed)},
		{method: http.MethodPost, path: invitationPath + "/{token}/account", id: "makeAccount", tag: "Pages", summary: "Make an account to accept it with", takes: formOf(sealed, newPassword)},
		{path: invitationPath + "/done", id: "invitationDone", tag: "Pages", summary: "Say that it was accepted"},
	}
	if h.tenant.Deliveries != nil {
		all = append(all,
			operation{path: resetPath, id: "showReset", tag: "Pages", summary: "Ask who has forgotten a password"},
			operation{method: http.MethodPost, path: resetPath, id: "askReset", tag: "Pages", summary: "Mail a link", takes: formOf(sealed, "username")},
			operation{path: resetPath + "/sent", id: "resetSent", tag: "Pages", summary: "Say that it was mailed"},
			operation{path: resetPath + "/done", id: "resetDone", tag: "Pages", summary: "Say that the password was set"},
			operation{path: resetPath + "/{token}", id: "showNewPassword", tag: "Pages", summary: "Ask for another password"},
			operation{method: http.MethodPost, path: resetPath + "/{token}", id: "setPassword", tag: "Pages", summary: "Set it", takes: formOf(sealed, newPassword)})
	}
	for i := range all {
		o := &all[i]
		if o.method == "" {
			o.method = http.MethodGet
		}
		o.wire, o.gives = browsing(), map[int]content{http.StatusOK: html(), http.StatusSeeOther: nil}
	}
	return all
}
