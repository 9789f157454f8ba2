// Package metrics shows Prometheus what the gate does. It reads the kernel's
// counters when it is scraped and keeps no copy of its own; an address is
// never a label, or an attacker would choose how many series there are.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// scrapeTimeout bounds one reading: Prometheus itself gives up after 10 s.
const scrapeTimeout = 5 * time.Second

// Snapshot is one reading of the gate.
type Snapshot struct {
	Status reconcile.Status
	Stats  reconcile.Stats // every series, zero rows too
	IPv4   int             // entries
	IPv6   int             // entries
}

// Source gives a Snapshot as it stands: the canary's last result, not a new
// run of it, so that nobody can make the host test itself by scraping.
type Source interface {
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Handler serves /metrics of source and of this process. A source that fails
// makes the scrape fail: half an answer would read as "nothing was dropped".
func Handler(source Source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		NewCollector(source),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Collector implements prometheus.Collector over a Source.
type Collector struct{ source Source }

// NewCollector returns the collector of source.
func NewCollector(source Source) *Collector { return &Collector{source} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("xdpallow_"+name, help, labels, nil)
}

var (
	packets = desc("packets_total", "Packets by what the gate decided and why.",
		"interface", "layer", "verdict", "reason", "family")
	bytes = desc("bytes_total", "Bytes of the packets by what the gate decided and why.",
		"interface", "layer", "verdict", "reason", "family")
	enforcing = desc("enforcing", "Whether a SYN from an unlisted source was found to be dropped on every attached interface (1) or not (0).")
	iface     = desc("interface_info", "An interface of the gate and how the program is attached: native, generic or none.", "interface", "attach")
	entries   = desc("entries", "Prefixes in the policy that is enforced.", "family")
	policyGen = desc("generation", "Number of the policy that is enforced.")
	originN   = desc("origin_entries", "Prefixes that an origin gives.", "origin")
	originUp  = desc("origin_up", "Whether the last reading of an origin was taken over (1) or its last good content is kept (0).", "origin")
	buildInfo = desc("build_info", "The build that runs.", "version", "goversion")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{packets, bytes, enforcing, iface, entries, policyGen, originN, originUp, buildInfo} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	snapshot, err := c.source.Snapshot(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(packets, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, row := range snapshot.Stats.Counters {
		labels := []string{row.Interface, row.Layer, row.Verdict, row.Reason, row.Family}
		out <- prometheus.MustNewConstMetric(packets, prometheus.CounterValue, float64(row.Packets), labels...)
		out <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(row.Bytes), labels...)
	}
	status := snapshot.Status
	gauge(enforcing, truth(status.Enforcing))
	for _, i := range status.Interfaces {
		attach := i.Attach
		if !i.Attached {
			attach = "none"
		}
		gauge(iface, 1, i.Name, attach)
	}
	gauge(entries, float64(snapshot.IPv4), "ipv4")
	gauge(entries, float64(snapshot.IPv6), "ipv6")
	gauge(policyGen, float64(status.Generation))
	for _, o := range status.Origins {
		gauge(originN, float64(o.Entries), string(o.Name))
		gauge(originUp, truth(o.Error == ""), string(o.Name))
	}
	gauge(buildInfo, 1, status.Version, runtime.Version())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
