package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"mandate/decisionlog"
)

// decides asks as the gateway and returns the id and whether it was allowed.
func (s *running) decides(t testing.TB, user, action, org string) (id string, allow bool) {
	t.Helper()
	var decided struct {
		Decision bool `json:"decision"`
		Context  struct {
			ID string `json:"decision_id"`
		} `json:"context"`
	}
	body := fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":%q},"resource":{"type":"document","id":"plan","properties":{"org":%q}}}`, user, action, org)
	s.managed(t, holdersOf(t, "default").key("gateway"), http.MethodPost, evaluationPath, body).decode(t, &decided)
	return decided.Context.ID, decided.Decision
}

type foundRecords struct {
	Items []decisionlog.DecisionRecord `json:"items"`
	Next  string                       `json:"next_cursor"`
	After string                       `json:"after"`
}

func (s *running) found(t testing.TB, as credential, query string) foundRecords {
	t.Helper()
	var found foundRecords
	s.managed(t, as, http.MethodGet, "/v1/decisions?"+query, "").decode(t, &found)
	return found
}

func TestDecisionsAreFound(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	var ids []string
	for _, q := range []struct{ user, action, org string }{
		{"bob", "documents:read", "acme"}, {"bob", "documents:write", "acme"}, {"bob", "documents:read", "acme"}, {"erin", "documents:read", "globex"},
	} {
		id, _ := s.decides(t, q.user, q.action, q.org)
		ids = append(ids, id)
	}
	for _, row := range []struct {
		query string
		want  []int // of ids, in order
	}{
		{"point=mandate/access", []int{3, 2, 1, 0}},
		{"subject=user:bob", []int{2, 1, 0}},
		{"subject=user:bob&outcome=allow", []int{2, 0}},
		{"subject=user:bob&outcome=deny", []int{1}},
		{"action=documents:read&org=globex", []int{3}},
		{"resource=document:plan&limit=2", []int{3, 2}},
		{"caller=apikey:gateway&reason=role", []int{3, 2, 0}},
		{"subject=user:nobody", nil},
		{"point=mandate/access&since=1h", []int{3, 2, 1, 0}},
		{"point=mandate/access&until=1h", nil},
		{"point=mandate/access&cursor=" + ids[2], []int{1, 0}},
		{"point=mandate/access&after=" + ids[1], []int{2, 3}},
		{"point=mandate/access&after=" + ids[1] + "&limit=1", []int{2}},
	} {
		found := s.found(t, admin, row.query)
		var got, want []string
		for _, r := range found.Items {
			got = append(got, r.ID)
		}
		for _, i := range row.want {
			want = append(want, ids[i])
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s finds %v, want %v", row.query, got, want)
		}
	}
	// Remembered or not, a record says what was asked and answered.
	var first, again decisionlog.DecisionRecord
	s.managed(t, admin, http.MethodGet, "/v1/decisions/"+ids[0], "").decode(t, &first)
	s.managed(t, admin, http.MethodGet, "/v1/decisions/"+ids[2], "").decode(t, &again)
	if first.Remembered || !again.Remembered || !again.Allow || string(first.Input) != string(again.Input) || !strings.Contains(fmt.Sprint(again.Footprint), "orgs/acme/members/bob") {
		t.Errorf("%+v\n%+v", first, again)
	}
}

func TestDecisionsAreForWhomThePolicyLets(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	acme, _ := s.decides(t, "bob", "documents:read", "acme")
	globex, _ := s.decides(t, "erin", "documents:read", "globex")
	for _, row := range []struct {
		who    string
		as     credential
		path   string
		status int
		code   string
	}{
		{"the tenant's manager", h.key("manage-only"), "/v1/decisions", 200, ""},
		{"an organization's", h.key("acme-manager"), "/v1/decisions", 403, "wrong_org"},
		{"an organization's, for its own", h.key("acme-manager"), "/v1/decisions?org=acme", 200, ""},
		{"an organization's, for another", h.key("acme-manager"), "/v1/decisions?org=globex", 403, "wrong_org"},
		{"who may only ask", h.key("gateway"), "/v1/decisions", 403, "scope_missing"},
		{"the tenant's manager, one", h.key("manage-only"), "/v1/decisions/" + globex, 200, ""},
		{"an organization's, its own", h.key("acme-manager"), "/v1/decisions/" + acme, 200, ""},
		{"an organization's, another's", h.key("acme-manager"), "/v1/decisions/" + globex, 403, "wrong_org"},
		{"an organization's, what is not there", h.key("acme-manager"), "/v1/decisions/0000000000000", 403, "wrong_org"},
		{"what is not there", h.key("manage-only"), "/v1/decisions/0000000000000", 404, "not_found"},
		{"what is no id", h.key("manage-only"), "/v1/decisions/x", 404, "not_found"},
		{"another tenant's", h.key("manage-only"), "/t/staging/v1/decisions/" + acme, 401, "credential_invalid"},
		{"a wrong parameter", h.key("manage-only"), "/v1/decisions?who=bob", 400, "invalid_request"},
		{"a wrong time", h.key("manage-only"), "/v1/decisions?since=yesterday", 400, "invalid_request"},
		{"a wrong limit", h.key("manage-only"), "/v1/decisions?limit=0", 400, "invalid_request"},
		{"waiting for the past", h.key("manage-only"), "/v1/decisions?wait=5", 400, "invalid_request"},
	} {
		t.Run(row.who, func(t *testing.T) {
			got := s.managed(t, row.as, http.MethodGet, row.path, "")
			if code, _ := got.object(t)["code"].(string); got.status != row.status || code != row.code {
				t.Errorf("%v, want %d %s", got, row.status, row.code)
			}
		})
	}
}

// A listing waits for the next record that it is about.
func TestDecisionsAreFollowed(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	after := s.found(t, admin, "after=now").After
	got := make(chan foundRecords, 1)
	go func() { got <- s.found(t, admin, "wait=10&subject="+url.QueryEscape("user:carol")+"&after="+after) }()
	deadline := time.After(9 * time.Second)
	for {
		// The listing may not wait yet: what is decided before it begins, it finds.
		s.decides(t, "bob", "documents:read", "acme")
		id, _ := s.decides(t, "carol", "documents:read", "acme")
		select {
		case found := <-got:
			if len(found.Items) == 0 || found.After < after || found.Items[0].Description.About().Subject != "user:carol" {
				t.Errorf("%+v", found)
			}
			return
		case <-deadline:
			t.Fatal("nothing was told of", id)
		default:
		}
	}
}

// What a client of OPA asks is recorded as well, with its answer.
func TestQueriesAreRecorded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		path, input string
		allow       bool
		answer      string // begins so
	}{
		{"mandate/access/decision", `{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:read"}}`, false, `{"allow":false`},
		{"mandate/access/decision/allow", `{}`, false, `false`},
		{"nothing/here", `{}`, false, ``},
	} {
		var answered struct {
			ID string `json:"decision_id"`
		}
		s.managed(t, h.pair("tenant-admin"), http.MethodPost, "/v1/data/"+row.path, `{"input":`+row.input+`}`).decode(t, &answered)
		var record decisionlog.DecisionRecord
		s.managed(t, h.pair("tenant-admin"), http.MethodGet, "/v1/decisions/"+answered.ID, "").decode(t, &record)
		if record.Kind != decisionlog.DataQuery || record.Point != row.path || string(record.Input) != row.input || record.Allow != row.allow ||
			!strings.HasPrefix(string(record.Answer), row.answer) || (row.answer == "") != (record.Answer == nil) {
			t.Errorf("%s: %+v", row.path, record)
		}
	}
}

// A page of large records ends early, and the next one goes on.
func TestDecisionsAreListedInPagesOfBoundedSize(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const records = 25
	for i := range records {
		body := strings.TrimSuffix(question(named("user", "bob"), "documents:read", fmt.Sprintf("r%d", i)), "}")
		s.ask(t, h.key("gateway"), evaluationPath, body+`,"context":{"x":"`+strings.Repeat("x", 900<<10)+`"}}`).decision(t)
	}
	for _, first := range []string{"", "&after=0000000000000"} {
		found, pages, next := map[string]bool{}, 0, first
		for ; len(found) < records && pages < records; pages++ {
			a := s.send(t, http.MethodGet, "/v1/decisions?org=acme&point=mandate/access&limit=500"+next, "", h.key("acme-manager")...)
			var page foundRecords
			a.decode(t, &page)
			if len(a.body) > 10<<20 {
				t.Errorf("a page has %d bytes", len(a.body))
			}
			for _, item := range page.Items {
				found[item.ID] = true
			}
			if next = "&after=" + page.After; page.Next != "" {
				next = "&cursor=" + page.Next
			}
		}
		if len(found) != records || pages != 3 {
			t.Errorf("%d are found in %d pages%s", len(found), pages, first)
		}
	}
}

// Whoever reads much at once is refused, and told when to ask again.
func TestHeavyReadsAreBounded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	id, _ := s.decides(t, "bob", "documents:read", "acme")
	admin := h.pair("tenant-admin")
	s.server.RefuseHeavy()
	search := `{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"x","properties":{"org":"acme"}}}`
	for _, row := range []struct{ method, path, body string }{
		{http.MethodGet, "/v1/decisions", ""},
		{http.MethodGet, "/v1/decisions/" + id, ""},
		{http.MethodGet, "/v1/decisions/" + id + "/explanation", ""},
		{http.MethodGet, "/v1/decisions/" + id + "/scenario", ""},
		{http.MethodPost, "/v1/explain", search},
		{http.MethodPost, "/access/v1/search/subject", search},
		{http.MethodPost, "/access/v1/search/resource", search},
		{http.MethodPost, "/access/v1/search/action", search},
		{http.MethodPost, "/v1/access/reach", search},
		{http.MethodGet, "/v1/access/unused", ""},
		{http.MethodPost, "/v1/apikeys/gateway/drill", ""},
		{http.MethodPost, "/v1/apikeys/gateway/drill/revoke", ""},
		{http.MethodPost, "/v1/orgs/acme/integrations/backupco/drill", ""},
	} {
		a := s.managed(t, admin, row.method, row.path, row.body)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, "send the next one when") {
			t.Errorf("%s %s: %v, Retry-After %q", row.method, row.path, a, a.header.Get("Retry-After"))
		}
	}
	s.managed(t, h.key("acme-manager"), http.MethodGet, "/v1/decisions", "").wantStatus(t, http.StatusForbidden, "wrong_org")
	s.managed(t, admin, http.MethodGet, "/v1/decisions", "").wantStatus(t, http.StatusServiceUnavailable, "too_many_heavy_requests")
}

// What cannot have been decided yet is not looked for in the log.
func TestDecisionToComeIsNotLookedFor(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	past, _ := s.decides(t, "bob", "documents:read", "acme")
	folder := s.logs["default"].Folder()
	must(t, os.Rename(folder, folder+".away"))
	defer func() { must(t, os.Rename(folder+".away", folder)) }()
	future := decisionlog.IDAt(s.clock.now().Add(time.Hour)).String()
	s.managed(t, h.pair("tenant-admin"), http.MethodGet, "/v1/decisions/"+future, "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, h.key("acme-manager"), http.MethodGet, "/v1/decisions/"+future, "").wantStatus(t, http.StatusForbidden, "wrong_org")
	s.managed(t, h.pair("tenant-admin"), http.MethodGet, "/v1/decisions/"+past, "").wantStatus(t, http.StatusInternalServerError, "internal")
}
