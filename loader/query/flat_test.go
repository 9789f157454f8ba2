package query

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a proxy that keeps the table and looks for the longest prefix lets in exactly whom
// the gate lets in, for the same owners.
func TestFlat(t *testing.T) {
	begin := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		d := desiredtest.Start()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			if next, _, err := d.Apply(desiredtest.Edit(t, d, begin), begin, 0); err == nil {
				d = next
			}
		}
		s, now := d.Policy, begin.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "later"))*time.Hour) // some have ended
		service := rapid.SampledFrom([]string{"", "api", "mail"}).Draw(t, "service")
		table := slices.Collect(flat(s, service, now))
		if !slices.IsSortedFunc(table, func(a, b row) int { return policy.ComparePrefix(a.prefix, b.prefix) }) {
			t.Fatalf("the table is not sorted: %v", table)
		}
		for last := range byte(12) {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, last})
			var longest *row
			for i, r := range table {
				if r.prefix.Contains(addr) && (longest == nil || r.prefix.Bits() > longest.prefix.Bits()) {
					longest = &table[i]
				}
			}
			e, reason := s.Lookup(addr, service, now)
			listed := longest != nil && !longest.refused
			if listed != (reason == policy.ReasonListed) || listed && (longest.prefix != e.Prefix || longest.owner != s.OwnerOf(e)) {
				t.Fatalf("%s for %q is %s by %v, and the table says %+v", addr, service, reason, e, longest)
			}
			seen[reason]++
			if longest != nil && longest.refused {
				seen["refused by the table"]++
			}
		}
	})
	for _, what := range []string{"listed", "not_listed", "suspended", "expired", "wrong_service", "refused by the table"} {
		if seen[what] == 0 {
			t.Errorf("no source was %s: this test shows nothing of it", what)
		}
	}
}

// What refuses nobody is left out: what has ended, another service's, and a suspension that no
// wider entry is around.
func TestTable(t *testing.T) {
	pfx := netip.MustParsePrefix
	v := &View{Clock: compile.NewClock(time.Now(), compile.Boottime()), State: desired.State{Policy: policy.State{
		Services: desiredtest.Services("api", "mail"),
		Entries: policy.NewEntries([]policy.Entry{
			policy.EntryOf(policy.Claim{Prefix: pfx("203.0.113.0/24"), Owner: "acme"}),
			policy.EntryOf(policy.Claim{Prefix: pfx("203.0.113.7/32"), Owner: "old", Until: time.Now().Add(-time.Hour)}),
			policy.EntryOf(policy.Claim{Prefix: pfx("192.0.2.0/24"), Owner: "globex"}),
			policy.EntryOf(policy.Claim{Prefix: pfx("198.51.100.0/24"), Services: []string{"mail"}}),
			{Prefix: pfx("2001:db8::/32")},
		}),
		Suspended: policy.NewSuspended([]netip.Prefix{pfx("192.0.2.0/24"), pfx("203.0.113.64/26"), pfx("10.0.0.0/8")}, nil),
	}}}
	for asked, want := range map[[2]string]string{
		{"nginx", "api"}:    "203.0.113.0/24 acme;\n203.0.113.64/26 \"\";\n2001:db8::/32 -;\n",
		{"haproxy", "api"}:  "203.0.113.0/24 acme\n203.0.113.64/26 -\n2001:db8::/32 *\n",
		{"haproxy", "mail"}: "198.51.100.0/24 *\n203.0.113.0/24 acme\n203.0.113.64/26 -\n2001:db8::/32 *\n",
		{"haproxy", ""}:     "198.51.100.0/24 *\n203.0.113.0/24 acme\n203.0.113.64/26 -\n2001:db8::/32 *\n",
	} {
		var text strings.Builder
		if err := v.Table(&text, asked[0], asked[1]); err != nil || text.String() != want {
			t.Errorf("%v: %v\n%swant\n%s", asked, err, text.String(), want)
		}
	}
	var text strings.Builder
	if err := v.Table(&text, "nginx", "telnet"); err == nil || text.Len() > 0 {
		t.Errorf("there is no service telnet, and its table is %q, %v", text.String(), err)
	}
}
