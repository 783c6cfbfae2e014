package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/engine"
	"mandate/policycheck"
	"mandate/policyset"
)

// explained is what an explanation says.
type explained struct {
	Decision    bool
	Context     struct{ DecisionID, PolicyRevision string }
	Explanation struct {
		Grounds []struct {
			Rule      string
			Condition struct{ Text string }
			Facts     []struct {
				Path  string
				Found bool
				Value json.RawMessage
			}
		}
		Otherwise struct {
			Needed []struct{ Sentence string }
			None   string
		}
		Repeated *struct {
			Same    bool
			Inexact string
			Logged  *struct{ Reasons []struct{ Code string } }
		}
		Facts []struct {
			Path  string
			Value json.RawMessage
		}
	}
}

func (a answer) explained(t testing.TB) explained {
	t.Helper()
	var x explained
	if err := json.Unmarshal([]byte(a.body), &x); err != nil || a.status != http.StatusOK {
		t.Fatalf("not an explanation: %.500v", a)
	}
	return x
}

func (x explained) needed() string {
	var all []string
	for _, n := range x.Explanation.Otherwise.Needed {
		all = append(all, n.Sentence)
	}
	return strings.Join(all, "; ")
}

func (x explained) value(path string) string {
	for _, f := range x.Explanation.Facts {
		if f.Path == path {
			return string(f.Value)
		}
	}
	return "not read"
}

// decided asks and returns the id of the record.
func (s *running) decided(t testing.TB, body string) string {
	t.Helper()
	return s.ask(t, holdersOf(t, "default").key("gateway"), evaluationPath, body).decision(t).Context.DecisionID
}

const nobodyMayAnything = "package mandate.access\n\ndecision := {\"allow\": false, \"reasons\": [{\"code\": \"closed\", \"message\": \"Closed.\"}], \"obligations\": []}\n"

// closed replaces the access policy by one that allows nothing.
func (s *running) closed(t testing.TB) {
	t.Helper()
	s.decidedBy(t, "access/", engine.File{Name: "access/access.rego", Text: nobodyMayAnything})
}

// decidedBy makes the default policies the active set, with a file in place of those below a folder.
func (s *running) decidedBy(t testing.TB, instead string, file engine.File) {
	t.Helper()
	set, err := defaultPolicies()
	must(t, err)
	files := []engine.File{file}
	for _, f := range set.Files() {
		if !strings.HasPrefix(f.Name, instead) {
			files = append(files, f)
		}
	}
	changed, err := engine.CompileFiles(t.Context(), files)
	must(t, err)
	library := policyset.New(policyset.Options{Tenant: "default", Store: s.store, Engine: s.engines["default"], Now: s.clock.now})
	must(t, library.Offer(t.Context(), changed, "folder"))
}

func TestExplainFreshDecisions(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct{ question, subject, needed string }{
		{"a member without the role", question(named("user", "bob"), "documents:write", "report"), "bob lacks the role admin or editor in acme; nothing makes user:bob editor or owner of document report"},
		{"a disabled user", question(named("user", "walt"), "documents:write", "report"), "the user walt is disabled, not active"},
		{"an API key by its name", question(named("apikey", "acme-read"), "documents:write", "report"), "the API key acme-read lacks the scope documents:write"},
		{"an API key that was presented", question(presented(t, h.key("acme-read")), "documents:write", "report"), "the API key acme-read lacks the scope documents:write"},
		{"a vendor", question(named("vendor", "scanly"), "documents:read", "report"), "the integration of scanly with acme is suspended, not active"},
	} {
		x := s.ask(t, h.pair("tenant-admin"), "/v1/explain", row.subject).explained(t)
		if x.Decision || x.needed() != row.needed {
			t.Errorf("%s: want %q, got %q %q", row.question, row.needed, x.needed(), x.Explanation.Otherwise.None)
		}
	}
	x := s.ask(t, h.pair("tenant-admin"), "/v1/explain", question(presented(t, bearer("no-such-key")), "documents:read", "r")).explained(t)
	if !strings.HasPrefix(x.Explanation.Otherwise.None, "the credential was refused") {
		t.Errorf("%+v", x.Explanation.Otherwise)
	}
}

// A decision is explained by the policies and the facts that it was made by, whatever they are now.
func TestExplainLoggedDecisions(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	denied := s.decided(t, question(named("user", "bob"), "documents:write", "report"))
	allowed := s.decided(t, question(named("user", "bob"), "documents:read", "report"))
	foreign := s.decided(t, strings.Replace(question(named("user", "erin"), "documents:read", "report"), "acme", "globex", 1))
	s.managed(t, admin, "PATCH", "/v1/orgs/acme/members/bob", `{"roles":["editor"]}`)
	s.closed(t)
	if a := s.ask(t, h.key("gateway"), evaluationPath, question(named("user", "bob"), "documents:write", "report")); a.decision(t).reason() != "closed" {
		t.Fatalf("the other set does not decide: %v", a)
	}

	x := s.send(t, "GET", "/v1/decisions/"+denied+"/explanation", "", admin...).explained(t)
	if x.Decision || !x.Explanation.Repeated.Same || x.needed() != "bob lacks the role admin or editor in acme; nothing makes user:bob editor or owner of document report" ||
		!strings.Contains(x.value("orgs/acme/members/bob"), "viewer") {
		t.Errorf("%+v", x)
	}
	if x := s.send(t, "GET", "/v1/decisions/"+allowed+"/explanation", "", admin...).explained(t); !x.Decision || !x.Explanation.Repeated.Same {
		t.Errorf("%+v", x)
	}

	for _, row := range []struct {
		who        string
		credential credential
		id         string
		status     int
	}{
		{"the organization's own manager", h.key("acme-manager"), denied, 200},
		{"another organization's manager", h.key("acme-manager"), foreign, 403},
		{"an organization's manager, of what is not there", h.key("acme-manager"), "0000000000000", 403},
		{"a key with decide", h.key("gateway"), denied, 403},
		{"a key without either", h.key("acme-read"), denied, 403},
		{"nobody", nil, denied, 401},
		{"of what is not there", admin, "0000000000000", 404},
		{"of what is no id", admin, "x", 404},
	} {
		for _, what := range []string{"explanation", "scenario"} {
			want := row.status
			if what == "scenario" && row.who == "the organization's own manager" {
				want = 403
			}
			if a := s.send(t, "GET", "/v1/decisions/"+row.id+"/"+what, "", row.credential...); a.status != want {
				t.Errorf("%s of %s: want %d, got %.300v", what, row.who, want, a)
			}
		}
	}
	// What is not the organization's own is hidden from its manager.
	x = s.send(t, "GET", "/v1/decisions/"+denied+"/explanation", "", h.key("acme-manager")...).explained(t)
	if x.value("users/bob") != "not read" || !strings.Contains(x.value("orgs/acme/members/bob"), "viewer") {
		t.Errorf("users/bob is %q, the membership %q", x.value("users/bob"), x.value("orgs/acme/members/bob"))
	}
	if x.needed() == "" {
		t.Error("nothing is said to be needed")
	}
}

func TestScenarioOfDecision(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	set, err := defaultPolicies()
	must(t, err)
	for _, row := range []struct {
		question, body string
		facts          []string
	}{
		{"an allow", question(named("user", "bob"), "documents:read", "report"), []string{"orgs/acme/members/bob", "orgs/acme/profile", "roles/viewer", "users/bob"}},
		{"a denial", question(named("user", "bob"), "documents:write", "report"), []string{"orgs/acme/members/bob", "orgs/acme/profile", "users/bob"}},
		{"a credential", question(presented(t, h.key("acme-read")), "documents:read", "report"), []string{"apikeys/acme-read", "orgs/acme/profile"}},
	} {
		t.Run(row.question, func(t *testing.T) {
			id := s.decided(t, row.body)
			a := s.send(t, "GET", "/v1/decisions/"+id+"/scenario", "", h.pair("tenant-admin")...)
			text, _ := a.object(t)["scenario"].(string)
			scenario, err := policycheck.Parse("decision.yaml", []byte(text))
			if err != nil {
				t.Fatalf("%v in %v", err, a)
			}
			var facts []string
			for path := range scenario.Facts {
				facts = append(facts, path)
			}
			slices.Sort(facts)
			if !slices.Equal(facts, row.facts) || strings.Contains(text, "username") {
				t.Errorf("it has %q:\n%s", facts, text)
			}
			store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
			must(t, err)
			defer func() { must(t, store.Close()) }()
			results, err := policycheck.Runner{Set: set, Store: store, Master: s.master}.RunScenarios(t.Context(), []policycheck.Scenario{scenario})
			must(t, err)
			if len(results) != 1 || results[0].Outcome != policycheck.Passed {
				t.Errorf("%+v", results)
			}
		})
	}
}

func TestAsOf(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	ask := func(c credential, path, body, asOf string) answer {
		if asOf != "" {
			path += "?as_of=" + url.QueryEscape(asOf)
		}
		return s.ask(t, c, path, body)
	}
	write, read := question(named("user", "bob"), "documents:write", "report"), question(named("user", "bob"), "documents:read", "report")
	first := s.store.Newest()
	var commit time.Time
	for change, err := range s.store.Watch(t.Context(), first-1) {
		must(t, err)
		commit = change.Time
		break
	}
	s.managed(t, admin, "PATCH", "/v1/orgs/acme/members/bob", `{"roles":["editor"]}`)
	second := s.store.Newest()
	s.closed(t)
	third := s.store.Newest()
	at := func(r datastore.Revision) string { return fmt.Sprint(r) }
	for _, row := range []struct{ rule, body, asOf, want string }{
		{"now nobody may", read, at(third), "closed"},
		{"by the facts of then", write, at(first), "role_missing"},
		{"by the time of then", write, commit.UTC().Format(time.RFC3339Nano), "role_missing"},
		{"by the facts of a little later", write, at(second), "role"},
		{"by the policies of then", read, at(first), "role"},
		{"without it, by those of now", read, "", "closed"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := ask(admin, evaluationPath, row.body, row.asOf)
			if a.status != 200 || a.decision(t).reason() != row.want {
				t.Errorf("want %s, got %v", row.want, a)
			}
			if row.asOf == at(first) && a.decision(t).Context.DataRevision != uint64(first) {
				t.Errorf("not of revision %d: %v", first, a)
			}
			if x := ask(admin, "/v1/explain", row.body, row.asOf).decision(t); x.reason() != row.want {
				t.Errorf("it is explained as %q", x.reason())
			}
			batch := ask(admin, evaluationsPath, `{"evaluations":[`+row.body+`]}`, row.asOf).decision(t)
			if len(batch.Evaluations) != 1 || batch.Evaluations[0].reason() != row.want {
				t.Errorf("in a batch it is %+v", batch)
			}
		})
	}
	// It is explained by what it was asked of.
	id := ask(admin, evaluationPath, write, at(first)).decision(t).Context.DecisionID
	if x := s.send(t, "GET", "/v1/decisions/"+id+"/explanation", "", admin...).explained(t); x.Decision || !x.Explanation.Repeated.Same {
		t.Errorf("%+v", x)
	}
	if record := s.send(t, "GET", "/v1/decisions/"+id, "", admin...).object(t); record["kind"] != "as_of" {
		t.Errorf("recorded as %v", record)
	}

	foreign := strings.Replace(write, "acme", "globex", 1)
	for _, row := range []struct {
		rule       string
		credential credential
		body, asOf string
		status     int
	}{
		{"a caller that may only ask about now", h.key("gateway"), write, at(first), 403},
		{"the same before the answer is in reach", h.key("gateway"), write, "1999-01-01T00:00:00Z", 403},
		{"no time and no revision", admin, write, "yesterday", 400},
		{"a revision to come", admin, write, at(third + 1000), 400},
		{"a time to come", admin, write, "2999-01-01T00:00:00Z", 400},
		{"no revision", admin, write, "0", 400},
		{"a credential says nothing of then", admin, question(presented(t, h.key("acme-read")), "documents:read", "report"), at(first), 400},
		{"the caller itself", admin, question(caller, "documents:read", "report"), at(first), 200},
		{"another organization's manager", h.key("acme-manager"), foreign, at(first), 403},
	} {
		if a := ask(row.credential, evaluationPath, row.body, row.asOf); a.status != row.status {
			t.Errorf("%s: want %d, got %v", row.rule, row.status, a)
		}
	}
}

func TestAsOfWhatIsGone(t *testing.T) {
	var store *badgerstore.Store
	var ahead clock
	s := startWith(t, fixture{wrap: func(opened datastore.Store) datastore.Store {
		t.Cleanup(func() { must(t, opened.Close()) })
		var err error
		store, err = badgerstore.Open(t.TempDir(), badgerstore.Options{Retention: time.Hour, Now: ahead.now})
		must(t, err)
		return store
	}})
	h := holdersOf(t, "default")
	id := s.decided(t, question(named("user", "bob"), "documents:write", "report"))
	first := s.store.Newest()
	ahead.advance(2 * time.Hour)
	s.managed(t, h.pair("tenant-admin"), "PATCH", "/v1/orgs/acme/members/bob", `{"roles":["editor"]}`)
	ahead.advance(2 * time.Hour)
	must(t, store.DiscardHistory(t.Context()))
	for path, want := range map[string]string{
		"/v1/decisions/" + id + "/explanation": "revision_gone",
		"/v1/decisions/" + id + "/scenario":    "revision_gone",
	} {
		if a := s.send(t, "GET", path, "", h.pair("tenant-admin")...); a.status != http.StatusGone || a.object(t)["code"] != want || !strings.Contains(a.body, "history") {
			t.Errorf("%s: %v", path, a)
		}
	}
	for _, asOf := range []string{fmt.Sprint(first), "2020-01-01T00:00:00Z"} {
		if a := s.ask(t, h.pair("tenant-admin"), "/v1/explain?as_of="+asOf, good); a.status != http.StatusGone {
			t.Errorf("as of %s: %v", asOf, a)
		}
	}
}

// What was masked is not known when the decision is made again, which is said.
func TestExplainMaskedDecision(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.decidedBy(t, "log/", engine.File{Name: "log/mask.rego", Text: "package mandate.log\n\nmask contains \"/input/resource/id\"\n"})
	id := s.decided(t, question(named("user", "bob"), "documents:write", "report"))
	x := s.send(t, "GET", "/v1/decisions/"+id+"/explanation", "", admin...).explained(t)
	if !strings.Contains(x.Explanation.Repeated.Inexact, "masked") || x.Explanation.Repeated.Same {
		t.Errorf("%+v", x.Explanation.Repeated)
	}
	asked := s.ask(t, admin, evaluationPath+"?as_of="+fmt.Sprint(s.store.Newest()), question(named("user", "bob"), "documents:write", "secret-plan")).decision(t)
	if a := s.send(t, "GET", "/v1/decisions/"+asked.Context.DecisionID, "", admin...); strings.Contains(a.body, `"id":"secret-plan"`) || a.object(t)["kind"] != "as_of" {
		t.Errorf("not masked: %v", a)
	}
	if a := s.send(t, "GET", "/v1/decisions/"+id+"/scenario", "", admin...); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "masked") {
		t.Errorf("%v", a)
	}
}

// A decision that comes out differently when it is made again says so.
func TestExplainADecisionThatIsAnotherEachTime(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.decidedBy(t, "access/", engine.File{Name: "access/access.rego", Text: `package mandate.access

decision := {"allow": true, "reasons": [{"code": uuid.rfc4122(input.action.name), "message": "By chance."}], "obligations": []}
`})
	id := s.decided(t, question(named("user", "bob"), "documents:write", "report"))
	x := s.send(t, "GET", "/v1/decisions/"+id+"/explanation", "", admin...).explained(t)
	if r := x.Explanation.Repeated; r.Same || r.Inexact != "" || r.Logged == nil || len(r.Logged.Reasons) != 1 {
		t.Errorf("%+v", r)
	}
	if a := s.send(t, "GET", "/v1/decisions/"+id+"/scenario", "", admin...); a.status != http.StatusUnprocessableEntity {
		t.Errorf("%v", a)
	}
}
