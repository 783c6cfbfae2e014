package partneriam

import (
	"maps"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/directory"
)

// notesKey is the member of an organization's metadata in which the notes are. Every member of the organization may read it.
const notesKey = "partner_iam"

// notes are what the wire has of an organization and Mandate has no record for.
type notes struct {
	Display     *display                   `json:"display,omitempty"`
	Restricted  bool                       `json:"is_auth_restricted_to_domain,omitzero"`
	Policies    policies                   `json:"policies,omitzero"`
	Connections map[string]connectionNotes `json:"connections,omitempty"` // by their ids
	CreatedAt   time.Time                  `json:"created_at,omitzero"`
	ModifiedAt  time.Time                  `json:"modified_at,omitzero"`
}

// notesOf are the notes of an organization. Whoever manages it may have written something else there: then there are none. Who joins is
// never read from there.
func notesOf(o directory.Org) notes {
	var n notes
	text, err := json.Marshal(o.Metadata[notesKey])
	if err != nil || json.Unmarshal(text, &n) != nil {
		n = notes{}
	}
	n.Policies.JITPolicy, n.Policies.MemberPolicy = nil, nil
	if n.Connections == nil {
		n.Connections = map[string]connectionNotes{}
	}
	return n
}

// with is the organization with these notes.
func (n notes) with(o directory.Org) directory.Org {
	o.Metadata = maps.Clone(o.Metadata)
	if o.Metadata == nil {
		o.Metadata = map[string]any{}
	}
	o.Metadata[notesKey] = n
	return o
}
