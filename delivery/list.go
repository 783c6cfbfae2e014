package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

// ErrEndpointInactive means that nothing can be delivered again, because its endpoint is gone or disabled.
var ErrEndpointInactive = errors.New("the webhook is gone or disabled")

// Delivery is what can be told of an entry. Its payload is not.
type Delivery struct {
	ID          string    `json:"id"`
	Endpoint    string    `json:"webhook,omitempty"` // none for mail
	Type        string    `json:"type"`              // of the event, or the template of a mail
	CreatedAt   time.Time `json:"created_at"`
	Attempts    int       `json:"attempts"`
	LastError   string    `json:"last_error,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"` // of a pending one
	DiedAt      time.Time `json:"died_at,omitzero"`      // of a dead letter
	ExpiresAt   time.Time `json:"expires_at,omitzero"`   // of a dead letter
}

// Filter says which deliveries to list; the zero Filter is for all. Endpoint has those of one webhook read alone.
type Filter struct{ Endpoint, Type string }

// Pending lists the deliveries to come, by endpoint and the time at which they are due. It begins after the cursor, which
// is empty at first; next is empty at the end.
func (q *Queue) Pending(ctx context.Context, r datastore.Reader, f Filter, cursor string, limit int) (found []Delivery, next string, err error) {
	return q.list(ctx, r, "outbox", f, cursor, limit)
}

// DeadLetters lists what is no longer tried, by endpoint and id, like Pending.
func (q *Queue) DeadLetters(ctx context.Context, r datastore.Reader, f Filter, cursor string, limit int) (found []Delivery, next string, err error) {
	return q.list(ctx, r, "deadletters", f, cursor, limit)
}

// maxListed bounds what one call of list reads: it may return fewer than the limit and yet have a cursor.
const maxListed = 1000

func (q *Queue) list(ctx context.Context, r datastore.Reader, what string, f Filter, cursor string, limit int) (found []Delivery, next string, err error) {
	prefix := q.root().Join(what)
	if f.Endpoint != "" {
		prefix = below(prefix, f.Endpoint)
	}
	var after datastore.Path
	if cursor != "" {
		after = datastore.ParseKey(string(q.o.Tenant) + "/" + directory.PrivateRoot + "/" + what + "/" + cursor)
		if !after.Below(prefix) {
			return nil, "", datastore.ErrNotFound
		}
	}
	read := 0
	for fact, err := range r.Scan(ctx, prefix, after) {
		if err != nil {
			return nil, "", fmt.Errorf("list deliveries: %w", err)
		}
		if read == maxListed || len(found) == limit {
			return found, next, nil
		}
		read++
		next = strings.TrimPrefix(fact.Path.String(), directory.PrivateRoot+"/"+what+"/")
		d, err := deliveryOf(fact)
		if err != nil {
			return nil, "", err
		}
		if f.Type == "" || f.Type == d.Type {
			found = append(found, d)
		}
	}
	return found, "", nil
}

func deliveryOf(fact datastore.Fact) (Delivery, error) {
	var e entry
	if err := json.Unmarshal(fact.Value, &e); err != nil {
		return Delivery{}, fmt.Errorf("read %s: %w", fact.Path, err)
	}
	d := Delivery{ID: e.name(), Endpoint: e.Endpoint, Type: e.Type, CreatedAt: e.CreatedAt, Attempts: e.Attempts,
		LastError: e.LastError, DiedAt: e.DiedAt, ExpiresAt: e.ExpiresAt}
	if e.DiedAt.IsZero() {
		_, due, err := parse(fact.Path)
		if err != nil {
			return Delivery{}, err
		}
		d.NextAttempt = due
	}
	return d, nil
}

// DeadLetter is the dead letter of that id, or datastore.ErrNotFound.
func (q *Queue) DeadLetter(ctx context.Context, r datastore.Reader, id string) (Delivery, error) {
	event, endpoint, _ := strings.Cut(id, ".")
	place := q.deadLetter(endpoint, event)
	if !place.Path.Valid() {
		return Delivery{}, datastore.ErrNotFound
	}
	value, err := r.Get(ctx, place.Path)
	if err != nil {
		return Delivery{}, err
	}
	return deliveryOf(datastore.Fact{Path: place.Path, Value: value})
}

// Replay has a dead letter delivered, as if for the first time and with its former webhook-id: datastore.ErrNotFound when
// there is none of that id, ErrEndpointInactive when it would not be sent.
func (q *Queue) Replay(ctx context.Context, tx datastore.Tx, id string) error {
	event, endpoint, _ := strings.Cut(id, ".")
	place := q.deadLetter(endpoint, event)
	e, err := place.Get(ctx, tx)
	if err != nil {
		return err
	}
	if endpoint != "" {
		w, found, err := q.o.Tenant.Webhook(endpoint).Find(ctx, tx)
		if err != nil {
			return err
		}
		if !found || w.Status != directory.Active || identify(w) != e.Of {
			return ErrEndpointInactive
		}
	}
	if err := tx.Delete(place.Path); err != nil {
		return fmt.Errorf("replay a delivery: %w", err)
	}
	e.Attempts, e.LastError, e.DiedAt, e.ExpiresAt = 0, "", time.Time{}, time.Time{}
	return q.put(ctx, tx, e, q.o.Now())
}
