// This file makes the sources of a flood: strangers, strangers next to customers, and
// customers.
package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// The kinds of sources.
const (
	miss = "miss" // unlisted, from all of the public space
	near = "near" // unlisted, from the /24s or /48s in which others are listed
	hit  = "hit"  // listed
)

const tableBytes = 1 << 22 // TABLE of driver.bpf.c and flood.bpf.c

// sources is a table of such addresses, as the programs read it.
func (l *list) sources(kind string) []byte {
	random := rand.New(rand.NewPCG(seed, uint64(l.n)+1))
	neighbours := l.neighbours()
	table := make([]byte, 0, tableBytes)
	for len(table) < tableBytes {
		var a netip.Addr
		switch kind {
		case miss:
			a = l.random(random)
		case near:
			a = within(random, neighbours[random.IntN(len(neighbours))])
		default:
			a = within(random, l.prefixes[random.IntN(len(l.prefixes))])
		}
		if l.covers.Contains(a) == (kind == hit) {
			table = append(table, a.AsSlice()...)
		}
	}
	return table
}

func (l *list) random(random *rand.Rand) netip.Addr {
	if l.ipv6 {
		return addr6(random.Uint64()>>3|1<<61, random.Uint64())
	}
	return addr4(public4(random))
}

// neighbours are the /24s or /48s that hold a listed prefix and are not listed whole.
func (l *list) neighbours() []netip.Prefix {
	length := 24
	if l.ipv6 {
		length = 48
	}
	var neighbours []netip.Prefix
	for _, p := range l.prefixes {
		around := netip.PrefixFrom(p.Addr(), length).Masked()
		if p.Bits() > length && !l.covers.LookupPrefix(around) {
			neighbours = append(neighbours, around)
		}
	}
	return neighbours
}

// within is a random address of p.
func within(random *rand.Rand, p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		return addr4(binary.BigEndian.Uint32(b[:]) | uint32(uint64(random.Uint32())&(1<<(32-p.Bits())-1)))
	}
	b := p.Addr().As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if p.Bits() < 64 {
		return addr6(high|random.Uint64()&(1<<(64-p.Bits())-1), random.Uint64())
	}
	return addr6(high, low|random.Uint64()&(1<<(128-p.Bits())-1))
}
