# METADATA
# title: Directory
# description: |
#   How the policies read the facts: what scopes there are, what scopes and roles cover, where a client may act, and who is in good standing.
package mandate.directory

import data.mandate.request

# What Mandate itself, the issuer as a target, offers to clients and keys. No pattern stands for these scopes.
issuer_scopes := {"decide", "manage", "register", "scim", "oem:partner_token"}

# What clients learn and do of OpenID Connect (Core §5.4, §11), whatever the target.
protocol_scopes := {"openid", "profile", "email", "offline_access"}

# A scope covers what has its name, and "documents:*" what begins with "documents:". Nothing else is a
# pattern. "*" alone is an ordinary name: a credential must say what it is for.
scope_covers(held, wanted) if held == wanted

scope_covers(held, wanted) if {
	pattern_covers(held, ":*", wanted)
	not wanted in issuer_scopes
}

# A role may hold "*", every permission.
permission_covers("*", _)

permission_covers(held, wanted) if scope_covers(held, wanted)

# What a role permits in the directory are actions: "orgs.members.*" covers what begins with "orgs.members.".
action_covers("*", _)

action_covers(held, wanted) if held == wanted

action_covers(held, wanted) if pattern_covers(held, ".*", wanted)

# Whoever holds the one permission has all of the other, which may be a pattern itself. "*" is all that can be done in
# the organization; what is done in its children, "children:orgs.members.*", is another matter.
permission_includes(held, wanted) if held == wanted

permission_includes("*", wanted) if not startswith(wanted, "children:")

permission_includes(held, wanted) if scope_covers(held, wanted)

permission_includes(held, wanted) if pattern_covers(held, ".*", wanted)

pattern_covers(held, end, wanted) if {
	is_string(held)
	endswith(held, end)
	prefix := trim_suffix(held, "*")
	startswith(wanted, prefix)
	wanted != prefix
}

role_covers(org, role, wanted) if {
	is_string(role)
	some held in role_definition(org, role).permissions
	permission_covers(held, wanted)
}

# An organization's own role hides the tenant-wide one of the same name, also when it grants less.
role_definition(org, role) := definition if {
	definition := data.orgs[org].roles[role]
} else := data.roles[role]

# A client acts for itself in the organizations of its record only.
listed_in(client, org) if client.org == org

listed_in(client, org) if org in client.orgs

# For others it acts there too, and one that is bound to no organization wherever they let it.
acts_in(client, org) if listed_in(client, org)

acts_in(client, _) if unbound(client)

unbound(client) if {
	not request.has(client, "org")
	not request.has(client, "orgs")
}

# A user whom a connection of an organization vouches for need not be known otherwise.
user_active(principal) if {
	not request.has(principal, "connection")
	data.users[principal.sub].status == "active"
}

user_active(principal) if {
	vouched_for(principal)
	not data.users[principal.sub]
}

user_active(principal) if {
	vouched_for(principal)
	data.users[principal.sub].status == "active"
}

vouched_for(principal) if {
	principal.type == "user"
	data.orgs[principal.org].connections[principal.connection].status == "active"
}

# The roles that a connection's provider says its user has, which count in the connection's organization only.
brought_roles(principal, org) := principal.roles if {
	principal.org == org
	vouched_for(principal)
	is_array(principal.roles)
}

# The owner of a key, if it has one, must be an active user, and an active member of the key's organization.
owner_active(key) if not request.has(key, "owner")

owner_active(key) if {
	data.users[key.owner].status == "active"
	owner_in_keys_org(key)
}

owner_in_keys_org(key) if not request.has(key, "org")

owner_in_keys_org(key) if data.orgs[key.org].members[key.owner].status == "active"
