package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

func TestTokensAreVerified(t *testing.T) {
	key, others := signingKey(t), signingKey(t)
	const claims = `{"sub":"a","client_id":"a","aud":"https://api.example/","scope":"read"}`
	for _, c := range []struct {
		name, answer, refused string
	}{
		{"as it must be", answerWith(t, key, claims, "read"), ""},
		{"another key", answerWith(t, others, claims, "read"), "verify"},
		{"another scope in the answer", answerWith(t, key, claims, "write"), "scope"},
		{"several audiences", answerWith(t, key, strings.Replace(claims, `"https://api.example/"`, `["a","b"]`, 1), "read"), "claims"},
		{"an opaque token", `{"access_token":"abc","scope":"read"}`, "verify"},
		{"no answer", `<html>`, "read the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := verified([]byte(c.answer), publicKeys(t, key))
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("%+v, %v", got, err)
				}
				return
			}
			want := issued{"ES256", "at+jwt", "Bearer", 60, "a", "a", "https://api.example/", "read"}
			if err != nil || got != want {
				t.Errorf("%+v, not %+v: %v", got, want, err)
			}
		})
	}
}

func signingKey(t *testing.T) jwk.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.Import(private)
	if err == nil {
		err = key.Set(jwk.KeyIDKey, "a key")
	}
	if err == nil {
		err = key.Set(jwk.AlgorithmKey, jwa.ES256())
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKeys(t *testing.T, key jwk.Key) jwk.Set {
	t.Helper()
	keys := jwk.NewSet()
	if err := keys.AddKey(key); err != nil {
		t.Fatal(err)
	}
	public, err := jwk.PublicSetOf(keys)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// answerWith is the answer of a token endpoint with a token of these claims.
func answerWith(t *testing.T, key jwk.Key, claims, scope string) string {
	t.Helper()
	header := jws.NewHeaders()
	if err := header.Set(jws.TypeKey, "at+jwt"); err != nil {
		t.Fatal(err)
	}
	token, err := jws.Sign([]byte(claims), jws.WithKey(jwa.ES256(), key, jws.WithProtectedHeaders(header)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":60,"scope":%q}`, token, scope)
}

func TestOIDCProviderMayBeMissing(t *testing.T) {
	if p, err := findOIDCProvider(t.TempDir()); p != nil || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
	folder := t.TempDir()
	installed := filepath.Join(folder, "node_modules", "oidc-provider")
	if err := os.MkdirAll(installed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(installed, "package.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if p, err := findOIDCProvider(folder); p != nil || err != nil {
		t.Errorf("without Node: %+v, %v", p, err)
	}
	if err := os.WriteFile(filepath.Join(bin, "node"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if p, err := findOIDCProvider(folder); err == nil {
		t.Errorf("a broken one passes: %+v", p)
	}
}

func TestGuesses(t *testing.T) {
	w := generate(1, 3, 4, 1)
	names := map[string]bool{}
	for _, request := range w.guesses("127.0.0.1:1", 20) {
		basic := regexp.MustCompile(`Authorization: Basic (\S+)`).FindSubmatch(request)
		if basic == nil {
			t.Fatalf("no credential in %s", request)
		}
		pair, err := base64.StdEncoding.DecodeString(string(basic[1]))
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(string(pair), ":")
		names[name] = true
	}
	if len(names) != 20 || !names[userID(0, 0)] || !names[userID(2, 3)] {
		t.Errorf("%d names: %v", len(names), names)
	}

	// What is neither 401 nor 429 ends the measurement.
	c := ceiling(t)
	waited := func() error { <-time.After(100 * time.Millisecond); return nil }
	if f, err := guessing(w.guesses(c.address, 5)).flood(t.Context(), c.address, waited); err == nil || !strings.Contains(err.Error(), "answered 404") {
		t.Errorf("%+v, %v", f, err)
	}
}
