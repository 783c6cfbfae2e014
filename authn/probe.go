package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/directory"
	"mandate/outbound"
)

const (
	probesAtOnce = 8
	probeTimeout = 8 * time.Second
	maxSkew      = time.Minute // of a provider's clock
	maxQuoted    = 120         // bytes of what a provider says
)

// Check is what a test of a provider has found about one thing, in words for who sets it up.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Probe tests now whether the provider of a connection can sign people in. It says no more of hosts that are not public than of those
// that do not exist.
func (a *Authenticator) Probe(ctx context.Context, c directory.Connection) ([]Check, error) {
	return a.providers.probe(ctx, c)
}

// probe is one test of a provider.
type probe struct {
	p      *Providers
	checks []Check
}

// discovered is what a test reads of OpenID Connect Discovery §3 and RFC 8414 §2.
type discovered struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	Scopes        []string `json:"scopes_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
}

func (p *Providers) probe(ctx context.Context, c directory.Connection) ([]Check, error) {
	select {
	case p.probing <- struct{}{}:
		defer func() { <-p.probing }()
	default:
		return nil, &Error{Kind: Busy, Code: "too_many_tests", RetryAfter: fetchPause, Detail: "too many connections are tested at once: try again in a few seconds"}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	b := &probe{p: p}
	if !b.url("issuer", c.Issuer) {
		return b.checks, nil
	}
	body, header, ok := b.read(ctx, "discovery", strings.TrimSuffix(c.Issuer, "/")+"/.well-known/openid-configuration")
	if !ok {
		return b.checks, nil
	}
	b.clock(header)
	var d discovered
	if err := json.Unmarshal(body, &d); err != nil {
		b.note("metadata", false, "The discovery document is not a JSON object of the members that OpenID Connect Discovery 1.0, section 3, defines.")
		return b.checks, nil
	}
	b.metadata(c, d)
	if b.url("jwks_uri", d.JWKSURI) {
		b.keys(ctx, c.Algorithm, d.JWKSURI)
	}
	return b.checks, nil
}

func (b *probe) note(name string, ok bool, format string, args ...any) {
	b.checks = append(b.checks, Check{name, ok, fmt.Sprintf(format, args...)})
}

// url checks a URL of the provider.
func (b *probe) url(name, text string) bool {
	u, err := url.Parse(text)
	switch {
	case text == "":
		b.note(name, false, "It is missing from the discovery document.")
	case err != nil || u.Fragment != "" || b.p.options.outbound().Check(u) != nil:
		b.note(name, false, "It must be an https URL with a host, and without user and fragment.")
	default:
		b.note(name, true, "It is an absolute URL that may be used.")
		return true
	}
	return false
}

func (b *probe) read(ctx context.Context, name, from string) ([]byte, http.Header, bool) {
	body, header, err := fetchWithHeader(ctx, b.p.client, from)
	if err != nil {
		b.note(name, false, "%s", wentWrong(err))
		return nil, nil, false
	}
	b.note(name, true, "It was read.")
	return body, header, true
}

// wentWrong says why nothing was read, and nothing of the network in which that was tried.
func wentWrong(err error) string {
	var (
		status  statusError
		lookup  *net.DNSError
		invalid *tls.CertificateVerificationError
		timeout net.Error
	)
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("It answered with status %d, not 200.", int(status))
	case errors.Is(err, outbound.ErrNotPublic), errors.As(err, &lookup):
		return "The host has no public address that could be found."
	case errors.As(err, &invalid):
		return "Its certificate is not valid: it has expired, is for another host, or is of a CA that is not known."
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "It did not answer in time."
	}
	return fmt.Sprintf("No answer of at most %d KiB could be read from it.", maxFetchBytes>>10)
}

// clock compares the provider's clock with this machine's. What comes out of a cache says its age (RFC 9111 §5.1).
func (b *probe) clock(header http.Header) {
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	if age, err := strconv.Atoi(header.Get("Age")); err == nil && age > 0 && age < 1<<30 {
		at = at.Add(time.Duration(age) * time.Second)
	}
	skew := at.Sub(b.p.options.Now()).Round(time.Second)
	if skew.Abs() > maxSkew {
		b.note("clock", false, "The provider's clock differs from the one here by %s: tokens may look expired, or not yet valid.", skew)
		return
	}
	b.note("clock", true, "The provider's clock agrees with the one here.")
}

func (b *probe) metadata(c directory.Connection, d discovered) {
	if d.Issuer == c.Issuer {
		b.note("issuer_match", true, "The discovery document is of the very issuer.")
	} else {
		b.note("issuer_match", false, "The discovery document is of another issuer, %s: the two must be equal, letter for letter.", quoted(d.Issuer))
	}
	b.url("authorization_endpoint", d.Authorization)
	b.url("token_endpoint", d.Token)
	b.offers("response_type", d.ResponseTypes, "the response type code", "code")
	b.offers("scope", d.Scopes, "the scope openid", "openid")
	b.offers("pkce", d.Challenges, "PKCE with S256 (RFC 7636)", "S256")
	b.offers("client_authentication", d.AuthMethods, "client_secret_basic, client_secret_post or a public client", secretBasic, secretPost, "none")
	b.offers("algorithm", d.Algorithms, "ID tokens signed with "+c.Algorithm, c.Algorithm)
}

// offers checks a list of the metadata, which a provider may leave out.
func (b *probe) offers(name string, list []string, what string, wanted ...string) {
	has := slices.ContainsFunc(list, func(s string) bool { return slices.Contains(wanted, s) })
	switch {
	case has:
		b.note(name, true, "The provider offers %s.", what)
	case len(list) == 0:
		b.note(name, true, "The provider does not say whether it offers %s.", what)
	default:
		b.note(name, false, "The provider does not offer %s.", what)
	}
}

func (b *probe) keys(ctx context.Context, alg, from string) {
	body, _, ok := b.read(ctx, "jwks", from)
	if !ok {
		return
	}
	keys, err := readKeys(body)
	if err != nil {
		b.note("keys", false, "The key set is not a JSON Web Key Set (RFC 7517, section 5) of at most %d keys.", maxProviderKeys)
		return
	}
	usable := 0
	for _, key := range keys {
		if (key.alg == "" || key.alg == alg) && directory.Suits(key.public, alg) {
			usable++
		}
	}
	b.note("keys", usable > 0, "%d of %d signing keys can be used with %s.", usable, len(keys), alg)
}

func quoted(text string) string {
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "..."
	}
	return strconv.QuoteToASCII(text)
}
