package tokens_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/tokens"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	deviceGrant     = "urn:ietf:params:oauth:grant-type:device_code"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtTokenType    = "urn:ietf:params:oauth:token-type:jwt"
	documents       = "https://documents.example"
)

// office is a house with clients that act for one another, a policy that keeps to the ceilings, and a clock that can be moved.
type office struct {
	house
	*tokens.Issuer
	authn *authn.Authenticator
	set   *engine.PolicySet
	ahead *atomic.Int64
}

const officeFile = `
apis: [{id: documents, audience: "https://documents.example", scopes: [read, write, share]}]
orgs:
  - {id: acme, members: [{user: alice, roles: []}]}
  - {id: globex, members: [{user: alice, roles: []}]}
users: [{id: alice}]
clients:
  - {id: app, secret: s, scopes: [read, write, share, openid, offline_access], grant_types: [GRANTS], audiences: ["https://documents.example"]}
  - {id: tv, kind: native, token_endpoint_auth_method: none, scopes: [read, write], grant_types: [DEVICE, refresh_token], audiences: ["https://documents.example"]}
  - {id: reports, secret: s, scopes: [read, write], grant_types: [GRANTS], audiences: ["https://documents.example"]}
  - {id: archive, secret: s, scopes: [read], grant_types: [GRANTS], audiences: ["https://documents.example"]}
  - {id: idle, secret: s, scopes: [read], grant_types: [client_credentials], audiences: ["https://documents.example"]}
api_keys:
  - {id: key, org: acme, key: "the-key-of-acme-7b1d", scopes: [read], expires_at: 2040-01-01T00:00:00Z}
  - {id: revoked, org: acme, key: "the-old-key-of-acme-9c2e", scopes: [read], status: revoked}
vendors: [{id: backup, token: "backup-vendor-token-3d4f"}]
integrations: [{id: backup-acme, vendor: backup, org: acme, partner_token: "backup-acme-partner-5e6a", scopes: [read]}]
`

// officeRego lets a token have what its subject's scopes and its client share, and only while all who act are registered
// to exchange.
const officeRego = `
import rego.v1

default decision := {"allow": false, "reasons": [{"code": "unauthorized_client", "message": "An actor may not exchange."}], "obligations": []}

decision := {"allow": false, "reasons": [{"code": "invalid_scope", "message": "That is more than there is."}], "obligations": []} if {
	input.request.stage != "present"
	count(asked - available) > 0
} else := object.union({"allow": true, "reasons": [], "obligations": obligations, "scopes": sort(asked & available), "lifetime": 600, "claims": {}}, org) if {
	all_may_act
}

obligations := [{"type": "consent"}] if input.request.stage == "authorize"
else := []

org := {"org": input.request.org} if input.request.org
else := {}

available contains scope if {
	some scope in data.apis.documents.scopes
	scope in data.clients[input.caller.sub].scopes
	within_subject(scope)
}

within_subject(_) if not input.principal.scopes

within_subject(scope) if scope in input.principal.scopes

asked := {s | some s in input.request.scopes} if input.request.scopes
else := available

all_may_act if {
	every actor in actors {
		"urn:ietf:params:oauth:grant-type:token-exchange" in data.clients[actor].grant_types
	}
}

actors contains actor.sub if {
	walk(input.principal.act, [path, actor])
	every step in path { step == "act" }
	is_object(actor)
}
`

func newOffice(t *testing.T) office {
	t.Helper()
	grants := strings.NewReplacer("GRANTS", `client_credentials, "`+exchangeGrant+`", "`+deviceGrant+`"`, "DEVICE", `"`+deviceGrant+`"`)
	h := houseOf(t, grants.Replace(officeFile))
	o := office{house: h, set: policySet(t, officeRego), ahead: &atomic.Int64{}}
	o.authn = authn.New(authn.Options{Tenant: "default", Master: o.master, Issuer: issuerURL, Store: o.store, Now: o.now})
	var err error
	o.Issuer, err = tokens.NewIssuer(t.Context(), o.store, tokens.Options{Tenant: "default", Issuer: issuerURL, Master: o.master, Authn: o.authn,
		Policy: engine.New("default", o.set, engine.Options{EvaluationLimit: time.Minute, Now: o.now}), Lifetime: 10 * time.Minute,
		CodeLifetime: time.Minute, RefreshLifetime: time.Hour, RefreshGrace: 10 * time.Second, KeyLifetime: 90 * 24 * time.Hour,
		Report: func(tokens.SecurityEvent) {}, Now: o.now})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o office) now() time.Time { return time.Now().Add(time.Duration(o.ahead.Load())) }

func (o office) advance(d time.Duration) { o.ahead.Add(int64(d)) }

func (o office) reading(t *testing.T) *memo.Reading {
	t.Helper()
	view, err := o.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.Close)
	return memo.Over(view)
}

// client is the principal of a client that authenticates with its secret, or not at all.
func client(id string) *authn.Principal {
	method := "client_secret_basic"
	if id == "tv" {
		method = "none"
	}
	return &authn.Principal{Type: authn.Client, Subject: id, Methods: []string{method}, Credential: authn.CredentialRef{Type: "client_secret", ID: id}}
}

// code is what the request is refused with, empty when it is not.
func code(t *testing.T, err error) string {
	t.Helper()
	var refused *tokens.Error
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if refused == nil {
		return ""
	}
	return refused.Code
}

// exchange exchanges a subject token for a token for documents. The request can be changed before.
func (o office) exchange(t *testing.T, by, subject string, changes ...func(*tokens.Request)) (*tokens.Response, error) {
	t.Helper()
	q := tokens.Request{GrantType: exchangeGrant, SubjectToken: directory.NewSecret(subject), SubjectTokenType: accessTokenType, Audience: documents}
	for _, change := range changes {
		change(&q)
	}
	return o.Issue(t.Context(), o.reading(t), o.set, client(by), q)
}

// exchanged is the token of an exchange that must succeed.
func (o office) exchanged(t *testing.T, by, subject string, changes ...func(*tokens.Request)) string {
	t.Helper()
	response, err := o.exchange(t, by, subject, changes...)
	if err != nil {
		t.Fatalf("%s exchanges: %v", by, err)
	}
	return response.AccessToken
}

// userToken is a token of alice that was given to app.
func (o office) userToken(t *testing.T, more jwt.MapClaims) string {
	t.Helper()
	now := o.now().Unix()
	claims := jwt.MapClaims{"iss": issuerURL, "sub": "alice", "sub_type": "user", "client_id": "app", "azp": "app", "aud": documents, "org": "acme",
		"scope": "read write", "jti": t.Name(), "iat": now, "exp": now + 300, "auth_time": now - 60, "amr": []string{"pwd"}}
	maps.Copy(claims, more)
	token, err := o.Sign(t.Context(), o.reading(t), "", "at+jwt", claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (o office) ownToken(t *testing.T, id string) string {
	t.Helper()
	response, err := o.Issue(t.Context(), o.reading(t), o.set, client(id), tokens.Request{GrantType: "client_credentials", Audience: documents})
	if err != nil {
		t.Fatal(err)
	}
	return response.AccessToken
}

func claimsOf(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func actOf(t *testing.T, token string) string {
	t.Helper()
	text, err := json.Marshal(claimsOf(t, token)["act"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// present is the error of using a token, and the scopes that it is good for.
func (o office) present(t *testing.T, token string) ([]string, error) {
	t.Helper()
	r := o.reading(t)
	p, err := o.authn.Inspect(t.Context(), r, directory.NewSecret(token))
	if err != nil {
		return nil, err
	}
	if p, err = o.Current(t.Context(), r, o.set, p); err != nil {
		return nil, err
	}
	return p.Scopes, nil
}

func TestExchangeRequests(t *testing.T) {
	o := newOffice(t)
	user, own := o.userToken(t, nil), o.ownToken(t, "reports")
	header, rest, _ := strings.Cut(user, ".")
	for _, row := range []struct {
		rule   string
		by     string
		change func(*tokens.Request)
		code   string
	}{
		{"RFC 8693 §2.1 an access token", "reports", func(*tokens.Request) {}, ""},
		{"§3 the same as a JWT", "reports", func(q *tokens.Request) { q.SubjectTokenType = jwtTokenType }, ""},
		{"§2.1 an access token is asked for", "reports", func(q *tokens.Request) { q.RequestedTokenType = accessTokenType }, ""},
		{"§2.1 a JWT is asked for", "reports", func(q *tokens.Request) { q.RequestedTokenType = jwtTokenType }, ""},
		{"§2.1 no subject_token", "reports", func(q *tokens.Request) { q.SubjectToken = directory.Secret{} }, "invalid_request"},
		{"§2.1 no subject_token_type", "reports", func(q *tokens.Request) { q.SubjectTokenType = "" }, "invalid_request"},
		{"§2.1 an actor_token without its type", "reports", func(q *tokens.Request) { q.ActorToken = directory.NewSecret(own) }, "invalid_request"},
		{"§2.1 an actor_token_type without its token", "reports", func(q *tokens.Request) { q.ActorTokenType = accessTokenType }, "invalid_request"},
		{"§3 an unknown type", "reports", func(q *tokens.Request) { q.SubjectTokenType = "access_token" }, "invalid_request"},
		{"§3 an ID token", "reports", func(q *tokens.Request) { q.SubjectTokenType = "urn:ietf:params:oauth:token-type:id_token" }, "invalid_request"},
		{"§3 a refresh token", "reports", func(q *tokens.Request) { q.SubjectTokenType = "urn:ietf:params:oauth:token-type:refresh_token" }, "invalid_request"},
		{"§3 an ID token is asked for", "reports", func(q *tokens.Request) { q.RequestedTokenType = "urn:ietf:params:oauth:token-type:id_token" }, "invalid_request"},
		{"§3 a refresh token is asked for", "reports", func(q *tokens.Request) { q.RequestedTokenType = "urn:ietf:params:oauth:token-type:refresh_token" }, "invalid_request"},
		{"§3 an actor of another type", "reports", func(q *tokens.Request) {
			q.ActorToken, q.ActorTokenType = directory.NewSecret(own), "urn:ietf:params:oauth:token-type:saml2"
		}, "invalid_request"},
		{"§2.2.2 garbage", "reports", func(q *tokens.Request) { q.SubjectToken = directory.NewSecret("garbage") }, "invalid_request"},
		{"§2.2.2 spaces", "reports", func(q *tokens.Request) { q.SubjectToken = directory.NewSecret("  ") }, "invalid_request"},
		{"§2.2.2 too long", "reports", func(q *tokens.Request) { q.SubjectToken = directory.NewSecret(strings.Repeat("a", 10_000)) }, "invalid_request"},
		{"§2.2.2 tampered", "reports", func(q *tokens.Request) { q.SubjectToken = directory.NewSecret(header + ".e30" + rest) }, "invalid_request"},
		{"§2.2.2 an actor that is garbage", "reports", func(q *tokens.Request) {
			q.ActorToken, q.ActorTokenType = directory.NewSecret("garbage"), accessTokenType
		}, "invalid_request"},
		{"§2.2.2 a revoked API key", "reports", func(q *tokens.Request) { q.SubjectToken = directory.NewSecret("the-old-key-of-acme-9c2e") }, "invalid_request"},
		{"§2.2.2 an unknown target", "reports", func(q *tokens.Request) { q.Resources = []string{"documents"}; q.Audience = "" }, "invalid_target"},
		{"§4.1 the actor is the client", "reports", func(q *tokens.Request) { q.ActorToken, q.ActorTokenType = directory.NewSecret(own), accessTokenType }, ""},
		{"§4.1 the actor is another client", "archive", func(q *tokens.Request) { q.ActorToken, q.ActorTokenType = directory.NewSecret(own), accessTokenType }, "invalid_request"},
		{"§4.1 the actor is a user", "reports", func(q *tokens.Request) { q.ActorToken, q.ActorTokenType = directory.NewSecret(user), accessTokenType }, "invalid_request"},
		{"§4.1 the actor is an API key", "reports", func(q *tokens.Request) {
			q.ActorToken, q.ActorTokenType = directory.NewSecret("the-key-of-acme-7b1d"), accessTokenType
		}, "invalid_request"},
		{"fewer scopes", "reports", func(q *tokens.Request) { q.Scope = "read" }, ""},
		{"a scope that the subject lacks", "app", func(q *tokens.Request) { q.Scope = "read share" }, "invalid_scope"},
		{"a scope that the client lacks", "archive", func(q *tokens.Request) { q.Scope = "write" }, "invalid_scope"},
		{"the organization of the subject", "reports", func(q *tokens.Request) { q.Org = "acme" }, ""},
		{"another organization than the subject's", "reports", func(q *tokens.Request) { q.Org = "globex" }, "invalid_request"},
		{"a client that does not authenticate", "tv", func(*tokens.Request) {}, "unauthorized_client"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			response, err := o.exchange(t, row.by, user, row.change)
			if got := code(t, err); got != row.code {
				t.Fatalf("got %q (%v), want %q", got, err, row.code)
			}
			if row.code == "" && (response.IssuedTokenType != accessTokenType || response.TokenType != "Bearer" || response.Scope == "" || response.RefreshToken != "") {
				t.Errorf("issued %+v", response)
			}
		})
	}
}

// TestSubjectTokensThatAreNone: RFC 8693 §2.2.2, RFC 8725 §3.11.
func TestSubjectTokensThatAreNone(t *testing.T) {
	o := newOffice(t)
	past := o.now().Add(-time.Hour).Unix()
	sign := func(typ string, claims jwt.MapClaims) string {
		t.Helper()
		token, err := o.Sign(t.Context(), o.reading(t), "", typ, claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := claimsOf(t, o.userToken(t, nil))
	for name, token := range map[string]string{
		"an ID token":                    sign("JWT", jwt.MapClaims{"iss": issuerURL, "sub": "alice", "aud": "app", "iat": past, "exp": past + 7200}),
		"an access token by its typ":     sign("JWT", good),
		"a refresh token":                o.master.Derive("default", directory.KindRefreshToken, "g.1").Expose(),
		"a device code":                  o.master.Derive("default", directory.KindDeviceCode, "g").Expose(),
		"an expired token":               o.userToken(t, jwt.MapClaims{"iat": past, "exp": past + 60}),
		"a token of another issuer":      o.userToken(t, jwt.MapClaims{"iss": "https://evil.example"}),
		"a token of a grant that ended":  o.userToken(t, jwt.MapClaims{"grant_id": "ended"}),
		"a token of nobody":              o.userToken(t, jwt.MapClaims{"sub": "nobody"}),
		"a vendor token without a pair":  "backup-vendor-token-3d4f",
		"a partner token without a pair": "backup-acme-partner-5e6a",
		"a client secret":                "s",
	} {
		for _, kind := range []string{accessTokenType, jwtTokenType} {
			_, err := o.exchange(t, "reports", token, func(q *tokens.Request) { q.SubjectTokenType = kind })
			if got := code(t, err); got != "invalid_request" {
				t.Errorf("%s as %s: got %q (%v)", name, kind, got, err)
			}
		}
	}
}

// TestBoundSubjectToken: a token that is bound to a key is exchanged only by who has proved to hold it (RFC 9449 §7, RFC 8705 §3).
func TestBoundSubjectToken(t *testing.T) {
	o := newOffice(t)
	for _, row := range []struct {
		rule          string
		bound, proved authn.Confirmation
		code          string
	}{
		{"a DPoP key that is proved", authn.Confirmation{Thumbprint: "k"}, authn.Confirmation{Thumbprint: "k"}, ""},
		{"no proof", authn.Confirmation{Thumbprint: "k"}, authn.Confirmation{}, "invalid_request"},
		{"another key", authn.Confirmation{Thumbprint: "k"}, authn.Confirmation{Thumbprint: "l"}, "invalid_request"},
		{"a certificate that was presented", authn.Confirmation{CertHash: "c"}, authn.Confirmation{CertHash: "c"}, ""},
		{"no certificate", authn.Confirmation{CertHash: "c"}, authn.Confirmation{Thumbprint: "c"}, "invalid_request"},
		{"both, one of them proved", authn.Confirmation{Thumbprint: "k", CertHash: "c"}, authn.Confirmation{Thumbprint: "k"}, "invalid_request"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			token := o.userToken(t, jwt.MapClaims{"cnf": row.bound})
			response, err := o.exchange(t, "reports", token, func(q *tokens.Request) { q.Confirms = row.proved })
			if got := code(t, err); got != row.code {
				t.Fatalf("got %q (%v), want %q", got, err, row.code)
			}
			if err == nil && fmt.Sprint(claimsOf(t, response.AccessToken)["cnf"]) != fmt.Sprint(claimsOf(t, token)["cnf"]) {
				t.Error("the new token is not bound to the key")
			}
		})
	}
}

// TestActorsOfAnExchange: who acts comes from where the token came from, not from the parameters (RFC 8693 §4.1).
func TestActorsOfAnExchange(t *testing.T) {
	o := newOffice(t)
	user := o.userToken(t, nil)
	byReports := o.exchanged(t, "reports", user)
	withActor := func(id string) func(*tokens.Request) {
		return func(q *tokens.Request) {
			q.ActorToken, q.ActorTokenType = directory.NewSecret(o.ownToken(t, id)), accessTokenType
		}
	}
	const reports = `{"sub":"reports","sub_type":"client"}`
	const reportsForApp = `{"act":{"sub":"app","sub_type":"client"},"sub":"reports","sub_type":"client"}` // app got the token first
	for _, row := range []struct{ rule, by, subject, act string }{
		{"a token that another client was given", "reports", user, reportsForApp},
		{"a token of another client itself", "reports", o.ownToken(t, "app"), reports},
		{"the second hand", "archive", byReports, `{"act":` + reportsForApp + `,"sub":"archive","sub_type":"client"}`},
		{"the client's own exchanged token", "reports", byReports, reportsForApp},
		{"the client's own user's token", "app", user, "null"},
		{"the client's own token", "reports", o.ownToken(t, "reports"), "null"},
		{"an API key", "reports", "the-key-of-acme-7b1d", "null"},
		{"a vendor's pair", "reports", "backup-vendor-token-3d4f:backup-acme-partner-5e6a", "null"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			token := o.exchanged(t, row.by, row.subject)
			if got := actOf(t, token); got != row.act {
				t.Errorf("act is %s, want %s", got, row.act)
			}
			if subject, claims := o.subjectOf(t, row.subject), claimsOf(t, token); claims["sub"] != subject.Subject || claims["sub_type"] != string(subject.Type) ||
				fmt.Sprint(claims["org"]) != cmp.Or(subject.Org, "<nil>") || claims["client_id"] != row.by || claims["azp"] != row.by {
				t.Errorf("issued %v for %v", claims, subject)
			}
		})
	}
	if got := actOf(t, o.exchanged(t, "app", user, withActor("app"))); got != `{"sub":"app","sub_type":"client"}` {
		t.Errorf("with an actor token of the same client, act is %s", got)
	}
	if got := actOf(t, o.exchanged(t, "reports", user, withActor("reports"))); got != reportsForApp {
		t.Errorf("with an actor token, act is %s", got)
	}
	claims := claimsOf(t, byReports)
	if original := claimsOf(t, user); claims["auth_time"] != original["auth_time"] || fmt.Sprint(claims["amr"]) != fmt.Sprint(original["amr"]) {
		t.Errorf("how the user logged in is lost: %v", claims)
	}
}

func (o office) subjectOf(t *testing.T, token string) *authn.Principal {
	t.Helper()
	p, err := o.authn.Authenticate(t.Context(), o.reading(t), authn.Presented{Authorization: []string{"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestChainOfActors: each hop is narrower, and ends no later; all end as soon as one of the hands may not act any more.
func TestChainOfActors(t *testing.T) {
	o := newOffice(t)
	user := o.userToken(t, nil)
	byReports := o.exchanged(t, "reports", user)
	o.advance(time.Minute)
	byArchive := o.exchanged(t, "archive", byReports)
	byApp := o.exchanged(t, "app", byArchive)
	for _, row := range []struct{ token, scope string }{{byReports, "read write"}, {byArchive, "read"}, {byApp, "read"}} {
		claims := claimsOf(t, row.token)
		if claims["scope"] != row.scope {
			t.Errorf("a hop has the scopes %v, want %s", claims["scope"], row.scope)
		}
		if claims["exp"].(float64) > claimsOf(t, user)["exp"].(float64) {
			t.Errorf("a hop ends at %v, after the first token", claims["exp"])
		}
	}
	if got, want := actOf(t, byApp), `{"act":{"act":{"act":{"sub":"app","sub_type":"client"},"sub":"reports","sub_type":"client"},"sub":"archive","sub_type":"client"},"sub":"app","sub_type":"client"}`; got != want {
		t.Errorf("act is %s, want %s", got, want)
	}
	if _, err := o.exchange(t, "app", byApp, func(q *tokens.Request) { q.Scope = "read write" }); code(t, err) != "invalid_scope" {
		t.Errorf("a scope came back: %v", err)
	}
	o.alter(t, "reports", func(c *directory.Client) { c.GrantTypes = []string{"client_credentials"} })
	for name, token := range map[string]string{"reports": byReports, "archive": byArchive, "app": byApp} {
		if _, err := o.present(t, token); err == nil {
			t.Errorf("the token of %s still works after reports may not act any more", name)
		}
		if _, err := o.exchange(t, "app", token); code(t, err) != "invalid_request" {
			t.Errorf("the token of %s is still exchanged: %v", name, err)
		}
	}
}

// alter changes a client's record.
func (o office) alter(t *testing.T, id string, change func(*directory.Client)) {
	t.Helper()
	_, err := o.store.Update(t.Context(), func(tx datastore.Tx) error {
		place := directory.Tenant("default").Client(id)
		c, err := place.Get(t.Context(), tx)
		if err != nil {
			return err
		}
		change(&c)
		return place.Put(t.Context(), tx, c)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChainHasAnEnd(t *testing.T) {
	o := newOffice(t)
	token := o.userToken(t, nil)
	for hop := range 7 { // the first client is in the chain as well
		token = o.exchanged(t, []string{"reports", "app"}[hop%2], token)
	}
	if _, err := o.exchange(t, "app", token); code(t, err) != "invalid_request" {
		t.Errorf("the ninth actor: %v", err)
	}
}

// TestExchangeNeverLengthens: a token ends with what it was exchanged for, and with the actor token.
func TestExchangeNeverLengthens(t *testing.T) {
	o := newOffice(t)
	ends := func(token string) int64 { return int64(claimsOf(t, token)["exp"].(float64)) }
	now := o.now().Unix()
	short := o.userToken(t, jwt.MapClaims{"exp": now + 42})
	if got := ends(o.exchanged(t, "reports", short)); got > now+42 {
		t.Errorf("the token outlives the subject token by %d s", got-now-42)
	}
	if response, err := o.exchange(t, "reports", "the-key-of-acme-7b1d"); err != nil || response.ExpiresIn != 600 {
		t.Errorf("for an API key that lasts: %v, %v", response, err)
	}
	own := o.ownToken(t, "reports")
	o.advance(8 * time.Minute)
	long := o.userToken(t, jwt.MapClaims{"exp": now + 3600})
	got := ends(o.exchanged(t, "reports", long, func(q *tokens.Request) { q.ActorToken, q.ActorTokenType = directory.NewSecret(own), accessTokenType }))
	if got > ends(own) {
		t.Errorf("the token outlives the actor token by %d s", got-ends(own))
	}
	o.advance(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).Sub(o.now()) - 30*time.Second)
	if response, err := o.exchange(t, "reports", "the-key-of-acme-7b1d"); err != nil || response.ExpiresIn > 30 {
		t.Errorf("for an API key that ends in 30 s: %v, %v", response, err)
	}
}
