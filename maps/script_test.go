// Lists and changes to them, made up by rapid or by the fuzzer so that what the prefilter
// could get wrong happens: nesting, crowds, borders of its items, lists too dense for it.
package maps_test

import (
	"net/netip"

	"pgregory.net/rapid"
)

// step is one change of a list, as six bytes that rapid and the fuzzer make up.
type step struct {
	action, length byte
	address        [4]byte
}

type act int

const (
	list   act = iota // is in the first publish
	dense             // so is it, and the 64 of six bits more
	put               // is patched in
	remove            // what is nearest is patched out
	adopt             // a new daemon
)

func (s step) act() act {
	return [...]act{list, dense, put, put, put, remove, remove, adopt}[s.action>>1&7]
}

// prefix spreads the four bytes over the address so that steps that share some of them
// share a /32, a /48, a /64: the borders that the prefilter has.
func (s step) prefix() netip.Prefix {
	a, rare := s.address, s.address[3]&7 == 0
	if s.action&1 == 0 {
		bits := int(s.length) % 33
		if bits < 13 && !rare { // slow: up to millions of bits
			bits += 8
		}
		return netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
	}
	bits := int(s.length) % 129
	if bits < 21 && !rare {
		bits += 16
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{
		0x20, a[0], 7: a[3], 3: a[1], 5: a[2], 6: a[3] >> 4, 15: a[3] ^ s.length,
	}), bits).Masked()
}

// crowd is p and its children of six bits more.
func crowd(p netip.Prefix) []netip.Prefix {
	all, bits := []netip.Prefix{p}, p.Bits()+6
	if bits > p.Addr().BitLen() {
		return all
	}
	for n := range byte(64) {
		b := p.Addr().AsSlice()
		for i := range 6 {
			b[(bits-1-i)/8] |= n >> i & 1 << (7 - (bits-1-i)%8)
		}
		child, _ := netip.AddrFromSlice(b)
		all = append(all, netip.PrefixFrom(child, bits))
	}
	return all
}

// steps of one script share a few address bytes, so that they cluster and nest.
func scripts() *rapid.Generator[[]step] {
	return rapid.Custom(func(t *rapid.T) []step {
		pool := rapid.SliceOfN(rapid.Byte(), 1, 6).Draw(t, "pool")
		octet := rapid.OneOf(rapid.SampledFrom(pool), rapid.SampledFrom(pool), rapid.Byte())
		length := rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte{0, 1, 2, 24, 25, 28, 32, 33, 40, 48, 49, 52, 60, 64, 65, 128}))
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				action: rapid.Byte().Draw(t, "action"), length: length.Draw(t, "length"),
				address: [4]byte{octet.Draw(t, "a"), octet.Draw(t, "b"), octet.Draw(t, "c"), octet.Draw(t, "d")},
			}
		}), 4, 40).Draw(t, "steps")
	})
}
