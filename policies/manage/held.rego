package mandate.manage

import data.mandate.directory

# METADATA
# description: |
#   Nobody gives what they do not hold, nor takes it from those who do: `missing` is what the caller lacks to do this.
#   For users and the owners of keys that is about permissions; for machines about the scopes of Mandate itself.
missing contains permission if {
	capacity in {"member", "owner"}
	some permission in permissions_at_stake
	not held(permission)
}

# A role that is defined nowhere may get to mean anything.
missing contains role if {
	capacity in {"member", "owner"}
	some role in (roles_at_stake(after) - roles_at_stake(before))
	not defined(role)
}

missing contains scope if {
	capacity in {"member", "owner"}
	some scope in (scopes_at_stake - directory.protocol_scopes)
	not held(scope)
}

missing contains scope if {
	capacity != "tenant"
	some scope in (scopes_at_stake & directory.issuer_scopes)
	not scope_of_an_orgs_keys(scope)
}

# What an integration is for, the user who is said to have enabled it must hold,
missing contains scope if {
	action in {"orgs.integrations.enable", "orgs.integrations.update"}
	after.kind == "delegated"
	not enabled_by_the_caller
	some scope in (scopes_at_stake - directory.protocol_scopes)
	not held_by_the_enabler(scope)
}

# and the vendor's client by which it is used be registered for.
missing contains scope if {
	action in {"orgs.integrations.enable", "orgs.integrations.update"}
	after.kind == "delegated"
	some scope in (scopes_at_stake - directory.protocol_scopes)
	not held_by_the_vendors_client(scope)
}

# The vendor's integration has at most the scopes that the client itself is registered for.
missing contains scope if {
	capacity == "oem"
	some scope in scopes_at_stake
	not held_by_client(input.caller.sub, scope)
}

missing contains role if {
	capacity == "provisioning"
	some role in (roles_at_stake(after) - roles_at_stake(before))
	not provisionable(role)
}

held(wanted) if {
	some permission in permissions
	directory.permission_includes(permission, wanted)
}

enabled_by_the_caller if {
	input.caller.type == "user"
	input.caller.sub == after.enabled_by
}

held_by_the_vendors_client(scope) if held_by_client(after.client, scope)

held_by_the_enabler(scope) if {
	some role in data.orgs[org].members[after.enabled_by].roles
	some permission in permissions_of(org, role)
	directory.permission_includes(permission, scope)
}

held_by_client(client, scope) if {
	some registered in data.clients[client].scopes
	directory.scope_covers(registered, scope)
}

defined(role) if directory.role_definition(org, role)

defined("developer")

# Of Mandate's own scopes, a machine that manages an organization gives those that are less than its own, to keys of the
# organization only. The others are the tenant's to give.
scope_of_an_orgs_keys(scope) if {
	capacity == "organization"
	collection == "apikeys"
	scope in {"decide", "scim"}
}

# The permissions of all roles that are given or taken, also by an invitation, a domain or a provider's groups,
permissions_at_stake contains permission if {
	not reading
	some role in (roles_at_stake(before) | roles_at_stake(after))
	some permission in permissions_of(org, role)
}

# and those that a role has, is to have, or would have again as the tenant's role of the same name. Defining a role
# changes what all who hold it may do.
permissions_at_stake contains permission if {
	collection == "orgs.roles"
	not reading
	some permission in permissions_of(org, id)
}

permissions_at_stake contains permission if {
	collection == "orgs.roles"
	some permission in after.permissions
}

permissions_at_stake contains permission if {
	action == "orgs.roles.delete"
	some permission in data.roles[id].permissions
}

roles_at_stake(record) := {role |
	collection in {"orgs.members", "orgs.invitations"}
	some role in record.roles
} | ({role |
	collection == "orgs.domains"
	some role in record.auto_join
} | {role |
	collection == "orgs.connections"
	some role in record.role_mapping
})

# The scopes of a credential that comes into being, whose secret is made anew, or that is changed otherwise than by ending it.
scopes_at_stake contains scope if {
	collection in with_scopes
	verb in {"create", "enable"}
	some scope in after.scopes
}

scopes_at_stake contains scope if {
	collection in with_scopes
	verb == "update"
	not ends
	some scope in after.scopes
}

scopes_at_stake contains scope if {
	collection in with_scopes
	verb == "rotate"
	some scope in before.scopes
}

ends if after.status in {"suspended", "disabled", "revoked"}

with_scopes := {"apikeys", "clients", "orgs.integrations"}
