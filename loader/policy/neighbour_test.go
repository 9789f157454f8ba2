package policy_test

import (
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a near miss is beside the nearest listed prefix of the same /24 or /48,
// and beside nobody where there is none.
func TestNeighbour(t *testing.T) {
	var entries []policy.Entry
	for _, text := range []string{
		"203.0.113.64/29", "203.0.113.200/32", "198.51.100.0/25", "203.0.114.0/32",
		"2001:db8:1:ff00::/64", "2001:db8:1:10::/64", "2001:db8:2::/48",
	} {
		entries = append(entries, policy.Entry{Prefix: netip.MustParsePrefix(text)})
	}
	table := policy.NewEntries(entries)
	for source, want := range map[string]string{
		"203.0.113.77":          "203.0.113.64/29",
		"203.0.113.1":           "203.0.113.64/29",
		"203.0.113.135":         "203.0.113.64/29", // 64 away, and 65 from the other
		"203.0.113.137":         "203.0.113.200/32",
		"203.0.113.255":         "203.0.113.200/32",
		"203.0.112.255":         "", // another /24
		"198.51.100.200":        "198.51.100.0/25",
		"192.0.2.1":             "",
		"2001:db8:1:12::9":      "2001:db8:1:10::/64",
		"2001:db8:1:f000::9":    "2001:db8:1:ff00::/64",
		"2001:db8:3::1":         "",
		"2001:db8:1:ff00::dead": "2001:db8:1:ff00::/64",
	} {
		got := ""
		if entry := table.Neighbour(netip.MustParseAddr(source)); entry != nil {
			got = entry.Prefix.String()
		}
		if got != want {
			t.Errorf("%s is near %q, want %q", source, got, want)
		}
	}
	if table.Neighbour(netip.Addr{}) != nil || (policy.Entries{}).Neighbour(netip.MustParseAddr("192.0.2.1")) != nil {
		t.Error("nobody is near somebody")
	}
}
