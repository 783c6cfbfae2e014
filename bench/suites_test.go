package main

import (
	"bytes"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

// TestSuites runs every suite that needs no other program, as small as it goes. What the figures are is not looked at,
// but each suite compares the answers of its contestants and checks those that it times.
func TestSuites(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the command and starts many servers")
	}
	common := &shared{temp: t.TempDir()}
	for _, s := range suites() {
		if s.name == "peers" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			o, err := parseOptions([]string{"-rounds", "1", "-duration", "100ms", "-requests", "200", "-connections", "2",
				"-orgs", "10", "-members", "10", "-scale-members", "200", "-import-members", "1000", "-log-records", "2000", "-oidc-provider", "../interop"}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{options: o, progress: newProgress(io.Discard), shared: common, temp: t.TempDir(), result: &suiteResult{}}
			if err := s.run(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if len(b.result.Races) == 0 || len(b.result.Notes) == 0 {
				t.Errorf("%d races, %d notes", len(b.result.Races), len(b.result.Notes))
			}
			for _, race := range b.result.Races {
				for _, row := range race.Contestants {
					if len(row.Values) != len(race.Contestants[0].Values) || row.Values[0].Min <= 0 {
						t.Errorf("%s: %s: %+v", race.Title, row.Contestant, row.Values)
					}
				}
			}
		})
	}
}

func TestSerials(t *testing.T) {
	questions := generate(1, 2, 3, 10).questions
	s := &served{name: "server"}
	for _, q := range numbered(questions) {
		body, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		s.exchanges = append(s.exchanges, exchange{request: post("127.0.0.1:1", mandatePath, "", body)})
	}
	if err := s.number(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 3 {
		for i, x := range s.exchanges {
			request := bytes.Clone(x.request)
			x.serial.write(request)
			id := questions[i].Resource.ID + "-" + string(request[x.serial.at:x.serial.at+serialDigits])
			if seen[id] || bytes.Count(request, []byte(`"id":"`+id+`"`)) != 1 {
				t.Errorf("%s is there before, or not in %s", id, request)
			}
			seen[id] = true
		}
	}
	request := []byte("<000000000000>")
	(&serial{at: 1, last: lastSerial(98_765)}).write(request)
	if string(request) != "<000000098766>" {
		t.Errorf("number %s", request)
	}
	s.exchanges[0].request = []byte("no place")
	if err := s.number(); err == nil {
		t.Error("a request without a place for a serial passes")
	}
}

func lastSerial(n uint64) *atomic.Uint64 {
	last := new(atomic.Uint64)
	last.Store(n)
	return last
}

func TestBatchIsCheckedItemByItem(t *testing.T) {
	body := []byte(`{"evaluations":[{"decision":true},{"decision":false},{"decision":true}]}`)
	answers, err := mandateAnswers(body)
	if err != nil || !slices.Equal(answers, []answer{{allow: true}, {}, {allow: true}}) {
		t.Errorf("%v, %v", answers, err)
	}
	if _, err := mandateAnswers([]byte(`{"evaluations":[{"decision":1}]}`)); err == nil {
		t.Error("an item that is no answer passes")
	}
	s := &served{items: 3, yes: `"decision":true`, no: `"decision":false`, exchanges: make([]exchange, 1)}
	s.expect(answers)
	if _, ok := missing(body, s.exchanges[0].expect); ok {
		t.Error("the answer is not what it is expected to be")
	}
	other := []byte(`{"evaluations":[{"decision":true},{"decision":true},{"decision":false}]}`)
	if _, ok := missing(other, s.exchanges[0].expect); !ok {
		t.Error("answers in another order pass")
	}
}

func TestWritesChangeNoDecision(t *testing.T) {
	_, g := small(t)
	store, err := g.open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	members := g.written()
	roles := func() (all [][]string) {
		view, err := store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		for _, m := range members {
			member, err := m.place().Get(t.Context(), view)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, member.Roles)
		}
		return all
	}
	before := roles()
	for _, m := range members {
		if err := change(t.Context(), store, m); err != nil {
			t.Fatal(err)
		}
	}
	for i, changed := range roles() {
		if slices.Contains(changed, idleRole) == (countOf(members, members[i])%2 == 0) {
			t.Errorf("%v: roles %v", members[i], changed)
		}
	}
	for _, m := range members {
		if err := change(t.Context(), store, m); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(before, roles()) {
		t.Error("the roles are not what they were before")
	}
	asked := 0
	for _, m := range members {
		if slices.ContainsFunc(g.questions, func(q question) bool {
			return q.Subject.ID == m.User && q.Resource.Properties.Org == m.Org
		}) {
			asked++
		}
	}
	if asked < len(members)/3 {
		t.Errorf("only %d of %d members that are written are asked about", asked, len(members))
	}
}

func countOf(all []membership, m membership) (n int) {
	for _, other := range all {
		if other == m {
			n++
		}
	}
	return n
}

func TestFactsAreOneDocument(t *testing.T) {
	_, g := small(t)
	var text bytes.Buffer
	err := g.read(t.Context(), func(view datastore.View) error { return writeFacts(t.Context(), view, &text) })
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Orgs map[string]struct {
			Profile map[string]any
			Members map[string]struct{ Roles []string }
			Roles   map[string]any
		}
		Users   map[string]struct{ Status string }
		Clients map[string]any
		Private any
	}
	// It also refuses names that are given twice.
	if err := json.Unmarshal(text.Bytes(), &facts, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	org := facts.Orgs[orgID(10)]
	if len(facts.Orgs) != g.orgs || len(facts.Users) != g.orgs*g.members || len(facts.Clients) != keyClients {
		t.Errorf("%d organizations, %d users, %d clients", len(facts.Orgs), len(facts.Users), len(facts.Clients))
	}
	if len(org.Members) != g.members || len(org.Roles) != 2 || org.Profile["status"] != "active" || facts.Private != nil {
		t.Errorf("an organization is %+v, private facts are %v", org, facts.Private)
	}
}

func TestSuitesByName(t *testing.T) {
	names := func(args ...string) string {
		o, err := parseOptions(args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range o.suites {
			names = append(names, s.name)
		}
		return strings.Join(names, " ")
	}
	if got := names(); got != "decisions different jwt batch writes replay shadow tokens passwords noisy decisionlog" {
		t.Errorf("without a name: %s", got)
	}
	if got := names("scale", "jwt"); got != "scale jwt" {
		t.Errorf("by name: %s", got)
	}
	o, err := parseOptions([]string{"-peers", "openfga=/a/b,cerbos=c=d"}, io.Discard)
	if err != nil || !reflect.DeepEqual(o.peers, map[string]string{"openfga": "/a/b", "cerbos": "c=d"}) {
		t.Errorf("%v, %v", o.peers, err)
	}
	for _, args := range [][]string{{"-peers", "nobody=/a"}, {"-peers", "cerbos"},
		{"-scale-members", "1"}, {"-scale-members", "20000000"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

// TestPeersAreToldTheSame looks at what does not need their programs.
func TestPeersAreToldTheSame(t *testing.T) {
	w := newPeerWorkload(generate(1, 20, 5, 50))
	for permission, want := range map[string]string{
		"documents:write": "admin editor manager own_editor",
		"invoices:pay":    "admin billing",
	} {
		if got := strings.Join(w.holders(permission), " "); got != want {
			t.Errorf("%s is held by %s", permission, got)
		}
	}
	seen := map[tuple]bool{}
	for _, tuple := range w.tuples() {
		if seen[tuple] {
			t.Errorf("%v twice, which would be refused", tuple)
		}
		seen[tuple] = true
	}
	for _, q := range w.questions {
		if !seen[tuple{"organization:" + q.Resource.Properties.Org, "org", q.Resource.Type + ":" + q.Resource.ID}] {
			t.Errorf("%s belongs to no organization", q.Resource.ID)
		}
	}
}

func TestServersTellTheirStart(t *testing.T) {
	c := ceiling(t)
	if cpu, err := processorTime(c.pid); err != nil || cpu < 0 || cpu > time.Minute {
		t.Errorf("%v of a core: %v", cpu, err)
	}
	r, err := c.residentMemory()
	if err != nil || r.own <= 1 || r.all < r.own || c.ready <= 0 || c.ready > time.Minute {
		t.Errorf("%+v MiB after %v: %v", r, c.ready, err)
	}
	o := &childOutput{announced: make(chan string, 1)}
	if _, err := io.WriteString(o, "noise program=1\nprogram=4242\naddress=127.0.0.1:1\n"); err != nil {
		t.Fatal(err)
	}
	if pid, since := o.programStarted(); pid != 4242 || since.IsZero() {
		t.Errorf("program %d since %v", pid, since)
	}
}
