package mandate.manage

import data.mandate.request

# METADATA
# description: |
#   In which capacity the caller asks. It is the first that applies and never two, so that what one credential is for
#   is not completed by what another one may. Those who have none lack the scope.
capacity := "invited" if {
	action == "users.register"
} else := "invitee" if {
	input.caller.type == "user"
	action == "orgs.invitations.accept"
	in_person
} else := "self" if {
	input.caller.type == "user"
	collection in {"users.sessions", "users.grants", "consents"}
	verb in {"list", "get", "delete"}
	request.text(input.caller.sub)
	input.caller.sub == properties.user
	here_themself
} else := "member" if {
	administration_token
} else := "owner" if {
	machine_with("manage")
	calling_key.owner
} else := "tenant" if {
	machine_with("manage")
	owned_by_nobody
	request.caller_unbound
} else := "organization" if {
	machine_with("manage")
	owned_by_nobody
} else := "oem" if {
	input.caller.type == "client"
	request.caller_holds("oem:partner_token")
	action in oem_actions
} else := "provisioning" if {
	input.caller.type == "apikey"
	request.caller_holds("scim")
	request.text(input.caller.org)
	owned_by_nobody
	action in provisioning_actions
}

# A user manages with an access token of Mandate's that says so. What a vendor holds for a user, and tokens of other
# providers, are for using APIs.
administration_token if {
	input.caller.type == "user"
	input.caller.credential.type == "access_token"
	request.caller_holds("manage")
}

here_themself if administration_token

here_themself if input.caller.credential.type == "session"

# Accepting takes no scope, but the person: signed in here, or by an application of the tenant's own.
in_person if input.caller.credential.type == "session"

in_person if {
	input.caller.credential.type == "access_token"
	data.clients[input.caller.azp].party == "first"
}

machine_with(scope) if {
	input.caller.type in {"client", "apikey"}
	request.caller_holds(scope)
}

calling_key := data.apikeys[input.caller.sub] if input.caller.type == "apikey"

owned_by_nobody if input.caller.type == "client"

owned_by_nobody if {
	is_object(calling_key)
	not request.has(calling_key, "owner")
}
