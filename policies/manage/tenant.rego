package mandate.manage

import data.mandate.request

# METADATA
# description: |
#   What only those set who manage the whole tenant, because it reaches beyond an organization: `tenant_only` names the
#   members of a record that another caller tries to change.
tenant_only contains member if {
	others_write
	some member in object.get(of_the_tenant_only, input.resource.type, [])
	object.get(after, member, "") != object.get(before, member, "")
}

of_the_tenant_only := {
	"organization": ["parent"],
	"client": ["vendor"],
	"webhook": ["vendor"], # which is sent what is for the vendor, credentials too
}

# A first party acts for users without asking them, and a client is one that is not said to be a third.
tenant_only contains "party" if {
	others_write
	input.resource.type == "client"
	party := object.get(after, "party", "")
	party != "third"
	party != object.get(before, "party", null)
}

# What such a client has, or what is a vendor's, is the tenant's: where it sends people, or the secret, would be enough to be it.
# Its organization may end it.
tenant_only contains member if {
	capacity != "tenant"
	verb in {"update", "rotate"}
	not only_ends
	some member in beyond_the_org
}

beyond_the_org contains "party" if {
	input.resource.type == "client"
	request.has(properties, "before")
	object.get(before, "party", "") != "third"
}

beyond_the_org contains "vendor" if {
	input.resource.type in {"client", "webhook"}
	object.get(before, "vendor", "") != ""
}

only_ends if {
	after.status == "disabled"
	object.remove(after, ["status"]) == object.remove(before, ["status"])
}

# What belongs to an organization stays there, and a client of several is none's alone.
tenant_only contains "org" if {
	others_write
	collection in {"clients", "apikeys", "webhooks"}
	object.get(after, "org", "") != org
}

tenant_only contains "orgs" if {
	capacity != "tenant"
	not reading
	input.resource.type == "client"
	some record in [before, after]
	some other in record.orgs
	other != org
}

tenant_only contains "owner" if {
	others_write
	input.resource.type == "apikey"
	request.has(properties, "before")
	object.get(after, "owner", "") != object.get(before, "owner", "")
}

# An integration that acts for a user is enabled, never written.
tenant_only contains member if {
	others_write
	input.resource.type == "integration"
	verb != "enable"
	some member in ["enabled_by", "client"]
	object.get(after, member, "") != object.get(before, member, "")
}

tenant_only contains "kind" if {
	others_write
	input.resource.type == "integration"
	verb != "enable"
	delegates(after) != delegates(before)
}

delegates(integration) if integration.kind == "delegated"

else := false

# A domain is verified by its challenge, never written so.
tenant_only contains "status" if {
	others_write
	input.resource.type == "domain"
	verb in {"create", "update"}
	after.status == "verified"
	object.get(before, "status", "") != "verified"
}

others_write if {
	capacity != "tenant"
	request.has(properties, "after")
}
