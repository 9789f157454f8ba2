package logtext

import (
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: the log names what was added and removed, and of many the first.
func TestNamedInTheLog(t *testing.T) {
	var claims []policy.Claim
	for i, want := range []string{
		"192.0.2.0/32 (acme)",
		"192.0.2.0/32 (acme) and 192.0.2.1/32",
		"192.0.2.0/32 (acme), 192.0.2.1/32 and 192.0.2.2/32 (acme)",
		"192.0.2.0/32 (acme), 192.0.2.1/32, 192.0.2.2/32 (acme) and 1 more",
		"192.0.2.0/32 (acme), 192.0.2.1/32, 192.0.2.2/32 (acme) and 2 more",
	} {
		claim := policy.Claim{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)}
		if i%2 == 0 {
			claim.Owner = "acme"
		}
		claims = append(claims, claim)
		if got := Claims(claims); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
