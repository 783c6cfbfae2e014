package mandate.tokens

# METADATA
# description: |
#   The first thing that was missing. What has ended is an invalid_grant, what a person or an organization may not is
#   access_denied. To somebody who has nothing to do with an organization, one that exists, one that is suspended and
#   one that does not exist look the same.
refusal := {
	"code": "invalid_request",
	"message": "Send stage, issuer, audience and, where asked for, org as non-empty strings, scopes as a list of strings, and a positive default lifetime; a grant_type unless the stage is present.",
} if {
	not well_formed
} else := {
	"code": "unsupported_grant_type",
	"message": "This grant type is not supported here.",
} if {
	not grant_supported
} else := {
	"code": "unauthorized_client",
	"message": "The client is unknown or disabled; it must be active.",
} if {
	not client_active
} else := {
	"code": "unauthorized_client",
	"message": "The client is not registered for this grant type; add it to the client's grant_types.",
} if {
	not grant_registered
} else := {
	"code": "unauthorized_client",
	"message": "With this grant type a client gets a token for itself; authenticate as that client, with a credential of its own.",
} if {
	input.request.grant_type in own_grants
	not entitled
} else := {
	"code": "unauthorized_client",
	"message": "The client may not exchange a token from there; only one that it was given itself, or one of an organization, a key or a vendor that it acts for.",
} if {
	input.request.grant_type == token_exchange
	not entitled
} else := {
	"code": "unauthorized_client",
	"message": "The client may not have a token for this subject in this way.",
} if {
	not entitled
} else := {
	"code": "invalid_target",
	"message": "The client has no grant for this audience; ask for one of the client's audiences that is the audience of an API.",
} if {
	not target_allowed
} else := {
	"code": "access_denied",
	"message": "The organization has no active integration with this vendor; it can enable one.",
} if {
	input.principal.type == "vendor"
	not subject_active
} else := {
	"code": "invalid_grant",
	"message": "The subject of the token is unknown, disabled or revoked, or the owner of the key is no developer any more.",
} if {
	not subject_active
} else := {
	"code": "access_denied",
	"message": "The subject or the client may not act in the organization asked for; ask for one of its own, or add the organization to the client.",
} if {
	org
	not known_to_org
} else := {
	"code": "access_denied",
	"message": "The organization is suspended or does not exist; ask for another one, or have it made active.",
} if {
	not org_granted
} else := {
	"code": "access_denied",
	"message": "The vendor of the client is suspended, or the organization has no active integration with it; it can enable one.",
} if {
	not vendor_welcome
} else := {
	"code": "invalid_request",
	"message": "A party that acts for the subject may not do so any more; each must be an active client that is registered for token exchange and may act in the organization.",
} if {
	not actors_may_act
} else := {
	"code": "invalid_grant",
	"message": "The consent is gone: the user has not agreed, or not any more, that the client acts in the organization; ask the user again.",
} if {
	not agreement_stands
} else := {
	"code": "invalid_scope",
	"message": "Nothing of the target can be given to the client and the subject; ask for another audience, or add a scope to those who lack it.",
} if {
	not asked
	not scopes_granted
} else := {
	"code": "invalid_scope",
	"message": "No scope was asked for; name at least one, or leave the list out to get all that there is.",
} if {
	count(asked) == 0
	not scopes_granted
} else := {
	"code": "invalid_scope",
	"message": sprintf("Not granted for this audience: %s. Ask for less, or add them to the client and the API.", [concat(" ", sort(refused_scopes))]),
} if {
	not scopes_granted
}
