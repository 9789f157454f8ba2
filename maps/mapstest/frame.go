package mapstest

import (
	"encoding/binary"
	"net/netip"
)

// Frame describes an Ethernet frame; the zero values of all but Source and Port
// give an ordinary one. Numbers are in host byte order.
type Frame struct {
	Source     netip.Addr
	SourcePort uint16
	Port       uint16
	UDP        bool   // else TCP
	Flags      uint8  // of TCP
	Fragment   uint16 // offset in units of 8 bytes
	More       bool   // more fragments follow
	Options    []byte // of IPv4, a multiple of 4
	Payload    int    // bytes behind the transport header
	Tags       int    // of 802.1Q, all of VLAN 5
}

// TCP flags.
const (
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Opening is a SYN from source to port.
func Opening(source netip.Addr, port uint16) Frame {
	return Frame{Source: source, SourcePort: 40000, Port: port, Flags: SYN}
}

// Bytes is the frame on the wire, without checksums: the program reads none.
func (f Frame) Bytes() []byte {
	ethernet := make([]byte, 12, 128+f.Payload)
	for range f.Tags {
		ethernet = append(ethernet, 0x81, 0x00, 0, 5)
	}
	if f.Source.Is4() {
		return f.ipv4(append(ethernet, 0x08, 0x00))
	}
	return f.ipv6(append(ethernet, 0x86, 0xdd))
}

func (f Frame) ipv4(b []byte) []byte {
	fragment := f.Fragment
	if f.More {
		fragment |= 0x2000
	}
	rest := f.transport()
	header := 20 + len(f.Options)
	b = append(b, 0x40|uint8(header/4), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(header+len(rest)))
	b = append(b, 0, 1)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, 64, f.protocol(), 0, 0)
	b = append(b, f.Source.AsSlice()...)
	b = append(b, 198, 18, 0, 1)
	b = append(b, f.Options...)
	return append(b, rest...)
}

func (f Frame) ipv6(b []byte) []byte {
	const fragmentHeader = 44
	next, rest := f.protocol(), f.transport()
	if f.Fragment != 0 || f.More {
		fragment := f.Fragment << 3
		if f.More {
			fragment |= 1
		}
		header := binary.BigEndian.AppendUint16([]byte{next, 0}, fragment)
		next, rest = fragmentHeader, append(append(header, 0, 0, 0, 1), rest...)
	}
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	b = append(b, next, 64)
	b = append(b, f.Source.AsSlice()...)
	destination := netip.MustParseAddr("fd00::1").As16()
	b = append(b, destination[:]...)
	return append(b, rest...)
}

func (f Frame) protocol() uint8 {
	if f.UDP {
		return 17
	}
	return 6
}

func (f Frame) transport() []byte {
	b := binary.BigEndian.AppendUint16(nil, f.SourcePort)
	b = binary.BigEndian.AppendUint16(b, f.Port)
	if f.UDP {
		b = binary.BigEndian.AppendUint16(b, uint16(8+f.Payload))
		b = append(b, 0, 0)
	} else {
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, f.Flags, 0xff, 0xff, 0, 0, 0, 0)
	}
	return append(b, make([]byte, f.Payload)...)
}
