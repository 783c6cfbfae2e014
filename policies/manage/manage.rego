# METADATA
# title: Manage
# description: |
#   Who may change the directory: a caller with the scope "manage", and one that is bound to an organization only
#   within it. Asking for a document of the policies (data.query) takes no more than "decide", but of mandate's own
#   packages that opens the decisions only: their other rules tell what the directory says of anybody.
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
	"reasons": [{"code": "scope", "message": "The caller holds the scope for this."}],
	"obligations": [],
} if {
	well_formed
	scope_held
	request.in_callers_org
} else := {"allow": false, "reasons": [refusal], "obligations": []}

refusal := {
	"code": "scope_missing",
	"message": "The caller's credential lacks the scope manage; use one that carries it.",
} if {
	not scope_held
} else := {
	"code": "request_malformed",
	"message": "Send action.name and resource.type as non-empty strings.",
} if {
	not well_formed
} else := {
	"code": "wrong_org",
	"message": "The caller is bound to one organization and may change only what belongs to it.",
} if {
	not request.in_callers_org
}

scope_held if request.caller_holds("manage")

scope_held if {
	input.action.name == "data.query"
	request.caller_holds("decide")
	open_to_queries
}

open_to_queries if input.resource.id in {"mandate/access/decision", "mandate/tokens/decision", "mandate/manage/decision"}

open_to_queries if not startswith(concat("", [input.resource.id, "/"]), "mandate/")

# A collection as a whole has no id, so none is asked for here.
well_formed if {
	request.text(input.action.name)
	request.text(input.resource.type)
	request.properties_well_formed
	not request.contradictory
}
