package loader

// This file asks the program of an interface about a source that opens a connection.

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
)

// AskOpening returns what an attached interface's program decides when source opens port, by a
// SYN or, if not tcp, by a datagram. Nothing is sent or counted.
func (g *Gate) AskOpening(name string, source netip.Addr, tcp bool, port uint16) (maps.Answer, error) {
	return g.Ask(name, opening(source, tcp, port))
}

// opening returns the smallest Ethernet frame by which source opens port. The filter reads no
// checksum and no destination address, so neither is set.
func opening(source netip.Addr, tcp bool, port uint16) []byte {
	const ethernet, tcpHeader, udpHeader, syn = 14, 20, 8, 0x02
	transport := make([]byte, udpHeader)
	protocol := byte(unix.IPPROTO_UDP)
	if tcp {
		transport = make([]byte, tcpHeader)
		transport[12], transport[13] = tcpHeader/4<<4, syn
		protocol = unix.IPPROTO_TCP
	}
	binary.BigEndian.PutUint16(transport[0:], 40000)
	binary.BigEndian.PutUint16(transport[2:], port)

	frame := make([]byte, ethernet)
	if source.Is4() {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 4<<4|5, 64, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(transport)))
		copy(ip[12:], source.AsSlice())
		frame = append(frame, ip...)
	} else {
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IPV6)
		ip := make([]byte, 40)
		ip[0], ip[6], ip[7] = 6<<4, protocol, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(transport)))
		copy(ip[8:], source.AsSlice())
		frame = append(frame, ip...)
	}
	return append(frame, transport...)
}
