package directory_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// opens says whose the secret is by the look-up, empty for nobody's.
func (f fixture) opens(t *testing.T, s directory.Secret) string {
	t.Helper()
	owner, _, err := tenant.SecretOwner(f.master.Hash(s)).Find(t.Context(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	return owner.ID
}

func (f fixture) rotateKey(t *testing.T, id string, overlap time.Duration, now time.Time) []directory.Made {
	t.Helper()
	var made []directory.Made
	f.commit(t, func(ctx context.Context, tx datastore.Tx) (err error) {
		made, err = tenant.RotateAPIKey(ctx, tx, f.master, id, overlap, now)
		return err
	})
	return made
}

func TestRotatedAPIKeys(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "api_keys: [{id: pair, kind: pair, key: first, secret: s1}, {id: bearer, key: b1}]")
	first := directory.NewSecret("first")
	pair := f.rotateKey(t, "pair", time.Hour, noon())
	if len(pair) != 2 || pair[0].Kind != directory.KindAPIKey || pair[1].Kind != directory.KindAPISecret {
		t.Fatalf("a pair is rotated by %v", pair)
	}
	secrets, err := tenant.KeySecrets("pair").Get(t.Context(), f.view(t))
	if err != nil || !f.master.Matches(pair[1].Secret, secrets.Secret) || !f.master.Matches(directory.NewSecret("s1"), secrets.Former.Secret) ||
		!secrets.Former.Until.Equal(noon().Add(time.Hour)) {
		t.Errorf("the secrets are %+v (%v)", secrets, err)
	}
	if f.opens(t, first) != "pair" || f.opens(t, pair[0].Secret) != "pair" {
		t.Error("one of the two keys does not open during the overlap")
	}

	again := f.rotateKey(t, "pair", 24*time.Hour, noon().Add(time.Minute))
	if f.opens(t, first) != "" || f.opens(t, pair[0].Secret) != "pair" || f.opens(t, again[0].Secret) != "pair" {
		t.Error("there are other keys than the newest and the one before")
	}
	f.sweep(t, noon().Add(2*time.Hour), 0) // the end of the first is no more of interest
	f.sweep(t, noon().Add(25*time.Hour), 1)
	if f.opens(t, pair[0].Secret) != "" || f.opens(t, again[0].Secret) != "pair" {
		t.Error("after the overlap there are other keys than the newest")
	}

	at := f.rotateKey(t, "pair", 0, noon())
	if f.opens(t, again[0].Secret) != "" || f.opens(t, at[0].Secret) != "pair" {
		t.Error("without an overlap the former key did not end at once")
	}
	for name, overlap := range map[string]time.Duration{"negative": -1, "more than 7 days": directory.MaxOverlap + 1} {
		_, err := f.Update(t.Context(), func(tx datastore.Tx) error {
			_, err := tenant.RotateAPIKey(t.Context(), tx, f.master, "pair", overlap, noon())
			return err
		})
		if !errors.Is(err, directory.ErrOverlap) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = f.Update(t.Context(), func(tx datastore.Tx) error {
		_, err := tenant.RotateAPIKey(t.Context(), tx, f.master, "unknown", 0, noon())
		return err
	})
	if !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
}

// TestFormerAPIKeyAndFiles: a file that says nothing of the key lets the overlap be, one that gives a key ends it, and may bring
// the former one back for good.
func TestFormerAPIKeyAndFiles(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "api_keys: [{id: k, key: first}]")
	first := directory.NewSecret("first")
	made := f.rotateKey(t, "k", time.Hour, noon())[0].Secret
	f.mustLoad(t, "api_keys: [{id: k, scopes: [read]}]")
	if f.opens(t, first) != "k" || f.opens(t, made) != "k" {
		t.Error("a file without a key ended one")
	}
	f.mustLoad(t, "api_keys: [{id: k, key: first}]")
	if f.opens(t, first) != "k" || f.opens(t, made) != "" {
		t.Error("the former key is not the one key again")
	}
	f.sweep(t, noon().Add(2*time.Hour), 0)
	if f.opens(t, first) != "k" {
		t.Error("it ended at the end of an overlap that is no more")
	}
	f.rotateKey(t, "k", time.Hour, noon())
	f.mustLoad(t, "api_keys: [{id: k, key: third}]")
	if f.opens(t, first) != "" {
		t.Error("a former key is good beside one from a file")
	}
}

func TestVisiblePrefixOfAPIKeys(t *testing.T) {
	f := newFixture(t, 1)
	prefix := func(id string) string {
		key, err := tenant.APIKey(id).Get(t.Context(), f.view(t))
		if err != nil {
			t.Fatal(err)
		}
		return key.Prefix
	}
	begins := func(made directory.Secret) {
		t.Helper()
		if got := prefix("k"); !strings.HasPrefix(made.Expose(), got) || len(got) != len("mdt_ak_k_")+4 {
			t.Errorf("the prefix of a key that was made is %q", got)
		}
	}
	made := f.mustLoad(t, "api_keys: [{id: k}, {id: chosen, key: chosen-by-somebody}]").Made
	begins(made[0].Secret)
	if got := prefix("chosen"); got != "" {
		t.Errorf("a key from a file has the prefix %q", got)
	}
	f.mustLoad(t, "api_keys: [{id: k, scopes: [read]}]")
	begins(made[0].Secret)
	begins(f.rotateKey(t, "k", 0, noon())[0].Secret)
	f.mustLoad(t, "api_keys: [{id: k, key: chosen}]")
	if got := prefix("k"); got != "" {
		t.Errorf("replaced by one from a file it has the prefix %q", got)
	}
}

func TestRotatedClientSecrets(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "clients: [{id: sync, secret: first}, {id: keyed, token_endpoint_auth_method: private_key_jwt, jwks: {keys: ["+publicKey+"]}}]")
	names := map[string]directory.Secret{"first": directory.NewSecret("first")}
	for _, step := range []struct {
		name, live string
		err        error
		change     func(ctx context.Context, tx datastore.Tx) error
	}{
		{"a second", "second first", nil, f.rotateClient(names, "second", "sync", false)},
		{"a third is refused", "second first", directory.ErrTwoSecrets, f.rotateClient(names, "third", "sync", false)},
		{"a third instead of the first", "third second", nil, f.rotateClient(names, "third", "sync", true)},
		{"the second is dropped", "third", nil, func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DropFormerClientSecret(ctx, tx, "sync")
		}},
		{"the only one stays", "third", nil, func(ctx context.Context, tx datastore.Tx) error {
			return tenant.DropFormerClientSecret(ctx, tx, "sync")
		}},
		{"a client with keys has none", "third", directory.ErrNoSecret, f.rotateClient(names, "none", "keyed", false)},
		{"nor has an unknown one", "third", datastore.ErrNotFound, f.rotateClient(names, "none", "unknown", false)},
	} {
		_, err := f.Update(t.Context(), func(tx datastore.Tx) error { return step.change(t.Context(), tx) })
		if !errors.Is(err, step.err) {
			t.Errorf("%s: %v, want %v", step.name, err, step.err)
		}
		secrets, err := tenant.ClientSecrets("sync").Get(t.Context(), f.view(t))
		if err != nil {
			t.Fatal(err)
		}
		var live []string
		for _, h := range secrets.Hashes {
			for name, s := range names {
				if f.master.Matches(s, h) {
					live = append(live, name)
				}
			}
		}
		if got := strings.Join(live, " "); got != step.live || len(live) != len(secrets.Hashes) {
			t.Errorf("%s: %q are live, want %q", step.name, got, step.live)
		}
	}
}

func (f fixture) rotateClient(names map[string]directory.Secret, name, id string, drop bool) func(context.Context, datastore.Tx) error {
	return func(ctx context.Context, tx datastore.Tx) error {
		made, err := tenant.RotateClientSecret(ctx, tx, f.master, id, drop)
		if err == nil {
			names[name] = made.Secret
		}
		return err
	}
}

func TestRotatedTokens(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, `
orgs: [{id: acme}]
vendors: [{id: backupco, token: vendor-token}]
integrations: [{id: i, vendor: backupco, org: acme, partner_token: partner-token}]`)
	for former, rotate := range map[string]func(ctx context.Context, tx datastore.Tx) (directory.Made, error){
		"vendor-token": func(ctx context.Context, tx datastore.Tx) (directory.Made, error) {
			return tenant.RotateVendorToken(ctx, tx, f.master, "backupco")
		},
		"partner-token": func(ctx context.Context, tx datastore.Tx) (directory.Made, error) {
			return tenant.RotatePartnerToken(ctx, tx, f.master, "acme", "backupco")
		},
	} {
		var made directory.Made
		f.commit(t, func(ctx context.Context, tx datastore.Tx) (err error) {
			made, err = rotate(ctx, tx)
			return err
		})
		if f.opens(t, directory.NewSecret(former)) != "" || f.opens(t, made.Secret) != "backupco" {
			t.Errorf("%s is not replaced at once", former)
		}
	}
	for _, rotate := range []func(tx datastore.Tx) (directory.Made, error){
		func(tx datastore.Tx) (directory.Made, error) {
			return tenant.RotateVendorToken(t.Context(), tx, f.master, "x")
		},
		func(tx datastore.Tx) (directory.Made, error) {
			return tenant.RotatePartnerToken(t.Context(), tx, f.master, "acme", "x")
		},
	} {
		_, err := f.Update(t.Context(), func(tx datastore.Tx) error { _, err := rotate(tx); return err })
		if !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("what is not there is rotated: %v", err)
		}
	}
}
