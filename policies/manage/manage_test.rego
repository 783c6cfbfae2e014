package mandate.manage_test

import data.mandate.manage

ask(caller, resource) := {
	"subject": {"type": "credential", "id": "caller"},
	"action": {"name": "orgs.members.get"},
	"resource": resource,
	"caller": caller,
	"principal": caller,
}

decide(question) := result if result := manage.decision with input as question

allowed(question) if {
	result := decide(question)
	result.allow == true
	result.reasons[0].code == "scope"
	result.obligations == []
}

refused(question, code) if {
	result := decide(question)
	result.allow == false
	count(result.reasons) == 1
	result.reasons[0].code == code
	result.reasons[0].message != ""
	result.obligations == []
}

manager := {"type": "apikey", "sub": "tenant-admin", "scopes": ["manage"]}

acme_manager := {"type": "client", "sub": "acme-admin", "org": "acme", "scopes": ["documents:read", "manage"]}

member(org) := {"type": "member", "id": "bob", "properties": {"org": org}}

organization(id) := {"type": "organization", "id": id}

# Machines.

of_acme := [
	["orgs.get", organization("acme")],
	["orgs.update", thing("organization", "acme", {"before": {"status": "active", "parent": "msp"}, "after": {"status": "active", "parent": "msp"}})],
	["orgs.members.list", in_org("member", "", "acme", {})],
	["orgs.members.create", in_org("member", "new", "acme", {"after": {"roles": ["admin"], "status": "active"}})],
	["orgs.roles.create", in_org("role", "r", "acme", {"after": {"permissions": ["*"]}})],
	["orgs.domains.verify", in_org("domain", "acme.example", "acme", {})],
	["orgs.connections.test", in_org("connection", "acme-idp", "acme", {})],
	["orgs.invitations.resend", in_org("invitation", "i", "acme", {"before": {"email": "x@acme.example", "roles": ["admin"]}})],
	["orgs.integrations.rotate", in_org("integration", "backupco", "acme", {"before": facts.orgs.acme.integrations.backupco})],
	["orgs.audit.list", in_org("audit", "", "acme", {})],
	["clients.create", in_org("client", "c", "acme", {"after": {"org": "acme", "party": "third", "scopes": ["documents:read"]}})],
	["apikeys.delete", in_org("apikey", "k", "acme", {"before": {"org": "acme", "scopes": ["manage"]}})],
	["webhooks.create", in_org("webhook", "w", "acme", {"after": {"org": "acme", "url": "https://acme.example/hook"}})],
]

of_the_tenant := [
	["orgs.list", {"type": "organization", "id": ""}],
	["orgs.create", thing("organization", "acme2", {"after": {"status": "active", "parent": "acme"}})],
	["roles.update", thing("role", "viewer", {"before": {"permissions": []}, "after": {"permissions": ["documents:read"]}})],
	["apis.create", thing("api", "a", {"after": {}})],
	["vendors.rotate", thing("vendor", "backupco", {})],
	["relations.create", thing("relation", "document/plan/owner/user:alice", {"after": {}})],
	["custom.update", thing("custom", "open_registration", {"before": {}, "after": {}})],
	["audit.list", thing("audit", "", {})],
	["deliveries.replay", thing("delivery", "d", {})],
	["users.password", thing("user", "bob", {})],
	["users.update", thing("user", "bob", {"before": {"email": "bob@acme.example"}, "after": {"email": "eve@acme.example"}})],
	["users.sessions.delete", thing("session", "s", {"user": "bob"})],
	["users.grants.list", thing("grant", "", {"user": "bob"})],
	["consents.delete", thing("consent", "bob/partner", {"user": "bob"})],
	["clients.create", thing("client", "c", {"after": {"scopes": ["manage"], "party": "first"}})],
	["apikeys.create", thing("apikey", "k", {"after": {"scopes": ["manage", "scim"], "status": "active"}})],
]

test_unbound_manager_may_do_everything if {
	every caller in [root, backend] {
		every row in array.concat(of_acme, of_the_tenant) {
			may(does(caller, row[0], row[1]))
		}
	}
}

test_bound_manager_may_do_everything_in_its_org if {
	every caller in [acme_backend, key_of("acme-root", ["manage"]), machine("client", "regional", ["manage"])] {
		every row in of_acme {
			may(does(caller, row[0], row[1]))
		}
	}
}

test_bound_manager_may_do_nothing_of_the_tenant if {
	every row in of_the_tenant {
		may_not(does(acme_backend, row[0], row[1]), "not_found")

		claimed := object.union(row[1], {"properties": object.union(object.get(row[1], "properties", {}), {"org": "acme"})})
		not may(does(acme_backend, row[0], claimed))
	}
}

test_out_of_reach_is_like_absent if {
	every caller in [acme_backend, user("alice", "acme"), user("mia", "msp"), key_of("alice-key", ["manage"])] {
		answers := {decide_in(facts, does(caller, action, resource)) |
			some action in ["orgs.members.get", "orgs.members.update", "orgs.members.delete"]
			some org in ["globex", "nowhere", "../acme", "Acme", "acme "]
			some resource in [in_org("member", "greta", org, {}), in_org("member", "greta", org, {"before": {"roles": ["admin"], "status": "active"}, "after": {"roles": []}})]
		}
		count(answers) == 1
		some answer in answers
		answer.reasons[0].code == "not_found"
	}
}

test_client_of_several_orgs_reaches_those_that_exist if {
	regional := machine("client", "regional", ["manage"])
	may(does(regional, "orgs.get", organization("globex")))
	may_not(does(regional, "orgs.get", organization("deleted")), "not_found")
	may_not(does(object.union(regional, {"org": "acme"}), "orgs.get", organization("globex")), "not_found")
}

test_caller_without_manage_is_refused[name] if {
	some name, scopes in {
		"none": [],
		"decide": ["decide"],
		"star": ["*"],
		"wildcard": ["manage:*", "man*"],
		"case": ["Manage"],
		"text": "manage",
		"object": {"a": "manage"},
		"null": null,
		"false": false,
		"other scopes of mandate": ["register", "decide"],
	}
	may_not(does(machine("client", "backend", scopes), "orgs.get", organization("acme")), "scope_missing")
	may_not(does(object.union(user("alice", "acme"), {"scopes": scopes}), "orgs.get", organization("acme")), "scope_missing")
}

test_other_callers_manage_nothing[name] if {
	some name, caller in {
		"nobody": null,
		"vendor": object.union(machine("vendor", "backupco", ["manage"]), {"org": "acme"}),
		"workload": machine("workload", "ci", ["manage"]),
		"key without a record": machine("apikey", "unknown", ["manage"]),
		"number": machine("client", 1, ["manage"]),
		"session of an admin": object.union(session("alice"), {"org": "acme"}),
		"token for an app": object.union(consumer("alice"), {"org": "acme"}),
		"integration of an admin": object.union(user("alice", "acme"), {"credential": {"type": "integration", "id": "i"}}),
		"token of a provider": object.union(user("alice", "acme"), {"credential": {"type": "external_token", "id": "acme-idp"}}),
		"user of unknown credential": json.remove(user("alice", "acme"), ["/credential"]),
	}
	may_not(does(caller, "orgs.get", organization("acme")), "scope_missing")
}

test_caller_bound_to_no_text_reaches_nothing[name] if {
	some name, org in {"null": null, "false": false, "empty": "", "number": 1, "array": ["acme"]}
	may_not(does(object.union(backend, {"org": org}), "orgs.get", organization("acme")), "not_found")
	may_not(does(user("alice", org), "orgs.get", organization("acme")), "not_found")
}

# Malformed questions.

test_malformed_question_is_refused[name] if {
	some name, change in {
		"action absent": {"op": "remove", "path": "/action"},
		"action name number": {"op": "add", "path": "/action/name", "value": 1},
		"unknown collection": {"op": "add", "path": "/action/name", "value": "orgs.secrets.get"},
		"no collection": {"op": "add", "path": "/action/name", "value": "update"},
		"empty collection": {"op": "add", "path": "/action/name", "value": ".update"},
		"another type": {"op": "add", "path": "/resource/type", "value": "role"},
		"resource absent": {"op": "remove", "path": "/resource"},
		"resource type null": {"op": "add", "path": "/resource/type", "value": null},
		"id null": {"op": "add", "path": "/resource/id", "value": null},
		"id false": {"op": "add", "path": "/resource/id", "value": false},
		"id number": {"op": "add", "path": "/resource/id", "value": 1},
		"id empty": {"op": "add", "path": "/resource/id", "value": ""},
		"id absent": {"op": "remove", "path": "/resource/id"},
		"properties array": {"op": "add", "path": "/resource/properties", "value": []},
		"org null": {"op": "add", "path": "/resource/properties/org", "value": null},
		"org number": {"op": "add", "path": "/resource/properties/org", "value": 1},
		"before null": {"op": "add", "path": "/resource/properties/before", "value": null},
		"before false": {"op": "add", "path": "/resource/properties/before", "value": false},
		"after null": {"op": "add", "path": "/resource/properties/after", "value": null},
		"after text": {"op": "add", "path": "/resource/properties/after", "value": "admin"},
		"roles null": {"op": "add", "path": "/resource/properties/after/roles", "value": null},
		"roles text": {"op": "add", "path": "/resource/properties/after/roles", "value": "admin"},
		"roles object": {"op": "add", "path": "/resource/properties/after/roles", "value": {"viewer": "admin"}},
		"role number": {"op": "add", "path": "/resource/properties/after/roles", "value": [1]},
		"role in a list": {"op": "add", "path": "/resource/properties/after/roles", "value": [["admin"]]},
		"sole holder of a text": {"op": "add", "path": "/resource/properties/sole_holder_of", "value": "admin"},
		"sole holder of null": {"op": "add", "path": "/resource/properties/sole_holder_of", "value": null},
	}
	every caller in [root, acme_backend, user("alice", "acme"), user("nobody", "globex"), {}] {
		may_not(json.patch(members_update(caller, "acme", "bob", ["viewer"], ["viewer"]), [change]), "request_malformed")
	}
}

test_malformed_lists_are_refused[collection] if {
	some collection, row in {
		"orgs.roles": ["role", "permissions"], "orgs.domains": ["domain", "auto_join"], "orgs.invitations": ["invitation", "roles"],
		"apikeys": ["apikey", "scopes"], "clients": ["client", "orgs"], "orgs.integrations": ["integration", "scopes"],
		"orgs.connections": ["connection", "role_mapping"],
	}
	every value in [null, false, 1, "*", [null]] {
		question := does(acme_backend, concat(".", [collection, "update"]), in_org(row[0], "x", "acme", {"after": {row[1]: value, "org": "acme"}}))
		may_not(question, "request_malformed")
	}
}

test_organization_cannot_claim_another_org if {
	may_not(does(acme_backend, "orgs.get", thing("organization", "globex", {"org": "acme"})), "request_malformed")
	may_not(does(acme_backend, "orgs.get", {"type": "organization", "properties": {"org": "acme"}}), "request_malformed")
}

test_empty_question_is_refused if {
	refused({}, "request_malformed")
	refused(null, "request_malformed")
}

test_absent_input_is_refused if manage.decision.allow == false

# Suspended organizations.

test_suspended_org_is_for_those_outside if {
	suspended := {"before": {"status": "suspended", "parent": "msp"}, "after": {"status": "active", "parent": "msp"}}
	every caller in [root, backend] {
		may(does(caller, "orgs.update", thing("organization", "initech", suspended)))
		may(does(caller, "orgs.delete", thing("organization", "initech", {})))
	}
	may_not(does(user("mia", "msp"), "orgs.update", thing("organization", "initech", suspended)), "org_suspended")
	every caller in [root, backend, user("mia", "msp")] {
		may(does(caller, "orgs.get", organization("initech")))
		may(confirmed(does(caller, "orgs.delete", thing("organization", "initech", {}))))
		renamed := {"before": suspended.before, "after": object.union(suspended.before, {"name": "Initech"})}
		may_not(does(caller, "orgs.update", thing("organization", "initech", renamed)), "org_suspended")
		may_not(members_update(caller, "initech", "x", [], []), "org_suspended")
	}
	every caller in [user("ivan", "initech"), object.union(backend, {"org": "initech"})] {
		may_not(does(caller, "orgs.get", organization("initech")), "org_suspended")
		may_not(does(caller, "orgs.update", thing("organization", "initech", suspended)), "org_suspended")
		may_not(does(caller, "orgs.members.list", in_org("member", "", "initech", {})), "org_suspended")
	}
	may_not(does(root, "apikeys.create", in_org("apikey", "k", "initech", {"after": {"org": "initech", "scopes": []}})), "org_suspended")
}

# An organization is deleted with all that is in it.
test_deletion_of_an_org_is_confirmed if {
	deletion := thing("organization", "acme", {"before": {"status": "active", "parent": "msp"}})
	every caller in [alice, key_of("alice-key", ["manage"]), acme_backend, user("mia", "msp")] {
		may_not(does(caller, "orgs.delete", deletion), "confirm_needed")
		contains(decide_in(facts, does(caller, "orgs.delete", deletion)).reasons[0].message, "Confirm: true")
		may(confirmed(does(caller, "orgs.delete", deletion)))
		every value in [false, "true", 1, null] {
			may_not(object.union(does(caller, "orgs.delete", deletion), {"context": {"confirm": value}}), "confirm_needed")
		}
	}
	may(does(root, "orgs.delete", deletion))
	may_not(does(user("bob", "acme"), "orgs.delete", deletion), "role_missing")
	may_not(does(user("greta", "globex"), "orgs.delete", deletion), "not_found")
}

test_org_of_unknown_status_is_not_active if {
	every status in [null, false, "", "Active"] {
		known := changed(facts, "/orgs/acme/profile", {"status": status})
		may_not_in(known, does(acme_backend, "orgs.get", organization("acme")), "org_suspended")
		may_not_in(known, members_update(root, "acme", "bob", [], []), "org_suspended")
	}
}

# What only the tenant sets.

test_mass_assignment_reaches_nothing_beyond_the_org[name] if {
	some name, row in {
		"parent of an org": ["orgs.update", "organization", {}, {"parent": "acme"}],
		"vendor of a client": ["clients.update", "client", {"org": "acme", "party": "third"}, {"org": "acme", "party": "third", "vendor": "backupco"}],
		"first party": ["clients.update", "client", {"org": "acme", "party": "third"}, {"org": "acme", "party": "first"}],
		"no party": ["clients.update", "client", {"org": "acme", "party": "third"}, {"org": "acme", "party": ""}],
		"party left out": ["clients.create", "client", {}, {"org": "acme"}],
		"first party from the start": ["clients.create", "client", {}, {"org": "acme", "party": "first"}],
		"client to another org": ["clients.update", "client", {"org": "acme"}, {"org": "globex", "party": "third"}],
		"client to no org": ["clients.update", "client", {"org": "acme"}, {"party": "third"}],
		"client to more orgs": ["clients.update", "client", {"org": "acme"}, {"org": "acme", "party": "third", "orgs": ["globex"]}],
		"key to another org": ["apikeys.update", "apikey", {"org": "acme"}, {"org": "globex"}],
		"key to no org": ["apikeys.update", "apikey", {"org": "acme"}, {}],
		"key of another owner": ["apikeys.update", "apikey", {"org": "acme", "owner": "alice"}, {"org": "acme", "owner": "bob"}],
		"key of no owner": ["apikeys.update", "apikey", {"org": "acme", "owner": "alice"}, {"org": "acme"}],
		"webhook of another org": ["webhooks.update", "webhook", {"org": "acme"}, {"org": "globex"}],
		"webhook of a vendor": ["webhooks.create", "webhook", {}, {"org": "acme", "vendor": "backupco"}],
		"integration for a user": ["orgs.integrations.create", "integration", {}, {"kind": "external", "enabled_by": "bob"}],
		"delegated integration": ["orgs.integrations.create", "integration", {}, {"kind": "delegated", "enabled_by": "bob"}],
		"integration of another user": ["orgs.integrations.update", "integration", {"kind": "delegated", "enabled_by": "alice"}, {"kind": "delegated", "enabled_by": "bob"}],
		"domain without its challenge": ["orgs.domains.update", "domain", {"status": "pending"}, {"status": "verified"}],
		"domain from the start": ["orgs.domains.create", "domain", {}, {"status": "verified"}],
		"integration that becomes delegated": ["orgs.integrations.update", "integration", {"kind": "external"}, {"kind": "delegated"}],
	}
	records := {"before": row[2], "after": row[3]}
	given := [records, {"after": row[3]}][to_number(count(row[2]) == 0)]
	resource := resource_of(row[1], given)
	may_not(does(acme_backend, row[0], resource), "tenant_only")
	may_not(does(user("alice", "acme"), row[0], resource), "tenant_only")
	may(does(root, row[0], resource))
}

resource_of("organization", given) := thing("organization", "acme", given)

resource_of(type, given) := in_org(type, "backupco", "acme", given) if type != "organization"

# What redirects people to elsewhere, or has the secret, is the first party, or the vendor.
test_what_is_beyond_the_org_is_only_ended_by_it if {
	every row in [
		["clients", "client", {"org": "acme", "party": "first", "status": "active", "scopes": []}],
		["clients", "client", {"org": "acme", "party": "", "status": "active", "scopes": []}],
		["clients", "client", {"org": "acme", "party": "third", "vendor": "backupco", "status": "active", "scopes": []}],
		["webhooks", "webhook", {"org": "acme", "vendor": "backupco", "status": "active", "url": "https://backupco.example/hook"}],
	] {
		disabled := object.union(row[2], {"status": "disabled"})
		elsewhere := {"redirect_uris": ["https://elsewhere.example/"], "url": "https://elsewhere.example/"}
		every caller in [alice, acme_backend, key_of("alice-key", ["manage"])] {
			may_not(changes_of(caller, row, "update", row[2], object.union(row[2], elsewhere)), "tenant_only")
			may_not(changes_of(caller, row, "update", row[2], object.union(disabled, elsewhere)), "tenant_only")
			may_not(changes_of(caller, row, "update", disabled, row[2]), "tenant_only")
			may_not(does(caller, concat("", [row[0], ".rotate"]), in_org(row[1], "x", "acme", {"before": row[2]})), "tenant_only")
			may(changes_of(caller, row, "update", row[2], disabled))
			may(does(caller, concat("", [row[0], ".delete"]), in_org(row[1], "x", "acme", {"before": row[2]})))
		}
		may(changes_of(root, row, "update", row[2], object.union(row[2], elsewhere)))
		may(does(root, concat("", [row[0], ".rotate"]), in_org(row[1], "x", "acme", {"before": row[2]})))
	}
}

changes_of(caller, row, verb, old, new) := does(caller, concat(".", [row[0], verb]), in_org(row[1], "x", "acme", {"before": old, "after": new}))

test_client_of_the_org_alone_is_the_orgs if {
	ours := {"org": "acme", "orgs": ["acme"], "party": "third", "scopes": []}
	may(does(acme_backend, "clients.update", in_org("client", "c", "acme", {"before": ours, "after": ours})))
}

test_domain_is_verified_by_its_challenge if {
	verified := {"before": {"status": "pending"}, "after": {"status": "verified"}}
	may(does(user("dora", "acme"), "orgs.domains.verify", in_org("domain", "new.example", "acme", verified)))
}

test_client_of_several_orgs_is_no_ones_alone if {
	shared := {"org": "acme", "orgs": ["acme", "globex"], "party": "third", "scopes": []}
	every caller in [acme_backend, user("alice", "acme")] {
		may(does(caller, "clients.get", in_org("client", "c", "acme", {"before": shared})))
		may_not(does(caller, "clients.rotate", in_org("client", "c", "acme", {"before": shared})), "tenant_only")
		may_not(does(caller, "clients.delete", in_org("client", "c", "acme", {"before": shared})), "tenant_only")
		taken := object.union(shared, {"orgs": ["acme"]})
		may_not(does(caller, "clients.update", in_org("client", "c", "acme", {"before": shared, "after": taken})), "tenant_only")
	}
}

test_scopes_of_mandate_are_the_tenants_to_give if {
	every scope in ["manage", "register", "oem:partner_token"] {
		lacks(makes_key(acme_backend, "acme", "bob", [scope]), scope)
		lacks(makes_key(user("alice", "acme"), "acme", "alice", [scope]), scope)
	}
	every scope in ["decide", "scim"] {
		may(makes_key(acme_backend, "acme", "bob", [scope]))
		lacks(makes_key(user("alice", "acme"), "acme", "alice", [scope]), scope)
		client := {"after": {"org": "acme", "party": "third", "scopes": [scope]}}
		lacks(does(acme_backend, "clients.create", in_org("client", "c", "acme", client)), scope)
	}
	manages := {"org": "acme", "scopes": ["manage"], "status": "active"}
	may_not(does(acme_backend, "apikeys.rotate", in_org("apikey", "k", "acme", {"before": manages})), "not_held")
	revoked := object.union(manages, {"status": "revoked"})
	may(does(acme_backend, "apikeys.update", in_org("apikey", "k", "acme", {"before": manages, "after": revoked})))
	every status in ["active", "", "Active"] {
		revived := object.union(manages, {"status": status})
		may_not(does(acme_backend, "apikeys.update", in_org("apikey", "k", "acme", {"before": revoked, "after": revived})), "not_held")
	}
	may_not(does(acme_backend, "apikeys.update", in_org("apikey", "k", "acme", {"before": revoked, "after": without(manages, "/status")})), "not_held")
}
