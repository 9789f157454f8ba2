// This file reads a frame from the outside in, as far as the packet rules go: tags, IP header,
// options, extension chain and fragmentation, ports and flags. It knows no policy.
package oracle

import (
	"encoding/binary"
	"net/netip"
)

// How many tags and extension headers are looked through; a packet with more is too_deep.
const (
	maxTags       = 4
	maxExtensions = 8
)

// Ethertypes and protocols with a meaning of their own.
const (
	typeIPv4, typeIPv6 = 0x0800, 0x86dd
	typeVLAN, typeQinQ = 0x8100, 0x88a8

	hopByHop, icmp, ipip, tcp, udp, ipv6 = 0, 1, 4, 6, 17, 41
	routing, fragment, ah, destination   = 43, 44, 51, 60
)

// Packet is what a frame says of itself.
type Packet struct {
	Family      Family
	EtherType   uint16     // behind the tags; 0 when it was not reached
	LinkLocal   bool       // to 01:80:c2:00:00:00-0f, which no bridge forwards
	Link        []byte     // what is behind the ethertype, of a frame that is not IP
	Source      netip.Addr // not valid when it was not reached
	Destination netip.Addr
	Protocol    int  // above IP; -1 when it was not reached
	SourceRoute bool // an IPv4 option 131 or 137
	// Authenticated is the protocol behind an authentication header of IPv4, -1 where
	// there is none or it is cut. Linux takes it off with a key alone.
	Authenticated int
	LaterFragment bool // one that is not the first

	// Finding is what ended the walk before the ports: not_ip, malformed, too_deep,
	// fragment, tunnel, other_protocol. Empty means TCP or UDP, and the rest holds.
	Finding          Reason
	FirstFragment    bool // of a datagram that has more
	SourcePort, Port uint16
	HasFlags         bool // TCP as far as its flags
	Flags            uint8
}

// Read reads an Ethernet frame.
func Read(frame []byte) Packet {
	p := Packet{Family: Other, Protocol: -1, Authenticated: -1}
	p.Finding = p.readLink(frame)
	return p
}

// ReadIP reads a frame that begins with the IP header. Its version is all that says what
// it is, and one that is neither cannot be judged.
func ReadIP(frame []byte) Packet {
	p := Packet{Family: Other, Protocol: -1, Authenticated: -1, Finding: Malformed}
	switch {
	case len(frame) > 0 && frame[0]>>4 == 4:
		p.Family = IPv4
		p.Finding = p.readIPv4(frame)
	case len(frame) > 0 && frame[0]>>4 == 6:
		p.Family = IPv6
		p.Finding = p.readIPv6(frame)
	}
	return p
}

func (p *Packet) readLink(frame []byte) Reason {
	if len(frame) < 14 {
		return Malformed
	}
	p.LinkLocal = [5]byte(frame) == [5]byte{0x01, 0x80, 0xc2} && frame[5] <= 0x0f
	rest := frame[12:] // from an ethertype on
	for tags := 0; ; tags++ {
		next := binary.BigEndian.Uint16(rest)
		rest = rest[2:]
		if next != typeVLAN && next != typeQinQ {
			p.EtherType = next
			break
		}
		if tags == maxTags {
			return TooDeep
		}
		if len(rest) < 4 {
			return Malformed
		}
		rest = rest[2:]
	}
	switch p.EtherType {
	case typeIPv4:
		p.Family = IPv4
		return p.readIPv4(rest)
	case typeIPv6:
		p.Family = IPv6
		return p.readIPv6(rest)
	}
	p.Link = rest
	return NotIP
}

func (p *Packet) readIPv4(b []byte) Reason {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Malformed
	}
	p.Source, p.Destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	header, total := int(b[0]&15)*4, lengthOf(b[2:], len(b))
	if header < 20 || header > total || total > len(b) {
		return Malformed
	}
	p.SourceRoute = hasSourceRoute(b[20:header])
	p.Protocol = int(b[9])
	field, upper := binary.BigEndian.Uint16(b[6:]), b[header:total]
	p.LaterFragment = field&0x1fff != 0
	if p.Protocol == ah && len(upper) >= 8 && len(upper) >= (int(upper[1])+2)*4 {
		p.Authenticated = int(upper[0])
	}
	return p.readUpper(upper, field&0x3fff != 0, !p.LaterFragment)
}

// lengthOf reads a length of which left bytes are there. More than the field can say is
// said as 0: segments that Linux has joined, which generic mode sees.
func lengthOf(field []byte, left int) int {
	length := int(binary.BigEndian.Uint16(field))
	if length == 0 && left > 0xffff {
		return left
	}
	return length
}

// hasSourceRoute walks options as Linux does. An option of a bad length ends the
// walk, for Linux refuses the packet; a source route is one whatever its length.
func hasSourceRoute(options []byte) bool {
	const end, nop, loose, strict = 0, 1, 131, 137
	for len(options) > 0 {
		switch options[0] {
		case end:
			return false
		case loose, strict:
			return true
		case nop:
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return false
		}
		options = options[options[1]:]
	}
	return false
}

func (p *Packet) readIPv6(b []byte) Reason {
	if len(b) < 40 || b[0]>>4 != 6 {
		return Malformed
	}
	p.Source, p.Destination = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	length, next := lengthOf(b[4:], len(b)-40), b[6]
	if b = b[40:]; length > len(b) {
		return Malformed
	}
	return p.readExtensions(b[:length], next)
}

func isExtension(next byte) bool {
	switch next {
	case hopByHop, routing, fragment, ah, destination:
		return true
	}
	return false
}

func (p *Packet) readExtensions(b []byte, next byte) Reason {
	routed, isFragment, first := false, false, true
	for depth := 0; isExtension(next) && !isFragment; depth++ {
		if depth == maxExtensions {
			return TooDeep
		}
		if len(b) < 8 {
			return Malformed
		}
		size := (int(b[1]) + 1) * 8
		switch next {
		case routing:
			routed = true
		case ah:
			size = (int(b[1]) + 2) * 4
		case fragment:
			field := binary.BigEndian.Uint16(b[2:])
			isFragment, first = field&0xfff9 != 0, field&0xfff8 == 0
			size = 8
		}
		if len(b) < size {
			return Malformed
		}
		next, b = b[0], b[size:]
	}
	p.Protocol = int(next)
	if routed && (next == ipip || next == ipv6) {
		return Tunnel
	}
	if isFragment && isExtension(next) {
		return Fragment
	}
	return p.readUpper(b, isFragment, first)
}

// readUpper reads what IP carries: b is as much as the IP lengths leave.
func (p *Packet) readUpper(b []byte, isFragment, first bool) Reason {
	switch {
	case p.Protocol == tcp && isFragment:
		return Fragment
	case p.Protocol != tcp && p.Protocol != udp, p.Protocol == udp && !first:
		return OtherProtocol
	case len(b) < 4:
		return Malformed
	}
	p.FirstFragment = isFragment
	p.SourcePort, p.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if p.Protocol == tcp && len(b) >= 14 {
		p.HasFlags, p.Flags = true, b[13]
	}
	return ""
}
