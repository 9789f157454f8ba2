// What generated packets carry above IP.
package oracle

import "encoding/binary"

const icmp6, vrrp = 58, 112

// upper is a protocol and its bytes, cut short at times.
func (g Generator) upper(v4 bool) (byte, []byte) {
	protocol, payload := g.whole(v4)
	if g.often(6) {
		payload = payload[:min(len(payload), g.IntN(20))]
	}
	return protocol, payload
}

func (g Generator) whole(v4 bool) (byte, []byte) {
	ports := binary.BigEndian.AppendUint16(nil, g.sourcePort())
	switch n := g.IntN(100); {
	case n < 65:
		return tcp, append(binary.BigEndian.AppendUint16(ports, g.port(tcp)), g.segment()...)
	case n < 82:
		return udp, append(binary.BigEndian.AppendUint16(ports, g.port(udp)), g.bytes(4+g.IntN(30))...)
	case v4 && n < 86: // which can carry any of the others
		inside := pick[byte](g, tcp, udp, icmp, icmp6, 89, 103, vrrp, 50, ipip, ah, byte(g.Uint32()))
		header := g.extension(ah, inside)
		if g.often(20) {
			return ah, header[:g.IntN(len(header))]
		}
		return ah, append(header, g.bytes(g.IntN(60))...)
	case n < 96: // named, of this family or the other, IP in IP more often
		return pick[byte](
			g, icmp, 2, ipip, ipip, ipip, ipv6, ipv6, ipv6, 47, 137, 50, 58, 59, 89, 103, 112, 132, 33, 135, 139, 140, 253, 255,
			hopByHop, routing, fragment, ah, destination, 136,
		), g.bytes(g.IntN(60))
	}
	return byte(g.Uint32()), g.bytes(g.IntN(60))
}

func (g Generator) sourcePort() uint16 {
	if g.often(4) {
		return 0
	}
	return uint16(g.Uint32())
}

// port is one of a service for protocol, of one for the other, a tunnel's, any.
func (g Generator) port(protocol int) uint16 {
	var right, wrong []uint16
	for _, s := range g.Policy.Services {
		right, wrong = append(right, s.TCP...), append(wrong, s.UDP...)
	}
	if protocol == udp {
		right, wrong = wrong, right
	}
	right, wrong = append(right, 8443), append(wrong, 8443)
	switch n := g.IntN(100); {
	case n < 70:
		return pick(g, right...)
	case n < 80:
		return pick(g, wrong...)
	case n < 90:
		return pick[uint16](g, 4789, 8472, 6081, 6080, 3544, 0)
	}
	return uint16(g.Uint32())
}

// segment is TCP behind its ports: half of them are openings.
func (g Generator) segment() []byte {
	const syn, ack = 0x02, 0x10
	segment := g.bytes(16 + 4*g.IntN(11) + g.IntN(20))
	segment[8] |= 0x50
	switch flags := &segment[9]; {
	case g.often(50):
		*flags = *flags&0xe0*byte(g.IntN(2)) | syn
	case g.often(50):
		*flags = ack | *flags&0x08
	}
	return segment
}
