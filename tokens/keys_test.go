package tokens_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/tokens"
)

const keyLifetime = 90 * 24 * time.Hour

// locksmith is an issuer with a clock that can be moved, and what it takes to verify its tokens.
type locksmith struct {
	*tokens.Issuer
	store datastore.Store
	memo  *memo.Memo
	authn *authn.Authenticator
	ahead *atomic.Int64
}

func newLocksmith(t testing.TB) locksmith {
	t.Helper()
	h := newHouse(t)
	store, master := h.store, h.master
	l := locksmith{store: store, ahead: &atomic.Int64{}}
	l.memo = memo.New(store, memo.Options{Bytes: 16 << 20, Now: l.now})
	l.authn = authn.New(authn.Options{Tenant: "default", Master: master, Issuer: issuerURL, Store: store, Now: l.now})
	var err error
	l.Issuer, err = tokens.NewIssuer(t.Context(), store, tokens.Options{Tenant: "default", Issuer: issuerURL, Master: master, Authn: l.authn,
		KeyLifetime: keyLifetime, Now: l.now})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l locksmith) now() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }

func (l locksmith) advance(d time.Duration) { l.ahead.Add(int64(d)) }

// sign makes a token of sync that is valid for as long as one can be.
func (l locksmith) sign(alg string) (string, error) {
	r := l.memo.Begin()
	defer r.End()
	now := l.now()
	return l.Sign(context.Background(), r, alg, "at+jwt", jwt.MapClaims{"iss": issuerURL, "sub": "sync", "sub_type": "client", "client_id": "sync",
		"aud": issuerURL, "scope": "", "jti": "1", "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()})
}

func (l locksmith) mustSign(t testing.TB, alg string) string {
	t.Helper()
	token, err := l.sign(alg)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// keySet is the published one, as others parse it.
func (l locksmith) keySet() (jwk.Set, error) {
	r := l.memo.Begin()
	defer r.End()
	text, err := l.KeySet(context.Background(), r)
	if err != nil {
		return nil, err
	}
	return jwk.Parse(text)
}

// verify verifies a token as a resource server does, which knows the key set alone.
func (l locksmith) verify(set jwk.Set, token string) error {
	_, err := jwt.NewParser(jwt.WithTimeFunc(l.now)).Parse(token, func(token *jwt.Token) (any, error) {
		key, ok := set.LookupKeyID(token.Header["kid"].(string))
		if !ok {
			return nil, errors.New("the key is not published")
		}
		if alg, _ := key.Algorithm(); alg.String() != token.Method.Alg() {
			return nil, fmt.Errorf("the key is for %s", alg)
		}
		var public any
		return public, jwk.Export(key, &public)
	})
	return err
}

func (l locksmith) published(token string) error {
	set, err := l.keySet()
	if err != nil {
		return err
	}
	return l.verify(set, token)
}

// inspect verifies a token as Mandate itself does.
func (l locksmith) inspect(token string) error {
	r := l.memo.Begin()
	defer r.End()
	_, err := l.authn.Inspect(context.Background(), r, directory.NewSecret(token))
	return err
}

func kidOf(t testing.TB, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header["kid"].(string)
}

func (l locksmith) list(t testing.TB) []tokens.Key {
	t.Helper()
	keys, err := l.Keys().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// statuses are those of the keys that sign access tokens unless an API wants others.
func (l locksmith) statuses(t testing.TB) string {
	t.Helper()
	var all []string
	for _, key := range l.list(t) {
		if key.Algorithm == "ES256" {
			all = append(all, string(key.Status))
		}
	}
	return strings.Join(all, " ")
}

func (l locksmith) rotate(t testing.TB, alg string, atOnce bool) {
	t.Helper()
	if err := l.Keys().Rotate(t.Context(), alg, atOnce); err != nil {
		t.Fatal(err)
	}
}

func (l locksmith) maintain(t testing.TB) tokens.Maintained {
	t.Helper()
	done, err := l.Maintain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// RFC 7515 §4.1, RFC 7517 §4, RFC 7518 §3.1, RFC 8037 §3.1, RFC 8725 §3.1
func TestEveryAlgorithmVerifiesByTheKeySet(t *testing.T) {
	l := newLocksmith(t)
	kids := map[string]bool{}
	for _, alg := range append(directory.SigningAlgorithms(), "") {
		t.Run("alg "+alg, func(t *testing.T) {
			token := l.mustSign(t, alg)
			header, err := base64.RawURLEncoding.DecodeString(token[:strings.Index(token, ".")])
			if err != nil {
				t.Fatal(err)
			}
			if alg == "" {
				alg = "ES256"
			} else {
				kids[kidOf(t, token)] = true
			}
			if want := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kidOf(t, token)); string(header) != want {
				t.Errorf("header %s, want %s", header, want)
			}
			if err := l.published(token); err != nil {
				t.Errorf("by the key set: %v", err)
			}
			if err := l.inspect(token); err != nil {
				t.Errorf("at Mandate: %v", err)
			}
		})
	}
	if len(kids) != len(directory.SigningAlgorithms()) {
		t.Errorf("%d keys for %d algorithms", len(kids), len(directory.SigningAlgorithms()))
	}
	r := l.memo.Begin()
	defer r.End()
	text, err := l.KeySet(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		if key["use"] != "sig" || !slices.Contains(directory.SigningAlgorithms(), key["alg"]) || !kids[key["kid"]] {
			t.Errorf("published: %v", key)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, ok := key[private]; ok {
				t.Errorf("the key set has the private member %s", private)
			}
		}
		parsed, err := jwk.ParseKey([]byte(toJSON(t, key)))
		if err != nil {
			t.Fatal(err)
		}
		if thumbprint, err := parsed.Thumbprint(crypto.SHA256); err != nil || base64.RawURLEncoding.EncodeToString(thumbprint) != key["kid"] {
			t.Errorf("the kid %s is not the thumbprint (RFC 7638 §3): %v", key["kid"], err)
		}
	}
	if _, err := l.sign("HS256"); err == nil {
		t.Error("signed with a secret")
	}
}

// An ES256 signature is R and S, 32 bytes each (RFC 7518 §3.4), over the header and the payload as they are sent.
func TestES256SignatureIsThatOfTheStandard(t *testing.T) {
	l := newLocksmith(t)
	token := l.mustSign(t, "ES256")
	set, err := l.keySet()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := set.LookupKeyID(kidOf(t, token))
	var public ecdsa.PublicKey
	if err := jwk.Export(key, &public); err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndex(token, ".")
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("a signature of %d bytes: %v", len(signature), err)
	}
	digest := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.Verify(&public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature is wrong")
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFirstKeyIsMadeOnce(t *testing.T) {
	l := newLocksmith(t)
	var signing sync.WaitGroup
	made := make([]string, 8)
	for i := range made {
		signing.Go(func() { made[i], _ = l.sign("PS256") })
	}
	signing.Wait()
	for _, token := range made {
		if token == "" || kidOf(t, token) != kidOf(t, made[0]) {
			t.Fatal("another first key was made, or none")
		}
	}
	if keys := l.list(t); len(keys) != 2 {
		t.Errorf("the keys are %v", keys)
	}
}

// A key is published before it signs, and stays published until its last token has expired (OpenID Connect Core §10.1.1).
func TestRotationOverlaps(t *testing.T) {
	l := newLocksmith(t)
	former := l.mustSign(t, "")
	l.rotate(t, "", false)
	l.rotate(t, "", false)
	if got := l.statuses(t); got != "next signing" {
		t.Fatalf("after two rotations: %s", got)
	}
	if l.advance(14 * time.Minute); kidOf(t, l.mustSign(t, "")) != kidOf(t, former) {
		t.Error("the next key signs before everybody knows it")
	}
	cached, err := l.keySet()
	if err != nil {
		t.Fatal(err)
	}
	l.advance(time.Minute)
	last := l.mustSign(t, "")
	if kidOf(t, last) == kidOf(t, former) || l.statuses(t) != "signing verifying" {
		t.Errorf("the next key does not sign: %s", l.statuses(t))
	}
	if err := l.verify(cached, last); err != nil {
		t.Errorf("by a key set of a minute ago: %v", err)
	}
	for range 23 {
		l.advance(time.Hour)
		l.maintain(t)
		if err := errors.Join(l.published(former), l.inspect(former)); err != nil {
			t.Fatalf("a token of the former key: %v", err)
		}
	}
	if l.advance(time.Hour); len(l.maintain(t).Removed) != 0 {
		t.Error("removed while the last token may be valid by another clock")
	}
	l.advance(6 * time.Minute)
	if removed := l.maintain(t).Removed; len(removed) != 1 || removed[0] != kidOf(t, former) || l.statuses(t) != "signing" {
		t.Errorf("removed %v, leaving %s", removed, l.statuses(t))
	}
}

func TestScheduledRotation(t *testing.T) {
	l := newLocksmith(t)
	l.maintain(t) // makes the first key of each algorithm
	for _, row := range []struct {
		after  time.Duration
		leaves string
	}{
		{0, "signing"},
		{keyLifetime - time.Hour, "signing"},
		{50 * time.Minute, "next signing"},
		{0, "next signing"},
		{16 * time.Minute, "signing verifying"},
		{25 * time.Hour, "signing"},
		{keyLifetime - 25*time.Hour, "next signing"},
		{2 * keyLifetime, "next signing"}, // nobody was there for a long time
	} {
		l.advance(row.after)
		before := l.store.Newest()
		done := l.maintain(t)
		if got := l.statuses(t); got != row.leaves {
			t.Errorf("%v later there are %s, want %s", row.after, got, row.leaves)
		}
		if again := l.maintain(t); len(again.Rotated)+len(again.Removed) != 0 {
			t.Errorf("%v later a second time did %v", row.after, again)
		}
		if len(done.Rotated)+len(done.Removed) == 0 && l.store.Newest() != before {
			t.Errorf("%v later nothing was to do, and yet there was a commit", row.after)
		}
	}
}

func TestExpiredStateIsRemoved(t *testing.T) {
	l := newLocksmith(t)
	revoked := directory.Tenant("default").RevokedToken("1")
	ends := l.now().Add(time.Hour)
	if _, err := l.store.Update(t.Context(), func(tx datastore.Tx) error {
		return directory.PutExpiring(t.Context(), tx, revoked, directory.Expiry{ExpiresAt: ends}, ends)
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 1, 0} {
		if swept := l.maintain(t).Swept; swept != want {
			t.Errorf("removed %d records, want %d", swept, want)
		}
		l.advance(65 * time.Minute)
	}
}

func TestRevokedKey(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(t *testing.T, l locksmith)
		revoke  tokens.KeyStatus
		leaves  string
	}{
		{"the only one", func(*testing.T, locksmith) {}, tokens.KeySigning, "signing"},
		{"the one that signs", func(t *testing.T, l locksmith) { l.rotate(t, "", true) }, tokens.KeySigning, "signing verifying"},
		{"the former one", func(t *testing.T, l locksmith) { l.rotate(t, "", true) }, tokens.KeyVerifying, "signing"},
		{"the next one", func(t *testing.T, l locksmith) { l.rotate(t, "", false) }, tokens.KeyNext, "signing"},
		{"the one before the next", func(t *testing.T, l locksmith) { l.rotate(t, "", false) }, tokens.KeySigning, "next signing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLocksmith(t)
			issued := map[string]string{}
			issue := func() {
				token := l.mustSign(t, "")
				issued[kidOf(t, token)] = token
				if err := l.inspect(token); err != nil {
					t.Fatal(err)
				}
			}
			issue()
			row.prepare(t, l)
			issue()
			keys := l.list(t)
			revoked := keys[slices.IndexFunc(keys, func(key tokens.Key) bool { return key.Status == row.revoke })].ID
			if err := l.Keys().Revoke(t.Context(), revoked); err != nil {
				t.Fatal(err)
			}
			for kid, token := range issued {
				good := kid != revoked
				if (l.inspect(token) == nil) != good || (l.published(token) == nil) != good {
					t.Errorf("a token of %s, when %s was revoked: %v, %v", kid, revoked, l.inspect(token), l.published(token))
				}
			}
			if got := l.statuses(t); got != row.leaves {
				t.Errorf("there are %s, want %s", got, row.leaves)
			}
			token := l.mustSign(t, "")
			if kidOf(t, token) == revoked || l.inspect(token) != nil || l.published(token) != nil {
				t.Errorf("the next token is signed by %s: %v", kidOf(t, token), l.inspect(token))
			}
			if err := l.Keys().Revoke(t.Context(), revoked); !errors.Is(err, tokens.ErrNoSuchKey) {
				t.Errorf("revoked a second time: %v", err)
			}
		})
	}
}

func TestKeysAreBounded(t *testing.T) {
	l := newLocksmith(t)
	var err error
	for range 100 {
		if err = l.Keys().Rotate(t.Context(), "EdDSA", true); err != nil {
			break
		}
	}
	if keys := l.list(t); !errors.Is(err, tokens.ErrTooManyKeys) || len(keys) != 64 {
		t.Errorf("%d keys: %v", len(keys), err)
	}
	if err := l.Keys().Revoke(t.Context(), kidOf(t, l.mustSign(t, "EdDSA"))); err != nil {
		t.Errorf("the key that signs cannot be revoked: %v", err)
	}
}

// TestTokensVerifyWhileKeysRotate issues and verifies all the time, while keys are rotated in every way and retired.
func TestTokensVerifyWhileKeysRotate(t *testing.T) {
	l := newLocksmith(t)
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	issued, failed := make(chan string), make(chan error, 4)
	for _, alg := range []string{"ES256", "EdDSA", "ES256", "RS256"} {
		working.Go(func() {
			if err := l.issueAndVerify(ctx, alg, issued); err != nil {
				failed <- err
				stop()
			}
		})
	}
	kids := map[string]bool{}
	for i := range 12 {
		l.rotate(t, "", i%2 == 0)
		for _, step := range []time.Duration{time.Minute, 14 * time.Minute, 165 * time.Minute} {
			for range 8 {
				select {
				case token := <-issued:
					kids[kidOf(t, token)] = true
				case <-ctx.Done():
				}
			}
			l.advance(step)
			l.maintain(t)
		}
	}
	stop()
	working.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if len(kids) < 2*12 {
		t.Errorf("only %d keys have signed", len(kids))
	}
	if keys := l.list(t); len(keys) > 3*10 {
		t.Errorf("%d keys are left", len(keys))
	}
}

// issueAndVerify issues tokens until ctx ends, and verifies each, and over and over the oldest that has not expired.
func (l locksmith) issueAndVerify(ctx context.Context, alg string, issued chan<- string) error {
	type held struct {
		token   string
		expires time.Time
	}
	var all []held
	for ctx.Err() == nil {
		expires := l.now().Add(24*time.Hour - time.Second)
		token, err := l.sign(alg)
		if err != nil {
			return err
		}
		if err := errors.Join(l.published(token), l.inspect(token)); err != nil {
			return fmt.Errorf("a new token: %w", err)
		}
		all = append(all, held{token, expires})
		for !l.now().Before(all[0].expires) {
			all = all[1:]
		}
		if err := errors.Join(l.published(all[0].token), l.inspect(all[0].token)); err != nil && l.now().Before(all[0].expires) {
			return fmt.Errorf("a token that expires at %v: %w", all[0].expires, err)
		}
		select {
		case issued <- token:
		case <-ctx.Done():
		}
	}
	return nil
}

func BenchmarkSign(b *testing.B) {
	l := newLocksmith(b)
	for _, alg := range directory.SigningAlgorithms() {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.sign(alg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
