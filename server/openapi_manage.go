package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"mandate/manage"
	"mandate/tokens"
)

// collectionOperations are those that all collections have alike.
func collectionOperations() []operation {
	var all []operation
	for _, k := range manage.Kinds() {
		all = append(all, operationsOf(k, kindWords()[k.Name()])...)
	}
	return all
}

func operationsOf(k manage.Kind, w kindWord) []operation {
	record := "/v1/" + k.Path()
	collection := record[:strings.LastIndexByte(record, '/')]
	one, article := camel(w.one), articleOf(w.one)
	e := w.example
	all := []operation{
		{method: http.MethodGet, path: collection, id: "list" + camel(w.many), tag: w.tag, summary: "List " + w.many, about: w.about, action: k.Name() + ".list",
			wire: managementWire(), query: append([]string{"limit", "cursor", "at_least"}, k.Filters()...),
			gives: map[int]content{http.StatusOK: jsonOf(listed{k, w})}, example: e.collection()},
		{method: http.MethodGet, path: record, id: "get" + one, tag: w.tag, summary: "Get " + article + w.one, action: k.Name() + ".get",
			wire: managementWire(), query: []string{"at_least"}, gives: map[int]content{http.StatusOK: jsonOf(documentOf{k, w, ""})}, example: e.one(k)},
	}
	answer := jsonOf(documentOf{k, w, "Written"})
	if k.Writable() {
		both := map[int]content{http.StatusOK: answer, http.StatusCreated: answer}
		all = append(all,
			operation{method: http.MethodPost, path: collection, id: "create" + one, tag: w.tag, summary: "Create " + article + w.one,
				action: k.Name() + ".create", wire: writing(), header: writeHeaders(false), takes: jsonOf(written{k, w, true}),
				gives: map[int]content{http.StatusCreated: answer}, example: e.created()},
			operation{method: http.MethodPut, path: record, id: "replace" + one, tag: w.tag, summary: "Replace " + article + w.one + ", or create it with this id",
				action: k.Name() + ".update` or `" + k.Name() + ".create", wire: writing(), header: append(writeHeaders(true), fiber.HeaderIfNoneMatch),
				takes: jsonOf(written{k, w, false}), gives: both, example: e.replaced(k)},
			operation{method: http.MethodPatch, path: record, id: "patch" + one, tag: w.tag, summary: "Change some members of " + article + w.one,
				about: "The body is a JSON Merge Patch (RFC 7396): it has the members to change, and null for those to remove.", action: k.Name() + ".update",
				wire: writing(), header: writeHeaders(true), takes: content{fiber.MIMEApplicationJSON: patched{k, w}, mergePatchType: patched{k, w}},
				gives: map[int]content{http.StatusOK: answer}, example: e.patched(k)})
	}
	if k.Removable() {
		all = append(all, operation{method: http.MethodDelete, path: record, id: "delete" + one, tag: w.tag, summary: "Delete " + article + w.one, about: w.deleting,
			action: k.Name() + ".delete", wire: writing(), header: writeHeaders(true), gives: map[int]content{http.StatusOK: jsonOf(deleted(k))}, example: e.deleted(k)})
	}
	if k.Name() == manage.Integrations().Name() {
		all = enabling(all)
	}
	return all
}

const mergePatchType = "application/merge-patch+json"

// enabling puts what PUT does to an integration in the place of what it does to all others.
func enabling(all []operation) []operation {
	for i, o := range all {
		if o.method != http.MethodPut {
			continue
		}
		o.id, o.summary, o.action = "enableIntegration", "Let a vendor act for a user", "orgs.integrations.enable"
		o.about = "Makes a credential for the vendor, the user, the organization and the scopes, and sends it to the vendor's webhook in the same transaction, or returns it."
		o.takes = jsonOf(manage.Enabling{})
		all[i] = o
	}
	return all
}

func writeHeaders(conditional bool) []string {
	headers := []string{"Idempotency-Key", "Confirm"}
	if conditional {
		headers = append(headers, fiber.HeaderIfMatch)
	}
	return headers
}

// documentOf is the schema of the documents in which records of the collection are answered: with the suffix, of answers to writes, in
// which secrets are shown that they have made.
type documentOf struct {
	manage.Kind
	word   kindWord
	suffix string
}

// listed is the schema of a page, written that of a body that replaces a record or creates one, and patched that of a patch.
type (
	listed struct {
		manage.Kind
		word kindWord
	}
	written struct {
		manage.Kind
		word kindWord
		made bool // in a collection: the body has the id
	}
	patched struct {
		manage.Kind
		word kindWord
	}
)

// schemaOf is the part of a schema that a collection gives.
type schemaOf interface{ schemaBy(s *schemas) schema }

// record is the object that the collection is made of.
func record(s *schemas, k manage.Kind) schema {
	made := s.reflect(k.Example())
	if made["properties"] == nil {
		made["properties"] = schema{}
	}
	made["additionalProperties"] = false
	if k.Name() == manage.Custom().Name() {
		made = members("value!:any")
	}
	return made
}

func names(list []string, suffix string) []string {
	var all []string
	for _, name := range list {
		all = append(all, name+suffix)
	}
	return all
}

func (d documentOf) schemaBy(s *schemas) schema {
	name := camel(d.word.one) + d.suffix
	if s.named[name] == nil {
		shape := d.Shape()
		more := append(names(shape.Keys, "!"), "revision!:integer")
		if shape.Used {
			more = append(more, "last_used_at")
		}
		if d.suffix != "" {
			more = append(more, shape.Secrets...)
			more = append(more, d.word.secrets...)
		}
		s.named[name] = with(record(s, d.Kind), members(more...))
		if d.suffix != "" && len(shape.Secrets)+len(d.word.secrets) == 0 {
			delete(s.named, name)
			return documentOf{d.Kind, d.word, ""}.schemaBy(s)
		}
	}
	return schema{"$ref": componentSchemas + name}
}

func (l listed) schemaBy(s *schemas) schema {
	return pageOf(documentOf{l.Kind, l.word, ""}.schemaBy(s))
}

// pageOf is the schema of a page of a collection.
func pageOf(item any) schema {
	page := members("items!", "next_cursor", "revision!:integer")
	page["properties"].(schema)["items"] = listOf(item)
	return page
}

func (w written) schemaBy(s *schemas) schema {
	name := camel(w.word.one) + "Body"
	if s.named[name] == nil {
		shape := w.Shape()
		more := append(slices.Clone(shape.Keys), "revision:integer")
		if shape.Used {
			more = append(more, "last_used_at")
		}
		more = append(more, shape.Takes...)
		if slices.Contains(shape.Takes, "password_hash") {
			more = append(more, "password")
		}
		s.named[name] = requiring(with(record(s, w.Kind), members(more...)), w.word.needs...)
	}
	return schema{"$ref": componentSchemas + name}
}

func (p patched) schemaBy(s *schemas) schema {
	name := camel(p.word.one) + "Patch"
	if s.named[name] == nil {
		written{p.Kind, p.word, false}.schemaBy(s)
		s.named[name] = mergePatchOf(s.named[camel(p.word.one)+"Body"])
	}
	return schema{"$ref": componentSchemas + name}
}

func deleted(k manage.Kind) schema {
	return members(append(names(k.Shape().Keys, "!"), "revision!:integer")...)
}

// recordOperations are what can be done to some records beyond that. A path below a record has an entry here.
func recordOperations() []operation {
	integration := documentOf{manage.Integrations(), kindWords()["orgs.integrations"], "Written"}
	answer := func(k manage.Kind) map[int]content {
		return map[int]content{http.StatusOK: jsonOf(documentOf{k, kindWords()[k.Name()], "Written"})}
	}
	all := []operation{
		{path: "/v1/orgs/{org}/invitations/{id}/resend", id: "resendInvitation", tag: "Invitations", summary: "Send an invitation again",
			about: "With another link: the former one leads nowhere from then on. At most once a minute.", action: "orgs.invitations.resend", gives: answer(manage.Invitations())},
		{path: "/v1/orgs/{org}/invitations/{id}/accept", id: "acceptInvitation", tag: "Invitations", summary: "Accept an invitation",
			about: "By the user who calls, or by a backend for the user that it names.", action: "orgs.invitations.accept", takes: jsonOf(members("user")), optional: true, gives: answer(manage.Invitations())},
		{path: "/v1/orgs/{org}/domains/{domain}/verify", id: "verifyDomain", tag: "Domains", summary: "Verify a domain",
			about: "Looks up the TXT record of the domain's challenge now.", action: "orgs.domains.verify", gives: answer(manage.Domains())},
		{path: "/v1/orgs/{org}/connections/{id}/test", id: "testConnection", tag: "Connections", summary: "Test a connection",
			about: "Asks the identity provider for its metadata and its keys, and says what is wrong.", action: "orgs.connections.test",
			gives: map[int]content{http.StatusOK: jsonOf(manage.ConnectionTest{})}},
		{path: "/v1/orgs/{org}/connections/{id}/rotate", id: "rotateConnection", tag: "Connections", summary: "Set the client secret of a connection",
			action: "orgs.connections.rotate", takes: jsonOf(members("client_secret!")), gives: answer(manage.Connections())},
		{path: "/v1/orgs/{org}/integrations/{vendor}/rotate", id: "rotateIntegration", tag: "Integrations", summary: "Make the credential of an integration anew",
			about: "The former one is good for nothing from then on.", action: "orgs.integrations.rotate", takes: jsonOf(members("deliver")), optional: true,
			gives: map[int]content{http.StatusOK: jsonOf(integration)}},
		{path: "/v1/apikeys/{id}/rotate", id: "rotateAPIKey", tag: "API keys", summary: "Make an API key anew", about: "The former one stays good for the overlap, at first for none.",
			action: "apikeys.rotate", takes: jsonOf(members("overlap")), optional: true, gives: answer(manage.APIKeys()), example: example{path: map[string]string{"id": "globex-key"}, body: map[string]any{"overlap": "1h"}}},
		{path: "/v1/clients/{id}/rotate", id: "rotateClientSecret", tag: "Clients", summary: "Make a client secret anew", about: "The former one stays good until it is ended.",
			action: "clients.rotate", takes: jsonOf(members("former")), optional: true, gives: answer(manage.Clients()), example: example{path: map[string]string{"id": "globex-reports"}, body: map[string]any{"former": "keep"}}},
		{method: http.MethodDelete, path: "/v1/clients/{id}/secrets/former", id: "endFormerClientSecret", tag: "Clients", summary: "End the former secret of a client",
			action: "clients.rotate", gives: answer(manage.Clients()), example: example{path: map[string]string{"id": "globex-reports"}}},
		{path: "/v1/vendors/{id}/rotate", id: "rotateVendorToken", tag: "Vendors", summary: "Make the token of a vendor anew", about: "The former one is good for nothing from then on.",
			action: "vendors.rotate", gives: answer(manage.Vendors()), example: example{path: map[string]string{"id": "scanly"}}},
		{path: "/v1/webhooks/{id}/rotate", id: "rotateWebhookSecret", tag: "Webhooks", summary: "Make the secret of a webhook anew", about: "The former one signs beside it for the overlap, at first for none.",
			action: "webhooks.rotate", takes: jsonOf(members("overlap")), optional: true, gives: answer(manage.Webhooks())},
		{path: "/v1/webhooks/{id}/test", id: "testWebhook", tag: "Webhooks", summary: "Send a test event", action: "webhooks.test",
			gives: map[int]content{http.StatusOK: jsonOf(members("delivery!", "revision!:integer"))}},
		{path: "/v1/deliveries/{id}/replay", id: "replayDelivery", tag: "Deliveries", summary: "Try a delivery again that was given up", action: "deliveries.replay",
			gives: map[int]content{http.StatusOK: jsonOf(members("id!", "status!", "type!", "webhook!", "revision!:integer"))}},
		{path: "/v1/users/{user}/reset", id: "resetPassword", tag: "Users", summary: "Mail a user a link by which to set another password", action: "users.password",
			gives: map[int]content{http.StatusOK: jsonOf(members("expires_at!", "revision!:integer"))}},
	}
	all = append(all, ofUsers()...)
	for i := range all {
		o := &all[i]
		if o.method == "" {
			o.method = http.MethodPost
		}
		o.wire = writing()
		o.header = writeHeaders(true)
		if o.id == "testConnection" {
			o.header = nil
		}
	}
	return append(all, listings()...)
}

// ofUsers are those that end what a user is signed in to, or has let clients do.
func ofUsers() []operation {
	var all []operation
	ended := jsonOf(members("ended!:integer", "revision!:integer"))
	for _, what := range [][3]string{{"sessions", "session", "users.sessions.delete"}, {"grants", "grant", "users.grants.delete"}} {
		path := "/v1/users/{user}/" + what[0]
		all = append(all,
			operation{method: http.MethodDelete, path: path, id: "end" + camel(what[0]), tag: "Users", summary: "End all " + what[0] + " of a user", action: what[2],
				gives: map[int]content{http.StatusOK: ended}, example: example{path: map[string]string{"user": "bob"}}},
			operation{method: http.MethodDelete, path: path + "/{id}", id: "end" + camel(what[1]), tag: "Users", summary: "End a " + what[1] + " of a user", action: what[2],
				gives: map[int]content{http.StatusOK: ended}})
	}
	return all
}

// listings are of what is no collection of records.
func listings() []operation {
	page := []string{"limit", "cursor", "at_least"}
	session := members("id!", "org", "connection", "amr!*", "created_at!", "expires_at!")
	grant := members("id!", "type!", "client", "org", "audience!", "scopes!*", "created_at!", "expires_at!")
	integration := integrationsOfVendor{}
	all := []operation{
		{path: "/v1/vendors/{vendor}/integrations", id: "listVendorIntegrations", tag: "Integrations", summary: "List the integrations of a vendor with all organizations",
			about: "Those that the caller may read.", action: "orgs.integrations.get", query: page, gives: map[int]content{http.StatusOK: jsonOf(integration)},
			example: example{path: map[string]string{"vendor": "backupco"}}},
		{path: "/v1/deliveries", id: "listDeliveries", tag: "Deliveries", summary: "List what waits to be delivered, and what was given up", action: "deliveries.list",
			query: append(page, manage.DeliveryFilters()...), gives: map[int]content{http.StatusOK: jsonOf(paged{manage.Delivery{}})}, example: example{ready: true}},
		{path: "/v1/users/{user}/sessions", id: "listSessions", tag: "Users", summary: "List the login sessions of a user", action: "users.sessions.list",
			query: []string{"at_least"}, gives: map[int]content{http.StatusOK: jsonOf(pageOf(session))}, example: example{path: map[string]string{"user": "bob"}}},
		{path: "/v1/users/{user}/grants", id: "listGrants", tag: "Users", summary: "List what a user lets clients do", action: "users.grants.list",
			query: page, gives: map[int]content{http.StatusOK: jsonOf(pageOf(grant))}, example: example{path: map[string]string{"user": "bob"}}},
	}
	for i := range all {
		all[i].method, all[i].wire = http.MethodGet, managementWire()
	}
	return all
}

// paged is a page of what is encoded so.
type paged struct{ item any }

func (p paged) schemaBy(s *schemas) schema { return pageOf(s.reflect(p.item)) }

// integrationsOfVendor is a page of integrations, each with its organization.
type integrationsOfVendor struct{}

func (integrationsOfVendor) schemaBy(s *schemas) schema {
	return pageOf(with(record(s, manage.Integrations()), members("org!", "vendor!", "revision!:integer", "last_used_at")))
}

// keyOperations are those for the signing keys.
func keyOperations() []operation {
	keys := map[int]content{http.StatusOK: jsonOf(listIn{"keys", tokens.Key{}})}
	w := managementWire()
	w.header = slices.DeleteFunc(w.header, func(name string) bool { return name == "Idempotency-Replayed" })
	return []operation{
		{method: http.MethodGet, path: "/v1/keys", id: "listKeys", tag: "Signing keys", summary: "List the signing keys", action: "keys.list", wire: w,
			query: []string{"at_least"}, gives: keys, example: example{ready: true}},
		{method: http.MethodPost, path: "/v1/keys/rotate", id: "rotateKeys", tag: "Signing keys", summary: "Make the next signing key",
			about: "It signs once others can have read it, or at once. Without an algorithm, of each that signs.", action: "keys.rotate", wire: w,
			takes: jsonOf(members("alg", "now:boolean")), optional: true, gives: keys, example: example{body: map[string]any{"alg": "ES256"}}},
		{method: http.MethodPost, path: "/v1/keys/{kid}/revoke", id: "revokeKey", tag: "Signing keys", summary: "Revoke a signing key",
			about: "What it has signed is good for nothing from then on.", action: "keys.revoke", wire: w, gives: keys},
	}
}

// listIn is an object with one member, a list.
type listIn struct {
	name string
	item any
}

func (l listIn) schemaBy(s *schemas) schema {
	made := members(l.name + "!")
	made["properties"].(schema)[l.name] = listOf(s.reflect(l.item))
	return made
}
