# METADATA
# title: Manage
# description: |
#   Who may change the directory, and ask the service for what is not a decision. An action is a collection and a verb:
#   "orgs.members.update". By default, in the order of capacity.rego:
#
#   - a user with a token for administration (scope manage): what their roles in the token's organization permit, and
#     what they made themself;
#   - a key or client with the scope manage that is bound to no organization: everything;
#   - one that is bound to organizations: everything that belongs to those;
#   - a key that has an owner: what the owner's roles permit;
#   - a client with the scope oem:partner_token: integrations of vendors;
#   - a key with the scope scim: the members of its organization;
#   - anybody: their own sessions, grants and consents, and the invitation that was mailed to them.
#
#   Each line of `allow` is a file: capacity.rego, reach.rego, permissions.rego, held.rego (nobody gives what they do not
#   hold), tenant.rego (what only the tenant sets), admins.rego (somebody must be left to manage). What is about no
#   record is in service.rego. `refusal` (reasons.rego) says the first thing that was missing and never decides anything.
package mandate.manage

import data.mandate.request

default decision := {
	"allow": false,
	"reasons": [{"code": "not_granted", "message": "Nothing grants this change."}],
	"obligations": [],
}

# METADATA
# title: Decision
# description: May the caller do this to the directory?
# entrypoint: true
decision := {"allow": true, "reasons": [grant], "obligations": obligations} if allow

else := {"allow": false, "reasons": [refusal], "obligations": []}

allow if {
	well_formed
	service
	service_grant
	service_in_reach
}

allow if {
	well_formed
	known_action
	record_well_formed
	capacity
	reached
	org_open
	permitted
	id_made
	may_join
	invites_properly
	resumable
	count(tenant_only) == 0
	count(missing) == 0
	admins_remain
	deliberate
}

# A collection as a whole has no id, so none is asked for here.
well_formed if {
	request.text(input.action.name)
	request.text(input.resource.type)
	request.properties_well_formed
	not request.contradictory
}
