# METADATA
# title: Tokens
# description: |
#   What may this token carry? request.stage says when this is asked:
#
#   - authorize: what could the user let the client have? Consent that is missing is an obligation.
#   - issue: what may a token carry that is about to be signed? What was asked for and may not be is a refusal.
#   - present: what is a token that was issued good for now? Of its scopes those that it could still get.
#
#   Every line of `allow` must hold. Who may get which token is in grants.rego, for whom in subjects.rego, where it is
#   good in targets.rego, what a user has agreed to in consents.rego. `refusal` (reasons.rego) says the first thing
#   that was missing and never decides anything. Reason codes are OAuth error codes.
package mandate.tokens

import data.mandate.request as question

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
# description: What may the token that is asked for, or was presented, carry?
# entrypoint: true
decision := object.union(granted, {"org": org}) if {
	allow
	org
} else := granted if {
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

granted := {
	"allow": true,
	"reasons": [{"code": "scope", "message": "All who have a say in the token share these scopes."}],
	"obligations": obligations,
	"scopes": sort(scopes),
	"lifetime": lifetime,
	"claims": claims,
}

allow if {
	well_formed
	client_active
	grant_registered
	entitled
	target_allowed
	subject_active
	actors_may_act
	org_granted
	vendor_welcome
	agreement_stands
	scopes_granted
	lifetime
}

well_formed if {
	stage_well_formed
	caller_well_formed
	question.text(input.principal.type)
	question.text(input.principal.sub)
	question.optional_text(input.principal, "org")
	question.optional_text(input.principal, "azp")
	question.optional_text(input.principal, "connection")
	question.text(input.request.issuer)
	question.text(input.request.audience)
	question.optional_text(input.request, "api")
	question.optional_text(input.request, "org")
	positive(input.request.default_lifetime)
	question.optional_texts(input.request, "scopes")
	question.optional_texts(input.principal, "scopes")
	question.optional_texts(actor, "scopes")
}

stage_well_formed if {
	input.request.stage in {"authorize", "issue"}
	question.text(input.request.grant_type)
}

stage_well_formed if {
	presented
	not question.has(input.request, "grant_type")
}

caller_well_formed if not with_client

caller_well_formed if question.text(input.caller.sub)

presented if input.request.stage == "present"

# Nobody gets more than everybody involved has.
available contains scope if {
	some scope in offered
	client_has(scope)
	subject_has(scope)
	credential_has(scope)
	actor_has(scope)
	agreed_or_open(scope)
}

asked := {scope | some scope in input.request.scopes} if question.has(input.request, "scopes")

scopes := asked & available if {
	presented
} else := asked if {
	question.has(input.request, "scopes")
} else := available

refused_scopes := asked - available

scopes_granted if {
	count(scopes) > 0
	count(scopes - available) == 0
}

# A token without scopes was issued for something else than them.
scopes_granted if {
	presented
	count(asked) == 0
}

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
