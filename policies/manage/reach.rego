package mandate.manage

import data.mandate.directory
import data.mandate.request

# What the caller has to do with at all. Whatever else there is looks to it like what there is not.
reached if capacity == "tenant"

reached if capacity == "self"

reached if {
	capacity == "member"
	org == input.caller.org
	in_good_standing
	profile
}

reached if {
	in_child
	in_good_standing
	count(permissions) > 0
}

reached if {
	lists_children
	in_good_standing
}

reached if {
	capacity == "owner"
	request.in_callers_org
	in_good_standing
	profile
}

reached if {
	capacity in {"organization", "oem"}
	request.in_callers_org
	profile
}

# All that a vendor is integrated with, whichever the organizations.
reached if {
	capacity == "oem"
	action == "orgs.integrations.list"
	not org
	request.text(properties.vendor)
	request.caller_unbound
}

# The invitation is for whom its email says, and accepted for nobody else. That the address is theirs is asked in
# permissions.rego.
reached if {
	capacity == "invitee"
	profile
	object.get(properties, "user", input.caller.sub) == input.caller.sub
	lower(ascii(before.email)) == lower(ascii(invitee.email))
}

reached if {
	capacity == "invited"
	profile
}

reached if {
	capacity == "provisioning"
	input.caller.org == org
	profile
	provisioned_here
}

# Ids of clients, API keys and webhooks are one space for all organizations. Only who manages the tenant chooses one: whoever
# else could, would find out which are taken.
id_made if capacity == "tenant"

id_made if not id_chosen

id_chosen if properties.id_from in {"body", "path"}

profile := data.orgs[org].profile

# Other scripts have letters that look alike, or become the same in lower case.
ascii(email) := email if {
	is_string(email)
	regex.match(`^[!-~]+$`, email)
}

invitee := data.users[input.caller.sub]

# A role reaches from an organization into its children, and no further: from the parent named in the child's profile, which
# only the tenant sets.
in_child if {
	capacity == "member"
	request.text(home)
	profile.parent == input.caller.org
	org != input.caller.org
	home_active
}

home_active if data.orgs[home].profile.status == "active"

lists_children if {
	action == "orgs.list"
	request.text(home)
	properties.parent == home
	home_active
	some role in roles
	some held in permissions_of(home, role)
	directory.permission_includes(held, "children:orgs.list")
}

# A user must be active, and an active member where their roles are, or one whom a connection of it vouches for.
in_good_standing if {
	capacity == "member"
	directory.user_active(input.caller)
	membership.status == "active"
}

in_good_standing if {
	capacity == "member"
	directory.user_active(input.caller)
	directory.vouched_for(input.caller)
	not membership
}

in_good_standing if {
	capacity == "owner"
	data.users[holder].status == "active"
	membership.status == "active"
	"developer" in membership.roles
}

# Nothing is done in a suspended organization, but by those outside it, who read and delete it. Who manages the tenant makes it
# active again.
org_open if not org

org_open if profile.status == "active"

org_open if {
	capacity == "tenant"
	not profile
}

org_open if {
	outside
	open_to_those_outside
}

outside if capacity == "tenant"

outside if in_child

open_to_those_outside if reading

open_to_those_outside if action == "orgs.delete"

open_to_those_outside if {
	capacity == "tenant"
	action == "orgs.update"
	after.status == "active"
}
