package policyset_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/policyset"
)

func broken(n int) map[string]string {
	m := numbered(n)
	m["x.rego"] = "package x\n\np :="
	return m
}

func failing(n int) map[string]string {
	m := numbered(n)
	m["team/data.yaml"] = "open: false\n"
	return m
}

// A source that goes bad leaves the last good set serving, also over a restart, and says so.
func TestSourceGoesBad(t *testing.T) {
	for _, kind := range []string{"folder", "bundle"} {
		t.Run(kind, func(t *testing.T) {
			place := filepath.Join(t.TempDir(), "policies")
			source := policyset.Folder(place)
			put := func(m map[string]string) { write(t, place, m) }
			if kind == "bundle" {
				source = policyset.BundleFile(place, nil)
				put = func(m map[string]string) { replace(t, place, packed(t, rooted(m))) }
			}
			one, two, three := compiled(t, numbered(1)), compiled(t, numbered(2)), compiled(t, numbered(3))
			store := openStore(t)
			if _, err := start(t, store, source); err == nil {
				t.Fatal("it starts with nothing")
			}
			put(numbered(1))
			r := started(t, store, source)
			r.serves(t, one)
			put(numbered(2))
			if passed := r.log.wait(t, "policies changed"); !strings.Contains(passed, "testing the changed policies") || strings.Contains(passed, "level=ERROR") {
				t.Error("before the change it says", passed)
			}
			r.serves(t, two)
			for _, bad := range []struct {
				problem string
				make    func()
			}{
				{"rego_parse_error", func() { put(broken(3)) }},
				{"test data.mandate.access_test.test_open failed", func() { put(failing(3)) }},
				{"no such file", func() { must(t, os.Rename(place, place+".gone")) }},
			} {
				bad.make()
				r.log.wait(t, "policies refused, the former ones go on serving")
				r.log.wait(t, bad.problem)
				r.serves(t, two)
				if !r.Stale() {
					t.Error("it is not stale with", bad.problem)
				}
			}
			must(t, os.Rename(place+".gone", place)) // which is failing again
			r.log.wait(t, "policies refused")
			put(numbered(2))
			r.log.wait(t, "good again")
			must(t, os.Rename(place, place+".gone"))
			r.log.wait(t, "no such file")
			must(t, os.Rename(place+".gone", place))
			r.log.wait(t, "good again")
			must(t, os.Rename(place, place+".gone"))
			r.log.wait(t, "no such file")
			r.stop()

			r = started(t, store, source)
			r.log.wait(t, "policies refused")
			r.serves(t, two)
			if !r.Stale() {
				t.Error("it is not stale after a restart")
			}
			put(numbered(2))
			r.log.wait(t, "the source of the policies is good again")
			r.serves(t, two)
			put(numbered(3))
			r.log.wait(t, "policies changed")
			r.serves(t, three)
			if r.Stale() {
				t.Error("it is stale")
			}
			r.stop()
		})
	}
}

// rooted names files as bundles do.
func rooted(m map[string]string) map[string]string {
	named := map[string]string{}
	for name, text := range m {
		named["/"+name] = text
	}
	return named
}

// activate does what a person does by the API.
func (r *running) activate(t testing.TB, store datastore.Store, set *engine.PolicySet, how string) {
	t.Helper()
	_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
		from := policyset.Origin{By: "user:alice", Source: "push"}
		if err := r.Add(t.Context(), tx, set, from); err != nil {
			return err
		}
		return r.Activate(t.Context(), tx, set.Revision(), how, from)
	})
	must(t, err)
	must(t, r.Apply(t.Context()))
}

// What a person has activated stays until the content of the source changes, also over restarts.
func TestSourceAfterPerson(t *testing.T) {
	place := filepath.Join(t.TempDir(), "policies")
	write(t, place, numbered(1))
	one, two, three, pushed := compiled(t, numbered(1)), compiled(t, numbered(2)), compiled(t, numbered(3)), compiled(t, numbered(7))
	store := openStore(t)
	r := started(t, store, policyset.Folder(place))
	write(t, place, numbered(2))
	r.log.wait(t, "policies changed")
	r.activate(t, store, one, "rollback")
	r.serves(t, one)
	r.stop()
	r = started(t, store, policyset.Folder(place))
	r.serves(t, one)
	r.stop()
	r = started(t, store, policyset.Folder(place))
	r.serves(t, one)
	write(t, place, broken(2))
	r.log.wait(t, "policies refused")
	write(t, place, numbered(2))
	r.log.wait(t, "good again")
	r.serves(t, one)
	r.activate(t, store, pushed, "activate")
	write(t, place, numbered(3))
	r.log.wait(t, "policies changed")
	r.serves(t, three)

	view, err := store.View(t.Context())
	must(t, err)
	defer view.Close()
	activations, err := r.Activations(t.Context(), view, 10)
	must(t, err)
	want := []struct {
		set *engine.PolicySet
		how string
		by  string
	}{{three, "source", ""}, {pushed, "activate", "user:alice"}, {one, "rollback", "user:alice"}, {two, "source", ""}, {one, "source", ""}}
	for i, a := range activations {
		if a.Number != uint64(len(want)-i) || a.Set != want[i].set.Revision() || a.How != want[i].how || a.By != want[i].by {
			t.Errorf("activation %d is %+v", i, a)
		}
	}
	sets, err := r.Sets(t.Context(), view)
	must(t, err)
	if len(sets) != 4 || !sets[0].Active || sets[0].Revision != three.Revision() || sets[1].Revision != pushed.Revision() || sets[1].Active {
		t.Errorf("the sets are %+v", sets)
	}
	r.stop()
}

// A new version of the binary does not put its policies in the place of those that somebody has activated.
func TestBuiltInAfterPerson(t *testing.T) {
	store := openStore(t)
	pushed := compiled(t, numbered(7))
	r := started(t, store, policyset.BuiltIn(files(numbered(1))))
	r.stop()
	r = started(t, store, policyset.BuiltIn(files(numbered(2))))
	r.serves(t, compiled(t, numbered(2)))
	r.activate(t, store, pushed, "activate")
	r.stop()
	for range 2 {
		r = started(t, store, policyset.BuiltIn(files(numbered(3))))
		r.serves(t, pushed)
		r.stop()
	}
}

func TestFormer(t *testing.T) {
	store := openStore(t)
	var sets []*engine.PolicySet
	for n := range 4 {
		sets = append(sets, compiled(t, numbered(n)))
	}
	r := started(t, store, policyset.BuiltIn(files(numbered(0))))
	defer r.stop()
	former := func() (string, error) {
		view, err := store.View(t.Context())
		must(t, err)
		defer view.Close()
		return r.Former(t.Context(), view)
	}
	if _, err := former(); !errors.Is(err, policyset.ErrNoFormer) {
		t.Error("before the first activation:", err)
	}
	r.activate(t, store, sets[1], "activate")
	r.activate(t, store, sets[2], "activate")
	for _, want := range []int{1, 0} {
		revision, err := former()
		must(t, err)
		if revision != sets[want].Revision() {
			t.Errorf("the former set is not %d", want)
		}
		r.activate(t, store, sets[want], "rollback")
	}
	if _, err := former(); !errors.Is(err, policyset.ErrNoFormer) {
		t.Error("at the first set again:", err)
	}
	r.activate(t, store, sets[3], "activate")
	if revision, err := former(); err != nil || revision != sets[0].Revision() {
		t.Error("after another:", revision, err)
	}
}

// Each decision is by one set, which it names, and none by the former once an activation has returned.
func TestActivationUnderLoad(t *testing.T) {
	store := openStore(t)
	r := started(t, store, policyset.BuiltIn(files(numbered(0))))
	defer r.stop()
	m := memo.New(store, memo.Options{Bytes: 1 << 20})
	numbers := map[string]string{}
	var sets []*engine.PolicySet
	for n := range 4 {
		set := compiled(t, numbered(n))
		sets = append(sets, set)
		numbers[set.Revision()] = fmt.Sprint(n)
	}
	// acknowledged is the activation that has returned last, beginning those that were begun. By both it is known what may be answered.
	var mu sync.Mutex
	order := []string{sets[0].Revision()}
	acknowledged := 0
	state := func() (begun, done int) {
		mu.Lock()
		defer mu.Unlock()
		return len(order) - 1, acknowledged
	}
	ended := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-ended:
					return
				default:
				}
				_, done := state()
				reading, set := r.engine.Begin(m)
				d, err := r.engine.Decide(t.Context(), reading, set, engine.Access, fmt.Appendf(nil, `{"n": %d}`, n%8))
				reading.End()
				if err != nil {
					t.Error(err)
					return
				}
				if d.Reasons[0].Message != numbers[d.PolicyRevision] {
					t.Errorf("%s decides as %s", d.PolicyRevision, d.Reasons[0].Message)
				}
				mu.Lock()
				possible := order[done:]
				mu.Unlock()
				found := false
				for _, revision := range possible {
					found = found || revision == d.PolicyRevision
				}
				if !found {
					t.Errorf("set %s decides after activation %d", numbers[d.PolicyRevision], done)
				}
			}
		})
	}
	for n := 1; n < 60; n++ {
		mu.Lock()
		order = append(order, sets[n%len(sets)].Revision())
		mu.Unlock()
		r.activate(t, store, sets[n%len(sets)], "activate")
		mu.Lock()
		acknowledged = n
		mu.Unlock()
	}
	close(ended)
	asking.Wait()
}

// Activations at the same time end with the one that was committed last.
func TestActivationsTogether(t *testing.T) {
	store := openStore(t)
	r := started(t, store, policyset.BuiltIn(files(numbered(0))))
	defer r.stop()
	var sets []*engine.PolicySet
	for n := range 4 {
		sets = append(sets, compiled(t, numbered(n)))
	}
	for range 10 {
		var all sync.WaitGroup
		for _, set := range sets {
			all.Go(func() { r.activate(t, store, set, "activate") })
		}
		all.Wait()
		view, err := store.View(t.Context())
		must(t, err)
		state, _, err := r.State(t.Context(), view)
		must(t, err)
		view.Close()
		if r.engine.Policies().Revision() != state.Active {
			t.Fatal("what decides is not what is active")
		}
	}
}

func TestLargeSet(t *testing.T) {
	random := make([]byte, 11<<20)
	_, err := rand.Read(random)
	must(t, err)
	m := numbered(1)
	m["large/data.json"] = `{"x": "` + base64.StdEncoding.EncodeToString(random) + `"}`
	large := compiled(t, m)
	store := openStore(t)
	place := filepath.Join(t.TempDir(), "policies")
	write(t, place, m)
	r := started(t, store, policyset.Folder(place))
	r.serves(t, large)
	r.stop()
	must(t, os.RemoveAll(place))
	r = started(t, store, policyset.Folder(place))
	r.serves(t, large)
	r.stop()
}

// There is room for a new set however many are stored, and what is needed stays.
func TestManySets(t *testing.T) {
	if testing.Short() {
		t.Skip("stores a thousand sets")
	}
	store := openStore(t)
	first := compiled(t, numbered(0))
	r := started(t, store, policyset.BuiltIn(files(numbered(0))))
	defer r.stop()
	active := compiled(t, numbered(1))
	r.activate(t, store, active, "activate")
	for n := range 1003 {
		m := numbered(2)
		m["n.rego"] = fmt.Sprintf("package n\n\nn := %d\n", n)
		var all []engine.File
		for name, text := range m {
			all = append(all, engine.File{Name: name, Text: text})
		}
		set, err := engine.CompileFiles(t.Context(), all)
		must(t, err)
		_, err = store.Update(t.Context(), func(tx datastore.Tx) error {
			return r.Add(t.Context(), tx, set, policyset.Origin{By: "user:alice", Source: "push"})
		})
		must(t, err)
	}
	view, err := store.View(t.Context())
	must(t, err)
	defer view.Close()
	sets, err := r.Sets(t.Context(), view)
	must(t, err)
	kept := map[string]bool{}
	for _, s := range sets {
		kept[s.Revision] = true
	}
	if len(sets) != 1000 || !kept[first.Revision()] || !kept[active.Revision()] {
		t.Errorf("%d sets are kept, the first: %v, the active one: %v", len(sets), kept[first.Revision()], kept[active.Revision()])
	}
}

func TestMetrics(t *testing.T) {
	place := filepath.Join(t.TempDir(), "policies")
	write(t, place, numbered(1))
	r := started(t, openStore(t), policyset.Folder(place))
	registry := prometheus.NewPedanticRegistry()
	for _, c := range r.Collectors() {
		must(t, registry.Register(c))
	}
	write(t, place, broken(2))
	r.log.wait(t, "policies refused")
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		`mandate_policy_source_failures_total{source="folder",tenant="default"} 1`,
		`mandate_policy_source_sets_total{source="folder",tenant="default"} 1`,
		`mandate_policy_source_stale{source="folder",tenant="default"} 1`,
	} {
		if !strings.Contains(answer.Body.String(), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, answer.Body)
		}
	}
	all, err := registry.Gather()
	must(t, err)
	for _, family := range all {
		if at := family.GetMetric()[0].GetGauge().GetValue(); strings.HasSuffix(family.GetName(), "timestamp_seconds") &&
			(at < float64(time.Now().Unix()-60) || at > float64(time.Now().Unix()+1)) {
			t.Errorf("%s is %f", family.GetName(), at)
		}
	}
	r.stop()
}

// What was staged and then refused, or cut off by a crash, does not stay; what was added does.
func TestStagedIsRemoved(t *testing.T) {
	large := func(n int) *engine.PolicySet {
		random := make([]byte, 3<<20)
		_, err := rand.Read(random)
		must(t, err)
		m := numbered(n)
		m["large/data.json"] = `{"x": "` + base64.StdEncoding.EncodeToString(random) + `"}`
		return compiled(t, m)
	}
	refused, added, late := large(1), large(2), large(3)
	store, now := openStore(t), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := policyset.New(policyset.Options{Tenant: tenant, Store: store, Now: func() time.Time { return now }})
	add := func(set *engine.PolicySet) {
		t.Helper()
		_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
			return l.Add(t.Context(), tx, set, policyset.Origin{Source: "push"})
		})
		must(t, err)
	}
	holds := func(want ...*engine.PolicySet) {
		t.Helper()
		view, err := store.View(t.Context())
		must(t, err)
		defer view.Close()
		kept := map[string]int{}
		for fact, err := range view.Scan(t.Context(), datastore.TenantID(tenant).Path(directory.PrivateRoot, "policies", "files"), datastore.Path{}) {
			must(t, err)
			segments := fact.Path.Segments()
			kept[segments[len(segments)-2]]++
		}
		for _, set := range want {
			if kept[set.Revision()] == 0 {
				t.Errorf("nothing of the set %s is kept", set.ShortRevision())
			}
			delete(kept, set.Revision())
		}
		if len(kept) > 0 {
			t.Errorf("the files of other sets are kept: %v", kept)
		}
	}
	small := []*engine.PolicySet{compiled(t, numbered(4)), compiled(t, numbered(5)), compiled(t, numbered(6))}

	must(t, l.Stage(t.Context(), refused))
	must(t, l.Stage(t.Context(), added))
	add(added)
	add(small[0])
	holds(refused, added, small[0]) // it may be added yet
	now = now.Add(2 * time.Hour)
	add(small[1])
	holds(added, small[0], small[1])

	must(t, l.Stage(t.Context(), refused))
	must(t, l.Stage(t.Context(), added)) // is stored already
	now = now.Add(2 * time.Hour)
	must(t, l.Stage(t.Context(), late))
	holds(added, late, small[0], small[1])
	add(late)
	now = now.Add(2 * time.Hour)
	add(small[2])
	holds(added, late, small[0], small[1], small[2])

	view, err := store.View(t.Context())
	must(t, err)
	defer view.Close()
	for _, set := range []*engine.PolicySet{added, late} {
		files, err := l.Files(t.Context(), view, set.Revision())
		must(t, err)
		if revision, err := engine.RevisionOf(files); err != nil || revision != set.Revision() {
			t.Error("it is another set now:", err)
		}
	}
}
