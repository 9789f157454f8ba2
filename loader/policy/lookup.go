// This file is the model of the kernel's source lookup (DESIGN 4.4, nested
// prefixes): check explains with it, and tests hold the kernel against it.

package policy

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// What Lookup says of a source. The words are those of the kernel's reasons.
const (
	ReasonListed       = "listed"
	ReasonNotListed    = "not_listed"
	ReasonExpired      = "expired"
	ReasonWrongService = "wrong_service"
	ReasonSuspended    = "suspended"
)

// Lookup says whether s lists addr for service at now, and which entry decided:
// the longest that would grant, else the longest that covers addr; nil if none
// does. Service "" is any service, as for packets that have no port. addr is
// taken as it is, ::ffff:a.b.c.d as an IPv6 address.
func (s State) Lookup(addr netip.Addr, service string, now time.Time) (entry *Entry, reason string) {
	addr = addr.WithZone("")
	reason = ReasonNotListed
	for e := range s.Covering(netip.PrefixFrom(addr, addr.BitLen())) {
		alone := e.reason(service, now)
		if alone == ReasonListed || alone == ReasonSuspended {
			return e, alone
		}
		if entry == nil {
			entry, reason = e, alone
		}
	}
	return entry, reason
}

// reason is what e says of a source that it covers, as if it were alone.
func (e *Entry) reason(service string, now time.Time) string {
	switch {
	case hasEnded(e.Until, now):
		return ReasonExpired
	case service != "" && len(e.Services) > 0 && !slices.Contains(e.Services, service):
		return ReasonWrongService
	case e.Suspended:
		return ReasonSuspended
	}
	return ReasonListed
}

// Covering yields the entries that cover p, p's own among them, longest first.
//
// Sorted entries are a trie walked from the root, so they are their own index:
// whatever covers p also covers the entry just before p. Each step looks that
// one up and cuts the rest of p down to what both have in common.
func (s State) Covering(p netip.Prefix) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for rest := p.Masked(); rest.IsValid(); {
			i := sort.Search(len(s.Entries), func(i int) bool { return ComparePrefix(s.Entries[i].Prefix, rest) > 0 })
			if i == 0 {
				return
			}
			e := &s.Entries[i-1]
			length := commonBits(e.Prefix.Addr(), rest.Addr())
			if length < 0 {
				return
			}
			length = min(length, e.Prefix.Bits())
			if length == e.Prefix.Bits() {
				if !yield(e) {
					return
				}
				length--
			}
			rest, _ = rest.Addr().Prefix(length) // invalid below 0: the root is done
		}
	}
}

// commonBits counts the leading bits that a and b share, -1 for two families.
func commonBits(a, b netip.Addr) int {
	if a.BitLen() != b.BitLen() {
		return -1
	}
	x, y := a.As16(), b.As16()
	high := binary.BigEndian.Uint64(x[:8]) ^ binary.BigEndian.Uint64(y[:8])
	low := binary.BigEndian.Uint64(x[8:]) ^ binary.BigEndian.Uint64(y[8:])
	common := bits.LeadingZeros64(high)
	if high == 0 {
		common += bits.LeadingZeros64(low)
	}
	return common - (128 - a.BitLen())
}
