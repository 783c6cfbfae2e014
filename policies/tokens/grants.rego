package mandate.tokens

import data.mandate.directory
import data.mandate.request as question

# The ways to get a token (RFC 6749, 7523, 8628, 8693). password and api_key stand for Mandate's exchange endpoints
# and are no grant types of clients.
token_exchange := "urn:ietf:params:oauth:grant-type:token-exchange"

jwt_bearer := "urn:ietf:params:oauth:grant-type:jwt-bearer"

authorized_by_users := {"authorization_code", "urn:ietf:params:oauth:grant-type:device_code"}

own_grants := {"client_credentials", jwt_bearer}

exchange_endpoint_grants := {"password", "api_key"}

grant_supported if {
	input.request.stage == "issue"
	input.request.grant_type in (((authorized_by_users | own_grants) | exchange_endpoint_grants) | {"refresh_token", token_exchange})
}

grant_supported if input.request.grant_type in authorized_by_users

grant_supported if presented

# The client; at the exchange endpoints there is none.
with_client if question.has(input, "caller")

client := data.clients[input.caller.sub] if input.caller.type == "client"

client_active if not with_client

client_active if client.status == "active"

grant_registered if not with_client

grant_registered if presented

grant_registered if input.request.grant_type in client.grant_types

first_party if client.party == "first"

# Who may get a token for whom, or hold one that was issued.
entitled if {
	grant_supported
	entitled_by_grant
}

entitled if {
	presented
	entitled_to_present
}

entitled_by_grant if {
	input.request.grant_type == "client_credentials"
	asks_for_itself
	not public
}

entitled_by_grant if {
	input.request.grant_type == jwt_bearer
	asks_for_itself
	input.principal.credential.type == "federated"
}

entitled_by_grant if {
	input.request.grant_type in (authorized_by_users | {"refresh_token"})
	input.principal.type == "user"
	with_client
}

entitled_by_grant if {
	input.request.grant_type == "refresh_token"
	input.principal.type in {"user", "apikey"}
	not with_client
}

entitled_by_grant if {
	input.request.grant_type == "password"
	input.principal.type == "user"
	not with_client
}

entitled_by_grant if {
	input.request.grant_type == "api_key"
	input.principal.type == "apikey"
	not with_client
}

entitled_by_grant if {
	input.request.grant_type == token_exchange
	exchangeable
}

# One that does not authenticate has only said who it is.
public if client.token_endpoint_auth_method == "none"

asks_for_itself if {
	input.principal.type == "client"
	input.caller.type == "client"
	input.caller.sub == input.principal.sub
}

# Whether a token may be exchanged is decided by where it came from, never by what is asked with it. One's own may be,
# that of another client only by a first party that was sent it.
exchangeable if {
	input.principal.credential.type == "access_token"
	issued_to == input.caller.sub
}

exchangeable if {
	input.principal.credential.type == "access_token"
	first_party
	came_to_client
}

# A token that another client was given has come here properly when it is for an audience of this one.
came_to_client if {
	some audience in input.principal.aud
	audience in client.audiences
}

# A token of an organization's own identity provider, by a client of that organization.
exchangeable if {
	input.principal.credential.type == "external_token"
	directory.listed_in(client, input.principal.org)
}

exchangeable if {
	input.principal.credential.type == "api_key"
	first_party
	acts_for_key
}

exchangeable if {
	input.principal.credential.type == "partner_token"
	clients_vendor
}

exchangeable if {
	input.principal.credential.type == "integration"
	input.principal.type == "user"
	input.principal.azp == input.caller.sub
	delegation
}

acts_for_key if directory.listed_in(client, key.org)

acts_for_key if {
	key
	directory.unbound(client)
}

clients_vendor if {
	input.principal.type == "vendor"
	input.principal.sub == client.vendor
}

# The client that an access token was issued to. Those of the exchange endpoints were issued to none.
issued_to := input.principal.azp if {
	question.has(input.principal, "azp")
} else := input.principal.sub if {
	input.principal.type == "client"
}

entitled_to_present if input.principal.type == "user"

entitled_to_present if {
	input.principal.type == "apikey"
	not with_client
}

entitled_to_present if asks_for_itself

entitled_to_present if clients_vendor

entitled_to_present if first_party
