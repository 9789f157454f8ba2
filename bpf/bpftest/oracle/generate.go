// A generator of packets that lie: every layer is right most of the time and wrong
// often enough that each reason occurs, for the sources and ports of one policy.
package oracle

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Generator makes frames around the edges of a policy. It is not safe for concurrent
// use; the same seed makes the same frames.
type Generator struct {
	*rand.Rand
	Policy Policy
}

// NewGenerator returns a generator for p.
func NewGenerator(seed uint64, p Policy) Generator {
	return Generator{rand.New(rand.NewPCG(seed, 0)), p}
}

// Generate makes an Ethernet frame of at least 14 bytes.
func (g Generator) Generate() []byte {
	frame := g.link()
	switch n := g.IntN(100); {
	case n < 46:
		frame = append(binary.BigEndian.AppendUint16(frame, typeIPv4), g.ipv4()...)
	case n < 92:
		frame = append(binary.BigEndian.AppendUint16(frame, typeIPv6), g.ipv6()...)
	default:
		types := []uint16{
			0x0806, 0x88cc, 0x8809, 0x888e, 0x88f7, 0x8847, 0x8848, 0x8864, 0x88e5,
			0x9100, 0x8863, 0x0022, 0x05dc, uint16(g.Uint32()),
		}
		frame = append(binary.BigEndian.AppendUint16(frame, pick(g, types...)), g.llc()...)
		frame = append(frame, g.bytes(g.IntN(60))...)
	}
	if g.often(6) {
		frame = append(frame, g.bytes(g.IntN(50))...) // behind what the lengths say
	}
	if g.often(6) {
		frame = frame[:14+g.IntN(len(frame)-13)]
	}
	return frame
}

// llc is how a frame with a length begins, mostly: right, or nearly so.
func (g Generator) llc() []byte {
	start := pick(g, nil, []byte{0x42, 0x42, 3, 0}, []byte{0xfe, 0xfe, 3, 0x83}, []byte{0xfe, 0xfe, 3, 0x82},
		[]byte{0xfe, 0xfe, 3, 0xcc}, []byte{0xaa, 0xaa, 3, 0, 0, 0x0c}, []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0})
	start = slices.Clone(start)
	if len(start) > 0 && g.often(20) {
		start[g.IntN(len(start))] ^= 1 << g.IntN(8)
	}
	return start
}

// often is true in n of 100 cases.
func (g Generator) often(n int) bool { return g.IntN(100) < n }

func pick[T any](g Generator, from ...T) T { return from[g.IntN(len(from))] }

func (g Generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// link is the Ethernet header and its tags, up to where the ethertype follows.
func (g Generator) link() []byte {
	frame := []byte{2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, 0x0c}
	switch g.IntN(20) {
	case 0:
		copy(frame, []byte{0x01, 0x80, 0xc2, 0, 0, byte(g.IntN(20))})
	case 1:
		copy(frame, g.bytes(6))
	}
	if g.often(80) {
		return frame
	}
	for range pick(g, 1, 1, 1, 2, 3, maxTags, maxTags, maxTags+1, maxTags+3) {
		frame = binary.BigEndian.AppendUint16(frame, pick[uint16](g, typeVLAN, typeVLAN, typeQinQ))
		frame = binary.BigEndian.AppendUint16(frame, pick(g, 0, 0, 5, 4095, uint16(g.Uint32())))
	}
	return frame
}
