package server

import (
	"fmt"
	"slices"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mandate/datastore/memo"
	"mandate/directory"
)

// metrics serves the figures of the whole service in Prometheus' format, so it is the default tenant's policy
// mandate.manage that decides who may see them, as the action metrics.read.
func (s *Server) metrics() error {
	h, ok := s.tenants[DefaultTenant]
	if !ok {
		return nil
	}
	scrape, err := s.scraper()
	if err != nil {
		return err
	}
	s.app.Get("/metrics", h.limited(unlimited, surfaceProblem, func(c *fiber.Ctx) error {
		return h.ask(c, refuseQuery, []string{"manage"}, func(a *asking) error {
			if err := a.permit("metrics.read", "service", "mandate"); err != nil {
				return err
			}
			return scrape(c)
		})
	}))
	return nil
}

// scraper gathers what the parts of the service count themselves.
func (s *Server) scraper() (fiber.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range append(append(s.memoMetrics(), s.storeMetrics()...), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register a metric: %w", err)
		}
	}
	for id, h := range s.tenants {
		labels := prometheus.Labels{"tenant": string(id)}
		engine := h.tenant.Engine
		for _, c := range append(slices.Clone(h.tenant.Metrics), h.refused, h.inQuery, h.unauthenticated, h.issuing,
			newTenantMetrics(s, h.tenant),
			counter("mandate_decisions_checked_total", "Decisions repeated by OPA's evaluator to check them.", labels,
				func() float64 { return float64(engine.Checks().Checked) }),
			counter("mandate_decisions_differing_total", "Checked decisions that OPA's evaluator made differently: must be 0.", labels,
				func() float64 { return float64(engine.Checks().Differing) }),
			counter("mandate_decisions_evaluated_total", "Decisions that were not remembered.", labels,
				func() float64 { return float64(engine.Checks().Evaluated) }),
		) {
			if err := registry.Register(c); err != nil {
				return nil, fmt.Errorf("register a metric: %w", err)
			}
		}
	}
	return adaptor.HTTPHandler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})), nil
}

func (s *Server) memoMetrics() []prometheus.Collector {
	of := func(value func(memo.Stats) float64) func() float64 {
		return func() float64 { return value(s.memo.Stats()) }
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_memo_entries", Help: "Results that are remembered."},
			of(func(m memo.Stats) float64 { return float64(m.Entries) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_memo_bytes", Help: "Memory that they take."},
			of(func(m memo.Stats) float64 { return float64(m.Bytes) })),
		counter("mandate_memo_hits_total", "Results that were used again.", nil, of(func(m memo.Stats) float64 { return float64(m.Hits) })),
		counter("mandate_memo_misses_total", "Results that had to be worked out.", nil, of(func(m memo.Stats) float64 { return float64(m.Misses) })),
		counter("mandate_memo_changed_total", "Results forgotten because something that they rest on had changed.", nil,
			of(func(m memo.Stats) float64 { return float64(m.Changed) })),
		counter("mandate_memo_displaced_total", "Results forgotten to make room.", nil, of(func(m memo.Stats) float64 { return float64(m.Displaced) })),
	}
}

func counter(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, value)
}

func queryCredentials(tenant directory.Tenant) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "mandate_query_credentials_total",
		Help: "Requests with a credential in the query, which ends up in logs of others.", ConstLabels: prometheus.Labels{"tenant": string(tenant)}})
}
