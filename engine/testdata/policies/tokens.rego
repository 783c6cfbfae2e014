package mandate.tokens

default decision := {"allow": false}

decision := {
	"allow": true,
	"scopes": granted,
	"lifetime": 600,
	"claims": {"tier": "gold", "quota": 12345678901234567890},
	"org": input.org,
} if {
	count(granted) > 0
}

granted contains scope if {
	some scope in data.clients[input.client].scopes
	scope in input.scopes
}
