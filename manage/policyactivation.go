package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/policyset"
)

// ActivatePolicies makes a stored set the one that decides: once this has returned, every decision is by it.
func (m *Manager) ActivatePolicies(ctx context.Context, q *Request, name, note string) (*Answer, error) {
	if err := noteProblem(note); err != nil {
		return nil, err
	}
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("activate a policy set: %w", err)
	}
	defer view.Close()
	id, record, err := m.asked(ctx, view, q, "policies.activate", name)
	if err != nil {
		return nil, err
	}
	if _, err := m.o.Policies.Compiled(ctx, view, id); err != nil {
		return nil, err
	}
	var reviewed *review
	if m.o.PolicyRule.TwoPerson {
		if reviewed, err = m.review(ctx, view, q, id, record); err != nil {
			return nil, err
		}
	}
	return m.applied(ctx, q, func(c *change) (*Answer, error) {
		if err := c.permit(ctx, "policies.activate", aboutPolicy(id)); err != nil {
			return nil, err
		}
		if err := c.expectsPolicy(ctx, id); err != nil {
			return nil, err
		}
		if err := c.acknowledged(ctx, id, reviewed); err != nil {
			return nil, err
		}
		return c.activate(ctx, "policies.activate", id, "activate", note)
	})
}

// applied makes a change of what decides, and then decides by it.
func (m *Manager) applied(ctx context.Context, q *Request, do func(*change) (*Answer, error)) (*Answer, error) {
	answer, err := m.change(ctx, q, do)
	if err != nil {
		return nil, err
	}
	return answer, m.o.Policies.Apply(ctx)
}

// activate makes the set the active one, unless it is.
func (c *change) activate(ctx context.Context, action, id, how, note string) (*Answer, error) {
	before, _, err := c.m.o.Policies.State(ctx, c)
	if err != nil {
		return nil, err
	}
	if before.Active == id {
		return c.policyAnswer(ctx, id)
	}
	by, err := c.m.whois(ctx, c, c.q.Caller)
	if err != nil {
		return nil, err
	}
	err = c.m.o.Policies.Activate(ctx, c, id, how, policyset.Origin{By: by, Note: note})
	if errors.Is(err, policyset.ErrUnknown) {
		err = ErrNotFound // it was removed to make room meanwhile
	}
	if err != nil {
		return nil, err
	}
	after, _, err := c.m.o.Policies.State(ctx, c)
	if err != nil {
		return nil, err
	}
	if after.Shadow == id {
		after.Shadow = ""
		if err := c.tenant().PolicyState().Put(ctx, c, after); err != nil {
			return nil, err
		}
	}
	if err := c.done(ctx, action, aboutPolicy(id), before, after); err != nil {
		return nil, err
	}
	return c.policyAnswer(ctx, id)
}

// policyAnswer is the set as it is now.
func (c *change) policyAnswer(ctx context.Context, id string) (*Answer, error) {
	record, err := c.tenant().PolicySet(id).Get(ctx, c)
	if err != nil {
		return nil, err
	}
	names, err := c.m.policyNames(ctx, c)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(names.shown(id, record))
	if err != nil {
		return nil, fmt.Errorf("encode a policy set: %w", err)
	}
	return &Answer{Body: body}, nil
}

// RollBackPolicies makes a set active that was active before: the one before the active one, or that of the activation with the number.
//
// It is for emergencies, so one person may go back step by step, also where activating takes two: to what two have agreed to before, and
// never to what was taken back.
func (m *Manager) RollBackPolicies(ctx context.Context, q *Request, to uint64, note string) (*Answer, error) {
	if err := noteProblem(note); err != nil {
		return nil, err
	}
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("roll back: %w", err)
	}
	defer view.Close()
	reading := memo.Over(view)
	id, _, unknown := m.rollbackTarget(ctx, view, to)
	if _, err := m.Permit(ctx, reading, q, "policies.rollback", aboutPolicy(cmp.Or(id, "former"))); err != nil {
		return nil, err
	}
	if unknown != nil {
		return nil, unknown
	}
	if _, err := m.o.Policies.Compiled(ctx, view, id); err != nil {
		return nil, err
	}
	return m.applied(ctx, q, func(c *change) (*Answer, error) {
		id, active, unknown := m.rollbackTarget(ctx, c, to)
		if err := c.permit(ctx, "policies.rollback", aboutPolicy(cmp.Or(id, "former"))); err != nil {
			return nil, err
		}
		if unknown != nil {
			return nil, unknown
		}
		if err := c.expectsPolicy(ctx, active); err != nil {
			return nil, err
		}
		return c.activate(ctx, "policies.rollback", id, "rollback", note)
	})
}

// rollbackTarget is the set that a rollback leads to, and the active one.
func (m *Manager) rollbackTarget(ctx context.Context, r datastore.Reader, to uint64) (id, active string, err error) {
	names, err := m.policyNames(ctx, r)
	if err != nil {
		return "", "", err
	}
	id = names.former
	if to > 0 {
		activation, found, err := m.o.Tenant.Activation(to).Find(ctx, r)
		if err != nil {
			return "", "", err
		}
		if !found {
			return "", "", &Conflict{"no_such_activation", "There is no activation with this number: see the list of activations."}
		}
		id = activation.Set
	}
	switch {
	case id == "":
		return "", "", &Conflict{"nothing_to_roll_back_to", "No other policy set was active before this one."}
	case m.o.PolicyRule.TwoPerson && id != names.former && id != names.active:
		return "", "", &Conflict{"two_persons_needed", "One person may roll back to the policy set that was active before this one only: roll back step by step, or activate the set."}
	}
	return id, names.active, nil
}

// ShadowPolicies lets a stored set decide beside the active one, without being answered. No name ends it.
func (m *Manager) ShadowPolicies(ctx context.Context, q *Request, name, note string) (*Answer, error) {
	if err := noteProblem(note); err != nil {
		return nil, err
	}
	if name != "" {
		view, err := m.o.Store.View(ctx)
		if err != nil {
			return nil, fmt.Errorf("shadow a policy set: %w", err)
		}
		defer view.Close()
		id, _, err := m.asked(ctx, view, q, "policies.shadow", name)
		if err != nil {
			return nil, err
		}
		if _, err := m.o.Policies.Compiled(ctx, view, id); err != nil {
			return nil, err
		}
	}
	return m.applied(ctx, q, func(c *change) (*Answer, error) {
		before, _, err := m.o.Policies.State(ctx, c)
		if err != nil {
			return nil, err
		}
		id, after := before.Shadow, before
		after.Shadow = ""
		if name == "" {
			err = c.permit(ctx, "policies.shadow", aboutPolicy(cmp.Or(id, "shadow")))
		} else {
			id, _, err = c.policy(ctx, "policies.shadow", name)
			after.Shadow = id
		}
		if err != nil {
			return nil, err
		}
		switch {
		case id == "":
			return nil, ErrNotFound
		case after.Shadow != "" && id == before.Active:
			return nil, &Conflict{"already_active", "The policy set is the active one: it decides already."}
		}
		if err := c.expectsPolicy(ctx, id); err != nil {
			return nil, err
		}
		if after == before {
			return c.policyAnswer(ctx, id)
		}
		if err := c.tenant().PolicyState().Put(ctx, c, after); err != nil {
			return nil, err
		}
		if err := c.done(ctx, "policies.shadow", aboutPolicy(id), before, after); err != nil {
			return nil, err
		}
		return c.policyAnswer(ctx, id)
	})
}
