# METADATA
# title: Collections that are read as a whole, and documents that are not
package mandate.access

# METADATA
# title: Decision
# entrypoint: true
decision := {"allow": count(granted) > 0, "reasons": [], "obligations": []}

org := input.resource.properties.org

# Every member of one organization.
granted contains "anybody's" if {
	some user
	data.orgs[org].members[user].status == "suspended" # want: scan
}

granted contains "comprehension" if count([r | some r, _ in data.roles]) > 1 # want: scan

granted contains "value" if members["bob"].status == "active"

members := data.orgs[org].members # want: scan

granted contains "every" if {
	every _, role in data.roles { # want: scan
		count(role.permissions) > 0
	}
}

granted contains "walked" if {
	walk(data.relations[input.resource.type], [_, value]) # want: scan
	value == "owner"
}

granted contains "custom" if count(data.custom) > 3 # want: scan

granted contains "any organization" if data.orgs[_].members[input.principal.sub].status == "active" # want: scan

granted contains "unified" if {
	data.users[user].email == input.principal.email # want: scan
	user != "mallory"
}

granted contains "argument" if first(data.vendors) # want: scan

first(vendors) if vendors.backupco.status == "active"

granted contains "whole organization" if object.get(data.orgs, [org, "profile", "status"], "") == "active" # want: scan

# Near misses: each is one document, or what is within one.

granted contains "one member" if data.orgs[org].members[input.principal.sub].status == "active"

granted contains "known by then" if {
	some role in data.orgs[org].members[input.principal.sub].roles
	"documents:read" in data.roles[role].permissions
}

granted contains "assigned" if {
	user := input.principal.sub
	data.users[user].status == "active"
}

granted contains "within" if {
	some permission in data.roles.viewer.permissions
	permission == input.action.name
}

granted contains "profile" if {
	some name, _ in data.orgs[org].profile
	name == "status"
}

granted contains "relation" if data.relations[input.resource.type][input.resource.id].owner["user:bob"]

granted contains "custom document" if data.custom.maintenance

granted contains "function" if active(input.principal.sub)

active(user) if data.users[user].status == "active"

granted contains "keys of the input" if {
	some user in input.context.users
	data.users[user].status == "active"
}

granted contains "consent" if data.consents[input.principal.sub].app.orgs[org]

granted contains "silenced" if {
	# mandate:ignore scan: there are never more than three
	count(data.apis) > 2
}

# mandate:ignore scan: all of the rule that begins on the next line
granted contains "silenced too" if {
	input.x

	count(data.apis) > 2
}

granted contains "after that rule" if count(data.apis) > 2 # want: scan
