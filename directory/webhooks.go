package directory

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"mandate/datastore"
	"mandate/outbound"
)

// Webhook is an endpoint that is sent events, as Standard Webhooks has it. With an Org it gets only what concerns that
// organization. With a Vendor it is where that vendor gets the events of its integrations, and their credentials.
// Events are patterns: a type, "*", or the beginning of types as in "orgs.members.*". Status: active, disabled.
type Webhook struct {
	URL       string    `json:"url"`
	Events    []string  `json:"events"`
	Org       string    `json:"org,omitempty"`
	Vendor    string    `json:"vendor,omitempty"`
	Status    Status    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
}

// MaxWebhooks bounds the endpoints of each vendor and organization, and those of the tenant itself.
const MaxWebhooks = 20

// ErrTooManyWebhooks means that there are MaxWebhooks already.
var ErrTooManyWebhooks = errors.New("there are as many webhooks as there may be")

// Wants says whether events of that type are for the endpoint.
func (w Webhook) Wants(eventType string) bool {
	for _, pattern := range w.Events {
		start, open := strings.CutSuffix(pattern, "*")
		if pattern == eventType || (open && strings.HasPrefix(eventType, start)) {
			return true
		}
	}
	return false
}

// WebhookURLProblem says what is wrong with the URL of an endpoint, "" for nothing. The name in it may still lead to an
// address that nothing is sent to, which only sending can tell.
func WebhookURLProblem(s string, allowHTTP bool) string {
	const most = 2048
	u, err := url.Parse(s)
	switch {
	case len(s) > most:
		return fmt.Sprintf("must be at most %d bytes", most)
	case err != nil || !printableASCII(s):
		return "must be a URL"
	case strings.Contains(s, "#"):
		return "must have no fragment"
	}
	if err := (outbound.Options{AllowHTTP: allowHTTP}).Check(u); err != nil {
		return "is refused: " + err.Error()
	}
	return ""
}

// WebhookEventsProblem says what is wrong with the patterns of an endpoint, "" for nothing.
func WebhookEventsProblem(patterns []string) string {
	const most, mostBytes = 50, 128
	if len(patterns) == 0 || len(patterns) > most {
		return fmt.Sprintf("must be 1 to %d patterns", most)
	}
	for _, pattern := range patterns {
		name, open := strings.CutSuffix(pattern, "*")
		if len(pattern) > mostBytes || pattern == "" || !visible(name) || strings.Contains(name, "*") ||
			(open && name != "" && !strings.HasSuffix(name, ".")) {
			return fmt.Sprintf(`%q must be the type of an event, "*", or the beginning of types such as "orgs.members.*"`, pattern)
		}
	}
	return ""
}

// WebhookSecrets are the secrets by which an endpoint knows Mandate, sealed. The former one signs too, until then.
type WebhookSecrets struct {
	Current     []byte    `json:"current"`
	Former      []byte    `json:"former,omitempty"`
	FormerUntil time.Time `json:"former_until,omitzero"`
}

func (t Tenant) Webhook(id string) Place[Webhook] {
	return place[Webhook](t, PrivateRoot, "webhooks", id)
}

func (t Tenant) webhookSecrets(id string) Place[WebhookSecrets] {
	return place[WebhookSecrets](t, PrivateRoot, "webhooksecrets", id)
}

// webhooksOf is the index of the endpoints of a vendor, else of an organization, else of the tenant itself.
func (t Tenant) webhooksOf(org, vendor string) datastore.Path {
	switch root := datastore.TenantID(t).Path(PrivateRoot); {
	case vendor != "":
		return root.Join("vendorwebhooks", vendor)
	case org != "":
		return root.Join("orgwebhooks", org)
	default:
		return root.Join("tenantwebhooks")
	}
}

// WebhooksOf yields the endpoints of the vendor when one is named, else those of the organization alone, else those of the
// tenant itself, in the order of their ids.
func (t Tenant) WebhooksOf(ctx context.Context, r datastore.Reader, org, vendor string, do func(id string, w Webhook) error) error {
	return each(ctx, r, t.webhooksOf(org, vendor), func(_ []string, a Alias) error {
		w, err := t.Webhook(a.ID).Get(ctx, r)
		if err != nil {
			return fmt.Errorf("find a webhook by its owner: %w", err)
		}
		return do(a.ID, w)
	})
}

// PutWebhook writes an endpoint, and makes it found by whose it is: ErrTooManyWebhooks when it would be one too many.
func (t Tenant) PutWebhook(ctx context.Context, tx datastore.Tx, id string, w Webhook) error {
	former, found, err := t.Webhook(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	index := t.webhooksOf(w.Org, w.Vendor)
	if !found || t.webhooksOf(former.Org, former.Vendor) != index {
		if found {
			if err := tx.Delete(t.webhooksOf(former.Org, former.Vendor).Join(id)); err != nil {
				return fmt.Errorf("move a webhook: %w", err)
			}
		}
		count := 0
		if err := each(ctx, tx, index, func([]string, Alias) error { count++; return nil }); err != nil {
			return err
		}
		if count >= MaxWebhooks {
			return ErrTooManyWebhooks
		}
		if err := (Place[Alias]{index.Join(id)}).Put(ctx, tx, Alias{ID: id}); err != nil {
			return err
		}
	}
	return t.Webhook(id).Put(ctx, tx, w)
}

// DeleteWebhook removes an endpoint and its secrets, if there is one.
func (t Tenant) DeleteWebhook(ctx context.Context, tx datastore.Tx, id string) error {
	w, found, err := t.Webhook(id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	for _, p := range []datastore.Path{t.Webhook(id).Path, t.webhookSecrets(id).Path, t.webhooksOf(w.Org, w.Vendor).Join(id)} {
		if err := tx.Delete(p); err != nil {
			return fmt.Errorf("delete a webhook: %w", err)
		}
	}
	return nil
}

const webhookSecretPrefix = "whsec_"

// MakeWebhookSecret makes a secret in the form of Standard Webhooks.
func MakeWebhookSecret() (Secret, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return Secret{}, fmt.Errorf("make a webhook's secret: %w", err)
	}
	return Secret{webhookSecretPrefix + base64.StdEncoding.EncodeToString(raw[:])}, nil
}

// WebhookKey is the key that a secret in the form of Standard Webhooks stands for.
func WebhookKey(s Secret) ([]byte, error) {
	encoded, ok := strings.CutPrefix(s.value, webhookSecretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("must be whsec_ and the base64 of 24 to 64 bytes")
	}
	return key, nil
}

func (t Tenant) sealedForWebhook(id string) string { return "webhook " + string(t) + "/" + id }

// SetWebhookSecret gives an endpoint its secret. The one that it has goes on to sign until then, so that the receiver can
// change over; the zero time ends it at once.
func (t Tenant) SetWebhookSecret(ctx context.Context, tx datastore.Tx, m *MasterKey, id string, s Secret, formerUntil time.Time) error {
	if _, err := WebhookKey(s); err != nil {
		return fmt.Errorf("the secret of a webhook: %w", err)
	}
	sealed, err := m.Seal([]byte(s.value), t.sealedForWebhook(id))
	if err != nil {
		return err
	}
	former, _, err := t.webhookSecrets(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	secrets := WebhookSecrets{Current: sealed}
	if former.Current != nil && !formerUntil.IsZero() {
		secrets.Former, secrets.FormerUntil = former.Current, formerUntil
	}
	return t.webhookSecrets(id).Put(ctx, tx, secrets)
}

// WebhookSecrets are the one or two secrets that sign for the endpoint now, the newest first.
func (t Tenant) WebhookSecrets(ctx context.Context, r datastore.Reader, m *MasterKey, id string, now time.Time) ([]Secret, error) {
	stored, err := t.webhookSecrets(id).Get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("the secrets of a webhook: %w", err)
	}
	sealed := [][]byte{stored.Current}
	if stored.Former != nil && now.Before(stored.FormerUntil) {
		sealed = append(sealed, stored.Former)
	}
	var secrets []Secret
	for _, each := range sealed {
		plain, err := m.Open(each, t.sealedForWebhook(id))
		if err != nil {
			return nil, fmt.Errorf("the secrets of a webhook: %w", err)
		}
		secrets = append(secrets, Secret{string(plain)})
	}
	return secrets, nil
}
