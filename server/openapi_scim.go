package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"mandate/server/scim"
)

// provisionings is the wire of SCIM (RFC 7644).
func provisionings() wire {
	w := writing()
	w.name, w.media, w.failed, w.failure = "scim", scim.MediaType, nil, named{"SCIMError", members("schemas!*", "status!", "scimType", "detail")}
	return w
}

// scimOperations are those of the SCIM service of an organization.
func scimOperations() []operation {
	var all []operation
	add := func(method, path, id, summary string, takes any, gives map[int]content) {
		o := operation{method: method, path: "/scim/v2" + path, id: id, tag: "SCIM", summary: summary, wire: provisionings(), gives: gives}
		if takes != nil {
			o.takes = scimOf(takes)
			o.takes[fiber.MIMEApplicationJSON] = takes
		}
		if method == http.MethodGet {
			o.query = []string{"at_least", "filter", "startIndex", "count", "attributes", "excludedAttributes"}
			o.header = []string{scimIfNoneMatch}
		} else {
			o.query = []string{"at_least", "attributes", "excludedAttributes"}
			o.header = []string{"Idempotency-Key", fiber.HeaderIfMatch}
		}
		all = append(all, o)
	}
	search, patch := scimSearch(), scimPatch()
	for _, kind := range []string{"User", "Group"} {
		shown, path := scimResource{kind, true}, "/"+kind+"s"
		one := map[int]content{http.StatusOK: scimOf(shown)}
		list := map[int]content{http.StatusOK: scimOf(scimPage{shown})}
		sent := scimResource{kind, false}
		add(http.MethodGet, path, "listSCIM"+kind+"s", "List the "+kind+"s of the organization", nil, list)
		add(http.MethodPost, path, "createSCIM"+kind, "Create a "+kind, sent, map[int]content{http.StatusCreated: scimOf(shown)})
		add(http.MethodPost, path+"/.search", "searchSCIM"+kind+"s", "Search the "+kind+"s", search, list)
		add(http.MethodGet, path+"/{id}", "getSCIM"+kind, "Get a "+kind, nil, map[int]content{http.StatusOK: scimOf(shown), http.StatusNotModified: nil})
		add(http.MethodPut, path+"/{id}", "replaceSCIM"+kind, "Replace a "+kind, sent, one)
		add(http.MethodPatch, path+"/{id}", "patchSCIM"+kind, "Change a "+kind, patch, map[int]content{http.StatusOK: scimOf(shown), http.StatusNoContent: nil})
		add(http.MethodDelete, path+"/{id}", "deleteSCIM"+kind, "Delete a "+kind, nil, map[int]content{http.StatusNoContent: nil})
	}
	about := openMembers("schemas!*")
	add(http.MethodGet, "/ServiceProviderConfig", "scimConfig", "What is supported", nil, map[int]content{http.StatusOK: scimOf(about)})
	for _, what := range []string{"ResourceTypes", "Schemas"} {
		add(http.MethodGet, "/"+what, "listSCIM"+what, "List the "+what, nil, map[int]content{http.StatusOK: scimOf(scimPage{about})})
		add(http.MethodGet, "/"+what+"/{id}", "getSCIM"+what, "Get one of the "+what, nil, map[int]content{http.StatusOK: scimOf(about)})
	}
	return append(all, scimUnsupported()...)
}

// scimIfNoneMatch is If-None-Match of a GET: the ETag of what the caller has.
const scimIfNoneMatch = "If-None-Match-ETag"

// scimUnsupported are the parts of SCIM that are answered with 501.
func scimUnsupported() []operation {
	var all []operation
	for _, o := range [][2]string{{http.MethodGet, "/Me"}, {http.MethodPut, "/Me"}, {http.MethodPatch, "/Me"}, {http.MethodDelete, "/Me"},
		{http.MethodPost, "/Me"}, {http.MethodPost, "/Bulk"}, {http.MethodPost, "/.search"}} {
		unsupported := operation{method: o[0], path: "/scim/v2" + o[1], id: "unsupportedSCIM" + camel(o[0]) + map[string]string{"/Me": "Me", "/Bulk": "Bulk", "/.search": "Search"}[o[1]],
			tag: "SCIM", summary: "Not supported", wire: provisionings()}
		all = append(all, unsupported)
	}
	return all
}

func scimOf(value any) content { return content{scim.MediaType: value} }

// scimResource is the schema of a resource, made of what the service itself says at /Schemas. What is sent can have more, which is
// passed over, and names in another case (RFC 7643 §2.1).
type scimResource struct {
	kind  string
	shown bool
}

func (r scimResource) schemaBy(s *schemas) schema {
	name := "SCIM" + r.kind
	if !r.shown {
		name += "Body"
	}
	if s.named[name] != nil {
		return schema{"$ref": componentSchemas + name}
	}
	made := members("schemas!*", "id", "externalId", "meta")
	parts := made["properties"].(schema)
	parts["meta"] = members("resourceType!", "location!", "version!", "created", "lastModified")
	for _, described := range scim.Schemas("") {
		attributes, _ := described["attributes"].([]any)
		switch described["id"] {
		case "urn:ietf:params:scim:schemas:core:2.0:" + r.kind:
			scimAttributes(parts, attributes)
		case scim.EnterpriseSchema:
			extension := schema{}
			scimAttributes(extension, attributes)
			if r.kind == "User" {
				parts[scim.EnterpriseSchema] = schema{"type": "object", "properties": extension, "additionalProperties": false}
			}
		}
	}
	if !r.shown {
		made = openMembers("schemas!*")
	}
	s.named[name] = made
	return schema{"$ref": componentSchemas + name}
}

func scimAttributes(into schema, attributes []any) {
	for _, a := range attributes {
		attribute, _ := a.(map[string]any)
		one := schema{"type": "string"}
		switch attribute["type"] {
		case "boolean":
			one = schema{"type": "boolean"}
		case "complex":
			parts := schema{}
			many, _ := attribute["subAttributes"].([]any)
			scimAttributes(parts, many)
			one = schema{"type": "object", "properties": parts, "additionalProperties": false}
		}
		if attribute["multiValued"] == true {
			one = listOf(one)
		}
		if name, ok := attribute["name"].(string); ok {
			into[name] = one
		}
	}
}

// scimPage is a ListResponse.
type scimPage struct{ resource any }

func (p scimPage) schemaBy(s *schemas) schema {
	made := members("schemas!*", "totalResults!:integer", "startIndex!:integer", "itemsPerPage!:integer", "Resources")
	made["properties"].(schema)["Resources"] = listOf(s.of(p.resource))
	return made
}

func scimSearch() schema {
	return openMembers("schemas!*", "filter", "startIndex:integer", "count:integer", "attributes*", "excludedAttributes*")
}

// scimPatch is a PatchOp, of which the names can be in any case.
func scimPatch() schema {
	made := openMembers("schemas!*")
	made["properties"].(schema)["Operations"] = schema{"type": "array"}
	return made
}
