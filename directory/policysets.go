package directory

import (
	"context"
	"fmt"
	"time"

	"mandate/datastore"
)

// PolicySet is what is known of a stored policy set beside its files, which never change.
type PolicySet struct {
	Pushed time.Time `json:"pushed_at"`
	By     string    `json:"pushed_by"` // who pushed it, as type:id; empty when a source of the configuration gave it
	Source string    `json:"source"`    // push, folder, bundle, server, builtin
	Note   string    `json:"note,omitempty"`
	Files  int       `json:"files"`
	Bytes  int       `json:"bytes"` // of the files
	Chunks int       `json:"chunks"`
	// Activated is when it was last made the active one.
	Activated time.Time `json:"activated_at,omitzero"`
}

// PolicyChunk is a part of the compressed files of a policy set.
type PolicyChunk struct {
	Data []byte `json:"data"`
}

// PolicyState says which policy sets decide.
type PolicyState struct {
	Active string `json:"active"`
	// Activation is the number of the last activation.
	Activation uint64 `json:"activation"`
	// Source is the set that the source of the configuration gave last. It is activated when that changes, and not again
	// after somebody has activated another.
	Source string `json:"source,omitempty"`
	// Shadow is the candidate that decides beside the active set without being answered.
	Shadow string `json:"shadow,omitempty"`
}

// Activation is a change of what decides.
type Activation struct {
	Set    string    `json:"set"`
	Former string    `json:"former,omitempty"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`  // as in PolicySet
	How    string    `json:"how"` // activate, rollback, source
	Note   string    `json:"note,omitempty"`
}

// PolicyReview is what a replay of the decision log says of a set before it is activated.
type PolicyReview struct {
	At        time.Time         `json:"at"`
	Since     time.Time         `json:"since"`
	Decided   uint64            `json:"decided"`
	ToAllow   uint64            `json:"to_allow"`
	ToDeny    uint64            `json:"to_deny"`
	Different uint64            `json:"different"`
	Skipped   map[string]uint64 `json:"skipped,omitempty"`
	Groups    []PolicyTurn      `json:"groups"` // that turn from deny to allow
}

// PolicyTurn is a group of requests that turn from deny to allow, or of which it is not known whether they would. Its id stands for the
// set and all but the count and the example.
type PolicyTurn struct {
	ID      string            `json:"id"`
	Unknown string            `json:"unknown,omitempty"` // why it is not known
	Point   string            `json:"point"`
	Rule    string            `json:"rule"`
	Org     string            `json:"org,omitempty"`
	Subject string            `json:"subject"`
	Action  string            `json:"action"`
	Count   uint64            `json:"count"`
	Example PolicyTurnExample `json:"example"`
}

// PolicyTurnExample is one request of a group.
type PolicyTurnExample struct {
	ID       string   `json:"id"` // of the logged decision
	Resource string   `json:"resource"`
	Before   []string `json:"before"` // codes of the reasons
	After    []string `json:"after"`
}

// Acknowledgement says that somebody agrees to what a set turns from deny to allow.
type Acknowledgement struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"` // as in PolicySet
	Note string    `json:"note,omitempty"`
}

// PolicySet is beside the files of all sets, so that listing the sets reads no files.
func (t Tenant) PolicySet(revision string) Place[PolicySet] {
	return place[PolicySet](t, PrivateRoot, "policies", "sets", revision)
}

// PolicySets yields the stored sets, in the order of their revisions.
func (t Tenant) PolicySets(ctx context.Context, r datastore.Reader, do func(revision string, s PolicySet) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "policies", "sets"), func(segments []string, s PolicySet) error {
		return do(segments[len(segments)-1], s)
	})
}

// StagedPolicySet is there from when the files of a large set begin to be stored until the set itself is. Only Pushed and Chunks are set.
func (t Tenant) StagedPolicySet(revision string) Place[PolicySet] {
	return place[PolicySet](t, PrivateRoot, "policies", "staged", revision)
}

// StagedPolicySets yields what is staged, in the order of the revisions.
func (t Tenant) StagedPolicySets(ctx context.Context, r datastore.Reader, do func(revision string, s PolicySet) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "policies", "staged"), func(segments []string, s PolicySet) error {
		return do(segments[len(segments)-1], s)
	})
}

func (t Tenant) PolicyChunk(revision string, n int) Place[PolicyChunk] {
	return place[PolicyChunk](t, PrivateRoot, "policies", "files", revision, fmt.Sprintf("%06d", n))
}

// DeletePolicySet removes a set with its files, and what was said of it.
func (t Tenant) DeletePolicySet(ctx context.Context, tx datastore.Tx, revision string, s PolicySet) error {
	paths := []datastore.Path{t.PolicySet(revision).Path, t.PolicyReview(revision).Path}
	for n := range s.Chunks {
		paths = append(paths, t.PolicyChunk(revision, n).Path)
	}
	err := t.Acknowledgements(ctx, tx, revision, func(group string, _ Acknowledgement) error {
		paths = append(paths, t.Acknowledgement(revision, group).Path)
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := tx.Delete(path); err != nil {
			return fmt.Errorf("delete policy set %s: %w", revision, err)
		}
	}
	return nil
}

func (t Tenant) PolicyState() Place[PolicyState] {
	return place[PolicyState](t, PrivateRoot, "policies", "state")
}

func (t Tenant) Activation(n uint64) Place[Activation] {
	return place[Activation](t, PrivateRoot, "policies", "activations", fmt.Sprintf("%016d", n))
}

func (t Tenant) PolicyReview(revision string) Place[PolicyReview] {
	return place[PolicyReview](t, PrivateRoot, "policies", "reviews", revision)
}

func (t Tenant) Acknowledgement(revision, group string) Place[Acknowledgement] {
	return place[Acknowledgement](t, PrivateRoot, "policies", "acknowledgements", revision, group)
}

// Acknowledgements yields what was acknowledged of a set, by group.
func (t Tenant) Acknowledgements(ctx context.Context, r datastore.Reader, revision string, do func(group string, a Acknowledgement) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "policies", "acknowledgements", revision), func(segments []string, a Acknowledgement) error {
		return do(segments[len(segments)-1], a)
	})
}

// Audits yields the audit records, the newest first.
func (t Tenant) Audits(ctx context.Context, r datastore.Reader, do func(id string, a Audit) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "audit"), func(segments []string, a Audit) error {
		return do(segments[len(segments)-1], a)
	})
}
