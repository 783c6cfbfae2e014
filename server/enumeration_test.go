package server_test

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mandate/datastore"
	"mandate/directory"
)

// readCounter is a store that counts how often somebody reads from it.
type readCounter struct {
	datastore.Store
	reads *atomic.Int64
}

type countedView struct {
	datastore.View
	reads *atomic.Int64
}

type countedTx struct {
	datastore.Tx
	reads *atomic.Int64
}

func (s readCounter) View(ctx context.Context) (datastore.View, error) {
	view, err := s.Store.View(ctx)
	return countedView{view, s.reads}, err
}

func (s readCounter) ViewAt(ctx context.Context, r datastore.Revision) (datastore.View, error) {
	view, err := s.Store.ViewAt(ctx, r)
	return countedView{view, s.reads}, err
}

func (s readCounter) Update(ctx context.Context, fn func(datastore.Tx) error) (datastore.Revision, error) {
	return s.Store.Update(ctx, func(tx datastore.Tx) error { return fn(countedTx{tx, s.reads}) })
}

func (v countedView) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	v.reads.Add(1)
	return v.View.Get(ctx, p)
}

func (v countedView) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	v.reads.Add(1)
	return v.View.Scan(ctx, prefix, after)
}

func (t countedTx) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	t.reads.Add(1)
	return t.Tx.Get(ctx, p)
}

func (t countedTx) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	t.reads.Add(1)
	return t.Tx.Scan(ctx, prefix, after)
}

// TestNothingOfOthersIsFound walks every route of the management interfaces with ids of another organization, of another
// tenant, and of nothing at all. To whoever is of acme they are the same: the same answer, for the same work.
func TestNothingOfOthersIsFound(t *testing.T) {
	var reads atomic.Int64
	s := startWith(t, fixture{wrap: func(store datastore.Store) datastore.Store { return readCounter{store, &reads} }})
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	s.load(t, `
clients:
  - {id: others-oem, secret: "others-oem-secret-4c1d", vendor: backupco, scopes: ["oem:partner_token"], grant_types: [client_credentials]}
vendors:
  - {id: hydraco, token: "hydraco-vendor-token-6b7c"}
integrations:
  - {id: hydraco-globex, vendor: hydraco, org: globex, partner_token: "hydraco-globex-partner-8d9e", scopes: ["documents:read"]}
api_keys:
  - {id: acme-scim, org: acme, key: "acme-scim-key-9d2e", scopes: [scim]}
  - {id: globex-scim, org: globex, key: "globex-scim-key-1f3a", scopes: [scim]}
users:
  - {id: erin, email: erin@globex.example, email_verified: true}
`)
	foreign := map[string]string{"org": "globex", "user": "erin", "client": "globex-reports", "domain": "globex.example", "vendor": "hydraco"}
	for collection, body := range map[string]string{
		"connections": `{"id": "x", "issuer": "https://idp.globex.example", "client_id": "m", "audiences": ["m"]}`,
		"invitations": `{"email": "zoe@globex.example", "roles": [], "deliver": "return"}`,
		"roles":       `{"id": "keeper", "permissions": []}`,
		"domains":     `{"domain": "globex.example"}`,
	} {
		made := s.managed(t, tenant, "POST", "/v1/orgs/globex/"+collection, body).wantMembers(t, http.StatusCreated, nil)
		if link, ok := made["link"].(string); ok {
			seen.secret(link[strings.LastIndexByte(link, '/')+1:])
		}
		if id, ok := made["id"].(string); ok {
			foreign["orgs/"+collection] = id
		}
	}
	hook := s.managed(t, tenant, "POST", "/v1/webhooks", `{"org": "globex", "url": "https://globex.example/hook", "events": ["*"]}`).wantMembers(t, http.StatusCreated, nil)
	seen.secret(hook["secret"].(string))
	var audit struct{ Items []struct{ ID string } }
	s.managed(t, tenant, "GET", "/v1/orgs/globex/audit", "").decode(t, &audit)
	foreign["webhooks"], foreign["audit"], foreign["orgs/audit"] = hook["id"].(string), audit.Items[0].ID, audit.Items[0].ID
	foreign["clients"], foreign["apikeys"], foreign["users"] = "globex-reports", "globex-scim", "erin"
	foreign["roles"], foreign["apis"], foreign["vendors"], foreign["custom"] = "admin", "documents", "hydraco", "maintenance"

	staged := maps.Clone(foreign)
	maps.Copy(staged, map[string]string{"org": "stagecraft", "user": "sam", "users": "sam", "clients": "stage-client", "apikeys": "stage-key"})
	other, err := directory.ParseFile(strings.NewReader(`
orgs: [{id: stagecraft, members: [{user: sam, roles: [viewer]}]}]
users: [{id: sam}]
clients: [{id: stage-client, secret: "stage-client-secret-7e5f", org: stagecraft, grant_types: [client_credentials]}]
api_keys: [{id: stage-key, org: stagecraft, key: "stage-key-key-3d4c", scopes: ["documents:read"]}]
`))
	must(t, err)
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), staging, other)
	must(t, err)
	callers := map[string]credential{
		"a manager's key": h.key("acme-manager"), "an admin's token": s.administrator(t, h, "alice", "acme"), "a viewer's token": s.administrator(t, h, "bob", "acme"),
		"a provisioning key": bearer("acme-scim-key-9d2e"), "a vendor's token": bearer(s.issue(t, basic("others-oem", "others-oem-secret-4c1d"), publicURL)),
	}
	routes := managementRoutes(t, s)
	if len(routes) < 60 {
		t.Fatalf("only %d routes", len(routes))
	}
	for who, as := range callers {
		for _, route := range routes {
			absent := s.tried(t, as, route, nil, &reads)
			for whose, ids := range map[string]map[string]string{"another organization": foreign, "another tenant": staged} {
				there := s.tried(t, as, route, ids, &reads)
				if there.status != absent.status || there.body != absent.body {
					t.Errorf("%s: %s %s of %s: %d %s, of nothing: %d %s", who, route.method, route.path, whose, there.status, there.body, absent.status, absent.body)
				}
				if more := there.reads - absent.reads; more < -3 || more > 3 {
					t.Errorf("%s: %s %s of %s: %d reads, of nothing: %d", who, route.method, route.path, whose, there.reads, absent.reads)
				}
				if there.status < 400 && !strings.Contains(there.body, `"items":[]`) {
					t.Errorf("%s: %s %s of %s: %d %s", who, route.method, route.path, whose, there.status, there.body)
				}
			}
		}
	}
	if got := s.managed(t, tenant, "GET", "/v1/orgs/globex/members/erin", ""); got.status != http.StatusOK {
		t.Errorf("something was changed: %v", got)
	}
}

type managementRoute struct{ method, path string }

// managementRoutes are those of the OpenAPI document that name something, which are all that there are (TestEveryRouteIsDescribed).
func managementRoutes(t testing.TB, s *running) []managementRoute {
	t.Helper()
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	s.send(t, "GET", "/openapi.json", "").decode(t, &document)
	var routes []managementRoute
	for path, methods := range document.Paths {
		if !strings.Contains(path, "{") || !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/scim/") || strings.HasPrefix(path, "/v1/data") ||
			strings.HasPrefix(path, "/v1/keys") || strings.HasPrefix(path, "/v1/relations") {
			continue
		}
		for method := range methods {
			if method = strings.ToUpper(method); slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
				routes = append(routes, managementRoute{method, path})
			}
		}
	}
	return routes
}

type tried struct {
	status int
	body   string
	reads  int64
}

// tried asks for something: what the ids name, or nothing that there is. What names it is left out of the answer.
func (s *running) tried(t testing.TB, as credential, route managementRoute, ids map[string]string, reads *atomic.Int64) tried {
	t.Helper()
	var used []string
	parameter := regexp.MustCompile(`\{([a-z_]+)\}`)
	segments := strings.Split(route.path, "/")
	for i, segment := range segments {
		name := parameter.FindStringSubmatch(segment)
		if name == nil {
			continue
		}
		collection := segments[i-1]
		if i > 3 && segments[2] == "orgs" {
			collection = "orgs/" + collection
		}
		id, ok := ids[collection]
		if !ok {
			id, ok = ids[name[1]]
		}
		if !ok {
			id = "nothing-at-all"
		}
		used = append(used, id)
		segments[i] = strings.Replace(segment, name[0], url.PathEscape(id), 1)
	}
	path := strings.Join(segments, "/")
	body := ""
	if route.method != "GET" && route.method != "DELETE" {
		body = `{"status": "active"}`
	}
	s.managed(t, as, route.method, path, body) // what is remembered of the caller is remembered from here on
	before := reads.Load()
	a := s.managed(t, as, route.method, path, body)
	cost := reads.Load() - before
	text := regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(a.body, "")
	for _, id := range used {
		text = strings.ReplaceAll(text, id, "ID")
	}
	return tried{a.status, text, cost}
}
