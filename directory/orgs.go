package directory

import (
	"context"
	"errors"
	"fmt"

	"mandate/datastore"
)

// PutOrg writes the profile of an organization, and makes it found by its parent.
func (t Tenant) PutOrg(ctx context.Context, tx datastore.Tx, id string, o Org) error {
	former, _, err := t.Org(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	if former.Parent != o.Parent && former.Parent != "" {
		if err := tx.Delete(t.child(former.Parent, id).Path); err != nil {
			return fmt.Errorf("leave the parent: %w", err)
		}
	}
	if o.Parent != "" {
		if err := t.child(o.Parent, id).Put(ctx, tx, Alias{ID: id}); err != nil {
			return err
		}
	}
	return t.Org(id).Put(ctx, tx, o)
}

func (t Tenant) child(parent, id string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "children", parent, id)
}

// Children yields the organizations whose parent is the given one, after the id, in the order of their ids.
func (t Tenant) Children(ctx context.Context, r datastore.Reader, parent, after string, do func(org string) error) error {
	return eachAfter(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "children", parent), after, func(segments []string, _ Alias) error {
		return do(segments[3])
	})
}

// Orgs yields the organizations after the id, in the byte order of their paths. It reads little more than one document of each.
func (t Tenant) Orgs(ctx context.Context, r datastore.Reader, after string, do func(org string) error) error {
	prefix := datastore.TenantID(t).Path("orgs")
	for {
		var from datastore.Path
		if after != "" {
			from = prefix.Join(after, lastSegment)
		}
		next := ""
		for fact, err := range r.Scan(ctx, prefix, from) {
			if err != nil {
				return fmt.Errorf("list organizations: %w", err)
			}
			next = fact.Path.Segments()[1]
			break
		}
		if next == "" {
			return nil
		}
		if _, found, err := t.Org(next).Find(ctx, r); err != nil {
			return err
		} else if found {
			switch err := do(next); {
			case errors.Is(err, ErrEnough):
				return nil
			case err != nil:
				return err
			}
		}
		after = next
	}
}

// lastSegment sorts after all that an organization has.
const lastSegment = "\U0010FFFF"
