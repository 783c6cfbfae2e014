package mandate.manage_test

query(caller) := query_for(caller, "mandate/access/decision")

query_for(caller, path) := object.union(ask(caller, {"type": "data", "id": path}), {"action": {"name": "data.query"}})

gateway := {"type": "apikey", "sub": "gateway", "scopes": ["decide"]}

test_gateway_may_query_and_nothing_else if {
	allowed(query(gateway))
	allowed(query(manager))
	refused(query({"type": "apikey", "sub": "other", "scopes": ["documents:read"]}), "scope_missing")
	refused(query(acme_manager), "wrong_org")
	refused(ask(gateway, member("acme")), "scope_missing")
}

test_gateway_may_query_packages_of_others if {
	allowed(query_for(gateway, "example/authz/allow"))
	allowed(query_for(gateway, "mandated/allow"))
	allowed(query_for(manager, ""))
}

test_gateway_may_not_query_what_decisions_rest_on[path] if {
	some path in ["mandate", "mandate/access", "mandate/access/client", "mandate/access/decision/allow", "mandate/request/has"]
	refused(query_for(gateway, path), "scope_missing")
	allowed(query_for(manager, path))
}

of_the_service := {
	"metrics.read": "service", "decisions.explain": "decision", "decisions.list": "decision", "access.search": "access",
	"data.query": "data", "keys.list": "key", "policies.activate": "policy",
}

of_service(caller, action) := object.union(ask(caller, {"type": of_the_service[action], "id": "x"}), {"action": {"name": action}})

test_service_is_for_managers_of_the_tenant[action] if {
	some action, _ in of_the_service
	allowed(of_service(manager, action))
	refused(of_service(acme_manager, action), "wrong_org")
	refused(of_service(null, action), "scope_missing")
}

test_service_is_closed_to_users[action] if {
	some action, _ in of_the_service
	refused(of_service(user("alice", "acme"), action), "scope_missing")
	refused(of_service(without(user("alice", "acme"), "/org"), action), "scope_missing")
}

test_organization_sees_its_own_decisions[action] if {
	some action in ["decisions.list", "decisions.get", "decisions.explain", "access.search"]
	of_acme := object.union(of_the_orgs("acme"), {"action": {"name": action}})
	allowed(of_acme)
	refused(object.union(of_the_orgs("globex"), {"action": {"name": action}}), "wrong_org")
}

of_the_orgs(org) := ask(acme_manager, {"type": "decision", "id": "x", "properties": {"org": org}})

test_policies_are_the_tenants if {
	on_acme := object.union(of_the_orgs("acme"), {"action": {"name": "policies.list"}})
	refused(on_acme, "wrong_org")
}
