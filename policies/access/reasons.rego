package mandate.access

import data.mandate.directory
import data.mandate.request

# METADATA
# description: |
#   The first thing that was missing, most fundamental first. To a principal that has nothing to do with an organization,
#   one that exists, one that is suspended and one that does not exist look the same: everything before `outsider`
#   depends on the request and the principal alone.
refusal := {
	"code": "caller_not_permitted",
	"message": "The caller may not ask this: it may ask about itself, or needs the scope decide and, when it is bound to an organization, a resource of that organization.",
} if {
	not caller_permitted
} else := {
	"code": "principal_unknown",
	"message": "The subject is not known here; check its type and id, or the credential that was presented.",
} if {
	not principal_known
} else := {
	"code": "request_malformed",
	"message": "Send action.name, resource.type, resource.id and resource.properties.org as non-empty strings; an organization's own properties.org, if sent, must be its id.",
} if {
	not well_formed
} else := {
	"code": "audience_mismatch",
	"message": "The token was made for another audience; get one for an audience of the API that presented it.",
} if {
	not audience_matches
} else := {
	"code": "principal_unsupported",
	"message": "Only users, clients, API keys and vendors are granted anything.",
} if {
	not principal_supported
} else := {
	"code": "principal_inactive",
	"message": "The owner of the API key is no longer an active user and member of the key's organization; use a key of an active member.",
} if {
	key.status == "active"
	not directory.owner_active(key)
} else := {
	"code": "principal_inactive",
	"message": "The principal is unknown, disabled, suspended or revoked; use an active one.",
} if {
	not principal_active
} else := {
	"code": "client_inactive",
	"message": "The client that acts for the principal is unknown or disabled; it must be active.",
} if {
	not acting_client_active
} else := {
	"code": "client_inactive",
	"message": "A client that has acted for the principal before is unknown or disabled; each in the token's act claim must be active.",
} if {
	not actors_active
} else := {
	"code": "wrong_org",
	"message": "The credential is bound to another organization than the resource's; use one for that organization, or name the resource's organization if it was left out.",
} if {
	not confined
} else := {
	"code": "resource_org_missing",
	"message": "Name the resource's organization in resource.properties.org; nothing shares this resource with the principal directly.",
} if {
	not org
	not related
} else := outsider if {
	org
	not known_to_org
} else := {
	"code": "org_suspended",
	"message": "The organization is suspended; nothing in it can be used until it is active again.",
} if {
	not org_active
} else := {
	"code": "member_suspended",
	"message": "The membership in the organization is suspended; an administrator of the organization can restore it.",
} if {
	not in_good_standing
} else := {
	"code": "client_not_in_org",
	"message": "The client that acts for the principal may not act in this organization; add the organization to the client.",
} if {
	not acting_client_in_org
} else := {
	"code": "client_not_in_org",
	"message": "A client that has acted for the principal before may not act in this organization; add the organization to each in the token's act claim.",
} if {
	not actors_in_org
} else := {
	"code": "owner_not_developer",
	"message": "The owner of the API key no longer holds the role developer in the organization; restore it, or use a key of a developer.",
} if {
	not owner_is_developer
} else := {
	"code": "role_missing",
	"message": sprintf("No role in the organization includes the permission %s; an administrator of the organization can assign one that does.", [permission]),
} if {
	not grant
} else := {
	"code": "scope_missing",
	"message": sprintf("The scopes of the credential do not include %s; use one that carries it.", [permission]),
} if {
	not scopes_cover
}

principal_known if is_object(input.principal)

principal_supported if input.principal.type in ["user", "client", "apikey", "vendor"]

outsider := {
	"code": "vendor_not_authorized",
	"message": "The organization has no active integration with this vendor; it can enable one.",
} if {
	input.principal.type == "vendor"
} else := {
	"code": "client_not_in_org",
	"message": "The client may not act in this organization; add the organization to the client.",
} if {
	input.principal.type == "client"
} else := {
	"code": "not_a_member",
	"message": "The principal is not a member of this organization, and nothing shares the resource with it.",
}

# Only these may learn that the organization exists, and that it is suspended.
known_to_org if {
	data.orgs[org].profile
	involved
}

# A resource that was shared makes known nothing about an organization beyond that it is active.
known_to_org if {
	input.principal.type != "vendor"
	org_active
	related
}

involved if member

involved if {
	input.principal.org == org
	directory.vouched_for(input.principal)
}

involved if directory.listed_in(client, org)

involved if {
	key
	not request.has(key, "owner")
}

involved if integration.status == "active"
