package mandate.manage

import data.mandate.request

# METADATA
# description: |
#   What is about no record of the directory: the signing keys (keys.*), the policy sets (policies.*), the metrics, what was
#   decided (decisions.*) and could be (access.*), of an organization for its own, and documents of the policies (data.query), for which "decide" is enough. Of Mandate's own packages that opens the decisions only: their
#   other rules tell what the directory says of anybody. Registration of clients (clients.register) is in
#   registration.rego, what a token is good for (tokens.introspect) in introspection.rego. No user's token opens these.
service if {
	some prefix in ["keys.", "policies.", "decisions.", "access."]
	startswith(input.action.name, prefix)
}

service if input.action.name in {"data.query", "metrics.read"}

service if registration

service if introspection

service_grant := {"code": "scope", "message": "The caller holds the scope for this."} if {
	scope_held
} else := {"code": "open_registration", "message": "Clients may be registered here by anybody."} if {
	registration_open
} else := {"code": "own_token", "message": "The token was issued to the caller."} if {
	token_is_callers
} else := {"code": "audience", "message": "The token is for an audience that the caller stands for."} if {
	token_for_caller
}

scope_held if {
	not introspection
	machine_with("manage")
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
service_in_reach if {
	not of_the_whole_tenant
	request.in_callers_org
}

service_in_reach if {
	of_the_whole_tenant
	request.caller_unbound
}

service_in_reach if registration_open

service_in_reach if token_is_callers

of_the_whole_tenant if startswith(input.action.name, "keys.")

of_the_whole_tenant if startswith(input.action.name, "policies.")

of_the_whole_tenant if registration
