package directory

import (
	"context"
	"time"

	"mandate/datastore"
)

// LastUse says when a credential was used last, to the minute.
type LastUse struct {
	LastUsedAt time.Time `json:"last_used_at"`
}

// LastUse is that of an API key, a client (its secrets and keys), a vendor or an integration, by collection and id.
func (t Tenant) LastUse(collection, id string) Place[LastUse] {
	return place[LastUse](t, PrivateRoot, "lastused", collection, id)
}

// PutLastUse notes a use, unless a later one is known or the record is there no more.
func (t Tenant) PutLastUse(ctx context.Context, tx datastore.Tx, collection, id string, at time.Time) error {
	record := datastore.TenantID(t).Path(collection, id)
	if collection == "integrations" {
		record = t.IntegrationID(id).Path
	}
	if _, found, err := (Place[any]{record}).Find(ctx, tx); err != nil || !found {
		return err
	}
	place := t.LastUse(collection, id)
	former, _, err := place.Find(ctx, tx)
	if at = at.UTC().Truncate(time.Minute); err != nil || !at.After(former.LastUsedAt) {
		return err
	}
	return place.Put(ctx, tx, LastUse{LastUsedAt: at})
}
