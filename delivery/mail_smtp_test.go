package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"mandate/directory"
)

// smtpServer takes mails on a socket of this machine.
type smtpServer struct {
	address string
	roots   *x509.CertPool // that vouch for its certificate, which is for example.com
	refuse  error          // for every recipient

	mu       sync.Mutex
	mails    []string
	to, from []string
	user     string
}

type smtpSession struct{ s *smtpServer }

func (s *smtpServer) NewSession(*smtp.Conn) (smtp.Session, error) { return &smtpSession{s}, nil }

func (x *smtpSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *smtpSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "mandate" || password != "right" {
			return smtp.ErrAuthFailed
		}
		x.s.mu.Lock()
		defer x.s.mu.Unlock()
		x.s.user = username
		return nil
	}), nil
}

func (x *smtpSession) Mail(from string, _ *smtp.MailOptions) error {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.from = append(x.s.from, from)
	return nil
}

func (x *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.to = append(x.s.to, to)
	return x.s.refuse
}

func (x *smtpSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.mails = append(x.s.mails, string(text))
	return err
}

func (x *smtpSession) Reset()        {}
func (x *smtpSession) Logout() error { return nil }

// startSMTP serves until the test ends: by TLS from the beginning, by STARTTLS, or in plain text.
func startSMTP(t *testing.T, encryption string, refuse error) *smtpServer {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	s := &smtpServer{refuse: refuse, roots: x509.NewCertPool()}
	s.roots.AddCert(certified.Certificate())
	server := smtp.NewServer(s)
	server.AllowInsecureAuth = true
	server.ReadTimeout, server.WriteTimeout = 10*time.Second, 10*time.Second
	config := &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	switch encryption {
	case "tls":
		listener = tls.NewListener(listener, config)
	case "starttls":
		server.TLSConfig = config
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s
}

// mailerTo is one for a server that has the name of a host elsewhere, and is found at the socket.
func (s *smtpServer) mailerTo(t *testing.T, address, username, password string) *SMTP {
	t.Helper()
	mailer, err := NewSMTP(SMTPOptions{Address: address, Username: username, Password: directory.NewSecret(password), From: sender,
		Templates: builtIn(t), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	mailer.roots = s.roots
	mailer.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.address)
	}
	return mailer
}

func isPermanent(err error) bool {
	permanent := (*PermanentError)(nil)
	return errors.As(err, &permanent)
}

func TestSMTP(t *testing.T) {
	m := PasswordReset("https://mandate.example", "alice@acme.example", "alice", directory.NewSecret("mdt_pr_x_token"), time.Now())
	for _, row := range []struct {
		name, encryption, address string
		username, password        string
		refuse                    error
		want                      string // of the error
		permanent                 bool
	}{
		{name: "in plain text on this machine", address: "127.0.0.1:25"},
		{name: "with a password on this machine", address: "localhost:25", username: "mandate", password: "right"},
		{name: "RFC 3207: STARTTLS", encryption: "starttls", address: "example.com:587", username: "mandate", password: "right"},
		{name: "RFC 8314 §3.3: TLS from the beginning", encryption: "tls", address: "example.com:465", username: "mandate", password: "right"},
		{name: "RFC 3207 §6: a server that offers no TLS", address: "example.com:587", want: "does not support STARTTLS"},
		{name: "no TLS and a password", address: "example.com:587", username: "mandate", password: "right", want: "does not support STARTTLS"},
		{name: "no TLS on the port that begins with it", address: "example.com:465", want: "first record does not look like a TLS handshake"},
		{name: "RFC 6125: the certificate of another", encryption: "starttls", address: "smtp.acme.example:587", want: "certificate is valid for"},
		{name: "a wrong password", encryption: "starttls", address: "example.com:587", username: "mandate", password: "wrong", want: "AUTH failed"},
		{name: "RFC 5321 §4.2.1: a recipient that there is not", address: "127.0.0.1:25",
			refuse: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}, want: "no such user", permanent: true},
		{name: "RFC 5321 §4.2.1: a full mailbox", address: "127.0.0.1:25",
			refuse: &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}, want: "mailbox full"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := startSMTP(t, row.encryption, row.refuse)
			err := s.mailerTo(t, row.address, row.username, row.password).Send(t.Context(), m)
			if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) || isPermanent(err) != row.permanent {
				t.Fatalf("%v, permanent: %v", err, isPermanent(err))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if row.want != "" {
				if len(s.mails) > 0 || s.user != "" {
					t.Errorf("the server has got %q of %q", s.mails, s.user)
				}
				return
			}
			if len(s.mails) != 1 || len(s.to) != 1 || s.to[0] != "alice@acme.example" || s.from[0] != "no-reply@mandate.example" || s.user != row.username {
				t.Fatalf("the server has got %q from %v to %v, of %q", s.mails, s.from, s.to, s.user)
			}
			got := readMail(t, s.mails[0])
			if got.subject(t) != "Set another password" || !strings.Contains(got.parts["text/plain; charset=UTF-8"], "https://mandate.example/reset/mdt_pr_x_token") {
				t.Errorf("the mail is %v", got)
			}
		})
	}
}

// TestSMTPServerIsDown: that passes, however it is.
func TestSMTPServerIsDown(t *testing.T) {
	m := PasswordReset("https://mandate.example", "alice@acme.example", "alice", directory.NewSecret("x"), time.Now())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := &smtpServer{address: listener.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		cancel() // once it waits for a greeting
		_, _ = connection.Read(make([]byte, 1))
	}()
	if err := silent.mailerTo(t, "127.0.0.1:25", "", "").Send(ctx, m); !errors.Is(err, context.Canceled) || isPermanent(err) {
		t.Errorf("a server that says nothing: %v", err)
	}
	<-accepted
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := silent.mailerTo(t, "127.0.0.1:25", "", "").Send(t.Context(), m); err == nil || isPermanent(err) {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestSMTPOptionsThatAreRefused(t *testing.T) {
	for _, row := range []struct{ name, address, username, from string }{
		{"no port", "smtp.acme.example", "", sender},
		{"no host", ":587", "", sender},
		{"a port that is none", "smtp.acme.example:0", "", sender},
		{"a port by name", "smtp.acme.example:submission", "", sender},
		{"a user name without a password", "smtp.acme.example:587", "mandate", sender},
		{"no sender", "smtp.acme.example:587", "", ""},
	} {
		if _, err := NewSMTP(SMTPOptions{Address: row.address, Username: row.username, From: row.from, Templates: builtIn(t), Now: time.Now}); err == nil {
			t.Errorf("%s is taken", row.name)
		}
	}
}
