package compile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xdpallow/xdpallow/maps"
)

// Promise: whatever a state lets in that a gate drops is found, be it a stop inside a listed
// prefix, an end or a service; what differs by the steering of a clock is no difference.
func TestDifference(t *testing.T) {
	const now, hour = uint64(1000 * time.Hour), uint64(time.Hour)
	entry := func(prefix string, change func(*maps.Entry)) maps.Entry {
		e := maps.Entry{Prefix: netip.MustParsePrefix(prefix), Services: maps.EveryService}
		if change != nil {
			change(&e)
		}
		return e
	}
	suspended := func(e *maps.Entry) { e.Suspended = true }
	ends := func(at uint64) func(*maps.Entry) { return func(e *maps.Entry) { e.Expires = at } }
	only := func(e *maps.Entry) { e.Services = maps.ServiceBit(1) }
	const net, host = "10.0.0.0/24", "10.0.0.66/32"
	type entries []maps.Entry
	for name, c := range map[string]struct {
		was, next              entries
		opens, shuts, narrower string
	}{
		"the same":                   {was: entries{entry(net, nil)}, next: entries{entry(net, nil)}},
		"new":                        {next: entries{entry(net, nil)}, opens: net},
		"gone":                       {was: entries{entry(net, nil)}, shuts: net},
		"no longer suspended":        {was: entries{entry(net, suspended)}, next: entries{entry(net, nil)}, opens: net},
		"suspended":                  {was: entries{entry(net, nil)}, next: entries{entry(net, suspended)}, shuts: net},
		"a stop inside is gone":      {was: entries{entry(net, nil), entry(host, suspended)}, next: entries{entry(net, nil)}, opens: host},
		"a stop that covers nothing": {was: entries{entry(net, nil), entry("192.0.2.1/32", suspended)}, next: entries{entry(net, nil)}},
		"a stop inside one":          {was: entries{entry(net, suspended), entry(host, suspended)}, next: entries{entry(net, suspended)}},
		"ended, and without end":     {was: entries{entry(net, ends(now-hour))}, next: entries{entry(net, nil)}, opens: net},
		"without its end":            {was: entries{entry(net, ends(now+hour))}, next: entries{entry(net, nil)}, opens: net},
		"a later end":                {was: entries{entry(net, ends(now+hour))}, next: entries{entry(net, ends(now+2*hour))}, opens: net},
		"a steered end":              {was: entries{entry(net, ends(now+hour))}, next: entries{entry(net, ends(now+hour+hour/100))}},
		"an earlier end":             {was: entries{entry(net, nil)}, next: entries{entry(net, ends(now+hour))}, narrower: net},
		"more services":              {was: entries{entry(net, only)}, next: entries{entry(net, nil)}, opens: net},
		"fewer services":             {was: entries{entry(net, nil)}, next: entries{entry(net, only)}, narrower: net},
		"ended, and gone":            {was: entries{entry(net, nil), entry(host, ends(now-hour))}, next: entries{entry(net, nil)}},
	} {
		opens, shuts, narrower := Difference(c.was, c.next, now)
		want := func(prefix string) []netip.Prefix {
			if prefix == "" {
				return nil
			}
			return []netip.Prefix{netip.MustParsePrefix(prefix)}
		}
		equal := func(a, b netip.Prefix) bool { return a == b }
		if diff := cmp.Diff([][]netip.Prefix{want(c.opens), want(c.shuts), want(c.narrower)}, [][]netip.Prefix{opens, shuts, narrower},
			cmp.Comparer(equal), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: opens, shuts, narrows (-want +got)\n%s", name, diff)
		}
	}
}
