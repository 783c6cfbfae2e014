package directory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/directory"
)

const everything = `
tenant: default
roles:
  viewer: {permissions: ["documents:read"]}
  developer: {permissions: []}
apis:
  - {id: documents, audience: "https://documents.example", scopes: ["documents:read"], token_lifetime: 5m, signing_alg: EdDSA}
orgs:
  - id: acme
    name: Acme Industries
    metadata: {plan: gold, seats: 12}
    domains: [acme.example, {domain: new.acme.example, status: pending}]
    roles: {auditor: {permissions: ["audits:read"]}}
    members:
      - {user: alice, roles: [developer, auditor], joined_at: 2026-01-02T03:04:05Z}
      - {user: bob, roles: [viewer], status: suspended}
    connections:
      - {id: idp, issuer: "https://idp.acme.example", client_id: mandate, audiences: ["https://documents.example", "https://mandate.example"], claims: {hd: acme.example}, role_claim: groups, role_mapping: {staff: viewer}}
      - {id: old, issuer: "https://old.acme.example/tenant", client_id: m2, client_secret: secret-at-old, audiences: [mandate], algorithm: ES384, status: disabled}
  - {id: globex, parent: acme, status: suspended}
users:
  - {id: alice, username: alice.a, email: alice@acme.example, email_verified: true, password: "correct horse"}
  - {id: bob, status: disabled}
  - {id: "acme|idp|auth0|eve"}
clients:
  - id: sync
    secret: s3cret-of-sync
    kind: service
    party: third
    org: acme
    orgs: [acme, globex]
    grant_types: [client_credentials]
    token_endpoint_auth_method: client_secret_basic
    scopes: ["documents:read"]
    audiences: ["https://documents.example"]
    redirect_uris: ["https://app.example/callback"]
    token_lifetime: 2m
  - {id: rotating, secrets: [rotating-new, rotating-old]}
  - {id: spa, kind: spa, token_endpoint_auth_method: none}
  - id: documents-app
    kind: web
    grant_types: [authorization_code, refresh_token]
    redirect_uris: ["https://app.example/callback", "http://127.0.0.1:8081/callback"]
    secret: secret-of-app
    id_token_signed_response_alg: ES256
    dpop_bound_access_tokens: true
    require_pushed_authorization_requests: true
    vendor: backupco
  - {id: scanly-app, secret: secret-of-scanly, vendor: scanly}
  - id: workload
    token_endpoint_auth_method: private_key_jwt
    jwks: {keys: [{kty: EC, crv: P-256, x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4, y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM}]}
    federated_credentials:
      - {issuer: "https://ci.example", subject: "repo:acme/app", audience: "https://mandate.example", claims: {ref: main}}
      - {issuer: "http://localhost:9000", subject: "system:serviceaccount:acme:sync", audience: mandate, algorithm: ES384}
api_keys:
  - {id: acme-key, org: acme, owner: alice, key: key-of-acme, scopes: ["documents:read"], expires_at: 2030-01-01T00:00:00Z}
  - {id: admin, kind: pair, key: admin-id, secret: admin-secret, scopes: [manage], audiences: ["https://documents.example"]}
vendors:
  - {id: backupco, name: BackupCo, token: vendor-token}
  - {id: scanly, token: token-of-scanly}
integrations:
  - {id: backupco-acme, vendor: backupco, org: acme, partner_token: partner-token, scopes: ["documents:read"], enabled_by: alice}
  - {id: scanly-acme, vendor: scanly, org: acme, kind: delegated, client: scanly-app, enabled_by: alice, partner_token: delegated-token, scopes: ["documents:read"]}
consents:
  - {user: alice, client: sync, audience: "https://documents.example", scopes: ["documents:read"], org: acme}
  - {user: alice, client: sync, audience: "https://documents.example", scopes: [openid], org: globex}
  - {user: alice, client: sync, audience: "https://documents.example", scopes: [openid, email]}
relations:
  - {resource: "document:plan/2026", relation: owner, subject: "user:alice"}
custom:
  maintenance: false
  blocked/10.0.0.1: {since: 2026, why: "too many requests"}
`

type fixture struct {
	datastore.Store
	master *directory.MasterKey
}

func newFixture(t *testing.T, masterSeed byte) fixture {
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
	master, err := directory.NewMasterKey([32]byte{masterSeed})
	if err != nil {
		t.Fatal(err)
	}
	return fixture{store, master}
}

// loaded is what an import did, and the secrets that it made.
type loaded struct {
	directory.Imported
	Made []directory.Made
}

func (f fixture) load(t *testing.T, text string) (loaded, error) {
	t.Helper()
	file, err := directory.ParseFile(strings.NewReader(text))
	if err != nil {
		return loaded{}, err
	}
	var l loaded
	l.Imported, err = directory.Importer{Store: f, Master: f.master, Progress: func(_, _ int, made []directory.Made) {
		l.Made = append(l.Made, made...)
	}}.Import(t.Context(), "default", file)
	return l, err
}

func (f fixture) mustLoad(t *testing.T, text string) loaded {
	t.Helper()
	l, err := f.load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (f fixture) export(t *testing.T) string {
	t.Helper()
	view, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	file, err := directory.Export(t.Context(), "default", view)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := file.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestExportIsImportedAgain(t *testing.T) {
	first, second := newFixture(t, 1), newFixture(t, 1)
	if made := first.mustLoad(t, everything).Made; len(made) != 0 {
		t.Errorf("secrets were made though the file gives all: %v", made)
	}
	exported := first.export(t)
	for _, secret := range []string{"correct horse", "s3cret-of-sync", "key-of-acme", "admin-id", "admin-secret", "vendor-token", "partner-token",
		"secret-at-old", "rotating-new", "rotating-old", "secret-of-app", "secret-of-scanly", "delegated-token", "token-of-scanly"} {
		if strings.Contains(exported, secret) {
			t.Errorf("the export has the secret %q in the clear:\n%s", secret, exported)
		}
	}
	second.mustLoad(t, exported)
	if again := second.export(t); again != exported {
		t.Errorf("the export of an import of an export differs:\n%s\n---\n%s", exported, again)
	}
	view, err := second.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	owner, err := directory.Tenant("default").SecretOwner(second.master.Hash(directory.NewSecret("key-of-acme"))).Get(t.Context(), view)
	if err != nil || owner.ID != "acme-key" {
		t.Errorf("the key of the first installation does not open the second: %v, %v", owner, err)
	}
}

func TestExportOfAnotherMasterKeyIsRefused(t *testing.T) {
	first, second := newFixture(t, 1), newFixture(t, 2)
	first.mustLoad(t, everything)
	_, err := second.load(t, first.export(t))
	if err == nil || !strings.Contains(err.Error(), "master key") {
		t.Fatalf("hashes that could never match were taken: %v", err)
	}
}

func TestImportIsIdempotent(t *testing.T) {
	f := newFixture(t, 1)
	first := f.mustLoad(t, everything)
	again := f.mustLoad(t, everything)
	if again.Revision != first.Revision {
		t.Errorf("the second import of the same file made revision %d after %d", again.Revision, first.Revision)
	}
}

func TestSecretsLeftOutAreMadeOnceAndKept(t *testing.T) {
	f := newFixture(t, 1)
	const text = `
clients: [{id: sync}]
vendors: [{id: backupco}]
orgs: [{id: acme}]
integrations: [{id: backupco-acme, vendor: backupco, org: acme}]
api_keys: [{id: gateway}, {id: admin, kind: pair}]
`
	made := f.mustLoad(t, text).Made
	var names []string
	for _, m := range made {
		names = append(names, string(m.Kind)+" "+m.ID)
		if directory.Mistyped(m.Secret.Expose()) || !strings.HasPrefix(m.Secret.Expose(), "mdt_"+string(m.Kind)+"_"+m.ID+"_") {
			t.Errorf("%s is not of the form mdt_<kind>_<id>_<secret><crc>", m.Secret.Expose())
		}
	}
	if got, want := strings.Join(names, ", "), "vt backupco, cs sync, ak gateway, ak admin, as admin, pt backupco-acme"; got != want {
		t.Errorf("made %s, want %s", got, want)
	}
	before := f.export(t)
	if made := f.mustLoad(t, text).Made; len(made) != 0 {
		t.Errorf("made secrets again: %v", made)
	}
	if f.export(t) != before {
		t.Error("importing again changed the secrets")
	}
}

func TestChangedSecretReplacesTheFormer(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "api_keys: [{id: gateway, key: former-key}]")
	f.mustLoad(t, "api_keys: [{id: gateway, key: present-key}]")
	view, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for key, want := range map[string]bool{"former-key": false, "present-key": true} {
		_, found, err := directory.Tenant("default").SecretOwner(f.master.Hash(directory.NewSecret(key))).Find(t.Context(), view)
		if err != nil || found != want {
			t.Errorf("%s is found: %v (%v), want %v", key, found, err, want)
		}
	}
}

func TestImportIsAllOrNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "api_keys: [{id: gateway, key: a-key}]")
	before := f.export(t)
	// The last record takes a key that another has.
	_, err := f.load(t, "users: [{id: alice}]\napi_keys: [{id: thief, key: a-key}]")
	if err == nil || !strings.Contains(err.Error(), "thief") {
		t.Fatalf("a key in use was given to another: %v", err)
	}
	if f.export(t) != before {
		t.Error("a failed import left something behind")
	}
}

// interrupted fails after some updates, as a crash would.
type interrupted struct {
	datastore.Store
	left int
}

var errCrash = errors.New("crash")

func (s *interrupted) Update(ctx context.Context, fn func(datastore.Tx) error) (datastore.Revision, error) {
	if s.left--; s.left < 0 {
		return 0, errCrash
	}
	return s.Store.Update(ctx, fn)
}

func TestLargeFileIsImportedInChunksAndResumed(t *testing.T) {
	f := newFixture(t, 1)
	var text strings.Builder
	text.WriteString("roles: {viewer: {permissions: [read]}}\nusers:\n")
	const users = 60_000
	for i := range users {
		fmt.Fprintf(&text, "  - {id: user-%d, email: user-%d@acme.example}\n", i, i)
	}
	text.WriteString("vendors:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {id: vendor-%d}\n", i)
	}
	text.WriteString("orgs:\n  - id: acme\n    members:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "      - {user: user-%d, roles: [viewer]}\n", i)
	}
	file, err := directory.ParseFile(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	progress, made := 0, 0
	importer := directory.Importer{Store: &interrupted{f, 10}, Master: f.master, Progress: func(done, _ int, secrets []directory.Made) {
		progress, made = done, made+len(secrets)
	}}
	if _, err := importer.Import(t.Context(), "default", file); !errors.Is(err, errCrash) {
		t.Fatalf("the import was not interrupted: %v after %d", err, progress)
	}
	if progress == 0 || progress >= users {
		t.Fatalf("interrupted after %d records", progress)
	}
	under := func() bool {
		t.Helper()
		view, err := f.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		found, err := directory.Interrupted(t.Context(), "default", view)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !under() {
		t.Error("an interrupted import is not known as such")
	}
	importer.Store = f
	if _, err := importer.Import(t.Context(), "default", file); err != nil {
		t.Fatal(err)
	}
	if under() {
		t.Error("an import that has ended counts as interrupted")
	}
	if made != 100 {
		t.Errorf("%d secrets were shown of the 100 that were made", made)
	}
	exported := f.export(t)
	if got := strings.Count(exported, "email: user-"); got != users {
		t.Errorf("%d users after the import was resumed, want %d", got, users)
	}
}
