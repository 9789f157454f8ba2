// This file draws claims for the property tests.

package store

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var genName = rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,12}`)

// genNote likes what a line format trips over.
var genNote = rapid.OneOf(
	rapid.Just(""),
	rapid.SampledFrom([]string{
		`say "hi" # no`, "\t#: \"x\"", "x\t#: ", `back\slash\`, "Büro 東京 🏢", `"`, "#", "#@ \"cli\"", " padded ", "#sha256 0",
	}),
	rapid.StringOfN(rapid.RuneFrom([]rune("ab \t\"#\\=:@é東\u2028\ufeff")), 0, 40, policy.MaxNote),
)

// genPrefix draws canonical prefixes that may be listed, at every length.
var genPrefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
	var addr netip.Addr
	if rapid.Bool().Draw(t, "v4") {
		b := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr"))
		b[0] = 1 + b[0]%126
		addr = netip.AddrFrom4(b)
	} else {
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))
		b[0] = 0x20 | b[0]&0x1f
		addr = netip.AddrFrom16(b)
	}
	return netip.PrefixFrom(addr, rapid.IntRange(8, addr.BitLen()).Draw(t, "bits")).Masked()
})

var genClaim = rapid.Custom(func(t *rapid.T) policy.Claim {
	c := policy.Claim{Prefix: genPrefix.Draw(t, "prefix"), Note: genNote.Draw(t, "note"), Origin: policy.OriginCLI}
	if rapid.Bool().Draw(t, "owned") {
		c.Owner = genName.Draw(t, "owner")
	}
	if services := rapid.SliceOfNDistinct(genName, 0, 4, rapid.ID).Draw(t, "services"); len(services) > 0 {
		slices.Sort(services)
		c.Services = services
	}
	if rapid.Bool().Draw(t, "ends") { // also where 64-bit nanoseconds end, in 2262
		c.Until = time.Unix(rapid.Int64Range(1, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	}
	return c
})

func genClaims(t *rapid.T) []policy.Claim {
	return rapid.SliceOfNDistinct(genClaim, 0, 12, func(c policy.Claim) netip.Prefix { return c.Prefix }).Draw(t, "claims")
}

func sortClaims(claims []policy.Claim) []policy.Claim {
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return claims
}

func mustOpen(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(dir)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func mustApply(tb testing.TB, s *Store, change Change) {
	tb.Helper()
	if err := s.Apply(change); err != nil {
		tb.Fatalf("apply: %v", err)
	}
}
