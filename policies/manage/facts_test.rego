package mandate.manage_test

import data.mandate.manage

# acme and initech are customers of msp; initech is suspended; globex has nothing to do with them.
facts := {
	"orgs": {
		"msp": {
			"profile": {"status": "active"},
			"members": {
				"mia": {"roles": ["operator"], "status": "active"},
				"max": {"roles": ["admin"], "status": "active"},
			},
		},
		"acme": {
			"profile": {"status": "active", "parent": "msp", "name": "Acme"},
			"members": {
				"alice": {"roles": ["admin", "developer"], "status": "active"},
				"bob": {"roles": ["viewer", "developer"], "status": "active"},
				"carol": {"roles": ["admin"], "status": "suspended"},
				"dora": {"roles": ["hr"], "status": "active"},
				"gone": {"roles": ["admin"], "status": "active"},
			},
			"roles": {
				"hr": {"permissions": ["orgs.members.*", "orgs.invitations.*", "orgs.roles.*", "orgs.domains.*", "orgs.connections.*", "apikeys.*", "documents:read"]},
				"keeper": {"permissions": ["orgs.members.list", "documents:*"]},
			},
			"domains": {"acme.example": {"status": "verified"}, "new.example": {"status": "pending"}},
			"connections": {"acme-idp": {"status": "active"}},
			"integrations": {
				"backupco": {"id": "i1", "kind": "external", "status": "active", "scopes": ["documents:read"]},
				"syncco": {"id": "i2", "kind": "delegated", "status": "active", "scopes": ["documents:read"], "enabled_by": "bob", "client": "syncco-app"},
			},
		},
		"globex": {
			"profile": {"status": "active"},
			"members": {"greta": {"roles": ["admin"], "status": "active"}, "alice": {"roles": [], "status": "active"}},
			"integrations": {"backupco": {"id": "i3", "kind": "external", "status": "active", "scopes": []}},
			"domains": {"globex.example": {"status": "verified"}},
		},
		"initech": {
			"profile": {"status": "suspended", "parent": "msp"},
			"members": {"ivan": {"roles": ["admin"], "status": "active"}},
		},
	},
	"roles": {
		"admin": {"permissions": ["*"]},
		"viewer": {"permissions": ["documents:read"]},
		"operator": {"permissions": [
			"children:orgs.members.*", "children:orgs.invitations.*", "children:orgs.get", "children:orgs.update", "children:orgs.delete",
			"children:documents:read", "children:children:orgs.*", "documents:write",
		]},
		"owner": {"permissions": ["orgs.*"]},
	},
	"users": {
		"alice": {"status": "active", "email": "alice@acme.example", "email_verified": true},
		"bob": {"status": "active", "email": "bob@acme.example", "email_verified": true},
		"carol": {"status": "active", "email": "carol@acme.example"},
		"dora": {"status": "active", "email": "dora@acme.example"},
		"gone": {"status": "disabled", "email": "gone@acme.example", "email_verified": true},
		"greta": {"status": "active", "email": "greta@globex.example", "email_verified": true},
		"ivan": {"status": "active"},
		"mia": {"status": "active"},
		"max": {"status": "active"},
		"new": {"status": "active", "email": "new@acme.example", "email_verified": true},
		"unverified": {"status": "active", "email": "unverified@acme.example", "email_verified": false},
	},
	"vendors": {"backupco": {"status": "active"}, "syncco": {"status": "active"}, "closedco": {"status": "suspended"}},
	"clients": {
		"backend": {"status": "active", "party": "first"},
		"acme-backend": {"status": "active", "org": "acme"},
		"regional": {"status": "active", "orgs": ["acme", "globex", "deleted"]},
		"console": {"status": "active", "party": "first"},
		"partner": {"status": "active", "party": "third"},
		"backupco-app": {"status": "active", "vendor": "backupco", "scopes": ["oem:partner_token", "documents:*"]},
		"syncco-app": {"status": "active", "vendor": "syncco", "scopes": ["documents:*"]},
		"acme-oem": {"status": "active", "org": "acme", "scopes": ["oem:partner_token"]},
		"oem": {"status": "active", "scopes": ["oem:partner_token", "documents:read"]},
	},
	"apikeys": {
		"root": {"status": "active"},
		"acme-root": {"status": "active", "org": "acme"},
		"acme-scim": {"status": "active", "org": "acme"},
		"alice-key": {"status": "active", "org": "acme", "owner": "alice"},
		"bob-key": {"status": "active", "org": "acme", "owner": "bob"},
		"dora-key": {"status": "active", "org": "acme", "owner": "dora"},
		"alice-anywhere": {"status": "active", "owner": "alice"},
	},
}

decide_in(known, question) := result if {
	result := manage.decision with input as question
		with data.orgs as known.orgs
		with data.roles as known.roles
		with data.users as known.users
		with data.vendors as known.vendors
		with data.clients as known.clients
		with data.apikeys as known.apikeys
}

may_in(known, question) if {
	result := decide_in(known, question)
	result.allow == true
	count(result.reasons) == 1
	result.reasons[0].message != ""
}

may(question) if may_in(facts, question)

may_not_in(known, question, code) if {
	result := decide_in(known, question)
	result.allow == false
	result.obligations == []
	count(result.reasons) == 1
	result.reasons[0].code == code
	result.reasons[0].message != ""
}

may_not(question, code) if may_not_in(facts, question, code)

lacks(question, what) if {
	may_not(question, "not_held")
	contains(decide_in(facts, question).reasons[0].message, what)
}

# What is asked.

does(caller, action, resource) := {
	"subject": {"type": "credential", "id": "caller"},
	"action": {"name": action},
	"resource": resource,
	"caller": caller,
	"principal": caller,
}

confirmed(question) := object.union(question, {"context": {"confirm": true}})

thing(type, id, properties) := {"type": type, "id": id, "properties": properties}

in_org(type, id, org, more) := thing(type, id, object.union({"org": org}, more))

changed(document, path, value) := json.patch(document, [{"op": "add", "path": path, "value": value}])

without(document, path) := json.patch(document, [{"op": "remove", "path": path}])

# Who asks.

user(id, org) := object.union(consumer(id), {"org": org, "scopes": ["manage"], "azp": "console"})

consumer(id) := {"type": "user", "sub": id, "scopes": ["openid"], "azp": "console", "credential": {"type": "access_token", "id": "t"}}

session(id) := {"type": "user", "sub": id, "credential": {"type": "session", "id": id}}

machine(type, id, scopes) := {"type": type, "sub": id, "scopes": scopes, "credential": {"type": "access_token", "id": "t"}}

root := machine("apikey", "root", ["manage"])

backend := machine("client", "backend", ["manage"])

acme_backend := object.union(machine("client", "acme-backend", ["manage"]), {"org": "acme"})

key_of(id, scopes) := object.union(machine("apikey", id, scopes), {"org": "acme"})

# Some changes.

members_update(caller, org, id, old, new) := does(caller, "orgs.members.update", in_org("member", id, org, {
	"before": {"roles": old, "status": "active"},
	"after": {"roles": new, "status": "active"},
	"sole_holder_of": [],
}))

invites(caller, org, roles) := does(caller, "orgs.invitations.create", in_org("invitation", "i", org, {"after": {"email": "x@acme.example", "roles": roles}}))

defines(caller, org, id, permissions) := does(caller, "orgs.roles.create", in_org("role", id, org, {"after": {"permissions": permissions}}))

makes_key(caller, org, owner, scopes) := does(caller, "apikeys.create", in_org("apikey", "k", org, {"after": {"org": org, "owner": owner, "scopes": scopes, "status": "active", "kind": "bearer"}}))
