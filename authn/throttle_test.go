package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mandate/directory"
)

// TestThrottle: each subject has its failures, then waits for each further one; others do not, and what succeeds is free.
func TestThrottle(t *testing.T) {
	time0 := &clock{}
	time0.at.Store(time.Now().UnixNano())
	throttle := newThrottle(time0.now)
	fail := func() error { return invalid() }
	for _, row := range []struct {
		name    string
		attempt func(string, func() error) error
		subject string
		allowed int
		pause   time.Duration
	}{
		{"user name", throttle.user, "alice", userFailures, userPause},
		{"address", throttle.address, "203.0.113.7", addressFailures, addressPause},
		{"IPv6 network", throttle.address, "2001:db8:1:2::1", addressFailures, addressPause},
	} {
		for range 2 * row.allowed {
			if err := row.attempt(row.subject, func() error { return nil }); err != nil {
				t.Fatalf("%s: what succeeds: %v", row.name, err)
			}
		}
		for i := range row.allowed {
			if err := wantError(row.attempt(row.subject, fail), Invalid, ""); err != nil {
				t.Fatalf("%s: failure %d: %v", row.name, i, err)
			}
		}
		var failed *Error
		if err := row.attempt(row.subject, fail); !errors.As(err, &failed) || failed.Kind != Busy || failed.RetryAfter != row.pause {
			t.Errorf("%s: one too many: %#v", row.name, failed)
		}
		time0.advance(row.pause)
		if err := wantError(row.attempt(row.subject, fail), Invalid, ""); err != nil {
			t.Errorf("%s: after the pause: %v", row.name, err)
		}
		if err := wantError(row.attempt(row.subject, fail), Busy, ""); err != nil {
			t.Errorf("%s: and again: %v", row.name, err)
		}
	}
	if err := wantError(throttle.address("2001:db8:1:2:ffff::9", fail), Busy, ""); err != nil {
		t.Errorf("another address of the same network: %v", err)
	}
	for i := range 2 * addressFailures {
		if err := wantError(throttle.password(fmt.Sprint("user", i), "", fail), Invalid, ""); err != nil {
			t.Errorf("an address that is not known: %v", err)
		}
	}
	for _, other := range []string{"203.0.113.8", "2001:db8:1:3::1"} {
		if err := wantError(throttle.address(other, fail), Invalid, ""); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// TestGuessingIsThrottled: at the login page and with Authorization: Basic, and alike for names of users, of clients and of
// nobody.
func TestGuessingIsThrottled(t *testing.T) {
	w := newWorld(t)
	file, err := directory.ParseFile(strings.NewReader(`
users: [{id: alice, password: "correct horse"}, {id: bob, password: "correct horse"}]
clients: [{id: sync, secret: right-secret}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (directory.Importer{Store: w.store, Master: w.master}).Import(t.Context(), testTenant, file); err != nil {
		t.Fatal(err)
	}
	signIn := func(name, password, address string) error {
		r := w.memory.Begin()
		defer r.End()
		p, err := w.a.SignIn(t.Context(), r, name, directory.NewSecret(password), address)
		if err == nil && (p.Subject != name || p.AuthTime != w.now().Unix()) {
			t.Errorf("%s is %+v", name, p)
		}
		return err
	}
	basic := func(name, password, address string) error {
		r := w.memory.Begin()
		defer r.End()
		_, err := w.a.Authenticate(t.Context(), r, Presented{Address: address,
			Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}})
		return err
	}
	for i, row := range []struct {
		name, user, right string
		try               func(name, password, address string) error
		wantRight         bool
	}{
		{"a user at the login page", "alice", "correct horse", signIn, false},
		{"nobody at the login page", "nobody", "", signIn, false},
		{"a user by Basic", "bob", "correct horse", basic, false},
		{"nobody by Basic", "noone", "", basic, false},
		{"a client by Basic, whose secret nobody guesses", "sync", "right-secret", basic, true},
	} {
		address := fmt.Sprint("203.0.113.", i)
		if row.right != "" {
			if err := row.try(row.user, row.right, address); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		for range userFailures {
			if err := wantError(row.try(row.user, "wrong", address), Invalid, ""); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if err := wantError(row.try(row.user, "wrong", address), Busy, ""); err != nil {
			t.Errorf("%s, once too often: %v", row.name, err)
		}
		if row.right != "" {
			if err := row.try(row.user, row.right, address); (err == nil) != row.wantRight {
				t.Errorf("%s, with the right secret: %v", row.name, err)
			}
		}
	}
	w.advance(userPause)
	if err := signIn("alice", "correct horse", "203.0.113.99"); err != nil {
		t.Errorf("after the pause: %v", err)
	}
	for address, try := range map[string]func(name, password, address string) error{"198.51.100.1": signIn, "198.51.100.2": basic} {
		for i := range addressFailures {
			if err := wantError(try(fmt.Sprint("guess", address, i), "wrong", address), Invalid, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := wantError(try("alice", "correct horse", address), Busy, ""); err != nil {
			t.Errorf("an address that has guessed many names: %v", err)
		}
	}
}
