// This file finds the prefixes that people mean when they write sources in the forms of other
// tools: with a netmask, with wildcards, as a range. Such a source is refused, with its
// prefixes as the hint: a list must read the same to every tool and to every reader.

package policy

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// mostPrefixes bounds the prefixes of a hint. A range of IPv4 has at most 62.
const mostPrefixes = 64

// otherForm returns an *InputError where s is a source in another form, else nil. Its hint is
// the prefixes that cover the same addresses exactly, with blanks between them; "" where
// there are none, or more than mostPrefixes.
func otherForm(s string) error {
	what, prefixes := "", []netip.Prefix(nil)
	switch {
	case strings.Contains(s, "-"):
		first, last, isRange := parseRange(s)
		if !isRange {
			return nil
		}
		if last.Less(first) {
			return inputErrorf("", "", "%.128q is a range that ends before it begins", s)
		}
		what, prefixes = "is a range: list its prefixes", cover(first, last)
	case strings.Contains(s, "*"):
		p, isWildcard := parseWildcard(s)
		if !isWildcard {
			return nil
		}
		what, prefixes = "has wildcards: list its prefix", []netip.Prefix{p}
	default:
		addr, mask, _ := strings.Cut(s, "/")
		a, addrErr := netip.ParseAddr(addr)
		m, maskErr := netip.ParseAddr(mask)
		if addrErr != nil || maskErr != nil || !a.Is4() || !m.Is4() {
			return nil
		}
		length, contiguous := maskLength(m)
		if !contiguous {
			return inputErrorf("", "", "%.128q has a netmask that is no prefix length", s)
		}
		what, prefixes = "has a netmask: write its length", []netip.Prefix{netip.PrefixFrom(a, length).Masked()}
	}
	if len(prefixes) > mostPrefixes {
		return inputErrorf("", "", "%.128q %s, of which there are %d", s, what, len(prefixes))
	}
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
		if _, _, err := ParsePrefix(texts[i]); err != nil {
			return err // a hint that would be refused helps nobody
		}
	}
	return inputErrorf("", strings.Join(texts, " "), "%.128q %s", s, what)
}

// parseRange reads "10.0.0.5-10.0.0.9" or, with the last byte alone, "10.0.0.5-9".
func parseRange(s string) (first, last netip.Addr, ok bool) {
	left, right, _ := strings.Cut(s, "-")
	first, err := netip.ParseAddr(left)
	if err != nil {
		return first, last, false
	}
	if first.Is4() && !strings.Contains(right, ".") {
		right = left[:strings.LastIndex(left, ".")+1] + right
	}
	last, err = netip.ParseAddr(right)
	return first, last, err == nil && first.BitLen() == last.BitLen() && first.Zone() == "" && last.Zone() == "" && !first.Is4In6() && !last.Is4In6()
}

// cover returns the fewest prefixes that hold the addresses from first to last and no other.
func cover(first, last netip.Addr) (prefixes []netip.Prefix) {
	for first.IsValid() && !last.Less(first) {
		p := netip.PrefixFrom(first, first.BitLen())
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(first, p.Bits()-1)
			if wider.Masked().Addr() != first || last.Less(lastOf(wider)) {
				break
			}
			p = wider
		}
		prefixes = append(prefixes, p)
		first = lastOf(p).Next() // not valid after the last address of all
	}
	return prefixes
}

// lastOf returns the last address in p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// parseWildcard reads "10.0.*.*", "10.0.*" or "2001:db8:*": what a wildcard stands for must
// be a whole prefix, so nothing but wildcards follows the first one.
func parseWildcard(s string) (netip.Prefix, bool) {
	separator, most, each := ".", 4, 8
	if strings.Contains(s, ":") {
		separator, most, each = ":", 8, 16
	}
	parts := strings.Split(s, separator)
	fixed := 0
	for fixed < len(parts) && parts[fixed] != "*" {
		if parts[fixed] == "" { // of "::", which leaves open where the wildcard stands
			return netip.Prefix{}, false
		}
		fixed++
	}
	stars := parts[fixed:]
	// A "*" alone is everybody, which nobody should paste.
	if fixed == 0 || len(stars) == 0 || len(parts) > most || slices.ContainsFunc(stars, func(s string) bool { return s != "*" }) {
		return netip.Prefix{}, false
	}
	zeroes := slices.Repeat([]string{"0"}, most-fixed)
	addr, err := netip.ParseAddr(strings.Join(slices.Concat(parts[:fixed], zeroes), separator))
	return netip.PrefixFrom(addr, fixed*each), err == nil
}

// maskLength returns the prefix length of a netmask, or of an inverse one as routers have
// them, 0.0.0.255. It returns false where the bits are not in one piece, and for 0.0.0.0,
// which is everybody as a netmask and one host as an inverse one.
func maskLength(mask netip.Addr) (int, bool) {
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	if m&(1<<31) == 0 {
		m = ^m
	}
	length := bits.LeadingZeros32(^m)
	return length, bits.OnesCount32(m) == length && mask != netip.IPv4Unspecified()
}
