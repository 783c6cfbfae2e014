package authn

import (
	"context"
	"crypto"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/directory"
)

const (
	keysFresh  = 15 * time.Minute // after which keys are fetched again, while they are used
	keysGood   = 24 * time.Hour   // for which they are used when that fails
	fetchPause = 10 * time.Second // after a fetch that failed
	kidPause   = 10 * time.Second // between fetches for keys that are not known

	maxProviders    = 4096
	maxProviderKeys = 100
	maxWaiters      = 32 // for one provider
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

// Providers keeps the configurations and keys of external identity providers (OpenID Connect Discovery 1.0). It asks only
// issuers that it is called for, which are those that somebody has configured: never one that only a token names.
//
// It must never reach an address that is not public, or ask a provider more often because of what tokens say.
type Providers struct {
	options ProviderOptions
	client  *http.Client
	probing chan struct{}

	mu    sync.Mutex
	known map[string]*provider
}

// NewProviders makes Providers that know none yet.
func NewProviders(o ProviderOptions) *Providers {
	if o.Report == nil {
		o.Report = func(string, error) {}
	}
	return &Providers{options: o, client: newFetchClient(o), probing: make(chan struct{}, probesAtOnce), known: map[string]*provider{}}
}

// provider is what is known of one issuer.
type provider struct {
	issuer  string
	waiters chan struct{} // one each for who waits for a fetch

	mu        sync.Mutex
	fetching  chan struct{} // closed at the end of the fetch in progress; nil when there is none
	document  *document     // nil before the first that was good
	fetchedAt time.Time     // when it came
	retryAt   time.Time     // not before then, after a failure
	kidAt     time.Time     // the last fetch for a key that was not known
	usedAt    time.Time
}

// document is what a provider publishes. It does not change.
type document struct {
	oidc     *oidc.Provider
	metadata metadata
	keys     []publishedKey
}

// metadata is what go-oidc does not read of OpenID Connect Discovery §3 and RFC 9207 §3.
type metadata struct {
	JWKSURI     string   `json:"jwks_uri"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"`
}

type publishedKey struct {
	kid, alg string // alg is empty when the provider does not say
	public   crypto.PublicKey
}

// key is the issuer's key of that id for the algorithm, and until when it need not be asked again.
func (p *Providers) key(ctx context.Context, issuer, kid, alg string) (crypto.PublicKey, time.Time, error) {
	document, until, err := p.document(ctx, issuer, func(d *document) bool { return d.key(kid, alg) != nil })
	if err != nil {
		return nil, time.Time{}, err
	}
	return document.key(kid, alg), until, nil
}

// document is what the issuer publishes, which must have what the caller needs: else it is fetched again, as seldom as
// tokens with invented key ids must be able to cause. The error is an *Error or that of the context.
func (p *Providers) document(ctx context.Context, issuer string, has func(*document) bool) (*document, time.Time, error) {
	known := p.provider(issuer)
	document, until, running, err := known.look(p, has, false)
	if err != nil || document != nil {
		return document, until, err
	}
	select {
	case known.waiters <- struct{}{}:
		defer func() { <-known.waiters }()
	default:
		return nil, time.Time{}, providerDown()
	}
	for {
		select {
		case <-running:
		case <-ctx.Done():
			return nil, time.Time{}, fmt.Errorf("wait for an identity provider: %w", ctx.Err())
		}
		if document, until, running, err = known.look(p, has, true); err != nil || document != nil {
			return document, until, err
		}
	}
}

func (p *Providers) provider(issuer string) *provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	known := p.known[issuer]
	if known == nil {
		if len(p.known) >= maxProviders {
			p.forgetOne()
		}
		known = &provider{issuer: issuer, waiters: make(chan struct{}, maxWaiters)}
		p.known[issuer] = known
	}
	known.usedAt = now
	return known
}

// forgetOne makes room: of the provider that was not asked for the longest time.
func (p *Providers) forgetOne() {
	var oldest *provider
	for _, candidate := range p.known {
		if oldest == nil || candidate.usedAt.Before(oldest.usedAt) {
			oldest = candidate
		}
	}
	delete(p.known, oldest.issuer)
}

// look returns what is known when it will do, else the fetch to wait for. Nobody waits only because what is known should be
// read again. Who has waited for a fetch does not begin another for a key that was not there.
func (k *provider) look(p *Providers, has func(*document) bool, waited bool) (*document, time.Time, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := p.options.Now()
	good := k.document != nil && now.Before(k.fetchedAt.Add(keysGood)) && has(k.document)
	stale := k.document == nil || !now.Before(k.fetchedAt.Add(keysFresh))
	switch {
	case good && !stale:
		return k.document, k.fetchedAt.Add(keysFresh), nil, nil
	case good:
		if !now.Before(k.retryAt) {
			k.begin(p)
		}
		return k.document, earliest(now.Add(fetchPause), k.fetchedAt.Add(keysGood)), nil, nil
	case k.fetching != nil:
	case now.Before(k.retryAt):
		return nil, time.Time{}, nil, providerDown()
	case !stale && waited:
		return nil, time.Time{}, nil, invalid()
	case !stale && now.Before(k.kidAt.Add(kidPause)):
		return nil, time.Time{}, nil, &Error{Kind: Busy, Code: "provider_unavailable", RetryAfter: k.kidAt.Add(kidPause).Sub(now),
			Detail: "the key of the token is not known yet, and its identity provider was asked just now: try again in a few seconds"}
	case !stale:
		k.kidAt = now
	}
	k.begin(p)
	return nil, time.Time{}, k.fetching, nil
}

// begin begins a fetch unless there is one in progress. The lock must be held.
func (k *provider) begin(p *Providers) {
	if k.fetching == nil {
		k.fetching = make(chan struct{})
		go k.fetch(p)
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// fetch is not bound to the request that began it, because others wait for it too.
func (k *provider) fetch(p *Providers) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	document, err := p.read(ctx, k.issuer)
	if err != nil {
		p.options.Report(k.issuer, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := p.options.Now()
	if err != nil {
		k.retryAt, k.kidAt = now.Add(fetchPause), time.Time{} // a key that is new may be there next time
	} else {
		k.document, k.fetchedAt, k.retryAt = document, now, time.Time{}
	}
	close(k.fetching)
	k.fetching = nil
}

// read reads the metadata (OpenID Connect Discovery §4), which must name the very issuer, and the keys.
func (p *Providers) read(ctx context.Context, issuer string) (*document, error) {
	if u, err := url.Parse(issuer); err != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#") {
		return nil, fmt.Errorf("the issuer %q must be a URL without query and fragment", issuer)
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", issuer, err)
	}
	d := &document{oidc: found}
	if err := found.Claims(&d.metadata); err != nil {
		return nil, fmt.Errorf("discover %s: %w", issuer, err)
	}
	body, err := fetch(ctx, p.client, d.metadata.JWKSURI)
	if err != nil {
		return nil, err
	}
	if d.keys, err = readKeys(body); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", issuer, err)
	}
	return d, nil
}

// readKeys reads the signing keys of a set. Keys of kinds that are not known here must not keep the others from being used (RFC 7517
// §5).
func readKeys(body []byte) ([]publishedKey, error) {
	set, err := jwk.Parse(body, jwk.WithIgnoreParseError(true), jwk.WithMaxKeys(maxProviderKeys))
	if err != nil {
		return nil, err
	}
	return signingKeys(set), nil
}

// signingKeys are the public keys of a set that are not for encryption.
func signingKeys(set jwk.Set) []publishedKey {
	var keys []publishedKey
	for i := range set.Len() {
		key, _ := set.Key(i)
		if use, given := key.KeyUsage(); given && use != "sig" {
			continue
		}
		raw, err := jwk.PublicRawKeyOf(key)
		if err != nil {
			continue
		}
		found := publishedKey{public: raw}
		found.kid, _ = key.KeyID()
		if alg, given := key.Algorithm(); given {
			found.alg = alg.String()
		}
		keys = append(keys, found)
	}
	return keys
}

func (d *document) key(kid, alg string) crypto.PublicKey {
	for _, key := range d.keys {
		if key.kid == kid && (key.alg == "" || key.alg == alg) && directory.Suits(key.public, alg) {
			return key.public
		}
	}
	return nil
}

func providerDown() error {
	return &Error{Kind: Busy, Code: "provider_unavailable", RetryAfter: fetchPause,
		Detail: "the identity provider cannot be reached: try again in a few seconds"}
}
