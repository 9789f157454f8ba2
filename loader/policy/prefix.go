// This file turns what people write for a source into the one canonical
// prefix: the kernel's trie takes 10.0.1.77/24 for 10.0.1.0/24 in silence.

package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// neverSources are refused, as is all that lies within them. That is more than
// tidiness: the canary proves the gate with SYNs from 255.255.255.255 and
// ff02::1, which therefore must never be listed. Local clients need no entry.
var neverSources = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("ff00::/8"),
}

// ParsePrefix reads PREFIX or ADDR; a bare address is a /32 or /128. The
// warning is "" or says that s was not taken literally. Errors are *InputError
// without a Where. Width is not judged here, see Guard.
func ParsePrefix(s string) (p netip.Prefix, warning string, err error) {
	if err := notPrefix(s); err != nil {
		return netip.Prefix{}, "", err
	}
	if strings.Contains(s, "/") {
		p, err = netip.ParsePrefix(s)
	} else if addr, e := netip.ParseAddr(s); e == nil {
		p = netip.PrefixFrom(addr, addr.BitLen())
	} else {
		err = e
	}
	if err != nil {
		return netip.Prefix{}, "", inputErrorf("", "", "%.64q is not a prefix or an address", s)
	}
	if p.Addr().Is4In6() {
		unmapped, err := unmap(p)
		if err != nil {
			return netip.Prefix{}, "", err
		}
		p, warning = unmapped, fmt.Sprintf("%s is IPv4-mapped: read as %s", s, unmapped)
	}
	if canonical := p.Masked(); p != canonical {
		return netip.Prefix{}, "", inputErrorf("", canonical.String(), "%s has host bits set", s)
	}
	for _, never := range neverSources {
		if never.Bits() <= p.Bits() && never.Contains(p.Addr()) {
			return netip.Prefix{}, "", inputErrorf("", "", "%s can never be the source of a connection", s)
		}
	}
	return p, warning, nil
}

// LooksLikeNetwork reports whether addr ends as the address of a network does: who types
// it alone may have forgotten the length.
func LooksLikeNetwork(addr netip.Addr) bool {
	if addr.Is4() {
		return addr.As4()[3] == 0
	}
	all := addr.As16()
	return [8]byte(all[8:]) == [8]byte{} // the interface's half
}

// notPrefix names the two mistakes that deserve better than "not a prefix".
func notPrefix(s string) error {
	if addr, rest, found := strings.Cut(s, "%"); found {
		_, length, found := strings.Cut(rest, "/")
		if found {
			addr += "/" + length
		}
		return inputErrorf("", addr, "%.64q has a zone", s)
	}
	if first, _, found := strings.Cut(s, "-"); found {
		if _, err := netip.ParseAddr(first); err == nil {
			return inputErrorf("", "", "%.64q is a range: list its prefixes", s)
		}
	}
	return nil
}

// unmap makes ::ffff:a.b.c.d/96+n the a.b.c.d/n that its packets carry.
func unmap(p netip.Prefix) (netip.Prefix, error) {
	addr, bits := p.Addr().Unmap(), p.Bits()
	if bits >= 96 {
		return netip.PrefixFrom(addr, bits-96), nil
	}
	hint := ""
	if bits <= 32 {
		hint = netip.PrefixFrom(addr, bits).Masked().String()
	}
	return p, inputErrorf("", hint, "%s is IPv4-mapped, and its length is under 96", p)
}
