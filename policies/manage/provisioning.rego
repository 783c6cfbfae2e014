package mandate.manage

import data.mandate.directory

# METADATA
# description: |
#   An organization's own directory of people (SCIM, RFC 7644), by a key with the scope scim: it keeps the members of the
#   organization, the users whose email is in a domain that the organization has verified, and groups, which are roles that
#   do not manage. Anybody else is another's user, also when they are a member here: their record is read and not written.
provisioning_actions := {
	"orgs.members.list",
	"orgs.members.get",
	"orgs.members.create",
	"orgs.members.update",
	"orgs.members.delete",
	"orgs.roles.list",
	"orgs.roles.get",
	"orgs.roles.create",
	"orgs.roles.update",
	"orgs.roles.delete",
	"users.list",
	"users.get",
	"users.create",
	"users.update",
	"users.delete",
}

# Whom the organization can know of: its members, whoever has proved an address in its domains, and the roles that its groups
# can be.
provisioned_here if {
	collection == "orgs.members"
	verb != "create"
}

provisioned_here if {
	action == "orgs.members.create"
	data.users[id].email_verified == true
	in_verified_domain(data.users[id].email)
}

provisioned_here if action in {"users.create", "users.list", "orgs.roles.list", "orgs.roles.create"}

provisioned_here if {
	action in {"users.get", "users.update", "users.delete"}
	data.orgs[org].members[id]
}

provisioned_here if {
	action in {"orgs.roles.get", "orgs.roles.update", "orgs.roles.delete"}
	provisionable(id)
}

provisioning_permitted if {
	collection == "orgs.members"
}

provisioning_permitted if action in {"users.list", "users.get", "orgs.roles.list", "orgs.roles.get"}

provisioning_permitted if {
	action == "users.create"
	in_verified_domain(after.email)
	own_name
}

# What somebody signs in with is changed where no other organization relies on it, and they have proved the address that they had.
provisioning_permitted if {
	action == "users.update"
	properties.member_elsewhere == false
	before.email_verified == true
	in_verified_domain(before.email)
	in_verified_domain(after.email)
	own_name
}

# A user is deleted only by the directory that made them; that they are a member nowhere else is seen to by Mandate.
provisioning_permitted if {
	action == "users.delete"
	properties.provisioned == true
	in_verified_domain(before.email)
}

# A group begins as a role without permissions, which a security team then gives it, and takes no name of the tenant's roles.
provisioning_permitted if {
	action == "orgs.roles.create"
	count(after.permissions) == 0
	not data.roles[id]
}

# Only how a group is called is changed, never what it may.
provisioning_permitted if {
	action == "orgs.roles.update"
	object.get(after, "permissions", null) == object.get(before, "permissions", null)
}

provisioning_permitted if {
	action == "orgs.roles.delete"
	data.orgs[org].roles[id]
}

# A name is an address in a domain of the organization: other names are of one space for the whole tenant, and whoever chose one
# would take those of others, or find out which there are.
own_name if in_verified_domain(after.username)

own_name if before.username == after.username

in_verified_domain(email) if {
	[_, domain] := split(lower(ascii(email)), "@")
	data.orgs[org].domains[domain].status == "verified"
}

# Its groups give the roles of the organization, and of the tenant, that do not manage.
provisionable(role) if {
	is_array(directory.role_definition(org, role).permissions)
	every permission in permissions_of(org, role) {
		not manages(permission)
	}
}

manages("*")

manages(permission) if startswith(permission, "orgs.")

manages(permission) if startswith(permission, "apikeys.")

manages(permission) if startswith(permission, "clients.")

manages(permission) if startswith(permission, "webhooks.")

manages(permission) if startswith(permission, "children:")

provisioning_refusal := {
	"code": "role_not_provisionable",
	"message": "Groups are roles of the organization: they begin without permissions, and have names that the tenant's roles do not have.",
} if {
	collection == "orgs.roles"
} else := {
	"code": "domain_not_verified",
	"message": "An organization provisions users with an email, and a userName, in a domain that it has verified; verify the domain first.",
}
