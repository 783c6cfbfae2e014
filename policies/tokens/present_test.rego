package mandate.tokens_test

# What a token that was issued is good for now. It loses power with the facts that it rests on.

read := ["documents:read"]

alices := presents("web", member("alice", "acme"), ["documents:read", "documents:write", "openid"], {})

delegated_token := presents("gateway", object.union(member("alice", "acme"), {"azp": "gateway", "act": {"sub_type": "client", "sub": "gateway"}}), read, {})

vendors := presents("backupco-app", {"type": "vendor", "sub": "backupco", "org": "acme", "azp": "backupco-app"}, read, {})

partners := presents("partner", member("alice", "acme"), consented, {})

integrations := presents("syncco-app", member("alice", "acme"), read, {})

clients := presents("acme-sync", {"type": "client", "sub": "acme-sync", "org": "acme"}, read, {})

exchanged_key := presents("gateway", {"type": "apikey", "sub": "acme-key", "org": "acme", "azp": "gateway"}, read, {})

keys := presents_own({"type": "apikey", "sub": "acme-key", "org": "acme"}, read)

passwords := presents_own(member("alice", "acme"), ["documents:read", "documents:write"])

connections := presents("acme-gateway", json.remove(external("acme"), ["/credential"]), read, {})

test_token_is_good_while_nothing_has_changed if {
	carries(alices, ["documents:read", "documents:write", "openid"])
	carries(delegated_token, read)
	carries(vendors, read)
	carries(partners, consented)
	carries(integrations, read)
	carries(clients, read)
	carries(exchanged_key, read)
	carries(keys, read)
	carries(passwords, ["documents:read", "documents:write"])
	carries(connections, read)
}

test_token_dies_with_what_it_rests_on[name] if {
	some name, row in {
		"user": [alices, "/users/alice/status", "disabled"],
		"member": [alices, "/orgs/acme/members/alice/status", "suspended"],
		"org": [alices, "/orgs/acme/profile/status", "suspended"],
		"client": [alices, "/clients/web/status", "disabled"],
		"audience of the client": [alices, "/clients/web/audiences", []],
		"audience of the API": [alices, "/apis/documents/audience", "https://other.example"],
		"scopes of the client": [alices, "/clients/web/scopes", ["billing:read"]],
		"orgs of the client": [alices, "/clients/web/orgs", ["globex"]],
		"grant type of the actor": [delegated_token, "/clients/gateway/grant_types", []],
		"org of the actor": [delegated_token, "/clients/gateway/org", "globex"],
		"vendor": [vendors, "/vendors/backupco/status", "suspended"],
		"integration of the vendor": [vendors, "/orgs/acme/integrations/backupco/status", "suspended"],
		"client of the vendor": [vendors, "/clients/backupco-app/vendor", "syncco"],
		"scopes of the consent": [partners, "/consents/alice/partner/orgs/acme/scopes/https:~1~1documents.example", []],
		"orgs of the consent": [partners, "/consents/alice/partner/orgs", {"globex": {"scopes": consented}}],
		"integration": [integrations, "/orgs/acme/integrations/syncco/status", "suspended"],
		"user of the integration": [integrations, "/orgs/acme/integrations/syncco/enabled_by", "bob"],
		"client itself": [clients, "/clients/acme-sync/status", "disabled"],
		"org of the client": [clients, "/clients/acme-sync/org", "globex"],
		"party of the client": [exchanged_key, "/clients/gateway/party", "third"],
		"key": [keys, "/apikeys/acme-key/status", "revoked"],
		"scopes of the key": [keys, "/apikeys/acme-key/scopes", ["billing:read"]],
		"role of the owner": [keys, "/orgs/acme/members/alice/roles", ["editor"]],
		"owner": [exchanged_key, "/users/alice/status", "disabled"],
		"roles": [passwords, "/orgs/acme/members/alice/roles", ["developer"]],
		"role": [passwords, "/roles/editor/permissions", []],
		"connection": [connections, "/orgs/acme/connections/acme-idp/status", "disabled"],
		"user of the connection": [connections, "/users/erin@idp", {"status": "disabled"}],
		"member of the connection": [connections, "/orgs/acme/members/erin@idp", {"status": "suspended"}],
	}
	known := changed(changed(facts, "/clients/acme-sync/orgs", ["initech"]), row[1], row[2])
	decide_in(known, row[0]).allow == false
}

test_token_dies_with_a_record_that_is_gone[path] if {
	some path, token in {
		"/users/alice": alices,
		"/orgs/acme/members/alice": alices,
		"/orgs/acme/profile": alices,
		"/clients/web": alices,
		"/apis/documents": alices,
		"/clients/gateway": delegated_token,
		"/consents/alice/partner": partners,
		"/orgs/acme/integrations/syncco": integrations,
		"/orgs/acme/integrations/backupco": vendors,
		"/apikeys/acme-key": keys,
		"/orgs/acme/connections/acme-idp": connections,
	}
	decide_in(without(facts, path), token).allow == false
}

test_token_is_narrowed_with_what_it_rests_on[name] if {
	some name, row in {
		"scopes of the client": [alices, "/clients/web/scopes", read],
		"scopes of the consent": [partners, "/consents/alice/partner/orgs/acme/scopes/https:~1~1documents.example", read],
		"scopes of the API": [alices, "/apis/documents/scopes", read],
		"roles": [passwords, "/orgs/acme/members/alice/roles", ["viewer"]],
	}
	result := decide_in(changed(facts, row[1], row[2]), row[0])
	result.allow == true
	result.scopes in [read, ["documents:read", "openid"]]
	result.obligations == []
}

test_scopes_of_a_token_are_no_refusal if {
	carries(changed(alices, "/request/scopes", ["documents:read", "documents:share", "manage"]), read)
	carries(presents("web", member("alice", "acme"), [], {}), [])
	refused(changed(alices, "/request/scopes", ["documents:share"]), "invalid_scope")
}

test_token_without_scopes_dies_too if {
	known := changed(facts, "/users/alice/status", "disabled")
	refused_in(known, presents("web", member("alice", "acme"), [], {}), "invalid_grant")
	refused(presents("partner", member("bob", "acme"), [], {}), "invalid_grant")
}

test_token_is_bound_to_no_more_orgs_than_it_was if {
	known := changed(facts, "/clients/web/orgs", ["acme"])
	unbound_in(known, presents("web", user("alice"), ["openid"], {}))
	unbound(presents("acme-sync", {"type": "client", "sub": "acme-sync"}, read, {}))
	carries_in(known, presents("web", user("alice"), ["openid"], {}), ["openid"])
	refused(presents("web", member("alice", "acme"), ["openid"], {"org": "globex"}), "access_denied")
}

test_token_of_a_party_for_a_client_that_could_not_get_it_is_refused if {
	refused(presents("partner", {"type": "apikey", "sub": "acme-key", "org": "acme"}, read, {}), "unauthorized_client")
	refused(presents("partner", {"type": "client", "sub": "acme-sync", "org": "acme"}, read, {}), "unauthorized_client")
	refused(presents("syncco-app", {"type": "vendor", "sub": "backupco", "org": "acme"}, read, {}), "unauthorized_client")
	refused(presents_own({"type": "vendor", "sub": "backupco", "org": "acme"}, read), "unauthorized_client")
	refused(presents_own({"type": "client", "sub": "acme-sync", "org": "acme"}, read), "unauthorized_client")
	refused(presents("web", {"type": "workload", "sub": "ci"}, read, {}), "invalid_grant")
}
