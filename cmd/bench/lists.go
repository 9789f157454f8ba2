// This file makes the lists: the mixes of prefixes that real allowlists have.
package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/gaissmai/bart"
)

// list is n prefixes of one family, each once.
type list struct {
	ipv6     bool
	n        int
	prefixes []netip.Prefix
	covers   bart.Lite
}

// sizes are the list sizes that all figures are given for.
var sizes = []int{15, 1_000, 100_000, 1_000_000}

const seed = 4 // the same lists and sources in every run

func newList(n int, ipv6 bool) *list {
	l := &list{ipv6: ipv6, n: n}
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	next := mix4(random, n)
	if ipv6 {
		next = mix6(random, n)
	}
	for len(l.prefixes) < n {
		p := next().Masked()
		if l.covers.Get(p) {
			continue
		}
		l.covers.Insert(p)
		l.prefixes = append(l.prefixes, p)
	}
	return l
}

// mix4 is 70 % single hosts, three quarters of them in n/3 /24s, 20 % /24 to /29, and
// 10 % of the lengths that the routing table has, which cover most of the space.
func mix4(random *rand.Rand, n int) func() netip.Prefix {
	clusters := make([]uint32, max(n/3, 1))
	for i := range clusters {
		clusters[i] = public4(random)
	}
	return func() netip.Prefix {
		switch d := random.IntN(1000); {
		case d < 525:
			return prefix4(clusters[random.IntN(len(clusters))]&^0xff|random.Uint32N(256), 32)
		case d < 700:
			return prefix4(public4(random), 32)
		case d < 900:
			return prefix4(public4(random), 24+random.IntN(6))
		default:
			return prefix4(public4(random), routed(random))
		}
	}
}

// routed is a length as the routing table has them.
func routed(random *rand.Rand) int {
	d := random.IntN(1000)
	for _, share := range []struct{ length, upTo int }{
		{24, 600}, {23, 720}, {22, 840}, {21, 900}, {20, 950}, {19, 980}, {18, 990}, {17, 995},
	} {
		if d < share.upTo {
			return share.length
		}
	}
	return 16
}

// public4 is a random address of the first 224 /8s but 0, 10 and 127.
func public4(random *rand.Rand) uint32 {
	for {
		a := random.Uint32()
		if top := a >> 24; top != 0 && top != 10 && top != 127 && top < 224 {
			return a
		}
	}
}

func addr4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a)))
}

func prefix4(a uint32, length int) netip.Prefix { return netip.PrefixFrom(addr4(a), length) }

// mix6 is what the customers of n/20 providers, a /32 each, have: 40 % /48, 25 % /64,
// 20 % single hosts, 8 % /36 to /47, 5 % /56, 2 % the whole /32.
func mix6(random *rand.Rand, n int) func() netip.Prefix {
	providers := make([]uint64, max(n/20, 1))
	for i := range providers {
		providers[i] = random.Uint64()>>3 | 1<<61
	}
	return func() netip.Prefix {
		high := providers[random.IntN(len(providers))]&^0xffffffff | uint64(random.Uint32())
		length := 48
		switch d := random.IntN(100); {
		case d < 40:
		case d < 65:
			length = 64
		case d < 85:
			length = 128
		case d < 93:
			length = 36 + random.IntN(12)
		case d < 98:
			length = 56
		default:
			length = 32
		}
		return netip.PrefixFrom(addr6(high, random.Uint64()), length)
	}
}

func addr6(high, low uint64) netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low)))
}
