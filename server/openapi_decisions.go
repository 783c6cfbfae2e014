package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"

	"mandate/decisionlog"
)

// decisionOperations are those that decide.
func decisionOperations() []operation {
	least, then := []string{"at_least"}, []string{"at_least", "as_of"}
	one, decided := jsonOf(named{"EvaluationRequest", evaluationRequestOf()}), jsonOf(named{"Decision", decisionOf()})
	carol := question("carol", "documents:write")
	return []operation{
		{method: http.MethodPost, path: "/access/v1/evaluation", id: "evaluate", tag: "Decisions", summary: "Decide one question",
			about: "AuthZEN Access Evaluation (§6). A subject of the type `credential` is authenticated first: `caller`, or one that the caller was given.",
			wire:  past(authZEN()), query: then, takes: one, gives: map[int]content{http.StatusOK: decided}, example: example{body: carol, as: "documents-gateway"}},
		{method: http.MethodPost, path: "/access/v1/evaluations", id: "evaluateAll", tag: "Decisions", summary: "Decide many questions",
			about: "AuthZEN Access Evaluations (§7): up to 1000, with defaults. Without any it is one evaluation.", wire: past(authZEN()), query: then,
			takes:   jsonOf(named{"EvaluationsRequest", evaluationsRequestOf()}),
			gives:   map[int]content{http.StatusOK: jsonOf(schema{"anyOf": []any{decisionsOf(), schema{"$ref": componentSchemas + "Decision"}}})},
			example: example{body: questions(carol, "alice", "erin"), as: "documents-gateway"}},
		{method: http.MethodPost, path: "/v1/explain", id: "explain", tag: "Decisions", summary: "Decide one question, and say why",
			about:  "Which rule allowed it, or what each rule that could have allowed it failed by, what would have to be different, and all rules that were tried and facts that were read.",
			action: "decisions.explain", wire: past(managementWire()), query: then, takes: one,
			gives: map[int]content{http.StatusOK: jsonOf(Explained{})}, example: example{body: question("bob", "documents:write")}},
		{method: http.MethodPost, path: "/v1/data", id: "queryAllData", tag: "Decisions", summary: "Evaluate all policy documents", action: "data.query", wire: managementWire(),
			query: least, takes: jsonOf(openMembers("input:any")), optional: true, gives: map[int]content{http.StatusOK: jsonOf(members("decision_id!", "result:any"))}},
		{method: http.MethodPost, path: "/v1/data/{path}", id: "queryData", tag: "Decisions", summary: "Evaluate a policy document, as OPA's Data API does",
			about: "Without `result` when the document is undefined.", action: "data.query", wire: managementWire(), query: least, takes: jsonOf(openMembers("input:any")), optional: true,
			gives:   map[int]content{http.StatusOK: jsonOf(members("decision_id!", "result:any"))},
			example: example{path: map[string]string{"path": "roles/viewer"}, body: map[string]any{"input": map[string]any{}}}},
		{method: http.MethodGet, path: "/v1/decisions", id: "listDecisions", tag: "Decisions", summary: "Find what was decided", action: "decisions.list", wire: managementWire(),
			about: "The newest first, or with `after` what came after a record, oldest first; then `wait` waits for the next one. A page ends early when it is large or takes long, and can so be empty: `next_cursor` goes on. `org` asks as somebody of that organization may.",
			query: append(least, recordParameters()...), gives: map[int]content{http.StatusOK: jsonOf(recordListing{})}},
		{method: http.MethodGet, path: "/v1/decisions/{id}", id: "showDecision", tag: "Decisions", summary: "Show what was decided", action: "decisions.get", wire: managementWire(),
			query: least, gives: map[int]content{http.StatusOK: jsonOf(decisionlog.DecisionRecord{})}},
		{method: http.MethodGet, path: "/v1/decisions/{id}/explanation", id: "explainDecision", tag: "Decisions", summary: "Make a decision again, and say why", action: "decisions.explain",
			about: "By its own policy set, on the facts and at the instant of then. For whom it is permitted within an organization only, the facts of others are left out.",
			wire:  past(managementWire()), query: least, gives: map[int]content{http.StatusOK: jsonOf(Explained{})}},
		{method: http.MethodGet, path: "/v1/decisions/{id}/scenario", id: "scenarioOfDecision", tag: "Decisions", summary: "Write a decision as a test of the policies", action: "decisions.explain",
			about: "A scenario file with the least facts that come to the same decision.", wire: past(managementWire()), query: least,
			gives: map[int]content{http.StatusOK: jsonOf(scenarioFile{})}},
	}
}

// past is the wire of what can be asked about earlier instants, of which history has an end.
func past(w wire) wire {
	w.name += "Past"
	w.statuses = append(w.statuses, http.StatusGone)
	return w
}

func question(user, action string) map[string]any {
	return map[string]any{"subject": map[string]any{"type": "user", "id": user}, "action": map[string]any{"name": action},
		"resource": map[string]any{"type": "document", "id": "report", "properties": map[string]any{"org": "acme"}}}
}

func questions(defaults map[string]any, users ...string) map[string]any {
	var items []any
	for _, user := range users {
		items = append(items, map[string]any{"subject": map[string]any{"type": "user", "id": user}})
	}
	return map[string]any{"action": defaults["action"], "resource": defaults["resource"], "evaluations": items}
}

// evaluationRequestOf is an Access Evaluation request (AuthZEN §6.1). Members that are not known are ignored.
func evaluationRequestOf() schema {
	return requiring(evaluationParts(), "subject", "action", "resource")
}

func evaluationParts() schema {
	entity := func(members ...string) schema {
		made := openMembers(append(members, "properties:object")...)
		for _, name := range []string{"type", "id", "name"} {
			if s, ok := made["properties"].(schema)[name].(schema); ok {
				s["minLength"] = 1
			}
		}
		return made
	}
	made := openMembers("context:object")
	parts := made["properties"].(schema)
	parts["subject"], parts["action"], parts["resource"] = entity("type!", "id!"), entity("name!"), entity("type!", "id!")
	for part, words := range map[string]string{"subject": "Who.", "action": "Does what.", "resource": "To what."} {
		parts[part].(schema)["description"] = words
	}
	return made
}

func evaluationsRequestOf() schema {
	made := evaluationParts()
	parts := made["properties"].(schema)
	// An item that is wrong is a denial with an error, and a default that no item uses is not looked at.
	for _, part := range []string{"subject", "action", "resource", "context"} {
		parts[part] = schema{"description": "The default of " + part + " for all evaluations."}
	}
	parts["evaluations"] = schema{"description": memberWords("evaluations"), "type": "array", "maxItems": maxEvaluations, "items": schema{}}
	options := openMembers("evaluations_semantic")
	options["properties"].(schema)["evaluations_semantic"] = schema{"type": "string", "enum": []any{executeAll, denyOnFirstDeny, permitOnFirstPermit}}
	options["description"] = "How many of them to answer."
	parts["options"] = options
	return made
}

// decisionOf is a Decision (AuthZEN §5.5).
func decisionOf() schema {
	context := members("decision_id!", "reasons!", "obligations!", "policy_revision!", "data_revision!:integer", "as_of", "error")
	parts := context["properties"].(schema)
	parts["reasons"] = listOf(members("code!", "message!"))
	parts["obligations"] = listOf(schema{})
	parts["error"] = members("status!:integer", "message!")
	made := members("decision!:boolean", "context!")
	context["description"] = "Why, and at which revisions."
	made["properties"].(schema)["context"] = context
	return made
}

// serviceOperations are those of the whole service, which the default tenant has.
func serviceOperations() []operation {
	status := func(more ...string) content { return jsonOf(members(append([]string{"status!"}, more...)...)) }
	return []operation{
		{method: http.MethodGet, path: "/healthz", id: "health", tag: "Service", summary: "Is the process alive?", wire: documents(), rooted: true,
			gives: map[int]content{http.StatusOK: status()}, example: example{ready: true, anonymous: true}},
		{method: http.MethodGet, path: "/readyz", id: "readiness", tag: "Service", summary: "Can it answer requests?", wire: documents(), rooted: true,
			gives: map[int]content{http.StatusOK: status("revision!:integer", "policies!"), http.StatusServiceUnavailable: status()}, example: example{ready: true, anonymous: true}},
		{method: http.MethodGet, path: "/metrics", id: "metrics", tag: "Service", summary: "Figures of the service, for Prometheus", action: "metrics.read", wire: measuring(), rooted: true,
			query: []string{"at_least"}, gives: map[int]content{http.StatusOK: {fiber.MIMETextPlain: schema{"type": "string"}}}},
	}
}

// decisionsOf are the answers to several questions.
func decisionsOf() schema {
	made := members("evaluations!")
	made["properties"].(schema)["evaluations"] = listOf(schema{"$ref": componentSchemas + "Decision"})
	return made
}
