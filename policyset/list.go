package policyset

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"mandate/datastore"
	"mandate/directory"
)

// maxActivations is how far back the set that was active before is looked for.
const maxActivations = 1000

// ErrNoFormer is returned when no other set was active before.
var ErrNoFormer = errors.New("no other policy set was active before")

// Stored is a set that is stored.
type Stored struct {
	Revision string
	directory.PolicySet
	Active, Shadow bool
}

// Sets are all that are stored, the newest first.
func (l *Library) Sets(ctx context.Context, r datastore.Reader) ([]Stored, error) {
	state, _, err := l.State(ctx, r)
	if err != nil {
		return nil, err
	}
	var sets []Stored
	err = l.o.Tenant.PolicySets(ctx, r, func(revision string, set directory.PolicySet) error {
		sets = append(sets, Stored{revision, set, revision == state.Active, revision == state.Shadow})
		return nil
	})
	slices.SortFunc(sets, func(a, b Stored) int { return cmp.Or(b.Pushed.Compare(a.Pushed), cmp.Compare(a.Revision, b.Revision)) })
	return sets, err
}

// Activated is an activation and its number.
type Activated struct {
	Number uint64
	directory.Activation
}

// Activations are the last ones, at most limit, the newest first.
func (l *Library) Activations(ctx context.Context, r datastore.Reader, limit int) ([]Activated, error) {
	state, _, err := l.State(ctx, r)
	if err != nil {
		return nil, err
	}
	var activations []Activated
	for n := state.Activation; n > 0 && len(activations) < limit; n-- {
		a, err := l.o.Tenant.Activation(n).Get(ctx, r)
		if err != nil {
			return nil, err
		}
		activations = append(activations, Activated{n, a})
	}
	return activations, nil
}

// Former is the set to go back to from the active one: that which was active when the active one was activated for its own sake. So
// each rollback leads further back, and not to what was just taken back.
func (l *Library) Former(ctx context.Context, r datastore.Reader) (string, error) {
	state, _, err := l.State(ctx, r)
	if err != nil {
		return "", err
	}
	activations, err := l.Activations(ctx, r, maxActivations)
	if err != nil {
		return "", err
	}
	for _, a := range activations {
		if a.Set != state.Active || a.How == "rollback" || a.Former == state.Active {
			continue
		}
		if a.Former == "" {
			break
		}
		return a.Former, nil
	}
	return "", ErrNoFormer
}
