package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
)

func failedAuthentications(tenant directory.Tenant) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_authentication_failures_total",
		Help: "Credentials that were refused.", ConstLabels: prometheus.Labels{"tenant": string(tenant)}}, []string{"code"})
}

func tokensIssued(tenant directory.Tenant) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_tokens_total",
		Help: "Tokens that were issued or refused.", ConstLabels: prometheus.Labels{"tenant": string(tenant)}}, []string{"outcome"})
	for _, outcome := range []string{tokenIssued, tokenRefused} {
		v.WithLabelValues(outcome)
	}
	return v
}

// Outcomes of a request for a token.
const (
	tokenIssued  = "issued"
	tokenRefused = "refused"
)

// tenantMetrics are the figures that the engine, the decision log and the policies of a tenant keep themselves. They are read when they are
// asked for, so counting costs a decision no more than the engine's own counting.
type tenantMetrics struct {
	server *Server
	tenant Tenant

	decisions, duration, masks                                             *prometheus.Desc
	entries, bytes, failures, lost, unsynced, failing, policies, activated *prometheus.Desc
}

func newTenantMetrics(s *Server, t Tenant) *tenantMetrics {
	of := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, prometheus.Labels{"tenant": string(t.ID)})
	}
	return &tenantMetrics{server: s, tenant: t,
		decisions: of("mandate_decisions_total", "Decisions.", "point", "outcome", "remembered"),
		duration:  of("mandate_decision_duration_seconds", "Time from when a decision was asked for until it was recorded.", "point", "remembered"),
		masks:     of("mandate_decision_log_mask_failures_total", "Records whose masks could not be applied, so that what they might have been for was left out."),
		entries:   of("mandate_decision_log_entries_total", "Records that were appended to the decision log."),
		bytes:     of("mandate_decision_log_bytes_total", "Bytes that were written to it."),
		failures:  of("mandate_decision_log_failures_total", "Attempts to write or sync it that failed."),
		lost:      of("mandate_decision_log_lost_bytes_total", "Bytes of it that could not be written."),
		unsynced:  of("mandate_decision_log_unsynced_bytes", "Bytes of it that the disk does not have yet."),
		failing:   of("mandate_decision_log_failing", "1 while it cannot be written."),
		policies:  of("mandate_policy_info", "1 for the policy set that decides.", "revision"),
		activated: of("mandate_policy_activated_timestamp_seconds", "When that was activated."),
	}
}

// Describe implements prometheus.Collector.
func (m *tenantMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.decisions, m.duration, m.masks, m.entries, m.bytes, m.failures, m.lost, m.unsynced, m.failing,
		m.policies, m.activated} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *tenantMetrics) Collect(to chan<- prometheus.Metric) {
	m.collectDecisions(to)
	m.collectLog(to, m.tenant.Engine.Log().Stats())
	m.collectPolicies(to)
}

func (m *tenantMetrics) collectDecisions(to chan<- prometheus.Metric) {
	for _, d := range m.tenant.Engine.Measures() {
		remembered := "false"
		if d.Remembered {
			remembered = "true"
		}
		for outcome, n := range d.Outcomes {
			to <- prometheus.MustNewConstMetric(m.decisions, prometheus.CounterValue, float64(n), string(d.Point), string(outcome), remembered)
		}
		buckets, count := map[float64]uint64{}, uint64(0)
		for i, n := range d.Durations {
			count += n
			if i < len(d.Durations)-1 { // the last one has no bound
				buckets[engine.BucketBound(i).Seconds()] = count
			}
		}
		to <- prometheus.MustNewConstHistogram(m.duration, count, d.Total.Seconds(), buckets, string(d.Point), remembered)
	}
	to <- prometheus.MustNewConstMetric(m.masks, prometheus.CounterValue, float64(m.tenant.Engine.MaskFailures()))
}

func (m *tenantMetrics) collectLog(to chan<- prometheus.Metric, s decisionlog.Stats) {
	for _, each := range []struct {
		desc  *prometheus.Desc
		value uint64
	}{{m.entries, s.Entries}, {m.bytes, s.Bytes}, {m.failures, s.Failures}, {m.lost, s.Lost}} {
		to <- prometheus.MustNewConstMetric(each.desc, prometheus.CounterValue, float64(each.value))
	}
	to <- prometheus.MustNewConstMetric(m.unsynced, prometheus.GaugeValue, float64(s.Unsynced))
	failing := 0.0
	if s.Failing {
		failing = 1
	}
	to <- prometheus.MustNewConstMetric(m.failing, prometheus.GaugeValue, failing)
}

func (m *tenantMetrics) collectPolicies(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(m.policies, prometheus.GaugeValue, 1, m.tenant.Engine.Policies().Revision())
	at := time.Time{}
	if view, err := m.server.store.View(m.server.base); err == nil {
		defer view.Close()
		at = m.activatedAt(view)
	}
	if !at.IsZero() {
		to <- prometheus.MustNewConstMetric(m.activated, prometheus.GaugeValue, float64(at.UnixMilli())/1000)
	}
}

func (m *tenantMetrics) activatedAt(view datastore.View) time.Time {
	state, found, err := m.tenant.ID.PolicyState().Find(m.server.base, view)
	if err != nil || !found {
		return time.Time{}
	}
	last, _, err := m.tenant.ID.Activation(state.Activation).Find(m.server.base, view)
	if err != nil {
		return time.Time{}
	}
	return last.At
}

// storeMetrics are those of the datastore, which all tenants have in common.
func (s *Server) storeMetrics() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mandate_store_revision", Help: "The newest revision of the facts."}, func() float64 {
			view, err := s.store.View(s.base)
			if err != nil {
				return 0
			}
			defer view.Close()
			return float64(view.Revision())
		}),
	}
}
