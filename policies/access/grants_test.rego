package mandate.access_test

import data.mandate.access

# Roles.

test_role_grants if {
	allowed(ask(user("bob"), "documents:read", document("acme")), "role")
	allowed(ask(user("dave"), "documents:write", document("acme")), "role")
	allowed(ask(user("alice"), "anything:at:all", document("acme")), "role")
}

test_role_without_the_permission_is_refused if {
	refused(ask(user("bob"), "documents:write", document("acme")), "role_missing")
	refused(ask(user("frank"), "documents:read", document("acme")), "role_missing")
}

test_role_missing_names_the_permission if {
	contains(decide(ask(user("bob"), "documents:write", document("acme")), facts).reasons[0].message, "documents:write")
}

test_role_in_one_org_is_none_in_another if {
	refused(ask(user("alice"), "documents:read", document("globex")), "not_a_member")
	refused(ask(user("heidi"), "documents:read", document("acme")), "not_a_member")
}

test_org_role_hides_tenant_role_of_the_same_name if {
	allowed(ask(user("erin"), "documents:read", document("acme")), "role")
	refused(ask(user("erin"), "documents:write", document("acme")), "role_missing")
}

test_org_role_without_permissions_hides_tenant_role if {
	refused_in(replaced(facts, "/orgs/acme/roles/auditor", {}), ask(user("erin"), "documents:read", document("acme")), "role_missing")
}

test_org_role_of_another_org_grants_nothing if {
	known := replaced(facts, "/orgs/globex/roles", {"viewer": {"permissions": ["*"]}})
	refused_in(known, ask(user("bob"), "documents:write", document("acme")), "role_missing")
}

test_role_that_nobody_defined_grants_nothing if {
	known := replaced(facts, "/orgs/acme/members/bob/roles", ["ghost", "", "*", 1, null])
	refused_in(known, ask(user("bob"), "documents:read", document("acme")), "role_missing")
}

test_suspended_member_is_refused if refused(ask(user("carol"), "documents:read", document("acme")), "member_suspended")

test_member_without_status_is_refused if {
	refused_in(without(facts, "/orgs/acme/members/bob/status"), ask(user("bob"), "documents:read", document("acme")), "member_suspended")
}

# What covers a permission.

test_covering_permissions[note] if {
	some note, row in {
		"the name": ["documents:read", "documents:read"],
		"everything": ["*", "documents:read"],
		"everything without colon": ["*", "read"],
		"wildcard": ["documents:*", "documents:read"],
		"wildcard covers deeper names": ["documents:*", "documents:read:all"],
		"deeper wildcard": ["documents:read:*", "documents:read:all"],
	}
	allowed_in(replaced(facts, "/roles/viewer/permissions", [row[0]]), ask(user("bob"), row[1], document("acme")), "role")
}

uncovered := {
	"prefix alone": ["documents:", "documents:read"],
	"wildcard does not cover its bare prefix": ["documents:*", "documents:"],
	"wildcard does not cover its stem": ["documents:*", "documents"],
	"wildcard stops at the colon": ["documents:*", "documentsx:read"],
	"name does not cover deeper names": ["documents:read", "documents:read:all"],
	"deeper name does not cover its parent": ["documents:read:all", "documents:read"],
	"deeper wildcard does not cover its parent": ["documents:read:*", "documents:read"],
	"leading star": ["*:read", "documents:read"],
	"two stars": ["*:*", "documents:read"],
	"star in a word": ["doc*", "documents:read"],
	"star in a verb": ["documents:re*", "documents:read"],
	"star in the middle": ["documents:*:all", "documents:read:all"],
	"case": ["Documents:Read", "documents:read"],
	"space": ["documents:read ", "documents:read"],
	"pattern": ["documents:.+", "documents:read"],
	"empty": ["", "documents:read"],
	"number": [1, "documents:read"],
	"null": [null, "documents:read"],
	"nested list": [["documents:read"], "documents:read"],
}

test_permissions_that_do_not_cover[note] if {
	some note, row in uncovered
	refused_in(replaced(facts, "/roles/viewer/permissions", [row[0]]), ask(user("bob"), row[1], document("acme")), "role_missing")
}

test_scopes_that_do_not_cover[note] if {
	some note, row in uncovered
	refused(ask(object.union(user("alice"), {"scopes": [row[0]]}), row[1], document("acme")), "scope_missing")
}

test_star_is_no_scope_for_everything if {
	refused(ask(object.union(user("alice"), {"scopes": ["*"]}), "documents:read", document("acme")), "scope_missing")
}

# Role and scope, both.

test_role_and_scope_grant if {
	allowed(ask(object.union(user("bob"), {"scopes": ["openid", "documents:read"]}), "documents:read", document("acme")), "role")
	allowed(ask(object.union(user("dave"), {"scopes": ["documents:*"]}), "documents:write", document("acme")), "role")
}

test_scope_without_role_is_refused if {
	refused(ask(object.union(user("bob"), {"scopes": ["documents:*"]}), "documents:write", document("acme")), "role_missing")
}

test_role_without_scope_is_refused if {
	refused(ask(object.union(user("alice"), {"scopes": ["documents:read"]}), "documents:write", document("acme")), "scope_missing")
}

test_empty_scopes_cover_nothing if {
	refused(ask(object.union(user("alice"), {"scopes": []}), "documents:read", document("acme")), "scope_missing")
}

# The acting client.

test_acting_client_of_the_org_is_allowed if {
	allowed(ask(object.union(user("alice"), {"azp": "portal", "scopes": ["documents:read"]}), "documents:read", document("acme")), "role")
	allowed(ask(object.union(user("alice"), {"azp": "acme-sync"}), "documents:read", document("acme")), "role")
}

test_acting_client_of_no_org_is_refused if {
	known := replaced(facts, "/clients/stray/orgs", [])
	refused_in(known, ask(object.union(user("alice"), {"azp": "stray"}), "documents:read", document("acme")), "client_not_in_org")
}

test_acting_client_that_is_bound_to_no_org_acts_in_any if {
	allowed(ask(object.union(user("alice"), {"azp": "stray"}), "documents:read", document("acme")), "role")
	refused(ask(object.union(user("alice"), {"azp": "stray"}), "documents:read", document("globex")), "not_a_member")
	refused(ask(object.union(user("alice"), {"azp": "stray"}), "documents:read", document("initech")), "org_suspended")
	refused(ask(client("stray"), "documents:read", document("acme")), "client_not_in_org")
}

test_acting_client_of_another_org_is_refused if {
	refused(ask(object.union(user("heidi"), {"azp": "acme-sync"}), "documents:read", document("globex")), "client_not_in_org")
}

test_inactive_acting_client_is_refused if {
	refused(ask(object.union(user("alice"), {"azp": "off"}), "documents:read", document("acme")), "client_inactive")
	refused(ask(object.union(user("alice"), {"azp": "nobody"}), "documents:read", document("acme")), "client_inactive")
}

test_client_that_acts_for_itself_needs_no_acting_client if {
	allowed(ask(object.union(client("acme-sync"), {"azp": "acme-sync"}), "documents:read", document("acme")), "scope")
	allowed(ask(object.union(apikey("acme-key"), {"azp": "acme-key"}), "documents:read", document("acme")), "scope")
}

test_acting_client_binds_keys_and_vendors if {
	refused(ask(object.union(apikey("tenant-key"), {"azp": "acme-sync"}), "documents:read", document("globex")), "client_not_in_org")
	allowed(ask(object.union(apikey("acme-key"), {"azp": "stray"}), "documents:read", document("acme")), "scope")
	allowed(ask(object.union(vendor("backupco"), {"azp": "stray"}), "documents:read", document("acme")), "integration")
	refused(ask(object.union(vendor("backupco"), {"azp": "off"}), "documents:read", document("acme")), "client_inactive")
}

# A user cannot take a client's id to be rid of the check of the acting client.
test_user_is_never_its_own_client if {
	known := replaced(facts, "/orgs/globex/members/portal", {"roles": ["admin"], "status": "active"})
	refused_in(known, ask(object.union(user("portal"), {"azp": "portal"}), "documents:read", document("globex")), "client_not_in_org")
}

# Clients.

test_client_with_scope_is_allowed_at_home if allowed(ask(client("acme-sync"), "documents:read", document("acme")), "scope")

test_client_with_scope_is_allowed_in_its_orgs if allowed(ask(client("portal"), "documents:write", document("acme")), "scope")

test_client_is_refused_in_other_orgs if {
	refused(ask(client("acme-sync"), "documents:read", document("globex")), "client_not_in_org")
	refused(ask(client("acme-sync"), "documents:read", document("hooli")), "client_not_in_org")
}

test_client_without_the_scope_is_refused if refused(ask(client("acme-sync"), "documents:write", document("acme")), "scope_missing")

test_clients_token_narrows_its_scopes if {
	refused(ask(object.union(client("portal"), {"scopes": ["documents:read"]}), "documents:write", document("acme")), "scope_missing")
	refused(ask(object.union(client("portal"), {"scopes": []}), "documents:read", document("acme")), "scope_missing")
}

test_clients_token_does_not_widen_its_scopes if {
	refused(ask(object.union(client("acme-sync"), {"scopes": ["documents:*"]}), "documents:write", document("acme")), "scope_missing")
}

test_client_has_no_roles if {
	known := replaced(facts, "/orgs/acme/members/stray", {"roles": ["admin"], "status": "active"})
	refused_in(known, ask(client("stray"), "documents:read", document("acme")), "client_not_in_org")
}

# API keys.

test_key_is_allowed_within_its_owner if allowed(ask(apikey("acme-key"), "documents:read", document("acme")), "scope")

test_key_without_the_scope_is_refused if refused(ask(apikey("acme-key"), "users:read", document("acme")), "scope_missing")

test_key_without_owner_is_allowed_by_scope if {
	allowed(ask(apikey("machine-key"), "documents:read", document("acme")), "scope")
	refused(ask(apikey("machine-key"), "documents:write", document("acme")), "scope_missing")
}

test_tenant_wide_key_is_allowed_in_every_org if {
	allowed(ask(apikey("tenant-key"), "documents:read", document("acme")), "scope")
	allowed(ask(apikey("tenant-key"), "documents:read", document("globex")), "scope")
}

test_key_is_refused_in_another_org if {
	refused(ask(apikey("acme-key"), "documents:read", document("globex")), "wrong_org")
	refused(ask(apikey("machine-key"), "documents:read", document("hooli")), "wrong_org")
}

test_key_never_exceeds_its_owner if {
	known := replaced(facts, "/orgs/acme/members/alice/roles", ["viewer", "developer"])
	allowed_in(known, ask(apikey("acme-key"), "documents:read", document("acme")), "scope")
	refused_in(known, ask(apikey("acme-key"), "documents:write", document("acme")), "role_missing")
}

test_key_stops_when_its_owner_is_no_developer if {
	refused(ask(apikey("dave-key"), "documents:read", document("acme")), "owner_not_developer")
}

test_key_stops_when_its_owner_is_suspended if refused(ask(apikey("carol-key"), "documents:read", document("acme")), "principal_inactive")

test_key_stops_when_its_owner_is_disabled if refused(ask(apikey("gone-key"), "documents:read", document("acme")), "principal_inactive")

test_key_stops_when_its_owner_leaves if {
	refused_in(without(facts, "/orgs/acme/members/alice"), ask(apikey("acme-key"), "documents:read", document("acme")), "principal_inactive")
}

test_keys_token_narrows_its_scopes if {
	refused(ask(object.union(apikey("acme-key"), {"scopes": ["documents:read"]}), "documents:write", document("acme")), "scope_missing")
}

test_tenant_wide_key_with_owner_is_bound_to_the_owners_roles if {
	allowed(ask(apikey("alice-everywhere"), "documents:read", document("acme")), "scope")
	refused(ask(apikey("alice-everywhere"), "documents:read", document("globex")), "not_a_member")
}

test_tenant_wide_key_with_owner_needs_a_developer if {
	known := replaced(facts, "/orgs/globex/members/alice", {"roles": ["admin"], "status": "active"})
	refused_in(known, ask(apikey("alice-everywhere"), "documents:read", document("globex")), "owner_not_developer")
}

# Vendors.

test_vendor_with_integration_is_allowed if allowed(ask(vendor("backupco"), "documents:read", document("acme")), "integration")

test_vendor_without_integration_is_refused if {
	refused(ask(vendor("backupco"), "documents:read", document("globex")), "vendor_not_authorized")
	refused(ask(vendor("backupco"), "documents:read", document("hooli")), "vendor_not_authorized")
}

test_vendor_with_suspended_integration_is_refused if {
	refused(ask(vendor("stoppedco"), "documents:read", document("acme")), "vendor_not_authorized")
}

test_vendor_of_one_org_is_refused_in_another if {
	refused(ask(object.union(vendor("backupco"), {"org": "acme"}), "documents:read", document("globex")), "wrong_org")
}

test_vendor_without_the_scope_is_refused if {
	refused(ask(vendor("backupco"), "documents:write", document("acme")), "scope_missing")
	refused(ask(object.union(vendor("backupco"), {"scopes": []}), "documents:read", document("acme")), "scope_missing")
	refused(ask(object.union(vendor("backupco"), {"scopes": ["documents:*"]}), "documents:write", document("acme")), "scope_missing")
}

# Relations.

test_relation_grants_its_verbs[note] if {
	some note, row in {
		"owner reads": ["heidi", "documents:read"],
		"owner deletes": ["heidi", "documents:delete"],
		"editor reads": ["portal", "documents:read"],
		"editor writes": ["portal", "documents:write"],
		"viewer reads": ["frank", "documents:read"],
		"verb alone": ["frank", "read"],
		"last part is the verb": ["frank", "documents:drafts:read"],
	}
	allowed(ask(user(row[0]), row[1], plan), "relation")
}

test_relation_does_not_grant_other_verbs[note] if {
	some note, row in {
		"viewer writes": ["frank", "documents:write"],
		"editor deletes": ["portal", "documents:delete"],
		"verb in the middle": ["frank", "documents:read:delete"],
		"wildcard": ["frank", "documents:*"],
		"no verb": ["frank", "documents:"],
	}
	refused(ask(user(row[0]), row[1], plan), "resource_org_missing")
}

test_relation_grants_across_orgs if allowed(ask(user("heidi"), "documents:delete", plan_in("acme")), "relation")

test_relation_grants_a_member_without_role if {
	allowed(ask(user("frank"), "documents:read", plan_in("acme")), "relation")
	refused(ask(user("frank"), "documents:write", plan_in("acme")), "role_missing")
}

test_relation_of_another_user_grants_nothing if {
	refused(ask(user("erin"), "documents:read", plan), "resource_org_missing")
	refused(ask(user("alice"), "documents:read", plan_in("globex")), "not_a_member")
}

test_relation_of_a_user_is_none_of_a_client if {
	known := replaced(facts, "/clients/heidi", {"status": "active", "scopes": ["documents:*"]})
	refused_in(known, ask(client("heidi"), "documents:read", plan), "resource_org_missing")
}

test_relation_to_one_resource_is_none_to_another if {
	refused(ask(user("heidi"), "documents:read", document("acme")), "not_a_member")
	refused(ask(user("heidi"), "documents:read", {"type": "folder", "id": "plan"}), "resource_org_missing")
}

test_relation_of_an_id_that_looks_like_a_path_grants_nothing if {
	known := replaced(facts, "/users/frank~1..~1heidi", {"status": "active"})
	refused_in(known, ask(user("frank/../heidi"), "documents:read", plan), "resource_org_missing")
	refused(ask(user("heidi"), "documents:read", {"type": "document", "id": "plan/owner/user:heidi"}), "resource_org_missing")
	refused(ask(user("heidi"), "documents:read", {"type": "document/plan", "id": "owner"}), "resource_org_missing")
}

test_relation_that_is_not_in_the_table_grants_nothing if {
	known := replaced(facts, "/relations/document/plan/admirer", {"user:erin": {}})
	refused_in(known, ask(user("erin"), "documents:read", plan), "resource_org_missing")
}

test_relation_needs_an_active_principal if refused(ask(user("gone"), "documents:read", plan), "principal_inactive")

test_relation_needs_the_scope if {
	refused(ask(object.union(user("heidi"), {"scopes": ["documents:write"]}), "documents:read", plan), "scope_missing")
	refused(ask(object.union(user("heidi"), {"scopes": []}), "documents:read", plan_in("acme")), "scope_missing")
}

test_relation_needs_the_clients_scope if {
	allowed(ask(client("stray"), "documents:write", plan_in("acme")), "relation")
	known := replaced(facts, "/clients/stray/scopes", ["documents:read"])
	refused_in(known, ask(client("stray"), "documents:write", plan_in("acme")), "scope_missing")
	refused_in(known, ask(client("stray"), "documents:write", plan), "scope_missing")
}

test_relation_needs_the_acting_client if {
	refused(ask(object.union(user("heidi"), {"azp": "off"}), "documents:read", plan), "client_inactive")
	bound := replaced(facts, "/clients/stray/org", "globex")
	refused_in(bound, ask(object.union(user("heidi"), {"azp": "stray"}), "documents:read", plan_in("acme")), "client_not_in_org")
	allowed(ask(object.union(user("heidi"), {"azp": "portal"}), "documents:read", plan_in("acme")), "relation")
	allowed(ask(object.union(user("heidi"), {"azp": "portal"}), "documents:read", plan), "relation")
}

test_relation_needs_an_active_org if {
	refused(ask(user("heidi"), "documents:read", plan_in("initech")), "not_a_member")
	refused(ask(user("heidi"), "documents:read", plan_in("hooli")), "not_a_member")
	known := replaced(facts, "/orgs/acme/profile/status", "suspended")
	refused_in(known, ask(user("bob"), "documents:read", plan_in("acme")), "org_suspended")
}

test_relation_does_not_lift_a_suspended_membership if {
	refused(ask(user("carol"), "documents:read", plan_in("acme")), "member_suspended")
}

test_relation_of_a_key_needs_its_org_and_its_owner if {
	known := replaced(facts, "/orgs/acme/members/alice/roles", ["developer"])
	allowed_in(known, ask(apikey("acme-key"), "documents:write", plan_in("acme")), "relation")
	refused_in(known, ask(apikey("acme-key"), "documents:write", plan_in("globex")), "wrong_org")
	refused_in(known, ask(apikey("acme-key"), "documents:write", plan), "wrong_org")
	demoted := replaced(facts, "/orgs/acme/members/alice/roles", ["viewer"])
	refused_in(demoted, ask(apikey("acme-key"), "documents:write", plan_in("acme")), "owner_not_developer")
}

test_relation_does_not_replace_a_vendors_integration if {
	allowed(ask(vendor("backupco"), "documents:read", plan), "relation")
	refused(ask(vendor("backupco"), "documents:read", plan_in("globex")), "vendor_not_authorized")
	refused(ask(object.union(vendor("backupco"), {"scopes": []}), "documents:read", plan), "scope_missing")
	known := replaced(facts, "/relations/document/plan/viewer/vendor:stoppedco", {})
	refused_in(known, ask(vendor("stoppedco"), "documents:read", plan_in("acme")), "vendor_not_authorized")
}

test_verbs_of_relations if {
	access.relation_verbs == {"owner": ["*"], "editor": ["read", "write"], "viewer": ["read"]}
}

test_relation_of_a_tenant_wide_key_needs_its_owner_where_there_is_an_org if {
	known := replaced(facts, "/relations/document/plan/viewer", {"apikey:alice-everywhere": {}, "apikey:tenant-key": {}})
	allowed_in(known, ask(apikey("tenant-key"), "documents:read", plan), "relation")
	allowed_in(known, ask(apikey("alice-everywhere"), "documents:read", plan), "relation")
	refused_in(known, ask(apikey("alice-everywhere"), "documents:read", plan_in("globex")), "owner_not_developer")
	disabled := replaced(known, "/users/alice/status", "disabled")
	refused_in(disabled, ask(apikey("alice-everywhere"), "documents:read", plan), "principal_inactive")
}
