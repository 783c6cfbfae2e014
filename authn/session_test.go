package authn

import (
	"testing"
	"time"

	"mandate/directory"
)

func (w *world) session(secret directory.Secret) *Principal {
	w.t.Helper()
	r := w.memory.Begin()
	defer r.End()
	p, err := w.a.Session(w.t.Context(), r, secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// TestSessions: a session is its user until it ends, or what it rests on does.
func TestSessions(t *testing.T) {
	const bob = "acme|acme-idp|bob"
	alice := &Principal{Type: User, Subject: "alice", AuthTime: 7, Methods: []string{"pwd"}}
	connected := &Principal{Type: User, Subject: bob, Org: "acme", Connection: "acme-idp", Methods: []string{"external"}}
	for _, row := range []struct {
		name string
		user *Principal
		end  func(*world, directory.Secret)
	}{
		{"it is ended", alice, func(w *world, s directory.Secret) {
			if err := w.a.EndSession(t.Context(), s); err != nil {
				t.Error(err)
			}
		}},
		{"its time is over", alice, func(w *world, _ directory.Secret) { w.advance(sessionLifetime) }},
		{"the user is disabled", alice, func(w *world, _ directory.Secret) {
			put(w, testTenant.User("alice"), directory.User{Status: directory.Disabled})
		}},
		{"the user is removed", alice, func(w *world, _ directory.Secret) { remove(w, testTenant.User("alice")) }},
		{"a connection's user is removed", connected, func(w *world, _ directory.Secret) { remove(w, testTenant.User(bob)) }},
		{"the connection is removed", connected, func(w *world, _ directory.Secret) { remove(w, testTenant.Connection("acme", "acme-idp")) }},
		{"the membership is removed", connected, func(w *world, _ directory.Secret) { remove(w, testTenant.Member("acme", bob)) }},
		{"the organization is suspended", connected, func(w *world, _ directory.Secret) {
			put(w, testTenant.Org("acme"), directory.Org{Status: directory.Suspended})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			put(w, testTenant.User("alice"), directory.User{Username: "alice", Status: directory.Active})
			put(w, testTenant.User(bob), directory.User{Username: bob, Status: directory.Active})
			put(w, testTenant.Member("acme", bob), directory.Member{Roles: []string{}, Status: directory.Active})
			secret, err := w.a.BeginSession(t.Context(), row.user)
			if err != nil {
				t.Fatal(err)
			}
			w.advance(time.Hour)
			p := w.session(secret)
			if p == nil || p.Subject != row.user.Subject || p.Org != row.user.Org || p.Connection != row.user.Connection ||
				p.AuthTime != row.user.AuthTime || p.Methods[0] != row.user.Methods[0] || p.Credential.Type != "session" {
				t.Fatalf("got %+v", p)
			}
			row.end(w, secret)
			if p := w.session(secret); p != nil {
				t.Errorf("still %+v", p)
			}
			if err := w.a.EndSession(t.Context(), secret); err != nil {
				t.Errorf("end it again: %v", err)
			}
		})
	}
	w := newWorld(t)
	for _, unknown := range []string{"", "x", "mdt_ss_x_y"} {
		if p := w.session(directory.NewSecret(unknown)); p != nil {
			t.Errorf("%q is %+v", unknown, p)
		}
	}
}
