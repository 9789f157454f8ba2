package main

// This file is `stats -w`: what happens now, a second, in plain lines. On a terminal the
// table is drawn in its own place; elsewhere its rows follow each other with the time.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// rate is one row: packets and bytes a second.
type rate struct {
	Layer     string  `json:"layer"`
	Interface string  `json:"interface"`
	Verdict   string  `json:"verdict"`
	Reason    string  `json:"reason"`
	Packets   float64 `json:"packets_per_second"`
	Bytes     float64 `json:"bytes_per_second"`
}

// rates are those of one interval.
type rates struct {
	Time       time.Time `json:"time"` // of its end
	Seconds    float64   `json:"seconds"`
	Rates      []rate    `json:"rates"` // every series, zero rows too
	EventsLost uint64    `json:"events_lost"`
}

// totals sums the families of stats.
func totals(stats api.Stats) map[rate]rate {
	sums := map[rate]rate{}
	for _, c := range stats.Counters {
		key := rate{Layer: c.Layer, Interface: c.Interface, Verdict: c.Verdict, Reason: c.Reason}
		sum := sums[key]
		sums[key] = rate{Packets: sum.Packets + float64(c.Packets), Bytes: sum.Bytes + float64(c.Bytes)}
	}
	return sums
}

// between makes rates of two readings. An interface that was attached anew begins at 0.
func between(before, after api.Stats, elapsed time.Duration) rates {
	r := rates{Seconds: elapsed.Seconds(), Rates: []rate{}, EventsLost: after.EventsLost}
	old, seen := totals(before), map[rate]bool{}
	now := totals(after)
	for _, c := range after.Counters { // in the kernel's order
		key := rate{Layer: c.Layer, Interface: c.Interface, Verdict: c.Verdict, Reason: c.Reason}
		if seen[key] {
			continue
		}
		seen[key] = true
		row := key
		row.Packets = max(now[key].Packets-old[key].Packets, 0) / r.Seconds
		row.Bytes = max(now[key].Bytes-old[key].Bytes, 0) / r.Seconds
		r.Rates = append(r.Rates, row)
	}
	return r
}

// showRates asks until ctx ends.
func showRates(ctx context.Context, c *call, interval time.Duration) error {
	var source offlineEngine
	before, err := daemonOrPins(ctx, c, func(ctx context.Context, from offlineEngine) (api.Stats, error) {
		source = from
		return from.Stats(ctx)
	})
	if err != nil {
		return err
	}
	at, first := time.Now(), true
	return every(ctx, interval, func() error {
		if first { // there is no rate yet
			first = false
			if !c.json && !c.screen {
				return c.rateHead()
			}
			return nil
		}
		after, err := source.Stats(ctx)
		if err != nil {
			return err
		}
		slices.SortStableFunc(after.Counters, compareCounters)
		now := time.Now()
		r := between(before, after, now.Sub(at))
		r.Time = now.UTC().Truncate(time.Millisecond)
		before, at = after, now
		return c.printRates(r)
	})
}

func (c *call) printRates(r rates) error {
	switch {
	case c.json:
		return json.NewEncoder(c.out).Encode(r)
	case !c.screen:
		return c.rateLines(r)
	}
	var picture bytes.Buffer
	picture.WriteString("\x1b[H\x1b[2J") // top left, and nothing there
	fmt.Fprintf(&picture, "%s, a second:\n\n", r.Time.Format(time.RFC3339))
	_ = table(&picture, 2, slices.Values(append([][]string{rateColumns}, rateRows(r)...)))
	_, err := c.out.Write(picture.Bytes())
	return err
}

var rateColumns = []string{"LAYER", "INTERFACE", "VERDICT", "REASON", "PACKETS/s", "BYTES/s"}

// rateRows are the sums of the verdicts, and what they are made of.
func rateRows(r rates) (rows [][]string) {
	for _, row := range append(sums(r), r.Rates...) {
		if row.Reason == "" || row.Packets > 0 {
			rows = append(rows, []string{row.Layer, cmp.Or(row.Interface, "-"), row.Verdict, cmp.Or(row.Reason, "all"), whole(row.Packets), whole(row.Bytes)})
		}
	}
	return rows
}

// sums are the rates of pass and drop in all, and of audit where there is any: zeros are
// shown, for silence could mean that nobody looks.
func sums(r rates) []rate {
	var all []rate
	for _, verdict := range []string{"pass", "drop", "audit"} {
		sum := rate{Layer: "xdp", Verdict: verdict}
		for _, row := range r.Rates {
			if row.Layer == "xdp" && row.Verdict == verdict {
				sum.Packets += row.Packets
				sum.Bytes += row.Bytes
			}
		}
		if verdict != "audit" || sum.Packets > 0 {
			all = append(all, sum)
		}
	}
	return all
}

func whole(n float64) string { return strconv.FormatFloat(math.Round(n), 'f', 0, 64) }

const rateLine = "%-24s  %-8s  %-15s  %-7s  %-16s  %12s  %14s\n"

func (c *call) rateHead() error {
	k := rateColumns
	_, err := fmt.Fprintf(c.out, rateLine, "TIME", k[0], k[1], k[2], k[3], k[4], k[5])
	return err
}

func (c *call) rateLines(r rates) error {
	var lines bytes.Buffer
	for _, cells := range rateRows(r) {
		fmt.Fprintf(&lines, rateLine, r.Time.Format(eventTime), cells[0], policy.Printable(cells[1]), cells[2], cells[3], cells[4], cells[5])
	}
	_, err := c.out.Write(lines.Bytes())
	return err
}
