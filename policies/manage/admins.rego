package mandate.manage

import data.mandate.directory
import data.mandate.request

# METADATA
# description: |
#   An organization keeps somebody who can manage its members: the last one with such a role is not removed, and the role
#   not weakened, by accident. Those who manage the tenant may confirm it.
admins_remain if {
	count(last_admin_of) == 0
	not role_in_use
}

admins_remain if {
	confirmed
	not role_in_use
}

# Where it is not said who else holds the member's roles, nobody does.
last_admin_of contains role if {
	collection == "orgs.members"
	verb in {"update", "delete"}
	some role in object.get(properties, "sole_holder_of", object.get(before, "roles", []))
	administers(permissions_of(org, role))
	not keeps(role)
}

# A user who is deleted or disabled is a member nowhere any more.
last_admin_of contains role if {
	action in {"users.update", "users.delete"}
	some held_in, held in properties.sole_holder_in
	some role in held
	administers(permissions_of(held_in, role))
}

last_admin_of contains id if {
	collection in {"orgs.roles", "roles"}
	verb in {"create", "update"}
	administers(defined_now)
	not administers({p | some p in after.permissions})
	not unheld
}

# A role that somebody holds is not taken from under them; where that is not said, they must confirm it.
role_in_use if {
	action in {"orgs.roles.delete", "roles.delete"}
	not unheld
	not unknown_and_confirmed
}

unheld if properties.held == false

unknown_and_confirmed if {
	not request.has(properties, "held")
	confirmed
}

confirmed if {
	capacity == "tenant"
	input.context.confirm == true
}

# What cannot be undone is not done by one request that went wrong.
deliberate if action != "orgs.delete"

deliberate if capacity == "tenant"

deliberate if input.context.confirm == true

keeps(role) if {
	verb == "update"
	object.get(after, "status", "") in {"", "active"}
	role in after.roles
}

administers(permissions_held) if {
	some permission in permissions_held
	directory.action_covers(permission, "orgs.members.update")
}

defined_now := permissions_of(org, id) if collection == "orgs.roles"

defined_now := {p | some p in data.roles[id].permissions} if collection == "roles"
