package mandate.manage_test

drill(action, caller, key) := does(caller, action, in_org("apikey", "k", key.org, {"before": key}))

bobs_key := {"org": "acme", "owner": "bob", "scopes": ["documents:read"], "status": "active"}

test_a_leaked_key_is_drilled_by_those_who_manage_it[note] if {
	some note, row in {
		"manager of the tenant": [root, true],
		"backend of the organization": [acme_backend, true],
		"admin of the organization": [user("alice", "acme"), true],
		"who holds apikeys.*": [user("dora", "acme"), true],
		"its owner": [user("bob", "acme"), true],
		"admin of another organization": [user("greta", "globex"), false],
	}
	decide_in(facts, drill("apikeys.drill", row[0], bobs_key)).allow == row[1]
}

test_a_leaked_key_of_another_is_none_of_a_member if {
	may_not(drill("apikeys.drill", user("bob", "acme"), object.union(bobs_key, {"owner": "alice"})), "role_missing")
}

test_a_leaked_key_of_another_organization_does_not_exist if {
	may_not(drill("apikeys.drill", user("greta", "globex"), bobs_key), "not_found")
	may_not(drill("apikeys.drill", acme_backend, object.union(bobs_key, {"org": "globex"})), "not_found")
}

test_who_may_drill_revokes_by_updating if {
	revoked := object.union(bobs_key, {"status": "revoked"})
	change := {"before": bobs_key, "after": revoked}
	may(does(user("dora", "acme"), "apikeys.update", in_org("apikey", "k", "acme", change)))
	may(does(user("bob", "acme"), "apikeys.update", in_org("apikey", "k", "acme", change)))
}
