package access_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mandate/access"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
	"mandate/policyset"
)

const tenant = directory.Tenant("default")

const facts = `
roles:
  viewer: {permissions: ["documents:read"]}
  editor: {permissions: ["documents:read", "documents:write"]}
  developer: {permissions: ["documents:list", "reports:*"]}
apis: [{id: documents, audience: "https://documents.example", scopes: ["documents:read", "documents:share"]}]
users: [{id: alice}, {id: bob}, {id: carol}, {id: dan}, {id: erin}]
orgs:
  - {id: umbrella, members: [{user: erin, roles: [viewer]}, {user: alice, roles: [viewer]}]}
  - id: acme
    parent: umbrella
    roles: {auditor: {permissions: ["audits:read"]}}
    members: [{user: alice, roles: [viewer, editor]}, {user: bob, roles: [viewer, auditor]}, {user: carol, roles: [editor, developer], status: active}, {user: dan, roles: [], status: suspended}]
clients:
  - {id: acme-sync, org: acme, orgs: [acme, umbrella], scopes: ["documents:read", "documents:write"], grant_types: [client_credentials]}
  - {id: free, scopes: ["documents:read"], grant_types: [client_credentials]}
api_keys:
  - {id: k1, org: acme, owner: carol, scopes: ["documents:write", "documents:read"]}
  - {id: k2, scopes: ["documents:read"]}
  - {id: k3, org: umbrella, scopes: ["documents:read"]}
vendors: [{id: backupco}, {id: scanly}]
integrations:
  - {id: backupco-acme, vendor: backupco, org: acme, partner_token: "backupco-acme-partner-8c0e", scopes: ["documents:read", "documents:write"]}
relations:
  - {resource: "document:plan", relation: owner, subject: "user:alice"}
  - {resource: "document:plan", relation: viewer, subject: "user:alice"}
  - {resource: "document:plan", relation: viewer, subject: "user:frank"}
  - {resource: "folder:plans", relation: viewer, subject: "user:alice"}
`

type fixture struct {
	store  *badgerstore.Store
	engine *engine.Engine
	folder string
	ahead  *atomic.Int64
	access.Reporter
}

func (f fixture) now() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }

func newFixture(t testing.TB) fixture {
	t.Helper()
	f := fixture{folder: t.TempDir(), ahead: &atomic.Int64{}}
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Retention: time.Hour, Now: f.now})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	f.store = store
	file, err := directory.ParseFile(strings.NewReader(facts))
	must(t, err)
	master, err := directory.NewMasterKey([32]byte([]byte("the master key of these tests   ")))
	must(t, err)
	_, err = directory.Importer{Store: store, Master: master}.Import(t.Context(), tenant, file)
	must(t, err)
	set, err := engine.CompileTested(t.Context(), policies.FS)
	must(t, err)
	log, err := decisionlog.Open(f.folder, decisionlog.Options{Tenant: string(tenant), Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Now: f.now})
	must(t, err)
	t.Cleanup(func() { must(t, log.Close()) })
	f.engine = engine.New(datastore.TenantID(tenant), set, engine.Options{EvaluationLimit: 5 * time.Second, Now: f.now, Log: log})
	f.Reporter = access.Reporter{Tenant: tenant, Store: store, Engine: f.engine, Folder: f.folder, Now: f.now,
		Policies: policyset.New(policyset.Options{Tenant: tenant, Store: store, Engine: f.engine, Now: f.now})}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// decide decides and logs.
func (f fixture) decide(t testing.TB, principal, action string, want bool) {
	t.Helper()
	view, err := f.store.View(t.Context())
	must(t, err)
	defer view.Close()
	input := fmt.Sprintf(`{"subject":{"type":"user","id":"x"},"action":{"name":%q},"resource":{"type":"document","id":"x","properties":{"org":"acme"}},
		"principal":%s,"caller":{"type":"client","sub":"free","scopes":["decide"]}}`, action, principal)
	mark := f.engine.Log().Mark()
	d, err := f.engine.Decide(t.Context(), memo.Over(view), f.engine.Policies(), engine.Access, []byte(input))
	must(t, err)
	must(t, f.engine.Log().Commit(mark))
	if d.Allow != want {
		t.Fatalf("%s %s: %v", principal, action, d.Reasons)
	}
}

func user(id string) string { return `{"type":"user","sub":"` + id + `"}` }

func (f fixture) report(t *testing.T) *access.Unused {
	t.Helper()
	report, err := f.Unused(t.Context(), f.now().Add(-30*24*time.Hour), func(access.Progress) {})
	must(t, err)
	return report
}

func names(items []access.Item) string {
	var all []string
	for _, i := range items {
		all = append(all, strings.Trim(i.Org+"/"+i.Holder+"/"+i.Name, "/"))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// What an allow rests on is found by deciding it without each part, and with each part alone.
func TestWhatAnAllowRestsOn(t *testing.T) {
	const sync, k1 = `{"type":"client","sub":"acme-sync","scopes":["documents:read"]}`, `{"type":"apikey","sub":"k1","org":"acme"}`
	for name, row := range map[string]struct{ principal, action, roles, scopes, vendors string }{
		"the only role":                      {user("bob"), "documents:read", "viewer", "", ""},
		"the organization's own":             {user("bob"), "audits:read", "acme//auditor", "", ""},
		"either of two":                      {user("alice"), "documents:read", "editor viewer", "", ""},
		"one of two":                         {user("alice"), "documents:write", "editor", "", ""},
		"a client's own scope":               {sync, "documents:read", "", "client:acme-sync/documents:read", ""},
		"both lists of a key, and its owner": {k1, "documents:write", "developer editor", "apikey:k1/documents:write", ""},
		"an integration":                     {`{"type":"vendor","sub":"backupco"}`, "documents:write", "", "acme/vendor:backupco/documents:write", "acme//backupco"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.decide(t, row.principal, row.action, true)
			f.decide(t, user("dan"), row.action, false)
			r := f.report(t)
			scopes := strings.TrimSpace(strings.ReplaceAll(names(r.Scopes.Used), "client:free/decide", ""))
			if got := names(r.Roles.Used); got != row.roles {
				t.Errorf("roles %q, want %q", got, row.roles)
			}
			if scopes != row.scopes {
				t.Errorf("scopes %q, want %q", scopes, row.scopes)
			}
			if got := names(r.Vendors.Used); got != row.vendors {
				t.Errorf("integrations %q, want %q", got, row.vendors)
			}
			if r.Exact != 2 || r.Records != 2 || r.Assumed != 0 {
				t.Errorf("%d of %d are exact", r.Exact, r.Records)
			}
		})
	}
}

// What is older than the history is decided as of now when its facts are as they were; else all that it had read counts as used.
func TestWhatAnAllowRestedOnBeforeTheHistory(t *testing.T) {
	f := newFixture(t)
	f.decide(t, user("bob"), "documents:read", true)
	f.decide(t, user("carol"), "documents:write", true)
	f.ahead.Add(int64(3 * time.Hour))
	for _, roles := range [][]string{{"developer"}, {"viewer"}} {
		_, err := f.store.Update(t.Context(), func(tx datastore.Tx) error {
			return tenant.PutMember(t.Context(), tx, "acme", "carol", directory.Member{Status: directory.Active, Roles: roles})
		})
		must(t, err)
		f.ahead.Add(int64(3 * time.Hour))
	}
	must(t, f.store.DiscardHistory(t.Context()))
	if view, err := f.store.ViewAt(t.Context(), 1); err == nil {
		view.Close()
		t.Fatal("the history is still there")
	}
	r := f.report(t)
	if r.Exact != 1 || r.Assumed != 1 {
		t.Errorf("%d are exact and %d assumed", r.Exact, r.Assumed)
	}
	if got := names(r.Roles.Used); got != "editor viewer" {
		t.Errorf("roles %q", got)
	}
	if got := names(r.Scopes.Unused); strings.Contains(got, "decide") {
		t.Errorf("a scope that the caller had is unused: %q", got)
	}
}

// Candidates are each found once, in the same order, however often one stops.
func TestCandidatesGoOn(t *testing.T) {
	f := newFixture(t)
	view, err := f.store.View(t.Context())
	must(t, err)
	defer view.Close()
	in := access.Facts{Tenant: tenant, Reader: view}
	plan := access.Resource{Entity: access.Entity{Type: "document", ID: "plan"}, Org: "acme"}
	alice := access.Entity{Type: "user", ID: "alice"}
	for name, row := range map[string]struct {
		find func(context.Context) (access.Candidates, error)
		want string
	}{
		"users":            {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "user", plan, false) }, "alice bob carol dan erin frank"},
		"every user":       {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "user", plan, true) }, "alice bob carol dan erin frank"},
		"keys":             {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "apikey", plan, false) }, "k1 k2"},
		"every key":        {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "apikey", plan, true) }, "k1 k2 k3"},
		"clients":          {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "client", plan, false) }, "acme-sync free"},
		"vendors":          {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "vendor", plan, false) }, "backupco"},
		"of no known type": {func(ctx context.Context) (access.Candidates, error) { return in.Subjects(ctx, "stranger", plan, true) }, ""},
		"organizations": {func(ctx context.Context) (access.Candidates, error) {
			return in.Resources(ctx, "organization", alice, "", false)
		}, "acme umbrella"},
		"every organization": {func(ctx context.Context) (access.Candidates, error) {
			return in.Resources(ctx, "organization", alice, "", true)
		}, "acme umbrella"},
		"documents": {func(ctx context.Context) (access.Candidates, error) {
			return in.Resources(ctx, "document", alice, "", false)
		}, "plan"},
		"all that is reached": {func(ctx context.Context) (access.Candidates, error) { return in.Reach(ctx, alice, "", false) }, "acme umbrella plan plans"},
		"actions": {func(ctx context.Context) (access.Candidates, error) { return in.Actions(ctx, alice, "acme") },
			"audits:read documents:list documents:read documents:share documents:write"},
	} {
		candidates, err := row.find(t.Context())
		must(t, err)
		if len(candidates.Asked) == 0 {
			t.Errorf("%s: nobody is said to be asked", name)
		}
		for _, most := range []int{1, 2, 1000} {
			var found []string
			for at := (access.Cursor{}); !at.Done; {
				n := 0
				at, err = candidates.From(t.Context(), at, func() bool { return true }, func(e access.Entity) error {
					if n++; n > most {
						return access.ErrEnough
					}
					found = append(found, e.ID)
					return nil
				})
				must(t, err)
			}
			if got := strings.Join(found, " "); got != row.want {
				t.Errorf("%s, %d at a time: %q, want %q", name, most, got, row.want)
			}
		}
	}
}

// BenchmarkUnused decides different questions again, each with what it rests on and a trace of the rules.
func BenchmarkUnused(b *testing.B) {
	f := newFixture(b)
	const questions = 300
	for i := range questions {
		f.decide(b, fmt.Sprintf(`{"type":"user","sub":"alice","claims":{"n":%d}}`, i), "documents:read", true)
	}
	for b.Loop() {
		report, err := f.Unused(b.Context(), f.now().Add(-time.Hour), func(access.Progress) {})
		if err != nil || report.Exact != questions {
			b.Fatal(err, report)
		}
	}
	b.ReportMetric(float64(b.N*questions)/b.Elapsed().Seconds(), "questions/s")
}
