package authn

import (
	"context"
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

const (
	fetchTimeout  = 5 * time.Second // for all that a fetch takes
	maxFetchBytes = 1 << 20
)

// ProviderOptions of Providers.
type ProviderOptions struct {
	// AllowHTTP lets providers on this very machine be used, also without TLS: for development.
	AllowHTTP bool
	// AllowPrivate are the networks that are not public and yet have providers.
	AllowPrivate []netip.Prefix
	// Report is told of each fetch that failed. It must not block.
	Report func(issuer string, err error)
	Now    func() time.Time
}

// fetcher sends requests to URLs that organizations have configured or their providers have named, which must not reach
// what only Mandate's own machine and network can (server-side request forgery, RFC 9728 §7.7).
type fetcher struct {
	options   ProviderOptions
	transport http.RoundTripper
}

func newFetchClient(o ProviderOptions) *http.Client {
	f := &fetcher{options: o}
	// Control sees the address of each connection, so a name that resolves to another address the second time gains nothing.
	dialer := &net.Dialer{Timeout: fetchTimeout, Control: func(_, address string, _ syscall.RawConn) error { return o.mayDial(address) }}
	f.transport = &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout,
		MaxResponseHeaderBytes: 64 << 10, MaxConnsPerHost: 4, MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: f, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") }}
}

// RoundTrip implements http.RoundTripper. Only an answer of status 200 is one, and it is read up to a bound.
func (f *fetcher) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := f.options.mayFetch(request.URL); err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	response, err := f.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the provider answered with status %d", response.StatusCode)
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: maxFetchBytes}
	return response, nil
}

// mayFetch refuses URLs without TLS, except for this machine in development.
func (o ProviderOptions) mayFetch(u *url.URL) error {
	if u.User != nil || u.Hostname() == "" {
		return errors.New("the URL of a provider must have a host and no user")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && o.AllowHTTP && local(u.Hostname())) {
		return nil
	}
	return errors.New("the URL of a provider must use https")
}

func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.Unmap().IsLoopback())
}

func (o ProviderOptions) mayDial(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect to a provider: %w", err)
	}
	addr := embedded(to.Addr())
	if public(addr) || (o.AllowHTTP && addr.IsLoopback()) ||
		slices.ContainsFunc(o.AllowPrivate, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return nil
	}
	return fmt.Errorf("the provider has the address %s, which is not public: allow its network if it is meant", addr)
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
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the provider's answer is longer than %d bytes", maxFetchBytes)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	return n, err
}

// fetch reads a document of a provider.
func fetch(ctx context.Context, client *http.Client, from string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	return body, nil
}
