# METADATA
# title: Tokens
# description: |
#   What may this token carry? The grant, the client, the target, the scopes and the organization must all be in
#   order; then the token carries what was asked for, or everything that the client may have of the target.
#   Reason codes are OAuth error codes.
package mandate.tokens

import data.mandate.request as question

# What Mandate itself, the issuer as a target, offers. Scopes of tokens are compared by name: a
# client whose record says "documents:*" can decide on it, but cannot turn it into a scope that nobody listed.
issuer_scopes := ["decide", "manage"]

# Extra claims for every token, by name.
claims := {}

default decision := {
	"allow": false,
	"reasons": [{"code": "access_denied", "message": "Nothing grants this token."}],
	"obligations": [],
	"scopes": [],
	"lifetime": 0,
	"claims": {},
}

# METADATA
# title: Decision
# description: What may the token that the principal asks for carry?
# entrypoint: true
decision := {
	"allow": true,
	"reasons": [{"code": "scope", "message": "The client and its target share these scopes."}],
	"obligations": [],
	"scopes": sort(scopes),
	"lifetime": lifetime,
	"claims": claims,
	"org": org,
} if {
	allow
	org
} else := {
	"allow": true,
	"reasons": [{"code": "scope", "message": "The client and its target share these scopes."}],
	"obligations": [],
	"scopes": sort(scopes),
	"lifetime": lifetime,
	"claims": claims,
} if {
	allow
	no_org
} else := {
	"allow": false,
	"reasons": [refusal],
	"obligations": [],
	"scopes": [],
	"lifetime": 0,
	"claims": {},
}

allow if {
	well_formed
	input.request.grant_type == "client_credentials"
	client_active
	asks_for_itself
	grant_type_registered
	target_allowed
	scopes_granted
	org_granted
	lifetime
}

refusal := {
	"code": "invalid_request",
	"message": "Send grant_type, issuer, audience and, where asked for, org as non-empty strings, scopes as a list of strings, and a positive default lifetime.",
} if {
	not well_formed
} else := {
	"code": "unsupported_grant_type",
	"message": "This grant type is not supported; use client_credentials.",
} if {
	input.request.grant_type != "client_credentials"
} else := {
	"code": "unauthorized_client",
	"message": "With client_credentials a client gets a token for itself; authenticate as that client.",
} if {
	not asks_for_itself
} else := {
	"code": "invalid_client",
	"message": "The client is unknown or disabled; it must be active.",
} if {
	not client_active
} else := {
	"code": "unauthorized_client",
	"message": "The client is not registered for client_credentials; add it to the client's grant_types.",
} if {
	not grant_type_registered
} else := {
	"code": "invalid_target",
	"message": "The client has no grant for this audience; ask for one of the client's audiences that is the audience of an API.",
} if {
	not target_allowed
} else := {
	"code": "invalid_scope",
	"message": "The client shares no scope with this audience; add one to the client, or ask for another audience.",
} if {
	not asked
	not scopes_granted
} else := {
	"code": "invalid_scope",
	"message": "No scope was asked for; name at least one, or leave the list out to get all that the client may have.",
} if {
	count(asked) == 0
} else := {
	"code": "invalid_scope",
	"message": sprintf("Not granted to the client for this audience: %s. Ask for less, or add them to the client and the API.", [concat(" ", sort(refused_scopes))]),
} if {
	not scopes_granted
} else := {
	"code": "access_denied",
	"message": "The client may not act in the organization asked for; ask for one of its own, or add the organization to the client.",
} if {
	org
	not may_act_in_org
} else := {
	"code": "access_denied",
	"message": "The client's organization is suspended or does not exist; ask for another one, or have it made active.",
} if {
	not org_granted
}

well_formed if {
	question.text(input.principal.type)
	question.text(input.principal.sub)
	question.text(input.request.grant_type)
	question.text(input.request.issuer)
	question.text(input.request.audience)
	question.optional_text(input.request, "api")
	question.optional_text(input.request, "org")
	positive(input.request.default_lifetime)
	scopes_well_formed
}

scopes_well_formed if not question.has(input.request, "scopes")

scopes_well_formed if {
	is_array(input.request.scopes)
	every scope in input.request.scopes {
		question.text(scope)
	}
}

client := data.clients[input.principal.sub] if input.principal.type == "client"

client_active if client.status == "active"

asks_for_itself if {
	input.principal.type == "client"
	input.caller.type == "client"
	input.caller.sub == input.principal.sub
}

grant_type_registered if input.request.grant_type in client.grant_types

# The target: Mandate itself, or an API that the client is registered for. An API that claims the issuer's audience
# does not become Mandate, and a client's audience that is nobody's gets no token.
target_is_issuer if input.request.audience == input.request.issuer

api := data.apis[input.request.api] if not target_is_issuer

target_allowed if target_is_issuer

target_allowed if {
	api.audience == input.request.audience
	input.request.audience in client.audiences
}

target_scopes := issuer_scopes if {
	target_is_issuer
} else := api.scopes

available contains scope if {
	some scope in client.scopes
	scope in target_scopes
}

asked := {scope | some scope in input.request.scopes} if question.has(input.request, "scopes")

refused_scopes := asked - available

scopes := asked if {
	question.has(input.request, "scopes")
} else := available

scopes_granted if {
	count(scopes) > 0
	every scope in scopes {
		scope in available
	}
}

# The organization that the token is bound to: the one asked for, the client's home, or the only one that it
# may act in. Without any, the token is bound to none, and each decision asks the client's record.
org := input.request.org if {
	question.has(input.request, "org")
} else := client.org if {
	question.has(client, "org")
} else := client.orgs[0] if {
	count(client.orgs) == 1
}

no_org if not org

org_granted if no_org

org_granted if {
	may_act_in_org
	data.orgs[org].profile.status == "active"
}

may_act_in_org if client.org == org

may_act_in_org if org in client.orgs

# The client's own lifetime goes first, then the API's, then the tenant's.
lifetime := client.token_lifetime if {
	positive(client.token_lifetime)
} else := api.token_lifetime if {
	positive(api.token_lifetime)
} else := input.request.default_lifetime if {
	positive(input.request.default_lifetime)
}

positive(seconds) if {
	is_number(seconds)
	seconds > 0
}
