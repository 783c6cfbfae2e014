package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

// Tenant makes the places of a tenant's records.
type Tenant datastore.TenantID

// Place is where a record of type T lives. A place with an id that no record can have holds nothing.
type Place[T any] struct{ Path datastore.Path }

func place[T any](t Tenant, segments ...string) Place[T] {
	return Place[T]{datastore.TenantID(t).Path(segments...)}
}

// The facts that policies see.

func (t Tenant) Org(org string) Place[Org] { return place[Org](t, "orgs", org, "profile") }

func (t Tenant) Member(org, user string) Place[Member] {
	return place[Member](t, "orgs", org, "members", user)
}

func (t Tenant) OrgRole(org, role string) Place[Role] {
	return place[Role](t, "orgs", org, "roles", role)
}

func (t Tenant) Domain(org, domain string) Place[Domain] {
	return place[Domain](t, "orgs", org, "domains", domain)
}

func (t Tenant) Connection(org, id string) Place[Connection] {
	return place[Connection](t, "orgs", org, "connections", id)
}

func (t Tenant) Integration(org, vendor string) Place[Integration] {
	return place[Integration](t, "orgs", org, "integrations", vendor)
}

func (t Tenant) Role(role string) Place[Role]       { return place[Role](t, "roles", role) }
func (t Tenant) User(user string) Place[User]       { return place[User](t, "users", user) }
func (t Tenant) Client(client string) Place[Client] { return place[Client](t, "clients", client) }
func (t Tenant) API(api string) Place[API]          { return place[API](t, "apis", api) }
func (t Tenant) APIKey(key string) Place[APIKey]    { return place[APIKey](t, "apikeys", key) }
func (t Tenant) Vendor(vendor string) Place[Vendor] { return place[Vendor](t, "vendors", vendor) }

func (t Tenant) Consent(user, client string) Place[Consent] {
	return place[Consent](t, "consents", user, client)
}

// Consents yields what the user has let clients do, in the order of the clients' ids.
func (t Tenant) Consents(ctx context.Context, r datastore.Reader, user string, do func(client string, c Consent) error) error {
	prefix := datastore.TenantID(t).Path("consents", user)
	return each(ctx, r, prefix, func(segments []string, c Consent) error { return do(segments[2], c) })
}

func (t Tenant) Relation(kind, id, relation, subject string) Place[Relation] {
	return place[Relation](t, "relations", kind, id, relation, subject)
}

// APIs yields the APIs in the order of their ids.
func (t Tenant) APIs(ctx context.Context, r datastore.Reader, do func(id string, api API) error) error {
	return each(ctx, r, datastore.TenantID(t).Path("apis"), func(segments []string, api API) error { return do(segments[1], api) })
}

// Get reads the record: datastore.ErrNotFound when there is none, also when an id can name none.
func (p Place[T]) Get(ctx context.Context, r datastore.Reader) (T, error) {
	var record T
	if !p.Path.Valid() {
		return record, datastore.ErrNotFound
	}
	value, err := r.Get(ctx, p.Path)
	if err != nil {
		if !errors.Is(err, datastore.ErrNotFound) {
			err = fmt.Errorf("read a record: %w", err)
		}
		return record, err
	}
	if err := json.Unmarshal(value, &record); err != nil {
		return record, fmt.Errorf("read %s: %w", p.Path, err)
	}
	return record, nil
}

// Find reads the record like Get, and says in found whether there is one.
func (p Place[T]) Find(ctx context.Context, r datastore.Reader) (record T, found bool, err error) {
	record, err = p.Get(ctx, r)
	if errors.Is(err, datastore.ErrNotFound) {
		return record, false, nil
	}
	return record, err == nil, err
}

// Put writes the record. One that is there already in the very same form is left alone, so that what rests on it
// stays valid.
func (p Place[T]) Put(ctx context.Context, tx datastore.Tx, record T) error {
	value, err := json.Marshal(record, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("write %s: %w", p.Path, err)
	}
	return putIfChanged(ctx, tx, p.Path, value)
}

func putIfChanged(ctx context.Context, tx datastore.Tx, p datastore.Path, value []byte) error {
	old, err := tx.Get(ctx, p)
	if err != nil && !errors.Is(err, datastore.ErrNotFound) {
		return fmt.Errorf("write %s: %w", p, err)
	}
	if err == nil && bytes.Equal(old, value) {
		return nil
	}
	if err := tx.Put(p, value); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	return nil
}

// ErrEnough ends a listing that is handed it back, which is no failure.
var ErrEnough = errors.New("enough")

// each calls do with every record directly below prefix, and the segments of its path below the tenant.
func each[T any](ctx context.Context, r datastore.Reader, prefix datastore.Path, do func(segments []string, record T) error) error {
	return eachAfter(ctx, r, prefix, "", do)
}

// eachAfter begins after the record with that last segment.
func eachAfter[T any](ctx context.Context, r datastore.Reader, prefix datastore.Path, after string, do func(segments []string, record T) error) error {
	var from datastore.Path
	if after != "" {
		from = prefix.Join(after)
	}
	for fact, err := range r.Scan(ctx, prefix, from) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		var record T
		if err := json.Unmarshal(fact.Value, &record); err != nil {
			return fmt.Errorf("read %s: %w", fact.Path, err)
		}
		switch err := do(fact.Path.Segments(), record); {
		case errors.Is(err, ErrEnough):
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}
