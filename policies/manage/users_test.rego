package mandate.manage_test

# Users: within the organization of their token, what their roles there permit.

test_admin_may_do_everything_in_their_org if {
	every row in of_acme {
		may(does(user("alice", "acme"), row[0], row[1]))
	}
}

test_admin_may_do_nothing_of_the_tenant if {
	every row in of_the_tenant {
		may_not(does(user("alice", "acme"), row[0], row[1]), "not_found")
	}
}

test_permission_of_a_role_is_a_name_or_a_pattern[permission] if {
	some permission, covered in {
		"*": true,
		"orgs.*": true,
		"orgs.members.*": true,
		"orgs.members.list": true,
		"orgs.members": false,
		"orgs.members.": false,
		"orgs.members.list.*": false,
		"orgs.members*": false,
		"orgs.m*": false,
		"orgs:*": false,
		".*": false,
		"**": false,
		"Orgs.*": false,
		"children:*": false,
		"orgs.members.get": false,
	}
	known := changed(facts, "/orgs/acme/roles/keeper/permissions", [permission])
	holder_of_it := changed(known, "/orgs/acme/members/bob/roles", ["keeper"])
	decide_in(holder_of_it, does(user("bob", "acme"), "orgs.members.list", in_org("member", "", "acme", {}))).allow == covered
}

test_missing_permission_is_named if {
	question := does(user("bob", "acme"), "orgs.members.list", in_org("member", "", "acme", {}))
	may_not(question, "role_missing")
	contains(decide_in(facts, question).reasons[0].message, "orgs.members.list")
}

test_own_role_hides_the_tenants if {
	known := changed(facts, "/orgs/acme/roles/admin", {"permissions": ["documents:read"]})
	may_not_in(known, does(user("alice", "acme"), "orgs.members.list", in_org("member", "", "acme", {})), "role_missing")
}

test_member_sees_their_org_and_its_roles if {
	bob := user("bob", "acme")
	may(does(bob, "orgs.get", organization("acme")))
	may(does(bob, "orgs.roles.list", in_org("role", "", "acme", {})))
	may(does(bob, "orgs.roles.get", in_org("role", "hr", "acme", {})))
	may(does(bob, "orgs.integrations.list", in_org("integration", "", "acme", {})))
	may(does(bob, "orgs.members.get", in_org("member", "bob", "acme", {})))
	may_not(does(bob, "orgs.members.get", in_org("member", "alice", "acme", {})), "role_missing")
	may_not(members_update(bob, "acme", "bob", ["viewer"], ["viewer"]), "role_missing")
	may_not(does(bob, "orgs.update", organization("acme")), "role_missing")
	may_not(does(bob, "orgs.audit.list", in_org("audit", "", "acme", {})), "role_missing")
	may_not(does(bob, "clients.list", in_org("client", "", "acme", {})), "role_missing")
}

test_user_reaches_nothing[name] if {
	some name, caller in {
		"without an org": without(user("alice", "acme"), "/org"),
		"of another org": user("greta", "globex"),
		"of no org": user("alice", "nowhere"),
		"no member": user("greta", "acme"),
		"unknown": user("nobody", "acme"),
		"suspended member": user("carol", "acme"),
		"disabled": user("gone", "acme"),
	}
	every row in of_acme {
		may_not(does(caller, row[0], row[1]), "not_found")
	}
}

test_roles_of_another_org_do_not_count if {
	may_not(members_update(user("alice", "globex"), "globex", "greta", ["admin"], []), "role_missing")
	may_not(members_update(user("alice", "globex"), "acme", "bob", [], []), "not_found")
}

test_roles_that_a_connection_brings_count if {
	connected := object.union(user("acme|acme-idp|erin", "acme"), {"connection": "acme-idp", "roles": ["admin"]})
	may(does(connected, "orgs.members.list", in_org("member", "", "acme", {})))
	off := changed(facts, "/orgs/acme/connections/acme-idp/status", "disabled")
	may_not_in(off, does(connected, "orgs.members.list", in_org("member", "", "acme", {})), "not_found")
	out := changed(facts, "/orgs/acme/members/acme|acme-idp|erin", {"roles": ["admin"], "status": "suspended"})
	may_not_in(out, does(connected, "orgs.members.list", in_org("member", "", "acme", {})), "not_found")
	may_not(does(object.union(connected, {"org": "globex"}), "orgs.get", organization("globex")), "not_found")
}

# One's own.

own_things := {
	"users.sessions.list": ["session", ""],
	"users.sessions.delete": ["session", "s"],
	"users.grants.list": ["grant", ""],
	"users.grants.delete": ["grant", "g"],
	"consents.list": ["consent", ""],
	"consents.delete": ["consent", "bob/partner"],
}

test_user_cuts_their_own[action] if {
	some action, row in own_things
	every caller in [user("bob", "acme"), without(user("bob", "acme"), "/org"), session("bob")] {
		may(does(caller, action, thing(row[0], row[1], {"user": "bob"})))
	}
	may_not(does(consumer("bob"), action, thing(row[0], row[1], {"user": "bob"})), "scope_missing")
	may_not(does(user("alice", "acme"), action, thing(row[0], row[1], {"user": "bob"})), "not_found")
	may_not(does(session("alice"), action, thing(row[0], row[1], {"user": "bob"})), "scope_missing")
	may_not(does(acme_backend, action, thing(row[0], row[1], {"user": "acme-backend", "org": "acme"})), "not_found")
	every properties in [{}, {"user": null}, {"user": ["bob"]}, {"before": {"user": "bob"}}] {
		may_not(does(user("bob", "acme"), action, thing(row[0], row[1], properties)), "not_found")
	}
	not may(does(without(session("bob"), "/sub"), action, thing(row[0], row[1], {})))
	made := does(user("bob", "acme"), concat(".", [trim_suffix(trim_suffix(action, ".list"), ".delete"), "create"]), thing(row[0], "x", {"user": "bob"}))
	may_not(made, "not_found")
}

test_nothing_else_is_ones_own_by_a_property if {
	every action in ["orgs.members.list", "orgs.members.delete", "apikeys.list"] {
		type := {"orgs.members": "member", "apikeys": "apikey"}[concat(".", array.slice(split(action, "."), 0, count(split(action, ".")) - 1))]
		may_not(does(user("bob", "acme"), action, in_org(type, "x", "globex", {"user": "bob"})), "not_found")
		may_not(does(user("bob", "acme"), action, in_org(type, "x", "acme", {"user": "bob"})), "role_missing")
	}
}

test_nobody_but_the_tenant_reaches_an_org_without_a_profile if {
	gone := without(facts, "/orgs/acme/profile")
	every caller in [user("alice", "acme"), key_of("alice-key", ["manage"]), acme_backend, scim] {
		may_not_in(gone, does(caller, "orgs.members.list", in_org("member", "", "acme", {})), "not_found")
	}
	may_not_in(gone, accepts(session("new"), "acme", "new@acme.example"), "not_found")
	may_in(gone, does(root, "orgs.members.list", in_org("member", "", "acme", {})))
}

# Accepting an invitation.

accepts(caller, org, email) := does(caller, "orgs.invitations.accept", in_org("invitation", "i", org, {"before": {"email": email, "roles": ["admin"]}}))

test_invitation_is_accepted_by_whom_it_is_for if {
	may(accepts(session("new"), "acme", "new@acme.example"))
	may(accepts(consumer("new"), "acme", "new@acme.example"))
	may(accepts(user("new", "globex"), "acme", "new@acme.example"))
	may(accepts(session("new"), "acme", "New@ACME.example"))
	may(changed(accepts(session("new"), "acme", "new@acme.example"), "/resource/properties/user", "new"))
}

test_invitation_is_accepted_for_nobody_else if {
	every other in ["bob", "", null, ["new"], 1] {
		may_not(changed(accepts(session("new"), "acme", "new@acme.example"), "/resource/properties/user", other), "not_found")
	}
}

test_invitation_of_others_is_not_there if {
	answers := {decide_in(facts, accepts(session("new"), org, email)) |
		some org in ["acme", "nowhere"]
		some email in ["bob@acme.example", "new@aKme.example", "new@acme.example ", "new@ɑcme.example", "", 1, null]
	}
	{answer.reasons[0].code | some answer in answers} == {"not_found", "request_malformed"}
	mine := in_org("invitation", "i", "globex", {"before": {"email": "bob@acme.example", "roles": []}})
	may_not(does(user("bob", "acme"), "orgs.invitations.get", mine), "not_found")
	absent := does(session("new"), "orgs.invitations.accept", in_org("invitation", "i", "acme", {}))
	decide_in(facts, absent) == decide_in(facts, accepts(session("new"), "acme", "bob@acme.example"))
	may_not(accepts(session("nobody"), "acme", "new@acme.example"), "email_not_verified")
}

test_invitation_needs_a_verified_email if {
	may_not(accepts(session("unverified"), "acme", "unverified@acme.example"), "email_not_verified")
	may_not(accepts(session("gone"), "acme", "gone@acme.example"), "email_not_verified")
	may_not(accepts(session("dora"), "acme", "dora@acme.example"), "email_not_verified")
	every verified in [null, "true", 1] {
		known := changed(facts, "/users/new/email_verified", verified)
		may_not_in(known, accepts(session("new"), "acme", "new@acme.example"), "email_not_verified")
	}
}

test_invitation_is_accepted_in_person if {
	may_not(accepts(changed(consumer("new"), "/azp", "partner"), "acme", "new@acme.example"), "scope_missing")
	may_not(accepts(without(consumer("new"), "/azp"), "acme", "new@acme.example"), "scope_missing")
	may_not(accepts(changed(consumer("new"), "/credential/type", "integration"), "acme", "new@acme.example"), "scope_missing")
	may_not(accepts(object.union(machine("client", "new", []), {"azp": "console"}), "acme", "new@acme.example"), "scope_missing")
}

test_invitation_of_a_suspended_org_is_not_accepted if may_not(accepts(session("new"), "initech", "new@acme.example"), "org_suspended")

# For somebody else.

accepts_for(caller, person, email) := changed(accepts(caller, "acme", email), "/resource/properties/user", person)

test_invitation_is_accepted_for_others_by_machines_that_know_them if {
	may(accepts_for(root, "greta", "greta@globex.example"))
	may(accepts_for(acme_backend, "new", "new@acme.example"))
	may(accepts_for(key_of("acme-root", ["manage"]), "new", "new@acme.example"))
	member := changed(user("alice", "acme"), "/azp", "partner")
	answers := {decide_in(strangers, accepts_for(caller, person, email)) |
		some caller in [acme_backend, key_of("alice-key", ["manage"]), member]
		some person in ["greta", "erin", "nobody", "unverified", "", null, 1, ["new"]]
		some email in ["erin@globex.example", "x@acme.example"]
	}
	{[answer.allow, answer.reasons[0].code] | some answer in answers} == {[false, "invitation_needed"]}
	may_not(accepts_for(key_of("alice-key", ["manage"]), "new", "new@acme.example"), "invitation_needed")
	may_not(accepts_for(member, "alice", "alice@acme.example"), "invitation_needed")
	may_not(accepts(acme_backend, "acme", "new@acme.example"), "invitation_needed")
}

# Making an account with an invitation.

registers(org, properties) := {"action": {"name": "users.register"}, "resource": in_org("user", "u", org, object.union({"after": record("x@acme.example")}, properties))}

test_invited_makes_an_account_by_mail if {
	may(registers("acme", {"invitation": "i", "mailed": true}))
	every mailed in [false, null, "true", 1] {
		may_not(registers("acme", {"invitation": "i", "mailed": mailed}), "address_not_proved")
	}
	every caller in [user("bob", "acme"), scim, oem("backupco-app")] {
		not may(does(caller, "orgs.integrations.delete", in_org("integration", "syncco-2", "acme", {"invitation": "i", "mailed": true})))
	}
	may_not(registers("acme", {"mailed": true}), "address_not_proved")
	may_not(registers("initech", {"invitation": "i", "mailed": true}), "org_suspended")
	may_not(registers("nowhere", {"invitation": "i", "mailed": true}), "not_found")
	may_not(without(registers("acme", {"invitation": "i", "mailed": true}), "/resource/properties/org"), "not_found")
	may_not(changed(registers("acme", {"invitation": "i", "mailed": true}), "/action/name", "users.create"), "scope_missing")
}

# Keys.

test_developer_makes_keys_for_themself if {
	may(makes_key(user("bob", "acme"), "acme", "bob", ["documents:read"]))
	may_not(makes_key(user("bob", "acme"), "acme", "alice", ["documents:read"]), "not_your_own")
	may_not(makes_key(user("alice", "acme"), "acme", "bob", ["documents:read"]), "not_your_own")
	may_not(makes_key(user("bob", "acme"), "globex", "bob", []), "not_found")
	known := changed(facts, "/orgs/acme/members/bob/roles", ["viewer"])
	may_not_in(known, makes_key(user("bob", "acme"), "acme", "bob", ["documents:read"]), "role_missing")
	ownerless := without(makes_key(user("bob", "acme"), "acme", "bob", []), "/resource/properties/after/owner")
	may_not(ownerless, "not_your_own")
}

test_key_has_no_scope_that_its_maker_lacks if {
	every scope in ["documents:write", "documents:*", "*", "billing:read", "orgs.members.list"] {
		lacks(makes_key(user("bob", "acme"), "acme", "bob", ["documents:read", scope]), scope)
	}
	may(makes_key(user("alice", "acme"), "acme", "alice", ["documents:*", "billing:read"]))
}

keys_of(owner) := {"org": "acme", "owner": owner, "scopes": ["documents:read"], "status": "active"}

test_key_is_its_owners if {
	every action in ["apikeys.get", "apikeys.delete"] {
		may(does(user("bob", "acme"), action, in_org("apikey", "k", "acme", {"before": keys_of("bob")})))
		may_not(does(user("bob", "acme"), action, in_org("apikey", "k", "acme", {"before": keys_of("alice")})), "role_missing")
		may_not(does(user("bob", "acme"), action, in_org("apikey", "k", "acme", {})), "role_missing")
		may(does(user("dora", "acme"), action, in_org("apikey", "k", "acme", {"before": keys_of("bob")})))
	}
	may(does(user("bob", "acme"), "apikeys.list", in_org("apikey", "", "acme", {"owner": "bob"})))
	may_not(does(user("bob", "acme"), "apikeys.list", in_org("apikey", "", "acme", {})), "role_missing")
	may_not(does(user("bob", "acme"), "apikeys.list", in_org("apikey", "", "acme", {"owner": "alice"})), "role_missing")
	revoked := object.union(keys_of("bob"), {"status": "revoked"})
	may(does(user("bob", "acme"), "apikeys.update", in_org("apikey", "k", "acme", {"before": keys_of("bob"), "after": revoked})))
	wider := object.union(keys_of("bob"), {"scopes": ["documents:*"]})
	lacks(does(user("bob", "acme"), "apikeys.update", in_org("apikey", "k", "acme", {"before": keys_of("bob"), "after": wider})), "documents:*")
	lacks(does(user("bob", "acme"), "apikeys.rotate", in_org("apikey", "k", "acme", {"before": wider})), "documents:*")
}

rotates_key(caller, key) := does(caller, "apikeys.rotate", in_org("apikey", "k", "acme", {"before": key}))

rotates_integration(caller, i) := does(caller, "orgs.integrations.rotate", in_org("integration", "syncco", "acme", {"before": i}))

# Whoever is shown the secret could be that user.
test_secret_that_acts_for_a_user_is_rotated_by_them if {
	bobs := facts.orgs.acme.integrations.syncco
	may(rotates_key(user("bob", "acme"), keys_of("bob")))
	may(rotates_key(key_of("alice-key", ["manage"]), keys_of("alice")))
	may(rotates_integration(user("bob", "acme"), bobs))
	may(rotates_key(root, keys_of("bob")))
	may(rotates_integration(root, bobs))
	every caller in [user("alice", "acme"), key_of("alice-key", ["manage"]), acme_backend, key_of("acme-root", ["manage"])] {
		may_not(rotates_key(caller, keys_of("bob")), "not_your_own")
		may_not(rotates_integration(caller, bobs), "not_your_own")
		may_not(rotates_integration(caller, without(bobs, "/enabled_by")), "not_your_own")
		may(rotates_integration(caller, facts.orgs.acme.integrations.backupco))
		may(does(caller, "apikeys.delete", in_org("apikey", "k", "acme", {"before": keys_of("bob")})))
		may(does(caller, "orgs.integrations.delete", in_org("integration", "syncco", "acme", {"before": bobs})))
	}
	nobodys := without(keys_of("bob"), "/owner")
	may(rotates_key(acme_backend, nobodys))
	may_not(rotates_key(user("alice", "acme"), nobodys), "not_your_own")
	may_not(rotates_key(user("dora", "acme"), keys_of("bob")), "not_your_own")
	may_not(rotates_key(user("bob", "acme"), keys_of("alice")), "role_missing")
}

lists(caller) := does(caller, "orgs.members.list", in_org("member", "", "acme", {}))

test_key_with_an_owner_is_at_most_its_owner if {
	may(lists(key_of("alice-key", ["manage"])))
	may(lists(machine("apikey", "alice-anywhere", ["manage"])))
	may_not(lists(key_of("bob-key", ["manage"])), "role_missing")
	may_not(lists(key_of("dora-key", ["manage"])), "not_found") # dora is no developer
	lacks(makes_key(key_of("alice-key", ["manage"]), "acme", "alice", ["manage"]), "manage")
	may_not(makes_key(key_of("alice-key", ["manage"]), "acme", "bob", []), "not_your_own")
	every row in of_the_tenant {
		may_not(does(machine("apikey", "alice-anywhere", ["manage"]), row[0], row[1]), "not_found")
	}
	may_not(does(machine("apikey", "alice-anywhere", ["manage"]), "orgs.get", organization("globex")), "not_found")
	both := changed(facts, "/orgs/globex/members/alice/roles", ["admin", "developer"])
	may_in(both, does(machine("apikey", "alice-anywhere", ["manage"]), "orgs.get", organization("globex")))
	may_not_in(both, does(key_of("alice-key", ["manage"]), "orgs.get", organization("globex")), "not_found")
	every change in [["/orgs/acme/members/alice/status", "suspended"], ["/users/alice/status", "disabled"], ["/orgs/acme/members/alice/roles", ["admin"]]] {
		may_not_in(changed(facts, change[0], change[1]), lists(key_of("alice-key", ["manage"])), "not_found")
	}
}

# Integrations.

enables(caller, person, scopes, properties) := does(caller, "orgs.integrations.enable", in_org("integration", "syncco", "acme", object.union(properties, {"after": {
	"kind": "delegated", "status": "active", "scopes": scopes, "enabled_by": person, "client": "syncco-app",
}})))

test_user_enables_for_themself if {
	may(enables(user("bob", "acme"), "bob", ["documents:read", "openid", "offline_access"], {}))
	may_not(enables(user("bob", "acme"), "alice", ["documents:read"], {}), "not_your_own")
	may_not(enables(user("alice", "acme"), "bob", ["documents:read"], {}), "not_your_own")
	lacks(enables(user("bob", "acme"), "bob", ["documents:write"], {}), "documents:write")
	lacks(enables(user("bob", "acme"), "bob", ["documents:*"], {}), "documents:*")
	lacks(enables(user("alice", "acme"), "alice", ["manage"], {}), "manage")
	every change in [{"kind": "external"}, {"status": "suspended"}] {
		question := enables(user("bob", "acme"), "bob", ["documents:read"], {})
		may_not(object.union(question, {"resource": {"properties": {"after": change}}}), "integration_malformed")
	}
}

test_machine_enables_for_a_member_what_they_hold if {
	every caller in [root, acme_backend] {
		may(enables(caller, "bob", ["documents:read"], {}))
		may(enables(caller, "alice", ["documents:*"], {}))
		lacks(enables(caller, "bob", ["documents:write"], {}), "documents:write")
		every person in ["carol", "gone", "greta", "nobody", ""] {
			may_not(enables(caller, person, ["documents:read"], {}), "integration_malformed")
		}
	}
	may_not(enables(acme_backend, "alice", ["manage"], {}), "not_held")
	may_not(enables(object.union(backend, {"org": "globex"}), "bob", ["documents:read"], {}), "not_found")
}

test_integration_of_another_user_needs_permission if {
	bobs := {"before": facts.orgs.acme.integrations.syncco}
	may(enables(user("bob", "acme"), "bob", ["documents:read"], bobs))
	may_not(enables(user("dora", "acme"), "dora", ["documents:read"], bobs), "role_missing")
	may(enables(user("alice", "acme"), "alice", ["documents:read"], bobs))
	may_not(enables(user("dora", "acme"), "dora", ["documents:read"], {"before": facts.orgs.acme.integrations.backupco}), "role_missing")
	every action in ["orgs.integrations.delete", "orgs.integrations.rotate"] {
		may(does(user("bob", "acme"), action, in_org("integration", "syncco", "acme", bobs)))
		may_not(does(user("dora", "acme"), action, in_org("integration", "syncco", "acme", bobs)), "role_missing")
	}
}

test_suspended_integration_is_not_the_users_to_resume if {
	suspended := object.union(facts.orgs.acme.integrations.syncco, {"status": "suspended"})
	resumed := {"before": suspended, "after": facts.orgs.acme.integrations.syncco}
	may_not(does(user("bob", "acme"), "orgs.integrations.update", in_org("integration", "syncco", "acme", resumed)), "role_missing")
	may_not(does(user("bob", "acme"), "orgs.integrations.delete", in_org("integration", "syncco", "acme", {"before": suspended})), "role_missing")
	may_not(enables(user("bob", "acme"), "bob", ["documents:read"], {"before": suspended}), "role_missing")
	may(does(user("alice", "acme"), "orgs.integrations.update", in_org("integration", "syncco", "acme", resumed)))
	may(does(user("bob", "acme"), "orgs.integrations.update", in_org("integration", "syncco", "acme", {"before": resumed.after, "after": suspended})))
}

# Parents.

test_role_carries_to_children if {
	mia := user("mia", "msp")
	may(does(mia, "orgs.get", organization("acme")))
	may(does(mia, "orgs.members.list", in_org("member", "", "acme", {})))
	may(members_update(mia, "acme", "bob", ["viewer"], []))
	may(invites(mia, "acme", ["viewer"]))
	may_not(does(mia, "orgs.roles.list", in_org("role", "", "acme", {})), "role_missing")
	may_not(does(mia, "orgs.integrations.list", in_org("integration", "", "acme", {})), "role_missing")
	may_not(does(mia, "orgs.members.list", in_org("member", "", "msp", {})), "role_missing")
}

lists_children_of(caller, parent) := does(caller, "orgs.list", thing("organization", "*", {"parent": parent}))

test_parent_lists_its_children if {
	known := changed(facts, "/roles/operator/permissions/-", "children:orgs.list")
	may_in(known, lists_children_of(user("mia", "msp"), "msp"))
	may_not(lists_children_of(user("mia", "msp"), "msp"), "not_found")
	may_not(lists_children_of(user("max", "msp"), "msp"), "not_found")
	may_not_in(known, lists_children_of(user("mia", "msp"), "acme"), "not_found")
	may_not_in(known, lists_children_of(user("mia", "msp"), null), "not_found")
	may_not_in(known, lists_children_of(user("mia", null), null), "not_found")
	may_not_in(known, does(user("mia", "msp"), "orgs.list", {"type": "organization", "id": "*"}), "not_found")
	may_not_in(changed(known, "/users/mia/status", "disabled"), lists_children_of(user("mia", "msp"), "msp"), "not_found")
	may_not_in(changed(known, "/orgs/msp/profile/status", "suspended"), lists_children_of(user("mia", "msp"), "msp"), "not_found")
}

test_role_without_children_does_not_carry if {
	max := user("max", "msp")
	may(does(max, "orgs.members.list", in_org("member", "", "msp", {})))
	may_not(does(max, "orgs.get", organization("acme")), "not_found")
	may_not(does(max, "orgs.members.list", in_org("member", "", "acme", {})), "not_found")
}

test_role_carries_one_level_and_down_only if {
	known := changed(facts, "/orgs/globex/profile/parent", "acme")
	may_not_in(known, does(user("mia", "msp"), "orgs.get", organization("globex")), "not_found")
	child := changed(facts, "/orgs/acme/members/dora/roles", ["operator"])
	may_not_in(child, does(user("dora", "acme"), "orgs.members.list", in_org("member", "", "msp", {})), "not_found")
	itself := changed(facts, "/orgs/msp/profile/parent", "msp")
	may_not_in(itself, does(user("mia", "msp"), "orgs.members.list", in_org("member", "", "msp", {})), "role_missing")
}

test_parent_must_be_active_and_so_its_member if {
	every change in [["/orgs/msp/profile/status", "suspended"], ["/orgs/msp/members/mia/status", "suspended"], ["/users/mia/status", "disabled"], ["/orgs/acme/profile/parent", "globex"], ["/orgs/acme/profile/parent", null]] {
		may_not_in(changed(facts, change[0], change[1]), does(user("mia", "msp"), "orgs.get", organization("acme")), "not_found")
	}
}

test_parent_gives_in_a_child_what_it_holds_there if {
	mia := user("mia", "msp")
	lacks(members_update(mia, "acme", "alice", ["admin"], []), "*")
	lacks(members_update(mia, "acme", "bob", [], ["keeper"]), "documents:*")
	lacks(invites(mia, "acme", ["admin"]), "*")
	deeper := changed(facts, "/orgs/acme/roles/keeper/permissions", ["children:orgs.get"])
	may_not_in(deeper, members_update(mia, "acme", "bob", [], ["keeper"]), "not_held")
	may_not(makes_key(mia, "acme", "mia", []), "role_missing")
	everything := changed(facts, "/roles/operator/permissions", ["children:*"])
	may_not_in(everything, makes_key(mia, "acme", "mia", []), "not_your_own")
	may_not_in(everything, enables(mia, "mia", [], {}), "not_your_own")
}

moves(caller, org, parent) := does(caller, "orgs.update", thing("organization", org, {"before": {"status": "active"}, "after": {"status": "active", "parent": parent}}))

test_only_the_tenant_moves_an_org_under_a_parent if {
	may(moves(root, "globex", "msp"))
	may_not(moves(user("greta", "globex"), "globex", "msp"), "tenant_only")
	may_not(moves(acme_backend, "acme", "globex"), "tenant_only")
	may_not(moves(user("mia", "msp"), "globex", "msp"), "not_found")
	may_not(moves(user("mia", "msp"), "acme", "globex"), "tenant_only")
	freed := thing("organization", "acme", {"before": {"status": "active", "parent": "msp"}, "after": {"status": "active"}})
	may_not(does(user("alice", "acme"), "orgs.update", freed), "tenant_only")
	may_not(does(user("mia", "msp"), "orgs.create", thing("organization", "acme3", {"after": {"status": "active", "parent": "msp"}})), "not_found")
}

# Without an invitation an organization adds only whom it knows, and learns of nobody else whether they are users.
test_strangers_are_invited if {
	every caller in [alice, acme_backend] {
		every id in ["erin", "nobody", "unverified"] {
			may_not_in(strangers, does(caller, "orgs.members.create", in_org("member", id, "acme", {"after": {"roles": [], "status": "active"}})), "invitation_needed")
		}
		may(does(caller, "orgs.members.create", in_org("member", "new", "acme", {"after": {"roles": [], "status": "active"}})))
	}
	may(does(root, "orgs.members.create", in_org("member", "erin", "acme", {"after": {"roles": [], "status": "active"}})))
}

strangers := changed(
	changed(facts, "/users/erin", {"status": "active", "email": "erin@globex.example", "email_verified": true}),
	"/users/unverified",
	{"status": "active", "email": "unverified@acme.example"},
)

# Who could choose an id would find out which are taken.
test_ids_that_organizations_share_are_made if {
	every row in [["clients.create", "client", {"party": "third"}], ["apikeys.create", "apikey", {"status": "active"}], ["webhooks.create", "webhook", {}]] {
		chosen(acme_backend, row, "made", "")
		chosen(acme_backend, row, "body", "id_is_made")
		chosen(acme_backend, row, "path", "not_found")
		chosen(root, row, "path", "")
		chosen(root, row, "body", "")
	}
}

chosen(caller, row, from, code) if {
	code != ""
	may_not(does(caller, row[0], in_org(row[1], "x", "acme", {"id_from": from, "after": object.union({"org": "acme", "scopes": []}, row[2])})), code)
}

chosen(caller, row, from, "") if {
	may(does(caller, row[0], in_org(row[1], "x", "acme", {"id_from": from, "after": object.union({"org": "acme", "scopes": []}, row[2])})))
}

test_organization_invites_in_the_name_of_its_own_people if {
	may(invites_as(alice, "alice", {}))
	may(invites_as(acme_backend, "bob", {"inviter_is_member": true}))
	may_not(invites_as(acme_backend, "erin", {"inviter_is_member": false}), "inviter_unknown")
	may_not(invites_as(acme_backend, "nobody", {}), "inviter_unknown")
	may(invites_as(root, "erin", {"inviter_is_member": false}))
}

invites_as(caller, by, more) := does(caller, "orgs.invitations.create", in_org("invitation", "i", "acme", object.union({"after": {"email": "x@acme.example", "roles": [], "invited_by": by}}, more)))
