package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/skep-gitops/skep/operator"
)

// metrics serves a view of the status in Prometheus' format. Each scrape has a
// registry of its own, so that a series lives exactly as long as what it tells
// of, and every metric carries the cluster's name.
func metrics(status func() operator.Status) http.Handler {
	golang := collectors.NewGoCollector()
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := status()
		reg := prometheus.NewRegistry()
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"cluster": valid(s.Cluster)}, reg)
		labelled.MustRegister(collector{s}, golang, process)
		opts := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true}
		promhttp.HandlerFor(reg, opts).ServeHTTP(w, r)
	})
}

// collector shows one Status as metrics.
type collector struct{ s operator.Status }

var _ prometheus.Collector = collector{}

// desc is a metric's name, help and labels.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("skep_"+name, help, labels, nil)
}

// Describe is Collect's own list.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect sends the whole status.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.operator(ch)
	c.counts(ch)
	c.tenants(ch)
	c.stacks(ch)
	c.alerts(ch)
}

func (c collector) operator(ch chan<- prometheus.Metric) {
	gauge(ch, desc("build_info", "Always 1; the label is the version of skep.", "version"), 1, c.s.Version)
	gauge(ch, desc("start_time_seconds", "When the operator started."), seconds(c.s.Started))
	gauge(ch, desc("ready", "1 while the configuration is loaded and the loop runs."), truth(c.s.Ready))
	gauge(ch, desc("config_refused", "1 while the newest configuration is refused and an older one is followed."), truth(c.s.Config != ""))
	gauge(ch, desc("swarm_readable", "1 while the swarm can be read whole."), truth(c.s.Swarm == ""))
	gauge(ch, desc("swarm_last_look_timestamp_seconds", "When the swarm was last read whole; 0: never."), seconds(c.s.LastLook))
	gauge(ch, desc("orphans", "Stacks of this instance whose tenant is not configured."), float64(len(c.s.Orphans)))
}

func (c collector) counts(ch chan<- prometheus.Metric) {
	n := c.s.Counts
	counter(ch, desc("cycles_total", "Whole looks at the swarm."), n.Cycles)
	counter(ch, desc("writes_total", "Changes made to the swarm."), n.Writes)
	counter(ch, desc("write_errors_total", "Changes that the swarm refused."), n.WriteErrors)
	counter(ch, desc("fetch_errors_total", "Looks at a repository that failed."), n.FetchErrors)
	counter(ch, desc("renders_total", "Stacks rendered."), n.Renders)
	counter(ch, desc("healed_total", "Drifts taken back."), n.Healed)
	counter(ch, desc("pruned_total", "Objects removed because they left git."), n.Pruned)
}

func (c collector) tenants(ch chan<- prometheus.Metric) {
	last := desc("tenant_last_look_timestamp_seconds", "When the tenant's repository was last looked at.", "tenant")
	good := desc("tenant_last_success_timestamp_seconds", "When the tenant's repository was last read; while it fails: when that began.", "tenant")
	reason := desc("tenant_failed", "1 for the reason why the tenant's repository cannot be followed.", "tenant", "reason")
	for _, t := range c.s.Tenants {
		gauge(ch, last, seconds(t.LastLook), t.Tenant)
		if t.Reason == "" {
			gauge(ch, good, seconds(t.LastLook), t.Tenant)
			continue
		}
		gauge(ch, good, seconds(t.Since), t.Tenant)
		gauge(ch, reason, 1, t.Tenant, string(t.Reason))
	}
}

func (c collector) stacks(ch chan<- prometheus.Metric) {
	sync := desc("stack_sync", "1 for the stack's state of synchronisation, 0 for the others.", "tenant", "stack", "sync")
	health := desc("stack_health", "1 for the stack's health, 0 for the others.", "tenant", "stack", "health")
	reason := desc("stack_failed", "1 for the reason why the stack is not as git asks.", "tenant", "stack", "reason")
	held := desc("stack_held", "1 for a stack that is frozen or pinned.", "tenant", "stack", "hold")
	for _, s := range c.s.Stacks {
		if s.Stack == "" {
			continue // the tenant's repository as a whole: told by the tenant's own metrics
		}
		for _, v := range []operator.Sync{operator.Synced, operator.OutOfSync, operator.SyncUnknown} {
			gauge(ch, sync, truth(s.Sync == v), s.Tenant, s.Stack, string(v))
		}
		for _, v := range []string{"healthy", "progressing", "degraded", "missing"} {
			gauge(ch, health, truth(s.Health == v), s.Tenant, s.Stack, v)
		}
		if s.Reason != "" {
			gauge(ch, reason, 1, s.Tenant, s.Stack, string(s.Reason))
		}
		if s.Frozen != nil {
			gauge(ch, held, 1, s.Tenant, s.Stack, "frozen")
		}
		if s.Pinned != nil {
			gauge(ch, held, 1, s.Tenant, s.Stack, "pinned")
		}
	}
}

func (c collector) alerts(ch chan<- prometheus.Metric) {
	firing := map[string]int{}
	for _, a := range c.s.Alerts {
		firing[a.Labels["alertname"]]++
	}
	for name, n := range firing {
		gauge(ch, desc("alerts_firing", "Alerts that fire.", "alertname"), float64(n), name)
	}
	for _, p := range c.s.Peers {
		counter(ch, desc("alertmanager_sent_total", "Alerts that the Alertmanager took.", "url"), p.Sent, p.URL)
		counter(ch, desc("alertmanager_failed_total", "Alerts that the Alertmanager refused or that did not reach it.", "url"), p.Failed, p.URL)
		counter(ch, desc("alertmanager_dropped_total", "Alerts dropped because the Alertmanager's queue was full.", "url"), p.Dropped, p.URL)
		gauge(ch, desc("alertmanager_last_success_timestamp_seconds", "When the Alertmanager last took alerts; 0: never.", "url"), seconds(p.LastOK), p.URL)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	send(ch, d, prometheus.GaugeValue, v, labels)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	send(ch, d, prometheus.CounterValue, float64(v), labels)
}

func send(ch chan<- prometheus.Metric, d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	clean := make([]string, len(labels))
	for i, l := range labels {
		clean[i] = valid(l)
	}
	ch <- prometheus.MustNewConstMetric(d, t, v, clean...)
}

// valid is s in UTF-8, the only thing that Prometheus takes as a label's value.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds since 1970; 0 for no time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
