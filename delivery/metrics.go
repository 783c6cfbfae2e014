package delivery

import (
	"github.com/prometheus/client_golang/prometheus"

	"mandate/directory"
)

// metrics count attempts and what became of deliveries.
type metrics struct {
	attempts *prometheus.CounterVec
	waiting  prometheus.Gauge
}

func newMetrics(t directory.Tenant) *metrics {
	labels := prometheus.Labels{"tenant": string(t)}
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_deliveries_total",
			Help:        "Attempts to deliver events and mail, by how they ended. A dead delivery is not tried again.",
			ConstLabels: labels}, []string{"kind", "outcome"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mandate_delivery_endpoints_waiting",
			Help: "Endpoints to which something is to be delivered, now or later.", ConstLabels: labels}),
	}
}

func (m *metrics) count(e entry, outcome string) {
	kind := "webhook"
	if e.Endpoint == "" {
		kind = "mail"
	}
	m.attempts.WithLabelValues(kind, outcome).Inc()
}

// Collectors are the queue's metrics.
func (q *Queue) Collectors() []prometheus.Collector {
	return []prometheus.Collector{q.metrics.attempts, q.metrics.waiting}
}
