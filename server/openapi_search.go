package server

import "net/http"

// searchOperations are those that look at what is allowed as a whole.
func searchOperations() []operation {
	least := []string{"at_least"}
	document := map[string]any{"type": "document", "id": "plan", "properties": map[string]any{"org": "acme"}}
	about := "AuthZEN Search. The policy is asked about each candidate, as of one revision; `context.candidates` says who they are. " +
		"With `options.everybody` all there are become candidates, in more pages. Who may search one organization only " +
		"is told of its own members, keys, clients and integrated vendors, and of no relations."
	search := func(kind, id, summary, section string, takes schema, body map[string]any) operation {
		return operation{method: http.MethodPost, path: "/access/v1/search/" + kind, id: id, tag: "Decisions", summary: summary, about: section + about,
			action: "access.search", wire: authZEN(), query: least, takes: jsonOf(takes), gives: map[int]content{http.StatusOK: jsonOf(searchResponseOf())},
			example: example{body: body}}
	}
	return []operation{
		search("subject", "searchSubjects", "Find who can do something", "§8.4: ", searchRequestOf("subject", "type!"),
			map[string]any{"subject": map[string]any{"type": "user"}, "action": map[string]any{"name": "documents:read"}, "resource": document}),
		search("resource", "searchResources", "Find to what somebody can do something", "§8.5: ", searchRequestOf("resource", "type!"),
			map[string]any{"subject": map[string]any{"type": "user", "id": "alice"}, "action": map[string]any{"name": "documents:read"}, "resource": map[string]any{"type": "organization"}}),
		search("action", "searchActions", "Find what somebody can do to something", "§8.6: ", searchRequestOf("action"),
			map[string]any{"subject": map[string]any{"type": "user", "id": "alice"}, "resource": document}),
		{method: http.MethodPost, path: "/v1/access/reach", id: "searchReach", tag: "Decisions", summary: "Find all that somebody can do",
			about:  "The organizations and shared resources that the subject can have to do with, each with the actions that it can take there. With `org` only in that organization.",
			action: "access.search", wire: managementWire(), query: least, takes: jsonOf(searchRequestOf("reach")),
			gives: map[int]content{http.StatusOK: jsonOf(searchResponseOf())}, example: example{body: map[string]any{"subject": map[string]any{"type": "user", "id": "alice"}}}},
		{method: http.MethodGet, path: "/v1/access/unused", id: "findUnused", tag: "Decisions", summary: "Find what nobody has used",
			about:  "The roles, scopes, integrations and rules that no allow of the decision log has rested on `since`. What takes long is made meanwhile: ask again until `done`.",
			action: "access.search", wire: managementWire(), query: append(least, "since"),
			gives: map[int]content{http.StatusOK: jsonOf(members("done!:boolean", "progress!:object", "report:object"))}},
	}
}

// searchRequestOf is a Search API request, in which what is searched for need not be complete. Unknown members are ignored.
func searchRequestOf(searched string, members ...string) schema {
	made := evaluationParts()
	parts := made["properties"].(schema)
	needed := []string{"subject", "action", "resource"}
	switch searched {
	case "action":
		delete(parts, "action")
		needed = []string{"subject", "resource"}
	case "reach":
		delete(parts, "action")
		delete(parts, "resource")
		parts["org"] = schema{"type": "string", "description": memberWords("org")}
		needed = []string{"subject"}
	default:
		parts[searched] = openMembers(append(members, "properties:object")...)
	}
	page := openMembers("token", "properties:object")
	page["properties"].(schema)["limit"] = schema{"type": "integer", "minimum": 0}
	page["description"] = "Which part of the results (AuthZEN §8.2.1)."
	options := openMembers()
	options["properties"].(schema)["everybody"] = schema{"type": "boolean", "description": "Ask about all there are, and not only about those who can have to do with it."}
	parts["page"], parts["options"] = page, options
	return requiring(made, needed...)
}

// searchResponseOf is a Search API response (AuthZEN §8.3).
func searchResponseOf() schema {
	made := members("page!", "context!", "results!")
	parts := made["properties"].(schema)
	parts["page"] = members("next_token!", "count!:integer")
	context := members("candidates!*", "everybody!:boolean", "asked!:integer", "failed:integer", "reasons", "policy_revision!", "data_revision!:integer")
	context["properties"].(schema)["reasons"] = listOf(members("code!", "message!"))
	parts["context"] = context
	parts["results"] = listOf(schema{"type": "object"})
	return made
}

// drillOperations are those for credentials that have leaked.
func drillOperations() []operation {
	holder := members("type!", "id!", "org")
	drilled := members("holder!:object", "record!:object", "last_used_at", "grants!:array", "descendants!:array", "changes!:object", "complete!:boolean",
		"deeds!:object", "reach!:object")
	all := []operation{{method: http.MethodPost, path: "/v1/credentials/identify", id: "identifyCredential", tag: "API keys", summary: "Find whose a secret is",
		about: "Of an API key, a client, a vendor or an integration that the caller may drill. What is unknown and what is out of reach look the same.", action: "apikeys.drill",
		wire: managementWire(), takes: jsonOf(members("secret!")), gives: map[int]content{http.StatusOK: jsonOf(holder)}}}
	for _, of := range []struct{ path, id, tag, collection, name string }{
		{"/v1/apikeys/{id}", "APIKey", "API keys", "apikeys", "an API key"}, {"/v1/clients/{id}", "Client", "Clients", "clients", "a client"},
		{"/v1/vendors/{id}", "Vendor", "Vendors", "vendors", "a vendor"}, {"/v1/orgs/{org}/integrations/{vendor}", "Integration", "Integrations", "orgs.integrations", "an integration"},
	} {
		all = append(all,
			operation{method: http.MethodPost, path: of.path + "/drill", id: "drill" + of.id, tag: of.tag, summary: "Say what became of the credential of " + of.name,
				about:  "For one that has leaked: what was done with it, what it reaches now, and what descends from it: grants, and what it has made or whose secret it was shown.",
				action: of.collection + ".drill", wire: managementWire(), query: []string{"at_least"}, gives: map[int]content{http.StatusOK: jsonOf(drilled)}},
			operation{method: http.MethodPost, path: of.path + "/drill/revoke", id: "revokeDrilled" + of.id, tag: of.tag, summary: "Revoke " + of.name + " with all that descends from it",
				about: "In one transaction. The policy is asked about each record that is revoked.", action: of.collection + ".drill", wire: writing(), header: writeHeaders(false),
				gives: map[int]content{http.StatusOK: jsonOf(members("holder!:object", "grants!:integer", "descendants!:array", "revision!:integer"))}})
	}
	return all
}
