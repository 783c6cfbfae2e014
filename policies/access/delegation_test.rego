package mandate.access_test

# Users whom a connection of an organization vouches for.

known_connections := replaced(facts, "/orgs/acme/connections", {"idp": {"status": "active"}, "old": {"status": "disabled"}})

external(more) := object.union({"type": "user", "sub": "erin@idp", "org": "acme", "connection": "idp", "roles": ["viewer"]}, more)

reads(principal) := ask(principal, "documents:read", document("acme"))

test_user_of_a_connection_has_the_roles_that_it_brings if {
	allowed_in(known_connections, reads(external({})), "role")
	refused_in(known_connections, ask(external({}), "documents:write", document("acme")), "role_missing")
	refused_in(known_connections, reads(external({"roles": []})), "role_missing")
	refused_in(known_connections, reads(external({"roles": ["nobody", 1, null]})), "role_missing")
	refused_in(known_connections, reads(external({"roles": "viewer"})), "role_missing")
}

test_connection_must_be_active if {
	refused_in(known_connections, reads(external({"connection": "old"})), "principal_inactive")
	refused_in(known_connections, reads(external({"connection": "nobody"})), "principal_inactive")
	refused_in(known_connections, reads(without(external({}), "/org")), "principal_inactive")
	refused_in(known_connections, reads(external({"sub": "gone"})), "principal_inactive")
	refused_in(known_connections, reads(external({"type": "vendor", "sub": "backupco", "roles": ["admin"], "scopes": []})), "scope_missing")
}

test_user_of_a_connection_is_confined_to_its_org if {
	refused_in(known_connections, ask(external({}), "documents:read", document("globex")), "wrong_org")
	refused_in(known_connections, ask(external({"org": "globex"}), "documents:read", document("globex")), "principal_inactive")
}

test_org_may_know_the_user_of_a_connection_better if {
	suspended := replaced(known_connections, "/orgs/acme/members/erin@idp", {"roles": [], "status": "suspended"})
	refused_in(suspended, reads(external({})), "member_suspended")
	also := replaced(known_connections, "/orgs/acme/members/erin@idp", {"roles": ["editor"], "status": "active"})
	allowed_in(also, ask(external({}), "documents:write", document("acme")), "role")
}

test_user_of_a_connection_learns_that_its_org_is_suspended if {
	refused_in(replaced(known_connections, "/orgs/acme/profile/status", "suspended"), reads(external({})), "org_suspended")
}

test_roles_that_no_connection_brings_count_nothing if {
	refused(reads(object.union(user("frank"), {"org": "acme", "roles": ["admin"]})), "role_missing")
	refused_in(known_connections, reads(object.union(user("frank"), {"roles": ["admin"]})), "role_missing")
}

# Those who have acted before (RFC 8693 §4.1).

acted(link) := reads(object.union(user("alice"), {"azp": "portal", "act": link}))

by_client(id) := {"sub_type": "client", "sub": id}

test_actor_must_be_an_active_client[name] if {
	some name, link in {
		"inactive": by_client("off"), "unknown": by_client("nobody"), "user": {"sub_type": "user", "sub": "bob"},
		"key": {"sub_type": "apikey", "sub": "acme-key"}, "null": null, "false": false, "text": "portal", "empty": {},
	}
	refused(acted(link), "client_inactive")
	refused(acted(object.union(by_client("portal"), {"act": link})), "client_inactive")
}

test_actor_must_be_able_to_act_in_the_org if {
	allowed(acted(by_client("portal")), "role")
	allowed(acted(object.union(by_client("stray"), {"act": by_client("acme-sync")})), "role")
	known := replaced(facts, "/clients/stray/orgs", ["globex"])
	refused_in(known, acted(by_client("stray")), "client_not_in_org")
	refused_in(known, acted(object.union(by_client("portal"), {"act": by_client("stray")})), "client_not_in_org")
}

test_longer_chain_of_actors_is_refused if {
	eight := json.unmarshal(concat("", [concat("", [`{"sub_type":"client","sub":"portal","act":` | some _ in numbers.range(1, 7)]), `{"sub_type":"client","sub":"portal"}`, "}}}}}}}"]))
	allowed(acted(eight), "role")
	refused(acted(object.union(by_client("portal"), {"act": eight})), "client_inactive")
}

test_actor_does_not_need_an_org_where_there_is_none if {
	shared := ask(object.union(user("heidi"), {"azp": "portal", "act": by_client("acme-sync")}), "documents:read", plan)
	allowed(shared, "relation")
}

test_application_of_others_opens_the_org_that_it_was_let_into if {
	known := json.patch(facts, [{"op": "add", "path": "/clients/others", "value": {"status": "active", "party": "third"}}])
	principal := {"type": "user", "sub": "bob", "azp": "others", "scopes": ["documents:read"]}
	refused_in(known, reads(principal), "client_not_in_org")
	allowed_in(known, reads(object.union(principal, {"org": "acme"})), "role")
}

# What a vendor's client does for a user with the credential of an integration.

test_client_of_an_integration_is_bound_by_its_own_scopes if {
	by_integration := object.union(user("alice"), {"org": "acme", "azp": "portal", "scopes": ["documents:read", "payments:read"], "credential": {"type": "integration", "id": "i"}})
	allowed(reads(by_integration), "role")
	refused(ask(by_integration, "payments:read", document("acme")), "scope_missing")
	less := replaced(facts, "/clients/portal/scopes", ["documents:write"])
	refused_in(less, reads(by_integration), "scope_missing")
	allowed_in(less, reads(object.union(by_integration, {"credential": {"type": "access_token", "id": "t"}})), "role")
}
