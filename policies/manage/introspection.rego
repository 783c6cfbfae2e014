package mandate.manage

import data.mandate.request

introspection if input.action.name == "tokens.introspect"

# Who may see what a token is good for (RFC 7662 §2.1, §4): the client that it was issued to,
token_is_callers if {
	introspection
	input.caller.type == "client"
	request.text(input.caller.sub)
	input.caller.sub == input.resource.properties.client_id
}

# the resource servers that it is for: callers that hold a scope for asking, and the audience. The audience alone is held
# by every client that may get tokens for it,
token_for_caller if {
	introspection
	request.caller_known
	holds_a_scope
	some audience in input.resource.properties.aud
	audience in callers_record.audiences
}

# and a caller that stands for every API of the tenant.
scope_held if {
	introspection
	stands_for_every_api
	holds_a_scope
}

holds_a_scope if request.caller_holds("decide")

holds_a_scope if request.caller_holds("manage")

stands_for_every_api if count(object.get(callers_record, "audiences", [])) == 0

callers_record := data.clients[input.caller.sub] if input.caller.type == "client"

callers_record := data.apikeys[input.caller.sub] if input.caller.type == "apikey"
