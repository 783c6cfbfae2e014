package mandate.tokens_test

import data.mandate.tokens

# The whole document of a token.

test_token_for_an_api if {
	result := decide(ask("acme-sync", documents, {}))
	message := result.reasons[0].message
	result == {
		"allow": true,
		"reasons": [{"code": "scope", "message": message}],
		"obligations": [],
		"scopes": ["documents:read", "documents:write"],
		"lifetime": 300,
		"claims": {},
		"org": "acme",
	}
}

# The request and the client.

test_other_grant_types_are_unsupported[grant] if {
	some grant in ["implicit", "Client_Credentials", "urn:ietf:params:oauth:grant-type:saml2-bearer", "present"]
	refused(ask("acme-sync", documents, {"grant_type": grant}), "unsupported_grant_type")
}

test_client_without_the_grant_type_is_unauthorized if {
	refused(ask("web", documents, {}), "unauthorized_client")
	refused_in(json.remove(facts, ["/clients/acme-sync/grant_types"]), ask("acme-sync", documents, {}), "unauthorized_client")
}

test_inactive_client_is_unauthorized if refused(ask("off", documents, {}), "unauthorized_client")

test_unknown_client_is_unauthorized if {
	refused(ask("nobody", documents, {}), "unauthorized_client")
	refused(ask("../acme-sync", documents, {}), "unauthorized_client")
}

test_client_that_does_not_authenticate_is_unauthorized if {
	known := changed(facts, "/clients/acme-sync/token_endpoint_auth_method", "none")
	refused_in(known, ask("acme-sync", documents, {}), "unauthorized_client")
}

test_principal_that_is_no_client_is_unauthorized[type] if {
	some type in ["user", "apikey", "vendor", "workload"]
	refused(changed(ask("acme-sync", documents, {}), "/principal/type", type), "unauthorized_client")
}

test_client_gets_no_token_for_another_client if {
	refused(changed(ask("acme-sync", documents, {}), "/caller/sub", "roaming"), "unauthorized_client")
	refused(changed(ask("acme-sync", documents, {}), "/caller/type", "user"), "unauthorized_client")
	refused(json.remove(ask("acme-sync", documents, {}), ["/caller"]), "unauthorized_client")
}

test_malformed_request_is_invalid[name] if {
	some name, change in {
		"principal absent": {"op": "remove", "path": "/principal"},
		"principal null": {"op": "add", "path": "/principal", "value": null},
		"sub number": {"op": "add", "path": "/principal/sub", "value": 1},
		"sub array": {"op": "add", "path": "/principal/sub", "value": ["acme-sync"]},
		"caller sub number": {"op": "add", "path": "/caller/sub", "value": 1},
		"principal org false": {"op": "add", "path": "/principal/org", "value": false},
		"principal connection null": {"op": "add", "path": "/principal/connection", "value": null},
		"principal scopes text": {"op": "add", "path": "/principal/scopes", "value": "documents:read"},
		"principal scopes null": {"op": "add", "path": "/principal/scopes", "value": null},
		"actor scopes text": {"op": "add", "path": "/actor", "value": {"type": "client", "sub": "acme-sync", "scopes": "documents:read"}},
		"stage absent": {"op": "remove", "path": "/request/stage"},
		"stage unknown": {"op": "add", "path": "/request/stage", "value": "issued"},
		"stage null": {"op": "add", "path": "/request/stage", "value": null},
		"grant type absent": {"op": "remove", "path": "/request/grant_type"},
		"grant type while presented": {"op": "add", "path": "/request/stage", "value": "present"},
		"request absent": {"op": "remove", "path": "/request"},
		"request null": {"op": "add", "path": "/request", "value": null},
		"grant type null": {"op": "add", "path": "/request/grant_type", "value": null},
		"issuer absent": {"op": "remove", "path": "/request/issuer"},
		"audience absent": {"op": "remove", "path": "/request/audience"},
		"audience array": {"op": "add", "path": "/request/audience", "value": ["https://documents.example"]},
		"audience empty": {"op": "add", "path": "/request/audience", "value": ""},
		"api number": {"op": "add", "path": "/request/api", "value": 1},
		"api false": {"op": "add", "path": "/request/api", "value": false},
		"org null": {"op": "add", "path": "/request/org", "value": null},
		"org false": {"op": "add", "path": "/request/org", "value": false},
		"org empty": {"op": "add", "path": "/request/org", "value": ""},
		"scopes text": {"op": "add", "path": "/request/scopes", "value": "documents:read"},
		"scopes false": {"op": "add", "path": "/request/scopes", "value": false},
		"scopes null": {"op": "add", "path": "/request/scopes", "value": null},
		"scopes object": {"op": "add", "path": "/request/scopes", "value": {"a": "documents:read"}},
		"scope number": {"op": "add", "path": "/request/scopes", "value": ["documents:read", 1]},
		"scope null": {"op": "add", "path": "/request/scopes", "value": [null]},
		"lifetime absent": {"op": "remove", "path": "/request/default_lifetime"},
		"lifetime text": {"op": "add", "path": "/request/default_lifetime", "value": "600"},
		"lifetime zero": {"op": "add", "path": "/request/default_lifetime", "value": 0},
		"lifetime negative": {"op": "add", "path": "/request/default_lifetime", "value": -1},
	}
	refused(json.patch(ask("acme-sync", documents, {}), [change]), "invalid_request")
}

test_empty_question_is_invalid if {
	refused({}, "invalid_request")
	refused(null, "invalid_request")
}

test_absent_input_is_refused if tokens.decision.allow == false

# The target.

test_audience_that_the_client_lacks_is_an_invalid_target if refused(ask("acme-sync", billing, {}), "invalid_target")

test_audience_of_no_api_is_an_invalid_target if {
	refused(ask("acme-sync", {"audience": "https://nobody.example"}, {}), "invalid_target")
	refused(ask("acme-sync", {"audience": "https://unheard.example"}, {}), "invalid_target")
	refused(ask("acme-sync", {"audience": "https://nobody.example", "api": "nobody"}, {}), "invalid_target")
}

test_audience_of_another_api_is_an_invalid_target if {
	refused(ask("acme-sync", {"audience": "https://nobody.example", "api": "documents"}, {}), "invalid_target")
	refused(ask("acme-sync", {"audience": "https://documents.example", "api": "billing"}, {}), "invalid_target")
}

test_audience_that_differs_in_a_slash_is_an_invalid_target if {
	refused(ask("acme-sync", {"audience": "https://documents.example/", "api": "documents"}, {}), "invalid_target")
}

test_token_for_the_issuer_carries_its_scopes_only if {
	result := decide(ask("acme-sync", mandate, {}))
	result.allow == true
	result.scopes == ["decide"]
	decide(ask("globex-only", mandate, {})).scopes == ["decide", "manage"]
}

test_token_for_the_issuer_with_an_apis_scope_is_refused if {
	refused(ask("acme-sync", mandate, {"scopes": ["decide", "documents:read"]}), "invalid_scope")
	refused(ask("acme-sync", mandate, {"scopes": ["manage"]}), "invalid_scope")
	refused(ask("roaming", mandate, {}), "invalid_scope")
}

test_api_with_the_issuers_audience_is_not_the_issuer if {
	refused(ask("acme-sync", {"audience": "https://mandate.example", "api": "impostor"}, {"scopes": ["documents:read"]}), "invalid_scope")
}

# Scopes.

test_asked_scopes_are_granted_sorted_and_once if {
	decide(ask("acme-sync", documents, {"scopes": ["documents:write", "documents:read", "documents:write"]})).scopes == ["documents:read", "documents:write"]
	decide(ask("acme-sync", documents, {"scopes": ["documents:read"]})).scopes == ["documents:read"]
}

test_scope_that_the_client_lacks_is_invalid if {
	question := ask("acme-sync", documents, {"scopes": ["documents:read", "documents:share"]})
	refused(question, "invalid_scope")
	contains(decide(question).reasons[0].message, ": documents:share.")
}

test_scope_that_the_api_lacks_is_invalid if refused(ask("acme-sync", documents, {"scopes": ["decide"]}), "invalid_scope")

test_empty_list_of_scopes_is_invalid if refused(ask("acme-sync", documents, {"scopes": []}), "invalid_scope")

test_client_that_shares_no_scope_with_the_api_is_refused if {
	refused_in(changed(facts, "/clients/acme-sync/scopes", ["billing:read"]), ask("acme-sync", documents, {}), "invalid_scope")
	refused_in(changed(facts, "/apis/documents/scopes", []), ask("acme-sync", documents, {}), "invalid_scope")
	refused_in(json.remove(facts, ["/apis/documents/scopes"]), ask("acme-sync", documents, {}), "invalid_scope")
}

test_wildcards_are_no_scopes_of_tokens if {
	refused(ask("roaming", documents, {}), "invalid_scope")
	refused(ask("roaming", documents, {"scopes": ["documents:read"]}), "invalid_scope")
	refused(ask("acme-sync", documents, {"scopes": ["documents:*"]}), "invalid_scope")
	refused(ask("acme-sync", documents, {"scopes": ["*"]}), "invalid_scope")
}

# The organization.

test_token_is_bound_to_the_org_asked_for if decide(ask("acme-sync", documents, {"org": "globex"})).org == "globex"

test_token_is_bound_to_the_home_org if decide(ask("acme-sync", documents, {})).org == "acme"

test_home_org_need_not_be_among_the_orgs if {
	known := json.remove(facts, ["/clients/acme-sync/orgs"])
	decide_in(known, ask("acme-sync", documents, {})).org == "acme"
}

test_token_is_bound_to_the_only_org if decide(ask("globex-only", billing, {})).org == "globex"

test_token_of_a_client_of_several_orgs_is_bound_to_none if {
	known := changed(facts, "/clients/roaming/scopes", ["documents:read"])
	result := decide_in(known, ask("roaming", documents, {}))
	result.allow == true
	object.keys(result) == {"allow", "reasons", "obligations", "scopes", "lifetime", "claims"}
}

test_token_of_a_client_of_no_org_is_bound_to_none if {
	unbound(ask("homeless", documents, {}))
}

test_org_of_others_is_denied if {
	refused(ask("globex-only", billing, {"org": "acme"}), "access_denied")
	refused(ask("homeless", documents, {"org": "acme"}), "access_denied")
}

test_org_of_others_is_not_revealed if {
	count({decide(ask("homeless", documents, {"org": org})) | some org in ["acme", "initech", "hooli", "../acme"]}) == 1
}

test_suspended_org_is_denied if {
	refused(ask("acme-sync", documents, {"org": "initech"}), "access_denied")
	contains(decide(ask("acme-sync", documents, {"org": "initech"})).reasons[0].message, "suspended")
	not contains(decide(ask("acme-sync", documents, {"org": "hooli"})).reasons[0].message, "suspended")
}

test_suspended_home_org_is_denied if {
	refused(ask("initech-sync", documents, {}), "access_denied")
	decide(ask("initech-sync", documents, {"org": "acme"})).org == "acme"
}

test_home_org_without_profile_is_denied if {
	refused_in(json.remove(facts, ["/orgs/acme"]), ask("acme-sync", documents, {}), "access_denied")
}

test_suspended_only_org_is_denied if {
	refused_in(changed(facts, "/orgs/globex/profile/status", "suspended"), ask("globex-only", billing, {}), "access_denied")
}

# The lifetime.

test_lifetime_of_the_client_goes_first if {
	decide(ask("globex-only", billing, {})).lifetime == 60
	decide_in(changed(facts, "/clients/acme-sync/token_lifetime", 900), ask("acme-sync", documents, {})).lifetime == 900
}

test_lifetime_of_the_api_goes_second if decide(ask("acme-sync", documents, {})).lifetime == 300

test_default_lifetime_goes_last if {
	decide(ask("acme-sync", mandate, {})).lifetime == 600
	decide_in(json.remove(facts, ["/apis/documents/token_lifetime"]), ask("acme-sync", documents, {})).lifetime == 600
}

test_lifetime_that_is_not_positive_is_passed_over if {
	decide_in(changed(facts, "/clients/acme-sync/token_lifetime", 0), ask("acme-sync", documents, {})).lifetime == 300
	decide_in(changed(facts, "/clients/acme-sync/token_lifetime", "forever"), ask("acme-sync", documents, {})).lifetime == 300
}

test_claims_are_none_by_default if decide(ask("acme-sync", documents, {})).claims == {}
