package authn

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
	"mandate/directory"
)

// TestExternalTokens: an access token of the organization's provider makes a principal; anything else that the provider has
// signed, or somebody else, does not.
func TestExternalTokens(t *testing.T) {
	w := newWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w.provider.publish(t, map[string]crypto.Signer{"k1": w.key, "rsa": rsaKey, "": w.key})
	public, err := x509.MarshalPKIXPublicKey(w.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	stranger := newECKey(t)
	good := w.claims()
	seconds := func(d time.Duration) int64 { return w.now().Add(d).Unix() }
	es256 := func(header, claims map[string]any) string {
		return signed(t, jwt.SigningMethodES256, w.key, with(map[string]any{"kid": "k1", "typ": "at+jwt"}, header), with(good, claims))
	}
	type object = map[string]any
	whole := es256(nil, nil)
	parts := strings.Split(whole, ".")
	for _, row := range []struct {
		name, token string
		want        bool
	}{
		{"RFC 9068 §2.1: an access token by its type", whole, true},
		{"without a type", signed(t, jwt.SigningMethodES256, w.key, object{"kid": "k1"}, good), true},
		{"of the type JWT", es256(object{"typ": "JWT"}, nil), true},
		{"RFC 7519 §4.1.3: one of several audiences", es256(nil, object{"aud": []string{"https://other.example", "https://documents.example"}}), true},
		{"RFC 7519 §4.1.4: expired within the leeway", es256(nil, object{"exp": seconds(-20 * time.Second)}), true},

		{"RFC 8725 §3.1: alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, object{"kid": "k1", "typ": "at+jwt"}, good), false},
		{"RFC 8725 §3.1: HS256 with the public key", signed(t, jwt.SigningMethodHS256, publicPEM, object{"kid": "k1", "typ": "at+jwt"}, good), false},
		{"RFC 8725 §3.1: HS256 with the public key in DER", signed(t, jwt.SigningMethodHS256, public, object{"kid": "k1", "typ": "at+jwt"}, good), false},
		{"RFC 8725 §3.1: another algorithm than the connection's", signed(t, jwt.SigningMethodRS256, rsaKey, object{"kid": "rsa", "typ": "at+jwt"}, good), false},
		{"the connection's algorithm and a key of another kind", es256(object{"kid": "rsa"}, nil), false},
		{"signed by somebody else", signed(t, jwt.SigningMethodES256, stranger, object{"kid": "k1", "typ": "at+jwt"}, good), false},
		{"RFC 7515 §4.1.3: a key in the header", signed(t, jwt.SigningMethodES256, stranger,
			object{"kid": "k1", "typ": "at+jwt", "jku": "https://evil.example/keys", "x5u": "https://evil.example/x", "jwk": object{"kty": "EC"}}, good), false},
		{"without a kid", es256(object{"kid": nil}, nil), false},
		{"a kid that is no text", es256(object{"kid": 1}, nil), false},
		{"RFC 7515 §4.1.11: crit", es256(object{"crit": []string{"exp"}}, nil), false},
		{"without a signature", parts[0] + "." + parts[1] + ".", false},
		{"with another's payload", parts[0] + "." + strings.Split(es256(nil, object{"sub": "root"}), ".")[1] + "." + parts[2], false},

		{"RFC 8725 §3.8: another issuer", es256(nil, object{"iss": "https://idp.globex.example"}), false},
		{"the issuer with a slash", es256(nil, object{"iss": w.provider.URL + "/"}), false},
		{"an issuer that is no text", es256(nil, object{"iss": object{"a": 1}}), false},
		{"RFC 8725 §3.9: another audience", es256(nil, object{"aud": "https://other.example"}), false},
		{"the connection's client id as audience", es256(nil, object{"aud": "mandate"}), false},
		{"without an audience", es256(nil, object{"aud": nil}), false},
		{"an audience that is no text", es256(nil, object{"aud": []any{"https://documents.example", 1}}), false},
		{"expired", es256(nil, object{"exp": seconds(-31 * time.Second)}), false},
		{"without an end", es256(nil, object{"exp": nil}), false},
		{"an end that is a text", es256(nil, object{"exp": "9999999999"}), false},
		{"RFC 7519 §4.1.5: not yet valid", es256(nil, object{"nbf": seconds(time.Minute)}), false},
		{"RFC 7519 §4.1.6: issued in the future", es256(nil, object{"iat": seconds(time.Minute)}), false},

		{"OpenID Connect Core §2: an ID token with a nonce", es256(object{"typ": "JWT"}, object{"nonce": "n"}), false},
		{"OpenID Connect Core §3.1.3.6: an ID token with at_hash", signed(t, jwt.SigningMethodES256, w.key, object{"kid": "k1"}, with(good, object{"at_hash": "x"})), false},
		{"Back-Channel Logout §2.4: a logout token", es256(object{"typ": "logout+jwt"}, nil), false},
		{"RFC 9449 §7.2: a token that is bound to a key", es256(nil, object{"cnf": object{"jkt": "x"}}), false},

		{"without a subject", es256(nil, object{"sub": nil}), false},
		{"an empty subject", es256(nil, object{"sub": ""}), false},
		{"a subject that is no text", es256(nil, object{"sub": 7}), false},
		{"a subject with a line break", es256(nil, object{"sub": "bob\nroot"}), false},
		{"a subject of another script", es256(nil, object{"sub": "bоb"}), false},
		{"a subject that ends with a space", es256(nil, object{"sub": "bob "}), false},
		{"a subject that is too long", es256(nil, object{"sub": strings.Repeat("b", 255)}), false},
		{"groups that are no texts", es256(nil, object{"groups": []any{1}}), false},
		{"more groups than are read", es256(nil, object{"groups": slices.Repeat([]string{"staff"}, maxGroups+1)}), false},
		{"a scope that is no text", es256(nil, object{"scope": 1}), false},
	} {
		p, err := w.bearer(row.token)
		if (p != nil) != row.want {
			t.Errorf("%s: %+v, %v", row.name, p, err)
		}
		if !row.want {
			if err := wantError(err, Invalid, ""); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	}
}

// TestExternalPrincipal: what the principal says of itself.
func TestExternalPrincipal(t *testing.T) {
	w := newWorld(t)
	p, err := w.bearer(w.sign(with(w.claims(), map[string]any{"sub": "auth0|bob", "groups": []string{"it", "viewer", "staff", "it"}, "scp": []string{"a", "b"},
		"email": "bob@acme.example", "email_verified": true, "name": 7, "secret": "x", "org": "globex"})))
	if err != nil {
		t.Fatal(err)
	}
	same := p.Type == User && p.Subject == "acme|acme-idp|auth0|bob" && p.Org == "acme" && p.Connection == "acme-idp" &&
		slices.Equal(p.Roles, []string{"admin", "viewer"}) && slices.Equal(p.Scopes, []string{"a", "b"}) && slices.Equal(p.Methods, []string{"external"}) &&
		p.Credential == CredentialRef{Type: "external_token", ID: "acme-idp"} && len(p.Claims) == 2 && p.Claims["email_verified"] == true
	if !same {
		t.Errorf("got %+v", p)
	}
	for _, row := range []struct {
		name   string
		claims map[string]any
		want   []string
	}{
		{"no scope at all is no limit", nil, nil},
		{"an empty scope is nothing", map[string]any{"scope": ""}, []string{}},
		{"RFC 9068 §2.2.3: scope", map[string]any{"scope": "a b", "scp": "c"}, []string{"a", "b"}},
		{"scp", map[string]any{"scp": "c"}, []string{"c"}},
	} {
		p, err := w.bearer(w.sign(with(w.claims(), row.claims)))
		if err != nil || !slices.Equal(p.Scopes, row.want) || (p.Scopes == nil) != (row.want == nil) {
			t.Errorf("%s: %v, %v", row.name, p.Scopes, err)
		}
	}
	unmapped := w.connection()
	unmapped.RoleMapping = nil
	w.connect("acme", "acme-idp", unmapped)
	if p, err := w.bearer(w.sign(with(w.claims(), map[string]any{"groups": "admin"}))); err != nil || len(p.Roles) > 0 {
		t.Errorf("a group with the name of a role: %+v, %v", p, err)
	}
}

// TestExternalTokenLosesPower: a token that was good, and remembered, ends with what it rests on.
func TestExternalTokenLosesPower(t *testing.T) {
	const subject = "acme|acme-idp|bob"
	active := directory.Member{Roles: []string{}, Status: directory.Active}
	for _, row := range []struct {
		name   string
		change func(*world)
		kind   Kind
		code   string
	}{
		{"the connection is disabled", func(w *world) {
			c := w.connection()
			c.Status = directory.Disabled
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, ""},
		{"the connection is removed", func(w *world) { remove(w, testTenant.Connection("acme", "acme-idp")) }, Invalid, ""},
		{"the connection is to another provider now", func(w *world) {
			c := w.connection()
			c.Issuer = "https://idp.globex.example"
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, ""},
		{"the connection has another algorithm now", func(w *world) {
			c := w.connection()
			c.Algorithm = "RS256"
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, ""},
		{"the organization is suspended", func(w *world) {
			put(w, testTenant.Org("acme"), directory.Org{Status: directory.Suspended})
		}, Inactive, "org_suspended"},
		{"the user is disabled", func(w *world) {
			put(w, testTenant.User(subject), directory.User{Status: directory.Disabled})
		}, Inactive, "user_disabled"},
		{"the user's membership is suspended", func(w *world) {
			put(w, testTenant.User(subject), directory.User{Status: directory.Active})
			put(w, testTenant.Member("acme", subject), directory.Member{Status: directory.Suspended})
		}, Inactive, "membership_inactive"},
		{"the user has a record, and the connection is disabled", func(w *world) {
			put(w, testTenant.User(subject), directory.User{Status: directory.Active})
			put(w, testTenant.Member("acme", subject), active)
			c := w.connection()
			c.Status = directory.Disabled
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, ""},
		{"the connection wants another claim now", func(w *world) {
			c := w.connection()
			c.Claims = map[string]string{"hd": "acme.example"}
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, "claims_missing"},
		{"the connection has another audience now", func(w *world) {
			c := w.connection()
			c.Audiences = []string{"https://archive.example"}
			put(w, testTenant.Connection("acme", "acme-idp"), c)
		}, Invalid, ""},
		{"the token expires", func(w *world) { w.advance(time.Hour + 30*time.Second) }, Invalid, "token_expired"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			token := w.sign(w.claims())
			for range 2 {
				if _, err := w.bearer(token); err != nil {
					t.Fatal(err)
				}
			}
			row.change(w)
			if err := wantError(second(w.bearer(token)), row.kind, row.code); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExternalTokenAtMandate: only one that the provider has made for Mandate calls Mandate itself (RFC 9068 §4).
func TestExternalTokenAtMandate(t *testing.T) {
	w := newWorld(t)
	c := w.connection()
	c.Audiences = append(c.Audiences, "https://mandate.example")
	w.connect("acme", "acme-idp", c)
	for _, row := range []struct {
		name   string
		claims map[string]any
		kind   Kind
		want   bool
	}{
		{"for another API", map[string]any{"scope": "decide"}, Invalid, false},
		{"for Mandate, without a scope", map[string]any{"aud": "https://mandate.example"}, InsufficientScope, false},
		{"for Mandate", map[string]any{"aud": "https://mandate.example", "scope": "decide"}, 0, true},
	} {
		p, err := w.bearer(w.sign(with(w.claims(), row.claims)))
		if err != nil {
			t.Fatal(err)
		}
		err = w.a.ForMandate(p, "decide")
		if row.want {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		} else if err := wantError(err, row.kind, ""); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestConnectionsOfOneIssuer: the audience tells them apart.
func TestConnectionsOfOneIssuer(t *testing.T) {
	w := newWorld(t)
	put(w, testTenant.Org("globex"), directory.Org{Status: directory.Active})
	other := w.connection()
	other.Audiences = []string{"https://globex.example/api"}
	w.connect("globex", "idp", other)
	for audience, want := range map[string]string{"https://documents.example": "acme", "https://globex.example/api": "globex"} {
		p, err := w.bearer(w.sign(with(w.claims(), map[string]any{"aud": audience})))
		if err != nil || p.Org != want {
			t.Errorf("%s: %+v, %v", audience, p, err)
		}
	}
	many := slices.Repeat([]string{"https://other.example"}, maxAudiences)
	if err := wantError(second(w.bearer(w.sign(with(w.claims(), map[string]any{"aud": append(many, "https://documents.example")})))), Invalid, ""); err != nil {
		t.Errorf("more audiences than are looked up: %v", err)
	}
	both := []string{"https://documents.example", "https://globex.example/api"}
	if err := wantError(second(w.bearer(w.sign(with(w.claims(), map[string]any{"aud": both})))), Invalid, ""); err != nil {
		t.Errorf("a token for both: %v", err)
	}
}

// TestClaimsOfAConnection: of a provider that many organizations share, only those count whom it vouches for as the
// organization's own.
func TestClaimsOfAConnection(t *testing.T) {
	w := newWorld(t)
	c := w.connection()
	c.Claims = map[string]string{"hd": "acme.example"}
	w.connect("acme", "acme-idp", c)
	for _, row := range []struct {
		name string
		hd   any
		want bool
	}{
		{"of the organization", "acme.example", true},
		{"of another one", "globex.example", false},
		{"of nobody", nil, false},
		{"of both", []string{"acme.example", "globex.example"}, false},
	} {
		_, err := w.bearer(w.sign(with(w.claims(), map[string]any{"hd": row.hd})))
		if (err == nil) != row.want {
			t.Errorf("a token %s: %v", row.name, err)
		}
		state, answer := w.begun(false)
		w.tokenEndpoint(state, nil, map[string]any{"hd": row.hd})
		_, err = w.finish(state, answer)
		if (err == nil) != row.want {
			t.Errorf("a sign-in %s: %v", row.name, err)
		}
		if !row.want {
			if err := wantError(err, Invalid, "claims_missing"); err != nil {
				t.Errorf("a sign-in %s: %v", row.name, err)
			}
		}
	}
}

// TestStandingOfConnectedUser: who signed in through a connection, and has a record since, needs the connection as well.
func TestStandingOfConnectedUser(t *testing.T) {
	w := newWorld(t)
	put(w, testTenant.User("acme|acme-idp|bob"), directory.User{Status: directory.Active})
	put(w, testTenant.Member("acme", "acme|acme-idp|bob"), directory.Member{Roles: []string{}, Status: directory.Active})
	p := &Principal{Type: User, Subject: "acme|acme-idp|bob", Org: "acme", Connection: "acme-idp"}
	standing := func() error {
		r := w.memory.Begin()
		defer r.End()
		return w.a.Standing(t.Context(), r, p)
	}
	if err := standing(); err != nil {
		t.Fatal(err)
	}
	remove(w, testTenant.Connection("acme", "acme-idp"))
	if err := wantError(standing(), Inactive, "connection_inactive"); err != nil {
		t.Error(err)
	}
}

// FuzzExternalToken: whatever is sent, only what the provider has signed is taken.
func FuzzExternalToken(f *testing.F) {
	w := newWorld(f)
	key := map[string]any{"kid": "k1", "typ": "at+jwt"}
	good := signed(f, jwt.SigningMethodES256, w.key, key, w.claims())
	f.Add(good)
	f.Add(signed(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, key, w.claims()))
	f.Add(signed(f, jwt.SigningMethodHS256, []byte("x"), key, w.claims()))
	f.Add(signed(f, jwt.SigningMethodES256, w.key, map[string]any{"kid": ""}, with(w.claims(), map[string]any{"aud": []any{nil}, "exp": -1e300})))
	f.Add("e30.e30.")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":{}}`)) + ".W10.AA")
	f.Fuzz(func(t *testing.T, token string) {
		view, err := w.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		p, err := w.a.Authenticate(t.Context(), memo.Over(view), Presented{Authorization: []string{"Bearer " + token}})
		if (p == nil) == (err == nil) {
			t.Fatalf("%v and %v", p, err)
		}
		if p != nil && strings.TrimSpace(token) != good {
			t.Fatalf("%q made %+v", token, p)
		}
	})
}

// TestClientIDAsAudience: ID tokens are for the client id (OpenID Connect Core §2), so an access token for it must show that it
// is one.
func TestClientIDAsAudience(t *testing.T) {
	w := newWorld(t)
	connection := w.connection()
	connection.Audiences = []string{"mandate"}
	w.connect("acme", "idp", connection)
	for _, row := range []struct {
		name   string
		typ    string
		claims map[string]any
		want   bool
	}{
		{"an ID token without a nonce", "JWT", nil, false},
		{"an ID token with one", "JWT", map[string]any{"nonce": "n"}, false},
		{"an access token by its scope", "JWT", map[string]any{"scope": "openid"}, true},
		{"an access token by its type", "at+jwt", nil, true},
	} {
		claims := with(with(w.claims(), map[string]any{"aud": "mandate"}), row.claims)
		token := signed(t, jwt.SigningMethodES256, w.key, map[string]any{"kid": "k1", "typ": row.typ}, claims)
		if _, err := w.bearer(token); (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
