package mandate.manage_test

apis := {
	"documents": {"audience": "https://documents.example", "scopes": ["documents:write", "documents:read"]},
	"billing": {"audience": "https://billing.example", "scopes": ["billing:read", "manage", "decide", "register", "scim", "oem:partner_token"]},
}

client := {"type": "client"}

anybody := {"action": {"name": "clients.register"}, "resource": client}

registering(caller) := object.union(anybody, {"caller": caller})

limit := {
	"type": "limit_client",
	"scopes": ["billing:read", "documents:read", "documents:write", "email", "offline_access", "openid", "profile"],
	"audiences": ["https://billing.example", "https://documents.example"],
}

may_register(question) if {
	result := decide(question) with data.apis as apis
	result.allow == true
	result.obligations == [limit]
}

test_registration_is_closed_without_an_initial_access_token if refused(anybody, "registration_closed")

test_registration_is_closed_unless_the_tenant_opens_it[name] if {
	some name, open in {"false": false, "null": null, "text": "true", "number": 1, "object": {}}
	refused(anybody, "registration_closed") with data.custom as {"open_registration": open}
}

test_open_registration_is_for_those_without_a_credential if {
	every caller in [null, false, {}, gateway, {"type": "client", "sub": "x", "scopes": []}, {"type": "user", "sub": "alice"}] {
		refused(registering(caller), "registration_closed") with data.custom as {"open_registration": true}
	}
}

test_open_registration_opens_nothing_else[action] if {
	some action in ["members:write", "keys.rotate", "tokens.introspect", "clients.write"]
	result := decide(object.union(anybody, {"action": {"name": action}})) with data.custom as {"open_registration": true}
	result.allow == false
}

test_anybody_may_register_a_limited_client_where_it_is_open if {
	may_register(anybody) with data.custom as {"open_registration": true}
}

test_initial_access_token_registers_a_limited_client if {
	may_register(registering({"type": "client", "sub": "x", "scopes": ["register"]}))
	may_register(registering(manager))
}

test_bound_caller_registers_no_clients if {
	refused(registering({"type": "client", "sub": "x", "org": "acme", "scopes": ["register"]}), "wrong_org")
	refused(registering(acme_manager), "wrong_org")
	refused(object.union(registering(acme_manager), {"resource": {"type": "client", "properties": {"org": "acme"}}}), "wrong_org")
	refused(registering({"type": "client", "sub": "guest", "scopes": ["register"]}), "wrong_org") with data.clients as {"guest": {"orgs": ["acme"]}}
}

test_register_is_for_registration_only if refused(ask({"type": "client", "sub": "x", "scopes": ["register"]}, member("acme")), "scope_missing")

test_client_is_limited_to_nothing_where_there_are_no_apis if {
	result := decide(registering(manager))
	result.obligations == [{"type": "limit_client", "scopes": ["email", "offline_access", "openid", "profile"], "audiences": []}]
}
