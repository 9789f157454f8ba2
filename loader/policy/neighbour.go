package policy

// This file finds the entry that a refused source is beside: probably that of a customer who
// moved.

import "net/netip"

// Neighbour returns the entry beside which source is, or nil: of those in the same /24 the
// one that is the fewest addresses away; of those in the same /48, where a distance says
// nothing and there may be a million, the first of those that share most bits with source.
func (e Entries) Neighbour(source netip.Addr) (near *Entry) {
	if source.Is4() {
		least := uint32(256)
		for entry := range e.Under(netip.PrefixFrom(source, 24).Masked()) {
			if n := apart(source, entry.Prefix); n < least {
				near, least = entry, n
			}
		}
		return near
	}
	for bits := source.BitLen(); bits >= 48; bits-- {
		for entry := range e.Under(netip.PrefixFrom(source, bits).Masked()) {
			return entry
		}
	}
	return nil
}

// apart is how far source is from the nearest address of p, in the same /24.
func apart(source netip.Addr, p netip.Prefix) uint32 {
	at, first := uint32(source.As4()[3]), uint32(p.Addr().As4()[3])
	last := first + 1<<(32-max(p.Bits(), 24)) - 1
	switch {
	case at < first:
		return first - at
	case at > last:
		return at - last
	}
	return 0
}
