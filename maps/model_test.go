// How nested prefixes are judged, said a second time on another trie, and the
// random policies and adversarial addresses that the kernel is compared on.
package maps_test

import (
	stdmaps "maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/xdpallow/xdpallow/maps"
)

// model is a policy as people read it.
type model struct {
	services []maps.Service
	entries  map[netip.Prefix]maps.Entry
	trie     bart.Table[maps.Entry]
}

func newModel(services []maps.Service) *model {
	return &model{services: services, entries: map[netip.Prefix]maps.Entry{}}
}

func (m *model) put(e maps.Entry) {
	m.entries[e.Prefix] = e
	m.trie.Insert(e.Prefix, e)
}

func (m *model) remove(p netip.Prefix) {
	delete(m.entries, p)
	m.trie.Delete(p)
}

// prefixes are sorted, so that a seed gives the same test again.
func (m *model) prefixes() []netip.Prefix {
	return slices.SortedFunc(stdmaps.Keys(m.entries), netip.Prefix.Compare)
}

func (m *model) policy(generation uint64) maps.Policy {
	p := maps.Policy{Generation: generation, Services: m.services}
	for _, e := range m.entries {
		p.Entries = append(p.Entries, e)
	}
	return p
}

// opening is the answer to an opening of service number n.
func (m *model) opening(source netip.Addr, n int, now uint64) maps.Answer {
	return m.answer(m.judge(source, maps.ServiceBit(n), now), m.services[n-1].Enforce)
}

// fragment is the answer to a fragment of TCP: any service lists its source, and
// any that enforces drops it.
func (m *model) fragment(source netip.Addr, now uint64) maps.Answer {
	reason, enforce := m.judge(source, 0, now), false
	if reason != maps.Listed {
		reason = maps.Fragment
	}
	for _, service := range m.services {
		enforce = enforce || service.Enforce
	}
	return m.answer(reason, enforce)
}

func (m *model) answer(reason maps.Reason, enforce bool) maps.Answer {
	switch {
	case reason == maps.Listed:
		return maps.Answer{Verdict: maps.Pass, Reason: reason}
	case enforce:
		return maps.Answer{Verdict: maps.Drop, Reason: reason}
	}
	return maps.Answer{Verdict: maps.Audit, Reason: reason}
}

// judge goes from the longest covering entry to the shortest; mask 0 is any service.
func (m *model) judge(source netip.Addr, mask uint32, now uint64) maps.Reason {
	said := maps.NotListed
	for _, e := range m.trie.Supernets(netip.PrefixFrom(source, source.BitLen())) {
		why := maps.Listed
		switch {
		case e.Expires != 0 && e.Expires <= now:
			why = maps.Expired
		case mask != 0 && e.Services&mask == 0:
			why = maps.WrongService
		case e.Suspended:
			return maps.Suspended
		default:
			return maps.Listed
		}
		if said == maps.NotListed {
			said = why
		}
	}
	return said
}

// randomPrefix is of one family, near or around an earlier one more often than not,
// so that chains of covering entries get long.
func randomPrefix(r *rand.Rand, earlier []netip.Prefix) netip.Prefix {
	address := randomAddr(r, r.IntN(2) == 0)
	if len(earlier) > 0 && r.IntN(4) != 0 {
		address = flipTail(r, earlier[r.IntN(len(earlier))].Addr())
	}
	bits := r.IntN(address.BitLen() + 1)
	if r.IntN(8) == 0 {
		bits = []int{0, address.BitLen()}[r.IntN(2)]
	}
	return netip.PrefixFrom(address, bits).Masked()
}

func randomAddr(r *rand.Rand, ipv4 bool) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if ipv4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0x20 // never ::ffff:0:0/96, which no list may hold
	return netip.AddrFrom16(b)
}

// flipTail keeps some leading bits of a and makes up the rest.
func flipTail(r *rand.Rand, a netip.Addr) netip.Addr {
	b, other := a.AsSlice(), randomAddr(r, a.Is4()).AsSlice()
	for bit := r.IntN(a.BitLen() + 1); bit < a.BitLen(); bit++ {
		mask := byte(0x80) >> (bit % 8)
		b[bit/8] = b[bit/8]&^mask | other[bit/8]&mask
	}
	flipped, _ := netip.AddrFromSlice(b)
	return flipped
}

// randomEntry grants, or is expired, suspended or for others, or several of these.
func randomEntry(r *rand.Rand, p netip.Prefix, now uint64) maps.Entry {
	e := maps.Entry{Prefix: p, Services: maps.EveryService, Owner: uint16(r.Uint32()), Suspended: r.IntN(5) == 0}
	if r.IntN(3) != 0 {
		e.Services = 0
		for _, n := range probed {
			e.Services |= maps.ServiceBit(n) * uint32(r.IntN(2))
		}
	}
	switch r.IntN(4) {
	case 0:
		e.Expires = 1 + r.Uint64N(now)
	case 1:
		e.Expires = now + 3600e9
	}
	return e
}

// edges are the addresses at which a wrong bit shows: first and last of p and
// their neighbours outside.
func edges(p netip.Prefix) []netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	first := p.Addr()
	last, _ := netip.AddrFromSlice(b)
	all := []netip.Addr{first, last}
	for _, a := range []netip.Addr{first.Prev(), last.Next()} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}
