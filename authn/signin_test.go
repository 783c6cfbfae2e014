package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/directory"
)

const callback = "https://mandate.example/login/callback"

// begun begins a sign-in with acme's connection, and returns the provider's answer to it as well.
func (w *world) begun(fresh bool) (SignInState, url.Values) {
	w.t.Helper()
	r := w.memory.Begin()
	defer r.End()
	to, state, err := w.a.BeginSignIn(w.t.Context(), r, "acme", "acme-idp", callback, fresh)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		w.t.Fatal(err)
	}
	q := u.Query()
	sum := sha256.Sum256([]byte(state.Verifier))
	want := url.Values{"response_type": {"code"}, "client_id": {"mandate"}, "redirect_uri": {callback}, "scope": {"openid profile email"}, "state": {state.State},
		"nonce": {state.Nonce}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	if fresh {
		want["prompt"], want["max_age"] = []string{"login"}, []string{"0"}
	}
	if !strings.HasPrefix(to, w.provider.URL+"/authorize?") || q.Encode() != want.Encode() {
		w.t.Errorf("the request is %s, want %v", to, want)
	}
	return state, url.Values{"code": {"the-code"}, "state": {state.State}}
}

func (w *world) finish(state SignInState, answer url.Values) (*Principal, error) {
	r := w.memory.Begin()
	defer r.End()
	return w.a.FinishSignIn(w.t.Context(), r, state, answer, callback)
}

// tokenEndpoint makes the provider answer with an ID token of these claims, and keeps the request.
func (w *world) tokenEndpoint(state SignInState, header, others map[string]any) *http.Request {
	seen := &http.Request{}
	claims := with(map[string]any{"iss": w.provider.URL, "sub": "bob", "aud": "mandate", "nonce": state.Nonce, "iat": w.now().Unix(),
		"exp": w.now().Add(time.Minute).Unix(), "groups": "staff", "email": "Bob@Acme.example", "email_verified": true}, others)
	token := signed(w.t, jwt.SigningMethodES256, w.key, with(map[string]any{"kid": "k1", "typ": "JWT"}, header), claims)
	w.provider.token = func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*seen = *r
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": token})
	}
	return seen
}

func TestSignInThroughAConnection(t *testing.T) {
	w := newWorld(t)
	put(w, testTenant.VerifiedDomain("acme.example"), directory.Alias{ID: "acme"})
	r := w.memory.Begin()
	org, id, found, err := w.a.ConnectionFor(t.Context(), r, "bob@ACME.example")
	if err != nil || org != "acme" || id != "acme-idp" || !found {
		t.Errorf("the connection for bob is %s %s %v, %v", org, id, found, err)
	}
	for _, username := range []string{"bob@globex.example", "acme.example", "bob"} {
		if _, _, found, err := w.a.ConnectionFor(t.Context(), r, username); err != nil || found {
			t.Errorf("%s is sent to a provider, %v", username, err)
		}
	}
	r.End()

	sealed, err := w.master.Seal([]byte("client secret"), directory.SealedFor("acme", "acme-idp"))
	if err != nil {
		t.Fatal(err)
	}
	const bob = "acme|acme-idp|bob"
	for _, row := range []struct {
		name      string
		secret    bool
		claims    map[string]any
		wantRoles []string
		wantEmail string
	}{
		{"a public client", false, nil, []string{"viewer"}, "Bob@Acme.example"},
		{"with a secret, and other groups", true, map[string]any{"groups": []string{"it", "none"}}, []string{"admin"}, "Bob@Acme.example"},
		{"an email that is not verified", true, map[string]any{"email_verified": false, "groups": nil}, []string{}, ""},
		{"an email of a domain of nobody", true, map[string]any{"email": "bob@globex.example"}, []string{"viewer"}, ""},
	} {
		if row.secret {
			put(w, testTenant.ConnectionSecret("acme", "acme-idp"), directory.SealedSecret{Sealed: sealed})
		}
		state, answer := w.begun(false)
		seen := w.tokenEndpoint(state, nil, row.claims)
		p, err := w.finish(state, answer)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if p.Type != User || p.Subject != bob || p.Org != "acme" || p.Connection != "acme-idp" || p.AuthTime != w.now().Unix() || p.Methods[0] != "external" {
			t.Errorf("%s: got %+v", row.name, p)
		}
		user, secret, _ := seen.BasicAuth()
		sent := seen.PostForm
		if (secret == "client+secret") != row.secret || (row.secret && user != "mandate") || (!row.secret && sent.Get("client_id") != "mandate") ||
			sent.Get("code") != "the-code" || sent.Get("code_verifier") != state.Verifier || sent.Get("redirect_uri") != callback {
			t.Errorf("%s: the provider was sent %q %q %v", row.name, user, secret, sent)
		}
		view, err := w.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		record, _, err1 := testTenant.User(bob).Find(t.Context(), view)
		member, _, err2 := testTenant.Member("acme", bob).Find(t.Context(), view)
		view.Close()
		if err1 != nil || err2 != nil || record.Username != bob || record.Email != row.wantEmail || record.Status != directory.Active ||
			!slices.Equal(member.Roles, row.wantRoles) || member.Status != directory.Active || member.JoinedAt == nil {
			t.Errorf("%s: recorded %+v %+v, %v %v", row.name, record, member, err1, err2)
		}
		session, err := w.a.BeginSession(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if p := w.session(session); p == nil || p.Subject != bob || p.Connection != "acme-idp" {
			t.Errorf("%s: the session is %+v", row.name, p)
		}
	}
}

// TestSignInIsRefused: nothing is recorded of a sign-in that does not answer the very request.
func TestSignInIsRefused(t *testing.T) {
	type object = map[string]any
	const bob = "acme|acme-idp|bob"
	sent := func(name, value string) func(*world, *SignInState, url.Values) {
		return func(_ *world, _ *SignInState, answer url.Values) { answer.Set(name, value) }
	}
	for _, row := range []struct {
		name           string
		header, claims object
		metadata       object
		change         func(*world, *SignInState, url.Values)
		kind           Kind
		code           string
	}{
		{name: "RFC 6749 §10.12: another state", change: sent("state", "x"), code: "sign_in_unknown"},
		{name: "RFC 6749 §10.12: no state", change: func(_ *world, s *SignInState, answer url.Values) { s.State = ""; answer.Del("state") }, code: "sign_in_unknown"},
		{name: "RFC 6749 §3.1: the state twice", change: func(_ *world, _ *SignInState, answer url.Values) { answer.Add("state", "x") }, code: "sign_in_malformed"},
		{name: "RFC 9207 §2.4: another issuer", change: sent("iss", "https://idp.globex.example"), code: "sign_in_mixed_up"},
		{name: "RFC 9207 §2.4: no issuer, though the provider sends it", metadata: object{"authorization_response_iss_parameter_supported": true}, code: "sign_in_mixed_up"},
		{name: "RFC 6749 §4.1.2.1: an error", change: sent("error", "access_denied"), code: "sign_in_refused"},
		{name: "no code", change: func(_ *world, _ *SignInState, answer url.Values) { answer.Del("code") }, code: "sign_in_refused"},
		{name: "too late", change: func(w *world, _ *SignInState, _ url.Values) { w.advance(signInLifetime) }, code: "sign_in_expired"},
		{name: "Core §3.1.3.7: another nonce", claims: object{"nonce": "x"}},
		{name: "Core §3.1.3.7: no nonce", claims: object{"nonce": nil}},
		{name: "Core §3.1.3.7: another audience", claims: object{"aud": "another"}},
		{name: "Core §3.1.3.7: several audiences without azp", claims: object{"aud": []string{"mandate", "another"}}},
		{name: "Core §3.1.3.7: another azp", claims: object{"azp": "another"}},
		{name: "Core §3.1.3.7: another issuer", claims: object{"iss": "https://idp.globex.example"}},
		{name: "Core §3.1.3.7: expired", claims: object{"exp": 1}, code: "token_expired"},
		{name: "Core §2: without iat", claims: object{"iat": nil}},
		{name: "RFC 8725 §3.11: an access token", header: object{"typ": "at+jwt"}},
		{name: "without a subject", claims: object{"sub": nil}},
		{name: "no ID token", change: func(w *world, _ *SignInState, _ url.Values) {
			w.provider.token = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = rw.Write([]byte(`{"access_token":"x","token_type":"Bearer"}`))
			}
		}},
		{name: "the code is refused", change: func(w *world, _ *SignInState, _ url.Values) {
			w.provider.token = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadRequest) }
		}, code: "sign_in_failed"},
		{name: "the connection is disabled", change: func(w *world, _ *SignInState, _ url.Values) {
			c := w.connection()
			c.Status = directory.Disabled
			w.connect("acme", "acme-idp", c)
		}, kind: Inactive, code: "connection_inactive"},
		{name: "the organization is suspended", change: func(w *world, _ *SignInState, _ url.Values) {
			put(w, testTenant.Org("acme"), directory.Org{Status: directory.Suspended})
		}, kind: Inactive, code: "org_suspended"},
		{name: "the user is disabled", change: func(w *world, _ *SignInState, _ url.Values) {
			put(w, testTenant.User(bob), directory.User{Username: bob, Status: directory.Disabled})
		}, kind: Inactive, code: "user_disabled"},
		{name: "the membership is suspended", change: func(w *world, _ *SignInState, _ url.Values) {
			put(w, testTenant.Member("acme", bob), directory.Member{Status: directory.Suspended})
		}, kind: Inactive, code: "membership_inactive"},
		{name: "another user has the name", change: func(w *world, _ *SignInState, _ url.Values) {
			put(w, testTenant.Username(bob), directory.Alias{ID: "mallory"})
		}, kind: Inactive, code: "username_taken"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			if row.metadata != nil {
				w.provider.metadata = row.metadata
			}
			state, answer := w.begun(false)
			w.tokenEndpoint(state, row.header, row.claims)
			if row.change != nil {
				row.change(w, &state, answer)
			}
			before := w.store.Newest()
			kind := Invalid
			if row.kind != 0 {
				kind = row.kind
			}
			if err := wantError(second(w.finish(state, answer)), kind, row.code); err != nil {
				t.Error(err)
			}
			if w.store.Newest() != before {
				t.Error("something was written")
			}
		})
	}
}

// TestWhenThePersonSignedIn: the provider says when it was (OpenID Connect Core §2), and is asked to make it now where that is
// wanted (§3.1.2.1).
func TestWhenThePersonSignedIn(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name  string
		fresh bool
		ago   any // seconds before the sign-in begins; nil when the provider does not say
		want  bool
	}{
		{"not said", false, nil, true},
		{"not said though it was asked for", true, nil, true},
		{"hours ago", false, int64(7200), true},
		{"hours ago, though asked to do it again", true, int64(7200), false},
		{"just before, by a clock that is behind", true, int64(20), true},
		{"now", true, int64(0), true},
		{"by a clock that is ahead", true, int64(-20), true},
		{"in the future", false, int64(-60), false},
		{"before all time", false, w.now().Unix() + 1, false},
	} {
		state, answer := w.begun(row.fresh)
		claims, want := map[string]any{}, w.now().Unix()
		if ago, said := row.ago.(int64); said {
			claims["auth_time"], want = w.now().Unix()-ago, w.now().Unix()-max(ago, 0)
		}
		w.tokenEndpoint(state, nil, claims)
		p, err := w.finish(state, answer)
		if (err == nil) != row.want || (row.want && p.AuthTime != want) {
			t.Errorf("%s: %+v, %v", row.name, p, err)
		}
	}
	state, answer := w.begun(false)
	w.tokenEndpoint(state, nil, map[string]any{"auth_time": "now"})
	if err := wantError(second(w.finish(state, answer)), Invalid, ""); err != nil {
		t.Errorf("a time that is a text: %v", err)
	}
}

// TestRolesAfterASignIn: the provider has the say about the roles that its groups are mapped to, the organization about others.
func TestRolesAfterASignIn(t *testing.T) {
	const bob = "acme|acme-idp|bob"
	for _, row := range []struct {
		name         string
		before, want []string
		groups       any
	}{
		{"a role of the provider is added", []string{"billing"}, []string{"billing", "viewer"}, "staff"},
		{"one that it does not name any more is taken", []string{"admin", "billing"}, []string{"billing", "viewer"}, "staff"},
		{"all of its own", []string{"admin", "viewer"}, []string{}, nil},
		{"it has them already", []string{"viewer"}, []string{"viewer"}, "staff"},
	} {
		w := newWorld(t)
		put(w, testTenant.Member("acme", bob), directory.Member{Status: directory.Active, Roles: row.before})
		state, answer := w.begun(false)
		w.tokenEndpoint(state, nil, map[string]any{"groups": row.groups})
		if _, err := w.finish(state, answer); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		view, err := w.store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		member, _, err := testTenant.Member("acme", bob).Find(t.Context(), view)
		view.Close()
		if err != nil || !slices.Equal(member.Roles, row.want) || member.Roles == nil {
			t.Errorf("%s: %v, want %v, %v", row.name, member.Roles, row.want, err)
		}
	}
}

// TestSignInNamesTheIssuer: the issuer of the answer may be there (RFC 9207 §2), and an endpoint without TLS is not used.
func TestSignInNamesTheIssuer(t *testing.T) {
	w := newWorld(t)
	state, answer := w.begun(false)
	w.tokenEndpoint(state, nil, nil)
	answer.Set("iss", w.provider.URL)
	if _, err := w.finish(state, answer); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint"} {
		w := newWorld(t)
		w.provider.metadata = map[string]any{name: "http://idp.acme.example/"}
		r := w.memory.Begin()
		_, _, err := w.a.BeginSignIn(t.Context(), r, "acme", "acme-idp", callback, false)
		r.End()
		if err := wantError(err, Busy, "provider_unavailable"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
