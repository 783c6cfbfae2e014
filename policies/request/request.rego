# METADATA
# title: Request
# description: |
#   How the policies read a question: which organization the resource belongs to, and what the caller holds.
#   Ids are checked to be text before they lead anywhere, because a reference such as data.users[1] would find
#   the user "1", and a member that is false would pass for an absent one.
package mandate.request

# The organization that the resource belongs to; undefined when it names none, or does not name it properly.
resource_org := input.resource.id if {
	input.resource.type == "organization"
	text(input.resource.id)
	not contradictory
}

resource_org := input.resource.properties.org if {
	input.resource.type != "organization"
	text(input.resource.properties.org)
}

# An organization is its own organization. If properties.org could say otherwise, an administrator of one
# organization could reach another one under the name of their own.
contradictory if {
	input.resource.type == "organization"
	input.resource.properties.org != input.resource.id
}

resource_well_formed if {
	text(input.resource.type)
	text(input.resource.id)
	properties_well_formed
	not contradictory
}

properties_well_formed if not has(input.resource, "properties")

properties_well_formed if {
	is_object(input.resource.properties)
	optional_text(input.resource.properties, "org")
}

caller_known if {
	text(input.caller.type)
	text(input.caller.sub)
}

# Scopes that open Mandate itself are held by name only; no wildcard stands for them, and a caller
# without a list of scopes holds none of them.
caller_holds(scope) if {
	caller_known
	is_array(input.caller.scopes)
	scope in input.caller.scopes
}

# A caller that is bound to an organization reaches nothing outside it, and a client that may act in some
# organizations nothing outside those.
in_callers_org if caller_unbound

caller_unbound if {
	not has(input.caller, "org")
	not has(calling_client, "org")
	not has(calling_client, "orgs")
}

in_callers_org if {
	not has(input.caller, "org")
	calling_client.org == resource_org
}

in_callers_org if {
	not has(input.caller, "org")
	resource_org in calling_client.orgs
}

in_callers_org if input.caller.org == resource_org

default calling_client := {}

calling_client := data.clients[input.caller.sub] if input.caller.type == "client"

# Those who have acted for the principal, the last first (RFC 8693 §4.1). A longer chain than this is refused, so that
# nobody in it is passed over.
actors contains input.principal.act

actors contains input.principal.act.act

actors contains input.principal.act.act.act

actors contains input.principal.act.act.act.act

actors contains input.principal.act.act.act.act.act

actors contains input.principal.act.act.act.act.act.act

actors contains input.principal.act.act.act.act.act.act.act

actors contains input.principal.act.act.act.act.act.act.act.act

actors_bounded if not input.principal.act.act.act.act.act.act.act.act.act

has(document, member) if _ = document[member]

text(value) if {
	is_string(value)
	value != ""
}

optional_text(document, member) if not has(document, member)

optional_text(document, member) if text(document[member])

optional_texts(document, member) if not has(document, member)

optional_texts(document, member) if {
	is_array(document[member])
	every value in document[member] {
		text(value)
	}
}
