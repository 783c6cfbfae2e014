package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mandate/datastore"
)

// MaxOverlap is how long a former API key can be good beside the one that has replaced it.
const MaxOverlap = 7 * 24 * time.Hour

var (
	// ErrOverlap refuses a rotation with an overlap that is negative or longer than MaxOverlap.
	ErrOverlap = errors.New("the overlap must be between 0 and 7 days")
	// ErrTwoSecrets refuses a third live secret of a client.
	ErrTwoSecrets = errors.New("the client has two live secrets: drop the former one first")
	// ErrNoSecret refuses a secret for a client that authenticates otherwise.
	ErrNoSecret = errors.New("the client authenticates without a secret")
)

// FormerKey is the API key that a rotation has replaced, with the secret of a pair, which go together.
type FormerKey struct {
	Key    Hash      `json:"key"`
	Secret Hash      `json:"secret,omitempty"`
	Until  time.Time `json:"until"`
}

// visiblePrefix is the part of a made secret by which people tell theirs apart: all before its random part, and 4 of its 43 digits.
func visiblePrefix(s Secret) string {
	const shown = 4
	end := strings.LastIndexByte(s.value, '_') + 1 + shown
	return s.value[:min(end, len(s.value))]
}

// RotateAPIKey makes a new key, and a new secret of a pair, to be shown once. The former one is good until the overlap is over,
// one that was replaced before it no more.
func (t Tenant) RotateAPIKey(ctx context.Context, tx datastore.Tx, master *MasterKey, id string, overlap time.Duration,
	now time.Time) ([]Made, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return nil, ErrOverlap
	}
	key, err := t.APIKey(id).Get(ctx, tx)
	if err != nil {
		return nil, err
	}
	former, _, err := t.KeySecrets(id).Find(ctx, tx)
	if err != nil {
		return nil, err
	}
	w := &writer{Tx: tx, tenant: t, master: master}
	var next KeySecrets
	if next.Key, err = w.make(KindAPIKey, id); err != nil {
		return nil, err
	}
	key.Prefix = visiblePrefix(w.made[0].Secret)
	if key.Kind == PairKey {
		if next.Secret, err = w.make(KindAPISecret, id); err != nil {
			return nil, err
		}
	}
	owner := SecretOwner{Kind: KindAPIKey, ID: id}
	if err := t.endFormer(ctx, tx, owner, former.Former); err != nil {
		return nil, err
	}
	if overlap > 0 && former.Key != "" {
		next.Former = &FormerKey{Key: former.Key, Secret: former.Secret, Until: now.UTC().Add(overlap)}
		ending := owner
		ending.ExpiresAt = next.Former.Until
		err = PutExpiring(ctx, tx, t.SecretOwner(former.Key), ending, ending.ExpiresAt)
	} else {
		err = t.disown(ctx, tx, owner, former.Key)
	}
	if err != nil {
		return nil, err
	}
	if err := t.SecretOwner(next.Key).Put(ctx, tx, owner); err != nil {
		return nil, err
	}
	if err := t.KeySecrets(id).Put(ctx, tx, next); err != nil {
		return nil, err
	}
	return w.made, t.PutAPIKey(ctx, tx, id, key)
}

// endFormer ends a former key before its time.
func (t Tenant) endFormer(ctx context.Context, tx datastore.Tx, owner SecretOwner, former *FormerKey) error {
	if former == nil {
		return nil
	}
	if err := remove(tx, expiring(t.SecretOwner(former.Key).Path, former.Until).Path); err != nil {
		return err
	}
	return t.disown(ctx, tx, owner, former.Key)
}

// disown makes the look-up by hash lead nowhere, when it leads to the owner.
func (t Tenant) disown(ctx context.Context, tx datastore.Tx, owner SecretOwner, h Hash) error {
	if h == "" {
		return nil
	}
	holder, found, err := t.SecretOwner(h).Find(ctx, tx)
	holder.ExpiresAt = time.Time{}
	if err != nil || !found || holder != owner {
		return err
	}
	return remove(tx, t.SecretOwner(h).Path)
}

// RotateClientSecret makes a new secret beside the one that the client has, to be shown once. There are two at most: with drop
// the older of two goes, without it a third is refused.
func (t Tenant) RotateClientSecret(ctx context.Context, tx datastore.Tx, master *MasterKey, id string, drop bool) (Made, error) {
	client, err := t.Client(id).Get(ctx, tx)
	if err != nil {
		return Made{}, err
	}
	if !usesSecret(client.TokenEndpointAuthMethod) {
		return Made{}, ErrNoSecret
	}
	secrets, _, err := t.ClientSecrets(id).Find(ctx, tx)
	if err != nil {
		return Made{}, err
	}
	if len(secrets.Hashes) > 1 {
		if !drop {
			return Made{}, ErrTwoSecrets
		}
		secrets.Hashes = secrets.Hashes[:1]
	}
	w := &writer{Tx: tx, tenant: t, master: master}
	h, err := w.make(KindClientSecret, id)
	if err != nil {
		return Made{}, err
	}
	secrets.Hashes = slices.Insert(secrets.Hashes, 0, h)
	return w.made[0], t.ClientSecrets(id).Put(ctx, tx, secrets)
}

// DropFormerClientSecret ends the older of a client's two secrets, if it has two.
func (t Tenant) DropFormerClientSecret(ctx context.Context, tx datastore.Tx, id string) error {
	secrets, found, err := t.ClientSecrets(id).Find(ctx, tx)
	if err != nil || !found || len(secrets.Hashes) < 2 {
		return err
	}
	secrets.Hashes = secrets.Hashes[:1]
	return t.ClientSecrets(id).Put(ctx, tx, secrets)
}

// RotateVendorToken replaces the token of a vendor at once.
func (t Tenant) RotateVendorToken(ctx context.Context, tx datastore.Tx, master *MasterKey, id string) (Made, error) {
	if _, err := t.Vendor(id).Get(ctx, tx); err != nil {
		return Made{}, err
	}
	return t.rotateToken(ctx, tx, master, t.VendorSecret(id), SecretOwner{Kind: KindVendorToken, ID: id}, id)
}

// RotatePartnerToken replaces the partner token of an integration at once.
func (t Tenant) RotatePartnerToken(ctx context.Context, tx datastore.Tx, master *MasterKey, org, vendor string) (Made, error) {
	integration, err := t.Integration(org, vendor).Get(ctx, tx)
	if err != nil {
		return Made{}, err
	}
	owner := SecretOwner{Kind: KindPartnerToken, ID: vendor, Org: org}
	return t.rotateToken(ctx, tx, master, t.IntegrationSecret(org, vendor), owner, integration.ID)
}

func (t Tenant) rotateToken(ctx context.Context, tx datastore.Tx, master *MasterKey, where Place[TokenSecret], owner SecretOwner,
	id string) (Made, error) {
	former, _, err := where.Find(ctx, tx)
	if err != nil {
		return Made{}, err
	}
	w := &writer{Tx: tx, tenant: t, master: master}
	next, err := w.make(owner.Kind, id)
	if err != nil {
		return Made{}, err
	}
	if err := w.own(ctx, former.Token, next, owner); err != nil {
		return Made{}, fmt.Errorf("rotate a token: it %w", err)
	}
	return w.made[0], where.Put(ctx, tx, TokenSecret{Token: next})
}
