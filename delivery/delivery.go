// Package delivery brings events to webhooks, as Standard Webhooks has it, and mail to a mailer. Both are written to an outbox
// in the transaction of what they tell of, so that neither is without the other, and are tried until they arrive.
//
// It must never lose what was committed, leave a payload in the store unsealed, send anything to an endpoint that was not
// there when it happened, or let one endpoint's slowness be felt by another's owner.
package delivery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/directory"
)

// Options of a Queue. All of them are needed but the Mailer, without which there is no mail.
type Options struct {
	Tenant directory.Tenant
	Store  datastore.Store
	Master *directory.MasterKey
	HTTP   *http.Client // from NewClient
	Mailer Mailer
	Log    *slog.Logger
	Now    func() time.Time
}

// Queue is the outbox of a tenant. It is safe for concurrent use.
type Queue struct {
	o       Options
	metrics *metrics
}

// New makes a Queue, which delivers while Run runs.
func New(o Options) *Queue { return &Queue{o: o, metrics: newMetrics(o.Tenant)} }

// Event is something that has happened. Org and Vendor are whom it concerns, empty for none. A Private one goes to the
// endpoints of the vendor alone.
type Event struct {
	ID          string // the webhook-id, and that of the audit record if there is one: letters, digits, - and _
	Type        string
	Time        time.Time
	Org, Vendor string
	Private     bool
	Data        any
}

func (e Event) check() error {
	const characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if e.Type == "" || e.ID == "" || len(e.ID) > 128 || strings.Trim(e.ID, characters) != "" {
		return errors.New("an event must have a type, and an id of letters, digits, - and _")
	}
	return nil
}

// Bounds of what is sent. An event can go to three times directory.MaxWebhooks endpoints in one transaction.
const (
	maxDataBytes    = 48 << 10
	maxMessageBytes = 256 << 10
)

// entry is a delivery in the outbox, below the time at which it is due, or among the dead letters. Sealed is the body of a
// request, or a Message.
type entry struct {
	ID        string    `json:"id"`
	Endpoint  string    `json:"endpoint,omitempty"` // the webhook; none for mail
	Of        identity  `json:"of,omitzero"`
	Type      string    `json:"type"`
	CreatedAt time.Time `json:"created_at"`
	Attempts  int       `json:"attempts,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	DiedAt    time.Time `json:"died_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // of a dead letter
	Sealed    []byte    `json:"sealed"`
}

// identity tells a webhook from another one that is given its id later.
type identity struct {
	Org       string    `json:"org,omitempty"`
	Vendor    string    `json:"vendor,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

func identify(w directory.Webhook) identity {
	return identity{Org: w.Org, Vendor: w.Vendor, CreatedAt: w.CreatedAt.UTC()}
}

// Event writes a delivery for each active endpoint that wants the event. When its data is too large to send, the data
// sent says so: {"too_large": true}.
func (q *Queue) Event(ctx context.Context, tx datastore.Tx, e Event) error {
	if err := e.check(); err != nil {
		return err
	}
	ids, hooks, err := q.endpoints(ctx, tx, e)
	if err != nil || len(ids) == 0 {
		return err
	}
	body, err := bodyOf(e)
	if err != nil {
		return err
	}
	for i, id := range ids {
		one := entry{ID: e.ID, Endpoint: id, Of: identify(hooks[i]), Type: e.Type}
		if err := q.enqueue(ctx, tx, one, body); err != nil {
			return err
		}
	}
	return nil
}

// EventTo writes the delivery of an event for the one endpoint, whatever it wants, and returns the id of the delivery:
// ErrEndpointInactive when it would not be sent.
func (q *Queue) EventTo(ctx context.Context, tx datastore.Tx, endpoint string, w directory.Webhook, e Event) (id string, err error) {
	if w.Status != directory.Active {
		return "", ErrEndpointInactive
	}
	if err := e.check(); err != nil {
		return "", err
	}
	body, err := bodyOf(e)
	if err != nil {
		return "", err
	}
	one := entry{ID: e.ID, Endpoint: endpoint, Of: identify(w), Type: e.Type}
	return one.name(), q.enqueue(ctx, tx, one, body)
}

// endpoints are those that want the event: of its vendor, of its organization and of the tenant.
func (q *Queue) endpoints(ctx context.Context, r datastore.Reader, e Event) (ids []string, hooks []directory.Webhook, err error) {
	add := func(id string, w directory.Webhook) error {
		if w.Status == directory.Active && w.Wants(e.Type) && (w.Org == "" || w.Org == e.Org) {
			ids, hooks = append(ids, id), append(hooks, w)
		}
		return nil
	}
	if e.Vendor != "" {
		err = q.o.Tenant.WebhooksOf(ctx, r, "", e.Vendor, add)
	}
	if err == nil && !e.Private && e.Org != "" {
		err = q.o.Tenant.WebhooksOf(ctx, r, e.Org, "", add)
	}
	if err == nil && !e.Private {
		err = q.o.Tenant.WebhooksOf(ctx, r, "", "", add)
	}
	return ids, hooks, err
}

// bodyOf is what Standard Webhooks recommends as payload.
func bodyOf(e Event) ([]byte, error) {
	data, err := json.Marshal(e.Data, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the data of an event: %w", err)
	}
	if len(data) > maxDataBytes {
		data = []byte(`{"too_large":true}`)
	}
	body, err := json.Marshal(struct {
		Type string         `json:"type"`
		Time time.Time      `json:"timestamp"`
		Data jsontext.Value `json:"data"`
	}{e.Type, e.Time.UTC(), data})
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return body, nil
}

// Mail writes the delivery of a message: ErrNoMail where no Mailer is.
func (q *Queue) Mail(ctx context.Context, tx datastore.Tx, m Message) error {
	if q.o.Mailer == nil {
		return ErrNoMail
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a mail: %w", err)
	}
	if len(text) > maxMessageBytes {
		return fmt.Errorf("a mail of %d bytes: %w", len(text), datastore.ErrTooLarge)
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	return q.enqueue(ctx, tx, entry{ID: hex.EncodeToString(random[:]), Type: m.Template}, text)
}

func (q *Queue) enqueue(ctx context.Context, tx datastore.Tx, e entry, payload []byte) error {
	e.CreatedAt = q.o.Now().UTC()
	var err error
	if e.Sealed, err = q.o.Master.Seal(payload, q.sealedFor(e)); err != nil {
		return err
	}
	return q.put(ctx, tx, e, e.CreatedAt)
}

func (q *Queue) sealedFor(e entry) string { return "delivery " + string(q.o.Tenant) + "/" + e.name() }

// put writes an entry to the outbox. Its first time due sorts by it.
func (q *Queue) put(ctx context.Context, tx datastore.Tx, e entry, due time.Time) error {
	path := q.lane(e.Endpoint).Join(due.UTC().Format(dueFormat), e.ID)
	return directory.Place[entry]{Path: path}.Put(ctx, tx, e)
}

// dueFormat is the form in which times sort as texts.
const dueFormat = "2006-01-02T15:04:05.000Z"

// name is the id of a delivery: that of a mail, or of an event and, after the first dot, of the endpoint.
func (e entry) name() string {
	if e.Endpoint == "" {
		return e.ID
	}
	return e.ID + "." + e.Endpoint
}

func (q *Queue) root() datastore.Path {
	return datastore.TenantID(q.o.Tenant).Path(directory.PrivateRoot)
}

// lane is where the deliveries to an endpoint wait, or the mails, in the order in which they are due.
func (q *Queue) lane(endpoint string) datastore.Path { return below(q.root().Join("outbox"), endpoint) }

func (q *Queue) deadLetter(endpoint, id string) directory.Place[entry] {
	return directory.Place[entry]{Path: below(q.root().Join("deadletters"), endpoint).Join(id)}
}

func below(root datastore.Path, endpoint string) datastore.Path {
	if endpoint == "" {
		return root.Join("mail")
	}
	return root.Join("webhooks", endpoint)
}

// parse is the endpoint and the time of an entry in the outbox.
func parse(p datastore.Path) (endpoint string, due time.Time, err error) {
	segments := p.Segments() // private, outbox, mail, due, id; or private, outbox, webhooks, endpoint, due, id
	if len(segments) == 6 {
		endpoint = segments[3]
	}
	if len(segments) < 5 {
		return "", time.Time{}, fmt.Errorf("%s is no entry of the outbox", p)
	}
	due, err = time.Parse(dueFormat, segments[len(segments)-2])
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%s is no entry of the outbox: %w", p, err)
	}
	return endpoint, due, nil
}
