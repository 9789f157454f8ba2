// Generated IP headers: sources around the entries, lengths, options, extension chains
// and fragments.
package oracle

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// source is an address in, beside and far from the entries.
func (g Generator) source(v4 bool) netip.Addr {
	size := 16
	if v4 {
		size = 4
	}
	random, _ := netip.AddrFromSlice(g.bytes(size))
	var fit []netip.Prefix
	for _, e := range g.Policy.Entries {
		if e.Prefix.Addr().Is4() == v4 {
			fit = append(fit, e.Prefix)
		}
	}
	if len(fit) == 0 || g.often(10) {
		return random
	}
	prefix := pick(g, fit...)
	address, host := prefix.Addr().AsSlice(), random.AsSlice()
	bits := prefix.Bits()
	beside := bits > 0 && g.often(35)
	if beside { // the same but for the prefix's last bit
		address[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
	}
	for i := bits; i < size*8; i++ {
		mask := byte(0x80 >> (i % 8))
		address[i/8] = address[i/8]&^mask | host[i/8]&mask
	}
	inside, _ := netip.AddrFromSlice(address)
	return inside
}

// length is what an IP header says of headers and n bytes behind them: the truth,
// mostly, and else often what cuts off just too much.
func (g Generator) length(headers, n int) uint16 {
	switch g.IntN(25) {
	case 0:
		return uint16(headers + pick(g, -1, 0, 1, 3, 4, 13, 14))
	case 1:
		return uint16(pick(g, 0, headers+n-1, headers+n+1, headers+n-20, 20, 1400, g.IntN(headers+n+2), g.IntN(1<<16)))
	}
	return uint16(headers + n)
}

func (g Generator) ipv4() []byte {
	options := g.options()
	words := 5 + len(options)/4
	if g.often(3) {
		words = g.IntN(16)
	}
	protocol, payload := g.upper(true)
	field := pick[uint16](g, 0, 0x4000)
	if g.often(14) {
		field = pick(g, 0x2000, 0x2000, 0x2001, 1, 0x1fff, 0x3fff, 0x8000, 0x6000, uint16(g.Uint32()))
	}
	header := []byte{byte(g.version(4)<<4 | words), byte(g.Uint32())}
	header = binary.BigEndian.AppendUint16(header, g.length(20+len(options), len(payload)))
	header = binary.BigEndian.AppendUint16(header, uint16(g.Uint32()))
	header = binary.BigEndian.AppendUint16(header, field)
	header = append(header, byte(g.Uint32()), protocol, 0, 0)
	header = append(header, g.source(true).AsSlice()...)
	header = append(header, 198, 18, 0, 2)
	return slices.Concat(header, options, payload)
}

func (g Generator) version(right int) int {
	if g.often(98) {
		return right
	}
	return g.IntN(16)
}

// options are whole words of IPv4 options.
func (g Generator) options() []byte {
	const end, nop, record, loose, strict = 0, 1, 7, 131, 137
	if g.often(70) {
		return nil
	}
	var options []byte
	for room := 4 * (1 + g.IntN(10)); len(options) < room; {
		switch left := room - len(options); g.IntN(8) {
		case 0:
			options = append(options, end)
		case 1, 2:
			options = append(options, nop)
		case 3: // anything, with a length that may lie
			options = append(options, g.bytes(min(left, 1+g.IntN(8)))...)
		default:
			size := 2 + g.IntN(9)
			if size > left {
				options = append(options, nop)
				continue
			}
			options = append(options, pick[byte](g, record, 0x44, 0x94, loose, strict), byte(size))
			options = append(options, g.bytes(size-2)...)
		}
	}
	return options
}

func (g Generator) ipv6() []byte {
	next, payload := g.upper(false)
	var chain []byte
	if g.often(4) {
		next = pick[byte](g, ipip, ipv6)
	}
	tunneled := next == ipip || next == ipv6
	if tunneled || g.often(45) {
		depth := pick(g, 1, 1, 1, 1, 2, 2, 3, 4, maxExtensions-1, maxExtensions, maxExtensions+1, 12)
		for range depth {
			kind := pick[byte](g, hopByHop, routing, destination, destination, ah, fragment)
			if tunneled && g.often(50) {
				kind = routing
			}
			next, chain = kind, append(g.extension(kind, next), chain...)
		}
	}
	header := []byte{byte(g.version(6)<<4 | g.IntN(16)), byte(g.Uint32()), 0, 0}
	header = binary.BigEndian.AppendUint16(header, g.length(len(chain), len(payload)))
	header = append(header, next, byte(g.Uint32()))
	header = append(header, g.source(false).AsSlice()...)
	host := netip.MustParseAddr("fd00:18::2")
	return slices.Concat(header, host.AsSlice(), chain, payload)
}

// extension is a header of a kind, before next.
func (g Generator) extension(kind, next byte) []byte {
	units := pick(g, 0, 0, 0, 1, 2, g.IntN(12)) // of 8 bytes, behind the first
	header := g.bytes(8 * (units + 1))
	header[0], header[1] = next, byte(units)
	switch kind {
	case ah:
		header[1] = byte(2 * units) // units of 4 bytes, less 2
	case fragment:
		header = header[:8]
		field := pick(g, 0, 0, 0, 0, 2, 4, 6, 1, 8, 9, uint16(g.Uint32()))
		binary.BigEndian.PutUint16(header[2:], field)
		header[1] = byte(g.IntN(3)) // reserved
	}
	if g.often(2) {
		header[1] = byte(g.Uint32())
	}
	return header
}
