package authn

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// TestEveryFailedSignInPaysForAPasswordCheck: where a user could sign in, a wrong guess costs the check of a password,
// whether or not the name is anybody's, so its time tells nothing. It is seen by filling the queue for
// checks: whoever needs one is turned away.
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
	signIn := func(name, secret string) error {
		credential := base64.StdEncoding.EncodeToString([]byte(name + ":" + secret))
		_, err := a.Authenticate(t.Context(), memo.Over(view), Presented{Authorization: []string{"Basic " + credential}})
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
	for range cap(checks.waiting) {
		checks.waiting <- struct{}{}
	}
	for _, row := range cases {
		var failed *Error
		err := signIn(row.user, row.secret)
		if turnedAway := errors.As(err, &failed) && failed.Kind == Busy; turnedAway != row.wantCheck {
			t.Errorf("%s: needs the check of a password: %v, want %v (%v)", row.name, turnedAway, row.wantCheck, err)
		}
	}
	for range cap(checks.waiting) {
		<-checks.waiting
	}

	var answers []string
	for _, row := range cases[1:4] {
		answers = append(answers, signIn(row.user, row.secret).Error())
	}
	if answers[0] != answers[1] || answers[1] != answers[2] {
		t.Errorf("the answers tell who exists: %q", answers)
	}
}
