package main

// This file is `stats`: what the gate did, in packets and bytes.

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/metrics"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func statsCommand(e env) *cli.Command {
	return e.command("stats", "Count what was passed and dropped, and why", "", append([]cli.Flag{
		watchFlag("show rates every `INTERVAL`, as 1s, until interrupted"),
	}, offlineFlags()...), stats)
}

func stats(ctx context.Context, c *call) error {
	interval, watching, err := c.interval()
	if err != nil {
		return err
	}
	switch prometheus := c.flags.String("output") == "prometheus"; {
	case prometheus && watching:
		return &policy.InputError{What: "-o prometheus is for totals, and -w shows rates", Hint: "xdpallow stats -o prometheus"}
	case watching:
		return showRates(ctx, c, interval)
	case prometheus:
		return prometheusStats(ctx, c)
	}
	stats, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.Stats, error) {
		return from.Stats(ctx)
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(stats.Counters, compareCounters)
	if c.json {
		return c.printJSON(stats)
	}
	if !slices.ContainsFunc(stats.Counters, func(counter api.Counter) bool { return counter.Packets > 0 }) {
		return c.nothing("nothing counted")
	}
	return table(c.out, 2, slices.Values(counterRows(stats.Counters)))
}

// prometheusStats prints what a scrape shows, for the text files of node_exporter.
func prometheusStats(ctx context.Context, c *call) error {
	snapshot, err := daemonOrPins(ctx, c, snapshotOf)
	if err != nil {
		return err
	}
	return metrics.Write(c.out, snapshot)
}

// snapshotOf is what a scrape of the daemon reads, asked from outside.
func snapshotOf(ctx context.Context, from offlineEngine) (shot metrics.Snapshot, err error) {
	if shot.Status, err = from.Status(ctx); err != nil {
		return shot, err
	}
	shot.Stats, err = from.Stats(ctx)
	return shot, err
}

// kernelOrder is the order of the counters. Reasons and families come in it from
// below, and a stable sort keeps it.
var kernelOrder = map[string]int{"xdp": 1, "backstop": 2, "pass": 1, "drop": 2, "audit": 3}

func compareCounters(a, b api.Counter) int {
	return cmp.Or(
		cmp.Compare(kernelOrder[a.Layer], kernelOrder[b.Layer]),
		cmp.Compare(a.Interface, b.Interface),
		cmp.Compare(kernelOrder[a.Verdict], kernelOrder[b.Verdict]),
	)
}

func counterRows(counters []api.Counter) [][]string {
	rows := [][]string{{"LAYER", "INTERFACE", "VERDICT", "REASON", "FAMILY", "PACKETS", "BYTES"}}
	for _, r := range counters {
		if r.Packets > 0 {
			rows = append(rows, []string{
				r.Layer, cmp.Or(r.Interface, "-"), r.Verdict, r.Reason, r.Family, fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes),
			})
		}
	}
	return rows
}
