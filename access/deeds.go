package access

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
)

// maxDeeds bounds what is told apart.
const maxDeeds = 10_000

// Deeds is what the decision log says of a party.
type Deeds struct {
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
	Count int        `json:"count"`
	Deeds []Deed     `json:"deeds"`
	// Complete says that the whole log was read, and that nothing was too much to be told apart.
	Complete bool `json:"complete"`
}

// Deed is what it did alike, the most frequent first.
type Deed struct {
	kindOfDeed `json:",inline"`
	Count      int       `json:"count"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
}

// kindOfDeed is what deeds that are alike have in common.
type kindOfDeed struct {
	Kind decisionlog.Kind `json:"kind"`
	// As says in which part: subject or caller.
	As      string `json:"as,omitempty"`
	Action  string `json:"action,omitempty"`
	Org     string `json:"org,omitempty"`
	Outcome string `json:"outcome"`
}

// DeedsOf counts what the log in the folder says of a party, in an organization if one is named, until ctx ends.
func DeedsOf(ctx context.Context, folder string, of Entity, org string) (*Deeds, error) {
	name := of.Type + ":" + of.ID
	subject, caller := decisionlog.Query{Subject: name, Org: org, OldestFirst: true}, decisionlog.Query{Caller: name, Org: org, OldestFirst: true}
	alike := map[kindOfDeed]*Deed{}
	d := &Deeds{Deeds: []Deed{}, Complete: true}
	for _, part := range []struct {
		query decisionlog.Query
		as    string
		other func(*decisionlog.Record) bool // what another part counts, or nobody
	}{
		{subject, "subject", func(*decisionlog.Record) bool { return false }},
		{caller, "caller", func(r *decisionlog.Record) bool { return subject.Matches(r) }},
		{decisionlog.Query{Kind: decisionlog.Authentication, Org: org, OldestFirst: true}, "", func(r *decisionlog.Record) bool {
			return !inDetails(r.Description.Details, of) || subject.Matches(r) || caller.Matches(r)
		}},
		{decisionlog.Query{Kind: decisionlog.Token, Org: org, OldestFirst: true}, "", func(r *decisionlog.Record) bool {
			return !inDetails(r.Description.Details, of) || subject.Matches(r) || caller.Matches(r)
		}},
	} {
		for r, err := range decisionlog.Find(ctx, folder, part.query) {
			if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				d.Complete = false
				break
			}
			if err != nil {
				return nil, err
			}
			if !part.other(&r) {
				d.count(alike, deedOf(&r, part.as), r.ID.Time().UTC())
			}
		}
	}
	for _, deed := range alike {
		d.Deeds = append(d.Deeds, *deed)
	}
	slices.SortFunc(d.Deeds, func(a, b Deed) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Org, b.Org),
			cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.As, b.As))
	})
	return d, nil
}

func (d *Deeds) count(alike map[kindOfDeed]*Deed, of kindOfDeed, at time.Time) {
	d.Count++
	if d.First == nil || at.Before(*d.First) {
		d.First = &at
	}
	if d.Last == nil || at.After(*d.Last) {
		d.Last = &at
	}
	deed := alike[of]
	if deed == nil {
		if len(alike) == maxDeeds {
			d.Complete = false
			return
		}
		deed = &Deed{kindOfDeed: of, First: at}
		alike[of] = deed
	}
	deed.Count++
	deed.Last = at
}

// deedOf reads what a record is about.
func deedOf(r *decisionlog.Record, as string) kindOfDeed {
	d := &r.Description
	of := kindOfDeed{Kind: d.Kind, As: as, Outcome: "deny"}
	if r.Allow {
		of.Outcome = "allow"
	}
	var in struct {
		Action struct {
			Name string `json:"name"`
		} `json:"action"`
		Resource struct {
			Type       string `json:"type"`
			ID         string `json:"id"`
			Properties struct {
				Org string `json:"org"`
			} `json:"properties"`
		} `json:"resource"`
		Request struct {
			Stage     string `json:"stage"`
			GrantType string `json:"grant_type"`
			Org       string `json:"org"`
		} `json:"request"`
	}
	if len(d.Input) > 0 {
		// What is of another type than it should be stays empty.
		_ = json.Unmarshal(d.Input, &in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	}
	of.Action, of.Org = in.Action.Name, cmp.Or(in.Resource.Properties.Org, in.Request.Org)
	if in.Resource.Type == Organization {
		of.Org = in.Resource.ID
	}
	if in.Request.Stage != "" {
		of.Action = "token:" + cmp.Or(in.Request.GrantType, in.Request.Stage)
	}
	if of.Action == "" {
		of.Action = cmp.Or(d.Details["grant_type"], d.Details["grant"], d.Details["credential"])
	}
	return of
}

// inDetails says whether what a failed authentication or a token is described by names the party.
func inDetails(details map[string]string, of Entity) bool {
	for _, value := range details {
		if value == of.ID || value == of.Type+":"+of.ID {
			return true
		}
	}
	return false
}
