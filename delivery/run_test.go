package delivery

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/directory"
)

// TestSlowEndpoint: of an endpoint that does not answer no other one notices anything, nor of an owner with many of them.
func TestSlowEndpoint(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	var busy, most atomic.Int64
	slow, slowPosts := endpoint(t, func(http.ResponseWriter, *http.Request) {
		for n := busy.Add(1); ; {
			if seen := most.Load(); n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		<-release
		busy.Add(-1)
	})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	fast, fastPosts := endpoint(t, status(http.StatusOK))
	for i := range directory.MaxWebhooks {
		w.hook(fmt.Sprint("slow", i), directory.Webhook{URL: slow, Org: "acme"})
	}
	w.hook("alone", directory.Webhook{URL: slow, Org: "initech"})
	w.hook("fast", directory.Webhook{URL: fast, Org: "globex"})
	for i := range 10 {
		w.event(Event{ID: fmt.Sprint("acme", i), Org: "acme"})
		w.event(Event{ID: fmt.Sprint("initech", i), Org: "initech"})
	}
	w.run()
	for range maxPerOwner + maxPerLane {
		next(t, slowPosts)
	}
	for i := range 100 {
		w.event(Event{ID: fmt.Sprint("globex", i), Org: "globex"})
	}
	for range 100 {
		next(t, fastPosts)
	}
	w.await("the fast ones", func() bool {
		return !slices.ContainsFunc(w.pending(), func(d Delivery) bool { return d.Endpoint == "fast" })
	})
	if n := most.Load(); n > maxPerOwner+maxPerLane {
		t.Errorf("%d at once to the slow ones", n)
	}
	nothingMore(t, slowPosts)
	let()
	w.awaitNothing()
	seen := map[string]bool{}
	for len(slowPosts) > 0 {
		p := <-slowPosts
		seen[p.id()] = true
	}
	if len(w.dead()) != 0 || len(seen) == 0 {
		t.Errorf("dead %v, seen %v", w.dead(), seen)
	}
}

// TestRunEnds: with its context end all goroutines of a queue, whatever they wait for.
func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	hanging, posts := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.hook("a", directory.Webhook{URL: hanging})
	w.event(Event{ID: "evt1"})
	w.run()
	next(t, posts)
	w.stop()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"delivery.(*Queue).", "delivery.(*runner)."} {
		if strings.Contains(all.String(), method) {
			t.Errorf("a goroutine is left:\n%s", all.String())
		}
	}
	if d := w.awaitAttempt(0); d.LastError != "" {
		t.Errorf("what was stopped counts as an attempt: %+v", d)
	}
}

// TestMetrics: attempts are counted by how they ended.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	url, _ := endpoint(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			rw.WriteHeader(http.StatusGone)
		}
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.queue.Collectors()...)
	w.hook("good", directory.Webhook{URL: url})
	w.hook("gone", directory.Webhook{URL: url + "/gone"})
	w.hook("down", directory.Webhook{URL: "http://127.0.0.1:1/"})
	w.event(Event{ID: "evt1"})
	w.run()
	w.await("attempts", func() bool {
		return len(w.dead()) == 1 && len(w.pending()) == 1 && w.pending()[0].Attempts == 1
	})
	w.stop()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "mandate_deliveries_total" {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{"webhook dead": 1, "webhook delivered": 1, "webhook failed": 1}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
