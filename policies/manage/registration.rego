package mandate.manage

import data.mandate.directory
import data.mandate.request

registration if input.action.name == "clients.register"

# Anybody may register a client (RFC 7591 §3) where the tenant says so, sending no credential at all.
registration_open if {
	registration
	not request.has(input, "caller")
	data.custom.open_registration == true
}

# A client that registered itself is a third party, and may have no more than the APIs offer: nothing of Mandate itself.
# mandate:ignore scan: a tenant has few APIs, and clients are registered seldom
obligations := [{
	"type": "limit_client",
	"scopes": sort({scope |
		some api in data.apis
		some scope in api.scopes
		not scope in directory.issuer_scopes
	} | directory.protocol_scopes),
	"audiences": sort({api.audience | some api in data.apis}),
}] if {
	registration
} else := []
