package authn

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

const (
	usageSlots  = 1 << 16 // how many credentials can be noted between two writes; of more, some are not
	usageProbes = 8       // slots in which one credential can be
	usageAtOnce = 500     // bounds the transactions of Flush
)

// Usage notes when credentials were used last, to the minute, and writes that down now and then: a request writes nothing. A
// credential that is noted already costs neither a lock nor memory. It is safe for concurrent use.
type Usage struct {
	tenant directory.Tenant
	seed   maphash.Seed
	slots  []atomic.Pointer[use]
}

// use is a credential that was used since the last Flush.
type use struct {
	collection, id string
	at             atomic.Int64 // the newest, in seconds since 1970; taken once Flush has it
}

const taken = math.MaxInt64

// NewUsage makes a Usage that has noted nothing.
func NewUsage(tenant directory.Tenant) *Usage {
	return &Usage{tenant: tenant, seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[use], usageSlots)}
}

// Note notes that the credential of a record was used.
func (u *Usage) Note(collection, id string, at time.Time) {
	minute := at.Unix() / 60 * 60
	hash := maphash.String(u.seed, id)
	var fresh *use
	for probe := range uint64(usageProbes) {
		slot := &u.slots[(hash+probe)%usageSlots]
		found := slot.Load()
		if found == nil {
			if fresh == nil {
				fresh = &use{collection: collection, id: id}
				fresh.at.Store(minute)
			}
			if slot.CompareAndSwap(nil, fresh) {
				return
			}
			found = slot.Load()
		}
		if found == nil || found.id != id || found.collection != collection {
			continue
		}
		was := found.at.Load()
		for was < minute && !found.at.CompareAndSwap(was, minute) {
			was = found.at.Load()
		}
		if was == taken { // at this moment; its slot is empty
			u.Note(collection, id, at)
		}
		return
	}
}

// note notes the credential of a principal that Authenticate returns. Passwords and tokens have no record of their own, and a
// public client proves nothing.
func (u *Usage) note(p *Principal, now func() time.Time) {
	switch p.Credential.Type {
	case "api_key":
		u.Note("apikeys", p.Credential.ID, now())
	case "partner_token":
		at := now()
		u.Note("integrations", p.Credential.ID, at)
		u.Note("vendors", p.Subject, at)
	case integrationType:
		u.Note("integrations", p.Credential.ID, now())
	case accessTokenType, externalTokenType, publicMethod:
	default:
		if p.Type == Client {
			u.Note("clients", p.Subject, now())
		}
	}
}

// Flush writes down what was noted since the last time, and keeps for the next time what it could not.
func (u *Usage) Flush(ctx context.Context, store datastore.Store) error {
	batch := make([]noted, 0, usageAtOnce)
	for n := range u.slots {
		if found := u.slots[n].Swap(nil); found != nil {
			batch = append(batch, noted{found.collection, found.id, time.Unix(found.at.Swap(taken), 0)})
		}
		if len(batch) == usageAtOnce || n == len(u.slots)-1 {
			if err := u.write(ctx, store, batch); err != nil {
				return fmt.Errorf("note the last use of credentials: %w", err)
			}
			batch = batch[:0]
		}
	}
	return nil
}

// noted is a use to write down.
type noted struct {
	collection, id string
	at             time.Time
}

func (u *Usage) write(ctx context.Context, store datastore.Store, batch []noted) error {
	if len(batch) == 0 {
		return nil
	}
	_, err := store.Update(ctx, func(tx datastore.Tx) error {
		for _, one := range batch {
			if err := u.tenant.PutLastUse(ctx, tx, one.collection, one.id, one.at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, one := range batch {
			u.Note(one.collection, one.id, one.at)
		}
	}
	return err
}

// FlushUsage writes down when credentials were used last. Whoever owns the Authenticator calls it each minute and at the end.
func (a *Authenticator) FlushUsage(ctx context.Context) error { return a.usage.Flush(ctx, a.store) }
