package server_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/engine"
	"mandate/manage"
	"mandate/policies"
	"mandate/server"
)

const (
	policiesPath = "/v1/policies"
	// pressKit is a document that only the changed policies let everybody read.
	pressKit = "press-kit"
)

// policyFiles are the built-in policies without their tests, for which the machine has no time here, and with more files.
func policyFiles(t testing.TB, more ...engine.File) []engine.File {
	t.Helper()
	all, err := engine.Load(policies.FS)
	must(t, err)
	var files []engine.File
	for _, f := range all {
		if !strings.HasSuffix(f.Name, "_test.rego") {
			files = append(files, f)
		}
	}
	return append(files, more...)
}

// variant is a set that decides as the built-in policies do, and is another one for each name.
func variant(t testing.TB, name string) string {
	return pushed(t, policyFiles(t, engine.File{Name: "variants/" + name + ".rego", Text: "package variants." + name + "\n"}))
}

// opened is variant, but everybody may read the press kit.
func opened(t testing.TB, name string) string {
	files := policyFiles(t, engine.File{Name: "variants/" + name + ".rego", Text: "package variants." + name + "\n"})
	const decision = `decision := {"allow": true, "reasons": [grant], "obligations": []} if allow`
	for i, f := range files {
		if f.Name == "access/access.rego" {
			files[i].Text = strings.Replace(f.Text, decision, `decision := {"allow": true, "reasons": [{"code": "press", "message": "For everybody."}], "obligations": []} if {
	input.resource.id == "`+pressKit+`"
}

else := {"allow": true, "reasons": [grant], "obligations": []} if allow`, 1)
			if files[i].Text == f.Text {
				t.Fatal("the built-in policies have no such decision")
			}
		}
	}
	return pushed(t, files)
}

func pushed(t testing.TB, files []engine.File) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"files": files, "note": "for a test"})
	must(t, err)
	return string(text)
}

func one(t testing.TB, name, text string) string {
	return pushed(t, []engine.File{{Name: name, Text: text}})
}

// push stores a set and returns its revision.
func (s *running) push(t testing.TB, as credential, body string) string {
	t.Helper()
	id, _ := s.managed(t, as, "POST", policiesPath, body).wantMembers(t, http.StatusCreated, map[string]any{"status": "stored", "source": "push"})["id"].(string)
	if len(id) != 64 {
		t.Fatalf("the revision is %q", id)
	}
	return id
}

// readsPressKit asks whether a stranger may read the press kit.
func (s *running) readsPressKit(t testing.TB, h holders) string {
	t.Helper()
	return s.ask(t, h.key("gateway"), evaluationPath, question(named("user", "frank"), "documents:read", pressKit)).verdict()
}

// An activation that is answered decides at once, and can be taken back in a second.
func TestPolicySetsHaveALife(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	builtin := s.engines[server.DefaultTenant].Policies().Revision()
	first := s.push(t, admin, opened(t, "first"))
	if again := s.managed(t, admin, "POST", policiesPath, opened(t, "first")); again.status != http.StatusOK {
		t.Errorf("pushed again: %v", again)
	}
	if s.readsPressKit(t, h) != "deny" {
		t.Error("a stored set decides")
	}
	activate := s.managed(t, admin, "POST", policiesPath+"/"+first[:7]+"/activate", `{"note": "open the press kit"}`)
	activate.wantMembers(t, http.StatusOK, map[string]any{"id": first, "status": "active"})
	if s.readsPressKit(t, h) != "allow" {
		t.Error("an activation that was answered does not decide")
	}
	second := s.push(t, admin, variant(t, "second"))
	s.managed(t, admin, "POST", policiesPath+"/"+second+"/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	if s.readsPressKit(t, h) != "deny" {
		t.Error("the second set does not decide")
	}
	began := time.Now()
	s.managed(t, admin, "POST", policiesPath+"/rollback", `{"note": "wrong"}`).wantMembers(t, http.StatusOK, map[string]any{"id": first})
	if took := time.Since(began); took > time.Second || s.readsPressKit(t, h) != "allow" {
		t.Errorf("a rollback took %v", took)
	}
	s.managed(t, admin, "POST", policiesPath+"/rollback", "").wantMembers(t, http.StatusOK, map[string]any{"id": builtin})
	s.managed(t, admin, "POST", policiesPath+"/rollback", "").wantStatus(t, http.StatusConflict, "nothing_to_roll_back_to")
	s.managed(t, admin, "POST", policiesPath+"/rollback", `{"to": 3}`).wantMembers(t, http.StatusOK, map[string]any{"id": second})
	s.managed(t, admin, "POST", policiesPath+"/rollback", `{"to": 99}`).wantStatus(t, http.StatusConflict, "no_such_activation")

	var log struct {
		Items []struct {
			Number               uint64
			Set, Former, By, How string
		}
	}
	s.managed(t, admin, "GET", policiesPath+"/activations?limit=3", "").decode(t, &log)
	got := ""
	for _, a := range log.Items {
		got += fmt.Sprintln(a.Number, a.Set == second, a.How, a.By)
	}
	if want := "6 true rollback apikey:tenant-admin\n5 false rollback apikey:tenant-admin\n4 false rollback apikey:tenant-admin\n"; got != want {
		t.Errorf("the activations are\n%swant\n%s", got, want)
	}
	var shown struct {
		Status      string
		Files       []struct{ Name string }
		EntryPoints []string `json:"entry_points"`
		Activations []struct{ Number uint64 }
	}
	s.managed(t, admin, "GET", policiesPath+"/active", "").decode(t, &shown)
	if len(shown.EntryPoints) != 3 || len(shown.Files) < 10 || len(shown.Activations) != 2 || shown.Status != "active" {
		t.Errorf("shown: %+v", shown)
	}
	var diff struct {
		Files []struct{ Name, Change, Diff string }
	}
	s.managed(t, admin, "GET", policiesPath+"/source/diff/"+first[:9], "").decode(t, &diff)
	if text := fmt.Sprint(diff.Files); !strings.Contains(text, "{access/access.rego changed --- a/access/access.rego\n+++ b/access/access.rego\n@@ ") ||
		!strings.Contains(text, "access_test.rego removed") || !strings.Contains(text, "{variants/first.rego added") {
		t.Errorf("the difference is %s", text)
	}
	var files struct{ Files []engine.File }
	s.managed(t, admin, "GET", policiesPath+"/"+first+"/files", "").decode(t, &files)
	if len(files.Files) != len(policyFiles(t))+1 {
		t.Errorf("%d files", len(files.Files))
	}
	var audit struct {
		Items []struct {
			Action         string
			Resource       struct{ Type, ID string }
			PolicyRevision string `json:"policy_revision"`
		}
	}
	s.managed(t, admin, "GET", "/v1/audit?limit=1&action=policies.activate", "").decode(t, &audit)
	if a := audit.Items[0]; a.Resource.ID != second || a.Resource.Type != "policy" || a.PolicyRevision != first {
		t.Errorf("the audit has %+v, want the activation of %s by %s", a, second, first)
	}
}

func TestPolicySetNames(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	id := s.push(t, admin, variant(t, "named"))
	for _, row := range []struct {
		name   string
		status int
	}{
		{id, http.StatusOK}, {id[:7], http.StatusOK}, {id[:6], http.StatusNotFound}, {strings.ToUpper(id), http.StatusNotFound}, {id + "0", http.StatusNotFound},
		{"active", http.StatusOK}, {"source", http.StatusOK}, {"former", http.StatusNotFound}, {"shadow", http.StatusNotFound}, {"..%2fstate", http.StatusNotFound},
		{strings.Repeat("f", 64), http.StatusNotFound}, {"aaaaaaa%2f", http.StatusNotFound},
	} {
		if a := s.managed(t, admin, "GET", policiesPath+"/"+row.name, ""); a.status != row.status {
			t.Errorf("%s: %v, want %d", row.name, a, row.status)
		}
	}
	var page struct {
		Items []struct{ ID, Status string }
		Next  string `json:"next_cursor"`
	}
	s.managed(t, admin, "GET", policiesPath+"?limit=1", "").decode(t, &page)
	if len(page.Items) != 1 || page.Items[0].ID != id || page.Items[0].Status != "stored" {
		t.Fatalf("the newest is %+v", page)
	}
	s.managed(t, admin, "GET", policiesPath+"?limit=1&cursor="+page.Next, "").decode(t, &page)
	if len(page.Items) != 1 || page.Items[0].Status != "active" {
		t.Errorf("then %+v", page)
	}
}

func TestShadowsAreNotAnswered(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	id := s.push(t, admin, opened(t, "shadow"))
	s.managed(t, admin, "DELETE", policiesPath+"/shadow", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, admin, "POST", policiesPath+"/active/shadow", "").wantStatus(t, http.StatusConflict, "already_active")
	s.managed(t, admin, "POST", policiesPath+"/"+id+"/shadow", "").wantMembers(t, http.StatusOK, map[string]any{"status": "shadow"})
	s.managed(t, admin, "GET", policiesPath+"/shadow", "").wantMembers(t, http.StatusOK, map[string]any{"id": id})
	if s.readsPressKit(t, h) != "deny" {
		t.Error("a shadow is answered")
	}
	s.managed(t, admin, "DELETE", policiesPath+"/shadow", "").wantMembers(t, http.StatusOK, map[string]any{"id": id, "status": "stored"})
	s.managed(t, admin, "POST", policiesPath+"/"+id+"/shadow", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "POST", policiesPath+"/"+id+"/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	s.managed(t, admin, "GET", policiesPath+"/shadow", "").wantStatus(t, http.StatusNotFound, "not_found")
}

func TestPoliciesAreForTheWholeTenant(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	id := s.push(t, h.pair("tenant-admin"), variant(t, "guarded"))
	for name, as := range map[string]credential{"of an organization": h.key("acme-manager"), "without the scope": h.key("gateway"), "a member": s.administrator(t, h, "alice", "acme"), "nobody": nil} {
		for _, row := range [][3]string{{"GET", "", ""}, {"POST", "", variant(t, "other")}, {"GET", "/active", ""}, {"GET", "/active/files", ""}, {"GET", "/active/diff/source", ""},
			{"GET", "/active/review", ""}, {"GET", "/activations", ""}, {"POST", "/" + id + "/activate", ""}, {"POST", "/rollback", ""}, {"POST", "/" + id + "/shadow", ""}, {"DELETE", "/shadow", ""},
			{"POST", "/" + id + "/acknowledge", `{"groups": ["x"]}`}} {
			if a := s.managed(t, as, row[0], policiesPath+row[1], row[2]); a.status != http.StatusForbidden && a.status != http.StatusUnauthorized && a.status != http.StatusNotFound {
				t.Errorf("%s %s by who is %s: %v", row[0], row[1], name, a)
			}
		}
	}
	if s.engines[server.DefaultTenant].Policies().Revision() == id {
		t.Error("it decides")
	}
}

func TestPolicyWritesAreConditionalAndIdempotent(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	body := variant(t, "once")
	created := s.managed(t, admin, "POST", policiesPath, body, "Idempotency-Key: push")
	id := created.wantMembers(t, http.StatusCreated, nil)["id"].(string)
	if again := s.managed(t, admin, "POST", policiesPath, body, "Idempotency-Key: push"); again.status != http.StatusCreated || again.header.Get("Idempotency-Replayed") != "true" || again.body != created.body {
		t.Errorf("repeated: %v", again)
	}
	tag := s.managed(t, admin, "GET", policiesPath+"/"+id, "").header.Get("ETag")
	other := s.push(t, admin, variant(t, "meanwhile"))
	s.managed(t, admin, "POST", policiesPath+"/"+other+"/activate", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "POST", policiesPath+"/"+id+"/activate", "", "If-Match: "+tag).wantStatus(t, http.StatusPreconditionFailed, "revision_changed")
	tag = s.managed(t, admin, "GET", policiesPath+"/"+id, "").header.Get("ETag")
	activated := s.managed(t, admin, "POST", policiesPath+"/"+id+"/activate", "", "If-Match: "+tag, "Idempotency-Key: activate")
	activated.wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	s.managed(t, admin, "POST", policiesPath+"/rollback", "", "Idempotency-Key: back").wantMembers(t, http.StatusOK, map[string]any{"id": other})
	s.managed(t, admin, "POST", policiesPath+"/rollback", "", "Idempotency-Key: back").wantMembers(t, http.StatusOK, map[string]any{"id": other})
	s.managed(t, admin, "POST", policiesPath+"/"+id+"/activate", "", "If-Match: "+tag, "Idempotency-Key: activate").wantMembers(t, http.StatusOK, map[string]any{"id": id})
	if s.engines[server.DefaultTenant].Policies().Revision() != other {
		t.Error("a repetition has changed what decides")
	}
}

// A set that is refused changes nothing, and all that is wrong with it is told.
func TestRefusedPolicySets(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	many := make([]engine.File, 20_000)
	for i := range many {
		many[i] = engine.File{Name: fmt.Sprintf("f/%d.rego", i), Text: ""}
	}
	last := func(name, text string) string { return pushed(t, policyFiles(t, engine.File{Name: name, Text: text})) }
	for _, row := range []struct {
		name, body  string
		status      int
		code, wants string
	}{
		{"not Rego", one(t, "a.rego", "package a\n\nallow if {"), 422, "policies_refused", `"field":"a.rego:3"`},
		{"two problems", pushed(t, []engine.File{{Name: "a.rego", Text: "package a\nx := y"}, {Name: "b.rego", Text: "package b\nx := y"}}), 422, "policies_refused", `"field":"b.rego:2"`},
		{"an unused variable, which strict mode refuses", last("a.rego", "package a\nf(x) := 1 if { y := 2 }"), 422, "policies_refused", "a.rego:2"},
		{"no entry points", one(t, "a.rego", "package a\n"), 422, "policies_refused", "data.mandate.access.decision"},
		{"a test that fails", last("a_test.rego", "package a_test\ntest_it if { 1 == 2 }"), 422, "policies_refused", `"field":"a_test.rego:2"`},
		{"a test that loops", last("a_test.rego", "package a_test\ntest_it if { count([1 | some i in numbers.range(1, 300000); some j in numbers.range(1, 300000); i == j + 300000]) > 0 }"), 422, "policies_refused", "took"},
		{"a test that takes all memory", last("a_test.rego", "package a_test\ntest_it if { count(numbers.range(1, 1000000000)) > 0 }"), 422, "policies_refused", "took"},
		{"a test whose value doubles", last("a_test.rego", doubling()), 422, "policies_refused", "took"},
		{"the network", last("a.rego", "package a\nx := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})"), 422, "policies_refused", "http.send is not available"},
		{"a name that leads out", one(t, "../a.rego", "package a\n"), 422, "invalid_record", "files.0.name"},
		{"an absolute name", one(t, "/etc/a.rego", "package a\n"), 422, "invalid_record", "files.0.name"},
		{"a name for the terminal", one(t, "\u001b[2J.rego", "package a\n"), 422, "invalid_record", "files.0.name"},
		{"a name of something else", one(t, "a.sh", "rm"), 422, "invalid_record", "files.0.name"},
		{"no files", `{"files": []}`, 422, "policies_refused", "data.mandate.access.decision"},
		{"another member", `{"files": [], "active": true}`, 422, "invalid_record", "active"},
		{"20,000 files", pushed(t, many), 422, "policies_refused", "more than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			began := time.Now()
			a := s.managed(t, admin, "POST", policiesPath, row.body)
			a.wantStatus(t, row.status, row.code)
			if !strings.Contains(a.body, row.wants) {
				t.Errorf("%.2000s\nhas no %s", a.body, row.wants)
			}
			if took := time.Since(began); took > 25*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	var page struct{ Items []struct{ ID string } }
	s.managed(t, admin, "GET", policiesPath, "").decode(t, &page)
	if len(page.Items) != 1 {
		t.Errorf("stored: %v", page)
	}
	// The answer comes before the body, so none is sent.
	tooLarge := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n%s\r\n%s\r\nContent-Length: %d\r\n\r\n", policiesPath, strings.Join(admin, "\r\n"), jsonType, bodyLimit+1)
	s.raw(t, tooLarge).wantStatus(t, http.StatusRequestEntityTooLarge, "body_too_large")
}

// doubling is a test of a text that is twice as long with each rule.
func doubling() string {
	var b strings.Builder
	b.WriteString("package a_test\n\nt0 := \"0123456789abcdef\"\n")
	for i := range 40 {
		fmt.Fprintf(&b, "\nt%d := concat(\"\", [t%d, t%d])\n", i+1, i, i)
	}
	b.WriteString("\ntest_it if count(t40) > 0\n")
	return b.String()
}

// archive is a gzipped tar.
func archive(t testing.TB, files map[string]io.Reader, size int64) string {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	packed := tar.NewWriter(zipped)
	for name, content := range files {
		must(t, packed.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size}))
		_, err := io.CopyN(packed, content, size)
		must(t, err)
	}
	must(t, packed.Close())
	must(t, zipped.Close())
	return b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBundlesArePushed(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	packed := tar.NewWriter(zipped)
	for _, f := range policyFiles(t, engine.File{Name: "variants/bundled.rego", Text: "package variants.bundled\n"}) {
		must(t, packed.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o600, Size: int64(len(f.Text))}))
		_, err := io.WriteString(packed, f.Text)
		must(t, err)
	}
	must(t, packed.Close())
	must(t, zipped.Close())
	const bundle = "Content-Type: application/vnd.openpolicyagent.bundles"
	lines := append([]string{bundle}, admin...)
	s.send(t, "POST", policiesPath+"?note=by+the+pipeline", b.String(), lines...).wantMembers(t, http.StatusCreated, map[string]any{"note": "by the pipeline"})
	for name, body := range map[string]string{"not a bundle": "PK", "a zip bomb": archive(t, map[string]io.Reader{"a.rego": zeros{}}, 300<<20),
		"a name that leads out": archive(t, map[string]io.Reader{"../../a.rego": strings.NewReader("package a\n")}, 10)} {
		began := time.Now()
		if a := s.send(t, "POST", policiesPath, body, lines...); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %v", name, a)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if a := s.send(t, "POST", policiesPath, b.String(), append([]string{bundle}, holdersOf(t, "default").key("acme-manager")...)...); a.status != http.StatusNotFound && a.status != http.StatusForbidden {
		t.Errorf("by an organization's key: %v", a)
	}
}

// One set at a time is tried out; who comes meanwhile is told when to come again.
func TestPushesWaitForEachOther(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	slow := pushed(t, policyFiles(t, engine.File{Name: "a_test.rego", Text: "package a_test\ntest_it if { count([1 | some i in numbers.range(1, 300); some j in numbers.range(1, 1000); i == j]) > 0 }"}))
	answers := make(chan answer, 8)
	var all sync.WaitGroup
	for range cap(answers) {
		all.Go(func() { answers <- s.managed(t, admin, "POST", policiesPath, slow) })
	}
	all.Wait()
	close(answers)
	done, busy := 0, 0
	for a := range answers {
		switch {
		case a.status == http.StatusCreated || a.status == http.StatusOK:
			done++
		case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
			busy++
		default:
			t.Error(a)
		}
	}
	if done == 0 || busy == 0 {
		t.Errorf("%d were done, %d told to come again", done, busy)
	}
}

// policyRule is the rule of a fixture, which knows no folder of a decision log yet.
type policyRule struct {
	manage.PolicyRule
	flooded bool // by more records than can be replayed
}

func (r policyRule) reading(folder string) manage.PolicyRule {
	r.Decisions = func(ctx context.Context, q decisionlog.Query) iter.Seq2[decisionlog.Record, error] {
		if r.flooded {
			return flooded(decisionlog.Find(ctx, folder, q))
		}
		return decisionlog.Find(ctx, folder, q)
	}
	return r.PolicyRule
}

// flooded yields the records, and the last of them over and over.
func flooded(records iter.Seq2[decisionlog.Record, error]) iter.Seq2[decisionlog.Record, error] {
	return func(yield func(decisionlog.Record, error) bool) {
		var last decisionlog.Record
		for r, err := range records {
			if last = r; !yield(r, err) {
				return
			}
		}
		for last.ID != 0 && yield(last, nil) {
		}
	}
}

// twoPersons is a server where activating takes two, with two who may push and activate, whom somebody else has made.
func twoPersons(t *testing.T) (s *running, h holders, pusher, other credential) {
	t.Helper()
	return twoPersonsBy(t, policyRule{})
}

func twoPersonsBy(t *testing.T, rule policyRule) (s *running, h holders, pusher, other credential) {
	t.Helper()
	rule.TwoPerson, rule.Since = true, time.Hour
	s = startWith(t, fixture{rule: rule})
	h = holdersOf(t, "default")
	return s, h, h.client("operator"), h.client("manager")
}

func TestWhoPushesCannotActivate(t *testing.T) {
	s, h, pusher, other := twoPersons(t)
	id := s.push(t, pusher, variant(t, "rule"))
	path := policiesPath + "/" + id + "/activate"
	s.managed(t, pusher, "POST", path, "").wantStatus(t, http.StatusForbidden, "pushed_by_caller")
	token := s.token(t, h.client("operator"), "grant_type=client_credentials&scope=manage").tokens(t).Access
	s.managed(t, bearer(token), "POST", path, "").wantStatus(t, http.StatusForbidden, "pushed_by_caller") // by a token of the same subject

	// Pushed by the other as well: the first who pushed it is its author.
	if a := s.managed(t, other, "POST", policiesPath, variant(t, "rule")); a.status != http.StatusOK {
		t.Error(a)
	}
	s.managed(t, pusher, "POST", path, "").wantStatus(t, http.StatusForbidden, "pushed_by_caller")

	// Those whom the pusher has made, and whom those have made, are no other persons; nor are those whose secrets it has made anew.
	key := s.managed(t, pusher, "POST", "/v1/apikeys", `{"id": "second-self", "scopes": ["manage"]}`).wantMembers(t, http.StatusCreated, nil)["key"].(string)
	s.managed(t, bearer(key), "POST", path, "").wantStatus(t, http.StatusForbidden, "made_by_pusher")
	secret := s.managed(t, bearer(key), "POST", "/v1/clients", `{"id": "third-self", "grant_types": ["client_credentials"], "scopes": ["manage"]}`).wantMembers(t, http.StatusCreated, nil)["client_secret"].(string)
	s.managed(t, basic("third-self", secret), "POST", path, "").wantStatus(t, http.StatusForbidden, "made_by_pusher")
	rotated := s.managed(t, pusher, "POST", "/v1/apikeys/manage-only/rotate", "").wantMembers(t, http.StatusOK, nil)["key"].(string)
	s.managed(t, bearer(rotated), "POST", path, "").wantStatus(t, http.StatusForbidden, "made_by_pusher")

	s.managed(t, other, "POST", path, "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	// In an emergency one person is enough, to where two have been before, and never to what was taken back.
	s.managed(t, pusher, "POST", policiesPath+"/rollback", "").wantMembers(t, http.StatusOK, map[string]any{"source": "builtin"})
	s.managed(t, pusher, "POST", policiesPath+"/rollback", "").wantStatus(t, http.StatusConflict, "nothing_to_roll_back_to")
	s.managed(t, pusher, "POST", policiesPath+"/rollback", `{"to": 2}`).wantStatus(t, http.StatusConflict, "two_persons_needed")
	s.managed(t, pusher, "POST", path, "").wantStatus(t, http.StatusForbidden, "pushed_by_caller")
	// What a source of the configuration gave, nobody has pushed.
	s.managed(t, other, "POST", path, "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, pusher, "POST", policiesPath+"/source/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
}

func TestWhatTurnsToAllowIsAcknowledged(t *testing.T) {
	s, h, pusher, other := twoPersons(t)
	if s.readsPressKit(t, h) != "deny" {
		t.Fatal("everybody may read the press kit")
	}
	id := s.push(t, pusher, opened(t, "acknowledged"))
	path := policiesPath + "/" + id
	s.managed(t, other, "GET", path+"/review", "").wantStatus(t, http.StatusConflict, "not_reviewed")
	s.managed(t, other, "POST", path+"/acknowledge", `{"groups": ["x"]}`).wantStatus(t, http.StatusConflict, "not_reviewed")

	refused := s.managed(t, other, "POST", path+"/activate", "")
	refused.wantStatus(t, http.StatusConflict, "not_acknowledged")
	groups := turns(t, refused)
	if len(groups) != 1 || groups[0].Subject != "user:frank" || groups[0].Action != "documents:read" || groups[0].Rule != "press" || groups[0].Org != "acme" || groups[0].Count != 1 ||
		!strings.Contains(groups[0].Example.Resource, pressKit) {
		t.Fatalf("the groups are %+v", groups)
	}
	acknowledging := `{"groups": ["` + groups[0].ID + `"], "note": "It is public."}`
	s.managed(t, pusher, "POST", path+"/acknowledge", acknowledging).wantStatus(t, http.StatusForbidden, "pushed_by_caller")
	s.managed(t, other, "POST", path+"/acknowledge", `{"groups": ["`+strings.Repeat("0", 32)+`"]}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, other, "POST", path+"/acknowledge", `{"groups": []}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, other, "POST", path+"/acknowledge", acknowledging).wantMembers(t, http.StatusOK, map[string]any{"to_allow": 1})
	review := turns(t, s.managed(t, other, "GET", path+"/review", ""))
	if len(review) != 1 || review[0].AcknowledgedBy != "client:manager" {
		t.Errorf("the review is %+v", review)
	}

	// It does not hold for another set, nor for what turns beside it.
	twin := s.push(t, pusher, opened(t, "twin"))
	s.managed(t, other, "POST", policiesPath+"/"+twin+"/activate", "").wantStatus(t, http.StatusConflict, "not_acknowledged")
	s.ask(t, h.key("gateway"), evaluationPath, question(named("user", "ned"), "documents:write", pressKit))
	refused = s.managed(t, other, "POST", path+"/activate", "")
	refused.wantStatus(t, http.StatusConflict, "not_acknowledged")
	more := turns(t, refused)
	if len(more) != 1 || more[0].Subject != "user:ned" || more[0].ID == groups[0].ID {
		t.Fatalf("the groups are %+v", more)
	}
	if s.readsPressKit(t, h) != "deny" {
		t.Error("a refused activation has changed what decides")
	}
	s.managed(t, other, "POST", path+"/acknowledge", `{"groups": ["`+more[0].ID+`"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, pusher, "POST", path+"/activate", "").wantStatus(t, http.StatusForbidden, "pushed_by_caller")
	s.managed(t, other, "POST", path+"/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	if s.readsPressKit(t, h) != "allow" {
		t.Error("it does not decide")
	}
	// What is older than the window is not replayed.
	s.clock.advance(2 * time.Hour)
	s.managed(t, other, "POST", policiesPath+"/rollback", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, other, "POST", policiesPath+"/"+twin+"/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
}

// timely makes a set use the present time.
func timely() engine.File {
	return engine.File{Name: "variants/timely.rego", Text: "package variants.timely\n\nlate if time.now_ns() > 0\n"}
}

// acknowledgeAll acknowledges the groups that an activation was refused for.
func (s *running) acknowledgeAll(t testing.TB, as credential, set string, groups []turn) answer {
	t.Helper()
	var ids []string
	for _, g := range groups {
		ids = append(ids, g.ID)
	}
	body, err := json.Marshal(map[string]any{"groups": ids})
	must(t, err)
	return s.managed(t, as, "POST", policiesPath+"/"+set+"/acknowledge", string(body))
}

// unknowns are why it is not known what turns.
func unknowns(groups []turn) (all []string) {
	for _, g := range groups {
		if g.Unknown != "" {
			all = append(all, g.Unknown)
		}
	}
	return all
}

// What a replay cannot tell is acknowledged too, once for however many requests.
func TestWhatIsNotKnownIsAcknowledged(t *testing.T) {
	many := func(t *testing.T, s *running, h holders) {
		for i := range 520 {
			s.ask(t, h.key("gateway"), evaluationPath, question(named("user", fmt.Sprint("stranger", i)), "documents:read", pressKit))
		}
	}
	masked := engine.File{Name: "log/mask.rego", Text: "package mandate.log\n\nmask contains \"/input/subject\"\n"}
	changing := func(t *testing.T) string { return pushed(t, policyFiles(t, timely())) }
	opens := func(t *testing.T) string { return opened(t, "opens") }
	for _, row := range []struct {
		name    string
		rule    policyRule
		before  func(t *testing.T, s *running, h holders)
		set     func(t *testing.T) string
		unknown string
		groups  int
	}{
		{"masked in the log", policyRule{}, func(t *testing.T, s *running, _ holders) { s.decidedBy(t, "log/", masked) }, opens, "skipped: masked", 1},
		{"beyond the bounds of the replay", policyRule{flooded: true}, nil, opens, "skipped: unreached", 2},
		{"more groups than are told apart", policyRule{}, many, opens, "others: more groups than are told apart", 501},
		{"the present time", policyRule{}, nil, changing, "uses the present time or randomness", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, h, pusher, other := twoPersonsBy(t, row.rule)
			id := s.push(t, pusher, row.set(t))
			if row.before != nil {
				row.before(t, s, h)
			}
			s.readsPressKit(t, h)
			path := policiesPath + "/" + id + "/activate"
			refused := s.managed(t, other, "POST", path, "")
			refused.wantStatus(t, http.StatusConflict, "not_acknowledged")
			groups := turns(t, refused)
			if got := unknowns(groups); len(got) != 1 || got[0] != row.unknown || len(groups) != row.groups {
				t.Fatalf("%d groups, not known: %q", len(groups), got)
			}
			s.acknowledgeAll(t, pusher, id, groups).wantStatus(t, http.StatusForbidden, "pushed_by_caller")
			s.acknowledgeAll(t, other, id, groups).wantMembers(t, http.StatusOK, nil)
			s.readsPressKit(t, h) // more of what was acknowledged
			if row.groups > 500 {
				s.ask(t, h.key("gateway"), evaluationPath, question(named("user", "yet-another"), "documents:read", pressKit))
			}
			s.managed(t, other, "POST", path, "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
		})
	}
}

// Nobody has pushed what a source gave, so who acknowledges what it allows and who activates it are the two persons.
func TestTwoPersonsActivateWhatNobodyPushed(t *testing.T) {
	s, _, one, other := twoPersons(t)
	s.decidedBy(t, "variants/", timely())
	path := policiesPath + "/source"
	pushed := s.push(t, one, variant(t, "pushed"))
	s.managed(t, other, "POST", policiesPath+"/"+pushed+"/activate", "").wantMembers(t, http.StatusOK, nil)
	source, _ := s.managed(t, other, "GET", path, "").object(t)["id"].(string)
	refused := s.managed(t, one, "POST", path+"/activate", "")
	refused.wantStatus(t, http.StatusConflict, "not_acknowledged")
	groups := turns(t, refused)
	key := s.managed(t, other, "POST", "/v1/apikeys", `{"id": "second-self", "scopes": ["manage"]}`).wantMembers(t, http.StatusCreated, nil)["key"].(string)
	s.acknowledgeAll(t, other, source, groups).wantMembers(t, http.StatusOK, nil)
	s.managed(t, other, "POST", path+"/activate", "").wantStatus(t, http.StatusForbidden, "acknowledged_by_caller")
	s.managed(t, bearer(key), "POST", path+"/activate", "").wantStatus(t, http.StatusForbidden, "made_by_pusher")
	s.managed(t, one, "POST", path+"/activate", "").wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
}

// Who has made the credential that pushes is not another person either.
func TestWhoMadeThePusherCannotActivate(t *testing.T) {
	s, _, maker, other := twoPersons(t)
	key := s.managed(t, maker, "POST", "/v1/apikeys", `{"id": "pipeline", "scopes": ["manage"]}`).wantMembers(t, http.StatusCreated, nil)["key"].(string)
	path := policiesPath + "/" + s.push(t, bearer(key), variant(t, "piped")) + "/activate"
	s.managed(t, maker, "POST", path, "").wantStatus(t, http.StatusForbidden, "made_by_pusher")
	s.managed(t, other, "POST", path, "").wantMembers(t, http.StatusOK, nil)
}

// An audit too long to be read whole does not make a credential another person's.
func TestCredentialsOlderThanTheAudit(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 500,000 records")
	}
	s, _, pusher, other := twoPersons(t)
	path := policiesPath + "/" + s.push(t, pusher, variant(t, "audited")) + "/activate"
	const batch = 5_000
	for n := range 100 {
		_, err := s.store.Update(t.Context(), func(tx datastore.Tx) error {
			for i := range batch {
				// These are older than all that is in the audit, so they are read last.
				if err := tx.Put(datastore.TenantID("default").Path("private", "audit", fmt.Sprintf("~%010d", n*batch+i)), []byte(`{}`)); err != nil {
					return err
				}
			}
			return nil
		})
		must(t, err)
	}
	s.managed(t, other, "POST", path, "").wantStatus(t, http.StatusConflict, "credential_too_old")
	young := s.managed(t, other, "POST", "/v1/apikeys", `{"id": "young", "scopes": ["manage"]}`).wantMembers(t, http.StatusCreated, nil)["key"].(string)
	s.managed(t, bearer(young), "POST", path, "").wantMembers(t, http.StatusOK, nil)
}

// Who wants to know is told of each change of what decides.
func TestPolicyEvents(t *testing.T) {
	s, h := startIntegrating(t)
	admin := h.pair("tenant-admin")
	told := newReceiver(t)
	s.hook(t, admin, told, `"id": "security", "events": ["policies.*"]`)
	id := s.push(t, admin, variant(t, "told"))
	for _, step := range []struct{ event, method, path string }{
		{"policies.push", "", ""},
		{"policies.shadow", "POST", "/" + id + "/shadow"},
		{"policies.activate", "POST", "/" + id + "/activate"},
		{"policies.rollback", "POST", "/rollback"},
	} {
		if step.path != "" {
			s.managed(t, admin, step.method, policiesPath+step.path, "").wantMembers(t, http.StatusOK, nil)
		}
		resource, _ := told.next(t, step.event).Data["resource"].(map[string]any)
		if (resource["id"] == id) == (step.event == "policies.rollback") || resource["type"] != "policy" {
			t.Errorf("%s is about %v", step.event, resource)
		}
	}
}

// An activation that rests on what another has changed meanwhile is refused, and so one of two at once.
func TestActivationsAtOnce(t *testing.T) {
	s, _, pusher, other := twoPersons(t)
	ids := []string{s.push(t, pusher, variant(t, "left")), s.push(t, pusher, variant(t, "right"))}
	answers := make(chan answer, len(ids))
	for _, id := range ids {
		go func() { answers <- s.managed(t, other, "POST", policiesPath+"/"+id+"/activate", "") }()
	}
	active := ""
	for range ids {
		a := <-answers
		switch a.status {
		case http.StatusOK:
			active, _ = a.object(t)["id"].(string)
		case http.StatusConflict, http.StatusServiceUnavailable:
		default:
			t.Error(a)
		}
	}
	now, _ := s.managed(t, other, "GET", policiesPath+"/active", "").object(t)["id"].(string)
	if active == "" || s.engines[server.DefaultTenant].Policies().Revision() != now {
		t.Errorf("%s was answered, %s is active", active, now)
	}
}

type turn struct {
	ID, Unknown, Point, Rule, Org, Subject, Action string
	Count                                          int
	Example                                        struct{ Resource string }
	AcknowledgedBy                                 string `json:"acknowledged_by"`
}

func turns(t testing.TB, a answer) []turn {
	t.Helper()
	var document struct{ Groups []turn }
	must(t, json.Unmarshal([]byte(a.body), &document))
	return document.Groups
}
