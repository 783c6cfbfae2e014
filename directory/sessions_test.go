package directory_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

func (f fixture) sessionsOf(t *testing.T, user string) (found []string, by map[string]directory.Session) {
	t.Helper()
	by = map[string]directory.Session{}
	err := tenant.SessionsOf(t.Context(), f.view(t), user, func(id string, s directory.Session) error {
		found, by[id] = append(found, id), s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, by
}

func (f fixture) putSession(t *testing.T, secret, user string, created time.Time) directory.Hash {
	t.Helper()
	h := f.master.Hash(directory.NewSecret(secret))
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		return tenant.PutSession(ctx, tx, h, directory.Session{User: user, CreatedAt: created, ExpiresAt: created.Add(time.Hour)})
	})
	return h
}

func TestSessionsOfAUser(t *testing.T) {
	f := newFixture(t, 1)
	first := f.putSession(t, "one", "alice", noon())
	f.putSession(t, "two", "alice", noon().Add(time.Minute))
	f.putSession(t, "three", "al", noon())
	ids, by := f.sessionsOf(t, "alice")
	if len(ids) != 2 || strings.Contains(string(first), ids[0]) || strings.Contains(string(first), ids[1]) {
		t.Fatalf("the sessions are %v", ids)
	}
	oldest := ids[0]
	if by[ids[1]].CreatedAt.Equal(noon()) {
		oldest = ids[1]
	}
	for _, row := range []struct {
		name, user, id string
		found          bool
		left           int
	}{
		{"another's", "al", oldest, false, 2},
		{"an unknown one", "alice", "unknown", false, 2},
		{"one of them", "alice", oldest, true, 1},
		{"that one again", "alice", oldest, false, 1},
	} {
		var found bool
		f.commit(t, func(ctx context.Context, tx datastore.Tx) (err error) {
			found, err = tenant.EndSession(ctx, tx, row.user, row.id)
			return err
		})
		if left, _ := f.sessionsOf(t, "alice"); found != row.found || len(left) != row.left {
			t.Errorf("end %s: found %v, %d are left", row.name, found, len(left))
		}
	}
	if _, found, err := tenant.Session(first).Find(t.Context(), f.view(t)); found || err != nil {
		t.Errorf("the session that was ended is there (%v)", err)
	}
	f.putSession(t, "four", "alice", noon())
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		if ended, err := tenant.EndSessions(ctx, tx, "alice"); err != nil || ended != 2 {
			t.Errorf("%d were ended (%v)", ended, err)
		}
		return nil
	})
	if left, _ := f.sessionsOf(t, "al"); len(left) != 1 {
		t.Errorf("of another user %d are left", len(left))
	}
	f.sweep(t, noon().AddDate(0, 0, 1), 1)
	if left := f.private(t, "usersessions", "sessions"); len(left) != 0 {
		t.Errorf("after their end there are %v", left)
	}
}

func TestSessionsOfAUserAreBounded(t *testing.T) {
	f := newFixture(t, 1)
	for i := range 102 {
		f.putSession(t, fmt.Sprint(i), "alice", noon().Add(time.Duration(i)*time.Second))
	}
	ids, by := f.sessionsOf(t, "alice")
	for _, s := range by {
		if s.CreatedAt.Before(noon().Add(2 * time.Second)) {
			t.Errorf("one of %s is there, and newer ones are not", s.CreatedAt)
		}
	}
	if len(ids) != 100 || len(f.private(t, "sessions")) != 100 {
		t.Errorf("%d sessions", len(ids))
	}
}

func TestGrantsOfAUser(t *testing.T) {
	f := newFixture(t, 1)
	put := func(id string, g directory.Grant) {
		g.ExpiresAt = noon().Add(time.Hour)
		f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.PutGrant(ctx, tx, id, g) })
	}
	put("g1", directory.Grant{Kind: "user", Subject: "alice", Client: "app", Org: "acme"})
	put("g2", directory.Grant{Kind: "user", Subject: "alice", Client: "app", Org: "globex"})
	put("g3", directory.Grant{Kind: "user", Subject: "bob", Client: "app"})
	put("g4", directory.Grant{Kind: "apikey", Subject: "alice"})
	put("g5", directory.Grant{Client: "tv", Device: &directory.Device{Status: "pending"}})
	list := func(user, after string) string {
		return ids(t, func(do func(string, directory.Grant) error) error {
			return tenant.GrantsOf(t.Context(), f.view(t), user, after, do)
		})
	}
	if got := list("alice", ""); got != "g1 g2" {
		t.Errorf("the grants are %q", got)
	}
	if got := list("alice", "g1"); got != "g2" {
		t.Errorf("after g1 they are %q", got)
	}
	put("g5", directory.Grant{Kind: "user", Subject: "alice", Client: "tv", Device: &directory.Device{Status: "approved"}})
	if got := list("alice", ""); got != "g1 g2 g5" {
		t.Errorf("with a device they are %q", got)
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
		ended, err := tenant.EndGrants(ctx, tx, "alice", func(_ string, g directory.Grant) bool { return g.Org == "acme" })
		if ended != 2 {
			t.Errorf("%d were ended", ended)
		}
		return err
	})
	if got := list("alice", ""); got != "g1" {
		t.Errorf("kept are %q", got)
	}
	f.commit(t, func(ctx context.Context, tx datastore.Tx) error { return tenant.DeleteGrant(ctx, tx, "g3") })
	if got := list("bob", ""); got != "" {
		t.Errorf("deleted is %q", got)
	}
	f.sweep(t, noon().AddDate(0, 0, 1), 2)
	if left := f.private(t, "usergrants", "grants"); len(left) != 0 {
		t.Errorf("after their end there are %v", left)
	}
}
