package mandate.request_test

import data.mandate.request

org_of(resource) := result if result := request.resource_org with input as {"resource": resource}

no_org(resource) if not org_of(resource)

test_org_of_a_resource_is_in_its_properties if org_of({"type": "document", "id": "report", "properties": {"org": "acme"}}) == "acme"

test_org_of_an_organization_is_itself if {
	org_of({"type": "organization", "id": "acme"}) == "acme"
	org_of({"type": "organization", "id": "acme", "properties": {"org": "acme"}}) == "acme"
}

test_organization_that_claims_another_org_has_none[name] if {
	some name, org in {"another": "globex", "null": null, "false": false, "number": 1, "array": ["acme"]}
	no_org({"type": "organization", "id": "acme", "properties": {"org": org}})
}

test_org_that_is_no_text_is_none[name] if {
	some name, org in {"null": null, "false": false, "number": 1, "array": ["acme"], "object": {"acme": true}, "empty": ""}
	no_org({"type": "document", "id": "report", "properties": {"org": org}})
	no_org({"type": "organization", "id": org})
}

test_org_is_not_found_elsewhere if {
	no_org({"type": "document", "id": "report"})
	no_org({"type": "document", "id": "report", "org": "acme"})
	no_org({"type": "Organization", "id": "acme"})
	no_org("acme")
}

test_member_that_is_false_is_there if {
	request.has({"org": false}, "org")
	request.has({"org": null}, "org")
	not request.has({}, "org")
	not request.has("org", "org")
}

test_caller_holds_scopes_by_name if {
	request.caller_holds("decide") with input.caller as {"type": "client", "sub": "x", "scopes": ["decide"]}
	not request.caller_holds("decide") with input.caller as {"type": "client", "sub": "x", "scopes": ["*"]}
	not request.caller_holds("decide") with input.caller as {"type": "client", "sub": "x", "scopes": {"a": "decide"}}
	not request.caller_holds("decide") with input.caller as {"type": "client", "sub": "x"}
}

# Which organizations a caller reaches.

reaches(caller, org) if {
	request.in_callers_org with input as {"caller": caller, "resource": {"type": "organization", "id": org}}
		with data.clients as {
			"home": {"org": "acme"},
			"many": {"org": "acme", "orgs": ["globex"]},
			"guest": {"orgs": ["globex"]},
			"nowhere": {"orgs": []},
			"everywhere": {},
		}
}

test_client_reaches_the_organizations_of_its_record[name] if {
	some name, orgs in {"home": ["acme"], "many": ["acme", "globex"], "guest": ["globex"], "nowhere": [], "everywhere": ["acme", "globex", "hooli"]}
	found := [org | some org in ["acme", "globex", "hooli"]; reaches({"type": "client", "sub": name}, org)]
	found == orgs
}

test_bound_client_reaches_its_one_organization if {
	reaches({"type": "client", "sub": "many", "org": "globex"}, "globex")
	not reaches({"type": "client", "sub": "many", "org": "globex"}, "acme")
}

test_key_named_like_a_client_is_not_bound_by_it if reaches({"type": "apikey", "sub": "guest"}, "acme")
