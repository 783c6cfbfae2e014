package mandate.manage_test

import data.mandate.manage

token(properties) := {"type": "token", "id": "t", "properties": object.union({"client_id": "web", "aud": ["https://documents.example"]}, properties)}

records := {
	"clients": {
		"documents-api": {"audiences": ["https://documents.example", "https://drafts.example"]},
		"billing-api": {"audiences": ["https://billing.example"]},
		"acme-api": {"org": "acme", "audiences": ["https://documents.example"]},
		"gateway": {},
		"acme-gateway": {"org": "acme"},
		"several": {"orgs": ["acme", "globex"]},
	},
	"apikeys": {"documents-key": {"audiences": ["https://documents.example"]}, "gateway-key": {"audiences": []}, "web": {"audiences": ["https://billing.example"]}},
}

introspects(caller, properties) := result if {
	question := {"action": {"name": "tokens.introspect"}, "resource": token(properties), "caller": caller}
	result := manage.decision with input as question with data.clients as records.clients with data.apikeys as records.apikeys
}

sees(caller, properties) if introspects(caller, properties).allow == true

hidden(caller, properties, code) if {
	result := introspects(caller, properties)
	result.allow == false
	result.reasons[0].code == code
}

calling(id, scopes) := {"type": "client", "sub": id, "scopes": scopes}

test_token_of_others_is_hidden[name] if {
	some name, caller in {
		"another client": calling("partner", ["documents:read"]),
		"resource server of another audience": calling("billing-api", []),
		"client that may get tokens for the audience": calling("documents-api", ["documents:read"]),
		"of another audience, with decide": calling("billing-api", ["decide", "manage"]),
		"no audience and no scope": calling("gateway", []),
		"wildcards": calling("gateway", ["*", "decide:*"]),
		"key named like the client": {"type": "apikey", "sub": "web", "scopes": ["decide"]},
		"user named like the client": {"type": "user", "sub": "web"},
		"user named like a resource server": {"type": "user", "sub": "documents-api", "scopes": ["decide"]},
		"unknown, with decide": {"type": "apikey", "sub": "nobody", "scopes": ["decide"]},
		"null": null,
		"nobody": {},
	}
	hidden(caller, {}, "token_of_others")
}

test_client_sees_its_own_token if {
	sees(calling("web", []), {})
	sees(calling("several", []), {"client_id": "several"})
	sees(calling("acme-api", []), {"client_id": "acme-api", "aud": ["https://billing.example"]})
}

test_resource_server_sees_tokens_for_it if {
	sees(calling("documents-api", ["decide"]), {})
	sees(calling("documents-api", ["decide"]), {"aud": ["https://billing.example", "https://drafts.example"]})
	sees({"type": "apikey", "sub": "documents-key", "scopes": ["decide"]}, {"org": "acme"})
	hidden(calling("documents-api", ["decide"]), {"aud": []}, "token_of_others")
	hidden(calling("documents-api", ["decide"]), {"aud": null}, "token_of_others")
}

test_caller_without_audiences_stands_for_every_api if {
	sees(calling("gateway", ["decide"]), {})
	sees(calling("gateway", ["manage"]), {"aud": null})
	sees({"type": "apikey", "sub": "gateway-key", "scopes": ["decide"]}, {})
}

test_bound_caller_sees_tokens_of_its_org if {
	sees(calling("acme-api", ["decide"]), {"org": "acme"})
	sees(calling("acme-gateway", ["decide"]), {"org": "acme"})
	hidden(calling("acme-api", ["decide"]), {"org": "globex"}, "wrong_org")
	hidden(calling("acme-api", ["decide"]), {}, "wrong_org")
	hidden(calling("acme-gateway", ["manage"]), {"org": "globex"}, "wrong_org")
	hidden(object.union(calling("documents-api", ["decide"]), {"org": "acme"}), {"org": "globex"}, "wrong_org")
}

test_malformed_question_about_a_token_is_refused if hidden(calling("web", []), {"org": null}, "request_malformed")

test_scope_for_tokens_is_for_them_only if {
	refused(ask(calling("gateway", ["decide"]), member("acme")), "scope_missing") with data.clients as records.clients
}
