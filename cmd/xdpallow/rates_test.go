package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/talkers"
)

// Promise: rates are of what was counted between two readings, families together; an
// interface whose counters began anew is no negative rate; the sums are there when all
// is quiet.
func TestRates(t *testing.T) {
	reading := func(drops, passes uint64) api.Stats {
		return api.Stats{Counters: []api.Counter{
			{Interface: "eth0", Layer: "xdp", Verdict: "pass", Reason: "listed", Family: "ipv4", Packets: passes, Bytes: 60 * passes},
			{Interface: "eth0", Layer: "xdp", Verdict: "drop", Reason: "not_listed", Family: "ipv4", Packets: drops, Bytes: 60 * drops},
			{Interface: "eth0", Layer: "xdp", Verdict: "drop", Reason: "not_listed", Family: "ipv6", Packets: drops, Bytes: 60 * drops},
		}}
	}
	for _, c := range []struct {
		before, after api.Stats
		want          string
	}{
		{reading(100, 7), reading(300, 1), `
xdp  -     pass  all         0    0
xdp  -     drop  all         200  12000
xdp  eth0  drop  not_listed  200  12000
`},
		{reading(5, 5), reading(5, 5), `
xdp  -  pass  all  0  0
xdp  -  drop  all  0  0
`},
	} {
		var out strings.Builder
		if err := table(&out, 0, slices.Values(rateRows(between(c.before, c.after, 2*time.Second)))); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), out.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// Promise: an event is a line, and what was lost before it is said.
func TestEventLines(t *testing.T) {
	var out strings.Builder
	lines := eventLines{out: &out}
	at := time.Date(2026, 11, 22, 1, 2, 3, 45_000_000, time.UTC)
	for _, e := range []events.Event{
		{Time: at, Verdict: "drop", Reason: "not_listed", Source: netip.MustParseAddr("203.0.113.77"), Protocol: "tcp", Port: 443, Interface: "eth0", Weight: 1, Near: &talkers.Near{Owner: "acme", Prefix: netip.MustParsePrefix("203.0.113.64/29")}},
		{Time: at, Verdict: "audit", Reason: "malformed", Interface: "eth\x1b0", Weight: 4096, Lost: 12},
	} {
		if err := lines.show(e); err != nil {
			t.Fatal(err)
		}
	}
	want := `
TIME                      VERDICT  REASON            SOURCE                                   PORT       INTERFACE   PACKETS  NEAR
2026-11-22T01:02:03.045Z  drop     not_listed        203.0.113.77                             tcp/443    eth0              1  acme 203.0.113.64/29
… 12 events lost
2026-11-22T01:02:03.045Z  audit    malformed         -                                        -          eth 0          4096  -
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
