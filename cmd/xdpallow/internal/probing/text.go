package probing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/probe"
)

// This file says what a probe sends, and what it found.

// String says to whom p sends how much.
func (p Plan) String() string {
	var addrs []netip.Addr
	var ports []string
	for _, t := range p.Targets {
		addrs, ports = append(addrs, t.Addr()), append(ports, fmt.Sprint("tcp/", t.Port()))
	}
	addrs = slices.Compact(addrs)
	slices.Sort(ports)
	return fmt.Sprintf("this opens up to %s, one at a time and of some 2 KB, to %s of %s (%s) at %s, in at most %s",
		policy.Count(len(p.Targets)*p.Knocks, "connection", "connections"), policy.Count(len(addrs), "address", "addresses"), p.Owner, some(addrs),
		strings.Join(slices.Compact(ports), ", "), policy.FormatDuration(probe.Longest(len(p.Targets), p.Knocks).Round(time.Second)))
}

// Rows returns the table of a result, without those that are closed, and how many there are of each
// answer.
func Rows(r api.ProbeResult) (rows [][]string, count map[probe.Answer]int) {
	count = map[probe.Answer]int{}
	for _, t := range r.Targets {
		answer := probe.Answer(t.Answer)
		count[answer]++
		if answer == probe.Closed {
			continue
		}
		from := "-"
		if answer == probe.Forwards && len(t.From) > 0 {
			from = some(t.From)
		}
		rows = append(rows, []string{t.Address.String(), fmt.Sprint("tcp/", t.Port), t.Answer, fmt.Sprintf("%d of %d", t.Followed, t.Knocks), from})
	}
	return rows, count
}

// some names the first few of addrs.
func some(addrs []netip.Addr) string {
	const most = 4
	var names []string
	for i, addr := range addrs {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, addr.String())
	}
	return strings.Join(names, ", ")
}
