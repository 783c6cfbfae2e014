package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mandate/datastore"
	"mandate/directory"
)

const resetUsers = `
orgs:
  - id: acme
    domains: [acme.example]
    connections: [{id: acme-idp, issuer: "https://idp.acme.example", client_id: mandate, audiences: ["https://documents.example"]}]
users:
  - {id: alice, email: Alice@globex.example, password: "correct horse"}
  - {id: twin, username: alice.b, email: alice@globex.example}
  - {id: bob, email: bob@acme.example, password: "correct horse"}
  - {id: carol, email: carol@globex.example, status: disabled, password: "correct horse"}
  - {id: dave, password: "correct horse"}
  - {id: "acme|acme-idp|eve", email: eve@globex.example}
`

func (w *world) load(text string) {
	w.t.Helper()
	file, err := directory.ParseFile(strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := (directory.Importer{Store: w.store, Master: w.master}).Import(w.t.Context(), testTenant, file); err != nil {
		w.t.Fatal(err)
	}
}

// resets begins resets for the name, and says how many commits that took.
func (w *world) resets(name string) (begun []Reset, commits datastore.Revision) {
	w.t.Helper()
	before := w.store.Newest()
	after, err := w.store.Update(w.t.Context(), func(tx datastore.Tx) (err error) {
		begun, err = w.a.BeginResets(w.t.Context(), tx, name)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return begun, after - before
}

func (w *world) finishReset(secret directory.Secret, password string) error {
	w.t.Helper()
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	if _, _, err := w.a.Resets(w.t.Context(), view, secret); err != nil {
		return err
	}
	hash, err := w.a.HashPassword(w.t.Context(), directory.NewSecret(password))
	if err != nil {
		return err
	}
	_, err = w.store.Update(w.t.Context(), func(tx datastore.Tx) error {
		_, _, _, err := w.a.FinishReset(w.t.Context(), tx, secret, hash)
		return err
	})
	return err
}

func (w *world) signIn(name, password string) (*Principal, error) {
	r := w.memory.Begin()
	defer r.End()
	return w.a.SignIn(w.t.Context(), r, name, directory.NewSecret(password), "")
}

// TestWhoIsMailed: those who have the name and can sign in with a password, and whoever asks costs the same commit.
func TestWhoIsMailed(t *testing.T) {
	for _, row := range []struct {
		name, asked string
		want        []string
	}{
		{"a username", "alice", []string{"alice"}},
		{"an address that two share, in another case", "ALICE@globex.example", []string{"alice", "alice.b"}},
		{"nobody", "nobody", nil},
		{"an address of nobody", "nobody@globex.example", nil},
		{"a look-alike", "\u0430lice@globex.example", nil},
		{"what no name can be", strings.Repeat("x", 5000), nil},
		{"a disabled user", "carol", nil},
		{"a user without an address", "dave", nil},
		{"a user whom a connection vouches for", "eve@globex.example", nil},
		{"a user whose organization has its own provider", "bob", nil},
	} {
		w := newWorld(t)
		w.load(resetUsers)
		begun, commits := w.resets(row.asked)
		var names []string
		for _, reset := range begun {
			names = append(names, reset.Username)
		}
		if !slices.Equal(names, row.want) || commits != 1 {
			t.Errorf("%s: %v after %d commits, want %v", row.name, names, commits, row.want)
		}
		begun, commits = w.resets(row.asked)
		if len(begun) != 0 || commits != 1 {
			t.Errorf("%s, again at once: %d resets, %d commits", row.name, len(begun), commits)
		}
		w.advance(resetPause)
		if begun, commits = w.resets(row.asked); len(begun) != len(row.want) || commits != 1 {
			t.Errorf("%s, a minute later: %d resets, %d commits", row.name, len(begun), commits)
		}
	}
}

// TestReset: the newest link sets a password once, while it is good, which ends the sessions and proves the address.
func TestReset(t *testing.T) {
	const password = "another one"
	for _, row := range []struct {
		name     string
		meantime func(w *world)
		password string
		want     error
	}{
		{"it is used", func(*world) {}, password, nil},
		{"it is old", func(w *world) { w.advance(resetLifetime) }, password, ErrReset},
		{"there is a newer one", func(w *world) { w.advance(resetPause); w.resets("alice") }, password, ErrReset},
		{"the password was changed", func(w *world) { w.load(`users: [{id: alice, email: alice@globex.example, password: "changed since"}]`) }, password, ErrReset},
		{"the address was changed", func(w *world) { w.load(`users: [{id: alice, email: eve@globex.example}]`) }, password, ErrReset},
		{"the user was disabled", func(w *world) { w.load(`users: [{id: alice, email: alice@globex.example, status: disabled}]`) }, password, ErrReset},
		{"the user is gone", func(w *world) { remove(w, testTenant.User("alice")) }, password, ErrReset},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.load(resetUsers)
			alice, err := w.signIn("alice", "correct horse")
			if err != nil {
				t.Fatal(err)
			}
			session, err := w.a.BeginSession(t.Context(), alice)
			if err != nil {
				t.Fatal(err)
			}
			begun, _ := w.resets("alice")
			secret := begun[0].Secret
			if err := w.finishReset(secret, "short"); err == nil || errors.Is(err, ErrReset) {
				t.Errorf("a short password: %v", err)
			}
			row.meantime(w)
			if err := w.finishReset(secret, password); !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if _, err := w.signIn("alice", password); (err == nil) != (row.want == nil) {
				t.Errorf("with the new password: %v", err)
			}
			if row.want != nil {
				return
			}
			if w.session(session) != nil {
				t.Error("the session goes on")
			}
			if _, err := w.signIn("alice", "correct horse"); wantError(err, Invalid, "") != nil {
				t.Errorf("with the former password: %v", err)
			}
			if err := w.finishReset(secret, password); !errors.Is(err, ErrReset) {
				t.Errorf("a second time: %v", err)
			}
			view, err := w.store.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close()
			if user, err := testTenant.User("alice").Get(t.Context(), view); err != nil || !user.EmailVerified || user.Email != "Alice@globex.example" {
				t.Errorf("the user is %+v, %v", user, err)
			}
		})
	}
	w := newWorld(t)
	w.load(resetUsers)
	for _, unknown := range []string{"", "x", "mdt_pr_x_y", "mdt_ss_x_" + strings.Repeat("0", 49)} {
		if err := w.finishReset(directory.NewSecret(unknown), password); !errors.Is(err, ErrReset) {
			t.Errorf("%q: %v", unknown, err)
		}
	}
}

// TestAskingForResetsIsThrottled: by address, whoever is asked for.
func TestAskingForResetsIsThrottled(t *testing.T) {
	w := newWorld(t)
	for i := range resetAllowed {
		if err := w.a.AdmitReset(fmt.Sprintf("2001:db8::%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	var failed *Error
	if err := w.a.AdmitReset("2001:db8::ffff"); !errors.As(err, &failed) || failed.Kind != Busy || failed.RetryAfter != resetEvery {
		t.Errorf("once too often: %v", err)
	}
	for _, address := range []string{"2001:db8:0:1::1", "203.0.113.7", ""} {
		if err := w.a.AdmitReset(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	w.advance(time.Minute)
	if err := w.a.AdmitReset("2001:db8::1"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// TestSignInUpgradesTheHash: a right password gets a hash of today's, once, and what rests on it goes on.
func TestSignInUpgradesTheHash(t *testing.T) {
	made, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.load(`users: [{id: alice, password_hash: "` + string(made) + `"}]`)
	hash := func() string {
		t.Helper()
		view, err := w.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		secrets, err := testTenant.UserSecrets("alice").Get(t.Context(), view)
		if err != nil {
			t.Fatal(err)
		}
		return secrets.PasswordHash
	}
	session, err := w.a.BeginSession(t.Context(), &Principal{Type: User, Subject: "alice", Methods: []string{"pwd"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.signIn("alice", "wrong"); wantError(err, Invalid, "") != nil || hash() != string(made) {
		t.Errorf("a wrong password: %v, the hash is %s", err, hash())
	}
	if _, err := w.signIn("alice", "correct horse"); err != nil || !strings.HasPrefix(hash(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the right password: %v, the hash is %s", err, hash())
	}
	if w.session(session) == nil {
		t.Error("the session that was begun before has ended")
	}
	upgraded := hash()
	r := w.memory.Begin()
	_, err = w.a.Authenticate(t.Context(), r, Presented{Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:correct horse"))}})
	r.End()
	if err != nil || hash() != upgraded {
		t.Errorf("after that: %v, the hash is %s", err, hash())
	}
	if w.session(session) == nil {
		t.Error("the session has ended")
	}
}
