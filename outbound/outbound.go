// Package outbound makes the HTTP client for URLs that organizations have configured or their servers have named: identity
// providers and webhooks.
//
// Its client must never reach what only Mandate's own machine and network can (server-side request forgery, RFC 9728 §7.7),
// follow a redirect, or read an answer without a bound.
package outbound

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// ErrNotPublic means that the host of a URL has an address to which nothing is sent.
var ErrNotPublic = errors.New("not public: allow its network if it is meant")

// Options of a client. All are needed but those that allow more.
type Options struct {
	// AllowHTTP lets servers on this very machine be reached, also without TLS: for development.
	AllowHTTP bool
	// AllowPrivate are the networks that are not public and yet may be reached.
	AllowPrivate []netip.Prefix
	Timeout      time.Duration // for all that a request takes, its answer included
	AnswerBytes  int           // of an answer's body that are read; a longer one is an error
	ConnsPerHost int
}

// client is the transport of a client: what it refuses is never connected to.
type client struct {
	options   Options
	transport http.RoundTripper
}

// NewClient makes a client that holds to the options.
func NewClient(o Options) *http.Client {
	// Control sees the address of each connection, so a name that resolves to another address the second time gains nothing.
	dialer := &net.Dialer{Timeout: o.Timeout, Control: func(_, address string, _ syscall.RawConn) error { return o.mayDial(address) }}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout,
		MaxResponseHeaderBytes: 64 << 10, MaxConnsPerHost: o.ConnsPerHost, MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: &client{options: o, transport: transport}, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") }}
}

// RoundTrip implements http.RoundTripper.
func (c *client) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := c.options.Check(request.URL); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: c.options.AnswerBytes, most: c.options.AnswerBytes}
	return response, nil
}

// CloseIdleConnections lets http.Client close what it keeps open.
func (c *client) CloseIdleConnections() {
	(&http.Client{Transport: c.transport}).CloseIdleConnections()
}

// Check refuses URLs without TLS, except for this machine in development, and those with a user.
func (o Options) Check(u *url.URL) error {
	if u.User != nil || u.Hostname() == "" {
		return errors.New("the URL must have a host and no user")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && o.AllowHTTP && local(u.Hostname())) {
		return nil
	}
	return errors.New("the URL must use https")
}

func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.Unmap().IsLoopback())
}

func (o Options) mayDial(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	addr := embedded(to.Addr())
	if public(addr) || (o.AllowHTTP && addr.IsLoopback()) ||
		slices.ContainsFunc(o.AllowPrivate, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return nil
	}
	return fmt.Errorf("the address %s is %w", addr, ErrNotPublic)
}

// embedded is the IPv4 address that an IPv6 one stands for by mapping (RFC 4291 §2.5.5.2) or NAT64 (RFC 6052 §2.1).
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if netip.MustParsePrefix("64:ff9b::/96").Contains(addr) {
		bytes := addr.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return addr
}

// public says whether the address is one of the internet. The ranges are those of the special-purpose address registries
// (RFC 6890); of IPv6 all that is global lies in 2000::/3.
func public(addr netip.Addr) bool {
	special := []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	}
	if addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return false
	}
	return !slices.ContainsFunc(special, func(s string) bool { return netip.MustParsePrefix(s).Contains(addr) })
}

// boundedBody is a body that fails instead of being longer than allowed.
type boundedBody struct {
	io.ReadCloser
	left, most int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		n, err = b.left, fmt.Errorf("the answer is longer than %d bytes", b.most)
	}
	b.left -= n
	return n, err
}
