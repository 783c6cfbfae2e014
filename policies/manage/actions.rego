package mandate.manage

import data.mandate.request

# The collections and the type of what is in them. Whatever is not named here is refused. What is in the first table belongs
# to an organization,
of_orgs := {
	"orgs": "organization",
	"orgs.members": "member",
	"orgs.roles": "role",
	"orgs.domains": "domain",
	"orgs.connections": "connection",
	"orgs.invitations": "invitation",
	"orgs.integrations": "integration",
	"orgs.audit": "audit",
	"clients": "client",
	"apikeys": "apikey",
	"webhooks": "webhook",
}

# and what is in the second one to the tenant, whatever is said of it.
of_the_tenant := {
	"roles": "role",
	"apis": "api",
	"vendors": "vendor",
	"relations": "relation",
	"custom": "custom",
	"audit": "audit",
	"deliveries": "delivery",
	"users": "user",
	"users.sessions": "session",
	"users.grants": "grant",
	"consents": "consent",
}

tenants_actions := {"orgs.list", "orgs.create"}

action := input.action.name

id := input.resource.id

collection := concat(".", array.slice(words, 0, count(words) - 1)) if words := split(action, ".")

verb := words[count(words) - 1] if words := split(action, ".")

reading if verb in {"list", "get"}

# The organization that it is about. It has one in the tables above only, so that nobody makes a thing of the tenant their
# own by a property; users are provisioned and invited by an organization.
org := request.resource_org if {
	of_orgs[collection]
	not action in tenants_actions
}

org := request.resource_org if {
	collection == "users"
	capacity in {"provisioning", "invited"}
}

properties := object.get(input.resource, "properties", {})

default before := {}

before := properties.before

default after := {}

after := properties.after

known_action if of_orgs[collection] == input.resource.type

known_action if of_the_tenant[collection] == input.resource.type

# The records come from Mandate, but what they are compared with does not: only what has its proper type is compared.
record_well_formed if {
	identified
	not compared
}

record_well_formed if {
	identified
	compared
	every record in [before, after] {
		is_object(record)
		every member in texts {
			is_string(object.get(record, member, ""))
		}
		every member in object.get(lists, input.resource.type, []) {
			request.optional_texts(record, member)
		}
	}
	is_object(object.get(after, "role_mapping", {}))
	request.optional_texts(properties, "sole_holder_of")
	sole_holder_in := object.get(properties, "sole_holder_in", {})
	every sole_org, _ in sole_holder_in {
		request.optional_texts(sole_holder_in, sole_org)
	}
}

compared if of_orgs[collection]

compared if collection == "users"

identified if request.text(id)

identified if {
	verb in {"list", "create"}
	object.get(input.resource, "id", "") == ""
}

texts := ["org", "owner", "parent", "email", "enabled_by", "vendor"]

lists := {
	"member": ["roles"],
	"invitation": ["roles"],
	"domain": ["auto_join"],
	"role": ["permissions"],
	"client": ["scopes", "orgs"],
	"apikey": ["scopes"],
	"integration": ["scopes"],
}
