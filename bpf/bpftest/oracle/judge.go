// This file judges a packet that has been read, by the rules that need the policy: ports,
// scopes, what opens a connection, tunnels, and who is listed.
package oracle

import (
	"bytes"
	"net/netip"
	"slices"
)

// judge returns the reason and the service that the packet belongs to, 0 for none.
func (p Policy) judge(packet Packet) (Reason, int) {
	switch packet.Finding {
	case "":
		return p.judgePorts(packet)
	case NotIP:
		return p.judgeLink(packet), 0
	case OtherProtocol:
		return p.judgeProtocol(packet), 0
	case Tunnel:
		if !p.Backstop {
			return Tunnel, 0 // nobody judges what is inside, and the outer source may be faked
		}
	}
	if packet.SourceRoute && packet.Protocol == tcp {
		return SourceRoute, 0 // it might be to a protected port
	}
	return p.portless(packet, packet.Finding), 0
}

// portless is why, unless the source is listed for some service.
func (p Policy) portless(packet Packet, why Reason) Reason {
	if p.lookup(packet.Source, anyService) == Listed {
		return Listed
	}
	return why
}

// judgeLink judges what is not IP. It has no source, so strict lets nothing through
// that a bridge or a neighbour does not need.
func (p Policy) judgeLink(packet Packet) Reason {
	const (
		arp, lldp, lacp, eapol, ptp   = 0x0806, 0x88cc, 0x8809, 0x888e, 0x88f7
		mpls, mplsUp, session, macsec = 0x8847, 0x8848, 0x8864, 0x88e5
	)
	if p.scope(0) != Strict {
		return NotIP
	}
	switch packet.EtherType {
	case arp, lldp, lacp, eapol, ptp:
		return NotIP
	case mpls, mplsUp, session, macsec:
		return Tunnel // to whatever MAC, as IP is judged to whatever MAC
	}
	if packet.LinkLocal || packet.EtherType < 0x600 && isNeighbourly(packet.Link) {
		return NotIP
	}
	return Unknown
}

// isNeighbourly reports whether what is behind a length of IEEE 802.3 is spanning tree,
// IS-IS or ES-IS (each by the protocol that it names, since the same addresses can carry
// IP), or of Cisco's own. SNAP of anybody else's can carry any ethertype.
func isNeighbourly(link []byte) bool {
	for _, start := range [][]byte{
		{0x42, 0x42, 3, 0}, {0xfe, 0xfe, 3, 0x83}, {0xfe, 0xfe, 3, 0x82}, {0xaa, 0xaa, 3, 0, 0, 0x0c},
	} {
		if len(link) >= 6 && bytes.HasPrefix(link, start) {
			return true
		}
	}
	return false
}

// judgeProtocol judges what is neither TCP nor a datagram with its ports.
func (p Policy) judgeProtocol(packet Packet) Reason {
	const igmp, gre, esp, none, ospf, pim, mplsInIP = 2, 47, 50, 59, 89, 103, 137
	if p.scope(0) != Strict {
		return OtherProtocol
	}
	protocol := packet.Protocol
	if packet.Family == IPv4 && protocol == ah {
		if packet.LaterFragment {
			return OtherProtocol // nothing without its first
		}
		if protocol = packet.Authenticated; protocol == udp {
			return p.portless(packet, Unknown)
		}
	}
	switch protocol {
	case udp, esp, ospf, pim, vrrp: // udp: not its first fragment
		return OtherProtocol
	case icmp, igmp:
		if packet.Family == IPv4 {
			return OtherProtocol
		}
	case icmp6, none:
		if packet.Family == IPv6 {
			return OtherProtocol
		}
	case ipip, ipv6, gre, mplsInIP:
		return p.portless(packet, Tunnel)
	}
	return p.portless(packet, Unknown)
}

func (p Policy) judgePorts(packet Packet) (Reason, int) {
	service := p.service(packet.Port, packet.Protocol)
	switch {
	case service == 0 && packet.Protocol == udp:
		return p.judgeOtherDatagram(packet)
	case service == 0:
		return OtherPort, 0
	case packet.SourceRoute:
		return SourceRoute, service
	case packet.Protocol == udp:
		return p.lookup(packet.Source, service), service
	case packet.SourcePort == 0:
		return SourcePortZero, service
	case !packet.HasFlags:
		return p.portless(packet, Malformed), 0
	}
	return p.judgeSegment(packet, service), service
}

// judgeOtherDatagram judges a datagram to a port that is not protected for UDP.
func (p Policy) judgeOtherDatagram(packet Packet) (Reason, int) {
	tunnels := []uint16{4789, 8472, 6081, 6080, 3544} // VXLAN twice, GENEVE, GUE, Teredo
	if service := p.service(packet.Port, tcp); service != 0 && p.scope(service) == Strict {
		return p.lookup(packet.Source, service), service
	}
	if p.scope(0) != Strict {
		return OtherPort, 0
	}
	if slices.Contains(tunnels, packet.Port) {
		return p.portless(packet, Tunnel), 0
	}
	if packet.FirstFragment {
		return OtherProtocol, 0
	}
	return OtherPort, 0
}

func (p Policy) judgeSegment(packet Packet, service int) Reason {
	const syn, rst, ack = 0x02, 0x04, 0x10
	scope := p.scope(service)
	if packet.Flags&(syn|ack) == syn {
		return p.lookup(packet.Source, service)
	}
	scan := packet.Flags&(syn|ack|rst) == 0 // of no connection: every segment of one has ACK or RST
	if scope == SYN && !scan {
		return NotOpening
	}
	if p.lookup(packet.Source, service) == Listed {
		return Listed
	}
	if scope != StrayScope {
		return NotListed
	}
	if scan {
		return Stray
	}
	remote := netip.AddrPortFrom(packet.Source, packet.SourcePort)
	local := netip.AddrPortFrom(packet.Destination, packet.Port)
	if p.Socket != nil && p.Socket(remote, local) {
		return NotOpening
	}
	// No listener of the oracle's is seen, so a socket may be bound where we do not look.
	if p.Backstop {
		return NotOpening
	}
	return Stray
}
