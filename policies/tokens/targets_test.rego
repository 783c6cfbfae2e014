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

test_users_get_no_scopes_of_mandate_without_an_org if {
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

# Administration of an organization by its users.

administration(client, id, more) := by(client, user(id), "authorization_code", object.union({"audience": "https://mandate.example", "scopes": ["manage"]}, more))

test_user_manages_the_org_of_the_token if {
	carries(administration("web", "alice", {"org": "acme"}), ["manage"])
	carries(administration("web", "alice", {"org": "acme", "scopes": ["manage", "openid"]}), ["manage", "openid"])
	decide(administration("web", "alice", {"org": "acme"})).org == "acme"
	carries(presents("web", member("alice", "acme"), ["manage"], {"audience": "https://mandate.example"}), ["manage"])
}

test_user_gets_no_manage[name] if {
	some name, row in {
		"without an org": [facts, administration("web", "alice", {}), "invalid_scope"],
		"of an org that is not theirs": [facts, administration("web", "bob", {"org": "globex"}), "access_denied"],
		"by a client that is not registered for it": [changed(facts, "/clients/web/scopes", ["openid"]), administration("web", "alice", in_acme), "invalid_scope"],
		"by a client with a pattern": [changed(facts, "/clients/web/scopes", ["manage:*", "*"]), administration("web", "alice", in_acme), "invalid_scope"],
		"by a third party": [agreed_to_manage, administration("partner", "alice", in_acme), "invalid_scope"],
		"by no party": [without(facts, "/clients/web/party"), administration("web", "alice", in_acme), "invalid_grant"],
		"by a first party of a vendor": [vendors_own, administration("syncco-app", "alice", in_acme), "invalid_scope"],
		"for an API": [facts, administration("web", "alice", object.union(in_acme, documents)), "invalid_scope"],
		"without a client": [facts, at_auth(member("alice", "acme"), "password", {"audience": "https://mandate.example", "org": "acme", "scopes": ["manage"]}), "invalid_scope"],
	}
	refused_in(row[0], row[1], row[2])
}

agreed_to_manage := changed(
	changed(facts, "/clients/partner/scopes", ["manage", "openid"]),
	"/consents/alice/partner/orgs/acme/scopes/https:~1~1mandate.example", ["manage", "openid"],
)

vendors_own := changed(changed(facts, "/clients/syncco-app/party", "first"), "/clients/syncco-app/scopes", ["manage", "openid"])

test_users_get_no_other_scope_of_mandate[scope] if {
	some scope in ["decide", "register", "scim", "oem:partner_token"]
	known := changed(facts, "/clients/web/scopes", ["manage", scope])
	refused_in(known, administration("web", "alice", {"org": "acme", "scopes": [scope]}), "invalid_scope")
}

test_token_without_manage_is_not_exchanged_for_one_with_it if {
	known := changed(changed(facts, "/clients/gateway/scopes", ["manage", "documents:read"]), "/clients/gateway/audiences/-", "https://mandate.example")
	question := by("gateway", token_of(member("alice", "acme"), "gateway"), exchange, {"audience": "https://mandate.example", "scopes": ["manage"]})
	refused_in(known, question, "invalid_scope")
}

# Scopes of Mandate are held by name.

test_machines_get_the_scopes_of_mandate_by_name[scope] if {
	some scope in ["scim", "oem:partner_token", "manage", "decide", "register"]
	known := changed(facts, "/clients/acme-sync/scopes", [scope])
	carries_in(known, ask("acme-sync", mandate, {}), [scope])
	named := changed(facts, "/apikeys/acme-key/scopes", [scope])
	carries_in(named, at_auth(key("acme-key"), "api_key", mandate), [scope])
}

test_no_pattern_stands_for_a_scope_of_mandate[pattern] if {
	some pattern in ["oem:*", "*", "oem:", "scim:*"]
	refused_in(changed(facts, "/clients/acme-sync/scopes", [pattern]), ask("acme-sync", mandate, {}), "invalid_scope")
	refused_in(changed(facts, "/apikeys/acme-key/scopes", [pattern]), at_auth(key("acme-key"), "api_key", mandate), "invalid_scope")
}

test_api_does_not_offer_them if {
	known := changed(changed(facts, "/apis/documents/scopes", ["oem:partner_token", "scim"]), "/clients/acme-sync/scopes", ["oem:partner_token", "scim"])
	refused_in(known, ask("acme-sync", documents, {}), "invalid_scope")
}
