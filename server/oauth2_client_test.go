package server_test

import (
	"errors"
	"net/url"
	"testing"

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
