package mandate.log_test

import data.mandate.log

decision(action) := {
	"path": "mandate/access/decision",
	"input": {"action": {"name": action}, "context": {"ssn": "078-05-1120", "ip": "192.0.2.1"}},
	"result": {"allow": true},
}

hidden := {"op": "upsert", "path": "/input/context/ip", "value": "hidden"}

test_numbers_of_identity_cards_are_erased if "/input/context/ssn" in log.mask with input as decision("documents:read")

test_addresses_are_hidden if hidden in log.mask with input as decision("documents:read")

test_addresses_of_payments_are_kept if not hidden in log.mask with input as decision("payments:approve")

test_addresses_of_mistyped_passwords_are_erased if {
	"/input/address" in log.mask with input as {"path": "mandate/authentication", "input": {"credential": "password"}}
}

test_addresses_of_keys_are_kept if {
	not "/input/address" in log.mask with input as {"path": "mandate/authentication", "input": {"credential": "api_key"}}
}

test_facts_can_name_more if {
	"/input/resource/id" in log.mask with data.custom.decision_log.erase as ["/input/resource/id"]
}
