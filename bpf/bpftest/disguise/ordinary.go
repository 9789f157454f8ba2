// This file makes what an ordinary client sends: the other half of the oracle, because
// a filter that drops everything leaks nothing.
package disguise

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// Ordinary makes a SYN as clients send it: usual options, Fast Open, ECN, data.
func (t Target) Ordinary(r *rand.Rand, source netip.Addr) Case {
	s := t.sketch(r, Kind{Data, source.Is6()}, source)
	s.source = netip.AddrPortFrom(source, uint16(s.between(1024, 65535)))
	s.note("ordinary")
	flags := byte(syn)
	if s.often(30) {
		flags |= ece | cwr
		s.note("ECN")
	}
	options, data := s.usual(), []byte(nil)
	if s.often(30) {
		option := []byte{34, 2, 1, 1}
		if s.often(50) {
			option = append([]byte{34, 10}, s.bytes(8)...)
			option = append(option, 1, 1)
			data = s.bytes(s.between(1, 500))
		}
		options = append(options, option...)
		s.note("Fast Open")
	}
	segment := s.assemble(flags, 0, options, data)
	frame := append(append([]byte(nil), t.HostMAC...), t.WireMAC...)
	if s.kind.IPv6 {
		header := []byte{0x60, 0, 0, 0, 0, 0, 0, byte(s.between(32, 128))}
		header = append(append(header, source.AsSlice()...), s.destination.AsSlice()...)
		frame = append(binary.BigEndian.AppendUint16(frame, 0x86dd), withIPv6(header, protocolTCP, segment)...)
	} else {
		header := []byte{0x45, 0, 0, 0, byte(s.IntN(256)), byte(s.IntN(256)), dont >> 8, 0, byte(s.between(32, 128)), protocolTCP, 0, 0}
		header = append(append(header, source.AsSlice()...), s.destination.AsSlice()...)
		frame = append(binary.BigEndian.AppendUint16(frame, 0x0800), withIPv4(header, 0, segment)...)
	}
	if len(frame) < 60 {
		frame = append(frame, make([]byte, 60-len(frame))...)
	}
	return s.finish([][]byte{frame})
}
