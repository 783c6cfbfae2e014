package mandate.access_test

import data.mandate.access

# acme and globex are active, initech is suspended, and nobody has heard of hooli.
facts := {
	"orgs": {
		"acme": {
			"profile": {"name": "Acme", "status": "active"},
			"members": {
				"alice": {"roles": ["admin", "developer"], "status": "active"},
				"bob": {"roles": ["viewer"], "status": "active"},
				"carol": {"roles": ["admin"], "status": "suspended"},
				"dave": {"roles": ["editor"], "status": "active"},
				"erin": {"roles": ["auditor"], "status": "active"},
				"frank": {"roles": [], "status": "active"},
				"gone": {"roles": ["admin"], "status": "active"},
			},
			"roles": {"auditor": {"permissions": ["documents:read"]}},
			"integrations": {
				"backupco": {"id": "backupco-acme", "kind": "external", "status": "active", "scopes": ["documents:read"]},
				"stoppedco": {"id": "stoppedco-acme", "kind": "external", "status": "suspended", "scopes": ["documents:read"]},
				"closedco": {"id": "closedco-acme", "kind": "external", "status": "active", "scopes": ["documents:read"]},
			},
		},
		"globex": {
			"profile": {"name": "Globex", "status": "active"},
			"members": {"heidi": {"roles": ["admin"], "status": "active"}},
		},
		"initech": {
			"profile": {"name": "Initech", "status": "suspended"},
			"members": {"alice": {"roles": ["admin"], "status": "active"}},
			"integrations": {"backupco": {"id": "backupco-initech", "kind": "external", "status": "active", "scopes": ["documents:read"]}},
		},
		"noprofile": {"members": {"alice": {"roles": ["admin"], "status": "active"}}},
	},
	"roles": {
		"1": {"permissions": ["*"]},
		"admin": {"permissions": ["*"]},
		"auditor": {"permissions": ["*"]},
		"developer": {"permissions": ["apikeys:write"]},
		"editor": {"permissions": ["documents:*"]},
		"viewer": {"permissions": ["documents:read"]},
	},
	"users": {
		"alice": {"username": "alice", "status": "active"},
		"bob": {"username": "bob", "status": "active"},
		"carol": {"username": "carol", "status": "active"},
		"dave": {"username": "dave", "status": "active"},
		"erin": {"username": "erin", "status": "active"},
		"frank": {"username": "frank", "status": "active"},
		"gone": {"username": "gone", "status": "disabled"},
		"heidi": {"username": "heidi", "status": "active"},
		"portal": {"username": "portal", "status": "active"},
		"1": {"username": "1", "status": "active"},
	},
	"clients": {
		"gateway": {"status": "active", "audiences": ["https://documents.example"], "scopes": ["decide"]},
		"plain-gateway": {"status": "active", "audiences": [], "scopes": ["decide"]},
		"acme-sync": {"status": "active", "org": "acme", "scopes": ["documents:read"]},
		"portal": {"status": "active", "orgs": ["acme", "initech", "noprofile"], "scopes": ["documents:*"]},
		"stray": {"status": "active", "scopes": ["documents:*"]},
		"off": {"status": "disabled", "org": "acme", "scopes": ["documents:*"]},
	},
	"apikeys": {
		"acme-key": {"org": "acme", "owner": "alice", "scopes": ["documents:*"], "kind": "bearer", "status": "active"},
		"dave-key": {"org": "acme", "owner": "dave", "scopes": ["documents:*"], "kind": "bearer", "status": "active"},
		"carol-key": {"org": "acme", "owner": "carol", "scopes": ["documents:*"], "kind": "bearer", "status": "active"},
		"gone-key": {"org": "acme", "owner": "gone", "scopes": ["documents:*"], "kind": "bearer", "status": "active"},
		"machine-key": {"org": "acme", "scopes": ["documents:read"], "kind": "bearer", "status": "active"},
		"tenant-key": {"scopes": ["documents:read"], "kind": "pair", "status": "active"},
		"alice-everywhere": {"owner": "alice", "scopes": ["documents:*"], "kind": "pair", "status": "active"},
		"documents-key": {"scopes": ["decide"], "audiences": ["https://documents.example"], "kind": "bearer", "status": "active"},
		"revoked-key": {"org": "acme", "scopes": ["documents:*"], "kind": "bearer", "status": "revoked"},
	},
	"vendors": {
		"backupco": {"name": "BackupCo", "status": "active"},
		"stoppedco": {"name": "StoppedCo", "status": "active"},
		"closedco": {"name": "ClosedCo", "status": "suspended"},
	},
	"relations": {"document": {"plan": {
		"owner": {"user:heidi": {}},
		"editor": {"user:portal": {}, "client:stray": {}, "apikey:acme-key": {}},
		"viewer": {"user:bob": {}, "user:frank": {}, "user:carol": {}, "user:gone": {}, "vendor:backupco": {}},
	}}},
}

decide(question, known) := result if {
	result := access.decision with input as question
		with data.orgs as known.orgs
		with data.roles as known.roles
		with data.users as known.users
		with data.clients as known.clients
		with data.apikeys as known.apikeys
		with data.vendors as known.vendors
		with data.relations as known.relations
}

allowed_in(known, question, code) if {
	result := decide(question, known)
	result.allow == true
	result.obligations == []
	count(result.reasons) == 1
	result.reasons[0].code == code
	result.reasons[0].message != ""
}

allowed(question, code) if allowed_in(facts, question, code)

refused_in(known, question, code) if {
	result := decide(question, known)
	result.allow == false
	result.obligations == []
	count(result.reasons) == 1
	result.reasons[0].code == code
	result.reasons[0].message != ""
}

refused(question, code) if refused_in(facts, question, code)

gateway := {"type": "client", "sub": "gateway", "scopes": ["decide"], "credential": {"type": "client"}}

document(org) := {"type": "document", "id": "report", "properties": {"org": org}}

plan := {"type": "document", "id": "plan"}

plan_in(org) := {"type": "document", "id": "plan", "properties": {"org": org}}

# ask is what the gateway asks about a principal.
ask(principal, action, resource) := {
	"subject": {"type": principal.type, "id": principal.sub},
	"action": {"name": action},
	"resource": resource,
	"principal": principal,
	"caller": gateway,
}

asked_by(question, caller) := replaced(question, "/caller", caller)

user(id) := {"type": "user", "sub": id}

client(id) := {"type": "client", "sub": id}

apikey(id) := {"type": "apikey", "sub": id}

vendor(id) := {"type": "vendor", "sub": id}

patched(document, operation) := json.patch(document, [operation])

replaced(document, path, value) := patched(document, {"op": "add", "path": path, "value": value})

without(document, path) := patched(document, {"op": "remove", "path": path})
