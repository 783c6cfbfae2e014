package main

import "net/http"

// credentialNouns are what software authenticates with.
func credentialNouns() []noun { return []noun{apiKeysNoun(), clientsNoun()} }

// overlapField is for how long a former secret stays good.
func overlapField() field {
	return field{flag: "overlap", usage: "how long the former one stays good, such as 24h, at most 168h (default: it ends at once)"}
}

func apiKeysNoun() noun {
	const one = "apikeys/{KEY}"
	fields := []field{
		{flag: "org", usage: "organization that it is for (default: the tenant, or the one that you are signed in to)"},
		{flag: "owner", usage: "user whose rights it has at most"},
		{flag: "kind", usage: "bearer, or pair for a key and a secret (default: bearer)"},
		{flag: "scope", member: "scopes", kind: listField, usage: "scope, repeatable"},
		{flag: "audience", member: "audiences", kind: listField, usage: "audience that it stands for, repeatable (default: all)"},
		{flag: "expires", member: "expires_at", kind: endField, usage: "when it ends: a time, or a duration such as 2160h (default: never)"},
	}
	return noun{name: "apikeys", aliases: []string{"api-keys"}, short: "Manage API keys",
		long: "The keys that sign tokens are in mandate keys.",
		example: `  KEY=$(mandate apikeys create --org acme --owner alice --scope documents:read)
  mandate apikeys list --org acme
  KEY=$(mandate apikeys rotate nightly --overlap 24h)
  mandate apikeys revoke nightly`,
		verbs: []verb{
			listVerb("apikeys", "List API keys", "ID=id STATUS=status KIND=kind ORG=org OWNER=owner PREFIX=prefix EXPIRES=expires_at LAST_USED=last_used_at SCOPES=scopes",
				"org owner status kind"),
			showVerb(one, "an API key, without its secret"),
			createVerb("apikeys", argument{"KEY", "id", true}, "Create an API key, and print it this once", fields).showing("key", "secret").telling(
				"The key is alone on standard output; of a pair, its secret is in a second line. An id is made when KEY is left out.",
				`  KEY=$(mandate apikeys create nightly --org acme --owner alice --scope documents:read --expires 2160h)`),
			updateVerb(one, "Change an API key", fields),
			actVerb("rotate", one+"/rotate", "Make an API key anew, and print it this once", "key", "secret").with(overlapField()),
			statusVerb("revoke", one, "revoked", "Revoke an API key, for good"),
			deleteVerb("delete", one, "Delete an API key", "deleted", ""),
		}}
}

func clientsNoun() noun {
	const one = "clients/{CLIENT}"
	fields := []field{
		{flag: "name", usage: "name for people"},
		{flag: "kind", usage: "service, web, native or spa (default: service)"},
		{flag: "party", usage: "first or third (default: first)"},
		{flag: "org", usage: "home organization"},
		{flag: "acts-in", member: "orgs", kind: listField, usage: "further organization that it may act in, repeatable"},
		{flag: "vendor", usage: "vendor whose integrations it acts for"},
		{flag: "grant-type", member: "grant_types", kind: listField, usage: "such as client_credentials, repeatable"},
		{flag: "auth-method", member: "token_endpoint_auth_method", usage: "such as client_secret_basic or none"},
		{flag: "scope", member: "scopes", kind: listField, usage: "scope, repeatable"},
		{flag: "audience", member: "audiences", kind: listField, usage: "audience that it may get tokens for, repeatable"},
		{flag: "redirect-uri", member: "redirect_uris", kind: listField, usage: "where people come back to, repeatable"},
		{flag: "token-lifetime", kind: secondsField, usage: "lifetime of its access tokens, such as 5m"},
	}
	former := field{flag: "end-former", member: "former", kind: constantField, value: "end", usage: "end the secrets that it has at once"}
	return noun{name: "clients", short: "Manage OAuth clients",
		example: `  SECRET=$(mandate clients create nightly-sync --org acme --grant-type client_credentials --scope documents:read --audience https://documents.example)
  mandate clients list --org acme
  SECRET=$(mandate clients rotate nightly-sync)
  mandate clients end-former nightly-sync`,
		verbs: []verb{
			listVerb("clients", "List clients", "ID=id STATUS=status KIND=kind PARTY=party ORG=org VENDOR=vendor LAST_USED=last_used_at NAME=name",
				"org acts-in=acting_in vendor status kind party"),
			showVerb(one, "a client"),
			createVerb("clients", argument{"CLIENT", "id", true}, "Create a client, and print its secret this once", fields).showing("client_secret").telling(
				"Members that no flag is for, such as jwks, are taken from a file with --from.", ""),
			updateVerb(one, "Change a client", fields),
			actVerb("rotate", one+"/rotate", "Make a second secret, and print it this once", "client_secret").with(former).telling(
				"The secret before it stays good until mandate clients end-former, unless --end-former ends it at once.", ""),
			{name: "end-former", method: http.MethodDelete, path: one + "/secrets/former", short: "End the older of two secrets"},
			statusVerb("disable", one, "disabled", "Disable a client, and its tokens"),
			statusVerb("enable", one, "active", "Enable a disabled client"),
			deleteVerb("delete", one, "Delete a client", "deleted", "its secrets and all that it was granted"),
		}}
}
