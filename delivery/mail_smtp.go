package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"mandate/directory"
)

const (
	smtpTimeout  = 30 * time.Second
	implicitPort = 465 // where TLS begins at once (RFC 8314 §3.3)
)

// SMTPOptions of an SMTP.
type SMTPOptions struct {
	Address   string // host and port
	Username  string // empty without authentication
	Password  directory.Secret
	From      string
	Templates *Templates
	Now       func() time.Time
}

// SMTP hands mails to a server (RFC 5321, RFC 6409), one connection each. Except on loopback it must speak TLS: at once on port
// 465, else by STARTTLS (RFC 3207).
type SMTP struct {
	composer
	host     string
	port     int
	username string
	password directory.Secret
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	roots    *x509.CertPool // nil for those of the system
}

// NewSMTP checks the options; it connects to nobody.
func NewSMTP(o SMTPOptions) (*SMTP, error) {
	host, text, err := net.SplitHostPort(o.Address)
	port, notPort := strconv.ParseUint(text, 10, 16)
	if err != nil || notPort != nil || host == "" || port == 0 {
		return nil, fmt.Errorf("the SMTP server %q is not a host and a port, such as smtp.acme.example:587", o.Address)
	}
	if (o.Username == "") != o.Password.IsZero() {
		return nil, errors.New("SMTP: username and password go together")
	}
	c, err := newComposer(o.From, o.Templates, o.Now)
	if err != nil {
		return nil, err
	}
	return &SMTP{composer: c, host: host, port: int(port), username: o.Username, password: o.Password, dial: (&net.Dialer{}).DialContext}, nil
}

// Send hands the mail over. It returns a *PermanentError when the server says that it will never take it (RFC 5321 §4.2.1).
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	connection, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to the SMTP server: %w", err)
	}
	// The library closes no connection that fails early, and knows the context only while it connects.
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	client, err := s.client(connection)
	if err != nil {
		return fmt.Errorf("send a mail: %w", err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if err == nil || msg.IsDelivered() {
		return nil
	}
	err = fmt.Errorf("send a mail: %w", errors.Join(err, context.Cause(ctx)))
	if refused := (*mail.SendError)(nil); errors.As(err, &refused) && refused.ErrorCode() >= 500 {
		return &PermanentError{err}
	}
	return err
}

func (s *SMTP) connect(ctx context.Context) (net.Conn, error) {
	connection, err := s.dial(ctx, "tcp", net.JoinHostPort(s.host, strconv.Itoa(s.port)))
	if err != nil || s.port != implicitPort {
		return connection, err
	}
	encrypted := tls.Client(connection, s.tlsConfig())
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return encrypted, nil
}

// client speaks to the server over the connection. With a password it goes on only when the server takes one, and never sends it
// in plain text over a network.
func (s *SMTP) client(connection net.Conn) (*mail.Client, error) {
	options := []mail.Option{mail.WithPort(s.port), mail.WithTimeout(smtpTimeout), mail.WithTLSConfig(s.tlsConfig()),
		mail.WithDialContextFunc(func(context.Context, string, string) (net.Conn, error) { return connection, nil })}
	switch {
	case s.port == implicitPort:
		options = append(options, mail.WithSSL())
	case loopback(s.host):
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.username != "" {
		options = append(options, mail.WithUsername(s.username), mail.WithPassword(s.password.Expose()),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin))
	}
	return mail.NewClient(s.host, options...)
}

func (s *SMTP) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

// loopback says whether the host is this machine (RFC 8252 §7.3).
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}
