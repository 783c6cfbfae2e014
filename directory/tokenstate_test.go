package directory_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

func (f fixture) putExpiring(t *testing.T, jti string, at time.Time) {
	t.Helper()
	_, err := f.Update(t.Context(), func(tx datastore.Tx) error {
		return directory.PutExpiring(t.Context(), tx, tenant.RevokedToken(jti), directory.Expiry{ExpiresAt: at}, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f fixture) sweep(t *testing.T, now time.Time, want int) {
	t.Helper()
	if removed, err := tenant.Sweep(t.Context(), f, now); err != nil || removed != want {
		t.Errorf("at %s %d records were removed (%v), want %d", now.Format(time.TimeOnly), removed, err, want)
	}
}

func (f fixture) revoked(t *testing.T, jti string) bool {
	t.Helper()
	_, found, err := tenant.RevokedToken(jti).Find(t.Context(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func noon() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func TestSweepRemovesWhatHasExpired(t *testing.T) {
	f := newFixture(t, 1)
	f.putExpiring(t, "long ago", noon().AddDate(-1, 0, 0))
	f.putExpiring(t, "a minute ago", noon().Add(-time.Minute))
	f.putExpiring(t, "elsewhere", noon().Add(-time.Hour).In(time.FixedZone("", 5*60*60)))
	f.putExpiring(t, "now", noon())
	f.putExpiring(t, "in a second", noon().Add(time.Second))
	f.putExpiring(t, "in a year", noon().AddDate(1, 0, 0))
	f.sweep(t, noon(), 3)
	for jti, want := range map[string]bool{"long ago": false, "a minute ago": false, "elsewhere": false,
		"now": true, "in a second": true, "in a year": true} {
		if f.revoked(t, jti) != want {
			t.Errorf("the record that expires %s is there: %v", jti, !want)
		}
	}
	f.sweep(t, noon().Add(59*time.Second), 0)
	f.sweep(t, noon().Add(time.Minute), 2)
	f.sweep(t, noon().AddDate(1, 0, 1), 1)
}

func TestSweepWaitsForALaterExpiry(t *testing.T) {
	f := newFixture(t, 1)
	f.putExpiring(t, "a", noon())
	later := directory.Expiry{ExpiresAt: noon().Add(time.Hour)}
	// Extended without PutExpiring: the former entry leads to the new time.
	if _, err := f.Update(t.Context(), func(tx datastore.Tx) error {
		return tenant.RevokedToken("a").Put(t.Context(), tx, later)
	}); err != nil {
		t.Fatal(err)
	}
	f.sweep(t, noon().Add(30*time.Minute), 0)
	if !f.revoked(t, "a") {
		t.Error("removed before its later end")
	}
	f.sweep(t, noon().Add(2*time.Hour), 1)
	f.sweep(t, noon().Add(3*time.Hour), 0)

	// Deleted before its end, and made again.
	f.putExpiring(t, "b", noon())
	if _, err := f.Update(t.Context(), func(tx datastore.Tx) error { return tx.Delete(tenant.RevokedToken("b").Path) }); err != nil {
		t.Fatal(err)
	}
	f.sweep(t, noon().Add(time.Hour), 0)
	f.putExpiring(t, "b", noon().Add(2*time.Hour))
	f.sweep(t, noon().Add(3*time.Hour), 1)
}

func TestSweepTakesSeveralTransactions(t *testing.T) {
	f := newFixture(t, 1)
	const records = 450
	_, err := f.Update(t.Context(), func(tx datastore.Tx) error {
		for i := range records {
			at := noon().Add(-time.Duration(i) * time.Second)
			if err := directory.PutExpiring(t.Context(), tx, tenant.RevokedToken(strconv.Itoa(i)), directory.Expiry{ExpiresAt: at}, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := f.view(t).Revision()
	f.sweep(t, noon().Add(time.Minute), records)
	if commits := f.view(t).Revision() - before; commits != 3 {
		t.Errorf("%d records were removed in %d commits, want 3 of 200 or fewer", records, commits)
	}
}

func TestSweepCommitsNothingWhenNothingIsDue(t *testing.T) {
	f := newFixture(t, 1)
	f.putExpiring(t, "a", noon())
	before := f.view(t).Revision()
	f.sweep(t, noon(), 0)
	f.sweep(t, noon().Add(-time.Hour), 0)
	if after := f.view(t).Revision(); after != before {
		t.Errorf("the store went from revision %d to %d", before, after)
	}
}

func TestSweepKeepsToItsTenant(t *testing.T) {
	f := newFixture(t, 1)
	f.putExpiring(t, "a", noon())
	removed, err := directory.Tenant("staging").Sweep(t.Context(), f, noon().Add(time.Hour))
	if err != nil || removed != 0 || !f.revoked(t, "a") {
		t.Errorf("the sweep of another tenant removed %d (%v)", removed, err)
	}
}

// TestSweepOfGrants: the records that expire are those of tokens, under their own names.
func TestSweepOfGrants(t *testing.T) {
	f := newFixture(t, 1)
	h := f.master.Hash(directory.NewSecret("session"))
	if _, err := f.Update(t.Context(), func(tx datastore.Tx) error {
		if err := directory.PutExpiring(t.Context(), tx, tenant.Grant("g"), directory.Grant{ExpiresAt: noon()}, noon()); err != nil {
			return err
		}
		if err := directory.PutExpiring(t.Context(), tx, tenant.PushedRequest("p"), directory.PushedRequest{ExpiresAt: noon()}, noon()); err != nil {
			return err
		}
		return directory.PutExpiring(t.Context(), tx, tenant.Session(h), directory.Session{ExpiresAt: noon()}, noon())
	}); err != nil {
		t.Fatal(err)
	}
	f.sweep(t, noon().Add(time.Minute), 3)
	if _, found, err := tenant.Session(h).Find(t.Context(), f.view(t)); found || err != nil {
		t.Errorf("the session is there: %v, %v", found, err)
	}
}

func TestUseOnce(t *testing.T) {
	f := newFixture(t, 1)
	until := noon().Add(time.Minute)
	for _, name := range []string{"jti", "JTI", strings.Repeat("long/", 4096), "\x00\xff", ""} {
		var first atomic.Int32
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				is, err := tenant.UseOnce(t.Context(), f, "assertion", name, until)
				if err != nil {
					t.Error(err)
				}
				if is {
					first.Add(1)
				}
			})
		}
		group.Wait()
		if n := first.Load(); n != 1 {
			t.Errorf("%d of 16 at once were the first to use %.10q", n, name)
		}
	}
	for _, other := range []func() (bool, error){
		func() (bool, error) { return tenant.UseOnce(t.Context(), f, "proof", "jti", until) },
		func() (bool, error) {
			return directory.Tenant("staging").UseOnce(t.Context(), f, "assertion", "jti", until)
		},
	} {
		if first, err := other(); !first || err != nil {
			t.Errorf("what was used elsewhere counts as used here: %v, %v", first, err)
		}
	}
	f.sweep(t, until.Add(time.Minute), 6)
	if first, err := tenant.UseOnce(t.Context(), f, "assertion", "jti", until); !first || err != nil {
		t.Errorf("not forgotten after its time: %v, %v", first, err)
	}
}
