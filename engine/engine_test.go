package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
)

const tenant datastore.TenantID = "default"

// patient waits for evaluations that a busy machine holds up.
func patient() Options { return Options{EvaluationLimit: time.Minute} }

// countingView is a snapshot of a store on disk that counts how it is read, or fails to be.
type countingView struct {
	datastore.View
	gets, scans atomic.Int64
	fail        error
}

func (v *countingView) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	v.gets.Add(1)
	if v.fail != nil {
		return nil, v.fail
	}
	return v.View.Get(ctx, p)
}

func (v *countingView) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	v.scans.Add(1)
	if v.fail != nil {
		return func(yield func(datastore.Fact, error) bool) { yield(datastore.Fact{}, v.fail) }
	}
	return v.View.Scan(ctx, prefix, after)
}

// viewOf is a view of a fresh store with the given documents, by their keys: below the tenant, or with a
// leading slash from another one.
func viewOf(t testing.TB, documents map[string]string) *countingView {
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
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(documents)), 1000) {
		_, err = store.Update(t.Context(), func(tx datastore.Tx) error {
			for _, key := range keys {
				full, absolute := strings.CutPrefix(key, "/")
				if !absolute {
					full = string(tenant) + "/" + key
				}
				if err := tx.Put(datastore.ParseKey(full), []byte(documents[key])); err != nil {
					return fmt.Errorf("put %s: %w", key, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	view, err := store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.Close)
	return &countingView{View: view}
}

func exampleSet(t testing.TB) *PolicySet {
	t.Helper()
	return compiled(t, os.DirFS("testdata/policies"))
}

func compiled(t testing.TB, fsys fs.FS) *PolicySet {
	t.Helper()
	set, err := Compile(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// accessPolicy is a complete policy set with the given rules as its access policy.
func accessPolicy(rules string) fstest.MapFS {
	return fstest.MapFS{
		"access.rego": {Data: []byte("package mandate.access\n" + rules)},
		"tokens.rego": {Data: []byte("package mandate.tokens\ndecision := {\"allow\": false}")},
		"manage.rego": {Data: []byte("package mandate.manage\ndecision := {\"allow\": false}")},
	}
}

func exampleFacts() map[string]string {
	return map[string]string{
		"orgs/acme/profile":          `{"status":"active"}`,
		"orgs/acme/members/alice":    `{"status":"active","roles":["viewer"]}`,
		"orgs/acme/members/bob":      `{"status":"active","roles":[]}`,
		"orgs/acme/members/carol":    `{"status":"active","roles":["admin"]}`,
		"orgs/acme/members/dave":     `{"status":"suspended","roles":["admin"]}`,
		"orgs/initech/profile":       `{"status":"suspended"}`,
		"orgs/initech/members/alice": `{"status":"active","roles":["admin"]}`,
		"roles/viewer":               `{"permissions":["documents:read"]}`,
		"roles/admin":                `{"permissions":["*"]}`,
		"clients/sync":               `{"scopes":["documents:read","documents:write"]}`,
	}
}

func request(sub, action, org string) []byte {
	return fmt.Appendf(nil, `{"subject":{"type":"user","id":%[1]q},"principal":{"type":"user","sub":%[1]q},`+
		`"action":{"name":%[2]q},"resource":{"type":"document","id":"plan","properties":{"org":%[3]q}}}`, sub, action, org)
}

func TestDecide(t *testing.T) {
	e := New(tenant, exampleSet(t), patient())
	v := viewOf(t, exampleFacts())
	for _, test := range []struct {
		sub, action, org string
		allow            bool
	}{
		{"alice", "documents:read", "acme", true},
		{"alice", "documents:write", "acme", false},
		{"bob", "documents:read", "acme", false},
		{"carol", "documents:write", "acme", true},
		{"dave", "documents:read", "acme", false},
		{"alice", "documents:read", "initech", false},
		{"alice", "documents:read", "globex", false},
		{"nobody", "documents:read", "acme", false},
		{"alice", "documents:read", "acme/members", false},
		{"../members/alice", "documents:read", "acme", false},
		{"alice", "documents:read", "", false},
		{strings.Repeat("a", 2000), "documents:read", "acme", false},
	} {
		d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, request(test.sub, test.action, test.org))
		if err != nil {
			t.Errorf("%s %s in %s: %v", test.sub, test.action, test.org, err)
		}
		if d.Allow != test.allow {
			t.Errorf("%s %s in %s: allow is %v", test.sub, test.action, test.org, d.Allow)
		}
		if !d.Allow && (len(d.Reasons) != 1 || d.Reasons[0].Code != "role_missing") {
			t.Errorf("%s %s in %s: reasons are %v", test.sub, test.action, test.org, d.Reasons)
		}
		if d.PolicyRevision != e.Policies().Revision() {
			t.Errorf("the policy revision is %s", d.PolicyRevision)
		}
	}
}

func TestDecideFailures(t *testing.T) {
	for _, test := range []struct {
		name, rules, input string
		kind               Kind
		isError            bool
	}{
		{name: "undefined", rules: `decision := {"allow": true} if input.never`, kind: PolicyUndefined},
		{name: "division by zero", rules: `decision := {"allow": true} if 1 / input.zero == 1`, kind: PolicyUndefined},
		{name: "conflict", rules: "decision := {\"allow\": true}\ndecision := {\"allow\": false} if input.zero == 0", kind: PolicyError, isError: true},
		{name: "comprehension without end", kind: PolicyTimeout, isError: true, rules: `decision := {"allow": true} if {
			count([a | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b == 0]) == 0
		}`},
		{name: "builtin without end", rules: `decision := {"allow": true} if count(numbers.range(1, 1000000000000)) > 1`, kind: PolicyTimeout, isError: true},
		{name: "regular expressions without end", kind: PolicyTimeout, isError: true, rules: `decision := {"allow": true} if {
			every i in numbers.range(1, 10000000) { not regex.match("(a+)+(b+)+$", sprintf("aaaaaaaaaaaaaaaaaaaaaaaaaaaa%d", [i])) }
		}`},
		{name: "scan limit", rules: `decision := {"allow": true} if count(data.orgs) > 0`, kind: PolicyLimit, isError: true},
		{name: "document that is no JSON", rules: `decision := {"allow": true} if not data.users.broken.x`, kind: FactsUnavailable, isError: true},
		{name: "allow is no boolean", rules: `decision := {"allow": "yes"}`, kind: PolicyError, isError: true},
		{name: "misspelled field", rules: `decision := {"allow": true, "obligation": ["log"]}`, kind: PolicyError, isError: true},
		{name: "scan of a document that is no JSON", rules: `decision := {"allow": true} if count(data.users) == 0`, kind: FactsUnavailable, isError: true},
		{name: "input is no JSON", rules: `decision := {"allow": true}`, input: `{"a":`, kind: PolicyError, isError: true},
		{name: "input is two values", rules: `decision := {"allow": true}`, input: `{} {}`, kind: PolicyError, isError: true},
		{name: "input is empty", rules: `decision := {"allow": true}`, input: " ", kind: PolicyError, isError: true},
		{name: "input has a name twice", rules: `decision := {"allow": true}`, input: `{"a":1,"\u0061":2}`, kind: PolicyError, isError: true},
		{name: "input is not UTF-8", rules: `decision := {"allow": true}`, input: "{\"a\":\"\xff\"}", kind: PolicyError, isError: true},
		{name: "input is too deep", rules: `decision := {"allow": true}`, input: strings.Repeat("[", 1<<20), kind: PolicyError, isError: true},
		{name: "input has an excessive number", rules: `decision := {"allow": true} if input.n`, input: `{"n":1e999999999}`, kind: PolicyError, isError: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			limit := time.Minute
			if test.kind == PolicyTimeout {
				limit = 20 * time.Millisecond
			}
			e := New(tenant, compiled(t, accessPolicy(test.rules)), Options{EvaluationLimit: limit, ScanLimit: 1})
			v := viewOf(t, map[string]string{"orgs/a/profile": "{}", "orgs/b/profile": "{}", "users/broken": "{"})
			if test.input == "" {
				test.input = `{"zero":0}`
			}
			start := time.Now()
			d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(test.input))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			checkDenied(t, d, test.kind)
			failed := (*EvaluationError)(nil)
			if errors.As(err, &failed) != test.isError {
				t.Fatalf("error is %v", err)
			}
			if test.isError && failed.Kind != test.kind {
				t.Errorf("kind is %s: %v", failed.Kind, err)
			}
		})
	}
}

func checkDenied(t *testing.T, d *Decision, kind Kind) {
	t.Helper()
	if d.Allow || len(d.Reasons) != 1 || d.Reasons[0] != (Reason{Code: string(kind), Message: kind.message()}) {
		t.Errorf("decision is %+v, not a denial for %s", d, kind)
	}
	if d.PolicyRevision == "" {
		t.Error("the denial has no policy revision")
	}
}

func TestDecideStoreFails(t *testing.T) {
	for _, rules := range []string{
		`decision := {"allow": true} if not data.orgs.acme.members.alice.blocked`,
		`decision := {"allow": true} if count([m | some m in data.orgs.acme.members; m.blocked]) == 0`,
		`decision := {"allow": true} if count(data.orgs.acme) == 0`,
		"decision := {\"allow\": true} if data.custom.a == 1\ndecision := {\"allow\": false} if data.custom.a == 2", // the rule index
	} {
		v := viewOf(t, nil)
		v.fail = datastore.ErrRevisionGone
		e := New(tenant, compiled(t, accessPolicy(rules)), patient())
		d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{"role":"x"}`))
		checkDenied(t, d, FactsUnavailable)
		if !errors.Is(err, datastore.ErrRevisionGone) {
			t.Errorf("%s: error is %v", rules, err)
		}
	}
}

// panickingView stands for whatever panics below the engine.
type panickingView struct{ datastore.View }

func (panickingView) Get(context.Context, datastore.Path) ([]byte, error) { panic("out of order") }

func TestDecidePanics(t *testing.T) {
	e := New(tenant, exampleSet(t), patient())
	d, err := e.Decide(t.Context(), memo.Over(panickingView{viewOf(t, nil)}), e.Policies(), Access, request("alice", "documents:read", "acme"))
	checkDenied(t, d, PolicyError)
	if err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Error("error is", err)
	}
}

// endlessView has no end of members.
type endlessView struct{ datastore.View }

func (endlessView) Scan(_ context.Context, prefix, _ datastore.Path) iter.Seq2[datastore.Fact, error] {
	return func(yield func(datastore.Fact, error) bool) {
		for i := 0; yield(datastore.Fact{Path: prefix.Join(fmt.Sprint(i)), Value: []byte("{}")}, nil); i++ {
		}
	}
}

func TestDecideEndlessScan(t *testing.T) {
	e := New(tenant, compiled(t, accessPolicy(`decision := {"allow": true} if count(data.orgs.acme.members) > 0`)),
		Options{EvaluationLimit: 20 * time.Millisecond, ScanLimit: math.MaxInt})
	d, err := e.Decide(t.Context(), memo.Over(endlessView{viewOf(t, nil)}), e.Policies(), Access, []byte(`{}`))
	checkDenied(t, d, PolicyTimeout)
	if err == nil {
		t.Error("no error")
	}
}

func TestDecideUnknownPoint(t *testing.T) {
	d, err := New(tenant, nil, patient()).Decide(t.Context(), memo.Over(viewOf(t, nil)), exampleSet(t), "mandate/other", []byte(`{}`))
	checkDenied(t, d, PolicyError)
	if err == nil {
		t.Error("no error")
	}
}

func TestDecideCancelled(t *testing.T) {
	v := viewOf(t, nil)
	endless := compiled(t, accessPolicy(`decision := {"allow": true} if count(numbers.range(1, 1000000000000)) > 1`))
	e := New(tenant, endless, Options{EvaluationLimit: time.Hour})

	before, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := e.Decide(before, memo.Over(v), e.Policies(), Access, []byte(`{}`))
	checkDenied(t, d, PolicyTimeout)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: error is %v", err)
	}

	during, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	d, err = e.Decide(during, memo.Over(v), e.Policies(), Access, []byte(`{}`))
	checkDenied(t, d, PolicyTimeout)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled during: error is %v", err)
	}
}

func TestDecideClock(t *testing.T) {
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	e := New(tenant, compiled(t, accessPolicy(`decision := {"allow": time.clock(time.now_ns())[0] == 12}`)),
		Options{EvaluationLimit: time.Minute, Now: func() time.Time { return noon }})
	v := viewOf(t, nil)
	if d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{}`)); !d.Allow {
		t.Error("at noon:", d, err)
	}
	noon = noon.Add(time.Hour)
	if d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{}`)); d.Allow {
		t.Error("at one:", d, err)
	}
}

// Every decision is wholly by one set, whichever it was, and says which.
func TestDecideWhileSwapping(t *testing.T) {
	sets := make(map[string]*PolicySet)
	for _, name := range []string{"a", "b"} {
		fsys := accessPolicy(fmt.Sprintf(`decision := {"allow": true, "org": %q, "reasons": [{"code": data.other.name}]} if data.roles.viewer`, name))
		fsys["other.rego"] = &fstest.MapFile{Data: fmt.Appendf(nil, "package other\nname := %q", name)}
		sets[name] = compiled(t, fsys)
	}
	v := viewOf(t, exampleFacts())
	e := New(tenant, sets["a"], Options{EvaluationLimit: time.Minute})
	var readers, writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				e.Swap(sets["b"])
				e.Swap(sets["a"])
			}
		}
	})
	for range 4 {
		readers.Go(func() {
			for range 300 {
				d, err := e.Decide(t.Context(), memo.Over(v), e.Policies(), Access, []byte(`{}`))
				if err != nil || !d.Allow {
					t.Error(d, err)
					return
				}
				if d.Reasons[0].Code != d.Org || d.PolicyRevision != sets[d.Org].Revision() {
					t.Errorf("decision by %s, in which %s is read, is said to be by %s", d.Org, d.Reasons[0].Code, d.PolicyRevision)
				}
			}
		})
	}
	readers.Wait()
	close(done)
	writer.Wait()
}

func BenchmarkDecide(b *testing.B) {
	e := New(tenant, exampleSet(b), patient())
	v := viewOf(b, exampleFacts())
	input := request("alice", "documents:read", "acme")
	b.ReportAllocs()
	for b.Loop() {
		d, err := e.Decide(b.Context(), memo.Over(v), e.Policies(), Access, input)
		if err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}
