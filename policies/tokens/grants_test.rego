package mandate.tokens_test

import data.mandate.tokens

# Grants that a user makes (RFC 6749 §4.1, §6, RFC 8628).

user_grants := {"authorization_code", "refresh_token", device_code}

test_user_grants_are_for_users[grant] if {
	some grant in user_grants
	every principal in [{"type": "client", "sub": "web"}, key("tenant-key"), federated("web"), {"type": "vendor", "sub": "backupco", "org": "acme"}, {"type": "workload", "sub": "ci"}] {
		refused(by("web", principal, grant, {}), "unauthorized_client")
	}
}

test_client_without_the_grant_is_refused[grant] if {
	some grant in user_grants
	refused(by("gateway", user("alice"), grant, {}), "unauthorized_client")
	refused(by("off", user("alice"), grant, {}), "unauthorized_client")
	refused(by("nobody", user("alice"), grant, {}), "unauthorized_client")
}

test_user_grant_without_a_client_is_refused[grant] if {
	some grant in {"authorization_code", device_code}
	refused(at_auth(user("alice"), grant, {}), "unauthorized_client")
}

test_first_party_gets_what_it_shares_with_the_target[grant] if {
	some grant in user_grants
	carries(by("web", user("alice"), grant, {}), ["documents:read", "documents:write", "offline_access", "openid", "profile"])
	carries(by("web", user("alice"), grant, {"scopes": ["documents:read"]}), ["documents:read"])
	refused(by("web", user("alice"), grant, {"scopes": ["documents:share"]}), "invalid_scope")
}

test_grant_is_the_most_that_a_token_can_have if {
	granted := object.union(user("alice"), {"scopes": ["documents:read", "openid", "documents:*"], "credential": {"type": "grant", "id": ""}})
	carries(by("web", granted, "refresh_token", {}), ["documents:read", "openid"])
	refused(by("web", granted, "refresh_token", {"scopes": ["documents:write"]}), "invalid_scope")
	refused(by("web", object.union(granted, {"scopes": []}), "refresh_token", {}), "invalid_scope")
}

# Workloads (RFC 7523 §2.1).

federated(id) := {"type": "client", "sub": id, "credential": {"type": "federated", "id": "ci"}}

test_workload_is_the_client_itself if {
	refused(by("acme-sync", object.union(federated("acme-sync"), {"credential": {"type": "client_secret"}}), jwt_bearer, {}), "unauthorized_client")
	refused(by("acme-sync", {"type": "client", "sub": "acme-sync"}, jwt_bearer, {}), "unauthorized_client")
	refused(by("acme-sync", federated("roaming"), jwt_bearer, {}), "unauthorized_client")
	refused(by("roaming", federated("roaming"), jwt_bearer, {}), "unauthorized_client")
	refused(at_auth(federated("acme-sync"), jwt_bearer, {}), "unauthorized_client")
	result := decide(by("acme-sync", federated("acme-sync"), jwt_bearer, {}))
	result.scopes == ["documents:read", "documents:write"]
	result.org == "acme"
}

# Token exchange (RFC 8693): where the subject token came from decides.

token_of(principal, client) := object.union(principal, {"azp": client, "aud": ["https://documents.example"], "scopes": ["documents:read", "openid"], "credential": {"type": "access_token", "id": "t"}})

own_token(principal) := object.union(principal, {"aud": ["https://documents.example"], "scopes": ["documents:read"], "credential": {"type": "access_token", "id": "t"}})

external(org) := {
	"type": "user", "sub": "erin@idp", "org": org, "connection": "acme-idp", "roles": ["viewer"],
	"credential": {"type": "external_token", "id": "acme-idp"},
}

partner_token(vendor, scopes) := {"type": "vendor", "sub": vendor, "org": "acme", "scopes": scopes, "credential": {"type": "partner_token", "id": "backupco-acme"}}

enabled := {
	"type": "user", "sub": "alice", "org": "acme", "azp": "syncco-app", "scopes": ["documents:*", "openid"],
	"credential": {"type": "integration", "id": "syncco-acme"},
}

test_exchange_of_other_credentials_is_refused[type] if {
	some type in ["password", "session", "grant", "client_secret", "private_key_jwt", "federated", "id_token", "none", ""]
	every row in [
		["gateway", member("alice", "acme")],
		["acme-gateway", external("acme")],
		["gateway", key("acme-key")],
		["backupco-app", partner_token("backupco", ["documents:read"])],
		["syncco-app", enabled],
	] {
		refused(by(row[0], object.union(row[1], {"credential": {"type": type}}), exchange, {}), "unauthorized_client")
	}
}

test_exchange_without_a_credential_or_a_client_is_refused if {
	refused(by("gateway", user("alice"), exchange, {}), "unauthorized_client")
	refused(at_auth(token_of(user("alice"), "gateway"), exchange, {}), "unauthorized_client")
	refused(by("web", token_of(user("alice"), "web"), exchange, {}), "unauthorized_client")
}

test_token_of_another_client_is_exchanged_by_a_first_party_only if {
	refused(by("partner", token_of(user("alice"), "web"), exchange, {}), "unauthorized_client")
	refused(by("backupco-app", token_of(member("alice", "acme"), "syncco-app"), exchange, {}), "unauthorized_client")
	carries(by("gateway", token_of(user("alice"), "partner"), exchange, {}), ["documents:read", "openid"])
	carries(by("partner", token_of(member("alice", "acme"), "partner"), exchange, {}), ["documents:read", "openid"])
}

test_token_of_another_client_for_an_audience_of_others_is_not_exchanged[name] if {
	some name, aud in {"none": [], "another": ["https://billing.example"], "the issuer": ["https://mandate.example"], "null": null}
	refused(by("gateway", object.union(token_of(user("alice"), "partner"), {"aud": aud}), exchange, {}), "unauthorized_client")
}

test_own_token_is_exchanged_whatever_it_is_for if {
	carries(by("partner", object.union(token_of(member("alice", "acme"), "partner"), {"aud": ["https://billing.example"]}), exchange, {}), ["documents:read", "openid"])
}

test_first_party_exchanges_within_its_orgs if {
	refused(by("globex-gateway", token_of(member("alice", "acme"), "partner"), exchange, {}), "access_denied")
	carries(by("acme-gateway", token_of(member("alice", "acme"), "partner"), exchange, {}), ["documents:read"])
	carries(by("gateway", token_of(member("alice", "acme"), "partner"), exchange, {}), ["documents:read", "openid"])
}

test_token_that_names_no_client_is_anothers if {
	refused(by("partner", own_token(user("partner")), exchange, {}), "unauthorized_client")
	refused(by("partner", own_token(user("alice")), exchange, {}), "unauthorized_client")
	refused(by("partner", own_token(key("machine-key")), exchange, {}), "unauthorized_client")
	carries(by("gateway", own_token(member("alice", "acme")), exchange, {}), ["documents:read"])
}

test_clients_own_token_is_exchanged_by_itself if {
	known := changed(facts, "/clients/partner/org", "acme")
	carries_in(known, by("partner", own_token({"type": "client", "sub": "partner", "org": "acme"}), exchange, {}), ["documents:read"])
	refused_in(known, by("partner", own_token({"type": "client", "sub": "gateway"}), exchange, {}), "unauthorized_client")
}

test_clients_token_never_exceeds_its_own_record if {
	exchanged := by("gateway", object.union(own_token({"type": "client", "sub": "homeless"}), {"scopes": ["documents:read", "documents:write"]}), exchange, {})
	carries(exchanged, ["documents:read"])
	refused(changed(exchanged, "/request/scopes", ["documents:write"]), "invalid_scope")
	refused(changed(exchanged, "/principal/sub", "off"), "invalid_grant")
}

test_exchange_never_widens if {
	refused(by("gateway", token_of(user("alice"), "partner"), exchange, {"scopes": ["documents:read", "documents:write"]}), "invalid_scope")
	refused(by("gateway", object.union(token_of(user("alice"), "partner"), {"scopes": ["documents:*"]}), exchange, {}), "invalid_scope")
	refused(by("gateway", token_of(member("alice", "acme"), "partner"), exchange, {"org": "globex"}), "access_denied")
}

test_external_token_is_exchanged_by_clients_of_its_org if {
	refused(by("gateway", external("acme"), exchange, {}), "unauthorized_client")
	refused(by("globex-gateway", external("acme"), exchange, {}), "unauthorized_client")
	refused(by("acme-gateway", external("globex"), exchange, {}), "unauthorized_client")
	refused(by("acme-gateway", json.remove(external("acme"), ["/org"]), exchange, {}), "unauthorized_client")
	carries(by("acme-gateway", external("acme"), exchange, {}), ["documents:read", "documents:write"])
}

test_key_is_exchanged_by_first_parties_of_its_org if {
	refused(by("partner", key("acme-key"), exchange, {}), "unauthorized_client")
	refused(by("globex-gateway", key("acme-key"), exchange, {}), "unauthorized_client")
	refused(by("acme-gateway", key("tenant-key"), exchange, {}), "unauthorized_client")
	refused(by("gateway", key("nobody"), exchange, {}), "unauthorized_client")
	decide(by("acme-gateway", key("acme-key"), exchange, {})).org == "acme"
	decide(by("gateway", key("acme-key"), exchange, {})).org == "acme"
	unbound(by("gateway", key("tenant-key"), exchange, {}))
}

test_exchanged_key_carries_what_key_and_client_share if {
	carries(by("gateway", key("acme-key"), exchange, {}), ["documents:read", "documents:write"])
	refused(by("gateway", key("machine-key"), exchange, {"scopes": ["documents:write"]}), "invalid_scope")
	carries(by("gateway", key("tenant-key"), exchange, {"audience": "https://mandate.example"}), ["decide"])
}

test_partner_token_is_exchanged_by_the_vendors_client if {
	refused(by("partner", partner_token("backupco", ["documents:read"]), exchange, {}), "unauthorized_client")
	refused(by("syncco-app", partner_token("backupco", ["documents:read"]), exchange, {}), "unauthorized_client")
	refused(by("gateway", partner_token("backupco", ["documents:read"]), exchange, {}), "unauthorized_client")
	refused(by("backupco-app", object.union(partner_token("backupco", ["documents:read"]), {"type": "user"}), exchange, {}), "unauthorized_client")
	carries(by("backupco-app", partner_token("backupco", ["documents:*"]), exchange, {}), ["documents:read", "documents:write"])
	carries(by("backupco-app", partner_token("backupco", ["documents:read"]), exchange, {}), ["documents:read"])
}

test_integration_is_exchanged_by_its_client if {
	refused(by("partner", enabled, exchange, {}), "unauthorized_client")
	refused(by("gateway", enabled, exchange, {}), "unauthorized_client")
	refused(by("gateway", object.union(enabled, {"azp": "gateway"}), exchange, {}), "unauthorized_client")
	refused(by("syncco-app", object.union(enabled, {"type": "apikey"}), exchange, {}), "unauthorized_client")
	refused(by("syncco-app", json.remove(enabled, ["/azp"]), exchange, {}), "unauthorized_client")
	carries(by("syncco-app", enabled, exchange, {}), ["documents:read", "openid"])
	decide(by("syncco-app", enabled, exchange, {})).org == "acme"
}

test_integration_that_has_ended_is_refused[name] if {
	some name, change in {
		"gone": {"op": "remove", "path": "/orgs/acme/integrations/syncco"},
		"suspended": {"op": "add", "path": "/orgs/acme/integrations/syncco/status", "value": "suspended"},
		"external": {"op": "add", "path": "/orgs/acme/integrations/syncco/kind", "value": "external"},
		"enabled by another": {"op": "add", "path": "/orgs/acme/integrations/syncco/enabled_by", "value": "bob"},
		"another client": {"op": "add", "path": "/orgs/acme/integrations/syncco/client", "value": "partner"},
		"client of another vendor": {"op": "add", "path": "/clients/syncco-app/vendor", "value": "backupco"},
		"client of no vendor": {"op": "remove", "path": "/clients/syncco-app/vendor"},
	}
	refused_in(json.patch(facts, [change]), by("syncco-app", enabled, exchange, {}), "unauthorized_client")
}

# The exchange endpoints, for which there is no client.

test_exchange_endpoints_are_for_their_holders if {
	refused(at_auth(key("acme-key"), "password", {}), "unauthorized_client")
	refused(at_auth(user("alice"), "api_key", {}), "unauthorized_client")
	refused(at_auth({"type": "client", "sub": "web"}, "password", {}), "unauthorized_client")
	refused(at_auth({"type": "vendor", "sub": "backupco", "org": "acme"}, "refresh_token", {}), "unauthorized_client")
	refused(at_auth({"type": "client", "sub": "web"}, "refresh_token", {}), "unauthorized_client")
	refused(at_auth({"type": "client", "sub": "acme-sync"}, "client_credentials", {}), "unauthorized_client")
}

test_clients_do_not_get_tokens_by_password_or_key[grant] if {
	some grant in {"password", "api_key"}
	known := changed(facts, "/clients/web/grant_types", [grant])
	refused_in(known, by("web", member("alice", "acme"), grant, {}), "unauthorized_client")
	refused_in(known, by("web", key("acme-key"), grant, {}), "unauthorized_client")
}

test_password_gives_what_the_roles_of_the_user_cover[grant] if {
	some grant in {"password", "refresh_token"}
	carries(at_auth(user("alice"), grant, {"org": "acme"}), ["documents:read", "documents:share", "documents:write"])
	carries(at_auth(member("bob", "acme"), grant, {}), ["documents:read"])
	carries(at_auth(user("alice"), grant, {"org": "globex"}), ["documents:read"])
	refused(at_auth(member("bob", "acme"), grant, {"scopes": ["documents:write"]}), "invalid_scope")
	refused(at_auth(user("alice"), grant, {}), "invalid_scope")
}

test_role_of_the_org_hides_that_of_the_tenant if {
	known := changed(facts, "/orgs/acme/members/bob/roles", ["reviewer"])
	carries_in(known, at_auth(member("bob", "acme"), "password", {}), ["documents:read"])
}

test_password_never_gives_scopes_of_mandate if {
	known := changed(facts, "/orgs/acme/members/alice/roles", ["admin"])
	refused_in(known, at_auth(member("alice", "acme"), "password", mandate), "invalid_scope")
	refused_in(known, at_auth(member("alice", "acme"), "password", {"scopes": ["openid"]}), "invalid_scope")
	carries_in(known, at_auth(member("alice", "acme"), "password", billing), ["billing:read"])
}

test_key_gives_what_it_covers[grant] if {
	some grant in {"api_key", "refresh_token"}
	carries(at_auth(key("acme-key"), grant, {}), ["documents:read", "documents:share", "documents:write"])
	carries(at_auth(key("machine-key"), grant, {}), ["documents:read"])
	refused(at_auth(key("machine-key"), grant, {"scopes": ["documents:write"]}), "invalid_scope")
	refused(at_auth(key("machine-key"), grant, {"scopes": ["openid"]}), "invalid_scope")
}

test_key_gives_scopes_of_mandate_by_name_only if {
	carries(at_auth(key("tenant-key"), "api_key", {"audience": "https://mandate.example"}), ["decide"])
	refused(at_auth(key("star-key"), "api_key", {"audience": "https://mandate.example"}), "invalid_scope")
	refused(at_auth(key("star-key"), "api_key", {}), "invalid_scope")
}

# Names that the tests rely on.
test_names_of_grants if {
	tokens.token_exchange == exchange
	tokens.jwt_bearer == jwt_bearer
	device_code in tokens.authorized_by_users
}
