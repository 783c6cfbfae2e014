# METADATA
# title: Rules that nobody asks
package mandate.access

# METADATA
# title: Decision
# entrypoint: true
decision := {"allow": allow, "reasons": [], "obligations": []}

default allow := false

allow if asked("a")

asked("a") if true

asked("b") if forgotten_by_none

forgotten_by_none if input.x

else := false if other

other if input.y

forgotten if input.z # want: unreachable

by_forgotten := 1 if only_by_forgotten # want: unreachable

only_by_forgotten if input.w # want: unreachable

default lonely := 1 # want: unreachable

# METADATA
# title: A rule that an OPA client queries
# entrypoint: true
queried if by_query

by_query if input.q

# mandate:ignore unreachable: the next release asks it
silenced if input.v
