package manage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/delivery"
)

// Delivery is what can be told of one that waits, or that is no longer tried.
type Delivery struct {
	delivery.Delivery
	Status string `json:"status"`
}

// Statuses of deliveries, in the order in which they are listed.
const (
	pendingDelivery = "pending"
	deadDelivery    = "dead"
)

// DeliveryFilters are the parameters by which deliveries can be narrowed.
func DeliveryFilters() []string { return []string{"status", "type", "webhook"} }

const deliveryType = "delivery"

// Deliveries lists what waits, and then what is no longer tried.
func (m *Manager) Deliveries(ctx context.Context, r *memo.Reading, q *Request, p Page) (*Listing, error) {
	filled, after, problem := newPage(r, p)
	resource := Resource{Type: deliveryType, ID: "*", Properties: map[string]any{}}
	for name, value := range p.Filter {
		resource.Properties[name] = value
	}
	if _, err := m.Permit(ctx, r, q, "deliveries.list", resource); err != nil {
		return nil, err
	}
	if problem != nil {
		return nil, problem
	}
	status, at, _ := strings.Cut(after, "/")
	wanted := p.Filter["status"]
	if status == "" {
		status = pendingDelivery
	}
	filter := delivery.Filter{Endpoint: p.Filter["webhook"], Type: p.Filter["type"]}
	for {
		if wanted == "" || wanted == status {
			next, err := m.deliveries(ctx, r, filled, status, filter, at)
			if err != nil || next != "" {
				filled.Next = next
				return &filled.Listing, err
			}
		}
		if status == deadDelivery {
			return &filled.Listing, nil
		}
		status, at = deadDelivery, ""
		if len(filled.Items) == filled.limit {
			filled.Next = cursor(status + "/")
			return &filled.Listing, nil
		}
	}
}

// deliveries adds those of one status to the page, and returns the cursor of the next page when there are more of them.
func (m *Manager) deliveries(ctx context.Context, r *memo.Reading, filled *page, status string, f delivery.Filter, after string) (string, error) {
	list := m.o.Deliveries.Pending
	if status == deadDelivery {
		list = m.o.Deliveries.DeadLetters
	}
	found, next, err := list(ctx, r, f, after, filled.limit-len(filled.Items))
	if errors.Is(err, datastore.ErrNotFound) {
		return "", invalid("cursor", "is not one that a listing has returned")
	}
	if err != nil {
		return "", err
	}
	for _, d := range found {
		text, err := json.Marshal(Delivery{d, status}, json.Deterministic(true))
		if err != nil {
			return "", fmt.Errorf("encode a delivery: %w", err)
		}
		filled.Items = append(filled.Items, text)
	}
	if next == "" {
		return "", nil
	}
	return cursor(status + "/" + next), nil
}

// Replay has a delivery tried again that was given up.
func (m *Manager) Replay(ctx context.Context, q *Request, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		resource := Resource{Type: deliveryType, ID: id}
		if err := c.permit(ctx, "deliveries.replay", resource); err != nil {
			return nil, err
		}
		letter, err := m.o.Deliveries.DeadLetter(ctx, c, id)
		if err == nil {
			err = m.o.Deliveries.Replay(ctx, c, id)
		}
		switch {
		case errors.Is(err, datastore.ErrNotFound):
			return nil, ErrNotFound
		case errors.Is(err, delivery.ErrEndpointInactive):
			return nil, &Conflict{"webhook_disabled", "The webhook of the delivery is gone or disabled: make it active first."}
		case err != nil:
			return nil, err
		}
		body, err := document([]string{"id"}, []string{id}, map[string]string{"status": pendingDelivery, "webhook": letter.Endpoint, "type": letter.Type})
		if err != nil {
			return nil, err
		}
		return &Answer{Body: body}, c.done(ctx, "deliveries.replay", resource, nil, nil)
	})
}
