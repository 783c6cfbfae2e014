package authn

import (
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

func (w *world) rotate(id string, overlap time.Duration) []directory.Made {
	w.t.Helper()
	var made []directory.Made
	w.update(func(tx datastore.Tx) (err error) {
		made, err = testTenant.RotateAPIKey(w.t.Context(), tx, w.master, id, overlap, w.now())
		return err
	})
	return made
}

func (w *world) pair(key, secret string) (*Principal, error) {
	r := w.memory.Begin()
	defer r.End()
	return w.a.Authenticate(w.t.Context(), r, Presented{KeyPairs: []Pair{{ID: directory.NewSecret(key), Secret: directory.NewSecret(secret)}}})
}

// TestFormerAPIKey: a key that was replaced is the same principal until the overlap is over, also where that is remembered.
func TestFormerAPIKey(t *testing.T) {
	w := newWorld(t)
	w.load("api_keys: [{id: k, org: acme, key: former, scopes: [read]}]")
	before, err := w.bearer("former")
	if err != nil {
		t.Fatal(err)
	}
	began := w.now()
	made := w.rotate("k", time.Hour)[0].Secret.Expose()
	for _, step := range []struct {
		name         string
		after        time.Duration
		former, next bool
	}{
		{"at once", 0, true, true},
		{"shortly before the end", time.Hour - time.Nanosecond, true, true},
		{"at the end", time.Hour, false, true},
		{"a year later", 365 * 24 * time.Hour, false, true},
	} {
		w.advance(began.Add(step.after).Sub(w.now()))
		for range 2 { // the second is remembered
			for token, good := range map[string]bool{"former": step.former, made: step.next} {
				p, err := w.bearer(token)
				if !good {
					if err := wantError(err, Invalid, ""); err != nil {
						t.Errorf("%s: the former key: %v", step.name, err)
					}
					continue
				}
				if err != nil || p.Subject != before.Subject || p.Org != before.Org || p.Credential != before.Credential || p.Scopes[0] != "read" {
					t.Errorf("%s: %+v, %v", step.name, p, err)
				}
				if token == "former" && p != nil && p.Expires != began.Add(time.Hour).Unix() {
					t.Errorf("%s: the former key ends at %d", step.name, p.Expires)
				}
			}
		}
	}
	newer := w.rotate("k", time.Hour)[0].Secret.Expose()
	w.rotate("k", 0)
	for _, token := range []string{made, newer} {
		if err := wantError(second(w.bearer(token)), Invalid, ""); err != nil {
			t.Errorf("ended at once: %v", err)
		}
	}
}

// TestFormerPair: the two halves of a pair go together, before a rotation and after it.
func TestFormerPair(t *testing.T) {
	w := newWorld(t)
	w.load("api_keys: [{id: k, kind: pair, key: key1, secret: secret1}]")
	made := w.rotate("k", time.Hour)
	key2, secret2 := made[0].Secret.Expose(), made[1].Secret.Expose()
	for _, row := range []struct {
		key, secret string
		good        bool
	}{
		{"key1", "secret1", true}, {key2, secret2, true}, {"key1", secret2, false}, {key2, "secret1", false},
	} {
		if _, err := w.pair(row.key, row.secret); (err == nil) != row.good {
			t.Errorf("%s with %s: %v", row.key, row.secret, err)
		}
	}
	w.advance(time.Hour)
	if err := wantError(second(w.pair("key1", "secret1")), Invalid, ""); err != nil {
		t.Errorf("after the overlap: %v", err)
	}
	if _, err := w.pair(key2, secret2); err != nil {
		t.Error(err)
	}
}

// TestGrantOfAFormerAPIKey: what a key was exchanged for ends with that very key, not with the one that has replaced it.
func TestGrantOfAFormerAPIKey(t *testing.T) {
	w := newWorld(t)
	w.load("api_keys: [{id: k, org: acme, key: former}]")
	exchanged := func(token string) directory.Grant {
		t.Helper()
		r := w.memory.Begin()
		defer r.End()
		p, err := w.bearer(token)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := w.a.PresentedDigest(t.Context(), r, p)
		if err != nil || digest == "" {
			t.Fatal(digest, err)
		}
		return directory.Grant{Kind: "apikey", Subject: "k", Credential: digest}
	}
	stands := func(g directory.Grant) error {
		r := w.memory.Begin()
		defer r.End()
		standing := memo.Table[answered]{Kind: "test"}
		_, err := standing.Get(r, memo.KeyOf([]byte(g.Credential)), func(r *memo.Reading) (answered, error) {
			return answered{}, w.a.GrantStanding(t.Context(), r, g)
		})
		return err
	}
	before := exchanged("former")
	made := w.rotate("k", time.Hour)[0].Secret.Expose()
	during, next := exchanged("former"), exchanged(made)
	for name, g := range map[string]directory.Grant{"before": before, "during": during, "next": next} {
		if err := stands(g); err != nil {
			t.Errorf("during the overlap: the grant from %s: %v", name, err)
		}
	}
	w.advance(time.Hour)
	for name, g := range map[string]directory.Grant{"before": before, "during": during} {
		if err := wantError(stands(g), Inactive, "credential_replaced"); err != nil {
			t.Errorf("after the overlap: the grant from %s: %v", name, err)
		}
	}
	if err := stands(next); err != nil {
		t.Error(err)
	}
	w.rotate("k", 0)
	if err := wantError(stands(next), Inactive, "credential_replaced"); err != nil {
		t.Error(err)
	}
}

// answered is a result to remember.
type answered struct{}

func (answered) Bytes() int { return 100 }
