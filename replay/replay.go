// Package replay decides again what the decision log says was decided, each decision at its own revision of the facts and its
// own instant, by another policy set: what would this change have done?
//
// It must never change anything, record what it decides, or take a decision that it could not make for an unchanged one.
package replay

import (
	"context"
	"errors"
	"iter"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/engine"
)

// Options of a replay.
type Options struct {
	Store     datastore.Store
	Engine    *engine.Engine
	Candidate *engine.PolicySet
	Records   iter.Seq2[decisionlog.Record, error]
	Workers   int // as many as there are processors when zero
	Examples  int // of each group; 3 when zero
	// Progress is told now and then how many records are done, from the calling goroutine.
	Progress func(done uint64)
}

// Report is what a replay has found.
type Report struct {
	Candidate string `json:"candidate"`
	Decided   uint64 `json:"decided"` // records decided again
	ToAllow   uint64 `json:"to_allow"`
	ToDeny    uint64 `json:"to_deny"`
	// Different are those of the same outcome with other reasons, obligations or grants.
	Different uint64            `json:"different"`
	Skipped   map[string]uint64 `json:"skipped,omitempty"` // by why: masked, history_gone, uncommitted, no_decision
	Groups    []Group           `json:"groups,omitempty"`  // the largest first
}

// Group is requests that turn alike.
type Group struct {
	Turns    string    `json:"turns"` // allow, deny, different
	Point    string    `json:"point"`
	Rule     string    `json:"rule"` // code of the first reason, of the set that allows
	Org      string    `json:"org,omitempty"`
	Subject  string    `json:"subject"` // type:id
	Action   string    `json:"action"`
	Count    uint64    `json:"count"`
	Examples []Example `json:"examples"`
}

// Example is one of the requests of a group.
type Example struct {
	ID       decisionlog.ID       `json:"id,string"`
	Resource string               `json:"resource"`
	Before   []decisionlog.Reason `json:"before"`
	After    []decisionlog.Reason `json:"after"`
}

// Run replays the records.
func Run(context.Context, Options) (*Report, error) { return nil, errors.New("not there yet") }
