package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

const (
	// publishedAhead is how long a next key is published before it signs: longer than others may keep the key set.
	publishedAhead = 15 * time.Minute
	// publishedAfter is how long a key stays published once the next one signs: until its last token has expired, by every
	// clock.
	publishedAfter = maxLifetime + 5*time.Minute
	// maxKeys bounds the key set.
	maxKeys = 64
)

var (
	// ErrNoSuchKey means that no signing key has that id.
	ErrNoSuchKey = errors.New("there is no signing key with this id")
	// ErrTooManyKeys means that no further key can be published before former ones are removed.
	ErrTooManyKeys = errors.New("too many signing keys are published: wait until former ones have been removed, or revoke them")
)

// KeyStatus says what a key is good for.
type KeyStatus string

const (
	KeyNext      KeyStatus = "next"      // published, will sign
	KeySigning   KeyStatus = "signing"   // signs
	KeyVerifying KeyStatus = "verifying" // has signed
)

// Key is a signing key as its operator sees it.
type Key struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Status    KeyStatus `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	SignsFrom time.Time `json:"signs_from"`
}

// List returns the keys of this moment, by algorithm and the newest first.
func (k *Keyring) List(ctx context.Context) ([]Key, error) {
	view, err := k.store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	stored, err := k.read(ctx, view)
	if err != nil {
		return nil, err
	}
	return statuses(stored, k.o.Now()), nil
}

func statuses(stored []storedKey, now time.Time) []Key {
	keys := make([]Key, 0, len(stored))
	signing := ""
	for _, key := range stored {
		status := KeyVerifying
		switch {
		case key.SignsFrom.After(now):
			status = KeyNext
		case signing != key.Algorithm:
			status, signing = KeySigning, key.Algorithm
		}
		keys = append(keys, Key{key.kid, key.Algorithm, status, key.CreatedAt, key.SignsFrom})
	}
	return keys
}

// Rotate publishes the next key of the algorithm, or of each that is in use when alg is empty. It signs as soon as everybody
// can know it, or at once. One that is published already and does not sign yet is not followed by another.
func (k *Keyring) Rotate(ctx context.Context, alg string, atOnce bool) error {
	algs := []string{alg}
	if alg == "" {
		keys, err := k.List(ctx)
		if err != nil {
			return err
		}
		algs = algorithms(keys)
	}
	for _, alg := range algs {
		_, err := k.publish(ctx, alg, func(keys []storedKey, now time.Time) (time.Time, bool) {
			newest, found := newestOf(keys, alg)
			if !found || atOnce {
				return now, true
			}
			return now.Add(publishedAhead), !newest.SignsFrom.After(now)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func algorithms(keys []Key) []string {
	var algs []string
	for _, key := range keys {
		algs = append(algs, key.Algorithm)
	}
	return slices.Compact(algs)
}

func newestOf(keys []storedKey, alg string) (storedKey, bool) {
	at := slices.IndexFunc(keys, func(key storedKey) bool { return key.Algorithm == alg })
	if at < 0 {
		return storedKey{}, false
	}
	return keys[at], true
}

// Revoke removes a key, and with it all tokens that it has signed: at Mandate at once, at others when they next fetch the
// key set. Another one signs in its place from now on.
func (k *Keyring) Revoke(ctx context.Context, kid string) error {
	keys, err := k.List(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(keys, func(key Key) bool { return key.ID == kid })
	if at < 0 {
		return ErrNoSuchKey
	}
	made, err := k.make(keys[at].Algorithm)
	if err != nil {
		return err
	}
	_, err = k.store.Update(ctx, func(tx datastore.Tx) error {
		stored, err := k.read(ctx, tx)
		if err != nil {
			return err
		}
		now := k.o.Now().UTC()
		keys := statuses(stored, now)
		at := slices.IndexFunc(keys, func(key Key) bool { return key.ID == kid })
		if at < 0 {
			return ErrNoSuchKey
		}
		if err := tx.Delete(k.o.Tenant.SigningKey(kid).Path); err != nil || keys[at].Status != KeySigning {
			return err
		}
		made.SignsFrom = now
		return k.o.Tenant.SigningKey(made.kid).Put(ctx, tx, made.SigningKey)
	})
	if err != nil {
		return fmt.Errorf("revoke a signing key: %w", err)
	}
	return nil
}

// Maintained is what Maintain has done: the ids of the next keys and of the removed ones, and how much other state was removed.
type Maintained struct {
	Rotated, Removed []string
	Swept            int
}

// Maintain does what time brings: it publishes next keys, and removes keys and other state of which the time is over.
func (i *Issuer) Maintain(ctx context.Context) (done Maintained, err error) {
	if err := i.PrepareKeys(ctx); err != nil {
		return done, err
	}
	if done.Rotated, err = i.keys.rotateDue(ctx); err != nil {
		return done, err
	}
	if done.Removed, err = i.keys.removeRetired(ctx); err != nil {
		return done, err
	}
	done.Swept, err = i.o.Tenant.Sweep(ctx, i.store, i.o.Now())
	return done, err
}

// PrepareKeys makes the first key of each algorithm before a token needs it, so that others know it by then: those of ID
// tokens when clients register none (OpenID Connect Dynamic Client Registration §2), and those that the APIs want.
func (i *Issuer) PrepareKeys(ctx context.Context) error {
	view, err := i.store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	wanted := []string{"ES256", "RS256"}
	err = i.o.Tenant.APIs(ctx, view, func(_ string, api directory.API) error {
		if api.SigningAlg != "" && !slices.Contains(wanted, api.SigningAlg) {
			wanted = append(wanted, api.SigningAlg)
		}
		return nil
	})
	if err != nil {
		return err
	}
	keys, err := i.keys.read(ctx, view)
	if err != nil {
		return err
	}
	for _, alg := range wanted {
		if _, found := newestOf(keys, alg); found {
			continue
		}
		if _, err := i.keys.first(ctx, alg); err != nil {
			return err
		}
	}
	return nil
}

// rotateDue publishes the next key of each algorithm early enough to sign when the lifetime of the present one ends.
func (k *Keyring) rotateDue(ctx context.Context) (rotated []string, err error) {
	keys, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	due := func(signsFrom, now time.Time) bool {
		return !now.Before(signsFrom.Add(k.o.Lifetime - publishedAhead))
	}
	for _, alg := range algorithms(keys) {
		newest := keys[slices.IndexFunc(keys, func(key Key) bool { return key.Algorithm == alg })]
		if !due(newest.SignsFrom, k.o.Now()) {
			continue
		}
		kid, err := k.publish(ctx, alg, func(keys []storedKey, now time.Time) (time.Time, bool) {
			newest, found := newestOf(keys, alg)
			return now.Add(publishedAhead), found && due(newest.SignsFrom, now)
		})
		if err != nil {
			return rotated, err
		}
		if kid != "" {
			rotated = append(rotated, kid)
		}
	}
	return rotated, nil
}

// removeRetired removes the keys of which no token can be valid: those with a newer one that has signed for long enough.
func (k *Keyring) removeRetired(ctx context.Context) (removed []string, err error) {
	_, err = k.store.Update(ctx, func(tx datastore.Tx) error {
		removed = nil
		keys, err := k.read(ctx, tx)
		if err != nil {
			return err
		}
		before := k.o.Now().Add(-publishedAfter)
		follower := ""
		for _, key := range keys {
			if key.Algorithm == follower {
				if err := tx.Delete(k.o.Tenant.SigningKey(key.kid).Path); err != nil {
					return err
				}
				removed = append(removed, key.kid)
			} else if key.SignsFrom.Before(before) {
				follower = key.Algorithm
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("remove signing keys: %w", err)
	}
	return removed, nil
}
