package mandate.manage_test

# Somebody must be left to manage.

leaves(caller, action, properties) := does(caller, action, in_org("member", "alice", "acme", object.union({"before": {"roles": ["admin", "viewer"], "status": "active"}}, properties)))

sole := {"sole_holder_of": ["admin", "viewer"]}

takes_admin := [
	["orgs.members.delete", sole],
	["orgs.members.update", object.union(sole, {"after": {"roles": ["viewer"], "status": "active"}})],
	["orgs.members.update", object.union(sole, {"after": {"roles": [], "status": "active"}})],
	["orgs.members.update", object.union(sole, {"after": {"roles": ["admin", "viewer"], "status": "suspended"}})],
	["orgs.members.update", object.union(sole, {"after": {"roles": ["admin"], "status": "Active"}})],
	["orgs.members.update", sole],
	["orgs.members.delete", {}],
]

test_last_admin_stays if {
	every row in takes_admin {
		every caller in [root, acme_backend, alice, object.union(machine("apikey", "acme-scim", ["scim"]), {"org": "acme"})] {
			may_not(leaves(caller, row[0], row[1]), "last_admin")
		}
	}
}

test_last_admin_goes_when_the_tenants_manager_confirms if {
	every row in takes_admin {
		may(confirmed(leaves(root, row[0], row[1])))
		may_not(confirmed(leaves(acme_backend, row[0], row[1])), "last_admin")
		may_not(confirmed(leaves(alice, row[0], row[1])), "last_admin")
	}
	every confirm in [null, "true", 1, false] {
		may_not(object.union(leaves(root, "orgs.members.delete", sole), {"context": {"confirm": confirm}}), "last_admin")
	}
}

test_admin_who_is_not_the_last_goes if {
	may(leaves(alice, "orgs.members.delete", {"sole_holder_of": ["viewer"]}))
	may(leaves(alice, "orgs.members.update", {"sole_holder_of": [], "after": {"roles": [], "status": "active"}}))
	may(leaves(alice, "orgs.members.update", object.union(sole, {"after": {"roles": ["admin"], "status": "active"}})))
	may(leaves(alice, "orgs.members.get", sole))
}

ends(action, properties) := does(root, action, thing("user", "alice", object.union({"before": {"username": "alice", "status": "active"}}, properties)))

test_last_admin_is_not_deleted_or_disabled if {
	every action, after in {"users.delete": {}, "users.update": {"after": {"username": "alice", "status": "disabled"}}} {
		may_not(ends(action, object.union(after, {"sole_holder_in": {"globex": ["viewer"], "acme": ["viewer", "admin"]}})), "last_admin")
		may(confirmed(ends(action, object.union(after, {"sole_holder_in": {"acme": ["admin"]}}))))
		may(ends(action, object.union(after, {"sole_holder_in": {"acme": ["viewer"], "globex": []}})))
		may(ends(action, after))
		every malformed in [null, "acme", ["acme"], {"acme": "admin"}, {"acme": null}, {"acme": [1]}] {
			may_not(ends(action, object.union(after, {"sole_holder_in": malformed})), "request_malformed")
		}
	}
}

weakens(caller, held) := does(caller, "orgs.roles.update", in_org("role", "hr", "acme", object.union({"before": facts.orgs.acme.roles.hr, "after": {"permissions": ["documents:read"]}}, held)))

test_role_of_admins_is_not_weakened if {
	every caller in [root, acme_backend, alice] {
		may_not(weakens(caller, {"held": true}), "last_admin")
		may_not(weakens(caller, {}), "last_admin")
		may_not(weakens(caller, {"held": null}), "last_admin")
		may(weakens(caller, {"held": false}))
		may_not(defines(caller, "acme", "admin", ["documents:read"]), "last_admin")
	}
	may(confirmed(weakens(root, {"held": true})))
	everywhere := does(root, "roles.update", thing("role", "admin", {"before": {"permissions": ["*"]}, "after": {"permissions": []}}))
	may_not(everywhere, "last_admin")
	may(confirmed(everywhere))
}

test_role_in_use_is_not_deleted if {
	every row in [["orgs.roles.delete", in_org("role", "keeper", "acme", {})], ["roles.delete", thing("role", "viewer", {})]] {
		may_not(does(root, row[0], row[1]), "role_in_use")
		may(confirmed(does(root, row[0], row[1])))
		may_not(confirmed(does(acme_backend, row[0], row[1])), {"orgs.roles.delete": "role_in_use", "roles.delete": "not_found"}[row[0]])
		may_not(confirmed(does(root, row[0], changed(row[1], "/properties/held", true))), "role_in_use")
		may_not(does(root, row[0], changed(row[1], "/properties/held", true)), "role_in_use")
		may(does(root, row[0], changed(row[1], "/properties/held", false)))
	}
}
