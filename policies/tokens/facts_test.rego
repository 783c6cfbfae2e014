package mandate.tokens_test

import data.mandate.tokens

exchange := "urn:ietf:params:oauth:grant-type:token-exchange"

jwt_bearer := "urn:ietf:params:oauth:grant-type:jwt-bearer"

device_code := "urn:ietf:params:oauth:grant-type:device_code"

# acme and globex are active, initech is suspended, and nobody has heard of hooli.
facts := {
	"orgs": {
		"acme": {
			"profile": {"status": "active"},
			"members": {
				"alice": {"roles": ["editor", "developer"], "status": "active"},
				"bob": {"roles": ["viewer"], "status": "active"},
				"carol": {"roles": ["editor", "developer"], "status": "suspended"},
				"gone": {"roles": ["editor"], "status": "active"},
			},
			"roles": {"reviewer": {"permissions": ["documents:read"]}},
			"connections": {
				"acme-idp": {"status": "active"},
				"old-idp": {"status": "disabled"},
			},
			"integrations": {
				"backupco": {"id": "backupco-acme", "kind": "external", "status": "active", "scopes": ["documents:*"]},
				"closedco": {"id": "closedco-acme", "kind": "external", "status": "active", "scopes": ["documents:*"]},
				"syncco": {
					"id": "syncco-acme", "kind": "delegated", "status": "active", "scopes": ["documents:read", "openid"],
					"enabled_by": "alice", "client": "syncco-app",
				},
			},
		},
		"globex": {
			"profile": {"status": "active"},
			"members": {"alice": {"roles": ["viewer"], "status": "active"}},
			"integrations": {"syncco": {"id": "syncco-globex", "kind": "external", "status": "active", "scopes": []}},
		},
		"initech": {"profile": {"status": "suspended"}, "members": {"alice": {"roles": ["editor"], "status": "active"}}},
	},
	"roles": {
		"admin": {"permissions": ["*"]},
		"editor": {"permissions": ["documents:*"]},
		"reviewer": {"permissions": ["*"]},
		"viewer": {"permissions": ["documents:read"]},
	},
	"users": {
		"alice": {"status": "active"},
		"bob": {"status": "active"},
		"carol": {"status": "active"},
		"dan": {"status": "active"},
		"gone": {"status": "disabled"},
	},
	"vendors": {"backupco": {"status": "active"}, "closedco": {"status": "suspended"}, "syncco": {"status": "active"}},
	"apikeys": {
		"acme-key": {"org": "acme", "owner": "alice", "status": "active", "scopes": ["documents:*"]},
		"bob-key": {"org": "acme", "owner": "bob", "status": "active", "scopes": ["documents:read"]},
		"carol-key": {"org": "acme", "owner": "carol", "status": "active", "scopes": ["documents:read"]},
		"machine-key": {"org": "acme", "status": "active", "scopes": ["documents:read"]},
		"tenant-key": {"status": "active", "scopes": ["documents:read", "decide"]},
		"star-key": {"status": "active", "scopes": ["*", "decide:*"]},
		"revoked-key": {"org": "acme", "status": "revoked", "scopes": ["documents:read"]},
	},
	"consents": {"alice": {"partner": {"orgs": {
		"acme": {"id": "c1", "scopes": {"https://documents.example": ["documents:read", "openid", "offline_access"]}},
		"initech": {"id": "c2", "scopes": {"https://documents.example": ["documents:read"]}},
		"": {"id": "c3", "scopes": {"https://documents.example": ["openid"]}},
	}}}},
	"apis": {
		"documents": {"audience": "https://documents.example", "scopes": ["documents:read", "documents:write", "documents:share"], "token_lifetime": 300},
		"billing": {"audience": "https://billing.example", "scopes": ["billing:read", "manage", "email"]},
		"impostor": {"audience": "https://mandate.example", "scopes": ["documents:read"]},
	},
	"clients": {
		"acme-sync": {
			"status": "active",
			"org": "acme",
			"orgs": ["acme", "globex", "initech"],
			"grant_types": ["client_credentials", jwt_bearer],
			"scopes": ["documents:write", "documents:read", "decide", "openid"],
			"audiences": ["https://documents.example", "https://nobody.example"],
		},
		"globex-only": {
			"status": "active",
			"orgs": ["globex"],
			"grant_types": ["client_credentials"],
			"scopes": ["billing:read", "manage", "decide"],
			"audiences": ["https://billing.example"],
			"token_lifetime": 60,
		},
		"roaming": {
			"status": "active",
			"orgs": ["acme", "globex"],
			"grant_types": ["client_credentials"],
			"scopes": ["documents:*"],
			"audiences": ["https://documents.example"],
		},
		"homeless": {
			"status": "active",
			"grant_types": ["client_credentials"],
			"scopes": ["documents:read"],
			"audiences": ["https://documents.example"],
		},
		"initech-sync": {
			"status": "active",
			"org": "initech",
			"orgs": ["acme"],
			"grant_types": ["client_credentials"],
			"scopes": ["documents:read"],
			"audiences": ["https://documents.example"],
		},
		# The product's own application, for all its users.
		"web": {
			"status": "active",
			"party": "first",
			"grant_types": ["authorization_code", "refresh_token", device_code],
			"scopes": ["documents:read", "documents:write", "manage", "decide", "openid", "profile", "offline_access"],
			"audiences": ["https://documents.example"],
		},
		# Applications of others.
		"partner": {
			"status": "active",
			"party": "third",
			"grant_types": ["authorization_code", "refresh_token", exchange],
			"scopes": ["documents:read", "documents:write", "openid", "email", "offline_access"],
			"audiences": ["https://documents.example"],
		},
		"syncco-app": {
			"status": "active",
			"party": "third",
			"vendor": "syncco",
			"grant_types": ["authorization_code", "refresh_token", exchange],
			"scopes": ["documents:read", "documents:write", "openid"],
			"audiences": ["https://documents.example"],
		},
		"backupco-app": {
			"status": "active",
			"party": "third",
			"vendor": "backupco",
			"grant_types": [exchange],
			"scopes": ["documents:read", "documents:write", "openid"],
			"audiences": ["https://documents.example"],
		},
		"login": {"status": "active", "party": "first", "grant_types": ["authorization_code"], "scopes": ["openid", "email", "offline_access"]},
		# Services that exchange what they were given.
		"gateway": {
			"status": "active",
			"party": "first",
			"grant_types": [exchange],
			"scopes": ["documents:read", "documents:write", "decide", "openid"],
			"audiences": ["https://documents.example"],
		},
		"acme-gateway": {
			"status": "active",
			"party": "first",
			"org": "acme",
			"grant_types": [exchange],
			"scopes": ["documents:read", "documents:write"],
			"audiences": ["https://documents.example"],
		},
		"globex-gateway": {
			"status": "active",
			"party": "first",
			"orgs": ["globex"],
			"grant_types": [exchange],
			"scopes": ["documents:read"],
			"audiences": ["https://documents.example"],
		},
		"off": {
			"status": "disabled",
			"grant_types": ["client_credentials", exchange],
			"scopes": ["documents:read"],
			"audiences": ["https://documents.example"],
		},
	},
}

decide_in(known, question) := result if {
	result := tokens.decision with input as question
		with data.orgs as known.orgs
		with data.roles as known.roles
		with data.users as known.users
		with data.vendors as known.vendors
		with data.apikeys as known.apikeys
		with data.consents as known.consents
		with data.apis as known.apis
		with data.clients as known.clients
}

decide(question) := decide_in(facts, question)

refused_in(known, question, code) if {
	result := decide_in(known, question)
	message := result.reasons[0].message
	message != ""
	result == {
		"allow": false,
		"reasons": [{"code": code, "message": message}],
		"obligations": [],
		"scopes": [],
		"lifetime": 0,
		"claims": {},
	}
}

refused(question, code) if refused_in(facts, question, code)

carries_in(known, question, scopes) if {
	result := decide_in(known, question)
	result.allow == true
	result.obligations == []
	result.scopes == scopes
}

carries(question, scopes) if carries_in(facts, question, scopes)

# A token that is bound to no organization.
unbound_in(known, question) if {
	result := decide_in(known, question)
	result.allow == true
	not result.org
}

unbound(question) if unbound_in(facts, question)

documents := {"audience": "https://documents.example", "api": "documents"}

billing := {"audience": "https://billing.example", "api": "billing"}

mandate := {"audience": "https://mandate.example"}

request(more) := object.union({"issuer": "https://mandate.example", "default_lifetime": 600}, more)

ask(id, target, more) := {
	"principal": {"type": "client", "sub": id},
	"caller": {"type": "client", "sub": id},
	"request": request(object.union_n([{"stage": "issue", "grant_type": "client_credentials"}, target, more])),
}

# What a client asks for a principal.
by(client, principal, grant, more) := {
	"principal": principal,
	"caller": {"type": "client", "sub": client},
	"request": request(object.union_n([{"stage": "issue", "grant_type": grant}, documents, more])),
}

# What is asked at the exchange endpoints, for which there is no client.
at_auth(principal, grant, more) := {
	"principal": principal,
	"request": request(object.union_n([{"stage": "issue", "grant_type": grant}, documents, more])),
}

# What an access token with the scopes is good for now, that a client was issued.
presents(client, principal, scopes, more) := {
	"principal": object.union(principal, {"scopes": scopes, "credential": {"type": "access_token", "id": "t"}}),
	"caller": {"type": "client", "sub": client},
	"request": request(object.union_n([{"stage": "present", "scopes": scopes}, documents, org_of(principal), more])),
}

presents_own(principal, scopes) := json.remove(presents("", principal, scopes, {}), ["/caller"])

org_of(principal) := {"org": principal.org}

org_of(principal) := {} if not principal.org

user(id) := {"type": "user", "sub": id}

member(id, org) := {"type": "user", "sub": id, "org": org}

key(id) := {"type": "apikey", "sub": id, "credential": {"type": "api_key", "id": id}}

changed(question, path, value) := json.patch(question, [{"op": "add", "path": path, "value": value}])

without(question, path) := json.patch(question, [{"op": "remove", "path": path}])
