package mandate.manage_test

# SCIM: a key of the organization with the scope scim.

scim := object.union(machine("apikey", "acme-scim", ["scim"]), {"org": "acme"})

provisions(action, id, properties) := does(scim, action, in_org("user", id, "acme", object.union({"member_elsewhere": false}, properties)))

record(email) := {"username": "x@acme.example", "email": email, "email_verified": true, "status": "active"}

with_sales := changed(facts, "/orgs/acme/roles/sales", {"permissions": ["documents:*"]})

may_in(known, question) if decide_in(known, question).allow

test_provider_keeps_the_members if {
	may(does(scim, "orgs.members.list", in_org("member", "", "acme", {})))
	may(does(scim, "orgs.members.get", in_org("member", "bob", "acme", {})))
	may(does(scim, "orgs.members.create", in_org("member", "new", "acme", {"after": {"roles": ["viewer"], "status": "active"}})))
	may_in(with_sales, members_update(scim, "acme", "bob", ["viewer"], ["sales"]))
	may(does(scim, "orgs.members.delete", in_org("member", "bob", "acme", {"before": {"roles": ["viewer"], "status": "active"}, "sole_holder_of": []})))
}

test_provider_keeps_the_users_of_its_domains if {
	may(provisions("users.create", "x", {"after": record("x@acme.example")}))
	may(provisions("users.get", "bob", {"before": record("bob@acme.example")}))
	may(provisions("users.update", "bob", {"before": record("bob@acme.example"), "after": record("robert@acme.example")}))
}

test_provider_has_no_say_over_users_of_others if {
	every email in ["x@globex.example", "x@new.example", "x@acme.example@globex.example", "x@acme.example.", "x@Åcme.example", "K@acme.example", "acme.example", ""] {
		may_not(provisions("users.create", "x", {"after": record(email)}), "domain_not_verified")
		may_not(provisions("users.update", "bob", {"before": record("bob@acme.example"), "after": record(email)}), "domain_not_verified")
		may_not(provisions("users.update", "bob", {"before": record(email), "after": record("bob@acme.example")}), "domain_not_verified")
	}
	answers := {decide_in(facts, question) |
		some id in ["greta", "nobody"]
		some question in [
			provisions("users.get", id, {}),
			provisions("users.get", id, {"before": record("greta@globex.example")}),
			provisions("users.update", id, {"before": record("bob@acme.example"), "after": record("bob@acme.example")}),
			does(scim, "orgs.members.create", in_org("member", id, "acme", {"after": {"roles": [], "status": "active"}})),
		]
	}
	count(answers) == 1
	some answer in answers
	answer.reasons[0].code == "not_found"
}

test_provider_of_another_org_reaches_nothing if {
	may_not(does(scim, "orgs.members.list", in_org("member", "", "globex", {})), "not_found")
	may_not(does(scim, "users.get", in_org("user", "greta", "globex", {})), "not_found")
	may_not(does(scim, "users.get", thing("user", "bob", {})), "not_found")
}

test_provider_takes_over_no_account if {
	change := {"before": record("bob@acme.example"), "after": record("robert@acme.example")}
	unproved := {"before": object.union(record("bob@acme.example"), {"email_verified": false})}
	every part in [{"member_elsewhere": true}, {"member_elsewhere": null}, unproved] {
		may_not(provisions("users.update", "bob", object.union(change, part)), "domain_not_verified")
	}
	may_not(does(scim, "users.update", in_org("user", "bob", "acme", change)), "domain_not_verified")
}

test_scim_is_for_provisioning_only if {
	every row in [
		["orgs.get", organization("acme")], ["orgs.invitations.create", in_org("invitation", "i", "acme", {})],
		["users.password", in_org("user", "bob", "acme", {})], ["users.sessions.list", in_org("session", "", "acme", {})], ["apikeys.list", in_org("apikey", "", "acme", {})],
	] {
		may_not(does(scim, row[0], row[1]), "scope_missing")
	}
}

test_provider_is_a_key_of_an_org_and_of_nobody[name] if {
	some name, caller in {
		"of no org": machine("apikey", "root", ["scim"]),
		"of a user": key_of("alice-key", ["scim"]),
		"client": object.union(machine("client", "acme-backend", ["scim"]), {"org": "acme"}),
		"user": object.union(user("alice", "acme"), {"scopes": ["scim"]}),
		"wildcard": key_of("acme-scim", ["scim:*", "*"]),
		"no text": object.union(scim, {"org": null}),
	}
	may_not(does(caller, "orgs.members.list", in_org("member", "", "acme", {})), "scope_missing")
}

test_groups_give_no_role_that_manages if {
	every role in ["admin", "owner", "operator", "hr", "keeper", "unknown"] {
		lacks(members_update(scim, "acme", "bob", [], [role]), role)
		may(members_update(scim, "acme", "bob", [role], [role]))
		may(members_update(scim, "acme", "bob", [role], []))
	}
	known := changed(facts, "/roles/odd", {"permissions": null})
	may_not_in(known, members_update(scim, "acme", "bob", [], ["odd"]), "not_held")
}

test_only_who_has_proved_an_address_is_joined if {
	create := {"after": {"roles": [], "status": "active"}}
	may(does(scim, "orgs.members.create", in_org("member", "new", "acme", create)))
	may_not(does(scim, "orgs.members.create", in_org("member", "unverified", "acme", create)), "not_found")
}

with_name(name) := object.union(record("x@acme.example"), {"username": name})

test_provider_takes_no_names_of_others if {
	every name in ["x@acme.example", "X@ACME.example"] {
		may(provisions("users.create", "x", {"after": with_name(name)}))
	}
	every name in ["x", "gateway", "", null, "x@globex.example", "x@acme.example@globex.example", "x@new.example", "@"] {
		may_not(provisions("users.create", "x", {"after": with_name(name)}), "domain_not_verified")
		may_not(provisions("users.update", "bob", {"before": record("bob@acme.example"), "after": with_name(name)}), "domain_not_verified")
		may(provisions("users.update", "bob", {"before": with_name(name), "after": with_name(name)}))
	}
	may_not(provisions("users.create", "x", {"after": without(record("x@acme.example"), "/username")}), "domain_not_verified")
}

# The role developer makes API keys, whatever it is defined as.
test_developer_is_no_group if {
	lacks(members_update(scim, "acme", "bob", [], ["developer"]), "developer")
	every path in ["/roles/developer", "/orgs/acme/roles/developer"] {
		known := changed(facts, path, {"permissions": ["documents:read"]})
		may_not_in(known, members_update(scim, "acme", "bob", [], ["developer"]), "not_held")
		may_not_in(known, group_of_acme("orgs.roles.get", "developer", {}), "not_found")
	}
	may(members_update(scim, "acme", "bob", ["viewer", "developer"], []))
}

test_users_are_deleted_by_who_has_made_them if {
	may(provisions("users.delete", "bob", {"before": record("bob@acme.example"), "provisioned": true}))
	may_not(provisions("users.delete", "bob", {"before": record("bob@acme.example")}), "domain_not_verified")
	may_not(provisions("users.delete", "bob", {"before": record("bob@globex.example"), "provisioned": true}), "domain_not_verified")
	may_not(provisions("users.delete", "greta", {"before": record("greta@acme.example"), "provisioned": true}), "not_found")
	may_not(provisions("users.delete", "bob", {"before": record("bob@acme.example"), "provisioned": "yes"}), "domain_not_verified")
}

group_of_acme(action, id, properties) := does(scim, action, in_org("role", id, "acme", properties))

test_groups_are_roles_without_permissions_at_first if {
	may(group_of_acme("orgs.roles.list", "*", {}))
	may(group_of_acme("orgs.roles.create", "sales", {"after": {"permissions": []}}))
	may_not(group_of_acme("orgs.roles.create", "sales", {"after": {"permissions": ["documents:read"]}}), "role_not_provisionable")
	may_not(group_of_acme("orgs.roles.create", "viewer", {"after": {"permissions": []}}), "role_not_provisionable")
	may_not(group_of_acme("orgs.roles.create", "sales", {}), "role_not_provisionable")
	may_in(with_sales, group_of_acme("orgs.roles.get", "sales", {}))
	may_in(with_sales, group_of_acme("orgs.roles.delete", "sales", {"before": {"permissions": ["documents:*"]}, "held": false}))
	may_not_in(with_sales, group_of_acme("orgs.roles.delete", "sales", {"before": {"permissions": ["documents:*"]}, "held": true}), "role_in_use")
	may_not_in(with_sales, group_of_acme("orgs.roles.update", "sales", {"before": {"permissions": ["documents:*"]}, "after": {"permissions": ["*"]}}), "role_not_provisionable")
	may(group_of_acme("orgs.roles.get", "viewer", {}))
	may_not(group_of_acme("orgs.roles.delete", "viewer", {}), "role_not_provisionable")
}

test_roles_that_manage_are_no_groups if {
	every role in ["admin", "owner", "operator", "hr", "keeper", "unknown"] {
		every verb in ["get", "update", "delete"] {
			may_not(group_of_acme(concat(".", ["orgs.roles", verb]), role, {"held": false}), "not_found")
		}
	}
}
