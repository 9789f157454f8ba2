package maps

import (
	"fmt"
	"iter"
	"net/netip"

	"github.com/xdpallow/xdpallow/bpf"
)

// EveryService is the service mask of an entry that names none.
const EveryService = ^uint32(0)

// ServiceBit is the bit of service number n, from 1, in an entry's mask.
func ServiceBit(n int) uint32 { return 1 << n }

// Entry is one entry as the kernel has it.
type Entry struct {
	Prefix    netip.Prefix // canonical
	Services  uint32       // EveryService, or ServiceBits
	Owner     uint16       // 0 is none
	Expires   uint64       // CLOCK_BOOTTIME in ns; 0 is never
	Suspended bool

	// Written by the kernel, read by user space.
	LastSeen uint32 // CLOCK_BOOTTIME in s, of the last TCP opening; 0 is never
	Hits     uint32 // TCP openings since the trie was published
}

// key4 and key6 are struct key at the two sizes of the tries, network byte order.
// Their fields are exported so that the library can copy them as they lie.
type (
	key4 struct {
		PrefixLen uint32
		Address   [4]byte
	}
	key6 struct {
		PrefixLen uint32
		Address   [16]byte
	}
)

func keyOf4(p netip.Prefix) key4 { return key4{uint32(p.Bits()), p.Addr().As4()} }
func keyOf6(p netip.Prefix) key6 { return key6{uint32(p.Bits()), p.Addr().As16()} }

func (k key4) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4(k.Address), int(k.PrefixLen))
}

func (k key6) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16(k.Address), int(k.PrefixLen))
}

// checkPrefix refuses what would land under another key than its own: host bits
// make an update overwrite the canonical prefix, and a mapped address would be
// looked up as IPv6, where no IPv4 packet ever looks.
func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
		return fmt.Errorf("prefix %v is not canonical", p)
	}
	return nil
}

func (e Entry) value() bpf.XdpallowEntry {
	v := bpf.XdpallowEntry{
		Expires:  e.Expires,
		Services: e.Services | 1, // service 0, "any", is what portless packets ask for
		Owner:    e.Owner,
		Length:   uint8(e.Prefix.Bits()),
		LastSeen: e.LastSeen,
		Hits:     e.Hits,
	}
	if e.Suspended {
		v.Flags = uint8(bpf.XdpallowLimitENTRY_SUSPENDED)
	}
	return v
}

func entryOf(p netip.Prefix, v bpf.XdpallowEntry) Entry {
	services := v.Services
	if services != EveryService {
		services &^= 1
	}
	return Entry{
		Prefix:    p,
		Services:  services,
		Owner:     v.Owner,
		Expires:   v.Expires,
		Suspended: v.Flags&uint8(bpf.XdpallowLimitENTRY_SUSPENDED) != 0,
		LastSeen:  v.LastSeen,
		Hits:      v.Hits,
	}
}

// SamePolicy reports whether e and b decide alike; use is left out. Bit 0 of the
// services is no service of anybody's: all 31 bits are EveryService.
func (e Entry) SamePolicy(b Entry) bool {
	e.Services, b.Services = e.Services|1, b.Services|1
	e.LastSeen, e.Hits, b.LastSeen, b.Hits = 0, 0, 0, 0
	return e == b
}

// prefixes yields the prefixes of entries.
func prefixes(entries []Entry) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for i := range entries {
			if !yield(entries[i].Prefix) {
				return
			}
		}
	}
}
