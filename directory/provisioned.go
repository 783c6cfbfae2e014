package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
)

// Provisioned is what an organization's own directory of people (SCIM, RFC 7643) says of a member or a role and no other record has a
// member for.
type Provisioned struct {
	ExternalID  string         `json:"external_id,omitempty"`
	DisplayName string         `json:"display_name,omitempty"` // of a role, when it is not the role's id
	Attributes  jsontext.Value `json:"attributes,omitempty"`   // an object
	Made        bool           `json:"made,omitzero"`          // the user was made by that directory, and belongs to it
	CreatedAt   time.Time      `json:"created_at,omitzero"`
	ModifiedAt  time.Time      `json:"modified_at,omitzero"`
}

// What can be provisioned.
const (
	ProvisionedMembers = "members"
	ProvisionedRoles   = "roles"
)

// Provisioned is that of a member or a role of the organization.
func (t Tenant) Provisioned(collection, org, id string) Place[Provisioned] {
	return place[Provisioned](t, PrivateRoot, "provisioned", org, collection, id)
}

// ProvisionedAs leads to the one of the organization whose "external_id" or "display_name" has that value.
func (t Tenant) ProvisionedAs(collection, org, attribute, value string) Place[Alias] {
	sum := sha256.Sum256([]byte(value))
	return place[Alias](t, PrivateRoot, "provisionedas", org, collection, attribute, hex.EncodeToString(sum[:]))
}

func (t Tenant) provisionedAs(collection, org string, p Provisioned) [2]Place[Alias] {
	var places [2]Place[Alias]
	if p.ExternalID != "" {
		places[0] = t.ProvisionedAs(collection, org, "external_id", p.ExternalID)
	}
	if p.DisplayName != "" {
		places[1] = t.ProvisionedAs(collection, org, "display_name", p.DisplayName)
	}
	return places
}

// PutProvisioned writes what is provisioned, and makes it found by what is unique in the organization.
func (t Tenant) PutProvisioned(ctx context.Context, tx datastore.Tx, collection, org, id string, p Provisioned) error {
	former, _, err := t.Provisioned(collection, org, id).Find(ctx, tx)
	if err != nil {
		return err
	}
	old := t.provisionedAs(collection, org, former)
	for i, next := range t.provisionedAs(collection, org, p) {
		if err := claim(ctx, tx, old[i], next, Alias{ID: id}); err != nil {
			return fmt.Errorf("provision %s: %w", id, err)
		}
	}
	return t.Provisioned(collection, org, id).Put(ctx, tx, p)
}

// DeleteProvisioned deletes it, if there is any.
func (t Tenant) DeleteProvisioned(ctx context.Context, tx datastore.Tx, collection, org, id string) error {
	former, found, err := t.Provisioned(collection, org, id).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	for _, p := range t.provisionedAs(collection, org, former) {
		if !p.Path.Valid() {
			continue
		}
		if err := release(ctx, tx, p, Alias{ID: id}); err != nil {
			return err
		}
	}
	return remove(tx, t.Provisioned(collection, org, id).Path)
}

// Members yields the members of an organization, in the order of their ids.
func (t Tenant) Members(ctx context.Context, r datastore.Reader, org string, do func(user string) error) error {
	return ids(ctx, r, datastore.TenantID(t).Path("orgs", org, "members"), do)
}

// OrgRoles yields the roles that an organization defines, likewise.
func (t Tenant) OrgRoles(ctx context.Context, r datastore.Reader, org string, do func(role string) error) error {
	return ids(ctx, r, datastore.TenantID(t).Path("orgs", org, "roles"), do)
}

// Roles yields those of the tenant, likewise.
func (t Tenant) Roles(ctx context.Context, r datastore.Reader, do func(role string) error) error {
	return ids(ctx, r, datastore.TenantID(t).Path("roles"), do)
}

// ids yields the last segments of the documents directly below prefix, which it does not read.
func ids(ctx context.Context, r datastore.Reader, prefix datastore.Path, do func(id string) error) error {
	for fact, err := range r.Scan(ctx, prefix, datastore.Path{}) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		segments := fact.Path.Segments()
		if err := do(segments[len(segments)-1]); err != nil {
			return err
		}
	}
	return nil
}
