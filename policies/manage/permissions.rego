package mandate.manage

import data.mandate.directory
import data.mandate.request

# What the caller may do to what it reaches.
permitted if {
	capacity in {"tenant", "self"}
	delegated_properly
}

permitted if {
	capacity == "organization"
	delegated_properly
	not rotated_user
}

permitted if {
	capacity in {"member", "owner"}
	by_permission_or_own
	delegated_properly
	made_for_the_holder
}

permitted if {
	capacity == "invitee"
	invitee.status == "active"
	invitee.email_verified == true
}

# Whoever follows the link of an invitation makes an account, when the link shows that the address is theirs.
permitted if {
	capacity == "invited"
	request.text(properties.invitation)
	properties.mailed == true
}

permitted if {
	capacity == "oem"
	oem_permitted
}

permitted if {
	capacity == "provisioning"
	provisioning_permitted
}

# An organization makes somebody a member by an invitation, which the person accepts. Without that only whoever it knows: with a
# verified email in a domain that it has verified, and members of the parent. Whether there is such a user at all, nobody
# can find out.
may_join if not action in {"orgs.members.create", "orgs.invitations.accept"}

may_join if capacity in {"tenant", "provisioning", "invitee"}

may_join if {
	action == "orgs.members.create"
	known_to_org(id)
}

# For somebody else a machine of the organization accepts, and nobody by a role.
may_join if {
	action == "orgs.invitations.accept"
	capacity == "organization"
	request.text(properties.user)
	known_to_org(properties.user)
}

known_to_org(user) if {
	data.users[user].email_verified == true
	in_verified_domain(data.users[user].email)
}

may_join if {
	action == "orgs.members.create"
	in_child
	data.orgs[input.caller.org].members[id].status == "active"
}

# An organization invites in the name of its own people, and finds out about nobody else.
invites_properly if action != "orgs.invitations.create"

invites_properly if capacity == "tenant"

invites_properly if not request.has(after, "invited_by")

invites_properly if after.invited_by == input.caller.sub

invites_properly if properties.inviter_is_member == true

# A role permits an action by its name, by "orgs.members.*" or by "*".
by_permission_or_own if {
	some held in permissions
	directory.action_covers(held, action)
}

by_permission_or_own if lists_children

# What every member sees,
by_permission_or_own if {
	capacity == "member"
	action in {"orgs.get", "orgs.roles.list", "orgs.roles.get", "orgs.integrations.list", "orgs.integrations.get"}
	not in_child
}

by_permission_or_own if {
	capacity == "member"
	action == "orgs.members.get"
	id == input.caller.sub
	not in_child
}

# what they made: their keys,
by_permission_or_own if {
	action in {"apikeys.get", "apikeys.update", "apikeys.rotate", "apikeys.delete", "apikeys.drill"}
	capacity == "member"
	before.owner == holder
}

by_permission_or_own if {
	action == "apikeys.list"
	capacity == "member"
	properties.owner == holder
}

# and the integrations that they switched on. One that was suspended is for those to resume whose roles permit it.
by_permission_or_own if {
	action in {"orgs.integrations.update", "orgs.integrations.rotate", "orgs.integrations.delete", "orgs.integrations.enable"}
	capacity == "member"
	before.enabled_by == holder
	before.status == "active"
}

by_permission_or_own if {
	action == "orgs.integrations.enable"
	capacity == "member"
	not request.has(properties, "before")
}

# Whose roles count, and where they hold them. A key is never more than its owner.
holder := input.caller.sub if capacity == "member"

holder := calling_key.owner if capacity == "owner"

home := input.caller.org if capacity == "member"

home := org if capacity == "owner"

membership := data.orgs[home].members[holder] if request.text(home)

roles contains role if {
	membership.status == "active"
	some role in membership.roles
}

roles contains role if {
	capacity == "member"
	some role in directory.brought_roles(input.caller, home)
}

# All that their roles permit in the organization. In a child of theirs it is what they hold as "children:…".
permissions contains permission if {
	not in_child
	some role in roles
	some permission in permissions_of(home, role)
}

permissions contains permission if {
	in_child
	some role in roles
	some held in permissions_of(home, role)
	startswith(held, "children:")
	permission := trim_prefix(held, "children:")
	not startswith(permission, "children:")
}

# The role developer is known by its name: it makes API keys.
permissions_of(role_org, role) := {p | some p in directory.role_definition(role_org, role).permissions} | by_name(role)

by_name("developer") := {"apikeys.create"}

by_name(role) := set() if role != "developer"

# Keys and integrations are made in one's own name, and what acts for a user is rotated by that user only: the secret would make
# anybody else the user. Others end it.
made_for_the_holder if not action in {"apikeys.create", "orgs.integrations.enable", "apikeys.rotate", "orgs.integrations.rotate"}

made_for_the_holder if {
	action == "apikeys.rotate"
	before.owner == holder
}

made_for_the_holder if {
	action == "orgs.integrations.rotate"
	not rotated_user
}

made_for_the_holder if {
	action == "orgs.integrations.rotate"
	rotated_user == holder
}

# The user for whom the secret that is made anew acts, "" for one who is not said.
rotated_user := before.owner if {
	action == "apikeys.rotate"
	request.has(before, "owner")
}

rotated_user := object.get(before, "enabled_by", "") if {
	action == "orgs.integrations.rotate"
	delegates(before)
}

made_for_the_holder if {
	action == "apikeys.create"
	after.owner == holder
	not in_child
}

made_for_the_holder if {
	action == "orgs.integrations.enable"
	after.enabled_by == holder
	not in_child
}

# Enabling an integration delegates to a vendor what an active member of the organization has.
delegated_properly if action != "orgs.integrations.enable"

delegated_properly if {
	after.kind == "delegated"
	after.status == "active"
	input.caller.type == "user"
}

delegated_properly if {
	after.kind == "delegated"
	after.status == "active"
	input.caller.type != "user"
	data.users[after.enabled_by].status == "active"
	data.orgs[org].members[after.enabled_by].status == "active"
}
