package main

import "net/http"

// organizationNouns are the organizations and what lies in them.
func organizationNouns() []noun {
	return []noun{orgsNoun(), membersNoun(), rolesNoun(), invitationsNoun(), domainsNoun(), connectionsNoun(), usersNoun(), auditNoun()}
}

const auditColumns = "AT=at ACTION=action TYPE=resource.type ID=resource.id ORG=resource.org BY=by.sub REQUEST=request_id"

func orgsNoun() noun {
	const one = "orgs/{ORG}"
	fields := []field{
		{flag: "name", usage: "name for people"},
		{flag: "parent", usage: "organization above it"},
		{flag: "metadata", kind: pairField, usage: "name=value to keep with it, repeatable"},
	}
	return noun{name: "orgs", aliases: []string{"organizations"}, short: "Manage organizations",
		example: `  mandate orgs
  mandate orgs create hooli --name "Hooli Inc" --metadata plan=gold
  mandate orgs suspend hooli
  mandate orgs audit hooli --limit 20`,
		verbs: []verb{
			listVerb("orgs", "List organizations", "ID=id STATUS=status PARENT=parent NAME=name", "status parent"),
			showVerb(one, "an organization"),
			createVerb("orgs", argument{"ORG", "id", true}, "Create an organization", fields).telling(
				"An id is made when ORG is left out.", `  mandate orgs create hooli --name "Hooli Inc" --parent acme --metadata plan=gold`),
			updateVerb(one, "Change an organization", fields),
			statusVerb("suspend", one, "suspended", "Suspend an organization").telling(
				"At the next request nothing in it works any more: members, keys, tokens, integrations. See mandate orgs resume.", ""),
			statusVerb("resume", one, "active", "Resume a suspended organization"),
			deleteVerb("delete", one, "Delete an organization", "deleted", "its members, roles, keys, domains, connections and integrations"),
			{name: "audit", path: "orgs/{ORG}/audit", short: "List who changed what in an organization, the newest first",
				columns: columns(auditColumns), filters: filters("action")},
		}}
}

func auditNoun() noun {
	return noun{name: "audit", short: "Read who changed what in the tenant",
		example: `  mandate audit list --limit 20
  mandate audit list --action orgs.members.delete --json`,
		verbs: []verb{
			listVerb("audit", "List audit records, the newest first", "RECORD=id "+auditColumns, "action"),
			showVerb("audit/{RECORD}", "an audit record, with what was before and after"),
		}}
}

func membersNoun() noun {
	const all, one = "orgs/{ORG}/members", "orgs/{ORG}/members/{USER}"
	roles := field{flag: "role", member: "roles", kind: listField, usage: "role to have, repeatable", required: true}
	return noun{name: "members", short: "Manage the members of an organization, and their roles",
		example: `  mandate members list acme --role admin
  mandate members add acme bob --role viewer
  mandate members set acme bob --role viewer,editor
  mandate members add-role acme bob developer
  mandate members suspend acme bob`,
		verbs: []verb{
			listVerb(all, "List members", "USER=user STATUS=status JOINED=joined_at ROLES=roles", "status role=roles"),
			showVerb(one, "a member"),
			{name: "add", method: http.MethodPost, path: all, id: argument{"USER", "user", false}, short: "Add a user to an organization", fields: []field{roles}},
			{name: "set", method: http.MethodPatch, path: one, short: "Replace the roles of a member", fields: []field{roles},
				long: "The member has these roles then, and no others. A suspended member stays suspended.", example: "  mandate members set acme bob --role viewer,editor"},
			{name: "add-role", method: http.MethodPatch, path: one, short: "Give roles to a member", edit: &edit{"ROLE", "roles", withItems}},
			{name: "remove-role", method: http.MethodPatch, path: one, short: "Take roles from a member", edit: &edit{"ROLE", "roles", withoutItems}},
			statusVerb("suspend", one, "suspended", "Suspend a member"),
			statusVerb("resume", one, "active", "Resume a suspended member"),
			deleteVerb("remove", one, "Remove a member, and the integrations that act for it", "removed", ""),
		}}
}

func rolesNoun() noun {
	const org = "those that this organization defines"
	permissions := field{flag: "permission", member: "permissions", kind: listField, usage: "what it allows, such as documents:read or documents:*, repeatable", required: true}
	at := func(v verb) verb { return v.orAt("org", org, "orgs/{org}/roles/{ROLE}", "") }
	return noun{name: "roles", short: "Manage roles, of the tenant or of an organization",
		example: `  mandate roles list --org acme
  mandate roles set auditor --org acme --permission documents:read,audits:read`,
		verbs: []verb{
			listVerb("roles", "List roles", "ID=id PERMISSIONS=permissions", "").orAt("org", org, "orgs/{org}/roles", "ID=id PERMISSIONS=permissions"),
			at(showVerb("roles/{ROLE}", "a role")),
			at(verb{name: "set", method: http.MethodPut, path: "roles/{ROLE}", short: "Create a role, or replace what it allows", fields: []field{permissions}}),
			at(deleteVerb("delete", "roles/{ROLE}", "Delete a role that nobody holds", "deleted", "")),
		}}
}

func invitationsNoun() noun {
	const all, one = "orgs/{ORG}/invitations", "orgs/{ORG}/invitations/{INVITATION}"
	deliver := field{flag: "deliver", usage: "mail, or return to print the link for a mail of your own (default: mail)"}
	return noun{name: "invitations", short: "Invite people to an organization",
		example: `  mandate invitations create acme --email zoe@acme.example --role viewer
  LINK=$(mandate invitations create acme --email zoe@acme.example --role viewer --deliver return)
  mandate invitations list acme --status invited`,
		verbs: []verb{
			listVerb(all, "List invitations", "ID=id STATUS=status EXPIRES=expires_at SENT=sent_at EMAIL=email ROLES=roles", "status email role=roles"),
			showVerb(one, "an invitation"),
			createVerb(all, argument{"INVITATION", "id", true}, "Invite somebody by mail", []field{
				{flag: "email", usage: "address to invite", required: true},
				{flag: "role", member: "roles", kind: listField, usage: "role to have, repeatable", required: true},
				{flag: "expires", member: "expires_at", kind: endField, usage: "until when it is good: a time, or a duration such as 72h (default: 7 days)"},
				deliver}).showing("link"),
			actVerb("resend", one+"/resend", "Send an invitation again, by a new link", "link").telling("The former link stops working.", ""),
			deleteVerb("revoke", one, "Revoke an invitation", "revoked", ""),
		}}
}

func domainsNoun() noun {
	const all, one = "orgs/{ORG}/domains", "orgs/{ORG}/domains/{DOMAIN}"
	return noun{name: "domains", short: "Manage the internet domains of an organization",
		long: "A domain is claimed first. When its DNS has the TXT record that add prints, verify makes it the organization's own.",
		example: `  mandate domains add acme acme.example
  mandate domains verify acme acme.example`,
		verbs: []verb{
			listVerb(all, "List domains", "DOMAIN=domain STATUS=status VERIFIED=verified_at FAILING=failing_since RECORD=challenge.name VALUE=challenge.value AUTO-JOIN=auto_join", "status"),
			showVerb(one, "a domain, and the DNS record that proves it"),
			{name: "add", method: http.MethodPost, path: all, id: argument{"DOMAIN", "domain", false}, short: "Claim a domain, and print the TXT record to set up"},
			actVerb("verify", one+"/verify", "Look the TXT record up, and make the domain the organization's own"),
			updateVerb(one, "Change who joins by a verified domain", []field{
				{flag: "auto-join", kind: listField, usage: "role of whoever signs in with an address in it, repeatable; empty for nobody"}}),
			deleteVerb("remove", one, "Give a domain up", "removed", ""),
		}}
}

func connectionsNoun() noun {
	const all, one = "orgs/{ORG}/connections", "orgs/{ORG}/connections/{CONNECTION}"
	secret := field{flag: "client-secret-file", member: "client_secret", kind: secretField, usage: "file with the client secret that the provider has made, - for standard input"}
	fields := []field{
		{flag: "issuer", usage: "URL of the provider", required: true},
		{flag: "client-id", usage: "client that Mandate is at the provider"},
		{flag: "audience", member: "audiences", kind: listField, usage: "audience that its tokens must have, repeatable"},
		{flag: "algorithm", usage: "the one by which it signs, such as RS256"},
		{flag: "domain", usage: "verified domain whose people it signs in"},
		{flag: "claim", member: "claims", kind: pairField, usage: "name=value that its tokens must have, repeatable"},
		{flag: "role-claim", usage: "claim that has the groups"},
		{flag: "role-mapping", kind: pairField, usage: "group=role, repeatable"},
		secret,
	}
	rotate := actVerb("rotate", one+"/rotate", "Set a new client secret, which the provider has made")
	secret.required = true
	rotate.fields = []field{secret}
	test := actVerb("test", one+"/test", "Fetch discovery and keys now, and say what is wrong")
	test.columns, test.rows = columns("OK=ok CHECK=name DETAIL=detail"), "checks"
	test.long = "The exit status is 0 when all is well, else 1."
	return noun{name: "connections", short: "Manage the identity providers of an organization",
		example: `  mandate connections create acme okta --issuer https://acme.okta.example --client-id mandate --audience mandate --client-secret-file secret.txt
  mandate connections test acme okta`,
		verbs: []verb{
			listVerb(all, "List connections", "ID=id STATUS=status DOMAIN=domain CLIENT=client_id ISSUER=issuer", "status domain issuer"),
			showVerb(one, "a connection"),
			createVerb(all, argument{"CONNECTION", "id", true}, "Create a connection", fields),
			updateVerb(one, "Change a connection", fields),
			test,
			statusVerb("enable", one, "active", "Enable a connection"),
			statusVerb("disable", one, "disabled", "Disable a connection: nobody signs in by it"),
			rotate,
			deleteVerb("remove", one, "Remove a connection", "removed", ""),
		}}
}

func usersNoun() noun {
	const one = "users/{USER}"
	fields := []field{
		{flag: "username", usage: "by which the user signs in (default: the id)"},
		{flag: "email", usage: "address"},
		{flag: "email-verified", kind: boolField, usage: "the address is known to be the user's"},
		{flag: "password-file", member: "password", kind: secretField, usage: "file with the password, - for standard input"},
	}
	return noun{name: "users", short: "Manage the people of the tenant, and where they are signed in",
		example: `  mandate users list --email zoe@acme.example
  mandate users create zoe --email zoe@acme.example
  printf %s "$PASSWORD" | mandate users create zoe --password-file -
  mandate users disable zoe
  mandate users sign-out zoe --yes`,
		verbs: []verb{
			listVerb("users", "List users", "ID=id STATUS=status VERIFIED=email_verified EMAIL=email USERNAME=username", "status email username"),
			showVerb(one, "a user"),
			createVerb("users", argument{"USER", "id", true}, "Create a user", fields).telling(
				"An id is made when USER is left out.", "  mandate users create zoe --username zoe --email zoe@acme.example --email-verified"),
			updateVerb(one, "Change a user", fields),
			statusVerb("disable", one, "disabled", "Disable a user, everywhere and at once"),
			statusVerb("enable", one, "active", "Enable a disabled user"),
			deleteVerb("delete", one, "Delete a user", "deleted", "all memberships, sessions and grants"),
			{name: "sessions", path: "users/{USER}/sessions", short: "List where a user is signed in",
				columns: columns("SESSION=id SINCE=created_at EXPIRES=expires_at METHODS=amr ORG=org CONNECTION=connection")},
			deleteVerb("sign-out", "users/{USER}/sessions/{SESSION?}", "End a session of a user, or all of them", "signed out", "all sessions"),
			{name: "grants", path: "users/{USER}/grants", short: "List what a user lets clients do",
				columns: columns("GRANT=id TYPE=type CLIENT=client ORG=org SINCE=created_at EXPIRES=expires_at AUDIENCE=audience SCOPES=scopes")},
			deleteVerb("revoke-grant", "users/{USER}/grants/{GRANT?}", "End a grant of a user with its tokens, or all of them", "grants ended", "all grants and their tokens"),
			actVerb("reset-password", "users/{USER}/reset", "Mail a user the link to set a new password"),
		}}
}
