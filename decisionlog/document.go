package decisionlog

import (
	"cmp"
	"time"

	"mandate/datastore"
)

// DecisionRecord is a record as it is shown and sent, as JSON.
type DecisionRecord struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Tenant is whose record it is.
	Tenant       string             `json:"tenant"`
	DataRevision datastore.Revision `json:"data_revision"`
	// Took is in nanoseconds.
	Took        int64 `json:"took_ns"`
	Remembered  bool  `json:"remembered"`
	Uncommitted bool  `json:"uncommitted,omitzero"`
	Description `json:",embed"`
}

// Document is the record of a tenant as it is shown and sent.
func (r Record) Document(tenant string) DecisionRecord {
	return DecisionRecord{ID: r.ID.String(), Time: r.ID.Time().UTC(), Tenant: tenant, DataRevision: r.DataRevision, Took: int64(r.Took),
		Remembered: r.Remembered, Uncommitted: r.Uncommitted, Description: r.Description}
}

// About is what a person looks for in a record: who may do what on what. Parties and resources are type:id.
type About struct{ Subject, Action, Resource, Org, Caller string }

// About is what the record is about. The subject is the principal, when a credential was asked about.
func (d *Description) About() About {
	t := termsOf(d)
	last := func(field int) string {
		if len(t[field]) == 0 {
			return ""
		}
		return t[field][len(t[field])-1]
	}
	about := About{Subject: last(fieldSubject), Action: last(fieldAction), Resource: last(fieldResource), Org: last(fieldOrg), Caller: last(fieldCaller)}
	if d.Kind != Decision {
		about.Action = string(d.Kind)
		about.Org = cmp.Or(about.Org, d.Details["org"])
		about.Subject = cmp.Or(about.Subject, d.Details["subject"], d.Details["client"], d.Details["credential_id"])
	}
	return about
}
