package directory_test

import (
	"slices"
	"strings"
	"testing"

	"mandate/datastore"
	"mandate/directory"
)

const tenant = directory.Tenant("default")

// publicKey is one of a client (RFC 7517 §3).
const publicKey = `{kty: EC, crv: P-256, x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4, y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM}`

// view is a snapshot of what the store holds now, for the rest of the test.
func (f fixture) view(t *testing.T) datastore.View {
	t.Helper()
	view, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.Close)
	return view
}

// leadsTo is the id at the place, empty when there is none.
func (f fixture) leadsTo(t *testing.T, p directory.Place[directory.Alias]) string {
	t.Helper()
	alias, _, err := p.Find(t.Context(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	return alias.ID
}

func TestTwoSecretsOfAClient(t *testing.T) {
	f := newFixture(t, 1)
	for _, step := range []struct{ name, text, live string }{
		{"one", "secret: first", "first"},
		{"the new beside the old", "secrets: [second, first]", "second first"},
		{"one of the two changes nothing", "secret: second", "second first"},
		{"none changes nothing", "name: Sync", "second first"},
		{"one of two", "secrets: [second]", "second"},
		{"another replaces all", "secret: third", "third"},
		{"a client with keys has none", "token_endpoint_auth_method: private_key_jwt, jwks: {keys: [" + publicKey + "]}", ""},
	} {
		f.mustLoad(t, "clients: [{id: sync, "+step.text+"}]")
		secrets, _, err := tenant.ClientSecrets("sync").Find(t.Context(), f.view(t))
		if err != nil {
			t.Fatal(err)
		}
		var live []string
		for _, h := range secrets.Hashes {
			for _, s := range []string{"first", "second", "third"} {
				if f.master.Matches(directory.NewSecret(s), h) {
					live = append(live, s)
				}
			}
		}
		if got := strings.Join(live, " "); got != step.live || len(secrets.Hashes) != len(live) {
			t.Errorf("%s: %q are live, want %q", step.name, got, step.live)
		}
	}
}

func TestFederatedSubjectLeadsToItsClient(t *testing.T) {
	f := newFixture(t, 1)
	rule := func(subject string) string {
		return `{issuer: "https://ci.example", subject: "` + subject + `", audience: a}`
	}
	for _, step := range []struct{ name, text, one, two string }{
		{"both", "{id: sync, federated_credentials: [" + rule("one") + ", " + rule("two") + "]}", "sync", "sync"},
		{"one is given up", "{id: sync, federated_credentials: [" + rule("two") + "]}", "", "sync"},
		{"and taken by another", "{id: other, federated_credentials: [" + rule("one") + "]}", "other", "sync"},
		{"all are given up", "{id: sync}", "other", ""},
	} {
		f.mustLoad(t, "clients: ["+step.text+"]")
		one, two := f.leadsTo(t, tenant.Federated("https://ci.example", "one")), f.leadsTo(t, tenant.Federated("https://ci.example", "two"))
		if one != step.one || two != step.two {
			t.Errorf("%s: the subjects lead to %q and %q, want %q and %q", step.name, one, two, step.one, step.two)
		}
	}
	client, err := tenant.Client("other").Get(t.Context(), f.view(t))
	if err != nil || client.FederatedCredentials[0].Algorithm != "RS256" {
		t.Errorf("the algorithm is not RS256 when left out: %v, %v", client.FederatedCredentials, err)
	}
	if other := f.leadsTo(t, directory.Tenant("staging").Federated("https://ci.example", "one")); other != "" {
		t.Errorf("the subject leads to client %q of another tenant", other)
	}
}

func TestVerifiedDomainLeadsToItsOrganization(t *testing.T) {
	f := newFixture(t, 1)
	for _, step := range []struct{ name, text, want string }{
		{"pending", "{id: acme, domains: [{domain: a.example, status: pending}]}", ""},
		{"verified", "{id: acme, domains: [a.example]}", "acme"},
		{"pending in another", "{id: globex, domains: [{domain: a.example}]}", "acme"},
		{"pending again", "{id: acme, domains: [{domain: a.example}]}", ""},
		{"verified in the other", "{id: globex, domains: [a.example]}", "globex"},
	} {
		f.mustLoad(t, "orgs: ["+step.text+"]")
		if got := f.leadsTo(t, tenant.VerifiedDomain("a.example")); got != step.want {
			t.Errorf("%s: the domain leads to %q, want %q", step.name, got, step.want)
		}
	}
}

func TestIssuerAndAudienceLeadToTheirConnection(t *testing.T) {
	f := newFixture(t, 1)
	connection := func(org, id, issuer, audiences string) string {
		return `{id: ` + org + `, connections: [{id: ` + id + `, issuer: "` + issuer + `", client_id: m, audiences: [` + audiences + `]}]}`
	}
	for _, step := range []struct{ name, text, want string }{
		{"two of one issuer", connection("acme", "idp", "https://one.example", "a, b") + "," + connection("globex", "idp", "https://one.example", "c"),
			"one/a=acme/idp one/b=acme/idp one/c=globex/idp"},
		{"an audience is given up", connection("acme", "idp", "https://one.example", "a"), "one/a=acme/idp one/c=globex/idp"},
		{"and taken by another", connection("globex", "two", "https://one.example", "b"), "one/a=acme/idp one/b=globex/two one/c=globex/idp"},
		{"another issuer", connection("acme", "idp", "https://two.example", "a"), "one/b=globex/two one/c=globex/idp two/a=acme/idp"},
	} {
		f.mustLoad(t, "orgs: ["+step.text+"]")
		var found []string
		for _, issuer := range []string{"one", "two"} {
			for _, audience := range []string{"a", "b", "c"} {
				ref, exists, err := tenant.ProviderConnection("https://"+issuer+".example", audience).Find(t.Context(), f.view(t))
				if err != nil {
					t.Fatal(err)
				}
				if exists {
					found = append(found, issuer+"/"+audience+"="+ref.Org+"/"+ref.ID)
				}
			}
		}
		if got := strings.Join(found, " "); got != step.want {
			t.Errorf("%s: they lead to %s, want %s", step.name, got, step.want)
		}
	}
	c, err := tenant.Connection("acme", "idp").Get(t.Context(), f.view(t))
	if err != nil || c.Status != directory.Active || c.Algorithm != "RS256" {
		t.Errorf("a connection is active and pinned to RS256 when the file says nothing: %+v, %v", c, err)
	}
}

func TestConnectionSecretIsSealedAndKept(t *testing.T) {
	f := newFixture(t, 1)
	load := func(more string) loaded {
		t.Helper()
		return f.mustLoad(t, `orgs: [{id: acme, connections: [{id: idp, issuer: "https://idp.example", client_id: m, audiences: [a]`+more+`}]}]`)
	}
	secret := func() string {
		t.Helper()
		sealed, found, err := tenant.ConnectionSecret("acme", "idp").Find(t.Context(), f.view(t))
		if err != nil || !found {
			return ""
		}
		plaintext, err := f.master.Open(sealed.Sealed, directory.SealedFor("acme", "idp"))
		if err != nil {
			t.Fatal(err)
		}
		return string(plaintext)
	}
	load("")
	if got := secret(); got != "" {
		t.Errorf("a public client has the secret %q", got)
	}
	first := load(", client_secret: one")
	if again := load(", client_secret: one"); again.Revision != first.Revision {
		t.Error("the same secret was sealed again")
	}
	f.mustLoad(t, f.export(t))
	if got := secret(); got != "one" {
		t.Errorf("after an import without the secret it is %q", got)
	}
	load(", client_secret: two")
	if got := secret(); got != "two" {
		t.Errorf("a new secret did not replace the former: %q", got)
	}
	if exported := f.export(t); strings.Contains(exported, "client_secret") || strings.Contains(exported, "two") {
		t.Errorf("the export has something of the secret:\n%s", exported)
	}
}

func TestOrganizationsOfAUser(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, `users: [{id: alice}, {id: al}]
orgs:
  - {id: globex, members: [{user: alice, roles: [], status: suspended}]}
  - {id: acme, members: [{user: alice, roles: []}, {user: al, roles: []}]}`)
	for user, want := range map[string][]string{"alice": {"acme", "globex"}, "al": {"acme"}, "bob": nil} {
		var orgs []string
		err := tenant.OrgsOf(t.Context(), f.view(t), user, func(org string) error {
			orgs = append(orgs, org)
			return nil
		})
		if err != nil || !slices.Equal(orgs, want) {
			t.Errorf("%s is a member of %v (%v), want %v", user, orgs, err, want)
		}
	}
}

func TestConsentsForOrganizationsAreKeptSideBySide(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, `users: [{id: alice}]
clients: [{id: app}]
orgs: [{id: acme}, {id: globex}]
consents: [{user: alice, client: app, audience: "https://documents.example", scopes: [read], org: acme}, {user: alice, client: app, audience: "https://documents.example", scopes: [openid]}]`)
	before, err := tenant.Consent("alice", "app").Get(t.Context(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	if before.Orgs[""].ID == before.Orgs["acme"].ID {
		t.Error("two consents have one id")
	}
	// Given by the user, with an id of its own.
	_, err = f.Update(t.Context(), func(tx datastore.Tx) error {
		consent, err := tenant.Consent("alice", "app").Get(t.Context(), tx)
		if err != nil {
			return err
		}
		consent.Orgs["globex"] = directory.ConsentGiven{ID: "own", Scopes: map[string][]string{"https://documents.example": {"read"}}}
		return tenant.Consent("alice", "app").Put(t.Context(), tx, consent)
	})
	if err != nil {
		t.Fatal(err)
	}
	f.mustLoad(t, `consents: [{user: alice, client: app, audience: "https://documents.example", scopes: [read, write], org: globex}]`)
	f.mustLoad(t, f.export(t))
	consent, err := tenant.Consent("alice", "app").Get(t.Context(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	for org, want := range map[string]string{"": "made openid", "acme": "made read", "globex": "own read,write"} {
		given := consent.Orgs[org]
		if len(given.ID) > 20 && given.ID == before.Orgs[org].ID {
			given.ID = "made"
		}
		if given.ID+" "+strings.Join(given.Scopes["https://documents.example"], ",") != want {
			t.Errorf("for organization %q the consent is %v, want %s", org, given, want)
		}
	}
	if len(consent.Orgs) != 3 {
		t.Errorf("%d consents, want 3", len(consent.Orgs))
	}
}
