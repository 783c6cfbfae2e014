package manage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/delivery"
	"mandate/directory"
)

// repeatable is how long the answer to a write is kept for a repetition of it.
const repeatable = 24 * time.Hour

// change is a write in progress.
type change struct {
	datastore.Tx
	m       *Manager
	q       *Request
	reading *memo.Reading // of the transaction
	at      time.Time
	reason  string // by which the policy has allowed the last thing that it was asked
	asked   *question
	secret  bool // whether a secret is written that no record shows
}

// question is the last thing that the policy was asked and has allowed: for the parts of a change, the last of all.
type question struct {
	Action   string         `json:"action,omitempty"`
	Resource jsontext.Value `json:"resource,omitzero"`
}

func (c *change) tenant() directory.Tenant { return c.m.o.Tenant }

// change runs one write: in a transaction in which the caller is still in good standing, and not again when it is
// repeated. The answer of do is without its revision.
func (m *Manager) change(ctx context.Context, q *Request, do func(*change) (*Answer, error)) (*Answer, error) {
	var answer *Answer
	var before datastore.Revision // of the transaction
	commit, err := m.o.Store.Update(ctx, func(tx datastore.Tx) (err error) {
		log := m.o.Policy.Log()
		mark := log.Mark()
		c := &change{Tx: tx, m: m, q: q, reading: memo.Over(tx), at: m.o.Now(), asked: &question{}}
		before = tx.Revision()
		if err := c.standing(ctx); err != nil {
			return err
		}
		if answer, err = c.former(ctx); err != nil || answer != nil {
			return err
		}
		if answer, err = do(c); err != nil {
			return err
		}
		if err := c.remember(ctx, answer); err != nil {
			return err
		}
		return log.Commit(mark) // before anything is changed by what was decided
	})
	if err != nil {
		return nil, err
	}
	if answer.Revision == 0 {
		answer.Revision = max(commit, before)
	}
	return answer, nil
}

// standing makes the transaction rest on what the caller's own rights rest on: whoever loses them while it runs has lost
// them for it.
func (c *change) standing(ctx context.Context) error {
	caller := c.q.Caller
	if caller == nil {
		return nil
	}
	if err := c.m.o.Authn.StillStands(ctx, c.reading, caller); err != nil {
		return err
	}
	current, err := c.m.o.Tokens.Current(ctx, c.reading, c.q.Policies, caller)
	if err != nil {
		return err
	}
	// Another transaction may be tried after this one, so the request keeps its own.
	q := *c.q
	q.Caller, c.q = current, &q
	return nil
}

// permit asks the policy.
func (c *change) permit(ctx context.Context, action string, resource Resource) error {
	decision, err := c.m.Permit(ctx, c.reading, c.q, action, resource)
	if err != nil {
		return err
	}
	if len(decision.Reasons) > 0 {
		c.reason = decision.Reasons[0].Code
	}
	if c.q.Key == "" {
		return nil
	}
	c.asked.Action = action
	if c.asked.Resource, err = json.Marshal(resource, json.Deterministic(true)); err != nil {
		return fmt.Errorf("keep what the policy was asked: %w", err)
	}
	return nil
}

// expects checks the conditions of the request against the record at the place.
func (c *change) expects(ctx context.Context, p datastore.Path) error {
	if c.q.IfMatch == 0 && !c.q.IfNone {
		return nil
	}
	revision, err := c.Stat(ctx, p)
	switch {
	case !p.Valid() || errors.Is(err, datastore.ErrNotFound):
		if c.q.IfMatch != 0 {
			return ErrChanged
		}
		return nil
	case err != nil:
		return fmt.Errorf("compare revisions: %w", err)
	case c.q.IfNone || revision != c.q.IfMatch:
		return ErrChanged
	}
	return nil
}

// done records what was changed, and tells those outside who want to know. Before and after are records as policies see
// them, nil for none.
func (c *change) done(ctx context.Context, action string, resource Resource, before, after any) error {
	id, err := timeID(c.at)
	if err != nil {
		return err
	}
	org, _ := resource.Properties["org"].(string)
	if resource.Type == orgType {
		org = resource.ID
	}
	record := directory.Audit{At: c.at, Action: action, Resource: directory.AuditResource{Type: resource.Type, ID: resource.ID, Org: org},
		Request: c.q.ID, Reason: c.reason, PolicyRevision: c.q.Policies.Revision()}
	if caller := c.q.Caller; caller != nil {
		record.By = directory.AuditParty{Type: string(caller.Type), Subject: caller.Subject, AuthorizedParty: caller.AuthorizedParty,
			Org: caller.Org, Credential: caller.Credential.Type, CredentialID: caller.Credential.ID}
	}
	if record.Before, err = optional(before); err != nil {
		return err
	}
	if record.After, err = optional(after); err != nil {
		return err
	}
	if err := c.tenant().PutAudit(ctx, c, id, record); err != nil {
		return err
	}
	vendor, _ := resource.Properties["vendor"].(string)
	return c.m.o.Deliveries.Event(ctx, c, delivery.Event{ID: id, Type: action, Time: c.at, Org: org, Vendor: vendor, Data: record})
}

func optional(record any) (jsontext.Value, error) {
	if record == nil {
		return nil, nil
	}
	text, err := json.Marshal(record, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return text, nil
}

// timeID is an id that sorts by the time of its making, the newest first.
func timeID(at time.Time) (string, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return fmt.Sprintf("%016x%s", math.MaxInt64-at.UnixMicro(), hex.EncodeToString(random[:])), nil
}

// repeated is what is sealed of a write for its repetition.
type repeated struct {
	Body  jsontext.Value `json:"body,omitzero"`
	Asked question       `json:"asked"`
}

// former is the answer to the first request under the caller's key, nil when this is the first. It may have a secret, so the caller
// must still be one who may do what was asked.
func (c *change) former(ctx context.Context) (*Answer, error) {
	if c.q.Key == "" {
		return nil, nil
	}
	place := c.repetition()
	record, found, err := place.Find(ctx, c)
	if err != nil || !found || !c.at.Before(record.ExpiresAt) {
		return nil, err
	}
	if record.Request != hex.EncodeToString(c.q.Digest[:]) {
		return nil, ErrKeyReused
	}
	text, err := c.m.o.Master.Open(record.Sealed, place.Path.String())
	if err != nil {
		return nil, fmt.Errorf("open the answer to a repeated request: %w", err)
	}
	var first repeated
	if err := json.Unmarshal(text, &first); err != nil {
		return nil, fmt.Errorf("read the answer to a repeated request: %w", err)
	}
	if first.Asked.Action != "" {
		if _, err := c.m.Permit(ctx, c.reading, c.q, first.Asked.Action, first.Asked.Resource); err != nil {
			return nil, err
		}
	}
	answer := &Answer{Body: first.Body, Created: record.Created, Revision: record.Revision, Repeated: true}
	if answer.Revision == 0 {
		answer.Revision, err = c.Stat(ctx, place.Path)
	}
	return answer, err
}

// remember keeps the answer for a repetition of the request. It may have a secret that is shown only to this caller.
func (c *change) remember(ctx context.Context, answer *Answer) error {
	if c.q.Key == "" {
		return nil
	}
	place := c.repetition()
	text, err := json.Marshal(repeated{answer.Body, *c.asked})
	if err != nil {
		return fmt.Errorf("encode an answer: %w", err)
	}
	sealed, err := c.m.o.Master.Seal(text, place.Path.String())
	if err != nil {
		return fmt.Errorf("seal an answer: %w", err)
	}
	record := directory.Repetition{Request: hex.EncodeToString(c.q.Digest[:]), Sealed: sealed, Created: answer.Created,
		Revision: answer.Revision, ExpiresAt: c.at.Add(repeatable)}
	return directory.PutExpiring(ctx, c, place, record, record.ExpiresAt)
}

// repetition is where the answer is kept: for this caller and its key only.
func (c *change) repetition() directory.Place[directory.Repetition] {
	h := sha256.New()
	digest := memo.Key{}
	if c.q.Caller != nil {
		digest = memo.KeyOf([]byte(fmt.Sprintf("%q %q %q", c.q.Caller.Type, c.q.Caller.Subject, c.q.Caller.Org)))
	}
	h.Write(digest[:])
	h.Write([]byte(c.q.Key))
	return c.tenant().Repetition(hex.EncodeToString(h.Sum(nil)))
}
