package partneriam

// Description is what OpenAPI says about a route. Body and Answer are values of the types that go over the wire, nil for none.
type Description struct {
	ID, Summary  string
	Query        []string
	Body, Answer any
}

// Describe describes the route.
func (r Route) Describe() Description {
	return descriptions()[r.Method+" "+r.Path]
}

type invitationList struct {
	Data       []invitation
	TotalCount int
}

type (
	organizationStatus struct{ IsDeleted, IsActive bool }
	connectionStatus   struct{ IsActive bool }
	roleDefault        struct{ IsDefault bool }
	resentInvitation   struct{ Resent bool }
)

func descriptions() map[string]Description {
	const org, conn = "/organizations/{orgId}", "/organizations/{orgId}/connections/{connId}"
	const account = "/account/{uid}/orgcontext"
	return map[string]Description{
		"POST /organizations":                {"createPartnerOrganization", "Create an organization", nil, organizationBody{}, organization{}},
		"GET /organizations":                 {"listPartnerOrganizations", "List the organizations", nil, nil, list[organization]{}},
		"GET " + org:                         {"getPartnerOrganization", "Get an organization", nil, nil, organization{}},
		"PUT " + org:                         {"updatePartnerOrganization", "Change an organization", nil, organizationBody{}, organization{}},
		"DELETE " + org:                      {"deletePartnerOrganization", "Delete an organization", nil, nil, deleted{}},
		"PUT " + org + "/status":             {"setPartnerOrganizationStatus", "Suspend an organization, or activate it again", nil, statusBody{}, organizationStatus{}},
		"PUT " + org + "/policy":             {"setPartnerPolicies", "Set the policies of an organization", nil, policies{}, policies{}},
		"GET " + org + "/domains":            {"listPartnerDomains", "List the domains of an organization", nil, nil, list[domain]{}},
		"POST " + org + "/domains":           {"createPartnerDomain", "Add a domain", nil, domainBody{}, domain{}},
		"GET " + org + "/connections":        {"listPartnerConnections", "List the connections of an organization", nil, nil, list[connection]{}},
		"POST " + org + "/connections":       {"createPartnerConnection", "Create a connection", nil, connectionBody{}, connection{}},
		"GET " + conn:                        {"getPartnerConnection", "Get a connection", nil, nil, connection{}},
		"PUT " + conn:                        {"updatePartnerConnection", "Change a connection", nil, connectionBody{}, connection{}},
		"DELETE " + conn:                     {"deletePartnerConnection", "Delete a connection", nil, nil, deleted{}},
		"PUT " + conn + "/status":            {"setPartnerConnectionStatus", "Disable a connection, or enable it again", nil, statusBody{}, connectionStatus{}},
		"GET " + conn + "/grouproles":        {"listPartnerGroupRoles", "List the roles of the provider's groups", nil, nil, list[groupRole]{}},
		"POST " + conn + "/grouproles":       {"createPartnerGroupRole", "Give a group of the provider a role", nil, groupRoleBody{}, groupRole{}},
		"GET " + org + "/roles":              {"listPartnerOrganizationRoles", "List the roles of an organization", nil, nil, list[roleShown]{}},
		"POST " + org + "/roles":             {"createPartnerOrganizationRole", "Create a role of an organization", nil, roleBody{}, roleShown{}},
		"GET " + org + "/orgcontext":         {"listPartnerMembers", "List the roles of the members of an organization", nil, nil, list[userRole]{}},
		"GET /roles":                         {"listPartnerRoles", "List the roles of the tenant", nil, nil, list[roleShown]{}},
		"POST /roles":                        {"createPartnerRole", "Create a role of the tenant", nil, roleBody{}, roleShown{}},
		"GET /roles/{id}":                    {"getPartnerRole", "Get a role", nil, nil, roleShown{}},
		"PUT /roles/{id}":                    {"updatePartnerRole", "Change a role", nil, roleBody{}, roleShown{}},
		"DELETE /roles/{id}":                 {"deletePartnerRole", "Delete a role", nil, nil, deleted{}},
		"PUT /roles/{id}/default":            {"setPartnerDefaultRole", "Make a role the default of the tenant", nil, nil, roleDefault{}},
		"GET /roles/{name}/name":             {"findPartnerRole", "Find a role by its name", []string{"orgid"}, nil, list[roleShown]{}},
		"GET /permissions":                   {"listPartnerPermissions", "List the permissions", nil, nil, list[permission]{}},
		"POST /permissions":                  {"createPartnerPermission", "Create a permission", nil, permissionBody{}, permission{}},
		"GET /permissions/{id}":              {"getPartnerPermission", "Get a permission", nil, nil, permission{}},
		"PUT /permissions/{id}":              {"updatePartnerPermission", "Change a permission", nil, permissionBody{}, permission{}},
		"DELETE /permissions/{id}":           {"deletePartnerPermission", "Delete a permission", nil, nil, deleted{}},
		"GET " + account:                     {"getPartnerContext", "List the roles of a user in all organizations", nil, nil, list[userRole]{}},
		"DELETE " + account:                  {"leaveAllPartnerOrganizations", "Remove a user from all organizations", nil, nil, deleted{}},
		"PUT " + account + "/roles":          {"assignPartnerRolesEverywhere", "Give a user roles in all organizations of the user", nil, userRolesBody{}, list[userRole]{}},
		"GET " + account + "/{orgId}":        {"getPartnerContextInOrganization", "List the roles of a user in an organization", nil, nil, list[userRole]{}},
		"POST /invitations":                  {"createPartnerInvitation", "Invite somebody", []string{"invitation_url"}, inviteBody{}, invitation{}},
		"GET /invitations":                   {"listPartnerInvitations", "List the invitations of an organization", []string{"orgid"}, nil, invitationList{}},
		"GET /invitations/{invitationId}":    {"getPartnerInvitation", "Get an invitation", nil, nil, invitation{}},
		"PUT /invitations/{invitationId}":    {"updatePartnerInvitation", "Change an invitation", nil, updateInvitationBody{}, invitation{}},
		"DELETE /invitations/{invitationId}": {"revokePartnerInvitation", "Revoke an invitation", nil, nil, invitation{}},

		"POST /invitations/{invitationId}/resend":      {"resendPartnerInvitation", "Send an invitation again", nil, nil, resentInvitation{}},
		"DELETE " + account + "/{orgId}":               {"leavePartnerOrganization", "Remove a user from an organization", nil, nil, deleted{}},
		"PUT " + account + "/{orgId}/roles":            {"assignPartnerRoles", "Give a user roles in an organization", nil, userRolesBody{}, list[userRole]{}},
		"GET " + org + "/domains/{domainId}":           {"getPartnerDomain", "Get a domain", nil, nil, domain{}},
		"POST " + org + "/domains/{domainId}":          {"verifyPartnerDomain", "Verify a domain", nil, nil, domain{}},
		"DELETE " + org + "/domains/{domainId}":        {"deletePartnerDomain", "Delete a domain", nil, nil, deleted{}},
		"PUT " + conn + "/grouproles/{groupRoleId}":    {"updatePartnerGroupRole", "Change the role of a group", nil, groupRoleBody{}, groupRole{}},
		"DELETE " + conn + "/grouproles/{groupRoleId}": {"deletePartnerGroupRole", "Take the role of a group away", nil, nil, deleted{}},
	}
}
