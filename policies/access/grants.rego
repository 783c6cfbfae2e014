package mandate.access

import data.mandate.directory
import data.mandate.request

# What a relation to a single resource allows. The verb is what follows the last ":" of the action's name;
# "*" stands for every verb.
relation_verbs := {
	"owner": ["*"],
	"editor": ["read", "write"],
	"viewer": ["read"],
}

# The four facts about the principal, each read at most once.
client := data.clients[input.principal.sub] if input.principal.type == "client"

key := data.apikeys[input.principal.sub] if input.principal.type == "apikey"

integration := data.orgs[org].integrations[input.principal.sub] if input.principal.type == "vendor"

member := data.orgs[org].members[holder]

# Whose roles count: the user's own, or those of the key's owner, whom a key never exceeds.
holder := input.principal.sub if input.principal.type == "user"

holder := key.owner

# METADATA
# description: |
#   Why the principal may do this. Scopes and status are checked in `allow`, for all of these alike; a relation stands
#   in for the role or the membership, and for nothing else.
grant := {"code": "role", "message": "A role of the user in the organization grants the permission."} if {
	input.principal.type == "user"
	role_grants
} else := {"code": "scope", "message": "The client may act in the organization, and its scopes grant the permission."} if {
	directory.listed_in(client, org)
} else := {"code": "scope", "message": "The scopes of the API key grant the permission, within the roles of its owner."} if {
	request.has(key, "owner")
	role_grants
} else := {"code": "scope", "message": "The scopes of the API key grant the permission."} if {
	key
	not request.has(key, "owner")
	org
} else := {"code": "integration", "message": "An integration of the organization with the vendor grants the permission."} if {
	integration.status == "active"
} else := {"code": "relation", "message": "The principal's relation to the resource grants the permission."} if {
	related
}

role_grants if {
	member.status == "active"
	some role in member.roles
	directory.role_covers(org, role, permission)
}

role_grants if {
	some role in directory.brought_roles(input.principal, org)
	directory.role_covers(org, role, permission)
}

related if {
	some relation, verbs in relation_verbs
	some allowed in verbs
	allowed in ["*", verb]
	data.relations[input.resource.type][input.resource.id][relation][subject]
}

subject := concat(":", [input.principal.type, input.principal.sub])

verb := parts[count(parts) - 1] if parts := split(permission, ":")

# All lists must cover the permission: the one that the credential carries, if it carries one, and the
# one in the record of a client, a key or an integration.
scopes_cover if {
	credential_scopes_cover
	record_scopes_cover
	acting_scopes_cover
}

# What a vendor's client does for a user without a token is bound by its record, as a token would be.
acting_scopes_cover if not by_integration

acting_scopes_cover if {
	some held in acting_client.scopes
	directory.scope_covers(held, permission)
}

by_integration if input.principal.credential.type == "integration"

credential_scopes_cover if not request.has(input.principal, "scopes")

credential_scopes_cover if {
	some held in input.principal.scopes
	directory.scope_covers(held, permission)
}

record_scopes_cover if input.principal.type == "user"

record_scopes_cover if {
	some held in client.scopes
	directory.scope_covers(held, permission)
}

record_scopes_cover if {
	some held in key.scopes
	directory.scope_covers(held, permission)
}

record_scopes_cover if {
	some held in integration.scopes
	directory.scope_covers(held, permission)
}

record_scopes_cover if {
	input.principal.type == "vendor"
	not org
}
