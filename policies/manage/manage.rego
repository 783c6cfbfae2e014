# METADATA
# title: Manage
# description: |
#   Who may change the directory: a caller with the scope "manage", and one that is bound to an organization only
#   within it. Asking for a document of the policies (data.query) takes no more than "decide", but of mandate's own
#   packages that opens the decisions only: their other rules tell what the directory says of anybody.
#
#   Beside the directory there are signing keys (keys.list, keys.rotate, keys.revoke), which are the whole tenant's; the
#   registration of clients (clients.register), in registration.rego; and tokens (tokens.introspect), in introspection.rego.
package mandate.manage

import data.mandate.request

default decision := {
	"allow": false,
	"reasons": [{"code": "not_granted", "message": "Nothing grants this change."}],
	"obligations": [],
}

# METADATA
# title: Decision
# description: May the caller make this change to the directory?
# entrypoint: true
decision := {
	"allow": true,
	"reasons": [grant],
	"obligations": obligations,
} if {
	well_formed
	grant
	in_reach
} else := {"allow": false, "reasons": [refusal], "obligations": []}

grant := {"code": "scope", "message": "The caller holds the scope for this."} if {
	scope_held
} else := {"code": "open_registration", "message": "Clients may be registered here by anybody."} if {
	registration_open
} else := {"code": "own_token", "message": "The token was issued to the caller."} if {
	token_is_callers
} else := {"code": "audience", "message": "The token is for an audience that the caller stands for."} if {
	token_for_caller
}

refusal := {
	"code": "registration_closed",
	"message": "Clients cannot be registered here without an initial access token; send one that carries the scope register.",
} if {
	registration
	not grant
} else := {
	"code": "token_of_others",
	"message": "The token is neither the caller's nor for an audience that the caller stands for; add the audience to the caller's record, or the scope decide to a caller that has no audiences.",
} if {
	introspection
	not grant
} else := {
	"code": "scope_missing",
	"message": "The caller's credential lacks the scope manage; use one that carries it.",
} if {
	not grant
} else := {
	"code": "request_malformed",
	"message": "Send action.name and resource.type as non-empty strings.",
} if {
	not well_formed
} else := {
	"code": "wrong_org",
	"message": "The caller is bound to one organization and may change only what belongs to it.",
} if {
	not in_reach
}

scope_held if {
	not introspection
	request.caller_holds("manage")
}

scope_held if {
	input.action.name == "data.query"
	request.caller_holds("decide")
	open_to_queries
}

scope_held if {
	registration
	request.caller_holds("register")
}

open_to_queries if input.resource.id in {"mandate/access/decision", "mandate/tokens/decision", "mandate/manage/decision"}

open_to_queries if not startswith(concat("", [input.resource.id, "/"]), "mandate/")

# What belongs to no organization is out of reach for a caller that is bound to one.
in_reach if {
	not tenant_wide
	request.in_callers_org
}

in_reach if {
	tenant_wide
	request.caller_unbound
}

in_reach if registration_open

in_reach if token_is_callers

tenant_wide if startswith(input.action.name, "keys.")

tenant_wide if registration

# A collection as a whole has no id, so none is asked for here.
well_formed if {
	request.text(input.action.name)
	request.text(input.resource.type)
	request.properties_well_formed
	not request.contradictory
}
