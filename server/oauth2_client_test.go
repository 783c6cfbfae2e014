package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// A client that nobody here wrote gets a token and asks with it.
func TestGoOAuth2Client(t *testing.T) {
	s := start(t)
	const documents = "https://documents.example"
	for _, row := range []struct {
		rule, id, secret string
		style            oauth2.AuthStyle
		refused          string
	}{
		{"client_secret_basic", "basic-only", "basic-only-secret-a0a1", oauth2.AuthStyleInHeader, ""},
		{"client_secret_post", "post-only", "post-only-secret-b2b3", oauth2.AuthStyleInParams, ""},
		{"the client finds out which", "post-only", "post-only-secret-b2b3", oauth2.AuthStyleAutoDetect, ""},
		{"RFC 6749 §2.3.1 form-encoded id and secret", "weird client+1%41:/&=?", "weird secret+2%42:/&=?", oauth2.AuthStyleInHeader, ""},
		{"RFC 6749 §5.2 wrong secret", "basic-only", "wrong", oauth2.AuthStyleInHeader, "invalid_client"},
		{"RFC 6749 §5.2 scope that is not granted", "many-apis", "many-apis-secret-c4c5", oauth2.AuthStyleInHeader, "invalid_scope"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			config := clientcredentials.Config{ClientID: row.id, ClientSecret: row.secret, TokenURL: s.url + tokenPath,
				AuthStyle: row.style, EndpointParams: url.Values{"audience": {documents}}}
			if row.refused == "invalid_scope" {
				config.Scopes = []string{"payments:read"}
			}
			token, err := config.Token(t.Context())
			if refusal := (*oauth2.RetrieveError)(nil); errors.As(err, &refusal) && refusal.ErrorCode == row.refused {
				return
			}
			if err != nil || row.refused != "" {
				t.Fatalf("got %v, %v, want refusal %q", token, err, row.refused)
			}
			if token.Type() != "Bearer" || token.Extra("scope") != "documents:read" || !token.Valid() {
				t.Errorf("got %v with scope %v", token, token.Extra("scope"))
			}
		})
	}
}

// An OpenID Connect client that nobody here wrote finds everything by discovery, for each tenant: a person signs in, the ID
// token verifies, and new tokens come by refreshing.
func TestGoOIDCClient(t *testing.T) {
	s := start(t)
	b := s.browser(t)
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: b.http.Transport, Timeout: time.Minute})
	provider, err := oidc.NewProvider(ctx, publicURL)
	must(t, err)
	if _, err := oidc.NewProvider(ctx, publicURL+"/t/staging"); err != nil {
		t.Errorf("MD-02, a tenant's issuer: %v", err)
	}
	if _, err := oidc.NewProvider(ctx, publicURL+"/"); err == nil {
		t.Error("MD-01: an issuer with a slash is another one")
	}
	config := oauth2.Config{ClientID: "web-app", ClientSecret: secrets(t, "default")["client web-app"], Endpoint: provider.Endpoint(),
		RedirectURL: appURL, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess, "profile", "documents:read"}}
	verifier := oauth2.GenerateVerifier()
	to := config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the-nonce"))
	shown := b.get(strings.TrimPrefix(to, publicURL)).signIn("bob", secrets(t, "default")["user bob"])
	answered := shown.left
	if answered == nil || answered.Query().Get("state") != "the-state" || answered.Query().Get("iss") != publicURL {
		t.Fatalf("not sent back: %v %s", shown.left, shown.body)
	}
	token, err := config.Exchange(ctx, answered.Query().Get("code"), oauth2.VerifierOption(verifier))
	must(t, err)
	verify := func(token *oauth2.Token) *oidc.IDToken {
		t.Helper()
		raw, _ := token.Extra("id_token").(string)
		verified, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: "web-app"}).Verify(ctx, raw)
		must(t, err)
		return verified
	}
	if id := verify(token); id.Nonce != "the-nonce" || id.Subject != "bob" {
		t.Errorf("the ID token: %+v", id)
	}
	info, err := provider.UserInfo(ctx, config.TokenSource(ctx, token))
	must(t, err)
	if info.Subject != "bob" {
		t.Errorf("OpenID Connect Core §5.3.2: userinfo is about %q", info.Subject)
	}
	expired := *token
	expired.Expiry = time.Now().Add(-time.Minute)
	next, err := config.TokenSource(ctx, &expired).Token()
	must(t, err)
	if next.RefreshToken == token.RefreshToken || verify(next).Subject != "bob" {
		t.Error("RFC 9700 §4.14.2: the refresh token did not rotate")
	}
	if _, err := config.Exchange(context.WithoutCancel(ctx), answered.Query().Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("RFC 6749 §4.1.2: the code was good twice")
	}
}
