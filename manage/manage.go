// Package manage is what can be done to the directory: each operation asks the policy mandate.manage, checks the rules
// that hold whatever the policy says, and writes the record, its audit record, what leaves for others and the answer to
// a repetition in one transaction. All management interfaces call it, and differ in nothing but their wire.
//
// It must never know a permission, write without asking the policy in the same transaction, put a secret into an audit
// record or an event, or tell a caller more about what is out of its reach than about what does not exist.
package manage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/delivery"
	"mandate/directory"
	"mandate/engine"
	"mandate/outbound"
	"mandate/policyset"
	"mandate/tokens"
)

// Options of a Manager. All of them are needed but those that say otherwise.
type Options struct {
	Tenant     directory.Tenant
	Issuer     string
	Store      datastore.Store
	Master     *directory.MasterKey
	Policy     *engine.Engine
	Authn      *authn.Authenticator
	Tokens     *tokens.Issuer
	Deliveries *delivery.Queue
	Policies   *policyset.Library
	Now        func() time.Time
	// DNS has the challenges of domains; nil for the system's.
	DNS *outbound.Resolver
	// AllowHTTP lets webhooks have URLs without TLS: for development.
	AllowHTTP bool
	// PolicyRule is who may activate a policy set.
	PolicyRule PolicyRule
}

// Manager manages the directory of one tenant. It is safe for concurrent use.
type Manager struct {
	o Options
	// trying is held while a policy set is tried out, which takes long.
	trying sync.Mutex
}

// New makes a Manager.
func New(o Options) *Manager {
	if o.DNS == nil {
		o.DNS = outbound.NewResolver("")
	}
	return &Manager{o: o}
}

// Request is who asks for an operation, and under which conditions.
type Request struct {
	Caller   *authn.Principal // nil for nobody
	Policies *engine.PolicySet
	ID       string // of the request, for the audit record

	// Key names a write of the caller, so that repeating it changes nothing and has the same answer; empty for none. What
	// was asked must be in Digest: another request under the same key is refused.
	Key    string
	Digest memo.Key
	// IfMatch is the revision that the record must have, 0 for any. IfNone says that there must be no record.
	IfMatch datastore.Revision
	IfNone  bool
	// Confirmed says that the caller knows a change to be dangerous.
	Confirmed bool
}

// Resource is what the policy is told of what an operation is about.
type Resource struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Answer is the outcome of an operation: the record as it is now, and of a write the revision of its commit.
type Answer struct {
	Body     jsontext.Value // a JSON object
	Revision datastore.Revision
	Created  bool
	Repeated bool // it is the answer to the first request under the same key
}

// policyInput is the input of mandate.manage.
type policyInput struct {
	Action    map[string]string `json:"action"`
	Resource  any               `json:"resource"`
	Context   map[string]any    `json:"context,omitempty"`
	Subject   map[string]string `json:"subject,omitempty"`
	Principal *authn.Principal  `json:"principal,omitempty"`
	Caller    *authn.Principal  `json:"caller,omitempty"`
}

// Permit asks the policy whether the caller may do this, and returns what was decided. A refusal is ErrNotFound or a
// *Refusal.
func (m *Manager) Permit(ctx context.Context, r *memo.Reading, q *Request, action string, resource any) (*engine.Decision, error) {
	input := policyInput{Action: map[string]string{"name": action}, Resource: resource}
	if q.Confirmed {
		input.Context = map[string]any{"confirm": true}
	}
	if q.Caller != nil {
		input.Subject = map[string]string{"type": "credential", "id": "caller"}
		input.Principal, input.Caller = q.Caller, q.Caller
	}
	text, err := json.Marshal(input, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("policy input: %w", err)
	}
	decision, err := m.o.Policy.Decide(ctx, r, q.Policies, engine.Manage, text)
	if err != nil {
		return nil, err
	}
	if decision.Allow {
		return decision, nil
	}
	refusal := &Refusal{Code: "not_permitted", Message: "The policy does not permit this."}
	if len(decision.Reasons) > 0 {
		refusal.Code, refusal.Message = decision.Reasons[0].Code, decision.Reasons[0].Message
	}
	if refusal.Code == hidden {
		return nil, ErrNotFound
	}
	return nil, refusal
}
