package main

import "net/http"

// vendorNouns are those who integrate, and what is sent to them.
func vendorNouns() []noun {
	return []noun{vendorsNoun(), integrationsNoun(), webhooksNoun(), deliveriesNoun()}
}

func vendorsNoun() noun {
	const one = "vendors/{VENDOR}"
	fields := []field{{flag: "name", usage: "name for people"}}
	return noun{name: "vendors", short: "Manage the companies whose software integrates",
		example: `  TOKEN=$(mandate vendors create cloudvault --name CloudVault)
  mandate vendors suspend cloudvault`,
		verbs: []verb{
			listVerb("vendors", "List vendors", "ID=id STATUS=status LAST_USED=last_used_at NAME=name", "status"),
			showVerb(one, "a vendor"),
			createVerb("vendors", argument{"VENDOR", "id", true}, "Create a vendor, and print its token this once", fields).showing("token"),
			updateVerb(one, "Change a vendor", fields),
			statusVerb("suspend", one, "suspended", "Suspend a vendor, in all organizations"),
			statusVerb("resume", one, "active", "Resume a suspended vendor"),
			actVerb("rotate", one+"/rotate", "Make the vendor's token anew, and print it this once; the former one ends at once", "token"),
			deleteVerb("delete", one, "Delete a vendor", "deleted", "its integrations in all organizations"),
		}}
}

func integrationsNoun() noun {
	const all, one = "orgs/{ORG}/integrations", "orgs/{ORG}/integrations/{VENDOR}"
	const shown = " STATUS=status KIND=kind BY=enabled_by CLIENT=client SUSPENDED_BY=suspended_by LAST_USED=last_used_at SCOPES=scopes"
	scopes := field{flag: "scope", member: "scopes", kind: listField, usage: "what the vendor may do, repeatable"}
	deliver := field{flag: "deliver", usage: "webhook to send the credential to the vendor, or return to print it (default: webhook)"}
	return noun{name: "integrations", short: "Manage what vendors may do in organizations",
		example: `  mandate integrations list acme
  mandate integrations list --vendor backupco
  CREDENTIAL=$(mandate integrations enable acme backupco --user alice --scope documents:read --deliver return)
  mandate integrations suspend acme backupco`,
		verbs: []verb{
			listVerb(all, "List the integrations of an organization, or of a vendor", "VENDOR=vendor"+shown, "status kind enabled-by").
				orAt("vendor", "those of this vendor, in all organizations", "vendors/{vendor}/integrations", "ORG=org VENDOR=vendor"+shown),
			showVerb(one, "an integration"),
			verb{name: "enable", method: http.MethodPut, path: one, short: "Let a vendor act for a user in an organization",
				long: `It makes a credential for exactly these scopes, which is sent to the vendor's webhook, or printed this once with
--deliver return. What was enabled for another user or client ends.`,
				fields: []field{scopes, {flag: "user", usage: "for whom the vendor is to act (default: you, when you are a user)"},
					{flag: "client", usage: "by which the vendor acts (default: its only one)"}, deliver}}.showing("credential"),
			verb{name: "create", method: http.MethodPost, path: all, id: argument{"VENDOR", "vendor", false}, fields: []field{scopes},
				short: "Let a vendor act for an organization by a partner token, and print that this once"}.showing("partner_token"),
			updateVerb(one, "Change what an integration may do", []field{scopes}),
			statusVerb("suspend", one, "suspended", "Suspend an integration"),
			statusVerb("resume", one, "active", "Resume a suspended integration"),
			actVerb("rotate", one+"/rotate", "Make the credential of an integration anew; the former one ends at once", "partner_token", "credential").with(
				field{flag: "deliver", usage: "webhook to send the credential to the vendor, or return to print it (default: return)"}),
			deleteVerb("remove", one, "Remove an integration, and its credential", "removed", ""),
		}}
}

func webhooksNoun() noun {
	const one = "webhooks/{WEBHOOK}"
	fields := []field{
		{flag: "url", usage: "https URL that events are sent to", required: true},
		{flag: "event", member: "events", kind: listField, usage: "type of event to send, such as orgs.members.* or *, repeatable", required: true},
		{flag: "org", usage: "organization whose events it gets"},
		{flag: "vendor", usage: "vendor whose events it gets"},
	}
	return noun{name: "webhooks", short: "Manage who is told of changes",
		example: `  SECRET=$(mandate webhooks create mirror --url https://mirror.example/events --event '*')
  mandate webhooks test mirror`,
		verbs: []verb{
			listVerb("webhooks", "List webhooks", "ID=id STATUS=status ORG=org VENDOR=vendor CREATED=created_at URL=url EVENTS=events", "status org vendor"),
			showVerb(one, "a webhook"),
			createVerb("webhooks", argument{"WEBHOOK", "id", true}, "Create a webhook, and print the secret that signs what it gets", fields).showing("secret"),
			updateVerb(one, "Change a webhook", fields),
			actVerb("rotate", one+"/rotate", "Make the secret of a webhook anew, and print it this once", "secret").with(overlapField()),
			actVerb("test", one+"/test", "Send a webhook an event, to see what comes of it").telling("See mandate deliveries list for what has become of it.", ""),
			statusVerb("disable", one, "disabled", "Disable a webhook"),
			statusVerb("enable", one, "active", "Enable a disabled webhook"),
			deleteVerb("delete", one, "Delete a webhook", "deleted", ""),
		}}
}

func deliveriesNoun() noun {
	return noun{name: "deliveries", short: "See what waits to be sent, and send again what was given up",
		example: `  mandate deliveries list --status dead
  mandate deliveries replay 01jd…`,
		verbs: []verb{
			listVerb("deliveries", "List what waits, and what was given up",
				"ID=id STATUS=status WEBHOOK=webhook TYPE=type ATTEMPTS=attempts CREATED=created_at NEXT=next_attempt ERROR=last_error", "status type webhook"),
			actVerb("replay", "deliveries/{DELIVERY}/replay", "Try a delivery again that was given up"),
		}}
}
