package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"mandate/datastore/badgerstore"
	"mandate/directory"
)

// TestEveryFailedSignInPaysForAPasswordCheck: where a user could sign in, a wrong guess costs the check of a password,
// whether or not the name is anybody's, so its time tells nothing. It is seen by taking all places for
// checks: whoever needs one has to wait.
func TestEveryFailedSignInPaysForAPasswordCheck(t *testing.T) {
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	file, err := directory.ParseFile(strings.NewReader(`
users: [{id: alice, password: "correct horse"}, {id: bob}, {id: carol, status: disabled, password: "correct horse"}]
clients: [{id: sync, secret: right-secret}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (directory.Importer{Store: store, Master: master}).Import(t.Context(), "default", file); err != nil {
		t.Fatal(err)
	}
	view, err := store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	checks, err := NewPasswordChecks(1)
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Tenant: "default", Master: master, Issuer: "https://mandate.example", PasswordChecks: checks, Now: time.Now})
	signIn := func(ctx context.Context, name, secret string) error {
		credential := base64.StdEncoding.EncodeToString([]byte(name + ":" + secret))
		_, err := a.Authenticate(ctx, view, Presented{Authorization: []string{"Basic " + credential}})
		return err
	}
	cases := []struct {
		name, user, secret string
		wantCheck          bool
	}{
		{"right password", "alice", "correct horse", true},
		{"wrong password", "alice", "wrong", true},
		{"unknown user", "nobody", "wrong", true},
		{"user without a password", "bob", "wrong", true},
		{"disabled user", "carol", "correct horse", true},
		{"wrong secret of a client", "sync", "wrong", true},
		{"right secret of a client", "sync", "right-secret", false},
	}
	checks.running <- struct{}{}
	for _, row := range cases {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := signIn(ctx, row.user, row.secret)
		cancel()
		if waited := errors.Is(err, context.DeadlineExceeded); waited != row.wantCheck {
			t.Errorf("%s: checked a password: %v, want %v (%v)", row.name, waited, row.wantCheck, err)
		}
	}
	<-checks.running

	var answers []string
	for _, row := range cases[1:4] {
		answers = append(answers, signIn(t.Context(), row.user, row.secret).Error())
	}
	if answers[0] != answers[1] || answers[1] != answers[2] {
		t.Errorf("the answers tell who exists: %q", answers)
	}

	for range cap(checks.waiting) {
		checks.waiting <- struct{}{}
	}
	var busy *Error
	if err := signIn(t.Context(), "alice", "correct horse"); !errors.As(err, &busy) || busy.Kind != Busy {
		t.Errorf("with a full queue a sign-in is %v, want Busy at once", err)
	}
}
