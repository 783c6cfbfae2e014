package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/access"
	"mandate/directory"
)

// foundBySearch is a subject, a resource or an action, or a resource with actions.
type foundBySearch struct {
	Type     string        `json:"type"`
	ID       string        `json:"id"`
	Name     string        `json:"name"`
	Resource access.Entity `json:"resource"`
	Actions  []struct {
		Name string `json:"name"`
	} `json:"actions"`
}

// searched is the answer to a search.
type searched struct {
	Page struct {
		Next  string `json:"next_token"`
		Count int    `json:"count"`
	} `json:"page"`
	Context struct {
		Candidates []string `json:"candidates"`
		Asked      int      `json:"asked"`
		Reasons    []struct {
			Code string `json:"code"`
		} `json:"reasons"`
		Revision uint64 `json:"data_revision"`
	} `json:"context"`
	Results []foundBySearch `json:"results"`
}

func (s searched) names() []string {
	names := []string{}
	for _, r := range s.Results {
		names = append(names, r.ID+r.Name)
	}
	slices.Sort(names)
	return names
}

func (s *running) search(t testing.TB, as credential, of, body string) (found searched) {
	t.Helper()
	s.ask(t, as, "/access/v1/search/"+of, body).decode(t, &found)
	if found.Page.Count != len(found.Results) {
		t.Errorf("%d results are counted as %d", len(found.Results), found.Page.Count)
	}
	return found
}

// parties are the ids of all records of a type in the fixture.
func parties(t testing.TB, kind string) (ids []string) {
	t.Helper()
	file := readFixture(t, fixtures()["default"])
	switch kind {
	case "user":
		for _, u := range file.Users {
			ids = append(ids, u.ID)
		}
	case "client":
		for _, c := range file.Clients {
			ids = append(ids, c.ID)
		}
	case "apikey":
		for _, k := range file.APIKeys {
			ids = append(ids, k.ID)
		}
	case "vendor":
		for _, v := range file.Vendors {
			ids = append(ids, v.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func quoted(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}

var searchedResources = map[string]string{
	"a document of acme":    `{"type":"document","id":"report","properties":{"org":"acme"}}`,
	"a document of globex":  `{"type":"document","id":"report","properties":{"org":"globex"}}`,
	"a document of initech": `{"type":"document","id":"report","properties":{"org":"initech"}}`,
	"a shared document":     `{"type":"document","id":"plan"}`,
	"one shared in acme":    `{"type":"document","id":"plan","properties":{"org":"acme"}}`,
	"acme itself":           `{"type":"organization","id":"acme"}`,
	"nothing":               `{"type":"document","id":"nothing"}`,
	"of nobody":             `{"type":"document","id":"report","properties":{"org":"nobody"}}`,
}

// AZ-35, AZ-36, AZ-39, AZ-40: a search finds those of a type whom the decision allows, and no others. There is no second
// implementation of the policy to disagree with it: what is tested is that nobody is left out.
func TestSearchFindsExactlyWhatIsDecided(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	decisions := 0
	decided := func(subject, action, resource string) bool {
		decisions++
		var a struct {
			Decision bool `json:"decision"`
		}
		s.ask(t, admin, evaluationPath, `{"subject":`+subject+`,"action":{"name":"`+action+`"},"resource":`+resource+`}`).decode(t, &a)
		return a.Decision
	}
	for name, resource := range searchedResources {
		for _, kind := range []string{"user", "client", "apikey", "vendor", "workload", "stranger"} {
			for _, action := range []string{"documents:read", "documents:write", "documents:delete"} {
				want := []string{}
				for _, id := range parties(t, kind) {
					if decided(`{"type":"`+kind+`","id":`+quoted(t, id)+`}`, action, resource) {
						want = append(want, id)
					}
				}
				for _, options := range []string{"", `,"options":{"everybody":true}`} {
					body := `{"subject":{"type":"` + kind + `","id":"ignored"},"action":{"name":"` + action + `"},"resource":` + resource + options + `}`
					found := s.search(t, admin, "subject", body)
					if got := found.names(); !slices.Equal(got, want) || found.Page.Next != "" {
						t.Errorf("who can %s %s, of the type %s%s: %v, want %v", action, name, kind, options, got, want)
					}
					if slices.ContainsFunc(found.Results, func(r foundBySearch) bool { return r.Type != kind }) || len(found.Context.Reasons) != len(found.Results) {
						t.Errorf("AZ-35 %+v", found)
					}
				}
			}
		}
	}
	for _, subject := range []string{named("user", "alice"), named("user", "carol"), named("user", "frank"), named("client", "acme-sync"), named("client", "operator"),
		named("apikey", "tenant-read"), named("apikey", "dora-write"), named("vendor", "backupco"), named("user", "nobody"), named("stranger", "x")} {
		for kind, all := range map[string][]string{"organization": {"acme", "globex", "initech"}, "document": {"plan"}, "unknown": {"plan"}} {
			want := []string{}
			for _, id := range all {
				if decided(subject, "documents:read", named(kind, id)) {
					want = append(want, id)
				}
			}
			found := s.search(t, admin, "resource", `{"subject":`+subject+`,"action":{"name":"documents:read"},"resource":{"type":"`+kind+`"}}`)
			if got := found.names(); !slices.Equal(got, want) {
				t.Errorf("what of the type %s %s can read: %v, want %v", kind, subject, got, want)
			}
		}
		for name, resource := range searchedResources {
			want := []string{}
			for _, action := range []string{"documents:read", "documents:write", "payments:read"} {
				if decided(subject, action, resource) {
					want = append(want, action)
				}
			}
			found := s.search(t, admin, "action", `{"subject":`+subject+`,"action":{"name":"ignored"},"resource":`+resource+`}`)
			if got := found.names(); !slices.Equal(got, want) {
				t.Errorf("AZ-37 what %s can do to %s: %v, want %v", subject, name, got, want)
			}
		}
	}
	t.Logf("%d decisions agree", decisions)
}

// AZ-42 to AZ-46: pages.
func TestSearchHasPages(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	ask := func(limit, token, more string) string {
		return `{"subject":{"type":"user"},"action":{"name":"documents:read"},"resource":{"properties":{"org":"acme"},"id":"report","type":"document"},"page":{` +
			limit + `"token":"` + token + `"}` + more + `}`
	}
	whole := s.search(t, admin, "subject", ask("", "", "")).names()
	first := s.search(t, admin, "subject", ask(`"limit":1,`, "", ""))
	var got []string
	for page, pages := first, 0; ; pages++ {
		got = append(got, page.names()...)
		if len(page.Results) != 1 || pages > len(whole) {
			t.Fatalf("page %d has %d results", pages, len(page.Results))
		}
		if page.Page.Next == "" {
			break
		}
		// Also without the limit, as the example of the standard has it; and as of the revision that it began at.
		s.managed(t, admin, "PATCH", "/v1/orgs/acme/members/dora", `{"status":"suspended"}`).wantOutcome(t, "a member less", http.StatusOK, "")
		page = s.search(t, admin, "subject", ask("", page.Page.Next, ""))
		if page.Context.Revision != first.Context.Revision {
			t.Errorf("it went on at revision %d after %d", page.Context.Revision, first.Context.Revision)
		}
	}
	if !slices.Equal(got, whole) {
		t.Errorf("in pages %v, at once %v", got, whole)
	}
	if none := s.search(t, admin, "subject", ask(`"limit":0,`, "", "")); len(none.Results) != 0 || none.Page.Next == "" {
		t.Errorf("a limit of 0: %+v", none)
	}
	next := first.Page.Next
	for name, body := range map[string]string{
		"another action":       strings.Replace(ask("", next, ""), "documents:read", "documents:write", 1),
		"another type":         strings.Replace(ask("", next, ""), `"user"`, `"client"`, 1),
		"another resource":     strings.Replace(ask("", next, ""), `"report"`, `"plan"`, 1),
		"another context":      ask("", next, `,"context":{"a":1}`),
		"everybody":            ask("", next, `,"options":{"everybody":true}`),
		"another limit":        ask(`"limit":2,`, next, ""),
		"no token":             ask("", "not-a-token", ""),
		"a path":               ask("", "../../etc/passwd", ""),
		"a cut token":          ask("", next[:len(next)-4], ""),
		"negative limit":       ask(`"limit":-1,`, "", ""),
		"limit in words":       ask(`"limit":"ten",`, "", ""),
		"large limit":          ask(`"limit":100000000000000000000,`, "", ""),
		"half a result":        ask(`"limit":1.5,`, "", ""),
		"page is a list":       `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"d","id":"i"},"page":[]}`,
		"token is a number":    `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"d","id":"i"},"page":{"token":1}}`,
		"everybody in words":   `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"d","id":"i"},"options":{"everybody":"yes"}}`,
		"no action":            `{"subject":{"type":"user"},"resource":{"type":"d","id":"i"}}`,
		"no resource id":       `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"d"}}`,
		"no subject":           `{"action":{"name":"a"},"resource":{"type":"d","id":"i"}}`,
		"subject without type": `{"subject":{},"action":{"name":"a"},"resource":{"type":"d","id":"i"}}`,
	} {
		if a := s.ask(t, admin, "/access/v1/search/subject", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := s.ask(t, holdersOf(t, "default").key("manage-only"), "/access/v1/search/subject", ask("", next, "")); a.status != http.StatusBadRequest {
		t.Errorf("the token of another caller: %v", a)
	}
	for path, body := range map[string]string{
		"resource": `{"subject":{"type":"user"},"action":{"name":"a"},"resource":{"type":"d"}}`,
		"action":   `{"subject":{"type":"user","id":"a"},"resource":{"type":"d"}}`,
	} {
		if a := s.ask(t, admin, "/access/v1/search/"+path, body); a.status != http.StatusBadRequest {
			t.Errorf("AZ-38 %s: %v", path, a)
		}
	}
}

// Who may search is what the policy says: of an organization its own manager.
func TestSearchIsPermitted(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const acme = `{"subject":{"type":"user"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"x","properties":{"org":"acme"}}}`
	globex, nowhere := strings.Replace(acme, `"acme"`, `"globex"`, 1), strings.Replace(acme, `,"properties":{"org":"acme"}`, "", 1)
	alice := s.administrator(t, h, "alice", "acme")
	for _, row := range []struct {
		name                 string
		as                   credential
		inAcme, inGlobex, no int
	}{
		{"manages the tenant", h.pair("tenant-admin"), 200, 200, 200},
		{"manages acme", h.key("acme-manager"), 200, 403, 403},
		{"may ask for decisions", h.key("gateway"), 403, 403, 403},
		{"may read documents", h.key("acme-read"), 403, 403, 403},
		{"a user who administers acme", alice, 403, 403, 403},
		{"nobody", nil, 401, 401, 401},
	} {
		for body, want := range map[string]int{acme: row.inAcme, globex: row.inGlobex, nowhere: row.no} {
			if a := s.ask(t, row.as, "/access/v1/search/subject", body); a.status != want {
				t.Errorf("%s: %v, want %d, for %s", row.name, a, want, body)
			}
		}
	}
	reach := `{"subject":{"type":"user","id":"carol"}%s}`
	for org, want := range map[string]int{`,"org":"acme"`: 200, `,"org":"globex"`: 403, "": 403} {
		if a := s.ask(t, h.key("acme-manager"), "/v1/access/reach", fmt.Sprintf(reach, org)); a.status != want {
			t.Errorf("what carol can do%s: %v", org, a)
		}
	}
}

// What somebody can do is told for each organization and each resource that was shared with them.
func TestReach(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	for subject, want := range map[string]string{
		named("user", "carol"):         "organization:acme documents:read,documents:write; organization:globex documents:read",
		named("user", "frank"):         "document:plan documents:read,documents:write,payments:read",
		named("user", "dave"):          "document:plan documents:read,documents:write,payments:read",
		named("user", "walt"):          "",
		named("client", "acme-sync"):   "organization:acme documents:read; organization:globex documents:read",
		named("apikey", "tenant-read"): "organization:acme documents:read; organization:globex documents:read",
		named("apikey", "acme-read"):   "organization:acme documents:read",
		named("vendor", "backupco"):    "organization:acme documents:read",
		named("user", "nobody"):        "",
	} {
		var found searched
		s.ask(t, admin, "/v1/access/reach", `{"subject":`+subject+`}`).decode(t, &found)
		var all []string
		for _, r := range found.Results {
			var actions []string
			for _, a := range r.Actions {
				actions = append(actions, a.Name)
			}
			all = append(all, r.Resource.Type+":"+r.Resource.ID+" "+strings.Join(actions, ","))
		}
		if got := strings.Join(all, "; "); got != want {
			t.Errorf("%s can\n%s, want\n%s", subject, got, want)
		}
	}
}

// A policy of one's own may allow those who have nothing to do with the organization: they are found when everybody is asked.
func TestSearchOfEverybody(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.engines["default"].Swap(policySet(t, map[string]string{"access.rego": `package mandate.access

default decision := {"allow": false, "reasons": [], "obligations": []}
decision := {"allow": true, "reasons": [{"code": "on_call", "message": "On call."}], "obligations": []} if data.users[input.subject.id].username == "frank"`}))
	body := `{"subject":{"type":"user"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"x","properties":{"org":"acme"}}%s}`
	few, all := s.search(t, admin, "subject", fmt.Sprintf(body, "")), s.search(t, admin, "subject", fmt.Sprintf(body, `,"options":{"everybody":true}`))
	if len(few.Results) != 0 || !slices.Equal(all.names(), []string{"frank"}) {
		t.Errorf("%+v, and of everybody %+v", few, all)
	}
	if !slices.Contains(few.Context.Candidates, "every member of acme") || !slices.Contains(all.Context.Candidates, "every user") || all.Context.Asked < 10 {
		t.Errorf("it does not say who was asked: %+v, %+v", few.Context, all.Context)
	}
}

// A large search goes on page by page in bounded time.
func TestSearchOfManyUsers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	file := strings.Builder{}
	const users = 6_000
	file.WriteString("users:\n")
	for i := range users {
		fmt.Fprintf(&file, "  - {id: u%05d}\n", i)
	}
	file.WriteString("orgs:\n  - id: large\n    members:\n")
	for i := range users {
		fmt.Fprintf(&file, "      - {user: u%05d, roles: [%s]}\n", i, []string{"viewer", "developer", ""}[i%3])
	}
	parsed, err := directory.ParseFile(strings.NewReader(file.String()))
	must(t, err)
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", parsed)
	must(t, err)
	began, asked, found, pages, token := time.Now(), 0, 0, 0, ""
	for {
		page := s.search(t, admin, "subject", `{"subject":{"type":"user"},"action":{"name":"documents:read"},"resource":{"type":"organization","id":"large"},"page":{"limit":1000,"token":"`+token+`"}}`)
		asked, found, pages, token = asked+page.Context.Asked, found+len(page.Results), pages+1, page.Page.Next
		if token == "" {
			break
		}
	}
	took := time.Since(began)
	t.Logf("%d decisions in %d pages took %v: %.0f a second", asked, pages, took, float64(asked)/took.Seconds())
	if want := 2*users/3 + 1; found < want-1 || found > want {
		t.Errorf("%d were found of about %d", found, want)
	}
}

// What no allow has rested on is said of roles, scopes, integrations and rules, with when the others were used last.
func TestUnused(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	for _, q := range [][3]string{
		{named("user", "bob"), "documents:read", "acme"}, {named("user", "carol"), "documents:write", "acme"}, {named("user", "carol"), "documents:read", "globex"},
		{named("client", "acme-editor"), "documents:read", "acme"}, {named("vendor", "backupco"), "documents:read", "acme"},
		{named("user", "bob"), "documents:write", "acme"}, // a denial, which uses nothing
		{named("apikey", "dora-admin"), "documents:write", "acme"},
	} {
		for range 3 {
			body := strings.Replace(question(q[0], q[1], "x"), `"acme"`, `"`+q[2]+`"`, 1)
			if a := s.ask(t, h.key("gateway"), evaluationPath, body); a.status != http.StatusOK {
				t.Fatal(a)
			}
		}
	}
	report := func(since string) access.Unused {
		for {
			var a struct {
				Done   bool          `json:"done"`
				Report access.Unused `json:"report"`
			}
			s.managed(t, admin, "GET", "/v1/access/unused?since="+since, "").decode(t, &a)
			if a.Done {
				return a.Report
			}
		}
	}
	r := report("1h")
	list := func(items []access.Item) (names []string) {
		for _, i := range items {
			names = append(names, strings.Trim(i.Org+"/"+i.Holder+" "+i.Name, "/ "))
		}
		slices.Sort(names)
		return names
	}
	for name, row := range map[string]struct {
		of           access.Items
		used, unused []string
	}{
		"roles":        {r.Roles, []string{"developer", "editor", "globex/ editor", "viewer"}, []string{"admin"}},
		"integrations": {r.Vendors, []string{"acme/ backupco"}, []string{"acme/ closedco", "acme/ scanly", "globex/ scanly", "initech/ backupco"}},
		"scopes": {r.Scopes, []string{"acme/vendor:backupco documents:read", "client:acme-editor documents:read", "apikey:dora-admin documents:write"},
			[]string{"client:acme-editor documents:write", "apikey:dora-admin documents:read", "acme/vendor:scanly documents:read"}},
	} {
		used, unused := list(row.of.Used), list(row.of.Unused)
		for _, want := range row.used {
			if !slices.Contains(used, want) {
				t.Errorf("%s: %s is not among the used %v", name, want, used)
			}
		}
		for _, want := range row.unused {
			if !slices.Contains(unused, want) {
				t.Errorf("%s: %s is not among the unused %v", name, want, unused)
			}
		}
		if row.of.Total != len(used)+len(unused) {
			t.Errorf("%s: %d are not %d and %d", name, row.of.Total, len(used), len(unused))
		}
	}
	held := func(items []access.Item, rule string) bool {
		return slices.ContainsFunc(items, func(i access.Item) bool { return i.Name == rule && i.File != "" && i.Line > 0 })
	}
	if !held(r.Rules.Used, "data.mandate.access.role_grants") || held(r.Rules.Used, "data.mandate.access.related") || !held(r.Rules.Unused, "data.mandate.access.related") {
		t.Errorf("of the rules are used: %v", list(r.Rules.Used))
	}
	if r.Exact == 0 || r.Assumed != 0 || r.Skipped != 0 {
		t.Errorf("%d questions of %d are exact, %d assumed, %d skipped", r.Exact, r.Questions, r.Assumed, r.Skipped)
	}
	if late := report(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); late.Records != 0 || len(late.Roles.Used) != 0 {
		t.Errorf("in the future: %+v", late)
	}
	s.managed(t, h.key("acme-manager"), "GET", "/v1/access/unused", "").wantStatus(t, http.StatusForbidden, "wrong_org")
	s.managed(t, admin, "GET", "/v1/access/unused?since=yesterday", "").wantStatus(t, http.StatusBadRequest, "invalid_request")
}
