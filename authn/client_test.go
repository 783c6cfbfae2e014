package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	oauthTenant = directory.Tenant("default")
	oauthIssuer = "https://id.acme.example"
	tokenURL    = oauthIssuer + "/oauth2/token"
)

// oauthHouse is a store, an Authenticator on it, and the clock of both.
type oauthHouse struct {
	*Authenticator
	t     testing.TB
	clock time.Time
}

func newOAuthHouse(t testing.TB) *oauthHouse {
	t.Helper()
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
	passwords, err := NewPasswordChecks(1)
	if err != nil {
		t.Fatal(err)
	}
	h := &oauthHouse{t: t, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	h.Authenticator = New(Options{Tenant: oauthTenant, Master: master, Issuer: oauthIssuer, PasswordChecks: passwords, Store: store,
		ClockLeeway: 30 * time.Second, Now: func() time.Time { return h.clock }})
	return h
}

func (h *oauthHouse) update(do func(ctx context.Context, tx datastore.Tx) error) {
	h.t.Helper()
	if _, err := h.store.Update(h.t.Context(), func(tx datastore.Tx) error { return do(h.t.Context(), tx) }); err != nil {
		h.t.Fatal(err)
	}
}

// client registers a client with these live secrets.
func (h *oauthHouse) client(id string, record directory.Client, secrets ...string) {
	h.t.Helper()
	if record.Status == "" {
		record.Status = directory.Active
	}
	var hashes []directory.Hash
	for _, secret := range secrets {
		hashes = append(hashes, h.master.Hash(directory.NewSecret(secret)))
	}
	h.update(func(ctx context.Context, tx datastore.Tx) error {
		return errors.Join(oauthTenant.Client(id).Put(ctx, tx, record),
			oauthTenant.ClientSecrets(id).Put(ctx, tx, directory.ClientSecrets{Hashes: hashes}))
	})
}

// present authenticates at the newest revision.
func (h *oauthHouse) present(p Presented) (*Principal, error) {
	view, err := h.store.View(h.t.Context())
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return h.Authenticate(h.t.Context(), memo.Over(view), p)
}

// outcome is "subject method" of a principal, or "kind: detail" of an *Error.
func outcome(p *Principal, err error) string {
	kinds := map[Kind]string{Missing: "missing", Ambiguous: "ambiguous", Malformed: "malformed", Invalid: "invalid", Inactive: "inactive",
		Busy: "busy", BadProof: "bad proof", NonceRequired: "nonce required"}
	if failed := (*Error)(nil); errors.As(err, &failed) {
		return kinds[failed.Kind] + ": " + failed.Detail
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return p.Subject + " " + strings.Join(p.Methods, " ")
}

func basicHeader(id, secret string) []string {
	return []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))}
}

func posted(id, secret string) []Pair {
	return []Pair{{ID: directory.NewSecret(id), Secret: directory.NewSecret(secret)}}
}

func TestClientsUseTheMethodThatTheyRegistered(t *testing.T) {
	h := newOAuthHouse(t)
	h.client("either", directory.Client{}, "new-secret", "old-secret")
	h.client("basic", directory.Client{TokenEndpointAuthMethod: secretBasic}, "basic-secret")
	h.client("post", directory.Client{TokenEndpointAuthMethod: secretPost}, "post-secret")
	h.client("signs", directory.Client{TokenEndpointAuthMethod: privateKeyJWT}, "left-over")
	h.client("spa", directory.Client{TokenEndpointAuthMethod: publicMethod}, "left-over")
	h.client("off", directory.Client{Status: directory.Disabled}, "off-secret")
	h.client("no-more", directory.Client{Status: directory.Disabled, TokenEndpointAuthMethod: publicMethod})
	h.update(func(ctx context.Context, tx datastore.Tx) error {
		return errors.Join(oauthTenant.APIKey("key").Put(ctx, tx, directory.APIKey{Kind: directory.BearerKey, Status: directory.Active}),
			oauthTenant.SecretOwner(h.master.Hash(directory.NewSecret("the-key"))).Put(ctx, tx, directory.SecretOwner{Kind: directory.KindAPIKey, ID: "key"}))
	})
	assertion := directory.NewSecret("eyJhbGciOiJFUzI1NiJ9.e30.AA")
	const (
		wrong      = "invalid: the credential is not valid"
		nobody     = "invalid: client_id names a client that the request does not authenticate"
		two        = "ambiguous: the request has more than one credential"
		another    = "invalid: the client is registered for another authentication method"
		noClient   = "invalid: only OAuth clients authenticate here"
		noType     = "malformed: client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		noneGiven  = "missing: "
		deactivate = "inactive: the client is not active"
	)
	for _, row := range []struct {
		name      string
		presented Presented
		want      string
	}{
		{"RFC 6749 §2.3.1: either way when none is registered: header", Presented{Authorization: basicHeader("either", "new-secret")}, "either client_secret_basic"},
		{"RFC 6749 §2.3.1: either way when none is registered: body", Presented{Clients: posted("either", "new-secret")}, "either client_secret_post"},
		{"two live secrets: the old one", Presented{Authorization: basicHeader("either", "old-secret")}, "either client_secret_basic"},
		{"two live secrets: not a third", Presented{Authorization: basicHeader("either", "older-secret")}, wrong},
		{"two live secrets: not both as one", Presented{Authorization: basicHeader("either", "new-secretold-secret")}, wrong},
		{"OA-29 RFC 7591 §2: basic", Presented{Authorization: basicHeader("basic", "basic-secret")}, "basic client_secret_basic"},
		{"OA-29 RFC 7591 §2: basic client by post", Presented{Clients: posted("basic", "basic-secret")}, another},
		{"OA-29 RFC 7591 §2: post", Presented{Clients: posted("post", "post-secret")}, "post client_secret_post"},
		{"OA-29 RFC 7591 §2: post client by basic", Presented{Authorization: basicHeader("post", "post-secret")}, another},
		{"OA-29 RFC 7591 §2: key client by a secret", Presented{Clients: posted("signs", "left-over")}, another},
		{"OA-29 RFC 7591 §2: public client by a secret", Presented{Clients: posted("spa", "left-over")}, another},
		{"OA-29 RFC 7591 §2: secret client by its name only", Presented{ClientID: "either"}, nobody},
		{"OA-29 RFC 7591 §2: key client by its name only", Presented{ClientID: "signs"}, nobody},
		{"RFC 6749 §2.1: public client", Presented{ClientID: "spa"}, "spa none"},
		{"RFC 6749 §2.1: disabled public client", Presented{ClientID: "no-more"}, deactivate},
		{"OA-25 RFC 6749 §5.2: unknown client by its name only", Presented{ClientID: "nobody"}, nobody},
		{"OA-25 RFC 6749 §5.2: unknown client", Presented{Authorization: basicHeader("nobody", "x")}, wrong},
		{"OA-25 RFC 6749 §5.2: wrong secret", Presented{Authorization: basicHeader("either", "x")}, wrong},
		{"OA-25 RFC 6749 §5.2: wrong secret by another method", Presented{Authorization: basicHeader("post", "x")}, wrong},
		{"OA-25 RFC 6749 §5.2: wrong secret of a disabled client", Presented{Authorization: basicHeader("off", "x")}, wrong},
		{"RFC 6749 §2.3: right secret of a disabled client", Presented{Authorization: basicHeader("off", "off-secret")}, deactivate},
		{"OA-06 RFC 6749 §2.3: header and body", Presented{Authorization: basicHeader("either", "new-secret"), Clients: posted("either", "new-secret")}, two},
		{"OA-06 RFC 6749 §2.3: assertion and body", Presented{Assertion: assertion, AssertionType: jwtAssertion, Clients: posted("either", "new-secret")}, two},
		{"OA-06 RFC 6749 §2.3: assertion and header", Presented{Assertion: assertion, AssertionType: jwtAssertion, Authorization: basicHeader("either", "new-secret")}, two},
		{"OA-06 RFC 6749 §2.3: two headers", Presented{Authorization: append(basicHeader("either", "new-secret"), basicHeader("either", "new-secret")...)}, "ambiguous: "},
		{"OA-06 RFC 6749 §3.2.1: header and client_id are one", Presented{Authorization: basicHeader("either", "new-secret"), ClientID: "either"}, "either client_secret_basic"},
		{"OA-06 RFC 6749 §3.2.1: body and client_id are one", Presented{Clients: posted("either", "new-secret"), ClientID: "either"}, "either client_secret_post"},
		{"RFC 7521 §4.2: assertion without its type", Presented{Assertion: assertion}, noType},
		{"RFC 7521 §4.2: assertion of another type", Presented{Assertion: assertion, AssertionType: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, noType},
		{"RFC 7521 §4.2: type without assertion", Presented{AssertionType: jwtAssertion}, "malformed: "},
		{"RFC 6749 §2.3: no API key here", Presented{Authorization: []string{"Bearer the-key"}}, noClient},
		{"RFC 6749 §2.3: no API key beside a client", Presented{Authorization: []string{"Bearer the-key"}, ClientID: "spa"}, noClient},
		{"RFC 6749 §2.3: no DPoP token here", Presented{Authorization: []string{"DPoP a.b.c"}}, noClient},
		{"RFC 6749 §2.3: no key pair here", Presented{KeyPairs: posted("key", "x"), ClientID: "spa"}, noClient},
		{"RFC 6749 §2.3: no user here", Presented{Authorization: basicHeader("alice", "password"), Basic: BasicUser}, wrong},
		{"RFC 6749 §2.3: nothing", Presented{}, noneGiven},
	} {
		row.presented.Registered = true
		if got := outcome(h.present(row.presented)); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}

	t.Run("where a secret may come either way", func(t *testing.T) {
		for _, row := range []struct {
			name      string
			presented Presented
			want      string
		}{
			{"basic client by post", Presented{Clients: posted("basic", "basic-secret")}, "basic client_secret_post"},
			{"key client by a secret", Presented{Clients: posted("signs", "left-over")}, another},
			{"public client by a secret", Presented{Clients: posted("spa", "left-over")}, another},
			{"public client", Presented{ClientID: "spa"}, "spa none"},
			{"secret client by its name only", Presented{ClientID: "either"}, nobody},
		} {
			if got := outcome(h.present(row.presented)); !strings.HasPrefix(got, row.want) {
				t.Errorf("%s: %q, want %q", row.name, got, row.want)
			}
		}
	})
}

// TestClientCredentialsSayHowTheyWereProved: policies see the kind of credential, never a secret.
func TestClientCredentialsSayHowTheyWereProved(t *testing.T) {
	h := newOAuthHouse(t)
	h.client("sync", directory.Client{Scopes: []string{"read"}}, "s")
	h.client("spa", directory.Client{TokenEndpointAuthMethod: publicMethod})
	for _, row := range []struct {
		presented Presented
		want      CredentialRef
	}{
		{Presented{Registered: true, Clients: posted("sync", "s")}, CredentialRef{Type: "client_secret", ID: "sync"}},
		{Presented{Registered: true, ClientID: "spa"}, CredentialRef{Type: "none", ID: "spa"}},
	} {
		p, err := h.present(row.presented)
		if err != nil || p.Credential != row.want || p.Type != Client || p.Confirms != nil {
			t.Errorf("%+v, %v, want the credential %v", p, err, row.want)
		}
	}
}
