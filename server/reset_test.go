package server_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mandate/delivery"
	"mandate/directory"
	"mandate/server"
)

// mailbox is an SMTP server on a socket of its own, which hands over what it is sent.
type mailbox chan string

func (m mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return mailSession{m}, nil }

type mailSession struct{ mailbox mailbox }

func (mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (mailSession) Reset()                               {}
func (mailSession) Logout() error                        { return nil }

func (x mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err == nil {
		x.mailbox <- string(text)
	}
	return err
}

// link is that of the next mail, which must be to that address.
func (m mailbox) link(t testing.TB, to string) string {
	t.Helper()
	select {
	case mail := <-m:
		mail = strings.ReplaceAll(mail, "=\r\n", "")
		found := regexp.MustCompile(`https://mandate\.example(/[a-z]+/(mdt_(?:pr|iv)_x_[0-9A-Za-z]+))`).FindStringSubmatch(mail)
		if found == nil || !strings.Contains(mail, "\r\nTo: <"+to+">\r\n") {
			t.Fatalf("the mail is\n%s", mail)
		}
		seen.secret(found[2])
		return found[1]
	case <-time.After(20 * time.Second):
		t.Fatal("no mail")
	}
	return ""
}

// mailServer is a mailbox, and what sends mails to it.
func mailServer(t testing.TB) (mailbox, delivery.Mailer) {
	t.Helper()
	m := make(mailbox, 10)
	mailServer := smtp.NewServer(m)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- mailServer.Serve(listener) }()
	t.Cleanup(func() {
		must(t, mailServer.Close())
		if err := <-served; err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	templates, err := delivery.LoadTemplates("")
	must(t, err)
	mailer, err := delivery.NewSMTP(delivery.SMTPOptions{Address: listener.Addr().String(), From: "Mandate <no-reply@mandate.example>",
		Templates: templates, Now: time.Now})
	must(t, err)
	return m, mailer
}

// withMail has more users with an address.
func withMail(t testing.TB) (*running, mailbox) {
	t.Helper()
	s := start(t)
	file, err := directory.ParseFile(strings.NewReader(`users: [{id: rita, email: Rita@globex.example}, {id: alice, email: alice@globex.example}]`))
	must(t, err)
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), server.DefaultTenant, file)
	must(t, err)
	return s, s.mails
}

// TestPasswordReset: from the login page, by a mail, to a session with the new password.
func TestPasswordReset(t *testing.T) {
	s, m := withMail(t)
	const password = "Rita's other password"
	b := s.browser(t)
	login := b.get("/login").press("Continue", "username", "rita")
	if !strings.Contains(login.body, `href="/reset"`) {
		t.Fatalf("no link to the reset:\n%s", login.body)
	}
	if sent := b.get("/reset").press("Send a link", "username", "RITA@globex.example"); sent.title() != "Look into your mailbox" {
		t.Fatalf("%d %s", sent.status, sent.body)
	}
	link := m.link(t, "Rita@globex.example")
	other := s.browser(t) // the link may be opened anywhere, also by what only looks at it
	for range 3 {
		if shown := other.get(link); shown.title() != "Set another password" || !strings.Contains(shown.body, `value="rita"`) {
			t.Fatalf("%d %s", shown.status, shown.body)
		}
	}
	page := other.get(link)
	if short := page.press("Set password", "new_password", "short"); short.status != http.StatusBadRequest || short.problem() != "The password must have at least 8 characters." {
		t.Errorf("%d %s", short.status, short.body)
	}
	if done := page.press("Set password", "new_password", password); done.title() != "You have another password" || len(done.hops) != 1 {
		t.Fatalf("%d %s", done.status, done.body)
	}
	if again := page.press("Set password", "new_password", "yet another one"); again.status != http.StatusForbidden || !strings.Contains(again.problem(), "this link is not good") {
		t.Errorf("a second time: %d %s", again.status, again.body)
	}
	if again := other.get(link); again.status != http.StatusForbidden {
		t.Errorf("the link afterwards: %d %s", again.status, again.body)
	}
	s.login(t, "rita", password)
}

// TestPasswordResetEndsSessions: those of the user, and of nobody else.
func TestPasswordResetEndsSessions(t *testing.T) {
	s, m := withMail(t)
	h := holdersOf(t, "default")
	alice, carol := s.login(t, "alice", h.secret("user alice")), s.login(t, "carol@acme.example", h.secret("user carol"))
	s.browser(t).get("/reset").press("Send a link", "username", "alice")
	s.browser(t).get(m.link(t, "alice@globex.example")).press("Set password", "new_password", "alice's other password")
	if shown := alice.get("/account"); shown.title() != "Sign in" {
		t.Errorf("alice sees %s", shown.title())
	}
	if shown := carol.get("/account"); shown.title() != "Your account" {
		t.Errorf("carol sees %s", shown.title())
	}
}

// TestResetTellsNothing: the answer is the same for everybody and nobody, and only who has the form can ask.
func TestResetTellsNothing(t *testing.T) {
	s, m := withMail(t)
	var first *screen
	for _, name := range []string{"rita", "rita", "nobody", "walt", "dora", "nobody@globex.example", "\u0430lice@globex.example", strings.Repeat("x", 2000), "'\"<b>\r\n"} {
		sent := s.browser(t).get("/reset").press("Send a link", "username", name)
		if first == nil {
			first = sent
		}
		if sent.status != first.status || sent.body != first.body || len(sent.hops) != 1 {
			t.Errorf("%q: %d %s", name, sent.status, sent.body)
		}
	}
	m.link(t, "Rita@globex.example")
	select {
	case mail := <-m:
		t.Errorf("a second mail:\n%s", mail)
	default:
	}
	if empty := s.browser(t).get("/reset").press("Send a link"); empty.status != http.StatusBadRequest || empty.problem() == "" {
		t.Errorf("no name: %d %s", empty.status, empty.body)
	}
	b := s.browser(t)
	_, fields := b.get("/reset").form("Send a link")
	fields.Set("username", "alice")
	for _, row := range []struct {
		name   string
		b      *browser
		header string
	}{
		{"RFC 9700 §4.7.1: another site", b, "Sec-Fetch-Site: cross-site"},
		{"another browser", s.browser(t), "Sec-Fetch-Site: same-origin"},
	} {
		if shown := row.b.visit("POST", "/reset", fields.Encode(), row.header); shown.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", row.name, shown.status, shown.body)
		}
	}
	last := s.browser(t).get("/reset")
	for range 20 {
		last = s.browser(t).get("/reset").press("Send a link", "username", "nobody")
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("too often: %d %s", last.status, last.body)
	}
}

// TestResetNeedsMail: where none is sent, there is nothing to ask for it.
func TestResetNeedsMail(t *testing.T) {
	s := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			o.Tenants[i].Deliveries = nil
		}
	})
	if shown := s.browser(t).get("/login").press("Continue", "username", "alice"); strings.Contains(shown.body, "/reset") {
		t.Errorf("the login page leads to a reset:\n%s", shown.body)
	}
	if a := s.send(t, "GET", "/reset", ""); a.status != http.StatusNotFound {
		t.Errorf("%v", a)
	}
}
