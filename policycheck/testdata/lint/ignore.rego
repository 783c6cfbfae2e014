# METADATA
# title: Comments that silence nothing
package mandate.access

# METADATA
# title: Decision
# entrypoint: true
decision := {"allow": allow, "reasons": [], "obligations": []}

# The next line says mandate:ignore scan, which is no comment for the linter.
default allow := false

# mandate:ignore scan: nothing scans here. want: ignore
allow if data.users[input.principal.sub].status == "active"

# mandate:ignore volatile. want: ignore
allow if time.now_ns() < 5 # want: volatile

# mandate:ignore everything: because. want: ignore
allow if input.a
