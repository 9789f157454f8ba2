package main

// This file is `stats`: what the gate did, in packets and bytes.

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/reconcile"
)

func statsCommand(e env) *cli.Command {
	return e.command("stats", "Count what was passed and dropped, and why", "", offlineFlags(), stats)
}

func stats(ctx context.Context, c *call) error {
	stats, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (reconcile.Stats, error) {
		return from.Stats(ctx)
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(stats.Counters, compareCounters)
	if c.json {
		return c.printJSON(stats)
	}
	return table(c.out, 2, counterRows(stats.Counters))
}

// kernelOrder is the order of DESIGN 4.3. Reasons and families come in it from
// below, and a stable sort keeps it.
var kernelOrder = map[string]int{"xdp": 1, "backstop": 2, "pass": 1, "drop": 2, "audit": 3}

func compareCounters(a, b reconcile.Counter) int {
	return cmp.Or(
		cmp.Compare(kernelOrder[a.Layer], kernelOrder[b.Layer]),
		cmp.Compare(a.Interface, b.Interface),
		cmp.Compare(kernelOrder[a.Verdict], kernelOrder[b.Verdict]),
	)
}

func counterRows(counters []reconcile.Counter) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if !yield([]string{"LAYER", "INTERFACE", "VERDICT", "REASON", "FAMILY", "PACKETS", "BYTES"}) {
			return
		}
		for _, r := range counters {
			if r.Packets == 0 {
				continue
			}
			if !yield([]string{
				r.Layer, or(r.Interface, "-"), r.Verdict, r.Reason, r.Family,
				strconv.FormatUint(r.Packets, 10), strconv.FormatUint(r.Bytes, 10),
			}) {
				return
			}
		}
	}
}
