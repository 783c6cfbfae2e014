package server

import (
	"net/http"

	"mandate/replay"
)

// replayOperations are those that say what a policy set would have decided.
func replayOperations() []operation {
	const tag = "Policies"
	least := []string{"at_least"}
	replayed := jsonOf(Replay{})
	return []operation{
		{method: http.MethodPost, path: "/v1/policies/{set}/replays", id: "startReplay", tag: tag, summary: "Decide again what was decided, by this policy set",
			about: "Each logged decision at its own revision of the facts and its own instant. It runs until its end, one at a time: read what it finds. " +
				"It takes `policies.get` of the set as well.", action: "policies.replay", wire: managementWire(),
			query: least, takes: jsonOf(ReplayRequest{}), optional: true, gives: map[int]content{http.StatusCreated: replayed}},
		{method: http.MethodGet, path: "/v1/policies/replay", id: "readReplay", tag: tag, summary: "Read the last replay", about: "How far it has come, or what it has found.",
			action: "policies.replay", wire: managementWire(), query: least, gives: map[int]content{http.StatusOK: replayed}},
		{method: http.MethodDelete, path: "/v1/policies/replay", id: "cancelReplay", tag: tag, summary: "Cancel the replay that runs", action: "policies.replay",
			wire: managementWire(), query: least, gives: map[int]content{http.StatusOK: replayed}},
		{method: http.MethodGet, path: "/v1/policies/shadow/report", id: "readShadow", tag: tag, summary: "Read what the shadow has found",
			about:  "What the policy set beside the active one decides differently, since when. A decision that was compared counts again only when it is made anew.",
			action: "policies.shadow", wire: managementWire(), query: least, gives: map[int]content{http.StatusOK: jsonOf(replay.Live{})}},
	}
}

// replayWords describe the members of replays.
func replayWords(name string) string {
	switch name {
	case "until":
		return "Until when decisions are replayed."
	case "point":
		return "The package that decided, such as mandate/access."
	case "sample":
		return "The share of the decisions, above 0 and at most 1."
	case "limit":
		return "How many decisions at most."
	case "workers":
		return "How many processors work on it."
	case "started_at":
		return "When it began."
	case "ended_at":
		return "When it ended."
	case "done":
		return "How many records are done."
	case "percent":
		return "How much of the time that it goes over is done."
	case "report":
		return "What has turned."
	case "candidate":
		return "The revision of the policy set that decided again."
	case "active":
		return "The revision of the policy set that answers."
	case "turns":
		return "What it turns to: allow, deny or, with other reasons, obligations or grants, different."
	case "examples":
		return "The first of them."
	case "before":
		return "The reasons of the answer."
	case "after":
		return "The reasons of the candidate."
	case "rules":
		return "The rules that held where it allows, else those that did not, with the condition that failed."
	}
	return ""
}
