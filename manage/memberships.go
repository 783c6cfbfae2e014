package manage

import (
	"context"
	"errors"
	"fmt"

	"mandate/datastore/memo"
	"mandate/directory"
)

// Membership is that of a user in one organization.
type Membership struct {
	Org    string
	Member directory.Member
}

// maxMemberships bounds how many of a user are looked at at once.
const maxMemberships = 1000

// Memberships are those of a user that the caller may see: in each organization, as the action orgs.members.get.
func (m *Manager) Memberships(ctx context.Context, r *memo.Reading, q *Request, user string) ([]Membership, error) {
	var orgs []string
	err := m.o.Tenant.OrgsOf(ctx, r, user, func(org string) error {
		if len(orgs) == maxMemberships {
			return invalid("user", fmt.Sprintf("is a member of more than %d organizations: ask for each by itself", maxMemberships))
		}
		orgs = append(orgs, org)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []Membership
	for _, org := range orgs {
		member, found, err := m.o.Tenant.Member(org, user).Find(ctx, r)
		if err != nil {
			return nil, err
		}
		resource := Resource{Type: "member", ID: user, Properties: map[string]any{"org": org, "before": member}}
		_, err = m.Permit(ctx, r, q, "orgs.members.get", resource)
		if refusal := (*Refusal)(nil); !found || errors.Is(err, ErrNotFound) || errors.As(err, &refusal) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Membership{org, member})
	}
	return all, nil
}

// Memberships are those that the operations of the batch have left.
func (b *Batch) Memberships(ctx context.Context, user string) ([]Membership, error) {
	return b.c.m.Memberships(ctx, b.c.reading, b.c.q, user)
}
