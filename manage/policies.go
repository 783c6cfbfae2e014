package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/policyset"
)

const (
	policyType = "policy"
	// leastPrefix is how many characters name a policy set at least.
	leastPrefix = 7
	// maxOwnActivations is how many activations of a set are shown with it.
	maxOwnActivations = 20
	tryAgain          = 5 * time.Second
)

// PolicySet is what is shown of a policy set. Its revision as a policy set is its id: the revision of the document is that of the facts.
type PolicySet struct {
	ID          string             `json:"id"`
	Status      string             `json:"status"`
	PushedAt    time.Time          `json:"pushed_at"`
	PushedBy    string             `json:"pushed_by,omitempty"`
	Source      string             `json:"source"`
	Note        string             `json:"note,omitempty"`
	Bytes       int                `json:"bytes"`
	Files       []PolicyFile       `json:"files,omitempty"`
	Tests       int                `json:"tests,omitzero"`
	EntryPoints []string           `json:"entry_points,omitempty"`
	Activations []PolicyActivation `json:"activations,omitempty"`
}

// PolicyFile is a file of a policy set.
type PolicyFile struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
}

// PolicyActivation is a change of what decides.
type PolicyActivation struct {
	Number uint64    `json:"number"`
	Set    string    `json:"set"`
	Former string    `json:"former,omitempty"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	How    string    `json:"how"`
	Note   string    `json:"note,omitempty"`
}

// PolicyDiff is what differs between two policy sets.
type PolicyDiff struct {
	From  string               `json:"from"`
	To    string               `json:"to"`
	Files []policyset.FileDiff `json:"files"`
}

// PolicyChange is the body of what is done to a policy set, PolicyRollback that of a rollback, and PolicyAcknowledging that of an
// acknowledgement.
type (
	PolicyChange struct {
		Note string `json:"note,omitempty"`
	}
	PolicyRollback struct {
		To   uint64 `json:"to,omitzero"` // number of an activation
		Note string `json:"note,omitempty"`
	}
	PolicyAcknowledging struct {
		Groups []string `json:"groups"`
		Note   string   `json:"note,omitempty"`
	}
)

func aboutPolicy(id string) Resource { return Resource{Type: policyType, ID: id} }

// ListPolicies lists the stored sets, the newest first.
func (m *Manager) ListPolicies(ctx context.Context, r *memo.Reading, q *Request, p Page) (*Listing, error) {
	if _, err := m.Permit(ctx, r, q, "policies.list", aboutPolicy("*")); err != nil {
		return nil, err
	}
	filled, after, err := newPage(r, p)
	if err != nil {
		return nil, err
	}
	sets, err := m.o.Policies.Sets(ctx, r)
	if err != nil {
		return nil, err
	}
	names, err := m.policyNames(ctx, r)
	if err != nil {
		return nil, err
	}
	first := 0
	if after != "" {
		first = slices.IndexFunc(sets, func(s policyset.Stored) bool { return s.Revision == after }) + 1
		if first == 0 {
			return nil, invalid("cursor", "is not one that a listing has returned")
		}
	}
	last := after
	for _, s := range sets[first:] {
		if filled.full(last) {
			break
		}
		last = s.Revision
		revision, err := m.policyRevision(ctx, r, s.Revision)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(names.shown(s.Revision, s.PolicySet))
		if err != nil {
			return nil, fmt.Errorf("encode a policy set: %w", err)
		}
		if err := filled.add(body, revision); err != nil {
			return nil, err
		}
	}
	return &filled.Listing, nil
}

// GetPolicy shows a set with the names of its files and its last activations.
func (m *Manager) GetPolicy(ctx context.Context, r *memo.Reading, q *Request, name string) (*Answer, error) {
	id, record, err := m.readPolicy(ctx, r, q, name)
	if err != nil {
		return nil, err
	}
	names, err := m.policyNames(ctx, r)
	if err != nil {
		return nil, err
	}
	shown := names.shown(id, record)
	files, err := m.o.Policies.Files(ctx, r, id)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		shown.Files = append(shown.Files, PolicyFile{f.Name, len(f.Text)})
	}
	shown.Tests = policyset.Tests(files)
	for _, p := range []engine.Point{engine.Access, engine.Manage, engine.Tokens} {
		shown.EntryPoints = append(shown.EntryPoints, string(p)+"/decision")
	}
	looked := 0
	for a, err := range m.activations(ctx, r, 0) {
		if err != nil {
			return nil, err
		}
		if a.Set == id {
			shown.Activations = append(shown.Activations, a)
		}
		if looked++; looked == maxLookedAt || len(shown.Activations) == maxOwnActivations {
			break
		}
	}
	body, err := json.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("encode a policy set: %w", err)
	}
	revision, err := m.policyRevision(ctx, r, id)
	return &Answer{Body: body, Revision: revision}, err
}

// PolicyFiles are the files of a set.
func (m *Manager) PolicyFiles(ctx context.Context, r *memo.Reading, q *Request, name string) ([]engine.File, error) {
	id, _, err := m.readPolicy(ctx, r, q, name)
	if err != nil {
		return nil, err
	}
	return m.o.Policies.Files(ctx, r, id)
}

// DiffPolicies says what differs between two sets.
func (m *Manager) DiffPolicies(ctx context.Context, r *memo.Reading, q *Request, from, to string) (*PolicyDiff, error) {
	var sets [2][]engine.File
	var ids [2]string
	for i, name := range []string{from, to} {
		id, _, err := m.readPolicy(ctx, r, q, name)
		if err != nil {
			return nil, err
		}
		if sets[i], err = m.o.Policies.Files(ctx, r, id); err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return &PolicyDiff{ids[0], ids[1], policyset.Diff(sets[0], sets[1])}, nil
}

// ListActivations lists what was active, the last first.
func (m *Manager) ListActivations(ctx context.Context, r *memo.Reading, q *Request, p Page) (*Listing, error) {
	if _, err := m.Permit(ctx, r, q, "policies.list", aboutPolicy("*")); err != nil {
		return nil, err
	}
	filled, after, err := newPage(r, p)
	if err != nil {
		return nil, err
	}
	before := uint64(0)
	if after != "" {
		if before, err = strconv.ParseUint(after, 10, 64); err != nil || before == 0 {
			return nil, invalid("cursor", "is not one that a listing has returned")
		}
	}
	last := after
	for a, err := range m.activations(ctx, r, before) {
		if err != nil {
			return nil, err
		}
		if filled.full(last) {
			break
		}
		last = strconv.FormatUint(a.Number, 10)
		body, err := json.Marshal(a)
		if err != nil {
			return nil, fmt.Errorf("encode an activation: %w", err)
		}
		filled.looked++
		filled.Items = append(filled.Items, body)
	}
	return &filled.Listing, nil
}

// activations yields those before that number, the last first; 0 begins with the last.
func (m *Manager) activations(ctx context.Context, r datastore.Reader, before uint64) func(func(PolicyActivation, error) bool) {
	return func(yield func(PolicyActivation, error) bool) {
		state, _, err := m.o.Policies.State(ctx, r)
		if err != nil {
			yield(PolicyActivation{}, err)
			return
		}
		n := state.Activation
		if before > 0 {
			n = min(n, before-1)
		}
		for ; n > 0; n-- {
			a, err := m.o.Tenant.Activation(n).Get(ctx, r)
			if !yield(PolicyActivation{n, a.Set, a.Former, a.At, a.By, a.How, a.Note}, err) || err != nil {
				return
			}
		}
	}
}

// policyNames are the sets that have names.
type policyNames struct{ active, former, shadow, source string }

func (m *Manager) policyNames(ctx context.Context, r datastore.Reader) (policyNames, error) {
	state, _, err := m.o.Policies.State(ctx, r)
	if err != nil {
		return policyNames{}, err
	}
	former, err := m.o.Policies.Former(ctx, r)
	if errors.Is(err, policyset.ErrNoFormer) {
		former, err = "", nil
	}
	return policyNames{active: state.Active, former: former, shadow: state.Shadow, source: state.Source}, err
}

// shown is a set without its files.
func (n policyNames) shown(id string, s directory.PolicySet) PolicySet {
	status := "stored"
	switch id {
	case n.active:
		status = "active"
	case n.shadow:
		status = "shadow"
	case n.former:
		status = "former"
	}
	return PolicySet{ID: id, Status: status, PushedAt: s.Pushed, PushedBy: s.By, Source: s.Source, Note: s.Note, Bytes: s.Bytes}
}

// policyRevision is that of the last change of what is shown of a set.
func (m *Manager) policyRevision(ctx context.Context, r datastore.Reader, id string) (datastore.Revision, error) {
	var newest datastore.Revision
	for _, p := range []datastore.Path{m.o.Tenant.PolicySet(id).Path, m.o.Tenant.PolicyState().Path} {
		revision, err := r.Stat(ctx, p)
		if err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return 0, fmt.Errorf("read the revision of a policy set: %w", err)
		}
		newest = max(newest, revision)
	}
	return newest, nil
}

// expectsPolicy checks the condition of the request against what is shown of the set.
func (c *change) expectsPolicy(ctx context.Context, id string) error {
	if c.q.IfMatch == 0 {
		return nil
	}
	revision, err := c.m.policyRevision(ctx, c, id)
	if err == nil && revision != c.q.IfMatch {
		err = ErrChanged
	}
	return err
}

// resolvePolicy finds the set of that name: active, former, shadow, source, its revision, or the beginning of one that no other begins
// with.
func (m *Manager) resolvePolicy(ctx context.Context, r datastore.Reader, name string) (string, directory.PolicySet, error) {
	names, err := m.policyNames(ctx, r)
	if err != nil {
		return "", directory.PolicySet{}, err
	}
	wanted := map[string]string{"active": names.active, "former": names.former, "shadow": names.shadow, "source": names.source}
	id, named := wanted[name]
	if !named {
		id = name
	}
	if record, found, err := m.o.Tenant.PolicySet(id).Find(ctx, r); found || err != nil || named || len(id) < leastPrefix {
		if err == nil && !found {
			err = ErrNotFound
		}
		return id, record, err
	}
	var record directory.PolicySet
	found := 0
	err = m.o.Tenant.PolicySets(ctx, r, func(revision string, s directory.PolicySet) error {
		if strings.HasPrefix(revision, name) {
			id, record = revision, s
			found++
		}
		return nil
	})
	switch {
	case err != nil:
		return "", record, err
	case found == 0:
		return "", record, ErrNotFound
	case found > 1:
		return "", record, &Conflict{"ambiguous_revision", "More than one policy set has a revision that begins so: write more of it."}
	}
	return id, record, nil
}

// readPolicy is the set that the caller may read.
func (m *Manager) readPolicy(ctx context.Context, r *memo.Reading, q *Request, name string) (string, directory.PolicySet, error) {
	id, record, unknown := m.resolvePolicy(ctx, r, name)
	if _, err := m.Permit(ctx, r, q, "policies.get", aboutPolicy(cmp.Or(id, name))); err != nil {
		return "", record, err
	}
	return id, record, unknown
}

// policy is the set that the caller may do this to.
func (c *change) policy(ctx context.Context, action, name string) (string, directory.PolicySet, error) {
	id, record, unknown := c.m.resolvePolicy(ctx, c, name)
	if err := c.permit(ctx, action, aboutPolicy(cmp.Or(id, name))); err != nil {
		return "", record, err
	}
	return id, record, unknown
}

// asked is policy, on a view: for what takes too long for a transaction, which asks again.
func (m *Manager) asked(ctx context.Context, view datastore.View, q *Request, action, name string) (string, directory.PolicySet, error) {
	c := &change{m: m, q: q, reading: memo.Over(view), at: m.o.Now(), asked: &question{}}
	id, record, unknown := m.resolvePolicy(ctx, view, name)
	if err := c.permit(ctx, action, aboutPolicy(cmp.Or(id, name))); err != nil {
		return "", record, err
	}
	return id, record, unknown
}

// try does what takes long for one request at a time.
func (m *Manager) try(ctx context.Context, do func(context.Context) error) error {
	if !m.trying.TryLock() {
		return &Unavailable{"policies_busy", "Another policy set is being tried out just now: send this again.", tryAgain}
	}
	defer m.trying.Unlock()
	return do(ctx)
}
