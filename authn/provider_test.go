package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const testTenant = directory.Tenant("default")

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// identityProvider is an OpenID provider on this machine.
type identityProvider struct {
	*httptest.Server
	fetches atomic.Int64 // of the key set
	down    atomic.Bool
	held    chan struct{} // when set, answers wait for it

	mu       sync.Mutex
	set      []any // public JWKs
	metadata map[string]any
	token    http.HandlerFunc
}

func newIdentityProvider(t testing.TB) *identityProvider {
	p := &identityProvider{metadata: map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		document := map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token"}
		p.mu.Lock()
		maps.Copy(document, p.metadata)
		p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(document)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": p.set})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { p.token(w, r) })
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.held != nil {
			select {
			case <-p.held:
			case <-r.Context().Done():
			}
		}
		if p.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// publish makes the provider publish exactly the public halves of these keys, by their ids.
func (p *identityProvider) publish(t testing.TB, keys map[string]crypto.Signer) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = nil
	for kid, key := range keys {
		public, err := jwk.Import(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := public.Set(jwk.KeyIDKey, kid); err != nil {
			t.Fatal(err)
		}
		p.set = append(p.set, public)
	}
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed is a JWT with the header members given beside alg.
func signed(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	delete(token.Header, "typ")
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with is the claims with others in their place; nil removes one.
func with(claims map[string]any, others map[string]any) map[string]any {
	all := maps.Clone(claims)
	maps.Copy(all, others)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// world is an installation with one organization, acme, whose connection is to a provider on this machine.
type world struct {
	*clock
	t        testing.TB
	store    datastore.Store
	memory   *memo.Memo
	master   *directory.MasterKey
	a        *Authenticator
	provider *identityProvider
	key      *ecdsa.PrivateKey // that the provider signs with, as k1
}

func newWorld(t testing.TB) *world {
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := NewPasswordChecks(2)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{clock: &clock{}, t: t, store: store, master: master, provider: newIdentityProvider(t), key: newECKey(t)}
	w.at.Store(time.Now().UnixNano())
	w.memory = memo.New(store, memo.Options{Bytes: 1 << 22, Now: w.now})
	w.provider.publish(t, map[string]crypto.Signer{"k1": w.key})
	w.a = New(Options{Tenant: testTenant, Master: master, Issuer: "https://mandate.example", PasswordChecks: passwords, ClockLeeway: 30 * time.Second,
		Now: w.now, Store: store, Providers: NewProviders(ProviderOptions{AllowHTTP: true, Now: w.now})})
	put(w, testTenant.Org("acme"), directory.Org{Name: "Acme Industries", Status: directory.Active})
	w.connect("acme", "acme-idp", w.connection())
	return w
}

func (w *world) connection() directory.Connection {
	return directory.Connection{Issuer: w.provider.URL, Status: directory.Active, ClientID: "mandate", Audiences: []string{"https://documents.example"},
		Algorithm: "ES256", RoleClaim: "groups", RoleMapping: map[string]string{"staff": "viewer", "it": "admin"}}
}

func (w *world) connect(org, id string, c directory.Connection) {
	put(w, testTenant.Connection(org, id), c)
	for _, audience := range c.Audiences {
		put(w, testTenant.ProviderConnection(c.Issuer, audience), directory.ConnectionRef{Org: org, ID: id})
	}
}

func put[T any](w *world, place directory.Place[T], record T) {
	w.t.Helper()
	w.update(func(tx datastore.Tx) error { return place.Put(w.t.Context(), tx, record) })
}

func remove[T any](w *world, place directory.Place[T]) {
	w.t.Helper()
	w.update(func(tx datastore.Tx) error { return tx.Delete(place.Path) })
}

func (w *world) update(change func(datastore.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
}

// claims are those of a good access token of the provider.
func (w *world) claims() map[string]any {
	return map[string]any{"iss": w.provider.URL, "sub": "bob", "aud": "https://documents.example", "iat": w.now().Unix(),
		"exp": w.now().Add(time.Hour).Unix(), "groups": []string{"staff", "unknown"}}
}

func (w *world) sign(claims map[string]any) string {
	return signed(w.t, jwt.SigningMethodES256, w.key, map[string]any{"kid": "k1", "typ": "at+jwt"}, claims)
}

func (w *world) bearer(token string) (*Principal, error) {
	r := w.memory.Begin()
	defer r.End()
	return w.a.Authenticate(w.t.Context(), r, Presented{Authorization: []string{"Bearer " + token}})
}

// wantError says what is wrong with an error that must be one of the kind, and of the code unless that is empty.
func wantError(err error, kind Kind, code string) error {
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != kind || (code != "" && failed.Code != code) {
		return fmt.Errorf("got %w, want kind %d and code %q", err, kind, code)
	}
	return nil
}

// TestKeysRotate: a key that is not known is fetched, and one that is not published any more ends with the fresh ones
// (OpenID Connect Core §10.1.1).
func TestKeysRotate(t *testing.T) {
	w := newWorld(t)
	old := w.sign(w.claims())
	if _, err := w.bearer(old); err != nil {
		t.Fatal(err)
	}
	next := newECKey(t)
	w.provider.publish(t, map[string]crypto.Signer{"k2": next})
	if _, err := w.bearer(signed(t, jwt.SigningMethodES256, next, map[string]any{"kid": "k2"}, w.claims())); err != nil {
		t.Fatalf("a new key: %v", err)
	}
	if fetches := w.provider.fetches.Load(); fetches != 2 {
		t.Errorf("%d fetches, want 2", fetches)
	}
	w.advance(keysFresh)
	if err := wantError(second(w.bearer(old)), Invalid, ""); err != nil {
		t.Errorf("a key that the provider has withdrawn: %v", err)
	}
	w.provider.publish(t, map[string]crypto.Signer{"k3": newECKey(t)})
	w.advance(keysFresh)
	last := signed(t, jwt.SigningMethodES256, next, map[string]any{"kid": "k2"}, w.claims())
	if _, err := w.bearer(last); err != nil {
		t.Errorf("while the keys are fetched again: %v", err)
	}
	w.fetched()
	w.advance(fetchPause)
	if err := wantError(second(w.bearer(last)), Invalid, ""); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// fetched waits for the end of a fetch that is in progress.
func (w *world) fetched() {
	known := w.a.providers.provider(w.provider.URL)
	known.mu.Lock()
	running := known.fetching
	known.mu.Unlock()
	if running != nil {
		<-running
	}
}

// TestNobodyWaitsForKnownKeys: a provider that hangs holds up neither who has a token of a known key, nor more than a few of
// those who have not.
func TestNobodyWaitsForKnownKeys(t *testing.T) {
	w := newWorld(t)
	good := w.sign(w.claims())
	if _, err := w.bearer(good); err != nil {
		t.Fatal(err)
	}
	w.provider.held = make(chan struct{})
	w.advance(keysFresh)
	for range 3 {
		if _, err := w.bearer(good); err != nil { // while the fetch hangs
			t.Fatal(err)
		}
	}
	errs := make(chan error)
	for i := range maxWaiters + 10 {
		go func() {
			errs <- second(w.bearer(signed(t, jwt.SigningMethodES256, w.key, map[string]any{"kid": fmt.Sprint("invented-", i)}, w.claims())))
		}()
	}
	for range 10 {
		if err := wantError(<-errs, Busy, "provider_unavailable"); err != nil {
			t.Error(err)
		}
	}
	close(w.provider.held)
	for range maxWaiters {
		if err := wantError(<-errs, Invalid, ""); err != nil {
			t.Error(err)
		}
	}
	if fetches := w.provider.fetches.Load(); fetches != 2 {
		t.Errorf("%d fetches, want 2", fetches)
	}
}

func second[T any](_ T, err error) error { return err }

// TestGarbageDoesNotReachTheProvider: tokens with invented keys cause one fetch in ten seconds, and keep a good one of a new
// key waiting for no longer. A token that could not be judged is not called wrong.
func TestGarbageDoesNotReachTheProvider(t *testing.T) {
	w := newWorld(t)
	if _, err := w.bearer(w.sign(w.claims())); err != nil {
		t.Fatal(err)
	}
	invented := func(i int) error {
		return second(w.bearer(signed(t, jwt.SigningMethodES256, w.key, map[string]any{"kid": fmt.Sprint("invented-", i)}, w.claims())))
	}
	if err := wantError(invented(0), Invalid, ""); err != nil {
		t.Fatal(err)
	}
	next := newECKey(t)
	w.provider.publish(t, map[string]crypto.Signer{"k1": w.key, "k2": next})
	rotated := signed(t, jwt.SigningMethodES256, next, map[string]any{"kid": "k2"}, w.claims())
	w.advance(time.Second)
	for i := range 1000 {
		if err := wantError(invented(i), Busy, "provider_unavailable"); err != nil {
			t.Fatal(err)
		}
	}
	var failed *Error
	if err := second(w.bearer(rotated)); !errors.As(err, &failed) || failed.Kind != Busy || failed.RetryAfter != kidPause-time.Second {
		t.Errorf("a new key a second after garbage: %v", err)
	}
	if fetches := w.provider.fetches.Load(); fetches > 2 {
		t.Errorf("1,000 unknown keys caused %d fetches, want at most 2", fetches)
	}
	w.advance(failed.RetryAfter)
	if _, err := w.bearer(rotated); err != nil {
		t.Errorf("a new key after the pause: %v", err)
	}
	if fetches := w.provider.fetches.Load(); fetches != 3 {
		t.Errorf("after the pause there were %d fetches, want 3", fetches)
	}
	other := newIdentityProvider(t)
	if err := wantError(second(w.bearer(w.sign(with(w.claims(), map[string]any{"iss": other.URL})))), Invalid, ""); err != nil {
		t.Error(err)
	}
	if fetches := other.fetches.Load(); fetches != 0 {
		t.Errorf("an issuer that no connection names was asked %d times", fetches)
	}
}

// TestProviderDown: keys that are known go on being good for a day, and nothing else does.
func TestProviderDown(t *testing.T) {
	w := newWorld(t)
	claims := with(w.claims(), map[string]any{"exp": w.now().Add(30 * time.Hour).Unix()})
	w.provider.down.Store(true)
	if err := wantError(second(w.bearer(w.sign(claims))), Busy, "provider_unavailable"); err != nil {
		t.Errorf("down from the beginning: %v", err)
	}
	w.provider.down.Store(false)
	w.advance(fetchPause)
	if _, err := w.bearer(w.sign(claims)); err != nil {
		t.Fatalf("up again: %v", err)
	}
	w.provider.down.Store(true)
	for _, row := range []struct {
		name  string
		after time.Duration
		fails bool
	}{
		{"while the keys are fresh", keysFresh - time.Second, false},
		{"when they would be fetched again", time.Second, false},
		{"a fetch later", fetchPause, false},
		{"hours later", 20 * time.Hour, false},
		{"a day later", 4 * time.Hour, true},
	} {
		w.fetched()
		w.advance(row.after)
		_, err := w.bearer(w.sign(claims))
		if row.fails != (err != nil) {
			t.Errorf("%s: %v", row.name, err)
		}
		if row.fails {
			if err := wantError(err, Busy, "provider_unavailable"); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	}
}

// TestOneFetchAtATime: of many requests at once, one asks the provider and all are answered; none waits beyond its time.
func TestOneFetchAtATime(t *testing.T) {
	w := newWorld(t)
	w.provider.held = make(chan struct{})
	token := w.sign(w.claims())
	hurried, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := w.memory.Begin()
	if _, err := w.a.Authenticate(hurried, r, Presented{Authorization: []string{"Bearer " + token}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request whose time is up: %v", err)
	}
	r.End()
	errs := make(chan error, maxWaiters)
	for range cap(errs) {
		go func() { errs <- second(w.bearer(token)) }()
	}
	close(w.provider.held)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if fetches := w.provider.fetches.Load(); fetches != 1 {
		t.Errorf("%d fetches, want 1", fetches)
	}
}

// TestDiscovery: what a provider says of itself must be about itself, and reachable as the provider is (OpenID Connect
// Discovery §4.3, RFC 8414 §3.3).
func TestDiscovery(t *testing.T) {
	for _, row := range []struct {
		name     string
		metadata map[string]any
	}{
		{"another issuer", map[string]any{"issuer": "https://idp.globex.example"}},
		{"the issuer with a slash", nil},
		{"keys without TLS elsewhere", map[string]any{"jwks_uri": "http://keys.acme.example/"}},
		{"keys at a private address", map[string]any{"jwks_uri": "https://10.0.0.1/"}},
		{"keys at the address of cloud metadata", map[string]any{"jwks_uri": "https://169.254.169.254/latest"}},
		{"keys in a file", map[string]any{"jwks_uri": "file:///etc/passwd"}},
		{"no keys", map[string]any{"jwks_uri": ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.provider.metadata = row.metadata
			if row.metadata == nil {
				w.provider.metadata = map[string]any{"issuer": w.provider.URL + "/"}
			}
			if err := wantError(second(w.bearer(w.sign(w.claims()))), Busy, "provider_unavailable"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPublishedKeys: of a key set, only public keys for signatures count, each for its algorithms (RFC 7517 §4, RFC 7518 §3,
// RFC 8725 §3.5); the others do no harm.
func TestPublishedKeys(t *testing.T) {
	private := newECKey(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := func(key any, members map[string]any) map[string]any {
		imported, err := jwk.Import(key)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(imported)
		all := map[string]any{}
		if err := errors.Join(err, json.Unmarshal(raw, &all)); err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, members)
		return all
	}
	for _, row := range []struct {
		name, alg string
		key       map[string]any
		want      bool
	}{
		{"a key of its kind", "ES256", text(private.Public(), nil), true},
		{"a key for signatures", "ES256", text(private.Public(), map[string]any{"use": "sig", "alg": "ES256"}), true},
		{"a key for encryption", "ES256", text(private.Public(), map[string]any{"use": "enc"}), false},
		{"a key for another algorithm", "RS256", text(strong.Public(), map[string]any{"alg": "PS256"}), false},
		{"a key of another kind", "RS256", text(private.Public(), nil), false},
		{"a key of another curve", "ES384", text(private.Public(), nil), false},
		{"an RSA key", "PS256", text(strong.Public(), nil), true},
		{"a weak RSA key", "RS256", map[string]any{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(weak.N.Bytes())}, false},
		{"a symmetric key", "HS256", map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}, false},
		{"a key of no known kind", "ES256", map[string]any{"kty": "new"}, false},
	} {
		row.key["kid"] = "k"
		body, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "unknown"}, row.key}})
		if err != nil {
			t.Fatal(err)
		}
		set, err := jwk.Parse(body, jwk.WithIgnoreParseError(true))
		if err != nil {
			t.Fatal(err)
		}
		document := document{keys: signingKeys(set)}
		if found := document.key("k", row.alg) != nil; found != row.want {
			t.Errorf("%s: found %v, want %v", row.name, found, row.want)
		}
	}
}
