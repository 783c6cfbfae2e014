package manage

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/directory"
)

// rotate makes a secret of the record anew. What is wrong with the request is said to those who may.
func (k *kind[T]) rotate(ctx context.Context, c *change, ids []string, problem error, do func(before T) ([]directory.Made, error)) (*Answer, error) {
	before, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return nil, err
	}
	resource := k.resourceOf(ids, before, nil)
	if err := c.permit(ctx, k.name+".rotate", resource); err != nil {
		return nil, err
	}
	if before == nil {
		return nil, ErrNotFound
	}
	if problem != nil {
		return nil, problem
	}
	if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
		return nil, err
	}
	made, err := do(*before)
	if err != nil {
		return nil, rotationProblem(err)
	}
	now, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return nil, err
	}
	answer, err := k.answer(ctx, c, ids, now, made)
	if err != nil {
		return nil, err
	}
	return answer, c.done(ctx, k.name+".rotate", resource, before, now)
}

func rotationProblem(err error) error {
	switch {
	case errors.Is(err, directory.ErrOverlap):
		return invalid("overlap", "must be between 0s and 168h")
	case errors.Is(err, directory.ErrTwoSecrets):
		return &Conflict{"two_secrets", "The client has two live secrets: end the former one first, or both with \"former\": \"end\"."}
	case errors.Is(err, directory.ErrNoSecret):
		return &Conflict{"no_secret", "The client authenticates without a secret."}
	}
	return err
}

// overlapIn is for how long the former secret stays good.
func overlapIn(body jsontext.Value) (time.Duration, error) {
	var asked struct {
		Overlap string `json:"overlap"`
	}
	if err := readBody(body, &asked); err != nil || asked.Overlap == "" {
		return 0, err
	}
	overlap, err := time.ParseDuration(asked.Overlap)
	if err != nil || overlap < 0 || overlap > directory.MaxOverlap {
		return 0, invalid("overlap", `must be a duration between "0s" and "168h"`)
	}
	return overlap, nil
}

// readBody reads a body that may be left out.
func readBody(body jsontext.Value, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return wrongMember(err)
	}
	return nil
}

// RotateAPIKey replaces a key, or a pair. The former one is good for as long as the member overlap says.
func (m *Manager) RotateAPIKey(ctx context.Context, q *Request, id string, body jsontext.Value) (*Answer, error) {
	overlap, problem := overlapIn(body)
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		return apiKeys().rotate(ctx, c, []string{id}, problem, func(key directory.APIKey) ([]directory.Made, error) {
			if key.Status != directory.Active {
				return nil, errRevoked()
			}
			return c.tenant().RotateAPIKey(ctx, c, c.m.o.Master, id, overlap, c.at)
		})
	})
}

func errRevoked() error {
	return &Conflict{"key_revoked", "The API key has been revoked, which is for good: make another one."}
}

// RotateClientSecret makes a new secret beside the one that the client has, or, when the member former is "end", instead of
// those that it has.
func (m *Manager) RotateClientSecret(ctx context.Context, q *Request, id string, body jsontext.Value) (*Answer, error) {
	var asked struct {
		Former string `json:"former"`
	}
	problem := readBody(body, &asked)
	if problem == nil && asked.Former != "" && asked.Former != "keep" && asked.Former != "end" {
		problem = invalid("former", "must be keep or end")
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		return clients().rotate(ctx, c, []string{id}, problem, func(directory.Client) ([]directory.Made, error) {
			made, err := c.tenant().RotateClientSecret(ctx, c, c.m.o.Master, id, asked.Former == "end")
			if err == nil && asked.Former == "end" {
				err = c.tenant().DropFormerClientSecret(ctx, c, id)
			}
			return []directory.Made{made}, err
		})
	})
}

// EndFormerSecret ends the older of a client's two secrets.
func (m *Manager) EndFormerSecret(ctx context.Context, q *Request, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		return clients().rotate(ctx, c, []string{id}, nil, func(directory.Client) ([]directory.Made, error) {
			return nil, c.tenant().DropFormerClientSecret(ctx, c, id)
		})
	})
}

// RotateVendorToken replaces the vendor's half of its credentials at once.
func (m *Manager) RotateVendorToken(ctx context.Context, q *Request, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		return vendors().rotate(ctx, c, []string{id}, nil, func(directory.Vendor) ([]directory.Made, error) {
			made, err := c.tenant().RotateVendorToken(ctx, c, c.m.o.Master, id)
			return []directory.Made{made}, err
		})
	})
}

// RotateIntegration replaces the partner token of an integration at once. The credential of one that acts for a user can go to
// the vendor's webhook, by the member deliver.
func (m *Manager) RotateIntegration(ctx context.Context, q *Request, org, vendor string, body jsontext.Value) (*Answer, error) {
	var asked struct {
		Deliver string `json:"deliver"`
	}
	problem := readBody(body, &asked)
	if problem == nil && asked.Deliver != "" && asked.Deliver != deliverHere && asked.Deliver != deliverByWebhook {
		problem = invalid("deliver", "must be webhook or return")
	}
	ids := []string{org, vendor}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		k := integrations()
		return k.rotate(ctx, c, ids, problem, func(i directory.Integration) ([]directory.Made, error) {
			if err := c.vendorActive(ctx, vendor); err != nil {
				return nil, err
			}
			if i.Kind == directory.DelegatedIntegration {
				k.secrets = map[directory.SecretKind]string{directory.KindPartnerToken: "credential"}
			} else if asked.Deliver == deliverByWebhook {
				return nil, invalid("deliver", "must be return: the partner token is for those who integrate")
			}
			if asked.Deliver == deliverByWebhook {
				if err := c.receives(ctx, ids); err != nil {
					return nil, err
				}
			}
			made, err := c.tenant().RotatePartnerToken(ctx, c, c.m.o.Master, org, vendor)
			if err != nil || asked.Deliver != deliverByWebhook {
				return []directory.Made{made}, err
			}
			return nil, c.toVendor(ctx, credentialEvent, ids, i, made.Secret)
		})
	})
}

// RotateWebhookSecret replaces the secret of a webhook. The former one signs beside it for as long as the member overlap says.
func (m *Manager) RotateWebhookSecret(ctx context.Context, q *Request, id string, body jsontext.Value) (*Answer, error) {
	overlap, problem := overlapIn(body)
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		return webhooks().rotate(ctx, c, []string{id}, problem, func(directory.Webhook) ([]directory.Made, error) {
			var until time.Time
			if overlap > 0 {
				until = c.at.Add(overlap)
			}
			return c.webhookSecret(ctx, id, until)
		})
	})
}
