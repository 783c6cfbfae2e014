# METADATA
# title: Data that is replaced
package mandate.access

# METADATA
# title: Decision
# entrypoint: true
decision := {"allow": allow, "reasons": [], "obligations": []}

default allow := false

allow if active with data.users as {"bob": {"status": "active"}} # want: replaces-data

allow if active with input as {"principal": {"sub": "bob"}}

allow if active with other as true

active if {
	data.users[input.principal.sub].status == "active"
	not other
}

other if input.other
