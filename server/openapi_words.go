package server

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/swaggest/openapi-go/openapi31"
)

const documentWords = "Every error has a stable code. The management API asks the policy `mandate.manage` before it does anything: the description of an operation names the action. " +
	"An answer has the revision of what it shows; `at_least` waits until a revision is visible, and `If-Match` writes only when nothing has changed since."

func tagWords() []openapi31.Tag {
	var tags []openapi31.Tag
	for _, t := range [][2]string{
		{"Decisions", "May this subject do that to this resource?"},
		{"Tokens", "The OAuth 2.1 and OpenID Connect endpoints for clients."},
		{"Exchange", "A password or an API key becomes a token that stands for it."},
		{"Organizations", "The customers of the tenant, which can lie below each other."},
		{"Members", "Who belongs to an organization, with which roles."},
		{"Roles", "Named sets of permissions, of the tenant or of one organization."},
		{"Invitations", "Links by which people become members."},
		{"Domains", "The internet domains of an organization, proved by the DNS."},
		{"Connections", "The OpenID Connect providers by which members sign in."},
		{"Integrations", "The relationships in which vendors act for organizations."},
		{"Users", "The people of the tenant."},
		{"Clients", "The applications that get tokens."},
		{"API keys", "Long-lived secrets for programs, of organizations and of the tenant."},
		{"APIs", "The resource servers for which tokens are issued."},
		{"Vendors", "The companies whose software integrates."},
		{"Webhooks", "Endpoints that are told of changes (Standard Webhooks)."},
		{"Deliveries", "What waits to be sent, and what was given up."},
		{"Consents", "What users let clients do."},
		{"Relations", "Relationship tuples, for sharing single resources."},
		{"Custom data", "Documents of a security team's own, for its policies to read."},
		{"Partner IAM", "The administrative API that partners know, over the same operations."},
		{"SCIM", "SCIM 2.0, by which an organization's own directory keeps its people here."},
		{"Audit", "Who changed what, from what to what."},
		{"Policies", "The policy sets that decide, did and could."},
		{"Signing keys", "The keys that sign the tenant's tokens."},
		{"Documents", "What anybody may read: metadata, keys, and this document."},
		{"Pages", "What a person's browser is shown. Programs have no business with them."},
		{"Service", "The health and the figures of the whole service."},
	} {
		tag := openapi31.Tag{Name: t[0]}
		tags = append(tags, *tag.WithDescription(t[1]))
	}
	return tags
}

// kindWord is how people call the records of a collection.
type kindWord struct {
	one, many, tag, about, deleting string

	needs   []string // members that a new record cannot do without
	secrets []string // that answers to writes may show beside those of the collection
	example kindExample
}

func kindWords() map[string]kindWord {
	inAcme := func(more ...string) map[string]string {
		return map[string]string{"org": "acme", strings.Join(more[:1], ""): strings.Join(more[1:], "")}
	}
	return map[string]kindWord{
		"orgs": {one: "organization", many: "organizations", tag: "Organizations", deleting: "With its members, roles, keys and integrations. Children have to be deleted or moved first.",
			example: kindExample{path: map[string]string{"id": "acme"}, made: "hooli", body: map[string]any{"id": "hooli", "name": "Hooli", "metadata": map[string]any{"plan": "gold"}}, patch: map[string]any{"status": "suspended"}}},
		"orgs.members": {one: "member", many: "members", tag: "Members", deleting: "The last who holds a role is removed with the header `Confirm: true` only.",
			example: kindExample{path: inAcme("user", "alice"), made: "erin", body: map[string]any{"user": "erin", "roles": []any{"viewer"}}, patch: map[string]any{"roles": []any{"editor"}}}},
		"orgs.roles": {one: "organization role", many: "organization roles", tag: "Roles", about: "Those that the organization defines itself.",
			example: kindExample{path: inAcme("id", "auditor"), made: "reader", body: map[string]any{"id": "reader", "permissions": []any{"documents:read"}}, patch: map[string]any{"permissions": []any{"documents:read", "documents:write"}}}},
		"orgs.domains": {one: "domain", many: "domains", tag: "Domains", about: "A domain is pending until the DNS has the TXT record of its challenge.",
			example: kindExample{path: inAcme("domain", "acme.example"), made: "acme-labs.example", body: map[string]any{"domain": "acme-labs.example"}}},
		"orgs.connections": {one: "connection", many: "connections", tag: "Connections", needs: []string{"issuer", "client_id", "audiences"},
			example: kindExample{path: inAcme("org", "acme"), made: "login", body: map[string]any{"id": "login", "issuer": "https://login.acme.example", "client_id": "mandate", "audiences": []any{"mandate"}, "algorithm": "RS256"},
				patch: map[string]any{"status": "disabled"}}},
		"orgs.invitations": {one: "invitation", many: "invitations", tag: "Invitations", about: "Mailed, or with `\"deliver\": \"return\"` answered as a link.",
			deleting: "Revokes it: its link leads nowhere from then on. It stays to be seen.", needs: []string{"email", "roles"},
			example: kindExample{path: inAcme("org", "acme"), made: "heidi", body: map[string]any{"id": "heidi", "email": "heidi@acme.example", "roles": []any{"viewer"}}}},
		"orgs.integrations": {one: "integration", many: "integrations", tag: "Integrations", about: "Both sides can see the relationship, suspend it and end it.", secrets: []string{"credential"},
			needs: []string{"vendor"}, example: kindExample{path: inAcme("vendor", "backupco")}},
		"roles": {one: "role", many: "roles", tag: "Roles", about: "Those of the tenant, for all organizations.", deleting: "With the header `Confirm: true`: members of any organization may hold it.",
			example: kindExample{path: map[string]string{"id": "viewer"}, made: "writer", body: map[string]any{"id": "writer", "permissions": []any{"documents:write"}}, patch: map[string]any{"permissions": []any{"documents:*"}}, confirm: true}},
		"apis": {one: "API", many: "APIs", tag: "APIs", needs: []string{"audience"},
			example: kindExample{path: map[string]string{"id": "documents"}, made: "billing", body: map[string]any{"id": "billing", "audience": "https://billing.example", "scopes": []any{"invoices:read"}}, patch: map[string]any{"token_lifetime": 300}}},
		"users": {one: "user", many: "users", tag: "Users", about: "With a `password`, or a `password_hash` of argon2id, bcrypt or PBKDF2. Neither is shown.",
			example: kindExample{path: map[string]string{"id": "alice"}, made: "judy", body: map[string]any{"id": "judy", "username": "judy", "email": "judy@acme.example"}, patch: map[string]any{"status": "disabled"}}},
		"clients": {one: "client", many: "clients", tag: "Clients", about: "A secret that is made is shown this once.",
			example: kindExample{path: map[string]string{"id": "acme-sync"}, made: "acme-reports", body: map[string]any{"id": "acme-reports", "org": "acme", "grant_types": []any{"client_credentials"},
				"scopes": []any{"documents:read"}, "audiences": []any{"https://documents.example"}}, patch: map[string]any{"status": "disabled"}}},
		"apikeys": {one: "API key", many: "API keys", tag: "API keys", about: "A secret that is made is shown this once. Revoking is a change of the status, and for good.",
			example: kindExample{path: map[string]string{"id": "acme-key"}, made: "nightly", body: map[string]any{"id": "nightly", "org": "acme", "scopes": []any{"documents:read"}}, patch: map[string]any{"status": "revoked"}}},
		"vendors": {one: "vendor", many: "vendors", tag: "Vendors", about: "A token that is made is shown this once.",
			example: kindExample{path: map[string]string{"id": "backupco"}, made: "syncly", body: map[string]any{"id": "syncly", "name": "Syncly"}, patch: map[string]any{"status": "suspended"}}},
		"webhooks": {one: "webhook", many: "webhooks", tag: "Webhooks", about: "The secret that is made is shown this once.", needs: []string{"url", "events"},
			example: kindExample{path: map[string]string{}, made: "mirror", body: map[string]any{"id": "mirror", "url": "https://mirror.acme.example/events", "events": []any{"orgs.*"}}, patch: map[string]any{"status": "disabled"}}},
		"consents": {one: "consent", many: "consents", tag: "Consents", about: "They are given on a page.", example: kindExample{path: map[string]string{"user": "alice"}}},
		"relations": {one: "relation", many: "relations", tag: "Relations", example: kindExample{
			path: map[string]string{"type": "document", "id": "plan", "relation": "viewer", "subject": "user:bob"}, made: "user:dan", body: map[string]any{"subject": "user:dan"}}},
		"custom": {one: "custom document", many: "custom documents", tag: "Custom data", about: "Its id is a path: it can have slashes.",
			example: kindExample{path: map[string]string{"id": "maintenance"}, made: "blocked/10.0.0.1", body: map[string]any{"id": "blocked/10.0.0.1", "value": map[string]any{"since": "2026-01-01"}}, patch: map[string]any{"value": map[string]any{"until": "2027-01-01"}}}},
		"audit":      {one: "audit record", many: "audit records", tag: "Audit", about: "The newest first."},
		"orgs.audit": {one: "organization audit record", many: "organization audit records", tag: "Audit", about: "Those about what belongs to one organization, the newest first."},
	}
}

func articleOf(noun string) string {
	if strings.ContainsAny(noun[:1], "aeioAEIO") {
		return "an "
	}
	return "a "
}

func successWords(status int) string {
	return map[int]string{http.StatusOK: "As it is now.", http.StatusCreated: "It was created.", http.StatusSeeOther: "The browser is sent on.", http.StatusNoContent: "It was done.", http.StatusNotModified: "It is as the caller has it.",
		http.StatusNotFound: "There is no such page.", http.StatusServiceUnavailable: "Not now."}[status]
}

func failureWords() map[int]string {
	return map[int]string{
		http.StatusBadRequest:            "The request is not what the operation takes: `invalid_request`, `credential_ambiguous`.",
		http.StatusUnauthorized:          "There is no good credential: `credential_missing`, `credential_malformed`, `credential_invalid`, `credential_inactive` or why it is not active, `dpop_proof_invalid`, `dpop_nonce_required`.",
		http.StatusForbidden:             "The policy does not permit it, and says why in its code; or `insufficient_scope`, `vendor_not_authorized`, `secret_in_browser`.",
		http.StatusNotFound:              "There is nothing with this id, or not for this caller: `not_found`.",
		http.StatusConflict:              "The state of the directory does not allow it: `already_exists`, and others that are named for what is in the way.",
		http.StatusPreconditionFailed:    "The record has another revision than `If-Match` says: `revision_changed`.",
		http.StatusRequestEntityTooLarge: "The body is too large: `body_too_large`, `too_large`.",
		http.StatusUnsupportedMediaType:  "The body has a Content-Encoding: `content_encoding_unsupported`.",
		http.StatusUnprocessableEntity:   "No record can be made of it: `invalid_record`, with the members that are wrong; `idempotency_key_reused`; or the policy could not be evaluated.",
		http.StatusTooManyRequests:       "Too many requests, or sign-ins: `rate_limited`, `too_many_sign_ins`.",
		http.StatusInternalServerError:   "Something went wrong here: `internal`. The operator finds it in the log, by the request id.",
		http.StatusNotImplemented:        "The server sends no mail: `mail_not_configured`.",
		http.StatusServiceUnavailable:    "Not now: `busy`, `too_many_heavy_requests`, `too_many_waiting`, `revision_not_reached`, `stopping`, `dns_unavailable`.",
	}
}

func headerWords() map[string]string {
	return map[string]string{
		fiber.HeaderETag: "The revision of the record, in quotes.", fiber.HeaderXRequestID: "That of the request, or one that was made for it.",
		maybe + fiber.HeaderETag: "The version of the resource.", maybe + fiber.HeaderLocation: "Where the resource is.",
		maybe + fiber.HeaderRetryAfter:      "Seconds to wait, where that is known.",
		maybe + fiber.HeaderWWWAuthenticate: "How to authenticate, where that would help.",
		"RateLimit":                         "What remains of the limits (draft-ietf-httpapi-ratelimit-headers).", "RateLimit-Policy": "The limits.", "DPoP-Nonce": "For the next proof (RFC 9449 §8.2).",
		"Deprecation": "The credential came in the query (RFC 9745).", "Idempotency-Replayed": "The answer is that to the first request with this key.",
		fiber.HeaderWWWAuthenticate: "How to authenticate (RFC 9110 §11.6.1).", fiber.HeaderRetryAfter: "Seconds to wait.", fiber.HeaderLocation: "Where the browser goes.",
		fiber.HeaderSetCookie: "The browser's id, or its session.", fiber.HeaderPragma: "no-cache.", fiber.HeaderContentSecurityPolicy: "What the page may load.",
		fiber.HeaderXFrameOptions: "DENY.", fiber.HeaderXContentTypeOptions: "nosniff.", fiber.HeaderReferrerPolicy: "no-referrer.",
	}
}

// parameterWords describe those of queries, but filters, which are members of the records.
func parameterWords() map[string]string {
	words := map[string]string{"limit": "How many at most: 50 when it is left out.", "cursor": "The next_cursor of the page before.",
		"at_least": "A revision to wait for, that of an answer to a write: what it changed counts."}
	for name, about := range map[string]string{"filter": "Only those that match (RFC 7644 §3.4.2.2).", "startIndex": "The first one, counted from 1.", "count": "How many at most.",
		"attributes": "The attributes to show, with commas between them.", "excludedAttributes": "The attributes to leave out, with commas between them."} {
		words[name] = about
	}
	words["as_of"] = "Decide as of a revision, or a time (RFC 3339): with the facts and the policies of then. Who asks is authenticated now, and needs the action `decisions.as_of`."
	for name, about := range map[string]string{"after": "What came after the record with this id, the oldest first; `now` for what comes next.",
		"wait": "With `after`: wait for so many seconds when there is nothing yet.", "since": "Not before this time (RFC 3339), or not longer ago than this, such as `24h`.",
		"until": "Before this time, or longer ago than this.", "kind": "`decision`, `authentication`, `token` or `as_of`.", "point": "The package that decided, such as `mandate/access`.",
		"outcome": "`allow` or `deny`.", "subject": "Who it was about, as type:id.", "action": "What, by its name.", "caller": "Who asked, as type:id.", "reason": "The code of a reason.", "policy_revision": "The policy set that decided."} {
		words[name] = about
	}
	for _, name := range []string{"response_type", "client_id", "redirect_uri", "request_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "resource", "audience",
		"org", "organization", "prompt", "login_hint", "max_age", "code", "iss", "error", "error_description", "user_code", "continue", "orgid", "invitation_url", "note"} {
		words[name] = memberWords(name)
	}
	return words
}

func requestHeaderWords() map[string]string {
	return map[string]string{
		"Idempotency-Key":       "Names the write: repeating it within 24 hours changes nothing and has the same answer.",
		fiber.HeaderIfMatch:     "The ETag of an answer: write only when the record has this revision.",
		fiber.HeaderIfNoneMatch: "`*`: write only when there is no record.",
		"Confirm":               "`true`: the caller knows the change to be dangerous.",
		"DPoP":                  "A proof for the token to be bound to (RFC 9449).",
	}
}
