package mandate.tokens_test

code(client, id, more) := by(client, user(id), "authorization_code", more)

in_acme := {"org": "acme"}

consented := ["documents:read", "offline_access", "openid"]

# A token is issued for what the user has agreed to.

test_third_party_needs_consent if {
	refused(code("partner", "bob", in_acme), "invalid_grant")
	refused(code("partner", "alice", {"org": "globex"}), "invalid_grant")
	refused_in(without(facts, "/consents/alice"), code("partner", "alice", in_acme), "invalid_grant")
	refused_in(without(facts, "/consents/alice/partner/orgs/acme"), code("partner", "alice", in_acme), "invalid_grant")
}

test_client_of_no_party_needs_consent if {
	refused_in(without(facts, "/clients/web/party"), code("web", "alice", in_acme), "invalid_grant")
	refused_in(changed(facts, "/clients/web/party", "First"), code("web", "alice", in_acme), "invalid_grant")
}

test_consent_is_for_one_client_and_one_org if {
	known := changed(facts, "/consents/alice/syncco-app", {"orgs": {"globex": {"scopes": {"https://documents.example": ["documents:write"]}}}})
	refused_in(known, by("backupco-app", token_of(member("alice", "acme"), "backupco-app"), exchange, {}), "invalid_grant")
	carries_in(known, code("syncco-app", "alice", {"org": "globex"}), ["documents:write"])
	carries(code("partner", "alice", {}), ["openid"])
}

test_token_is_narrowed_to_the_consent if {
	carries(code("partner", "alice", in_acme), consented)
	refused(code("partner", "alice", {"org": "acme", "scopes": ["documents:write"]}), "invalid_scope")
	patterns := changed(facts, "/consents/alice/partner/orgs/acme/scopes/https:~1~1documents.example", ["documents:*", "*"])
	refused_in(patterns, code("partner", "alice", in_acme), "invalid_scope")
	refused_in(changed(facts, "/consents/alice/partner/orgs/acme/scopes/https:~1~1documents.example", []), code("partner", "alice", in_acme), "invalid_scope")
}

test_consent_does_not_lift_what_else_is_needed if {
	refused(code("partner", "alice", {"org": "initech"}), "access_denied")
	refused_in(changed(facts, "/clients/partner/orgs", ["globex"]), code("partner", "alice", in_acme), "access_denied")
	refused_in(changed(facts, "/orgs/acme/members/alice/status", "suspended"), code("partner", "alice", in_acme), "access_denied")
}

test_first_party_needs_no_consent if carries(code("web", "bob", {"org": "acme", "scopes": ["documents:write"]}), ["documents:write"])

# An enabled integration is as good as consent.

test_integration_is_consent_for_its_client if {
	carries(code("syncco-app", "alice", in_acme), ["documents:read", "openid"])
	refused(code("syncco-app", "alice", {"org": "acme", "scopes": ["documents:write"]}), "invalid_scope")
	refused(code("syncco-app", "alice", {"org": "globex"}), "invalid_grant")
	refused(code("syncco-app", "alice", {}), "invalid_grant")
	refused(code("syncco-app", "bob", in_acme), "invalid_grant")
	refused(code("partner", "bob", in_acme), "invalid_grant")
}

test_integration_may_be_a_pattern if {
	known := changed(facts, "/orgs/acme/integrations/syncco/scopes", ["documents:*"])
	carries_in(known, code("syncco-app", "alice", in_acme), ["documents:read", "documents:write"])
}

test_integrations_credential_is_limited_to_it if {
	known := changed(facts, "/consents/alice/syncco-app", {"orgs": {"acme": {"scopes": {"https://documents.example": ["documents:write"]}}}})
	carries_in(known, code("syncco-app", "alice", in_acme), ["documents:read", "documents:write", "openid"])
	carries_in(known, by("syncco-app", enabled, exchange, {}), ["documents:read", "openid"])
	refused_in(known, by("syncco-app", enabled, exchange, {"scopes": ["documents:write"]}), "invalid_scope")
}

test_vendors_client_needs_agreement_whatever_its_party if {
	known := changed(facts, "/clients/syncco-app/party", "first")
	refused_in(known, code("syncco-app", "bob", in_acme), "invalid_grant")
	carries_in(known, code("syncco-app", "alice", in_acme), ["documents:read", "openid"])
}

# Before anybody has agreed.

authorizing(client, id, more) := changed(code(client, id, more), "/request/stage", "authorize")

asks_for_consent(question, scopes) if asks_for_consent_in(facts, question, scopes)

asks_for_consent_in(known, question, scopes) if {
	result := decide_in(known, question)
	result.allow == true
	result.obligations == [{"type": "consent", "scopes": scopes}]
}

test_authorize_is_refused_like_a_token if {
	refused(authorizing("gateway", "alice", in_acme), "unauthorized_client")
	refused(authorizing("off", "alice", in_acme), "unauthorized_client")
	refused(authorizing("partner", "gone", {}), "invalid_grant")
	refused(authorizing("partner", "dan", in_acme), "access_denied")
	refused(authorizing("partner", "alice", {"org": "initech"}), "access_denied")
	refused(authorizing("partner", "alice", {"scopes": ["documents:share"]}), "invalid_scope")
	refused(authorizing("partner", "alice", billing), "invalid_target")
}

test_authorize_is_for_users_and_their_grants if {
	question := authorizing("web", "alice", in_acme)
	refused(changed(question, "/principal/type", "client"), "unauthorized_client")
	refused(without(question, "/caller"), "unauthorized_client")
	other := {"refresh_token", "client_credentials", "password", "api_key", exchange, jwt_bearer}
	every grant in other {
		refused(changed(question, "/request/grant_type", grant), "unsupported_grant_type")
	}
}

test_authorize_says_what_must_be_agreed_to if {
	asks_for_consent(authorizing("partner", "bob", {"org": "acme", "scopes": ["openid", "documents:write"]}), ["documents:write", "openid"])
	asks_for_consent(authorizing("partner", "bob", {}), ["documents:read", "documents:write", "email", "offline_access", "openid"])
	asks_for_consent(authorizing("partner", "alice", in_acme), ["documents:write", "email"])
	asks_for_consent(authorizing("partner", "alice", {"org": "globex", "scopes": ["openid"]}), ["openid"])
	decide(authorizing("partner", "bob", in_acme)).org == "acme"
}

test_authorize_asks_nothing_that_was_agreed_to if {
	carries(authorizing("partner", "alice", {"org": "acme", "scopes": consented}), consented)
	carries(authorizing("syncco-app", "alice", {"org": "acme", "scopes": ["documents:read"]}), ["documents:read"])
	carries(authorizing("web", "bob", {"org": "acme", "scopes": ["documents:write"]}), ["documents:write"])
}

test_device_is_authorized_likewise if {
	question := changed(authorizing("web", "bob", {"scopes": ["openid"]}), "/request/grant_type", device_code)
	carries(question, ["openid"])
	refused(changed(question, "/caller/sub", "partner"), "unauthorized_client")
}

# The client of a vendor.

agreed_twice := changed(facts, "/consents/alice/syncco-app", {"orgs": {
	"acme": {"scopes": {"https://documents.example": ["documents:read"]}},
	"globex": {"scopes": {"https://documents.example": ["documents:read"]}},
}})

test_client_of_a_suspended_vendor_gets_nothing if {
	carries_in(agreed_twice, code("syncco-app", "alice", {"org": "globex"}), ["documents:read"])
	refused_in(changed(agreed_twice, "/vendors/syncco/status", "suspended"), code("syncco-app", "alice", {"org": "globex"}), "access_denied")
	refused_in(without(agreed_twice, "/vendors/syncco"), code("syncco-app", "alice", {"org": "globex"}), "access_denied")
}

test_integration_counts_in_its_org_whatever_the_user_agreed_to[name] if {
	some name, changed_facts in {
		"suspended": changed(agreed_twice, "/orgs/acme/integrations/syncco/status", "suspended"),
		"removed": without(agreed_twice, "/orgs/acme/integrations/syncco"),
	}
	refused_in(changed_facts, code("syncco-app", "alice", in_acme), "access_denied")
	carries_in(changed_facts, code("syncco-app", "alice", {"org": "globex"}), ["documents:read"])
	refused_in(changed_facts, presents("syncco-app", member("alice", "acme"), ["documents:read"], {}), "access_denied")
}

test_consent_is_for_one_audience if {
	known := changed(changed(facts, "/clients/partner/audiences/-", "https://drafts.example"), "/apis/drafts", {"audience": "https://drafts.example", "scopes": ["documents:read"]})
	drafts := {"org": "acme", "audience": "https://drafts.example", "api": "drafts"}
	carries_in(known, code("partner", "alice", in_acme), consented)
	refused_in(known, code("partner", "alice", drafts), "invalid_grant")
	asks_for_consent_in(known, authorizing("partner", "alice", object.union(drafts, {"scopes": ["documents:read"]})), ["documents:read"])
}
