// This file reads the prefix of a source. Only the canonical form is accepted: the kernel's
// trie silently takes 10.0.1.77/24 for 10.0.1.0/24.

package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// neverSources are refused with all that lies within them. The canary proves the gate with
// SYNs from 255.255.255.255 and ff02::1: if these could be listed, it would prove nothing.
var neverSources = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("ff00::/8"),
}

// ParsePrefix reads PREFIX or ADDR; a bare address is a /32 or /128. The warning is "" or says
// that s was not taken literally. Errors are *InputError without a Where; where s is a source
// in another form, the hint is its prefixes with blanks between them. Width is not judged
// here, see Guard.
func ParsePrefix(s string) (p netip.Prefix, warning string, err error) {
	if addr, rest, found := strings.Cut(s, "%"); found {
		_, length, found := strings.Cut(rest, "/")
		if found {
			addr += "/" + length
		}
		return netip.Prefix{}, "", inputErrorf("", addr, "%.64q has a zone", s)
	}
	if strings.Contains(s, "/") {
		p, err = netip.ParsePrefix(s)
	} else if addr, e := netip.ParseAddr(s); e == nil {
		p = netip.PrefixFrom(addr, addr.BitLen())
	} else {
		err = e
	}
	if err != nil {
		if err := otherForm(s); err != nil {
			return netip.Prefix{}, "", err
		}
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
			if p.Addr().IsLoopback() {
				return netip.Prefix{}, "", inputErrorf("", "", "%s is this host itself: its own clients always connect and need no entry", s)
			}
			return netip.Prefix{}, "", inputErrorf("", "", "%s can never be the source of a connection", s)
		}
	}
	return p, warning, nil
}

// LooksLikeNetwork reports whether addr ends like the address of a network: whoever types it
// alone may have forgotten the length.
func LooksLikeNetwork(addr netip.Addr) bool {
	if addr.Is4() {
		return addr.As4()[3] == 0
	}
	all := addr.As16()
	return [8]byte(all[8:]) == [8]byte{} // the interface's half
}

// unmap turns ::ffff:a.b.c.d/96+n into a.b.c.d/n, which is what its packets carry.
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
