# METADATA
# title: Calls that are another thing each time
package mandate.access

# METADATA
# title: Decision
# entrypoint: true
decision := {"allow": allow, "reasons": [], "obligations": []}

default allow := false

allow if time.now_ns() < input.context.until # want: volatile

allow if {
	n := rand.intn("x", 10) # want: volatile
	n < 5
}

allow if uuid.rfc4122("x") != "" # want: volatile

allow if {
	[t |
		t := time.now_ns() # want: volatile
	][0] > 1
}

# Near misses: of a time that was given, they are always the same.
allow if time.parse_rfc3339_ns(input.context.at) < 5

allow if time.weekday(input.context.ns) == "Sunday"

allow if uuid.parse(input.context.id).version == 4

allow if late

late if time.now_ns() > 5 # mandate:ignore volatile: few ask at night
