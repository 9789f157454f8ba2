// This file bounds what a list that is kept elsewhere may say. An allowlist is hurt by growth:
// whoever breaks in at the other end could otherwise open this host to everybody. So the
// bounds are absolute numbers, which an operator can compare with what he expects.

package source

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Limits are what the claims of one origin must keep to.
type Limits struct {
	Entries   int    // prefixes
	Addresses uint64 // of IPv4, and as many /64s of IPv6
	Widest4   int    // the shortest prefix of IPv4
	Widest6   int    // the shortest prefix of IPv6
	Private   bool   // whether private sources are let in
}

// The limits of an origin whose settings say nothing else. With dns, Entries is for each name. Who
// writes a fleet's list was asked by its guard rails.
var (
	URLLimits = Limits{Entries: 1000, Addresses: 1 << 16, Widest4: 16, Widest6: 32}
	DNSLimits = Limits{Entries: 32, Addresses: math.MaxUint64, Widest4: 32, Widest6: 128}

	EtcdLimits = Limits{Entries: 2_000_000, Addresses: math.MaxUint64, Widest4: 8, Widest6: 19, Private: true}
)

// private are sources that only a private network can have. On the Internet they are faked, or
// a mistake at the other end.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), // between a carrier and its customers; overlay networks use it
	netip.MustParsePrefix("fc00::/7"),
}

// reserved are sources that no list from elsewhere should name. A translator's prefix stands
// for all of IPv4, however long it is.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// Private reports whether p lies among addresses that nobody has on the Internet, private or reserved
// ones. A /64 of IPv6, which is a single link, does so where a part of it does.
func Private(p netip.Prefix) bool {
	lies := func(in netip.Prefix) bool {
		return in.Overlaps(p) && (in.Bits() <= p.Bits() || p.Bits() == 64)
	}
	return slices.ContainsFunc(reserved, lies) || slices.ContainsFunc(private, lies)
}

// Check returns an *policy.InputError for the first claim that is over the limits, or for all
// of them together, else nil. name is where they come from, for claims without a Where.
func (l Limits) Check(name string, claims []policy.Claim) error {
	for _, c := range claims {
		if what := l.refuse(c.Prefix); what != "" {
			where := c.Where
			if where == "" {
				where = name
			}
			return &policy.InputError{Where: where, What: c.Prefix.String() + " " + what}
		}
	}
	if len(claims) > l.Entries {
		return &policy.InputError{Where: name, What: fmt.Sprintf("%d entries are over max_entries %d", len(claims), l.Entries)}
	}
	addresses, networks := count(claims)
	if addresses > l.Addresses {
		return &policy.InputError{Where: name, What: fmt.Sprintf("%d addresses are over max_addresses %d", addresses, l.Addresses)}
	}
	if networks > l.Addresses {
		return &policy.InputError{Where: name, What: fmt.Sprintf("%d /64s of IPv6 are over max_addresses %d", networks, l.Addresses)}
	}
	return nil
}

// refuse says why p alone is over the limits, or "".
func (l Limits) refuse(p netip.Prefix) string {
	widest := l.Widest6
	if p.Addr().Is4() {
		widest = l.Widest4
	}
	overlaps := func(other netip.Prefix) bool { return p.Overlaps(other) }
	switch {
	case p.Bits() < widest:
		return fmt.Sprintf("is wider than widest /%d", widest)
	case slices.ContainsFunc(reserved, overlaps):
		return "is reserved, and nobody's on the Internet"
	case !l.Private && slices.ContainsFunc(private, overlaps):
		return "is private, which needs private: true"
	}
	return ""
}

// count counts the addresses of IPv4 and the /64s of IPv6 in claims. What lies in two prefixes
// counts once.
func count(claims []policy.Claim) (addresses, networks uint64) {
	prefixes := make([]netip.Prefix, 0, len(claims))
	for _, c := range claims {
		p := c.Prefix
		if p.Addr().Is6() && p.Bits() > 64 {
			p = netip.PrefixFrom(p.Addr(), 64).Masked()
		}
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, policy.ComparePrefix) // a prefix comes before those within it
	var last netip.Prefix
	for _, p := range prefixes {
		switch {
		case last.IsValid() && last.Overlaps(p):
			continue
		case p.Addr().Is4():
			addresses += 1 << (32 - p.Bits())
		case p.Bits() == 0: // nothing else of IPv6 is left to count
			networks = math.MaxUint64
		default:
			sum, carry := bits.Add64(networks, 1<<(64-p.Bits()), 0)
			networks = max(sum, -carry) // all of IPv6 in pieces: 1<<64 does not fit
		}
		last = p
	}
	return addresses, networks
}
