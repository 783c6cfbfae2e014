package access

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"mandate/decisionlog"
)

// tracesOfShape is how many questions of one shape are traced: a trace costs a hundred times what a decision does.
const tracesOfShape = 3

// shape is what was traced of questions of one shape, and which rules held in them.
type shape struct {
	traced int
	uses   []use
}

// shapeOf is alike for questions that differ only in who and what they are about: the same policies, outcome and reason, an input
// with the same members, types and names, and facts of the same kinds that were there or not.
func shapeOf(d *decisionlog.Description) string {
	kinds := map[string]bool{}
	for _, path := range d.Footprint {
		at := strings.Split(path, "/")
		for i := 1; i < len(at); i++ {
			if i%2 == 1 || strings.HasSuffix(at[0], "relations") {
				at[i] = "*" // ids and collections take turns
			}
		}
		kinds[strings.Join(at, "/")] = true
	}
	parts := slices.Sorted(maps.Keys(kinds))
	for _, reason := range d.Reasons {
		parts = append(parts, reason.Code)
	}
	var in any
	if json.Unmarshal(d.Input, &in) != nil {
		in = nil
	}
	return strings.Join(append(parts, d.Point, d.PolicyRevision, inputShape("", in)), "\x00")
}

func inputShape(name string, value any) string {
	switch v := value.(type) {
	case map[string]any:
		var parts []string
		for _, member := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, member+":"+inputShape(member, v[member]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		parts := map[string]bool{}
		for _, element := range v {
			parts[inputShape(name, element)] = true
		}
		return "[" + strings.Join(slices.Sorted(maps.Keys(parts)), ",") + "]"
	case string:
		switch name {
		case "type", "name", "stage", "grant_type", "kind", "scopes", "audience":
			return v
		}
		return "text"
	case float64:
		return "number"
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return "null"
}
