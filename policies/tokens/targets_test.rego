package mandate.tokens_test

# Scopes of OpenID Connect, and of Mandate itself.

test_login_alone_needs_no_api if {
	carries(by("login", user("alice"), "authorization_code", {"audience": "https://mandate.example"}), ["email", "openid"])
}

test_protocol_scopes_are_for_users if {
	refused(ask("acme-sync", documents, {"scopes": ["openid"]}), "invalid_scope")
	refused(by("gateway", key("acme-key"), exchange, {"scopes": ["openid"]}), "invalid_scope")
	known := changed(facts, "/orgs/acme/integrations/backupco/scopes", ["openid", "documents:read"])
	carries_in(known, by("backupco-app", partner_token("backupco", ["openid", "documents:read"]), exchange, {}), ["documents:read"])
	carries(by("web", user("alice"), "authorization_code", {"scopes": ["openid", "documents:read"]}), ["documents:read", "openid"])
}

test_protocol_scope_that_the_client_lacks_is_refused if {
	refused(by("web", user("alice"), "authorization_code", {"scopes": ["openid", "email"]}), "invalid_scope")
}

test_offline_access_is_for_clients_that_refresh if {
	question := by("web", user("alice"), "authorization_code", {"scopes": ["offline_access"]})
	carries(question, ["offline_access"])
	refused_in(changed(facts, "/clients/web/grant_types", ["authorization_code"]), question, "invalid_scope")
}

test_users_get_no_scopes_of_mandate if {
	carries(by("web", user("alice"), "authorization_code", {"audience": "https://mandate.example"}), ["offline_access", "openid", "profile"])
	refused(by("web", user("alice"), "authorization_code", {"audience": "https://mandate.example", "scopes": ["manage"]}), "invalid_scope")
}

test_api_offers_nothing_of_mandate_or_of_openid if {
	known := changed(facts, "/clients/web/audiences", ["https://billing.example"])
	refused_in(known, by("web", user("alice"), "authorization_code", object.union(billing, {"scopes": ["manage"]})), "invalid_scope")
	refused_in(known, by("web", user("alice"), "authorization_code", object.union(billing, {"scopes": ["email"]})), "invalid_scope")
	refused(ask("globex-only", billing, {"scopes": ["manage"]}), "invalid_scope")
	carries(ask("globex-only", billing, {}), ["billing:read"])
}

test_initial_access_token_is_for_registration if {
	known := changed(facts, "/clients/acme-sync/scopes", ["register"])
	carries_in(known, ask("acme-sync", mandate, {}), ["register"])
}

test_target_of_a_user_must_be_the_clients if {
	refused(by("web", user("alice"), "authorization_code", billing), "invalid_target")
	refused(by("login", user("alice"), "authorization_code", {}), "invalid_target")
	refused(at_auth(key("tenant-key"), "api_key", {"audience": "https://nobody.example", "api": "documents"}), "invalid_target")
	refused(at_auth(key("tenant-key"), "api_key", {"audience": "https://nobody.example", "api": "nobody"}), "invalid_target")
}
