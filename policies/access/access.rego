# METADATA
# title: Access
# description: |
#   May this principal do this to this resource? The permission asked for is action.name ("documents:read"); the
#   organization is resource.properties.org, or resource.id when resource.type is "organization".
#
#   Every line of `allow` must hold. `grant` says which grant it was; `refusal` says the first thing that was missing
#   and never decides anything. What grants is in grants.rego.
package mandate.access

import data.mandate.directory
import data.mandate.request

default decision := {
	"allow": false,
	"reasons": [{"code": "not_granted", "message": "Nothing grants this permission."}],
	"obligations": [],
}

# METADATA
# title: Decision
# description: May this principal do this to this resource?
# entrypoint: true
decision := {"allow": true, "reasons": [grant], "obligations": []} if allow

else := {"allow": false, "reasons": [refusal], "obligations": []}

allow if {
	caller_permitted
	well_formed
	audience_matches
	principal_active
	acting_client_active
	actors_active
	confined
	org_active
	acting_client_in_org
	actors_in_org
	in_good_standing
	owner_is_developer
	scopes_cover
	grant
}

org := request.resource_org

permission := input.action.name

# Who may ask: everybody about itself, and callers with one of two scopes about others.
caller_permitted if {
	input.subject.type == "credential"
	input.subject.id == "caller"
	request.caller_known
}

caller_permitted if {
	asks_about_others
	request.in_callers_org
}

asks_about_others if request.caller_holds("decide")

asks_about_others if request.caller_holds("manage")

# Malformed: anything that is not of its type. A number or null where an id belongs is refused, not converted.
well_formed if {
	request.text(permission)
	request.resource_well_formed
	request.text(input.principal.type)
	request.text(input.principal.sub)
	request.optional_text(input.principal, "org")
	request.optional_text(input.principal, "azp")
	scopes_well_formed
}

scopes_well_formed if not request.has(input.principal, "scopes")

scopes_well_formed if is_array(input.principal.scopes)

# A token that an API was given must have been made for an API that the caller stands for, so that nobody can
# collect tokens in one place and try them in another.
audience_matches if not audience_binds

audience_matches if {
	is_string(input.principal.aud)
	input.principal.aud in callers_audiences
}

audience_matches if {
	is_array(input.principal.aud)
	some audience in input.principal.aud
	audience in callers_audiences
}

audience_binds if {
	input.subject.type == "credential"
	input.subject.id == "authorization"
	request.has(input.principal, "aud")
	count(callers_audiences) > 0
}

# The audiences that a caller stands for: those of its record. One without any stands for every API of the tenant.
callers_audiences := data.clients[input.caller.sub].audiences if input.caller.type == "client"

callers_audiences := data.apikeys[input.caller.sub].audiences if input.caller.type == "apikey"

principal_active if {
	input.principal.type == "user"
	directory.user_active(input.principal)
}

principal_active if client.status == "active"

principal_active if {
	key.status == "active"
	directory.owner_active(key)
}

principal_active if {
	input.principal.type == "vendor"
	data.vendors[input.principal.sub].status == "active"
}

# A key stops when its owner is no longer a developer in the key's organization, or, for a
# tenant-wide key with an owner, in the resource's.
owner_is_developer if input.principal.type != "apikey"

owner_is_developer if not request.has(key, "owner")

owner_is_developer if "developer" in member.roles

owner_is_developer if {
	not request.has(key, "org")
	not org
}

# The acting client is the one that uses somebody else's authority. Users and clients may share an id, so a user
# is never taken for its own client.
delegated if {
	request.has(input.principal, "azp")
	not acts_for_itself
}

acts_for_itself if {
	input.principal.type != "user"
	input.principal.azp == input.principal.sub
}

acting_client := data.clients[input.principal.azp] if delegated

acting_client_active if not delegated

acting_client_active if acting_client.status == "active"

acting_client_in_org if not delegated

acting_client_in_org if not org

acting_client_in_org if {
	directory.acts_in(acting_client, org)
	let_into_org
}

# Somebody else's application gets into the organization that its user has let it into, and into no other.
let_into_org if request.has(input.principal, "org")

let_into_org if input.principal.type != "user"

let_into_org if not acting_client.party == "third"

# Those who have acted before it, in a chain of exchanges, must be able to act still.
actors_active if not request.has(input.principal, "act")

actors_active if {
	request.actors_bounded
	every link in request.actors {
		actor(link).status == "active"
	}
}

actors_in_org if not request.has(input.principal, "act")

actors_in_org if not org

actors_in_org if {
	every link in request.actors {
		directory.acts_in(actor(link), org)
	}
}

actor(link) := data.clients[link.sub] if {
	link.sub_type == "client"
	request.text(link.sub)
}

# A credential that is bound to an organization is worth nothing outside it, shared resources included.
confined if {
	principal_in_its_org
	key_in_its_org
}

principal_in_its_org if not request.has(input.principal, "org")

principal_in_its_org if input.principal.org == org

key_in_its_org if input.principal.type != "apikey"

key_in_its_org if not request.has(key, "org")

key_in_its_org if key.org == org

org_active if not org

org_active if data.orgs[org].profile.status == "active"

# What an organization has said about a principal binds also where a resource was shared with it: a suspended
# member stays out, and a vendor comes in only by an active integration.
in_good_standing if not org

in_good_standing if {
	input.principal.type != "vendor"
	not member
}

in_good_standing if member.status == "active"

in_good_standing if integration.status == "active"
