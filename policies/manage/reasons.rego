package mandate.manage

grant := service_grant if {
	service
} else := {"code": "scope", "message": "The caller holds the scope for this, and reaches it."} if {
	capacity in {"tenant", "organization", "oem", "provisioning"}
} else := {"code": "invitation", "message": "The invitation is for the verified email of the user."} if {
	capacity in {"invitee", "invited"}
} else := {"code": "own", "message": "It is the user's own."} if {
	capacity == "self"
} else := {"code": "role", "message": "A role in the organization permits this, or every member may do it with what is their own."} if {
	capacity in {"member", "owner"}
}

# METADATA
# description: |
#   The first thing that was missing. Who has nothing to do with a record is told what they would be told if there were
#   none.
refusal := service_refusal if {
	well_formed
	service
} else := {
	"code": "request_malformed",
	"message": "Send action.name and resource.type as non-empty strings, and records whose members have their types.",
} if {
	not understood
} else := {
	"code": "scope_missing",
	"message": sprintf("The caller's credential lacks the scope %s; use one that carries it.", [scope_needed]),
} if {
	not capacity
} else := {
	"code": "vendor_not_authorized",
	"message": "The vendor may not do this for the organization: the relationship is missing, suspended or of another vendor, or more is asked for than the client is registered for.",
} if {
	capacity == "oem"
} else := {
	"code": "email_not_verified",
	"message": "Verify your email address first: an invitation is for whoever reads the mail.",
} if {
	capacity == "invitee"
	not permitted
} else := {
	"code": "address_not_proved",
	"message": "The link did not come by mail, which would show that the address is yours: sign in with the account that has it.",
} if {
	capacity == "invited"
	not permitted
} else := {
	"code": "not_found",
	"message": "There is nothing with this id here, or not for this caller.",
} if {
	not reached
} else := {
	"code": "not_found",
	"message": "There is nothing with this id here, or not for this caller.",
} if {
	not id_made
	properties.id_from == "path"
} else := {
	"code": "id_is_made",
	"message": "The id is made here, for organizations share the ids: leave it out, and take it from the answer.",
} if {
	not id_made
} else := {
	"code": "org_suspended",
	"message": "The organization is suspended; those who manage the tenant can make it active again.",
} if {
	not org_open
} else := provisioning_refusal if {
	capacity == "provisioning"
	not permitted
} else := {
	"code": "integration_malformed",
	"message": "An integration is enabled as active and delegated, for an active member of the organization (enabled_by).",
} if {
	not delegated_properly
} else := {
	"code": "role_missing",
	"message": sprintf("No role of yours in the organization permits %s; ask for a role that has this permission.", [action]),
} if {
	capacity in {"member", "owner"}
	not by_permission_or_own
} else := {
	"code": "not_your_own",
	"message": "API keys and integrations are made, and rotated, in one's own name, in the organization one is signed in to: set owner, or enabled_by, to yourself, and end those of others instead.",
} if {
	not permitted
} else := {
	"code": "invitation_needed",
	"message": "Invite the person, who accepts it: an organization adds only users with a verified email in a domain that it has verified.",
} if {
	not may_join
} else := {
	"code": "inviter_unknown",
	"message": "An organization invites in the name of an active member: set invited_by to one, or leave it out.",
} if {
	not invites_properly
} else := {
	"code": "suspended_by_others",
	"message": "The other side, or who manages the tenant, has suspended the integration, and they resume or delete it.",
} if {
	not resumable
} else := {
	"code": "tenant_only",
	"message": sprintf("Only those who manage the whole tenant set this: %s. Leave it as it is.", [concat(", ", sort(tenant_only))]),
} if {
	count(tenant_only) > 0
} else := {
	"code": "not_held",
	"message": sprintf("Nobody gives, changes or takes what they do not hold: %s. Ask somebody who holds it.", [concat(", ", sort(missing))]),
} if {
	count(missing) > 0
} else := {
	"code": "role_in_use",
	"message": "Somebody holds this role; take it from all its members first.",
} if {
	role_in_use
} else := {
	"code": "last_admin",
	"message": "Nobody else could manage the members of the organization then; give somebody else such a role first.",
} if {
	not admins_remain
} else := {
	"code": "confirm_needed",
	"message": "This deletes the organization with all that is in it, for good: send Confirm: true to confirm it.",
} if {
	not deliberate
}

understood if {
	well_formed
	known_action
	record_well_formed
}

scope_needed := "oem:partner_token or manage" if {
	input.caller.type == "client"
	action in oem_actions
} else := "scim or manage" if {
	input.caller.type == "apikey"
	action in provisioning_actions
} else := "manage"

service_refusal := {
	"code": "registration_closed",
	"message": "Clients cannot be registered here without an initial access token; send one that carries the scope register.",
} if {
	registration
	not service_grant
} else := {
	"code": "token_of_others",
	"message": "The token is neither the caller's nor for an audience that the caller stands for; add the audience to the caller's record, or the scope decide to a caller that has no audiences.",
} if {
	introspection
	not service_grant
} else := {
	"code": "scope_missing",
	"message": "The caller's credential lacks the scope manage; use one that carries it.",
} if {
	not service_grant
} else := {
	"code": "wrong_org",
	"message": "The caller is bound to one organization and may change only what belongs to it.",
} if {
	not service_in_reach
}
