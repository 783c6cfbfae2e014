package mandate.tokens

import data.mandate.directory

# The target: Mandate itself, or an API that the client is registered for. An API that claims the issuer's audience
# does not become Mandate, and a client's audience that is nobody's gets no token.
target_is_issuer if input.request.audience == input.request.issuer

api := data.apis[input.request.api] if not target_is_issuer

target_allowed if target_is_issuer

target_allowed if {
	api.audience == input.request.audience
	audience_registered
}

audience_registered if not with_client

audience_registered if input.request.audience in client.audiences

# An API cannot offer what means something at Mandate itself.
offered contains scope if {
	some scope in api.scopes
	not scope in directory.issuer_scopes
	not scope in directory.protocol_scopes
}

# Scopes of tokens are compared by name: a client whose record says "documents:*" can decide on it, but cannot turn it into a
# scope that nobody listed.
offered contains scope if {
	target_is_issuer
	input.principal.type in {"client", "apikey"}
	some scope in directory.issuer_scopes
}

# The administrators of an organization manage it by the tenant's own applications, with a token for that organization:
# nobody's session, and no application of others, gets that far.
offered contains "manage" if {
	target_is_issuer
	input.principal.type == "user"
	with_client
	trusted
	org
}

offered contains scope if {
	input.principal.type == "user"
	with_client
	some scope in directory.protocol_scopes
}

client_has(_) if not with_client

client_has(scope) if {
	scope in client.scopes
	scope != "offline_access"
}

client_has("offline_access") if {
	"offline_access" in client.scopes
	"refresh_token" in client.grant_types
}
