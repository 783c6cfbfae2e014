package mandate.tokens

import data.mandate.directory
import data.mandate.request as question

# A client acts for a user with the user's agreement. First parties need none, but the client of a vendor does always.
agreement_needed if {
	input.principal.type == "user"
	with_client
	not trusted
}

trusted if {
	first_party
	not question.has(client, "vendor")
}

# The user has agreed on a page of Mandate, organization by organization and audience by audience,
consent := data.consents[input.principal.sub][input.caller.sub].orgs[consent_org] if not by_integration

by_integration if input.principal.credential.type == "integration"

consent_org := org if {
	org
} else := ""

# or by enabling an integration, which is as good for the client of the vendor.
delegation := enabled if {
	enabled := data.orgs[org].integrations[client.vendor]
	enabled.kind == "delegated"
	enabled.status == "active"
	enabled.enabled_by == input.principal.sub
	enabled.client == input.caller.sub
}

agreed(scope) if scope in consent.scopes[input.request.audience]

agreed(scope) if {
	some held in delegation.scopes
	directory.scope_covers(held, scope)
}

agreement_stands if not agreement_needed

agreement_stands if input.request.stage == "authorize"

agreement_stands if consent.scopes[input.request.audience]

agreement_stands if delegation

agreed_or_open(_) if not agreement_needed

agreed_or_open(_) if input.request.stage == "authorize"

agreed_or_open(scope) if agreed(scope)

# What the user has to be asked before a token is issued.
obligations := [{"type": "consent", "scopes": sort(unagreed)}] if {
	input.request.stage == "authorize"
	agreement_needed
	count(unagreed) > 0
} else := []

unagreed contains scope if {
	some scope in scopes
	not agreed(scope)
}
