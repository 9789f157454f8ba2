// Package layouttest makes the entries of lists for tests of a fleet.
package layouttest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Claims makes a claim of each line, sorted.
func Claims(tb testing.TB, lines ...string) (all []policy.Claim) {
	tb.Helper()
	for _, line := range lines {
		c, _, err := policy.ParseLine(line)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return all
}

// Many makes n claims of different prefixes, sorted.
func Many(n int) (all []policy.Claim) {
	for i := range n {
		addr := netip.AddrFrom4([4]byte{20 + byte(i>>22), byte(i >> 14), byte(i >> 6), byte(i<<2) & 0xfc})
		all = append(all, policy.Claim{Prefix: netip.PrefixFrom(addr, 30), Owner: fmt.Sprintf("owner%d", i%15)})
	}
	return all
}
