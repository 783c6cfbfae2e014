package manage

import (
	"context"
	"errors"
	"time"

	"mandate/datastore"
	"mandate/delivery"
	"mandate/directory"
)

// Webhooks are the endpoints that are sent events.
func Webhooks() Kind { return webhooks() }

func webhooks() *kind[directory.Webhook] {
	return &kind[directory.Webhook]{
		name: "webhooks", resource: "webhook", path: "webhooks/{id}", keys: []string{"id"}, shared: true,
		org:   func(_ []string, w directory.Webhook) string { return w.Org },
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Webhook] { return t.Webhook(ids[0]) },
		scan:  func([]string) []string { return []string{directory.PrivateRoot, "webhooks"} },
		store: storeWebhook,
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteWebhook(ctx, tx, ids[0])
		},
		secrets: map[directory.SecretKind]string{directory.KindWebhook: "secret"},
		fixed:   []string{"created_at"},
		filters: []string{"status"},
		indexes: map[string]index{"org": webhooksBy(func(org string) (string, string) { return org, "" }),
			"vendor": webhooksBy(func(vendor string) (string, string) { return "", vendor })},
		about: aboutWebhook,
	}
}

// webhooksBy is an index by whose the webhooks are, of which there are few.
func webhooksBy(owner func(value string) (org, vendor string)) index {
	return func(ctx context.Context, r datastore.Reader, t directory.Tenant, value, after string, do func(id string) error) error {
		org, vendor := owner(value)
		if value == "" {
			return nil
		}
		return t.WebhooksOf(ctx, r, org, vendor, func(id string, _ directory.Webhook) error {
			if id <= after {
				return nil
			}
			return do(id)
		})
	}
}

func aboutWebhook(ctx context.Context, c *change, _ []string, before, after *directory.Webhook, properties map[string]any) error {
	record := before
	if record == nil {
		record = after
	}
	if record != nil && record.Vendor != "" {
		properties["vendor"] = record.Vendor
	}
	if after == nil || after == before {
		return nil
	}
	if before == nil {
		after.CreatedAt = c.at.UTC()
	}
	if after.Status == "" {
		after.Status = directory.Active
	}
	if after.Status != directory.Active && after.Status != directory.Disabled {
		return invalid("status", "must be active or disabled")
	}
	if before != nil && (before.Org != after.Org || before.Vendor != after.Vendor) {
		return invalid("org", "cannot be changed, nor the vendor: make another webhook")
	}
	if problem := directory.WebhookURLProblem(after.URL, c.m.o.AllowHTTP); problem != "" {
		return invalid("url", problem)
	}
	if problem := directory.WebhookEventsProblem(after.Events); problem != "" {
		return invalid("events", problem)
	}
	return c.ownerThere(ctx, *after)
}

func (c *change) ownerThere(ctx context.Context, w directory.Webhook) error {
	if w.Org != "" {
		if _, found, err := c.tenant().Org(w.Org).Find(ctx, c.reading); err != nil {
			return err
		} else if !found {
			return invalid("org", "is not the id of an organization")
		}
	}
	if w.Vendor == "" {
		return nil
	}
	_, found, err := c.tenant().Vendor(w.Vendor).Find(ctx, c.reading)
	if err == nil && !found {
		err = invalid("vendor", "is not the id of a vendor")
	}
	return err
}

func storeWebhook(ctx context.Context, c *change, ids []string, before *directory.Webhook, after directory.Webhook, _ given) ([]directory.Made, error) {
	err := c.tenant().PutWebhook(ctx, c, ids[0], after)
	if errors.Is(err, directory.ErrTooManyWebhooks) {
		err = &Conflict{"too_many_webhooks", "There are as many webhooks as there may be: delete or change one of them."}
	}
	if err != nil || before != nil {
		return nil, err
	}
	return c.webhookSecret(ctx, ids[0], time.Time{})
}

// webhookSecret makes the secret by which a receiver knows Mandate.
func (c *change) webhookSecret(ctx context.Context, id string, formerUntil time.Time) ([]directory.Made, error) {
	secret, err := directory.MakeWebhookSecret()
	if err != nil {
		return nil, err
	}
	made := []directory.Made{{Kind: directory.KindWebhook, ID: id, Secret: secret}}
	return made, c.tenant().SetWebhookSecret(ctx, c, c.m.o.Master, id, secret, formerUntil)
}

const testEvent = "webhook.test"

// TestWebhook sends an event to the one webhook, whatever it wants. The answer names the delivery.
func (m *Manager) TestWebhook(ctx context.Context, q *Request, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		k, ids := webhooks(), []string{id}
		w, err := k.find(ctx, c.m, c, ids)
		if err != nil {
			return nil, err
		}
		resource := k.resourceOf(ids, w, nil)
		if err := c.permit(ctx, "webhooks.test", resource); err != nil {
			return nil, err
		}
		if w == nil {
			return nil, ErrNotFound
		}
		event, err := timeID(c.at)
		if err != nil {
			return nil, err
		}
		name, err := m.o.Deliveries.EventTo(ctx, c, id, *w, delivery.Event{ID: event, Type: testEvent, Time: c.at, Data: map[string]string{"webhook": id}})
		if errors.Is(err, delivery.ErrEndpointInactive) {
			err = &Conflict{"webhook_disabled", "The webhook is disabled: make it active first."}
		}
		if err != nil {
			return nil, err
		}
		body, err := document([]string{"delivery"}, []string{name}, struct{}{})
		if err != nil {
			return nil, err
		}
		return &Answer{Body: body}, c.done(ctx, "webhooks.test", resource, w, w)
	})
}
