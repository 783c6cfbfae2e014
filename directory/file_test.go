package directory_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"mandate/directory"
)

func TestProblemsNameFieldAndLine(t *testing.T) {
	const (
		redirect = "must be an https URI, an http one of 127.0.0.1, [::1] or localhost, or for native clients one of a " +
			"private-use scheme such as com.example.app:/callback; without user, fragment and wildcard"
		unreadable   = "line 1: clients[0].jwks.keys[0]: cannot be read: its kty is not known, a member of it is missing or wrong, or it is an RSA key of less than 2048 bits"
		certificates = "line 1: clients[0].jwks.keys[0].x5c: must be a list of certificates in base64 DER, the first with this very key (RFC 7517 §4.7)"
		bar          = "has a |, which is for ids of users whom a connection vouches for"
		issuer       = "must be an https URL without a query or a fragment, such as https://idp.example"
	)
	_, certificate, _ := strings.Cut(strings.TrimSuffix(certifiedKey(t), "]}"), "x5c: [")
	for _, row := range []struct{ name, text, want string }{
		{"unknown key", "users:\n  - {id: alice, usrname: a}", `line 2: unknown key "usrname"`},
		{"unknown top-level key", "people: []", `line 1: unknown key "people"`},
		{"unknown key of a domain", "orgs:\n  - id: acme\n    domains:\n      - {domain: a.example, verified: true}", `line 4: unknown key "verified"`},
		{"key given twice", "users:\n  - id: alice\n    id: bob", `line 3: mapping key "id" already defined at line 2`},
		{"wrong type keeps the value to itself", "users:\n  - {id: alice, password: [hunter2]}", "line 2: seq cannot be used as text here"},
		{"list expected", "orgs: acme", "line 1: str cannot be used as a list here"},
		{"not a duration", "apis: [{id: a, audience: \"https://a.example\", token_lifetime: soon}]", "line 1: str cannot be used as a duration such as 10m here"},
		{"two documents", "users: []\n---\nusers: []", "there is a second document in the file"},
		{"missing id", "users:\n  - {username: alice}", "line 2: users[0].id: is missing"},
		{"id twice", "users:\n  - {id: alice}\n  - {id: alice}", `line 3: users[1].id: "alice" is there twice`},
		{"control character in an id", "users: [{id: \"a\\u0000b\"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"look-alike id", "users: [{id: \"аlice\"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"space around an id", "users: [{id: \"alice \"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"long id", "users: [{id: " + strings.Repeat("a", 256) + "}]", "line 1: users[0].id: is longer than 255 bytes"},
		{"unknown user", "orgs:\n  - id: acme\n    members:\n      - {user: alice, roles: []}", `line 4: orgs[0].members[0].user: there is no user "alice"`},
		{"unknown role", "users: [{id: alice}]\norgs:\n  - id: acme\n    members:\n      - user: alice\n        roles: [boss]", `line 6: orgs[0].members[0].roles[0]: there is no role "boss", neither of the tenant nor of the organization "acme"`},
		{"role of another organization", "users: [{id: alice}]\norgs:\n  - {id: globex, roles: {boss: {permissions: []}}}\n  - {id: acme, members: [{user: alice, roles: [boss]}]}", `line 4: orgs[1].members[0].roles[0]: there is no role "boss", neither of the tenant nor of the organization "acme"`},
		{"member twice", "users: [{id: alice}]\norgs: [{id: acme, members: [{user: alice, roles: []}, {user: alice, roles: []}]}]", `line 2: orgs[0].members[1].user: "alice" is a member twice`},
		{"unknown parent", "orgs: [{id: acme, parent: globex}]", `line 1: orgs[0].parent: there is no org "globex"`},
		{"own parent", "orgs: [{id: acme, parent: acme}]", "line 1: orgs[0].parent: is the organization itself"},
		{"unknown status", "orgs: [{id: acme, status: closed}]", `line 1: orgs[0].status: is "closed", must be one of active, suspended`},
		{"domain of two", "orgs:\n  - {id: acme, domains: [a.example]}\n  - {id: globex, domains: [a.example]}", `line 3: orgs[1].domains[0]: "a.example" is already a verified domain of "acme"`},
		{"domain in upper case", "orgs: [{id: acme, domains: [A.example]}]", "line 1: orgs[0].domains[0]: must be a domain name in lower case, such as acme.example"},
		{"connection without audience", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m}]}]", "line 1: orgs[0].connections[0].audiences: is missing: without one, tokens that the provider made for others would count"},
		{"email", "users: [{id: alice, email: \"Alice <a@b.example>\"}]", "line 1: users[0].email: is not a bare email address in ASCII, such as alice@acme.example"},
		{"password hash", "users: [{id: alice, password_hash: \"$2y$10$abc\"}]", "line 1: users[0].password_hash: is not a bcrypt hash ($2b$10$ and 53 characters)"},
		{"password hash that would exhaust the machine", "users: [{id: alice, password_hash: \"$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]", "line 1: users[0].password_hash: has parameters out of bounds: at most m=65536, t=10, p=4; salt of 8 to 64 bytes, hash of 16 to 64 bytes"},
		{"username with a colon", "users: [{id: alice, username: \"a:b\", password: x}]", "line 1: users[0].username: has a colon, so the user could never sign in with a password (RFC 7617 §2)"},
		{"client with a user's id", "users: [{id: alice}]\nclients: [{id: alice}]", `line 2: clients[0].id: "alice" is already the id of user alice: ids of users, clients and API keys, and usernames, share one space`},
		{"username of a client's id", "clients: [{id: sync}]\nusers: [{id: bob, username: sync}]", `line 1: clients[0].id: "sync" is already the id of the username of user bob: ids of users, clients and API keys, and usernames, share one space`},
		{"client kind", "clients: [{id: c, kind: robot}]", `line 1: clients[0].kind: is "robot", must be one of service, web, native, spa`},
		{"secret of a public client", "clients: [{id: c, token_endpoint_auth_method: none, secret: abc}]", "line 1: clients[0].secret: has no use: the client authenticates with none"},
		{"redirect URI with a fragment", "clients: [{id: c, redirect_uris: [\"https://a.example/#x\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"scope with a space", "clients: [{id: c, scopes: [\"a b\"]}]", `line 1: clients[0].scopes[0]: must be 1 to 255 visible ASCII characters without " and \`},
		{"secret and hash", "vendors: [{id: v, token: a, token_hash: \"hmac-sha256$x$y\"}]", "line 1: vendors[0].token: is given together with its hash: give one of them"},
		{"mistyped secret", "vendors: [{id: v, token: mdt_vt_v_abc}]", "line 1: vendors[0].token: begins with mdt_ but its checksum is wrong: it was copied in part or mistyped"},
		{"token with a colon", "vendors: [{id: v, token: \"a:b\"}]", "line 1: vendors[0].token: must not have a colon or a space, for it is joined to its other half by a colon"},
		{"API key that looks like a pair", "api_keys: [{id: k, key: \"YTpi\"}]", "line 1: api_keys[0].key: looks like another kind of token (a JWT, or two halves around a colon) or has a space: choose another"},
		{"owner without an organization", "users: [{id: alice}]\napi_keys: [{id: k, owner: alice}]", "line 2: api_keys[0].owner: needs an org: an owner holds a key for one organization"},
		{"owner who is no member", "users: [{id: alice}]\norgs: [{id: acme}]\napi_keys: [{id: k, org: acme, owner: alice}]", `line 3: api_keys[0].owner: user "alice" is no member of the organization "acme"`},
		{"secret of a bearer key", "api_keys: [{id: k, secret: abc}]", "line 1: api_keys[0].secret: is for keys of the kind pair"},
		{"integration twice", "vendors: [{id: v}]\norgs: [{id: acme}]\nintegrations:\n  - {id: i1, vendor: v, org: acme}\n  - {id: i2, vendor: v, org: acme}", `line 5: integrations[1].vendor: vendor "v" has an integration with "acme" already`},
		{"integration of nobody", "integrations: [{id: i, vendor: v}]", "line 1: integrations[0].org: is missing"},
		{"audience twice", "apis:\n  - {id: a, audience: \"https://a.example\"}\n  - {id: b, audience: \"https://a.example\"}", `line 3: apis[1].audience: is already the audience of "a"`},
		{"lifetime", "apis: [{id: a, audience: \"https://a.example\", token_lifetime: 48h}]", "line 1: apis[0].token_lifetime: must be between 1s and 24h"},
		{"relation without a type", "relations: [{resource: plan, relation: owner, subject: \"user:a\"}]", "line 1: relations[0].resource: must be written type:id, such as document:plan"},
		{"client that is no switch", "clients: [{id: c, dpop_bound_access_tokens: 1}]", "line 1: int cannot be used as true or false here"},
		{"signing algorithm of an API", "apis: [{id: a, audience: \"https://a.example\", signing_alg: HS256}]", `line 1: apis[0].signing_alg: is "HS256", must be one of ES256, EdDSA, PS256, RS256`},
		{"algorithm none of ID tokens", "clients: [{id: c, id_token_signed_response_alg: none}]", `line 1: clients[0].id_token_signed_response_alg: is "none", must be one of ES256, EdDSA, PS256, RS256`},
		{"vendor of a client", "clients: [{id: c, vendor: v}]", `line 1: clients[0].vendor: there is no vendor "v"`},
		{"three secrets", "clients: [{id: c, secrets: [x, y, z]}]", "line 1: clients[0].secrets: has more than the new one and the old one"},
		{"three hashes", "clients: [{id: c, secret_hashes: [x, y, z]}]", "line 1: clients[0].secret_hashes: has more than the new one and the old one"},
		{"empty secret of two", "clients:\n  - id: c\n    secrets:\n      - x\n      - ''", "line 5: clients[0].secrets[1]: is empty"},
		{"mistyped secret of two", "clients: [{id: c, secrets: [mdt_cs_c_abc, x]}]", "line 1: clients[0].secrets[0]: begins with mdt_ but its checksum is wrong: it was copied in part or mistyped"},
		{"secret and secrets", "clients: [{id: c, secret: x, secrets: [y]}]", "line 1: clients[0].secret: is given together with secrets or secret_hashes: give one of them"},
		{"secrets of a client with keys", "clients: [{id: c, token_endpoint_auth_method: private_key_jwt, secrets: [y]}]", "line 1: clients[0].secret: has no use: the client authenticates with private_key_jwt"},
		{"RFC 6749 §3.1.2.2 no redirect URI", "clients: [{id: c, grant_types: [authorization_code]}]", "line 1: clients[0].redirect_uris: is missing: codes are sent nowhere else"},
		{"redirect without TLS", "clients: [{id: c, redirect_uris: [\"http://a.example/\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect to a host like localhost", "clients: [{id: c, redirect_uris: [\"http://localhost.a.example/\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect to another loopback name", "clients: [{id: c, redirect_uris: [\"http://127.0.0.1.a.example/\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect with a user", "clients: [{id: c, redirect_uris: [\"https://a.example@b.example/\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect with a wildcard", "clients: [{id: c, redirect_uris: [\"https://*.a.example/\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect to a script", "clients: [{id: c, kind: native, redirect_uris: [\"javascript:alert(1)\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect that is relative", "clients: [{id: c, redirect_uris: [/callback]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"redirect without a host", "clients: [{id: c, redirect_uris: [\"https:///callback\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"RFC 8252 §7.1 private-use scheme of a web client", "clients: [{id: c, kind: web, redirect_uris: [\"com.example.app:/callback\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"RFC 8252 §7.1 private-use scheme without a dot", "clients: [{id: c, kind: native, redirect_uris: [\"app:/callback\"]}]", "line 1: clients[0].redirect_uris[0]: " + redirect},
		{"none of a service", "clients: [{id: c, token_endpoint_auth_method: none}]", "line 1: clients[0].token_endpoint_auth_method: is none, which is for clients of the kinds native and spa, and for workloads with federated_credentials and no other grant than urn:ietf:params:oauth:grant-type:jwt-bearer"},
		{"RFC 6749 §4.4 client_credentials of a public client", "clients: [{id: c, kind: native, token_endpoint_auth_method: none, grant_types: [client_credentials]}]", "line 1: clients[0].token_endpoint_auth_method: is none, so the client has no credentials for client_credentials"},
		{"RFC 8705 §2.1.2 no subject", "clients: [{id: c, token_endpoint_auth_method: tls_client_auth}]", "line 1: clients[0].tls_client_auth_subject_dn: is missing: tls_client_auth needs it"},
		{"no keys", "clients: [{id: c, token_endpoint_auth_method: private_key_jwt}]", "line 1: clients[0].jwks: is missing: private_key_jwt needs it"},
		{"no certificates", "clients: [{id: c, token_endpoint_auth_method: self_signed_tls_client_auth}]", "line 1: clients[0].jwks: is missing: self_signed_tls_client_auth needs it"},
		{"RFC 8705 §2.2.2 key without a certificate", "clients: [{id: c, token_endpoint_auth_method: self_signed_tls_client_auth, jwks: {keys: [{kty: EC}]}}]", "line 1: clients[0].jwks.keys[0].x5c: is missing: self_signed_tls_client_auth needs it"},
		{"empty key set", "clients: [{id: c, jwks: {keys: []}}]", "line 1: clients[0].jwks.keys: must be a list of 1 to 100 keys"},
		{"key that is none", "clients: [{id: c, jwks: {keys: [x]}}]", "line 1: clients[0].jwks.keys[0].kty: is missing"},
		{"RFC 7517 §9.3 private key", "clients:\n  - id: c\n    jwks:\n      keys:\n        - kty: EC\n          d: AA", "line 6: clients[0].jwks.keys[0].d: is a part of a secret key: only public keys may leave the client"},
		{"RFC 7517 §9.3 symmetric key", "clients: [{id: c, jwks: {keys: [{kty: oct, k: AA}]}}]", "line 1: clients[0].jwks.keys[0].k: is a part of a secret key: only public keys may leave the client"},
		{"key of no known kind", "clients: [{id: c, jwks: {keys: [{kty: new}]}}]", unreadable},
		{"RFC 7518 §6.2.1 key that lacks a member", "clients: [{id: c, jwks: {keys: [{kty: EC, crv: P-256, x: AA}]}}]", unreadable},
		{"RFC 7518 §3.3 short RSA key", "clients: [{id: c, jwks: {keys: [{kty: RSA, e: AQAB, n: " + strings.Repeat("_", 168) + "}]}}]", unreadable},
		{"long RSA key", "clients: [{id: c, jwks: {keys: [{kty: RSA, e: AQAB, n: " + strings.Repeat("_", 2000) + "}]}}]", "line 1: clients[0].jwks.keys[0]: is for none of ES256, ES384, EdDSA, PS256, RS256, where RSA keys have at most 8192 bits"},
		{"RFC 7517 §4.5 two keys of one id", "clients: [{id: c, jwks: {keys: [{kid: a, " + publicKey[1:] + ", {kid: a, " + publicKey[1:] + "]}}]", "line 1: clients[0].jwks.keys[1].kid: is that of keys[0] already"},
		{"RFC 7517 §4.7 certificate that is none", "clients: [{id: c, jwks: {keys: [{x5c: ['%%%'], " + publicKey[1:] + "]}}]", certificates},
		{"RFC 7517 §4.7 no certificates", "clients: [{id: c, jwks: {keys: [{x5c: [], " + publicKey[1:] + "]}}]", certificates},
		{"RFC 7517 §4.7 certificate of another key", "clients: [{id: c, jwks: {keys: [{x5c: [" + certificate + "], " + publicKey[1:] + "]}}]", certificates},
		{"RFC 8705 §2.1.2 subject that is no name", "clients: [{id: c, token_endpoint_auth_method: tls_client_auth, tls_client_auth_subject_dn: no name}]", "line 1: clients[0].tls_client_auth_subject_dn: must be a distinguished name such as CN=billing,O=Acme,C=DE (RFC 4514), without values in hexadecimal"},
		{"client like a user of a connection", "clients: [{id: acme|idp|bob}]", "line 1: clients[0].id: " + bar},
		{"API key like a user of a connection", "api_keys: [{id: acme|idp|bob}]", "line 1: api_keys[0].id: " + bar},
		{"organization with a bar", "orgs: [{id: acme|idp}]", "line 1: orgs[0].id: " + bar},
		{"connection with a bar", "orgs: [{id: acme, connections: [{id: i|j, issuer: \"https://i.example\", client_id: m, audiences: [a]}]}]", "line 1: orgs[0].connections[0].id: " + bar},
		{"user like one of a connection that is none", "orgs: [{id: acme}]\nusers: [{id: acme|idp|bob}]", "line 2: users[0].id: " + bar},
		{"username like a user of a connection", "users: [{id: bob, username: acme|idp|bob}]", "line 1: users[0].username: " + bar},
		{"empty audience", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m, audiences: ['']}]}]", "line 1: orgs[0].connections[0].audiences[0]: is empty"},
		{"issuer and audience of two connections", "orgs:\n  - {id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m, audiences: [a]}]}\n  - {id: globex, connections: [{id: d, issuer: \"https://i.example\", client_id: n, audiences: [b, a]}]}", `line 3: orgs[1].connections[0].audiences[1]: "a" of this issuer is already an audience of connection "c" of "acme"`},
		{"RFC 7523 §3 rule without an audience", "clients: [{id: c, federated_credentials: [{issuer: \"https://ci.example\", subject: s}]}]", "line 1: clients[0].federated_credentials[0].audience: is missing"},
		{"RFC 7523 §3 rule without a subject", "clients: [{id: c, federated_credentials: [{issuer: \"https://ci.example\", audience: a}]}]", "line 1: clients[0].federated_credentials[0].subject: is missing"},
		{"rule with a symmetric algorithm", "clients: [{id: c, federated_credentials: [{issuer: \"https://ci.example\", subject: s, audience: a, algorithm: HS256}]}]", `line 1: clients[0].federated_credentials[0].algorithm: is "HS256", must be one of ES256, ES384, EdDSA, PS256, RS256`},
		{"rule of two clients", "clients:\n  - {id: c, federated_credentials: [{issuer: \"https://ci.example\", subject: s, audience: a}]}\n  - {id: d, federated_credentials: [{issuer: \"https://ci.example\", subject: s, audience: b}]}", `line 3: clients[1].federated_credentials[0].subject: "s" of this issuer already stands for client "c"`},
		{"issuer of a rule without TLS", "clients: [{id: c, federated_credentials: [{issuer: \"http://ci.example\", subject: s, audience: a}]}]", "line 1: clients[0].federated_credentials[0].issuer: " + issuer},
		{"issuer without TLS", "orgs: [{id: acme, connections: [{id: c, issuer: \"http://i.example\", client_id: m, audiences: [a]}]}]", "line 1: orgs[0].connections[0].issuer: " + issuer},
		{"issuer with a query", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example/?a=b\", client_id: m, audiences: [a]}]}]", "line 1: orgs[0].connections[0].issuer: " + issuer},
		{"issuer with a fragment", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example/#\", client_id: m, audiences: [a]}]}]", "line 1: orgs[0].connections[0].issuer: " + issuer},
		{"status of a connection", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m, audiences: [a], status: suspended}]}]", `line 1: orgs[0].connections[0].status: is "suspended", must be one of active, disabled`},
		{"algorithm of a connection", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m, audiences: [a], algorithm: none}]}]", `line 1: orgs[0].connections[0].algorithm: is "none", must be one of ES256, ES384, EdDSA, PS256, RS256`},
		{"connection twice", "orgs:\n  - id: acme\n    connections:\n      - {id: c, issuer: \"https://i.example\", client_id: m, audiences: [a]}\n      - {id: c, issuer: \"https://j.example\", client_id: m, audiences: [a]}", `line 5: orgs[0].connections[1].id: "c" is there twice`},
		{"integration kind", "integrations: [{id: i, kind: internal}]", `line 1: integrations[0].kind: is "internal", must be one of external, delegated`},
		{"client of an external integration", "integrations: [{id: i, client: c}]", "line 1: integrations[0].client: is for integrations of the kind delegated"},
		{"delegated by nobody", "integrations: [{id: i, kind: delegated, client: c}]", "line 1: integrations[0].enabled_by: is missing: the vendor acts for this user"},
		{"delegated by who is no member", "users: [{id: alice}]\norgs: [{id: acme}]\nintegrations: [{id: i, org: acme, kind: delegated, client: c, enabled_by: alice}]", `line 3: integrations[0].enabled_by: user "alice" is no member of the organization "acme"`},
		{"delegated to no client", "integrations: [{id: i, kind: delegated}]", "line 1: integrations[0].client: is missing: the vendor acts by this client"},
		{"delegated to an unknown client", "integrations: [{id: i, kind: delegated, client: c}]", `line 1: integrations[0].client: there is no client "c"`},
		{"delegated to another's client", "vendors: [{id: v}, {id: w}]\nclients: [{id: c, vendor: w}]\nintegrations: [{id: i, vendor: v, kind: delegated, client: c}]", `line 3: integrations[0].client: client "c" is not of the vendor "v": name the vendor at the client`},
		{"delegated with a token like a pair", "integrations: [{id: i, kind: delegated, partner_token: YTpi}]", "line 1: integrations[0].partner_token: looks like another kind of token (a JWT, or two halves around a colon) or has a space: choose another"},
		{"delegated with a token like a JWT", "integrations: [{id: i, kind: delegated, partner_token: eyJhbGciOiJub25lIn0.e30.}]", "line 1: integrations[0].partner_token: looks like another kind of token (a JWT, or two halves around a colon) or has a space: choose another"},
		{"custom value above another", "custom: {a: 1, a/b: 2}", "line 1: custom.a/b: lies below custom.a, which has a value of its own"},
		{"custom path", "custom: {a//b: 1}", "line 1: custom.a//b: is not a path: segments of 1 to 1024 bytes between single slashes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := newFixture(t, 1).load(t, row.text)
			var problems directory.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the file was not refused with problems: %v", err)
			}
			for _, p := range problems {
				if p.String() == row.want {
					return
				}
			}
			t.Errorf("got:\n%v\nwant:\n%s", err, row.want)
		})
	}
}

// certifiedKey is the JWK of a new key with a certificate that it has signed itself.
func certifiedKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf("{kty: EC, crv: P-256, x: '%s', y: '%s', x5c: ['%s']}", b64(point[1:33]), b64(point[33:]), base64.StdEncoding.EncodeToString(der))
}

func TestProblemsAgainstTheStore(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "users: [{id: alice, username: al}]\nclients: [{id: sync}]\napis: [{id: a, audience: \"https://a.example\"}]\ncustom: {flags/beta: true}")
	f.mustLoad(t, `vendors: [{id: v}, {id: w}]
orgs: [{id: acme, domains: [a.example], connections: [{id: idp, issuer: "https://i.example", client_id: m, audiences: [a]}], members: [{user: alice, roles: []}]}, {id: globex}]
clients: [{id: ci, vendor: w, federated_credentials: [{issuer: "https://ci.example", subject: s, audience: a}]}]`)
	for text, want := range map[string]string{
		"clients: [{id: alice}]":                           "already the id of one of the users",
		"clients: [{id: al}]":                              "already the username of user alice",
		"users: [{id: sync}]":                              "already the id of one of the clients",
		"users: [{id: bob, username: sync}]":               "already the id of one of the clients",
		"users: [{id: bob, username: al}]":                 "belongs to another record already",
		"apis: [{id: b, audience: \"https://a.example\"}]": `already the audience of "a"`,
		"clients: [{id: c, federated_credentials: [{issuer: \"https://ci.example\", subject: s, audience: b}]}]":    "already stands for a client of the tenant",
		"orgs: [{id: globex, domains: [a.example]}]":                                                                `already a verified domain of "acme"`,
		"integrations: [{id: i, org: acme, vendor: v, kind: delegated, enabled_by: alice, client: ci}]":             `client "ci" is not of the vendor "v"`,
		`orgs: [{id: globex, connections: [{id: idp, issuer: "https://i.example", client_id: m, audiences: [a]}]}]`: `already an audience of connection "idp" of "acme"`,
		`orgs: [{id: acme, connections: [{id: two, issuer: "https://i.example", client_id: m, audiences: [a]}]}]`:   `already an audience of connection "idp" of "acme"`,
		"custom: {flags: 1}":           "has custom/flags/beta below it",
		"custom: {flags/beta/more: 1}": "has a value at custom.flags/beta above it",
	} {
		if _, err := f.load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", text, err, want)
		}
	}
}

func TestWhatClientsMayRegister(t *testing.T) {
	for name, text := range map[string]string{
		"RFC 8252 §7.1 private-use scheme":  `{id: c, kind: native, redirect_uris: ["com.example.app:/callback"]}`,
		"RFC 8252 §7.3 loopback addresses":  `{id: c, kind: native, redirect_uris: ["http://127.0.0.1/callback", "http://[::1]:8081/callback", "http://localhost:8081"]}`,
		"RFC 6749 §3.1.2 query":             `{id: c, redirect_uris: ["https://app.example/callback?from=mandate"]}`,
		"public client without redirection": `{id: c, kind: spa, token_endpoint_auth_method: none}`,
		"RFC 8705 §2.1 certificate":         `{id: c, token_endpoint_auth_method: tls_client_auth, tls_client_auth_subject_dn: "CN=c,O=Acme"}`,
		"RFC 8705 §2.2 own certificate":     `{id: c, token_endpoint_auth_method: self_signed_tls_client_auth, jwks: {keys: [` + certifiedKey(t) + `]}}`,
		"RFC 7517 §4.2 key for encryption":  `{id: c, jwks: {keys: [` + publicKey + `, {kty: OKP, crv: X25519, use: enc, x: hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo}]}}`,
		"RFC 7517 §4.5 keys with ids":       `{id: c, jwks: {keys: [{kid: a, ` + publicKey[1:] + `, {kid: b, ` + publicKey[1:] + `]}}`,
		"RFC 7523 §2.1 a workload":          `{id: c, token_endpoint_auth_method: none, grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"], federated_credentials: [{issuer: "https://ci.example", subject: s, audience: a}]}`,
		"two rules for one workload":        `{id: c, federated_credentials: [{issuer: "https://ci.example", subject: s, audience: a, claims: {ref: main}}, {issuer: "https://ci.example", subject: s, audience: a, claims: {ref: next}}]}`,
	} {
		if _, err := newFixture(t, 1).load(t, "clients: ["+text+"]"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	_, err := newFixture(t, 1).load(t, "users:\n  - {id: \"\"}\n  - {id: bob, email: x}\norgs:\n  - {id: acme, status: no}")
	var problems directory.Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Errorf("want three problems, got:\n%v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add(everything)
	f.Add("users: [{id: a, password: b}]")
	f.Add("custom: &a {x: *a}")
	f.Fuzz(func(_ *testing.T, text string) {
		file, err := directory.ParseFile(strings.NewReader(text))
		if (file == nil) == (err == nil) {
			panic("either a file or an error")
		}
	})
}
