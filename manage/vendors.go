package manage

import (
	"context"
	"errors"
	"fmt"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Vendors are the companies whose software integrates.
func Vendors() Kind { return vendors() }

func vendors() *kind[directory.Vendor] {
	return &kind[directory.Vendor]{
		name: "vendors", resource: "vendor", path: "vendors/{id}", keys: []string{"id"},
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Vendor] { return t.Vendor(ids[0]) },
		file: func(ids []string, v directory.Vendor, _ given) (*directory.File, string) {
			return &directory.File{Vendors: []directory.VendorEntry{{ID: ids[0], Name: v.Name, Status: v.Status}}}, "vendors[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteVendor(ctx, tx, ids[0])
		},
		secrets: map[directory.SecretKind]string{directory.KindVendorToken: "token"},
		filters: []string{"status"},
		used:    func(ids []string, _ directory.Vendor) (string, string) { return "vendors", ids[0] },
	}
}

// maxAsked bounds the integrations that one page of a vendor's listing asks the policy about.
const maxAsked = 500

// VendorIntegrations lists the integrations of a vendor with all organizations, in the order of the organizations' ids: those
// that the caller may read, which the policy is asked of each.
func (m *Manager) VendorIntegrations(ctx context.Context, r *memo.Reading, q *Request, vendor string, p Page) (*Listing, error) {
	filled, after, err := newPage(r, p)
	if err != nil {
		return nil, err
	}
	k, last := integrations(), after
	k.keys = []string{"org", "vendor"}
	show := func(org string, i directory.Integration) error {
		resource := Resource{Type: k.resource, ID: vendor, Properties: map[string]any{"org": org, "before": i}}
		_, err := m.Permit(ctx, r, q, k.name+".get", resource)
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) || errors.Is(err, ErrNotFound) {
			filled.looked++
			return nil
		}
		if err != nil {
			return err
		}
		revision, err := r.Stat(ctx, m.o.Tenant.Integration(org, vendor).Path)
		if err != nil {
			return fmt.Errorf("list the integrations of a vendor: %w", err)
		}
		body, err := k.shown(ctx, m, r, []string{org, vendor}, &i)
		if err != nil {
			return err
		}
		return filled.add(body, revision)
	}
	_, err = m.Permit(ctx, r, q, k.name+".list", Resource{Type: k.resource, ID: "*", Properties: map[string]any{"vendor": vendor}})
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) || errors.Is(err, ErrNotFound) {
		// Whoever is of an organization is told of its own, and not by the work it takes of those of others.
		return &filled.Listing, m.ownIntegration(ctx, r, q, vendor, show)
	}
	if err != nil {
		return nil, err
	}
	err = m.o.Tenant.IntegrationsOf(ctx, r, vendor, after, func(org string, i directory.Integration) error {
		if filled.looked == maxAsked {
			filled.Next = cursor(last)
		}
		if filled.Next != "" || filled.full(last) {
			return directory.ErrEnough
		}
		last = org
		return show(org, i)
	})
	return &filled.Listing, err
}

func (m *Manager) ownIntegration(ctx context.Context, r *memo.Reading, q *Request, vendor string, show func(org string, i directory.Integration) error) error {
	if q.Caller == nil || q.Caller.Org == "" {
		return nil
	}
	i, found, err := m.o.Tenant.Integration(q.Caller.Org, vendor).Find(ctx, r)
	if err != nil || !found {
		return err
	}
	return show(q.Caller.Org, i)
}
