package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"mandate/datastore"
)

// link is an entry of an index: its path says all there is to say.
type link struct{}

// relink gives a record the links that it has now, and takes away those that it had.
func relink(ctx context.Context, tx datastore.Tx, former, next []datastore.Path) error {
	for _, p := range former {
		if slices.Contains(next, p) {
			continue
		}
		if err := remove(tx, p); err != nil {
			return err
		}
	}
	for _, p := range next {
		if err := (Place[link]{p}).Put(ctx, tx, link{}); err != nil {
			return err
		}
	}
	return nil
}

// links yields the last segments of the paths directly below prefix, in their order and after the given one.
func links(ctx context.Context, r datastore.Reader, prefix datastore.Path, after string, do func(id string) error) error {
	return eachAfter(ctx, r, prefix, after, func(segments []string, _ link) error { return do(segments[len(segments)-1]) })
}

// linked yields the records that the links below prefix lead to.
func linked[T any](ctx context.Context, r datastore.Reader, prefix datastore.Path, after string, at func(id string) Place[T],
	do func(id string, record T) error) error {
	return links(ctx, r, prefix, after, func(id string) error {
		record, found, err := at(id).Find(ctx, r)
		if err != nil || !found {
			return err
		}
		return do(id, record)
	})
}

// What an index is by.
const (
	byOrg    = "org"    // for which the record is, its home
	byActing = "acting" // an organization in which a client may act beside its home
	byUser   = "user"
	byVendor = "vendor"
	byTarget = "target" // where a client of a first party has people sent
)

// owned is below what the links to the records of a collection lie that the owner has.
func (t Tenant) owned(collection, by, owner string) datastore.Path {
	return datastore.TenantID(t).Path(PrivateRoot, "owned", collection, by, owner)
}

func (t Tenant) link(collection, by, owner, id string) []datastore.Path {
	if owner == "" {
		return nil
	}
	return []datastore.Path{t.owned(collection, by, owner).Join(id)}
}

func (t Tenant) keyLinks(id string, k APIKey) []datastore.Path {
	return append(t.link("apikeys", byOrg, k.Org, id), t.link("apikeys", byUser, k.Owner, id)...)
}

func (t Tenant) clientLinks(id string, c Client) []datastore.Path {
	paths := append(t.link("clients", byOrg, c.Org, id), t.link("clients", byVendor, c.Vendor, id)...)
	for _, org := range c.Orgs {
		paths = append(paths, t.link("clients", byActing, org, id)...)
	}
	if c.Party == "first" {
		for _, uri := range c.RedirectURIs {
			paths = append(paths, t.link("clients", byTarget, target(c.Org, uri), id)...)
		}
	}
	return paths
}

// target is the key of a redirect URI of the organization's clients, or of those that have none: an URI may be too long for a path.
func target(org, uri string) string {
	sum := sha256.Sum256([]byte(org + " " + uri))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (t Tenant) memberLinks(org, user string, m Member) []datastore.Path {
	var paths []datastore.Path
	for _, role := range m.Roles {
		paths = append(paths, t.holders(m.Status, org, role).Join(user))
	}
	return paths
}

func (t Tenant) holders(s Status, org, role string) datastore.Path {
	if s != Active {
		return datastore.TenantID(t).Path(PrivateRoot, "suspendedholders", org, role)
	}
	return datastore.TenantID(t).Path(PrivateRoot, "holders", org, role)
}

// PutAPIKey writes an API key, and makes it found by its organization and its owner.
func (t Tenant) PutAPIKey(ctx context.Context, tx datastore.Tx, id string, k APIKey) error {
	former, _, err := t.APIKey(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := relink(ctx, tx, t.keyLinks(id, former), t.keyLinks(id, k)); err != nil {
		return err
	}
	return t.APIKey(id).Put(ctx, tx, k)
}

// APIKeysOf yields the API keys of an organization in the order of their ids, after the given one.
func (t Tenant) APIKeysOf(ctx context.Context, r datastore.Reader, org, after string, do func(id string, k APIKey) error) error {
	return linked(ctx, r, t.owned("apikeys", byOrg, org), after, t.APIKey, do)
}

// APIKeysOwnedBy yields the API keys that a user owns, likewise.
func (t Tenant) APIKeysOwnedBy(ctx context.Context, r datastore.Reader, user, after string, do func(id string, k APIKey) error) error {
	return linked(ctx, r, t.owned("apikeys", byUser, user), after, t.APIKey, do)
}

// PutClient writes a client, and makes it found by its organizations and its vendor.
func (t Tenant) PutClient(ctx context.Context, tx datastore.Tx, id string, c Client) error {
	former, _, err := t.Client(id).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := relink(ctx, tx, t.clientLinks(id, former), t.clientLinks(id, c)); err != nil {
		return err
	}
	return t.Client(id).Put(ctx, tx, c)
}

// ClientsOf yields the clients whose home an organization is in the order of their ids, after the given one.
func (t Tenant) ClientsOf(ctx context.Context, r datastore.Reader, org, after string, do func(id string, c Client) error) error {
	return linked(ctx, r, t.owned("clients", byOrg, org), after, t.Client, do)
}

// ClientsActingIn yields the clients that name the organization among their orgs, likewise.
func (t Tenant) ClientsActingIn(ctx context.Context, r datastore.Reader, org, after string, do func(id string, c Client) error) error {
	return linked(ctx, r, t.owned("clients", byActing, org), after, t.Client, do)
}

// ClientsOfVendor yields the clients of a vendor, likewise.
func (t Tenant) ClientsOfVendor(ctx context.Context, r datastore.Reader, vendor, after string, do func(id string, c Client) error) error {
	return linked(ctx, r, t.owned("clients", byVendor, vendor), after, t.Client, do)
}

// ClientsWithTarget yields the clients of a first party that have the redirect URI, among those whose home the organization is or,
// when it is empty, that have none.
func (t Tenant) ClientsWithTarget(ctx context.Context, r datastore.Reader, org, uri string, do func(id string, c Client) error) error {
	return linked(ctx, r, t.owned("clients", byTarget, target(org, uri)), "", t.Client, do)
}

// IntegrationRef names an integration.
type IntegrationRef struct {
	Org    string `json:"org"`
	Vendor string `json:"vendor"`
}

// IntegrationID leads to the integration with that id.
func (t Tenant) IntegrationID(id string) Place[IntegrationRef] {
	return place[IntegrationRef](t, PrivateRoot, "integrationids", id)
}

// Ending stays of an integration that one side, or the tenant, has ended, until there is another one.
type Ending struct {
	By string `json:"by"`
}

// IntegrationEnding is that of the last integration of a vendor with an organization.
func (t Tenant) IntegrationEnding(org, vendor string) Place[Ending] {
	return place[Ending](t, PrivateRoot, "endedintegrations", org, vendor)
}

// PutIntegration writes an integration, and makes it found by its id and its vendor.
func (t Tenant) PutIntegration(ctx context.Context, tx datastore.Tx, org, vendor string, i Integration) error {
	former, found, err := t.Integration(org, vendor).Find(ctx, tx)
	if err != nil {
		return err
	}
	var old Place[IntegrationRef]
	if found {
		old = t.IntegrationID(former.ID)
	}
	if found && former.ID != i.ID {
		if err := tx.Delete(t.LastUse("integrations", former.ID).Path); err != nil {
			return fmt.Errorf("forget the use of integration %s: %w", former.ID, err)
		}
	}
	if err := claim(ctx, tx, old, t.IntegrationID(i.ID), IntegrationRef{Org: org, Vendor: vendor}); err != nil {
		return fmt.Errorf("the id %s: %w", i.ID, err)
	}
	if err := relink(ctx, tx, t.integrationLinks(org, vendor, former), t.integrationLinks(org, vendor, i)); err != nil {
		return err
	}
	_, ended, err := t.IntegrationEnding(org, vendor).Find(ctx, tx)
	if err != nil {
		return err
	}
	if ended {
		if err := remove(tx, t.IntegrationEnding(org, vendor).Path); err != nil {
			return err
		}
	}
	return t.Integration(org, vendor).Put(ctx, tx, i)
}

func (t Tenant) integrationLinks(org, vendor string, i Integration) []datastore.Path {
	paths := t.link("integrations", byVendor, vendor, org)
	if i.Kind == DelegatedIntegration && i.EnabledBy != "" {
		paths = append(paths, t.enabledBy(org, i.EnabledBy).Join(vendor))
	}
	return paths
}

func (t Tenant) enabledBy(org, user string) datastore.Path {
	return t.owned("integrations", byUser, user).Join(org)
}

// IntegrationsEnabledBy yields the delegated integrations by which vendors act for a user in an organization, in the order of
// the vendors' ids.
func (t Tenant) IntegrationsEnabledBy(ctx context.Context, r datastore.Reader, org, user string, do func(vendor string, i Integration) error) error {
	at := func(vendor string) Place[Integration] { return t.Integration(org, vendor) }
	return linked(ctx, r, t.enabledBy(org, user), "", at, do)
}

// IntegrationsOf yields the integrations of a vendor in the order of their organizations, after the given one.
func (t Tenant) IntegrationsOf(ctx context.Context, r datastore.Reader, vendor, after string, do func(org string, i Integration) error) error {
	at := func(org string) Place[Integration] { return t.Integration(org, vendor) }
	return linked(ctx, r, t.owned("integrations", byVendor, vendor), after, at, do)
}

// PutMember writes a membership, and makes it found by its user and, when it is active, by its roles.
func (t Tenant) PutMember(ctx context.Context, tx datastore.Tx, org, user string, m Member) error {
	former, _, err := t.Member(org, user).Find(ctx, tx)
	if err != nil {
		return err
	}
	if err := relink(ctx, tx, t.memberLinks(org, user, former), t.memberLinks(org, user, m)); err != nil {
		return err
	}
	if err := t.Member(org, user).Put(ctx, tx, m); err != nil {
		return err
	}
	return t.membership(user, org).Put(ctx, tx, Alias{ID: org})
}

// Holders yields the users who hold the role in the organization by an active membership, in the order of their ids, after the
// given one.
func (t Tenant) Holders(ctx context.Context, r datastore.Reader, org, role, after string, do func(user string) error) error {
	return links(ctx, r, t.holders(Active, org, role), after, do)
}

// SuspendedHolders yields those who would hold the role if their membership were active, likewise.
func (t Tenant) SuspendedHolders(ctx context.Context, r datastore.Reader, org, role, after string, do func(user string) error) error {
	return links(ctx, r, t.holders(Suspended, org, role), after, do)
}

// maxHoldersSeen bounds how many holders of a role SoleHolder looks at.
const maxHoldersSeen = 1000

// SoleHolder says whether the user holds the role in the organization by an active membership, and no other active user does. When
// there are too many to look at, somebody else does.
func (t Tenant) SoleHolder(ctx context.Context, r datastore.Reader, org, role, user string) (bool, error) {
	if _, err := r.Stat(ctx, t.holders(Active, org, role).Join(user)); err != nil {
		if errors.Is(err, datastore.ErrNotFound) {
			return false, nil
		}
		return false, fmt.Errorf("look for the holders of a role: %w", err)
	}
	others, seen := false, 0
	err := t.Holders(ctx, r, org, role, "", func(holder string) error {
		if seen++; seen > maxHoldersSeen {
			others = true
			return ErrEnough
		}
		if holder == user {
			return nil
		}
		record, _, err := t.User(holder).Find(ctx, r)
		if others = record.Status == Active; err == nil && others {
			err = ErrEnough
		}
		return err
	})
	return !others, err
}
