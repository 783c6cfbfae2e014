package tokens_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/tokens"
)

const issuerURL = "https://mandate.example"

type house struct {
	store  datastore.Store
	master *directory.MasterKey
	dir    string
}

func newHouse(t testing.TB) house {
	t.Helper()
	return houseOf(t, "clients: [{id: sync, secret: s}]")
}

// houseOf is a store with that directory.
func houseOf(t testing.TB, text string) house {
	t.Helper()
	dir := t.TempDir()
	store, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	file, err := directory.ParseFile(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (directory.Importer{Store: store, Master: master}).Import(t.Context(), "default", file); err != nil {
		t.Fatal(err)
	}
	return house{store, master, dir}
}

// issuer decides tokens by the given Rego.
func (h house) issuer(t *testing.T, tokensRego string) (*tokens.Issuer, error) {
	t.Helper()
	set := policySet(t, tokensRego)
	return tokens.NewIssuer(t.Context(), h.store, tokens.Options{Tenant: "default", Issuer: issuerURL, Master: h.master,
		Policy: engine.New("default", set, engine.Options{EvaluationLimit: time.Minute}), Lifetime: 10 * time.Minute, Now: time.Now})
}

func policySet(t *testing.T, tokensRego string) *engine.PolicySet {
	t.Helper()
	const closed = "\ndecision := {\"allow\": false, \"reasons\": [], \"obligations\": []}\n"
	set, err := engine.Compile(t.Context(), fstest.MapFS{
		"access.rego": {Data: []byte("package mandate.access" + closed)},
		"manage.rego": {Data: []byte("package mandate.manage" + closed)},
		"tokens.rego": {Data: []byte("package mandate.tokens\n" + tokensRego)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (h house) issue(t *testing.T, i *tokens.Issuer, tokensRego string) (*tokens.Response, error) {
	t.Helper()
	view, err := h.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	client := &authn.Principal{Type: authn.Client, Subject: "sync", Methods: []string{"client_secret_basic"}}
	return i.Issue(t.Context(), memo.Over(view), policySet(t, tokensRego), client, tokens.Request{GrantType: "client_credentials"})
}

const allowed = `"allow": true, "reasons": [], "obligations": [], "scopes": ["decide"]`

func TestPolicyDecidesWhatATokenCarries(t *testing.T) {
	for _, row := range []struct{ name, rego, code string }{
		{"allowed", `decision := {` + allowed + `, "lifetime": 60, "claims": {"plan": "gold"}}`, ""},
		{"denied with an OAuth code", `decision := {"allow": false, "reasons": [{"code": "invalid_scope", "message": "no"}], "obligations": []}`, "invalid_scope"},
		{"denied with a code of its own", `decision := {"allow": false, "reasons": [{"code": "after_hours", "message": "no"}], "obligations": []}`, "access_denied"},
		{"undefined", `decision := {` + allowed + `, "lifetime": 60, "claims": {}} if input.never`, "access_denied"},
		{"no lifetime", `decision := {` + allowed + `, "claims": {}}`, "access_denied"},
		{"a lifetime beyond a day", `decision := {` + allowed + `, "lifetime": 86401, "claims": {}}`, "access_denied"},
		{"another subject", `decision := {` + allowed + `, "lifetime": 60, "claims": {"sub": "admin"}}`, "access_denied"},
		{"another issuer", `decision := {` + allowed + `, "lifetime": 60, "claims": {"iss": "https://evil.example"}}`, "access_denied"},
		{"another audience", `decision := {` + allowed + `, "lifetime": 60, "claims": {"aud": "x"}}`, "access_denied"},
		{"more scope by a claim in capitals", `decision := {` + allowed + `, "lifetime": 60, "claims": {"SCOPE": "manage"}}`, "access_denied"},
		{"more scope by a claim with a long s", `decision := {` + allowed + `, "lifetime": 60, "claims": {"ſcope": "manage"}}`, "access_denied"},
		{"more scope by a claim", `decision := {` + allowed + `, "lifetime": 60, "claims": {"scope": "manage"}}`, "access_denied"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			i, err := h.issuer(t, row.rego)
			if err != nil {
				t.Fatal(err)
			}
			response, err := h.issue(t, i, row.rego)
			var refused *tokens.Error
			if errors.As(err, &refused) {
				if refused.Code != row.code {
					t.Errorf("refused with %s (%v), want %q", refused.Code, err, row.code)
				}
				return
			}
			if err != nil || row.code != "" {
				t.Fatalf("issued %v, %v, want %q", response, err, row.code)
			}
			claims := jwt.MapClaims{}
			if _, _, err := jwt.NewParser().ParseUnverified(response.AccessToken, claims); err != nil {
				t.Fatal(err)
			}
			if claims["plan"] != "gold" || claims["scope"] != "decide" || claims["sub"] != "sync" || claims["aud"] != issuerURL || response.ExpiresIn != 60 {
				t.Errorf("issued %v", claims)
			}
		})
	}
}

func TestSigningKeyIsSealedAndLasts(t *testing.T) {
	h := newHouse(t)
	const rego = `decision := {` + allowed + `, "lifetime": 60, "claims": {}}`
	keySet := func() []byte {
		i, err := h.issuer(t, rego)
		if err != nil {
			t.Fatal(err)
		}
		view, err := h.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		set, err := i.KeySet(context.Background(), memo.Over(view))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	first := keySet()
	if !bytes.Equal(first, keySet()) {
		t.Error("a second start made another signing key")
	}
	if bytes.Contains(first, []byte(`"d"`)) {
		t.Errorf("the private part is in the key set: %s", first)
	}
	// A PKCS #8 EC key holds this sequence in the clear: the algorithm, the curve, and the private value's octet string.
	clear := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04}
	files, err := filepath.Glob(filepath.Join(h.dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("the store has no files", err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, clear) {
			t.Errorf("%s has a private key in the clear (%v)", file, err)
		}
	}
	h.master, err = directory.NewMasterKey([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.issuer(t, rego); !errors.Is(err, tokens.ErrKeyGone) {
		t.Errorf("opened under another master key: %v", err)
	}
}

// TestTokenIsWorthWhatThePolicyWouldGiveNow: what a policy put into a token reaches policies again, and of its scopes those
// are left that it would get now.
func TestTokenIsWorthWhatThePolicyWouldGiveNow(t *testing.T) {
	h := newHouse(t)
	const rego = `decision := {"allow": true, "reasons": [], "obligations": [], "scopes": [s | some s in ["decide", "manage"]; s in data.clients.sync.scopes], "lifetime": 60, "claims": {"plan": "gold", "seats": 12}}`
	i, err := h.issuer(t, rego)
	if err != nil {
		t.Fatal(err)
	}
	have := func(scopes ...string) {
		if _, err := h.store.Update(t.Context(), func(tx datastore.Tx) error {
			return directory.Tenant("default").Client("sync").Put(t.Context(), tx, directory.Client{Status: directory.Active, Scopes: scopes})
		}); err != nil {
			t.Fatal(err)
		}
	}
	have("decide", "manage", "else")
	response, err := h.issue(t, i, rego)
	if err != nil {
		t.Fatal(err)
	}
	a := authn.New(authn.Options{Tenant: "default", Master: h.master, Issuer: issuerURL, Now: time.Now})
	set := policySet(t, rego)
	for _, row := range []struct{ have, left []string }{{[]string{"decide", "manage"}, []string{"decide", "manage"}}, {[]string{"decide"}, []string{"decide"}}, {[]string{}, []string{}}} {
		have(row.have...)
		view, err := h.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Authenticate(t.Context(), memo.Over(view), authn.Presented{Authorization: []string{"Bearer " + response.AccessToken}})
		if err != nil {
			t.Fatal(err)
		}
		p, err = i.Current(t.Context(), memo.Over(view), set, p)
		view.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Scopes, row.left) || p.Scopes == nil {
			t.Errorf("the client has the scopes %q, the token counts for %q", row.have, p.Scopes)
		}
		if claims, err := json.Marshal(p.Claims); err != nil || string(claims) != `{"plan":"gold","seats":12}` {
			t.Errorf("policies see the claims %s", claims)
		}
	}
}
