// Near misses: a customer who moved within his /24 or /48 must not drown among the
// strangers of a flood, so that the operator sees him before he calls.
package maps_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// neighbourhood is how many bits a near miss shares with a listed prefix that is longer.
func neighbourhood(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 48
}

// nearby lists n prefixes that are longer than a neighbourhood, and twice as many others
// around them that leave no neighbour.
func nearby(r *rand.Rand, n int) *model {
	m := newModel(policyOf(1).Services)
	for i := range 3 * n {
		a := randomAddr(r, i%2 == 0)
		bits := neighbourhood(a)
		if i < n {
			bits += 1 + r.IntN(a.BitLen()-bits)
		} else {
			bits -= r.IntN(8)
		}
		m.put(maps.Entry{Prefix: netip.PrefixFrom(a, bits).Masked(), Services: maps.EveryService})
	}
	return m
}

// strangerIn is a source in the neighbourhood of p that nothing covers.
func strangerIn(r *rand.Rand, m *model, p netip.Prefix) (netip.Addr, bool) {
	around := netip.PrefixFrom(p.Addr(), neighbourhood(p.Addr())).Masked()
	for range 50 {
		a := flipTail(r, p.Addr())
		if _, covered := m.trie.Lookup(a); around.Contains(a) && !covered {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// nearOf runs an opening of each source, which is unlisted, and returns who of them was
// said to be near.
func nearOf(t *testing.T, tables *maps.Tables, gate mapstest.Program, events *ring.Reader, sources []netip.Addr) map[netip.Addr]bool {
	t.Helper()
	said, near := 0, map[netip.Addr]bool{}
	drain := func() {
		for _, event := range drained(t, events) {
			said++
			if event.Near {
				near[event.Source] = true
			}
		}
	}
	for i, source := range sources {
		gate.Run(t, mapstest.Opening(source, port).Bytes())
		if i%1000 == 999 {
			drain()
		}
	}
	drain()
	if said != len(sources) {
		t.Fatalf("%d events of %d refused packets", said, len(sources))
	}
	return near
}

func TestNearMissesAreMarked(t *testing.T) {
	r := newRand(t)
	m := nearby(r, 600)
	tables := mapstest.Tables(t, m.policy(1))
	gate, events := mapstest.Load(t, tables, false), openEvents(t, tables)

	check := func(what string) {
		var neighbours []netip.Addr
		for _, p := range m.prefixes() {
			if p.Bits() <= neighbourhood(p.Addr()) {
				continue
			}
			if a, ok := strangerIn(r, m, p); ok {
				neighbours = append(neighbours, a)
			}
		}
		near := nearOf(t, tables, gate, events, neighbours)
		for _, a := range neighbours {
			if !near[a] {
				t.Errorf("%s: %v has a listed neighbour and no neighbour", what, a)
			}
		}
		if len(neighbours) < 400 {
			t.Errorf("%s: %d neighbours are too few to tell", what, len(neighbours))
		}
	}
	check("published")

	for i, e := range nearby(r, 60).policy(1).Entries {
		m.put(e)
		if _, err := tables.Patch([]maps.Entry{e}, nil, uint64(i+2)); err != nil {
			t.Fatal(err)
		}
	}
	check("patched")

	// Strangers from all over, as of a flood: as few as not to hide one customer.
	var strangers []netip.Addr
	for range 20_000 {
		a := randomAddr(r, r.IntN(2) == 0)
		if _, covered := m.trie.Lookup(a); !covered {
			strangers = append(strangers, a)
		}
	}
	near := nearOf(t, tables, gate, events, strangers)
	t.Logf("%d of %d strangers look near", len(near), len(strangers))
	if len(near)*1000 > len(strangers) {
		t.Errorf("%d of %d strangers look near", len(near), len(strangers))
	}

	// And from the /24s around listed ones, as of a flood that is aimed.
	strangers = nil
	for _, p := range m.prefixes() {
		for range 10 {
			b := p.Addr().AsSlice()
			b[neighbourhood(p.Addr())/8-1] ^= byte(1 + r.IntN(255))
			a, _ := netip.AddrFromSlice(b)
			if _, covered := m.trie.Lookup(a); !covered {
				strangers = append(strangers, a)
			}
		}
	}
	near = nearOf(t, tables, gate, events, strangers)
	t.Logf("%d of %d strangers beside listed /24s and /48s look near", len(near), len(strangers))
	if len(near)*20 > len(strangers) {
		t.Errorf("%d of %d strangers beside listed /24s and /48s look near", len(near), len(strangers))
	}
}
