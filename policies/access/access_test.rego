package mandate.access_test

import data.mandate.access

# Who may ask.

by(caller) := asked_by(ask(user("alice"), "documents:read", document("acme")), caller)

about_itself(principal, resource) := {
	"subject": {"type": "credential", "id": "caller"},
	"action": {"name": "documents:read"},
	"resource": resource,
	"principal": principal,
	"caller": principal,
}

test_anyone_may_ask_about_itself if allowed(about_itself(user("alice"), document("acme")), "role")

test_caller_with_decide_may_ask_about_others if allowed(by({"type": "client", "sub": "x", "scopes": ["decide"]}), "role")

test_caller_with_manage_may_ask_about_others if allowed(by({"type": "apikey", "sub": "x", "scopes": ["manage"]}), "role")

test_caller_bound_to_org_may_ask_about_its_resources if {
	allowed(by({"type": "client", "sub": "x", "org": "acme", "scopes": ["decide"]}), "role")
}

test_caller_not_permitted[name] if {
	some name, caller in {
		"no scopes": user("alice"),
		"empty scopes": {"type": "client", "sub": "x", "scopes": []},
		"another scope": {"type": "client", "sub": "x", "scopes": ["documents:read"]},
		"wildcard is no decide": {"type": "client", "sub": "x", "scopes": ["*", "decide:*", "dec*"]},
		"scopes as text": {"type": "client", "sub": "x", "scopes": "decide"},
		"scopes as object": {"type": "client", "sub": "x", "scopes": {"a": "decide"}},
		"bound to another org": {"type": "client", "sub": "x", "org": "globex", "scopes": ["decide"]},
		"bound to false": {"type": "client", "sub": "x", "org": false, "scopes": ["decide"]},
		"bound to null": {"type": "client", "sub": "x", "org": null, "scopes": ["decide"]},
		"no sub": {"type": "client", "scopes": ["decide"]},
		"no type": {"sub": "x", "scopes": ["decide"]},
		"number as sub": {"type": "client", "sub": 1, "scopes": ["decide"]},
		"null": null,
		"text": "gateway",
	}
	refused(by(caller), "caller_not_permitted")
}

test_caller_absent_is_not_permitted if {
	refused(without(by(gateway), "/caller"), "caller_not_permitted")
	refused(without(about_itself(user("alice"), document("acme")), "/caller"), "caller_not_permitted")
}

test_bound_caller_may_not_ask_about_a_resource_without_org if {
	caller := {"type": "client", "sub": "x", "org": "acme", "scopes": ["decide"]}
	refused(asked_by(ask(user("bob"), "documents:read", plan), caller), "caller_not_permitted")
}

test_caller_refusal_is_uniform if {
	refusals := {decide(asked_by(ask(user(id), "documents:read", document(org)), user("bob")), facts) |
		some id in ["alice", "bob", "nobody"]
		some org in ["acme", "initech", "hooli"]
	}
	count(refusals) == 1
}

test_caller_without_decide_may_not_present_a_credential if {
	question := replaced(about_itself(user("alice"), document("acme")), "/subject/id", "authorization")
	refused(question, "caller_not_permitted")
}

test_user_named_like_the_caller_is_not_itself if {
	refused(asked_by(ask(user("caller"), "documents:read", document("acme")), user("alice")), "caller_not_permitted")
}

# Malformed questions.

test_malformed_question_is_refused[name] if {
	some name, change in {
		"action absent": {"op": "remove", "path": "/action"},
		"action name absent": {"op": "remove", "path": "/action/name"},
		"action name number": {"op": "add", "path": "/action/name", "value": 1},
		"action name null": {"op": "add", "path": "/action/name", "value": null},
		"action name array": {"op": "add", "path": "/action/name", "value": ["documents:read"]},
		"action name false": {"op": "add", "path": "/action/name", "value": false},
		"action name empty": {"op": "add", "path": "/action/name", "value": ""},
		"resource absent": {"op": "remove", "path": "/resource"},
		"resource text": {"op": "add", "path": "/resource", "value": "report"},
		"resource type number": {"op": "add", "path": "/resource/type", "value": 1},
		"resource id absent": {"op": "remove", "path": "/resource/id"},
		"resource id null": {"op": "add", "path": "/resource/id", "value": null},
		"resource id array": {"op": "add", "path": "/resource/id", "value": ["report"]},
		"properties array": {"op": "add", "path": "/resource/properties", "value": ["org"]},
		"properties null": {"op": "add", "path": "/resource/properties", "value": null},
		"properties false": {"op": "add", "path": "/resource/properties", "value": false},
		"org number": {"op": "add", "path": "/resource/properties/org", "value": 1},
		"org null": {"op": "add", "path": "/resource/properties/org", "value": null},
		"org false": {"op": "add", "path": "/resource/properties/org", "value": false},
		"org empty": {"op": "add", "path": "/resource/properties/org", "value": ""},
		"org array": {"op": "add", "path": "/resource/properties/org", "value": ["acme"]},
		"org object": {"op": "add", "path": "/resource/properties/org", "value": {"acme": true}},
		"principal type number": {"op": "add", "path": "/principal/type", "value": 1},
		"principal sub number": {"op": "add", "path": "/principal/sub", "value": 1},
		"principal sub null": {"op": "add", "path": "/principal/sub", "value": null},
		"principal sub array": {"op": "add", "path": "/principal/sub", "value": ["alice"]},
		"principal sub empty": {"op": "add", "path": "/principal/sub", "value": ""},
		"principal org null": {"op": "add", "path": "/principal/org", "value": null},
		"principal org false": {"op": "add", "path": "/principal/org", "value": false},
		"principal azp false": {"op": "add", "path": "/principal/azp", "value": false},
		"principal azp number": {"op": "add", "path": "/principal/azp", "value": 7},
		"scopes false": {"op": "add", "path": "/principal/scopes", "value": false},
		"scopes null": {"op": "add", "path": "/principal/scopes", "value": null},
		"scopes text": {"op": "add", "path": "/principal/scopes", "value": "documents:read"},
		"scopes object": {"op": "add", "path": "/principal/scopes", "value": {"0": "documents:read"}},
	}
	refused(patched(ask(user("alice"), "documents:read", document("acme")), change), "request_malformed")
}

test_malformed_org_is_not_passed_over_for_a_relation if {
	refused(ask(user("bob"), "documents:read", plan_in(null)), "request_malformed")
	refused(ask(user("bob"), "documents:read", plan_in(false)), "request_malformed")
}

test_empty_question_is_refused if refused({}, "caller_not_permitted")

test_input_that_is_no_object_is_refused if {
	refused(null, "caller_not_permitted")
	refused([], "caller_not_permitted")
	refused("allow", "caller_not_permitted")
}

test_absent_input_is_refused if access.decision.allow == false

test_ids_that_look_like_paths_lead_nowhere[id] if {
	some id in ["../alice", "alice/../alice", "/users/alice", "users/alice", "alice/status", "alice%2f..", "~1alice", "*", "_", "acme/members/alice"]
	refused(ask(user(id), "documents:read", document("acme")), "principal_inactive")
	refused(ask(user("alice"), "documents:read", document(id)), "not_a_member")
}

test_scopes_of_other_types_cover_nothing if {
	principal := object.union(user("alice"), {"scopes": [1, null, true, ["documents:read"], {"documents:read": true}]})
	refused(ask(principal, "documents:read", document("acme")), "scope_missing")
}

# The resource's organization.

test_organization_is_its_own_org if {
	allowed(ask(user("alice"), "organization:read", {"type": "organization", "id": "acme"}), "role")
	allowed(ask(user("alice"), "organization:read", {"type": "organization", "id": "acme", "properties": {"org": "acme"}}), "role")
}

test_organization_cannot_claim_another_org if {
	question := ask(user("alice"), "organization:delete", {"type": "organization", "id": "globex", "properties": {"org": "acme"}})
	refused(question, "request_malformed")
}

test_resource_org_missing if {
	refused(ask(user("alice"), "documents:read", {"type": "document", "id": "report"}), "resource_org_missing")
	refused(ask(user("alice"), "documents:read", {"type": "document", "id": "report", "properties": {}}), "resource_org_missing")
	refused(ask(client("acme-sync"), "documents:read", {"type": "document", "id": "report"}), "resource_org_missing")
	refused(ask(apikey("tenant-key"), "documents:read", {"type": "document", "id": "report"}), "resource_org_missing")
	refused(ask(vendor("backupco"), "documents:read", {"type": "document", "id": "report"}), "resource_org_missing")
}

# The principal.

test_principal_unknown if {
	refused(without(ask(user("alice"), "documents:read", document("acme")), "/principal"), "principal_unknown")
	refused(replaced(ask(user("alice"), "documents:read", document("acme")), "/principal", null), "principal_unknown")
	refused(replaced(ask(user("alice"), "documents:read", document("acme")), "/principal", "alice"), "principal_unknown")
}

test_principal_unsupported if {
	refused(ask({"type": "workload", "sub": "alice"}, "documents:read", document("acme")), "principal_unsupported")
	refused(ask({"type": "User", "sub": "alice"}, "documents:read", document("acme")), "principal_unsupported")
	refused(ask({"type": "user:alice", "sub": "alice"}, "documents:read", document("acme")), "principal_unsupported")
}

test_disabled_user_is_inactive if refused(ask(user("gone"), "documents:read", document("acme")), "principal_inactive")

test_disabled_client_is_inactive if refused(ask(client("off"), "documents:read", document("acme")), "principal_inactive")

test_revoked_key_is_inactive if refused(ask(apikey("revoked-key"), "documents:read", document("acme")), "principal_inactive")

test_suspended_vendor_is_inactive if refused(ask(vendor("closedco"), "documents:read", document("acme")), "principal_inactive")

test_principal_without_a_record_is_inactive if {
	some make in ["user", "client", "apikey", "vendor"]
	refused(ask({"type": make, "sub": "nobody"}, "documents:read", document("acme")), "principal_inactive")
}

test_user_named_like_a_key_is_no_key if {
	refused(ask(user("acme-key"), "documents:read", document("acme")), "principal_inactive")
	refused(ask(apikey("alice"), "documents:read", document("acme")), "principal_inactive")
}

test_disabled_user_is_not_active_as_a_vendor_of_the_same_id if {
	known := replaced(
		replaced(facts, "/users/backupco", {"status": "disabled"}),
		"/orgs/acme/members/backupco", {"roles": ["admin"], "status": "active"},
	)
	refused_in(known, ask(user("backupco"), "documents:read", document("acme")), "principal_inactive")
}

# Audiences of presented tokens.

presented(caller, aud) := replaced(
	asked_by(ask(object.union(user("alice"), {"aud": aud}), "documents:read", document("acme")), caller),
	"/subject", {"type": "credential", "id": "authorization"},
)

test_token_for_an_audience_of_the_caller_is_welcome if {
	allowed(presented(gateway, ["https://other.example", "https://documents.example"]), "role")
	allowed(presented(gateway, "https://documents.example"), "role")
}

test_token_for_another_audience_is_refused if {
	refused(presented(gateway, ["https://other.example"]), "audience_mismatch")
	refused(presented(gateway, "https://other.example"), "audience_mismatch")
	refused(presented(gateway, []), "audience_mismatch")
	refused(presented(gateway, null), "audience_mismatch")
	refused(presented(gateway, {"a": "https://documents.example"}), "audience_mismatch")
}

test_key_with_audiences_is_bound_by_them if {
	documents_key := {"type": "apikey", "sub": "documents-key", "scopes": ["decide"]}
	allowed(presented(documents_key, ["https://documents.example"]), "role")
	refused(presented(documents_key, ["https://other.example"]), "audience_mismatch")
}

test_client_without_audiences_may_present_any_token if {
	allowed(presented({"type": "client", "sub": "plain-gateway", "scopes": ["decide"]}, ["https://other.example"]), "role")
}

test_key_without_audiences_may_present_any_token if {
	allowed(presented({"type": "apikey", "sub": "gateway", "scopes": ["decide"]}, ["https://other.example"]), "role")
}

test_credential_without_audience_may_be_presented if {
	question := without(presented(gateway, []), "/principal/aud")
	allowed(question, "role")
}

test_audience_binds_presented_tokens_only if {
	elsewhere := presented(gateway, ["https://other.example"])
	allowed(replaced(elsewhere, "/subject", {"type": "credential", "id": "caller"}), "role")
	allowed(replaced(elsewhere, "/subject", {"type": "user", "id": "authorization"}), "role")
	allowed(ask(object.union(user("alice"), {"aud": ["https://other.example"]}), "documents:read", document("acme")), "role")
}

# Confinement.

test_principal_bound_to_the_org_is_allowed if {
	allowed(ask(object.union(user("alice"), {"org": "acme"}), "documents:read", document("acme")), "role")
}

test_principal_bound_to_another_org_is_refused if {
	refused(ask(object.union(user("alice"), {"org": "globex"}), "documents:read", document("acme")), "wrong_org")
}

test_bound_principal_needs_a_resource_of_its_org if {
	refused(ask(object.union(user("bob"), {"org": "acme"}), "documents:read", plan), "wrong_org")
}

test_relation_does_not_lift_confinement if {
	refused(ask(object.union(user("heidi"), {"org": "globex"}), "documents:read", plan_in("acme")), "wrong_org")
}

# Organizations.

test_suspended_org_is_refused_to_its_members if refused(ask(user("alice"), "documents:read", document("initech")), "org_suspended")

test_suspended_org_is_refused_to_its_vendors if refused(ask(vendor("backupco"), "documents:read", document("initech")), "org_suspended")

test_suspended_org_is_refused_to_its_clients if refused(ask(client("portal"), "documents:read", document("initech")), "org_suspended")

test_suspended_org_is_refused_to_tenant_wide_keys if {
	refused(ask(apikey("tenant-key"), "documents:read", document("initech")), "org_suspended")
}

test_org_without_profile_is_refused if {
	refused(ask(user("alice"), "documents:read", document("noprofile")), "not_a_member")
	refused(ask(client("portal"), "documents:read", document("noprofile")), "client_not_in_org")
	refused(ask(apikey("tenant-key"), "documents:read", document("noprofile")), "not_a_member")
}

test_org_of_another_status_is_refused if {
	known := replaced(facts, "/orgs/acme/profile/status", "closing")
	refused_in(known, ask(user("alice"), "documents:read", document("acme")), "org_suspended")
}

# An outsider cannot tell an active, a suspended, and an unknown organization from each other.
test_org_is_not_revealed_to_outsiders[name] if {
	some name, principal in {
		"user": user("bob"),
		"user with a token": object.union(user("bob"), {"azp": "acme-sync", "scopes": []}),
		"bound user": object.union(user("bob"), {"org": "acme"}),
		"client": client("acme-sync"),
		"key": apikey("machine-key"),
		"vendor": vendor("stoppedco"),
		"tenant-wide key with an owner": apikey("alice-everywhere"),
	}
	known := without(facts, "/orgs/initech/members/alice")
	answers := {decide(ask(principal, "documents:read", document(org)), known) | some org in ["globex", "initech", "hooli"]}
	count(answers) == 1
	some answer in answers
	answer.allow == false
}

test_org_is_not_revealed_by_a_shared_resource if {
	answers := {decide(ask(user("heidi"), "documents:read", plan_in(org)), facts) | some org in ["initech", "hooli"]}
	count(answers) == 1
	some answer in answers
	answer.allow == false
}
