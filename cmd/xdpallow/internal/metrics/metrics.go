// Package metrics shows Prometheus what the gate does. It reads the kernel's
// counters when it is scraped and keeps no copy of its own; an address is
// never a label, or an attacker would choose how many series there are.
package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/xdpallow/xdpallow/loader/api"
)

// scrapeTimeout bounds one reading: Prometheus itself gives up after 10 s.
const scrapeTimeout = 5 * time.Second

// Snapshot is one reading of the gate.
type Snapshot struct {
	Status api.Status
	Stats  api.Stats // every series, zero rows too
}

// Repaired are what somebody else can change behind our back and we put right. Each
// is a series from the start: an alert on the first repair needs a zero before it.
var Repaired = []string{"backstop", "current", "driver", "entry", "link", "map", "prefilter", "program", "services"}

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

// Write writes snapshot as Prometheus reads it from a file: the same series as a
// scrape, without those of the process that writes.
func Write(w io.Writer, snapshot Snapshot) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(taken(snapshot)))
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("collect metrics: %w", err)
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(w, family); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

// taken is a Source that was read already.
type taken Snapshot

func (t taken) Snapshot(context.Context) (Snapshot, error) { return Snapshot(t), nil }
