package mandate.manage_test

# Nobody gives what they do not hold. dora manages members, roles and invitations and reads documents, and no more.

dora := user("dora", "acme")

alice := user("alice", "acme")

test_admin_gives_all_but_what_is_in_children if {
	may(members_update(alice, "acme", "bob", ["viewer"], ["admin", "developer", "keeper"]))
	may(defines(alice, "acme", "r", ["*", "orgs.*", "documents:*"]))
	lacks(defines(alice, "acme", "r", ["children:orgs.members.*"]), "children:orgs.members.*")
	lacks(members_update(alice, "acme", "alice", ["admin"], ["admin", "operator"]), "children:orgs.get")
}

test_escalation_by_membership if {
	may(members_update(dora, "acme", "bob", ["viewer"], []))
	may(members_update(dora, "acme", "bob", [], ["viewer", "hr"]))
	lacks(members_update(dora, "acme", "dora", ["hr"], ["hr", "admin"]), "*")
	lacks(members_update(dora, "acme", "bob", ["viewer"], ["keeper"]), "documents:*")
	lacks(members_update(dora, "acme", "bob", ["viewer"], ["owner"]), "orgs.*")
	lacks(does(dora, "orgs.members.create", in_org("member", "new", "acme", {"after": {"roles": ["admin"], "status": "active"}})), "*")
}

test_role_that_is_not_defined_is_nobodys_to_give if {
	lacks(members_update(dora, "acme", "bob", [], ["future"]), "future")
	lacks(members_update(alice, "acme", "bob", [], ["future"]), "future")
	may(members_update(alice, "acme", "bob", ["past"], ["past"]))
	may(members_update(acme_backend, "acme", "bob", [], ["future"]))
}

test_developer_is_given_by_those_who_could_make_keys if {
	may(members_update(dora, "acme", "bob", [], ["developer"]))
	known := changed(facts, "/orgs/acme/roles/hr/permissions", ["orgs.members.*"])
	may_not_in(known, members_update(dora, "acme", "bob", [], ["developer"]), "not_held")
}

test_who_holds_more_is_out_of_hand if {
	lacks(members_update(dora, "acme", "alice", ["admin"], []), "*")
	lacks(members_update(dora, "acme", "alice", ["admin"], ["admin"]), "*")
	lacks(does(dora, "orgs.members.delete", in_org("member", "alice", "acme", {"before": {"roles": ["admin"], "status": "active"}, "sole_holder_of": []})), "*")
	may(does(dora, "orgs.members.get", in_org("member", "alice", "acme", {"before": {"roles": ["admin"], "status": "active"}})))
}

test_escalation_by_invitation if {
	may(invites(dora, "acme", ["viewer"]))
	lacks(invites(dora, "acme", ["viewer", "admin"]), "*")
	strong := {"email": "x@acme.example", "roles": ["admin"]}
	weak := {"email": "x@acme.example", "roles": []}
	lacks(does(dora, "orgs.invitations.update", in_org("invitation", "i", "acme", {"before": weak, "after": strong})), "*")
	lacks(does(dora, "orgs.invitations.resend", in_org("invitation", "i", "acme", {"before": strong})), "*")
	may(does(alice, "orgs.invitations.resend", in_org("invitation", "i", "acme", {"before": strong})))
}

joins(caller, roles) := does(caller, "orgs.domains.update", in_org("domain", "acme.example", "acme", {"before": {"status": "verified"}, "after": {"status": "verified", "auto_join": roles}}))

maps(caller, old, new) := does(caller, "orgs.connections.update", in_org("connection", "acme-idp", "acme", {"before": {"role_mapping": old}, "after": {"role_mapping": new}}))

test_escalation_by_domain_and_connection if {
	may(joins(dora, ["viewer"]))
	lacks(joins(dora, ["admin"]), "*")
	may(maps(dora, {}, {"staff": "viewer"}))
	lacks(maps(dora, {}, {"staff": "admin"}), "*")
	lacks(maps(dora, {"staff": "admin"}, {"staff": "admin"}), "*") # and another issuer
	may(maps(alice, {"staff": "admin"}, {"staff": "admin"}))
}

redefines(caller, id, old, new) := does(caller, "orgs.roles.update", in_org("role", id, "acme", {"before": {"permissions": old}, "after": {"permissions": new}, "held": true}))

test_escalation_by_role_definition if {
	hr := facts.orgs.acme.roles.hr.permissions
	may(defines(dora, "acme", "r", ["documents:read", "orgs.members.update", "orgs.members.*"]))
	every permission in ["*", "documents:*", "documents:write", "orgs.*", "apis.create", "children:*", "children:documents:read"] {
		lacks(defines(dora, "acme", "r", [permission]), permission)
		lacks(redefines(dora, "hr", hr, array.concat(hr, [permission])), permission)
	}
	may(redefines(dora, "hr", hr, hr))
}

test_role_of_more_is_not_weakened if {
	lacks(redefines(dora, "keeper", ["orgs.members.list", "documents:*"], ["orgs.members.list"]), "documents:*")
	lacks(redefines(dora, "keeper", [], []), "documents:*") # what it is now counts, not what is said of it
	lacks(does(dora, "orgs.roles.delete", in_org("role", "keeper", "acme", {"before": {"permissions": []}, "held": false})), "documents:*")
}

test_escalation_by_shadowing_a_role_of_the_tenant if {
	lacks(defines(dora, "acme", "admin", ["orgs.members.*"]), "*")
	lacks(defines(dora, "acme", "owner", []), "orgs.*")
	may(defines(dora, "acme", "viewer", ["documents:read"]))
	may(defines(alice, "acme", "viewer", ["documents:*"]))
}

test_escalation_by_uncovering_a_role_of_the_tenant if {
	known := changed(facts, "/orgs/acme/roles/admin", {"permissions": ["documents:read"]})
	question := does(dora, "orgs.roles.delete", in_org("role", "admin", "acme", {"before": {"permissions": ["documents:read"]}, "held": false}))
	may_not_in(known, question, "not_held")
}

makes(caller, scopes) := does(caller, "clients.create", in_org("client", "c", "acme", {"after": {"org": "acme", "party": "third", "scopes": scopes}}))

test_escalation_by_client if {
	may(makes(alice, ["documents:*", "openid"]))
	known := changed(facts, "/orgs/acme/roles/hr/permissions", ["clients.*", "documents:read"])
	may_in(known, makes(dora, ["documents:read", "openid"]))
	may_not_in(known, makes(dora, ["documents:write"]), "not_held")
	takes := does(dora, "clients.rotate", in_org("client", "c", "acme", {"before": {"org": "acme", "party": "third", "scopes": ["documents:write"], "status": "active"}}))
	may_not_in(known, takes, "not_held")
}

test_permission_that_is_no_text_permits_nothing if {
	known := changed(changed(facts, "/orgs/acme/roles/odd", {"permissions": [1, null, ["*"], {"*": "*"}]}), "/orgs/acme/members/bob/roles", ["odd"])
	may_not_in(known, does(user("bob", "acme"), "orgs.members.list", in_org("member", "", "acme", {})), "role_missing")
}
