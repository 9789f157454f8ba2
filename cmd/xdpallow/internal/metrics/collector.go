package metrics

// This file is the series: their names, and how a Snapshot becomes them.

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xdpallow/xdpallow/loader/api"
)

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
	enforcing   = desc("enforcing", "Whether a SYN from an unlisted source was found to be dropped on every attached interface (1) or not (0).")
	iface       = desc("interface_info", "An interface of the gate and how the program is attached: native, generic or none.", "interface", "attach")
	entries     = desc("entries", "Prefixes in the policy that is enforced.", "family")
	expiring    = desc("entries_expiring", "Prefixes in the policy that end within 14 days.")
	policyGen   = desc("generation", "Number of the policy that is enforced.")
	openings    = desc("owner_openings_total", "TCP openings from the prefixes of an owner by what the gate decided.", "owner", "verdict")
	nearMisses  = desc("near_misses_total", "Dropped openings from unlisted sources in the same /24 or /48 as a prefix of the owner.", "owner")
	ownerChecks = desc("owner_checks_total", "Answers of the owner endpoint by service and why.", "service", "reason")
	enrolments  = desc("enrolments_total", "Requests of customers to let their own address in by what came of them.", "owner", "result")
	originN     = desc("origin_entries", "Prefixes that an origin gives.", "origin")
	originUp    = desc("origin_up", "Whether the last reading of an origin was taken over (1) or its last good content is kept (0).", "origin")
	originSeen  = desc("origin_last_success_timestamp_seconds", "When a list that is kept elsewhere was last reached and taken over, in Unix time.", "origin")
	originMark  = desc("origin_serial", "Serial number of the fleet's list that is enforced.", "origin")
	eventsLost  = desc("events_lost_total", "Sampled drops that were lost before anybody read them.")
	repairs     = desc("repairs_total", "What somebody else changed in the kernel and the daemon put right.", "what")
	writable    = desc("state_writable", "Whether changes can be kept in the state directory (1) or are refused (0).")
	buildInfo   = desc("build_info", "The build that runs.", "version", "goversion")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		packets, bytes, enforcing, iface, entries, expiring, policyGen, openings, nearMisses,
		ownerChecks, enrolments, originN, originUp, originSeen, originMark, eventsLost, repairs, writable, buildInfo,
	} {
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
	writer(out).counters(snapshot)
	writer(out).gauges(snapshot)
}

// writer takes the series of one scrape.
type writer chan<- prometheus.Metric

func (w writer) count(d *prometheus.Desc, value uint64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (w writer) gauge(d *prometheus.Desc, value float64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (w writer) counters(s Snapshot) {
	for _, row := range s.Stats.Counters {
		labels := []string{row.Interface, row.Layer, row.Verdict, row.Reason, row.Family}
		w.count(packets, row.Packets, labels...)
		w.count(bytes, row.Bytes, labels...)
	}
	for _, o := range s.Stats.Owners {
		name := cmp.Or(o.Owner, "-") // of what belongs to nobody
		w.count(openings, o.Passed, name, "pass")
		w.count(openings, o.Refused(), name, "drop")
		w.count(openings, o.Audited, name, "audit")
		w.count(nearMisses, o.NearMisses, name)
	}
	for _, c := range s.Stats.OwnerChecks {
		w.count(ownerChecks, c.Answers, c.Service, c.Reason)
	}
	for _, c := range s.Stats.Enrolments {
		w.count(enrolments, c.Requests, c.Owner, c.Result)
	}
	w.count(eventsLost, s.Stats.EventsLost)
	made := map[string]uint64{}
	for _, what := range Repaired {
		made[what] = 0
	}
	maps.Copy(made, s.Stats.Repairs)
	for what, n := range made {
		w.count(repairs, n, what)
	}
}

func (w writer) gauges(s Snapshot) {
	status := s.Status
	w.gauge(enforcing, truth(status.Enforcing))
	for _, i := range status.Interfaces {
		attach := i.Attach
		if !i.Attached {
			attach = "none"
		}
		w.gauge(iface, 1, i.Name, attach)
	}
	w.gauge(entries, float64(status.Families.IPv4), "ipv4")
	w.gauge(entries, float64(status.Families.IPv6), "ipv6")
	w.gauge(expiring, float64(status.Expiring))
	w.gauge(policyGen, float64(status.Generation))
	for _, o := range status.Origins {
		w.gauge(originN, float64(o.Entries), string(o.Name))
		w.gauge(originUp, truth(o.Error == ""), string(o.Name))
		if o.LastSuccess != nil {
			w.gauge(originSeen, float64(o.LastSuccess.Unix()), string(o.Name))
		}
		_, fleet := o.Name.Etcd()
		if serial, err := strconv.ParseUint(o.Mark, 10, 64); err == nil && fleet {
			w.gauge(originMark, float64(serial), string(o.Name))
		}
	}
	w.gauge(writable, truth(!slices.ContainsFunc(status.Problems, func(p api.Problem) bool { return p.Code == api.Unwritable })))
	w.gauge(buildInfo, 1, status.Version, runtime.Version())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
