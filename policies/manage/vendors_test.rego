package mandate.manage_test

# Vendors: integrations of their own only.

oem(id) := machine("client", id, ["oem:partner_token"])

integration(caller, verb, vendor, org, properties) := does(caller, concat("", ["orgs.integrations.", verb]), in_org("integration", vendor, org, properties))

external(change) := {"after": object.union({"id": "i", "kind": "external", "status": "active", "scopes": []}, change)}

active_one := {"id": "i1", "kind": "external", "status": "active", "scopes": ["documents:read"]}

suspended_one := object.union(active_one, {"status": "suspended"})

by_side(side) := object.union(suspended_one, {"suspended_by": side})

test_vendor_makes_its_integration if {
	may(integration(oem("backupco-app"), "create", "backupco", "globex", external({})))
	may(integration(oem("backupco-app"), "create", "backupco", "globex", external({"scopes": ["documents:read"]})))
	may(integration(oem("oem"), "create", "syncco", "acme", external({})))
	may(integration(object.union(oem("acme-oem"), {"org": "acme"}), "create", "syncco", "acme", external({})))
}

test_integration_without_the_scope_is_refused if {
	every scopes in [[], ["oem:*"], ["*"], ["oem"], ["decide"], "oem:partner_token"] {
		may_not(integration(machine("client", "oem", scopes), "create", "syncco", "acme", external({})), "scope_missing")
	}
	may_not(integration(machine("apikey", "root", ["oem:partner_token"]), "create", "syncco", "acme", external({})), "scope_missing")
	may_not(integration(oem("oem"), "enable", "syncco", "acme", external({})), "scope_missing")
	may_not(does(oem("oem"), "orgs.get", organization("acme")), "scope_missing")
}

test_vendor_is_not_authorized[name] if {
	some name, question in {
		"integration of another vendor": integration(oem("backupco-app"), "create", "syncco", "acme", external({})),
		"reading that of another vendor": integration(oem("backupco-app"), "get", "syncco", "acme", {"before": active_one}),
		"cutting that of another vendor": integration(oem("backupco-app"), "delete", "syncco", "acme", {"before": active_one}),
		"listing those of others": integration(oem("backupco-app"), "list", "", "acme", {}),
		"listing those of another": integration(oem("backupco-app"), "list", "backupco", "acme", {"vendor": "syncco"}),
		"another org": integration(object.union(oem("acme-oem"), {"org": "acme"}), "create", "backupco", "globex", external({})),
		"another org than the client's": integration(oem("acme-oem"), "create", "backupco", "globex", external({})),
		"unknown org": integration(oem("acme-oem"), "create", "backupco", "nowhere", external({})),
		"unknown org, of any": integration(oem("oem"), "create", "backupco", "nowhere", external({})),
		"suspended org": integration(oem("oem"), "create", "backupco", "initech", external({})),
		"no org": does(oem("oem"), "orgs.integrations.create", thing("integration", "backupco", external({}))),
		"suspended vendor": integration(oem("oem"), "create", "closedco", "acme", external({})),
		"unknown vendor": integration(oem("oem"), "create", "nobody", "acme", external({})),
		"unknown client": integration(oem("nobody"), "create", "backupco", "acme", external({})),
		"delegated": integration(oem("oem"), "create", "syncco", "acme", external({"kind": "delegated"})),
		"for a user": integration(oem("oem"), "create", "syncco", "acme", external({"enabled_by": "bob"})),
		"for a client": integration(oem("oem"), "create", "syncco", "acme", external({"client": "partner"})),
		"suspended from the start": integration(oem("oem"), "create", "syncco", "acme", external({"status": "suspended"})),
		"more scopes than the client": integration(oem("oem"), "create", "syncco", "acme", external({"scopes": ["documents:write"]})),
		"scopes of mandate": integration(oem("oem"), "create", "syncco", "acme", external({"scopes": ["oem:partner_token"]})),
		"manage": integration(oem("oem"), "create", "syncco", "acme", external({"scopes": ["manage"]})),
		"resuming": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": suspended_one, "after": active_one}),
		"resuming what the organization suspended": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": by_side("org"), "after": active_one}),
		"resuming what the tenant suspended": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": by_side("tenant"), "after": active_one}),
		"a status of its own": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": active_one, "after": object.union(active_one, {"status": ""})}),
		"widening": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": active_one, "after": object.union(active_one, {"scopes": ["documents:*"]})}),
		"widening while suspending": integration(oem("backupco-app"), "update", "backupco", "acme", {"before": active_one, "after": object.union(suspended_one, {"scopes": ["documents:*"]})}),
		"rotating what is suspended": integration(oem("backupco-app"), "rotate", "backupco", "acme", {"before": suspended_one}),
		"rotating what acts for a user": integration(oem("oem"), "rotate", "syncco", "acme", {"before": facts.orgs.acme.integrations.syncco}),
		"rotating nothing": integration(oem("backupco-app"), "rotate", "backupco", "acme", {}),
	}
	may_not(question, "vendor_not_authorized")
}

test_vendors_side_sees_and_cuts if {
	caller := oem("backupco-app")
	may(integration(caller, "list", "*", "acme", {"vendor": "backupco"}))
	may(integration(caller, "get", "backupco", "acme", {"before": active_one}))
	may(integration(caller, "update", "backupco", "acme", {"before": active_one, "after": suspended_one}))
	may(integration(caller, "rotate", "backupco", "acme", {"before": active_one}))
	may(integration(caller, "delete", "backupco", "acme", {"before": active_one}))
	may(integration(oem("oem"), "list", "", "acme", {}))
	may(integration(oem("oem"), "delete", "syncco", "acme", {"before": facts.orgs.acme.integrations.syncco}))
}

test_organizations_side_sees_and_cuts if {
	every caller in [alice, acme_backend] {
		may(integration(caller, "list", "", "acme", {}))
		may(integration(caller, "update", "backupco", "acme", {"before": active_one, "after": suspended_one}))
		may(integration(caller, "update", "backupco", "acme", {"before": suspended_one, "after": active_one}))
		may(integration(caller, "delete", "backupco", "acme", {"before": active_one}))
	}
}

test_integration_is_no_way_into_another_org if {
	in_acme := object.union(machine("vendor", "backupco", ["oem:partner_token", "manage", "scim"]), {"org": "acme"})
	every org in ["acme", "globex"] {
		may_not(integration(in_acme, "create", "backupco", org, external({})), "scope_missing")
		may_not(does(in_acme, "orgs.get", organization(org)), "scope_missing")
	}
}

test_integration_is_resumed_by_the_side_that_suspended_it if {
	may(integration(oem("backupco-app"), "update", "backupco", "acme", {"before": active_one, "after": by_side("vendor")}))
	may(integration(oem("backupco-app"), "update", "backupco", "acme", {"before": by_side("vendor"), "after": active_one}))
	may(integration(oem("backupco-app"), "delete", "backupco", "acme", {"before": by_side("vendor")}))
	every side in ["org", "tenant", ""] {
		may_not(integration(oem("backupco-app"), "delete", "backupco", "acme", {"before": by_side(side)}), "vendor_not_authorized")
	}
	every caller in [alice, acme_backend] {
		may(integration(caller, "update", "backupco", "acme", {"before": by_side("org"), "after": active_one}))
		every side in ["vendor", "tenant", ""] {
			may_not(integration(caller, "update", "backupco", "acme", {"before": by_side(side), "after": active_one}), "suspended_by_others")
		}
		every side in ["tenant", ""] {
			may_not(integration(caller, "delete", "backupco", "acme", {"before": by_side(side)}), "suspended_by_others")
		}
		may(integration(caller, "delete", "backupco", "acme", {"before": by_side("vendor")}))
		may(integration(caller, "delete", "backupco", "acme", {"before": by_side("org")}))
		may(integration(caller, "delete", "backupco", "acme", {"before": suspended_one}))
	}
	may_not(enables(acme_backend, "bob", ["documents:read"], {"before": by_side("tenant")}), "suspended_by_others")
	every side in ["vendor", "tenant", "org"] {
		may(integration(root, "update", "backupco", "acme", {"before": by_side(side), "after": active_one}))
		may(integration(root, "delete", "backupco", "acme", {"before": by_side(side)}))
	}
}

ended_by(side) := object.union(external({}), {"ended_by": side})

test_what_the_organization_has_ended_is_the_organizations_to_make_anew if {
	every caller in [oem("backupco-app"), oem("oem")] {
		may_not(integration(caller, "create", "backupco", "globex", ended_by("org")), "vendor_not_authorized")
		may(integration(caller, "create", "backupco", "globex", ended_by("vendor")))
		there := object.union(external({}), {"before": active_one})
		may_not(integration(caller, "create", "backupco", "globex", there), "vendor_not_authorized")
	}
	may(integration(root, "create", "backupco", "acme", ended_by("org")))
	may(integration(acme_backend, "create", "backupco", "acme", ended_by("org")))
}

# What an integration is for, the client by which it is used is registered for, and the user who enabled it holds, also when it
# changes.

test_integration_is_for_no_more_than_its_client_and_its_user if {
	lacks(enables(user("alice", "acme"), "alice", ["billing:read"], {}), "billing:read")
	syncly := facts.orgs.acme.integrations.syncco
	more := {"before": syncly, "after": object.union(syncly, {"scopes": ["documents:write"]})}
	lacks(does(user("alice", "acme"), "orgs.integrations.update", in_org("integration", "syncco", "acme", more)), "documents:write")
	lacks(does(root, "orgs.integrations.update", in_org("integration", "syncco", "acme", more)), "documents:write")
	may(does(root, "orgs.integrations.update", in_org("integration", "syncco", "acme", {"before": syncly, "after": object.union(syncly, {"scopes": []})})))
}

# Across organizations a vendor sees its own integrations, by a client that is bound to none.
test_vendor_lists_across_organizations if {
	may(of_all(oem("backupco-app"), "backupco"))
	may(of_all(root, "backupco"))
	may_not(of_all(oem("backupco-app"), "syncco"), "vendor_not_authorized")
	may_not(of_all(object.union(oem("acme-oem"), {"org": "acme"}), "syncco"), "vendor_not_authorized")
	may_not(of_all(acme_backend, "backupco"), "not_found")
	may_not(of_all(alice, "backupco"), "not_found")
}

of_all(caller, vendor) := does(caller, "orgs.integrations.list", {"type": "integration", "id": "*", "properties": {"vendor": vendor}})
