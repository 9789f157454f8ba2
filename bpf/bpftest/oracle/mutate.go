// Mutations of whole frames: what no layer of the generator would think of.
package oracle

import "slices"

// Mutate returns a changed copy of frame, of at least 14 bytes.
func (g Generator) Mutate(frame []byte) []byte {
	frame = slices.Clone(frame)
	for range 1 + g.IntN(2) {
		frame = g.mutateOnce(frame)
	}
	return frame
}

func (g Generator) mutateOnce(frame []byte) []byte {
	// Headers are where it hurts, and most of what matters is behind the ethertype.
	from := pick(g, 0, 12, 14, 14, 14, 14)
	if from >= len(frame) {
		from = 0
	}
	at := from + g.IntN(min(len(frame)-from, pick(g, 20, 80, 1<<16)))
	switch g.IntN(11) {
	case 0, 1, 2:
		frame[at] ^= 1 << g.IntN(8)
	case 3:
		frame[at] = byte(g.Uint32())
	case 4, 5:
		frame[at] = pick[byte](g, 0, 1, 0xff, 0x7f, tcp, udp, fragment, routing, destination, ipip, ipv6)
	case 6:
		frame[at] += pick[byte](g, 1, 0xff, 4, 0xfc)
	case 7:
		frame = frame[:max(14, at)]
	case 8:
		frame = append(frame, g.bytes(1+g.IntN(40))...)
	case 9: // a tag
		frame = slices.Insert(frame, 12, 0x81, 0, 0, 0)
	case 10: // something put in or taken out
		size := 4 * (1 + g.IntN(4))
		if end := at + size; end < len(frame) && len(frame)-size >= 14 && g.often(50) {
			return slices.Delete(frame, at, end)
		}
		frame = slices.Insert(frame, at, g.bytes(size)...)
	}
	return frame
}
