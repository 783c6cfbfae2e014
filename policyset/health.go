package policyset

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/engine"
)

// followAgain is after what time a source is followed again that could not be, such as a folder in a folder that is gone.
const followAgain = 10 * time.Second

// health is what is known of the source.
type health struct {
	mu      sync.Mutex
	given   string // revision of the set that it gave last
	bad     error  // what is wrong with what it gives now; nil when that is good
	good    time.Time
	failed  time.Time
	took    uint64 // sets
	refused uint64
}

// Stale says that the source gives nothing good, so that what it gave before is served.
func (l *Library) Stale() bool {
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	return l.health.bad != nil
}

// Start makes the engine decide: by what the source gives, or by the set that was active last when the source is bad. It fails when there
// is neither.
func (l *Library) Start(ctx context.Context) error {
	set, bad := l.o.Source.First(ctx)
	if bad == nil {
		if err := l.Offer(ctx, set, l.o.Source.Kind()); err != nil {
			return err
		}
		l.note(set, nil)
		l.warn(l.o.Engine.Policies())
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	found, err := l.apply(ctx)
	if err != nil || !found {
		return errors.Join(bad, err)
	}
	l.note(nil, bad)
	l.warn(l.o.Engine.Policies())
	return nil
}

// Use makes the engine decide as Start does, but by the set that was active last, and stores nothing.
func (l *Library) Use(ctx context.Context) error {
	found, err := l.apply(ctx)
	if err != nil || found {
		return err
	}
	set, err := l.o.Source.First(ctx)
	if err != nil {
		return err
	}
	l.o.Engine.Swap(set)
	return nil
}

// Follow takes what the source gives until ctx ends. A set that is bad leaves the last good one serving.
func (l *Library) Follow(ctx context.Context) {
	l.health.mu.Lock()
	seen := l.health.given
	l.health.mu.Unlock()
	testing := func() { l.o.Log.Info("testing the changed policies", l.attrs()...) }
	for {
		err := l.o.Source.Follow(ctx, seen, testing, func(set *engine.PolicySet, bad error) error { return l.take(ctx, set, bad) })
		if err == nil || ctx.Err() != nil {
			return
		}
		l.note(nil, err)
		seen = "" // so that it is known when the source is good again
		select {
		case <-ctx.Done():
			return
		case <-time.After(followAgain):
		}
	}
}

// take is what is done with what the source gives.
func (l *Library) take(ctx context.Context, set *engine.PolicySet, bad error) error {
	before := l.o.Engine.Policies()
	var failed error
	if set != nil && bad == nil {
		failed = l.Offer(ctx, set, l.o.Source.Kind())
		bad = failed
	}
	if ctx.Err() != nil {
		return failed
	}
	l.note(set, bad)
	switch now := l.o.Engine.Policies(); {
	case bad != nil || set == nil:
	case now != before:
		l.o.Log.Info("policies changed", l.attrs()...)
		l.warn(now)
	case now.Revision() != set.Revision():
		l.o.Log.Info("the policies of the source are stored, and those that a person has activated go on serving", l.attrs("stored", set.ShortRevision())...)
	}
	return failed
}

// note remembers what became of what the source gave, and says so when that is news.
func (l *Library) note(set *engine.PolicySet, bad error) {
	l.health.mu.Lock()
	former := l.health.bad
	l.health.bad = bad
	now := l.o.Now()
	switch {
	case bad != nil:
		l.health.failed = now
		l.health.refused++
	case set != nil:
		l.health.good, l.health.given = now, set.Revision()
		l.health.took++
	default:
		l.health.good = now
	}
	l.health.mu.Unlock()
	switch {
	case bad != nil && (former == nil || former.Error() != bad.Error()):
		l.logRefusal(bad)
	case bad == nil && former != nil:
		l.o.Log.Info("the source of the policies is good again", l.attrs()...)
	}
}

func (l *Library) attrs(more ...any) []any {
	return append([]any{"tenant", l.o.Tenant, l.o.Source.Kind(), l.o.Source.String(), "serving", l.o.Engine.Policies().ShortRevision()}, more...)
}

// logRefusal writes a line for each problem, up to what a person would read.
func (l *Library) logRefusal(bad error) {
	const most = 10
	problems := []string{bad.Error()}
	if refused := (*engine.CompileError)(nil); errors.As(bad, &refused) {
		problems = nil
		for _, p := range refused.Problems {
			problems = append(problems, p.String())
		}
	}
	l.o.Log.Error("policies refused, the former ones go on serving", l.attrs("problems", len(problems))...)
	for _, p := range problems[:min(len(problems), most)] {
		l.o.Log.Error("policy problem", "at", p)
	}
}

// warn says when decisions are slower than they could be.
func (l *Library) warn(set *engine.PolicySet) {
	if why := set.Unplanned(); why != nil {
		l.o.Log.Warn("OPA's evaluator decides by these policies, which takes longer", "tenant", l.o.Tenant, "policies", set.ShortRevision(), "why", why)
	}
}

// Collectors are the figures of the source.
func (l *Library) Collectors() []prometheus.Collector {
	labels := prometheus.Labels{"tenant": string(l.o.Tenant), "source": l.o.Source.Kind()}
	of := func(value func(*health) float64) func() float64 {
		return func() float64 {
			l.health.mu.Lock()
			defer l.health.mu.Unlock()
			return value(&l.health)
		}
	}
	gauge := func(name, help string, value func(*health) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_policy_source_" + name, Help: help, ConstLabels: labels}, of(value))
	}
	counter := func(name, help string, value func(*health) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "mandate_policy_source_" + name, Help: help, ConstLabels: labels}, of(value))
	}
	return []prometheus.Collector{
		gauge("stale", "1 when the source gives nothing good, so that the last good set is served.", func(h *health) float64 {
			if h.bad != nil {
				return 1
			}
			return 0
		}),
		gauge("last_success_timestamp_seconds", "When the source was last found good.", func(h *health) float64 { return seconds(h.good) }),
		gauge("last_failure_timestamp_seconds", "When the source was last found bad or could not be asked; 0 for never.",
			func(h *health) float64 { return seconds(h.failed) }),
		counter("sets_total", "Policy sets taken from the source.", func(h *health) float64 { return float64(h.took) }),
		counter("failures_total", "Times that the source gave nothing good.", func(h *health) float64 { return float64(h.refused) }),
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
