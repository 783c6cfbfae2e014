package mandate.tokens_test

# Who the subject is.

test_user_that_is_not_active_is_refused if {
	refused(by("web", user("gone"), "authorization_code", {}), "invalid_grant")
	refused(by("web", user("nobody"), "authorization_code", {}), "invalid_grant")
	refused(by("web", user("../alice"), "authorization_code", {}), "invalid_grant")
	refused(at_auth(member("gone", "acme"), "password", {}), "invalid_grant")
}

test_key_that_is_not_active_is_refused[id] if {
	some id in ["revoked-key", "carol-key", "bob-key", "nobody"]
	refused(at_auth(key(id), "api_key", {}), "invalid_grant")
}

test_key_stops_with_its_owner[path] if {
	some path, value in {
		"/users/alice/status": "disabled",
		"/orgs/acme/members/alice/status": "suspended",
		"/orgs/acme/members/alice/roles": ["editor"],
	}
	refused_in(changed(facts, path, value), at_auth(key("acme-key"), "api_key", {}), "invalid_grant")
}

test_tenant_wide_key_needs_a_developer_where_it_is_used if {
	known := json.patch(facts, [{"op": "remove", "path": "/apikeys/acme-key/org"}])
	carries_in(known, at_auth(key("acme-key"), "api_key", {"org": "acme", "scopes": ["documents:read"]}), ["documents:read"])
	refused_in(known, at_auth(key("acme-key"), "api_key", {"org": "globex"}), "invalid_grant")
}

test_vendor_needs_an_active_integration if {
	token := partner_token("backupco", ["documents:read"])
	refused(by("backupco-app", object.union(token, {"org": "globex"}), exchange, {}), "access_denied")
	refused(by("backupco-app", json.remove(token, ["/org"]), exchange, {}), "access_denied")
	closed := changed(facts, "/clients/backupco-app/vendor", "closedco")
	refused_in(closed, by("backupco-app", partner_token("closedco", ["documents:read"]), exchange, {}), "access_denied")
	suspended := changed(facts, "/orgs/acme/integrations/backupco/status", "suspended")
	refused_in(suspended, by("backupco-app", token, exchange, {}), "access_denied")
	narrowed := changed(facts, "/orgs/acme/integrations/backupco/scopes", ["documents:write"])
	refused_in(narrowed, by("backupco-app", token, exchange, {}), "invalid_scope")
}

# Users whom a connection vouches for.

test_user_of_a_connection_need_not_be_known if {
	carries(by("acme-gateway", external("acme"), exchange, {"scopes": ["documents:read"]}), ["documents:read"])
	decide(by("acme-gateway", external("acme"), exchange, {})).org == "acme"
}

test_connection_vouches_while_it_is_active_and_in_its_org if {
	refused(by("acme-gateway", object.union(external("acme"), {"connection": "old-idp"}), exchange, {}), "invalid_grant")
	refused(by("acme-gateway", object.union(external("acme"), {"connection": "nobody"}), exchange, {}), "invalid_grant")
	refused(by("acme-gateway", object.union(external("acme"), {"sub": "gone"}), exchange, {}), "invalid_grant")
	refused(by("acme-gateway", object.union(external("acme"), {"sub": "carol"}), exchange, {}), "access_denied")
	refused(by("globex-gateway", external("globex"), exchange, {}), "invalid_grant")
}

test_user_of_a_connection_is_a_member_of_that_org_only if {
	refused(by("web", object.union(external("acme"), {"sub": "alice"}), "authorization_code", {"org": "globex"}), "access_denied")
}

test_roles_of_a_connection_count_in_its_org if {
	carries(at_auth(external("acme"), "password", {}), ["documents:read"])
	refused(at_auth(object.union(external("acme"), {"roles": ["nobody", 1, null]}), "password", {}), "invalid_scope")
	refused(at_auth(object.union(external("acme"), {"roles": {"a": "viewer"}}), "password", {}), "invalid_scope")
	unvouched := object.union(member("dan", "acme"), {"roles": ["viewer"]})
	refused(at_auth(unvouched, "password", {}), "access_denied")
}

# The organization.

test_user_must_be_a_member_of_the_org if {
	refused(by("web", user("dan"), "authorization_code", {"org": "acme"}), "access_denied")
	refused(by("web", user("carol"), "authorization_code", {"org": "acme"}), "access_denied")
	refused(by("web", user("bob"), "authorization_code", {"org": "globex"}), "access_denied")
	refused(by("web", member("dan", "acme"), "refresh_token", {}), "access_denied")
	decide(by("web", user("bob"), "authorization_code", {"org": "acme"})).org == "acme"
}

test_org_of_others_is_not_revealed_to_users if {
	count({decide(by("web", user("bob"), "authorization_code", {"org": org})) | some org in ["globex", "initech", "hooli", "../acme"]}) == 1
}

test_suspended_org_is_refused_to_its_members if {
	question := by("web", user("alice"), "authorization_code", {"org": "initech"})
	refused(question, "access_denied")
	contains(decide(question).reasons[0].message, "suspended")
}

test_client_must_be_of_the_org if {
	known := changed(facts, "/clients/web/orgs", ["globex"])
	refused_in(known, by("web", user("alice"), "authorization_code", {"org": "acme"}), "access_denied")
	decide_in(known, by("web", user("alice"), "authorization_code", {"org": "globex"})).org == "globex"
}

test_client_named_like_a_member_is_none if {
	known := changed(facts, "/clients/alice", object.union(facts.clients.gateway, {"orgs": ["globex"]}))
	refused_in(known, by("acme-gateway", own_token({"type": "client", "sub": "alice", "org": "acme"}), exchange, {}), "access_denied")
}

test_credential_is_for_its_org if {
	refused(by("web", member("alice", "acme"), "refresh_token", {"org": "globex"}), "access_denied")
	refused(at_auth(object.union(key("acme-key"), {"org": "acme"}), "api_key", {"org": "globex"}), "access_denied")
	refused(at_auth(key("acme-key"), "api_key", {"org": "globex"}), "access_denied")
	decide(by("web", member("alice", "acme"), "refresh_token", {})).org == "acme"
}

test_users_token_is_bound_to_the_only_org_of_the_client if {
	known := changed(facts, "/clients/web/orgs", ["globex"])
	decide_in(known, by("web", user("alice"), "authorization_code", {})).org == "globex"
	unbound_in(known, by("web", user("bob"), "authorization_code", {}))
	unbound(by("web", user("alice"), "authorization_code", {}))
	several := changed(known, "/clients/web/org", "acme")
	unbound_in(several, by("web", user("alice"), "authorization_code", {}))
}

# Those who act for the subject (RFC 8693 §4.1).

acting(subs) := {"act": chained} if {
	links := array.concat([{"sub_type": "client", "sub": sub} | some sub in subs], [null, null, null, null, null, null, null, null])
	chained := nested(links)
}

nested(links) := linked(links[0], linked(links[1], linked(links[2], linked(links[3], linked(links[4], linked(links[5], linked(links[6], linked(links[7], links[8]))))))))

linked(link, null) := link

linked(link, next) := object.union(link, {"act": next}) if next != null

delegated(subs) := object.union(token_of(member("alice", "acme"), "gateway"), acting(subs))

repeated(sub, n) := [sub | some _ in numbers.range(1, n)]

test_actor_that_may_act_is_welcome if {
	carries(by("gateway", delegated(["gateway"]), exchange, {}), ["documents:read", "openid"])
	carries(by("gateway", delegated(["gateway", "partner", "acme-gateway"]), exchange, {}), ["documents:read", "openid"])
	carries(by("gateway", delegated(repeated("gateway", 8)), exchange, {}), ["documents:read", "openid"])
}

test_actor_that_is_bound_acts_on_tokens_that_are_not if {
	token := object.union(token_of(user("alice"), "gateway"), acting(["acme-gateway"]))
	unbound(by("gateway", token, exchange, {}))
}

test_longer_chain_is_refused if refused(by("gateway", delegated(repeated("gateway", 9)), exchange, {}), "invalid_request")

test_every_link_must_be_allowed_to_act[at] if {
	some at in numbers.range(0, 7)
	every sub in ["off", "nobody", "web", "globex-gateway"] {
		links := array.concat(array.concat(repeated("gateway", at), [sub]), repeated("gateway", 7 - at))
		refused(by("gateway", delegated(links), exchange, {}), "invalid_request")
	}
}

test_link_that_is_no_link_is_refused[name] if {
	some name, link in {
		"null": null, "false": false, "text": "gateway", "array": ["gateway"], "empty": {},
		"no type": {"sub": "gateway"}, "no sub": {"sub_type": "client"}, "number": {"sub_type": "client", "sub": 1},
		"key": {"sub_type": "apikey", "sub": "tenant-key"}, "vendor": {"sub_type": "vendor", "sub": "backupco"},
		"key named like a user": {"sub_type": "apikey", "sub": "alice"},
		"inactive user": {"sub_type": "user", "sub": "gone"}, "unknown user": {"sub_type": "user", "sub": "gateway"},
	}
	refused(by("gateway", object.union(token_of(member("alice", "acme"), "gateway"), {"act": link}), exchange, {}), "invalid_request")
}

test_user_may_have_acted if {
	carries(by("gateway", object.union(token_of(member("alice", "acme"), "gateway"), {"act": {"sub_type": "user", "sub": "bob"}}), exchange, {}), ["documents:read", "openid"])
}

with_actor(actor) := object.union(by("gateway", token_of(member("alice", "acme"), "partner"), exchange, {}), {"actor": actor})

gateway := {"type": "client", "sub": "gateway", "scopes": ["documents:read", "documents:write"], "credential": {"type": "access_token", "id": "a"}}

test_actor_is_the_client_itself[name] if {
	some name, other in {
		"another client": {"sub": "acme-gateway"}, "user": {"type": "user"}, "key": {"type": "apikey"},
		"for another org": {"org": "globex"}, "org false": {"org": false}, "sub number": {"sub": 1},
	}
	refused(with_actor(object.union(gateway, other)), "invalid_request")
}

test_actor_that_is_no_object_is_refused[name] if {
	some name, actor in {"null": null, "false": false, "text": "gateway"}
	refused(with_actor(actor), "invalid_request")
}

test_token_carries_no_more_than_the_actor_has if {
	carries(with_actor(gateway), ["documents:read"])
	carries(with_actor(object.union(gateway, {"org": "acme"})), ["documents:read"])
	carries(with_actor(json.remove(gateway, ["/scopes"])), ["documents:read", "openid"])
	refused(with_actor(object.union(gateway, {"scopes": []})), "invalid_scope")
	refused(with_actor(object.union(gateway, {"scopes": ["documents:*"]})), "invalid_scope")
	refused(changed(with_actor(gateway), "/request/scopes", ["documents:write"]), "invalid_scope")
	refused(changed(with_actor(gateway), "/request/scopes", ["openid"]), "invalid_scope")
}
