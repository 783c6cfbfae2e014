package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// TestMain lets this binary play the roles of the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles()[os.Args[1]] != nil {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func TestWorkloadFollowsFromItsSeed(t *testing.T) {
	one, again, other := generate(7, 50, 20, 500), generate(7, 50, 20, 500), generate(8, 50, 20, 500)
	facts := slices.Collect(one.files())
	if !reflect.DeepEqual(one, again) || !reflect.DeepEqual(facts, slices.Collect(again.files())) {
		t.Error("the same seed made two workloads")
	}
	if reflect.DeepEqual(one.questions, other.questions) || reflect.DeepEqual(one.org(3), other.org(3)) {
		t.Error("two seeds made the same")
	}
	orgs, members, users := 0, 0, 0
	for _, f := range facts {
		orgs, users = orgs+len(f.Orgs), users+len(f.Users)
		for _, org := range f.Orgs {
			members += len(org.Members)
		}
	}
	if len(one.questions) != 500 || orgs != 50 || members != 1000 || users != 1000 {
		t.Errorf("%d questions, %d organizations, %d members, %d users", len(one.questions), orgs, members, users)
	}
}

// small is a benchmark of a small workload.
func small(t *testing.T) (*bench, *ground) {
	t.Helper()
	o, err := parseOptions([]string{"-short", "-requests", "600", "-connections", "4"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: o, progress: newProgress(io.Discard), temp: t.TempDir(), shared: &shared{temp: t.TempDir()}, result: &suiteResult{}}
	g, err := b.ground(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b, g
}

// smallDecisions are the contestants over a small workload, without servers.
func smallDecisions(t *testing.T) (*bench, *ground, *decisionBench) {
	t.Helper()
	b, g := small(t)
	d, err := b.prepareDecisions(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, g, d
}

func TestContestantsAgree(t *testing.T) {
	b, g := small(t)
	opa, err := b.serveOPA(t.Context(), g, g.questions)
	if err != nil {
		t.Fatal(err)
	}
	defer opa.stop()
	server, err := b.ask(t.Context(), opa)
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.prepareDecisions(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.store.Close() }()
	given := []answered{server}
	for _, c := range d.contestants() {
		a := answered{name: c.name}
		for i := range d.questions {
			one, err := c.answer(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			a.answers = append(a.answers, one)
		}
		given = append(given, a)
	}
	if err := mustAgree(d.questions, given); err != nil {
		t.Error(err)
	}

	allowed, codes := 0, map[string]bool{}
	for _, a := range server.answers {
		codes[a.code()] = true
		if a.allow {
			allowed++
		}
	}
	if share := float64(allowed) / float64(len(d.questions)); share < 0.4 || share > 0.6 {
		t.Errorf("%.0f %% are allowed, which is not about half", 100*share)
	}
	for _, code := range []string{"role", "relation", "role_missing", "not_a_member", "member_suspended", "org_suspended", "principal_unknown", "principal_inactive"} {
		if !codes[code] {
			t.Errorf("no question is answered with %s: %s", code, tallyOf(server.answers))
		}
	}
}

func TestInProcessIsMeasured(t *testing.T) {
	_, _, d := smallDecisions(t)
	for i := range d.questions {
		decision, err := d.engine.decide(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		d.allowed = append(d.allowed, decision.Allow)
	}
	b := &bench{options: options{Rounds: 2, Duration: 50 * time.Millisecond}, progress: newProgress(io.Discard), result: &suiteResult{}}
	if err := b.race(t.Context(), d.inProcess(b)); err != nil {
		t.Fatal(err)
	}
	for _, row := range b.result.Races[0].Contestants {
		for _, v := range row.Values {
			if len(v.Rounds) != 2 || v.Min < 0 || v.Min > v.Median || v.Median > v.Max {
				t.Errorf("%s: %s: %+v", row.Contestant, v.Name, v)
			}
		}
	}
	d.allowed[0] = !d.allowed[0]
	if err := b.race(t.Context(), d.inProcess(b)); err == nil || !strings.Contains(err.Error(), "the answer has changed") {
		t.Errorf("a wrong answer went unnoticed: %v", err)
	}
}

func TestDifferencesAreShown(t *testing.T) {
	questions := generate(1, 2, 2, 9).questions
	yes, no := answer{true, "role: a"}, answer{false, "role_missing: b"}
	one, two := answered{name: "one"}, answered{name: "two"}
	for i := range questions {
		one.answers, two.answers = append(one.answers, yes), append(two.answers, yes)
		if i > 1 {
			two.answers[i] = no
		}
	}
	err := mustAgree(questions, []answered{one, two})
	if err == nil {
		t.Fatal("no difference was found")
	}
	for _, want := range []string{"request 2:", questions[2].Subject.ID, "one", "allow, role: a", "two", "deny, role_missing: b", "request 6:", "…"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "request 7:") {
		t.Errorf("more than the first differences:\n%v", err)
	}
	two.answers = slices.Clone(one.answers)
	two.answers[3].reasons = "relation: c"
	if mustAgree(questions, []answered{one, two}) == nil {
		t.Error("another reason passes for the same answer")
	}
}

func TestStatistics(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{5, 1, 3}, spread{1, 3, 5}},
		{[]float64{4, 1, 2, 3}, spread{1, 2.5, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("spread of %v: %+v, not %+v", c.values, got, c.want)
		}
	}
	// Both slow down in the second round; their ratio does not.
	if got := spreadOf(quotients([]float64{300, 30, 320}, []float64{100, 10, 100})); got != (spread{3, 3, 3.2}) {
		t.Errorf("ratios: %+v", got)
	}
	var latencies []time.Duration
	for i := 1; i <= 200; i++ {
		latencies = append(latencies, time.Duration(i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := quantile(latencies, q); got != want {
			t.Errorf("quantile %v: %d, not %d", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}

func TestEachRoundBeginsWithAnother(t *testing.T) {
	var order []string
	r := race{title: "race", metrics: []metric{{"speed", ""}, {"size", ""}}, ratios: []ratio{{"b / a", 1, 1, 0}}}
	for i, name := range []string{"a", "b"} {
		r.contestants = append(r.contestants, contestant{name, func(context.Context) ([]float64, error) {
			order = append(order, name)
			return []float64{1, float64(10 * (i + 1))}, nil
		}})
	}
	b := &bench{options: options{Rounds: 3}, progress: newProgress(io.Discard), result: &suiteResult{}}
	if err := b.race(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "abbaab" {
		t.Errorf("order %s", got)
	}
	if got := b.result.Races[0].Ratios[0].spread; got != (spread{2, 2, 2}) {
		t.Errorf("ratio %+v", got)
	}
	failed := errors.New("broken")
	r.contestants[1].measure = func(context.Context) ([]float64, error) { return nil, failed }
	if err := b.race(t.Context(), r); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}

func TestResultsAreWritten(t *testing.T) {
	r := results{Started: time.Unix(0, 0).UTC(), Machine: thisMachine(), Options: options{Rounds: 3}, Duration: "1s", Suites: []suiteResult{{
		Name: "x", Notes: []string{"a note"}, Races: []raceResult{{Title: `<"A" & 'B'>`,
			Contestants: []row{
				{"one <", []series{{"speed", "", []float64{1, 2, 3}, spread{1, 2, 3}}}},
				{"two &", []series{{"speed", "", []float64{0, 0, 0}, spread{}}}},
			},
			Ratios: []series{{"one / two", "times", []float64{1234}, spread{1234, 1234, 1234}}}}}}}}
	folder := filepath.Join(t.TempDir(), "a", "b")
	var table bytes.Buffer
	if err := errors.Join(r.print(&table), r.save(folder, io.Discard)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a note", `<"A" & 'B'>`, "2.00 (1.00 – 3.00)", "1,234 ×"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, table.String())
		}
	}

	drawn, err := os.ReadFile(filepath.Join(folder, "results.svg"))
	if err != nil {
		t.Fatal(err)
	}
	decoder, bars := xml.NewDecoder(bytes.NewReader(drawn)), 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the plot is not XML: %v\n%s", err, drawn)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "path" {
			bars++
		}
	}
	if bars != 2 {
		t.Errorf("%d bars", bars)
	}

	var back struct {
		Suites []struct {
			Races []struct {
				Contestants []struct {
					Values []struct{ Min, Median, Max *float64 }
				}
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(folder, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	if v := back.Suites[0].Races[0].Contestants[0].Values[0]; v.Median == nil || math.Abs(*v.Median-2) > 1e-9 {
		t.Errorf("results.json has no medians:\n%s", text)
	}
}
