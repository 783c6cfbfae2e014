package mandate.manage_test

import data.mandate.manage

ask(caller, resource) := {
	"subject": {"type": "credential", "id": "caller"},
	"action": {"name": "members:write"},
	"resource": resource,
	"caller": caller,
	"principal": caller,
}

decide(question) := result if result := manage.decision with input as question

allowed(question) if {
	result := decide(question)
	result.allow == true
	result.reasons[0].code == "scope"
	result.obligations == []
}

refused(question, code) if {
	result := decide(question)
	result.allow == false
	count(result.reasons) == 1
	result.reasons[0].code == code
	result.reasons[0].message != ""
	result.obligations == []
}

manager := {"type": "apikey", "sub": "tenant-admin", "scopes": ["manage"]}

acme_manager := {"type": "client", "sub": "acme-admin", "org": "acme", "scopes": ["documents:read", "manage"]}

member(org) := {"type": "member", "id": "bob", "properties": {"org": org}}

organization(id) := {"type": "organization", "id": id}

test_manager_may_change_everything if {
	allowed(ask(manager, member("acme")))
	allowed(ask(manager, organization("globex")))
	allowed(ask(manager, {"type": "user", "id": "bob"}))
	allowed(ask(manager, {"type": "organization"}))
}

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
}

test_gateway_may_not_query_what_decisions_rest_on[path] if {
	some path in ["mandate", "mandate/access", "mandate/access/client", "mandate/access/decision/allow", "mandate/request/has"]
	refused(query_for(gateway, path), "scope_missing")
	allowed(query_for(manager, path))
}

test_bound_manager_may_change_its_org if {
	allowed(ask(acme_manager, member("acme")))
	allowed(ask(acme_manager, organization("acme")))
}

test_bound_manager_is_refused_elsewhere if {
	refused(ask(acme_manager, member("globex")), "wrong_org")
	refused(ask(acme_manager, organization("globex")), "wrong_org")
	refused(ask(acme_manager, {"type": "user", "id": "bob"}), "wrong_org")
	refused(ask(acme_manager, {"type": "organization"}), "wrong_org")
}

test_organization_cannot_claim_another_org if {
	refused(ask(acme_manager, {"type": "organization", "id": "globex", "properties": {"org": "acme"}}), "request_malformed")
	refused(ask(acme_manager, {"type": "organization", "properties": {"org": "acme"}}), "wrong_org")
}

test_caller_without_manage_is_refused[name] if {
	some name, scopes in {
		"none": [],
		"decide": ["decide"],
		"star": ["*"],
		"wildcard": ["manage:*", "man*"],
		"case": ["Manage"],
		"text": "manage",
		"object": {"a": "manage"},
		"null": null,
		"false": false,
	}
	refused(ask({"type": "client", "sub": "x", "scopes": scopes}, member("acme")), "scope_missing")
}

test_caller_without_a_list_of_scopes_is_refused if {
	refused(ask({"type": "user", "sub": "alice"}, member("acme")), "scope_missing")
}

test_unknown_caller_is_refused if {
	refused(json.remove(ask(manager, member("acme")), ["/caller"]), "scope_missing")
	refused(ask(null, member("acme")), "scope_missing")
	refused(ask({"type": "client", "sub": 1, "scopes": ["manage"]}, member("acme")), "scope_missing")
}

test_caller_bound_to_no_text_is_refused[name] if {
	some name, org in {"null": null, "false": false, "empty": "", "number": 1, "array": ["acme"]}
	refused(ask({"type": "client", "sub": "x", "org": org, "scopes": ["manage"]}, member("acme")), "wrong_org")
}

test_malformed_question_is_refused[name] if {
	some name, change in {
		"action absent": {"op": "remove", "path": "/action"},
		"action name number": {"op": "add", "path": "/action/name", "value": 1},
		"resource absent": {"op": "remove", "path": "/resource"},
		"resource type null": {"op": "add", "path": "/resource/type", "value": null},
		"properties array": {"op": "add", "path": "/resource/properties", "value": []},
		"org null": {"op": "add", "path": "/resource/properties/org", "value": null},
		"org number": {"op": "add", "path": "/resource/properties/org", "value": 1},
	}
	refused(json.patch(ask(manager, member("acme")), [change]), "request_malformed")
}

test_empty_question_is_refused if {
	refused({}, "scope_missing")
	refused(null, "scope_missing")
}

test_absent_input_is_refused if manage.decision.allow == false
