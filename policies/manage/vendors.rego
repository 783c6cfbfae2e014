package mandate.manage

import data.mandate.request

# METADATA
# description: |
#   Vendors and those who manage them: a client with the scope oem:partner_token makes and cuts integrations, one of a vendor
#   those of that vendor only. Nothing but the status is changed, and what was enabled by a user, or what the organization
#   has ended, is never made anew.
oem_actions := {
	"orgs.integrations.list",
	"orgs.integrations.get",
	"orgs.integrations.create",
	"orgs.integrations.update",
	"orgs.integrations.rotate",
	"orgs.integrations.delete",
}

oem_permitted if {
	of_the_clients_vendor
	oem_action
}

# A listing is of one vendor, if the client is.
of_the_clients_vendor if {
	verb != "list"
	calling_vendor == id
}

of_the_clients_vendor if {
	verb == "list"
	calling_vendor == properties.vendor
}

of_the_clients_vendor if {
	is_object(calling_record)
	not request.has(calling_record, "vendor")
}

calling_record := data.clients[input.caller.sub] if input.caller.type == "client"

calling_vendor := calling_record.vendor

oem_action if verb in {"list", "get", "delete"}

oem_action if {
	verb == "create"
	not request.has(properties, "before")
	not object.get(properties, "ended_by", "") == "org"
	data.vendors[id].status == "active"
	after.kind == "external"
	after.status == "active"
}

oem_action if {
	verb == "rotate"
	data.vendors[id].status == "active"
	before.kind == "external"
	before.status == "active"
}

oem_action if {
	verb == "update"
	after.status in {"suspended", "active"}
	object.remove(after, of_the_status) == object.remove(before, of_the_status)
}

of_the_status := ["status", "suspended_by"]

# What one side has suspended, the other does not resume, nor delete, to make it anew.
resumable if collection != "orgs.integrations"

resumable if not verb in {"update", "enable", "delete"}

resumable if object.get(before, "status", "active") == "active"

resumable if after.status == "suspended"

resumable if capacity == "tenant"

resumable if {
	capacity == "oem"
	before.suspended_by == "vendor"
}

resumable if {
	capacity in {"member", "owner", "organization"}
	object.get(before, "suspended_by", "org") == "org"
}

# Either side can always cut the relationship; only what the tenant has suspended is the tenant's.
resumable if {
	verb == "delete"
	capacity in {"member", "owner", "organization"}
	before.suspended_by == "vendor"
}
