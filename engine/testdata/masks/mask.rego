# METADATA
# title: What the decision log does not keep
# description: >-
#   Each element is a JSON pointer to what is removed from a record before it is written, or says what stands in its place.
#   It sees the record as input: path, input, result and footprint.
package mandate.log

# Nobody needs the number of an identity card to see why somebody was let in.
mask contains "/input/context/ssn"

# Where somebody is counts only for one kind of action.
mask contains {"op": "upsert", "path": "/input/context/ip", "value": "hidden"} if {
	input.path == "mandate/access/decision"
	input.input.context.ip
	input.input.action.name != "payments:approve"
}

# The addresses of people who mistype their passwords are nobody's business, those of tokens are.
mask contains "/input/address" if {
	input.path == "mandate/authentication"
	input.input.credential == "password"
}

# A security team can hide more without a change of its policies.
mask contains pointer if some pointer in data.custom.decision_log.erase
