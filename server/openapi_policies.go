package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"mandate/manage"
)

// policyOperations are those of the policy sets.
func policyOperations() []operation {
	page := []string{"limit", "cursor", "at_least"}
	least := []string{"at_least"}
	set := map[int]content{http.StatusOK: jsonOf(withRevision{manage.PolicySet{}})}
	active := example{path: map[string]string{"set": "active"}}
	noted := jsonOf(requiring(members("note")))
	bundle := schema{"type": "string", "format": "binary"}
	all := []operation{
		{method: http.MethodGet, path: "/v1/policies", id: "listPolicySets", summary: "List the policy sets", about: "The newest first.", action: "policies.list", query: page,
			gives: map[int]content{http.StatusOK: jsonOf(pageOf(withRevision{manage.PolicySet{}}))}, example: example{ready: true}},
		{path: "/v1/policies", id: "pushPolicySet", summary: "Store a policy set",
			about:  "An OPA bundle, or its files. It is admitted only if it compiles in strict mode, its tests pass and it defines the three entry points: all that is wrong is in `errors`, with file:line as the field. One set at a time is tried out.",
			action: "policies.push", query: []string{"note"},
			takes: content{fiber.MIMEApplicationJSON: manage.PolicyFiles{}, bundleTypes()[0]: bundle, bundleTypes()[1]: bundle},
			gives: map[int]content{http.StatusOK: set[http.StatusOK], http.StatusCreated: set[http.StatusOK]}},
		{method: http.MethodGet, path: "/v1/policies/activations", id: "listActivations", summary: "List what was active", about: "The last activation first.", action: "policies.list", query: page,
			gives: map[int]content{http.StatusOK: jsonOf(paged{manage.PolicyActivation{}})}, example: example{ready: true}},
		{path: "/v1/policies/rollback", id: "rollBackPolicies", summary: "Go back to the policy set before",
			about:  "To the set that was active before the active one or, with `to`, to that of another activation. Repeating it goes further back. One person may do it, also where activating takes two.",
			action: "policies.rollback", takes: jsonOf(manage.PolicyRollback{}), optional: true, gives: set},
		{method: http.MethodDelete, path: "/v1/policies/shadow", id: "endPolicyShadow", summary: "End the shadow", action: "policies.shadow", gives: set},
		{method: http.MethodGet, path: "/v1/policies/{set}", id: "getPolicySet", summary: "Get a policy set", about: "With its files' names, its tests, and its last activations.", action: "policies.get", query: least,
			gives: set, example: active},
		{method: http.MethodGet, path: "/v1/policies/{set}/files", id: "readPolicyFiles", summary: "Read the files of a policy set", action: "policies.get", query: least,
			gives: map[int]content{http.StatusOK: jsonOf(manage.PolicyFiles{})}},
		{method: http.MethodGet, path: "/v1/policies/{set}/diff/{other}", id: "diffPolicySets", summary: "Compare two policy sets", about: "A unified diff of each file that differs.", action: "policies.get",
			query: least, gives: map[int]content{http.StatusOK: jsonOf(manage.PolicyDiff{})}, example: example{path: map[string]string{"set": "active", "other": "source"}}},
		{method: http.MethodGet, path: "/v1/policies/{set}/review", id: "getPolicyReview", summary: "What would a policy set turn from deny to allow?",
			about: "As the replay before its last activation found, which was refused because of it, and who has acknowledged it.", action: "policies.get", query: least,
			gives: map[int]content{http.StatusOK: jsonOf(withRevision{manage.PolicyReview{}})}},
		{path: "/v1/policies/{set}/activate", id: "activatePolicySet", summary: "Make a policy set decide",
			about:  "Once it is answered, every decision is by this set. Where two persons are needed, who pushed it cannot, and the answer is `not_acknowledged`, with the groups of requests that would turn from deny to allow, or of which that is not known, until another person has acknowledged them.",
			action: "policies.activate", takes: noted, optional: true, gives: set},
		{path: "/v1/policies/{set}/shadow", id: "shadowPolicySet", summary: "Let a policy set decide beside the active one", about: "What it decides is not answered.", action: "policies.shadow", takes: noted, optional: true, gives: set},
		{path: "/v1/policies/{set}/acknowledge", id: "acknowledgePolicySet", summary: "Acknowledge what a policy set turns from deny to allow",
			about: "By another person than who pushed it. It holds for the groups that are named.", action: "policies.acknowledge", takes: jsonOf(manage.PolicyAcknowledging{}),
			gives: map[int]content{http.StatusOK: jsonOf(withRevision{manage.PolicyReview{}})}},
	}
	for i := range all {
		o := &all[i]
		o.tag, o.wire = "Policies", managementWire()
		if o.method == http.MethodGet {
			continue
		}
		o.wire, o.header = writing(), writeHeaders(true)
		if o.method == "" {
			o.method = http.MethodPost
		}
	}
	return all
}

// withRevision is the schema of a document that has the revision of what it shows.
type withRevision struct{ document any }

func (w withRevision) schemaBy(s *schemas) schema {
	return with(s.reflect(w.document), members("revision!:integer"))
}

// policyWords describe the members of policy sets.
func policyWords(name string) string {
	switch name {
	case "set":
		return "A policy set: its revision, at least seven characters that only its revision begins with, or active, former, shadow or source."
	case "other":
		return "The policy set that it is compared with, named alike."
	case "note":
		return "What people say of it."
	case "files":
		return "The files, in the order of their names."
	case "pushed_at":
		return "When it was stored."
	case "pushed_by":
		return "Who pushed it, as type:id; nobody did when it came from a source of the configuration."
	case "source":
		return "Where it came from: push, folder, bundle, server or builtin."
	case "bytes":
		return "The size."
	case "tests":
		return "How many tests it has."
	case "entry_points":
		return "The decisions that it defines."
	case "activations":
		return "When it was made active, the last time first."
	case "number":
		return "The number of the activation."
	case "how":
		return "activate, rollback or source."
	case "to":
		return "The number of an activation, or the other policy set."
	case "from":
		return "The policy set that is compared."
	case "change":
		return "added, removed or changed."
	case "diff":
		return "A unified diff."
	case "text":
		return "The content."
	case "groups":
		return "Requests that turn alike."
	case "since":
		return "From when on decisions were replayed."
	case "decided":
		return "How many were decided again."
	case "to_allow":
		return "How many turn from deny to allow."
	case "to_deny":
		return "How many turn from allow to deny."
	case "different":
		return "How many have the same outcome with other reasons, obligations or grants."
	case "skipped":
		return "How many could not be decided again, by why."
	case "unknown":
		return "Why it is not known whether these requests turn from deny to allow."
	case "rule":
		return "The code of the first reason of the set."
	case "count":
		return "How many."
	case "example":
		return "One of them."
	case "acknowledged_by":
		return "Who has acknowledged it, as type:id."
	case "acknowledged_at":
		return "When it was acknowledged."
	}
	return replayWords(name)
}

// turnMembers is the schema of a group of requests that turn from deny to allow.
func turnMembers() schema { return schema{"$ref": componentSchemas + "PolicyTurn"} }
