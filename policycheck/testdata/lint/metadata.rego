# A comment is no metadata.
package mandate.access # want: missing-metadata

import data.lib.described
import data.lib.plain

decision := {"allow": allow, "reasons": [], "obligations": []} # want: missing-metadata

default allow := false

allow if described.yes

allow if plain.yes
