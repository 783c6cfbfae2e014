package directory

import (
	"fmt"
	"time"
)

// PolicySet is what is known of a stored policy set beside its files, which never change.
type PolicySet struct {
	Pushed time.Time `json:"pushed_at"`
	By     string    `json:"pushed_by"` // subject of who pushed it; empty when a source of the configuration gave it
	Source string    `json:"source"`    // push, folder, bundle, server, builtin
	Note   string    `json:"note,omitempty"`
	Files  int       `json:"files"`
	Bytes  int       `json:"bytes"` // of the files
	Chunks int       `json:"chunks"`
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

func (t Tenant) PolicySet(revision string) Place[PolicySet] {
	return place[PolicySet](t, PrivateRoot, "policysets", revision, "set")
}

func (t Tenant) PolicyChunk(revision string, n int) Place[PolicyChunk] {
	return place[PolicyChunk](t, PrivateRoot, "policysets", revision, "chunks", fmt.Sprintf("%06d", n))
}

func (t Tenant) PolicyState() Place[PolicyState] {
	return place[PolicyState](t, PrivateRoot, "policies", "state")
}

func (t Tenant) Activation(n uint64) Place[Activation] {
	return place[Activation](t, PrivateRoot, "policies", "activations", fmt.Sprintf("%016d", n))
}
