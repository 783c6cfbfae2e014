package mandate.access

default allow := false

allow if {
	is_active
	"*" in permissions
}

allow if {
	is_active
	input.action.name in permissions
}

org := input.resource.properties.org

member := data.orgs[org].members[input.principal.sub]

is_active if {
	data.orgs[org].profile.status == "active"
	member.status == "active"
}

permissions contains permission if {
	some role in member.roles
	some permission in data.roles[role].permissions
}

decision := {"allow": true} if allow

decision := {"allow": false, "reasons": [reason]} if not allow

reason := {"code": "role_missing", "message": "no role of the subject permits the action"}
