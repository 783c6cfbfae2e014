package mandate.tokens

import data.mandate.directory
import data.mandate.request as question

# The facts about the subject.
key := data.apikeys[input.principal.sub] if input.principal.type == "apikey"

own_record := data.clients[input.principal.sub] if input.principal.type == "client"

integration := data.orgs[org].integrations[input.principal.sub] if input.principal.type == "vendor"

member := data.orgs[org].members[input.principal.sub] if input.principal.type == "user"

subject_active if {
	input.principal.type == "user"
	directory.user_active(input.principal)
}

subject_active if own_record.status == "active"

subject_active if {
	key.status == "active"
	directory.owner_active(key)
	owner_is_developer
}

subject_active if {
	input.principal.type == "vendor"
	data.vendors[input.principal.sub].status == "active"
	integration.status == "active"
}

# The owner of a key must be a developer in the key's organization, or, of a tenant-wide one, in the token's.
owner_is_developer if not question.has(key, "owner")

owner_is_developer if "developer" in data.orgs[keys_org].members[key.owner].roles

owner_is_developer if no_org

keys_org := key.org if {
	question.has(key, "org")
} else := org

# The organization that the token is bound to: the one asked for, the one that the credential is for, or the only one that
# comes into question. Without any, the token is bound to none, and each decision asks the facts.
org := input.request.org if {
	question.has(input.request, "org")
} else := input.principal.org if {
	question.has(input.principal, "org")
} else := clients_org if {
	not presented
	asks_for_itself
} else := only_org if {
	not presented
	input.principal.type == "user"
	data.orgs[only_org].members[input.principal.sub].status == "active"
} else := key.org

no_org if not org

clients_org := client.org if {
	question.has(client, "org")
} else := only_org

only_org := found if {
	orgs := {o | some o in client.orgs} | {o | o := client.org}
	count(orgs) == 1
	some found in orgs
}

org_granted if no_org

org_granted if {
	known_to_org
	data.orgs[org].profile.status == "active"
}

# Only those who have to do with an organization learn that it exists.
known_to_org if {
	credential_for_org
	subject_in_org
	client_in_org
}

credential_for_org if not question.has(input.principal, "org")

credential_for_org if input.principal.org == org

subject_in_org if directory.listed_in(own_record, org)

subject_in_org if member.status == "active"

subject_in_org if {
	input.principal.org == org
	directory.vouched_for(input.principal)
	not member
}

subject_in_org if key.org == org

subject_in_org if {
	key
	not question.has(key, "org")
}

subject_in_org if integration.status == "active"

client_in_org if not with_client

client_in_org if directory.acts_in(client, org)

# What the subject itself has of a scope. What a user may do is decided at every use, so that a client needs no more than
# the user's word; without a client, the user's roles are all there is to go by.
subject_has(_) if {
	input.principal.type == "user"
	with_client
}

subject_has(scope) if {
	some role in roles
	directory.role_covers(org, role, scope)
}

subject_has(scope) if scope in own_record.scopes

subject_has(scope) if {
	some held in key.scopes
	directory.scope_covers(held, scope)
}

subject_has(scope) if {
	some held in integration.scopes
	directory.scope_covers(held, scope)
}

roles contains role if {
	member.status == "active"
	some role in member.roles
}

roles contains role if some role in directory.brought_roles(input.principal, org)

# The most that the credential is for. Those that people write may hold patterns; those of tokens are names.
credential_has(_) if not question.has(input.principal, "scopes")

credential_has(scope) if scope in input.principal.scopes

credential_has(scope) if {
	input.principal.credential.type in {"api_key", "partner_token", "integration"}
	some held in input.principal.scopes
	directory.scope_covers(held, scope)
}

# Everybody who has acted for the subject, and whoever is to act now, must still be allowed to.
actors_may_act if {
	question.actors_bounded
	every link in question.actors {
		may_act(link)
	}
	actor_may_act
}

may_act(link) if {
	link.sub_type == "client"
	question.text(link.sub)
	acting := data.clients[link.sub]
	acting.status == "active"
	exchanges_or_began(link, acting)
	acts_in_tokens_org(acting)
	vendor_of(acting)
}

exchanges_or_began(_, acting) if token_exchange in acting.grant_types

# The first in the chain, which was given what the others exchanged.
exchanges_or_began(link, _) if {
	not question.has(link, "act")
	link.sub != input.caller.sub
}

may_act(link) if {
	link.sub_type == "user"
	question.text(link.sub)
	data.users[link.sub].status == "active"
}

acts_in_tokens_org(_) if no_org

acts_in_tokens_org(acting) if directory.acts_in(acting, org)

default actor := {}

actor := input.actor

actor_may_act if not question.has(input, "actor")

# The actor token of an exchange is one that the client has got for itself.
actor_may_act if {
	actor.type == "client"
	actor.sub == input.caller.sub
	may_act({"sub_type": actor.type, "sub": actor.sub})
	actor_for_org
}

actor_for_org if not question.has(actor, "org")

actor_for_org if actor.org == org

actor_has(_) if not question.has(actor, "scopes")

actor_has(scope) if scope in actor.scopes

# The client of a vendor gets something only where the organization has an active integration with that vendor.
vendor_welcome if not with_client

vendor_welcome if vendor_of(client)

vendor_of(some_client) if not question.has(some_client, "vendor")

vendor_of(some_client) if {
	data.vendors[some_client.vendor].status == "active"
	integrated(some_client.vendor)
}

integrated(_) if no_org

integrated(vendor) if data.orgs[org].integrations[vendor].status == "active"
