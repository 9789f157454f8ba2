// This file makes the segment: a SYN, whatever else it may be.
package disguise

import "encoding/binary"

const (
	fin = 1 << iota
	syn
	rst
	psh
	_
	urg
	ece
	cwr
)

const protocolTCP = 6

// segment makes a SYN of at least shortest bytes and at most longest.
func (s *sketch) segment(shortest, longest int) []byte {
	var options []byte
	if s.is(Data, 40) {
		options = s.tcpOptions()
	}
	length := 0
	if s.kind.Class == Data && s.often(70) || s.often(15) {
		length = s.between(1, 200)
		if s.often(20) {
			length = longest
		}
	}
	length = min(max(length, shortest-20-len(options)), longest-20-len(options))
	flags, reserved := s.flags()
	if length > 0 {
		s.note("data %d", length)
	}
	return s.assemble(flags, reserved, options, s.bytes(length))
}

// assemble makes the segment; options fill whole words.
func (s *sketch) assemble(flags, reserved byte, options, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, s.source.Port())
	b = binary.BigEndian.AppendUint16(b, s.target.Port)
	b = binary.BigEndian.AppendUint32(b, s.Uint32())
	b = binary.BigEndian.AppendUint32(b, s.Uint32()) // no ACK: says nothing
	b = append(b, byte(5+len(options)/4)<<4|reserved, flags)
	b = append(b, s.bytes(2)...) // window
	b = append(b, 0, 0)          // checksum
	b = append(b, s.bytes(2)...) // urgent pointer
	b = append(append(b, options...), data...)
	binary.BigEndian.PutUint16(b[16:], s.checksum(b))
	return b
}

// checksum is that of TCP, over the pseudo header of the final destination.
func (s *sketch) checksum(segment []byte) uint16 {
	pseudo := append(s.source.Addr().AsSlice(), s.destination.AsSlice()...)
	return ^sum(segment, sum(pseudo, uint32(protocolTCP+len(segment))))
}

// sum adds the words of b to a one's complement sum.
func sum[T uint16 | uint32](b []byte, start T) uint16 {
	total := uint64(start)
	for ; len(b) > 1; b = b[2:] {
		total += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// flags returns SYN with company but ACK, and the four bits before the flags byte.
func (s *sketch) flags() (flags, reserved byte) {
	flags = syn
	if !s.is(Flags, 15) {
		return flags, 0
	}
	for _, bit := range []byte{psh, urg, ece, cwr} {
		if s.often(50) {
			flags |= bit
		}
	}
	if s.often(50) {
		reserved = byte(s.IntN(16))
	}
	if s.often(3) { // Linux ignores SYN with FIN, and with RST
		flags |= pick(s, []byte{fin, rst})
	}
	s.note("flags %#x%02x", reserved, flags)
	return flags, reserved
}

// tcpOptions are at most 40 bytes, in whole words.
func (s *sketch) tcpOptions() []byte {
	if s.often(30) {
		s.note("usual TCP options")
		return s.usual()
	}
	var b []byte
	for range s.between(1, 8) {
		option := s.tcpOption()
		if len(b)+len(option) > 40 {
			break
		}
		b = append(b, option...)
	}
	if s.often(10) && len(b) < 40 { // what follows the end is nothing
		b = append(append(b, 0), s.bytes(39-len(b))...)
	}
	for len(b)%4 != 0 {
		b = append(b, byte(s.IntN(2)))
	}
	s.note("TCP options %x", b)
	return b
}

func (s *sketch) tcpOption() []byte {
	switch s.IntN(12) {
	case 0:
		return append([]byte{2, 4}, s.bytes(2)...) // MSS
	case 1:
		return []byte{3, 3, byte(s.IntN(256))} // window scale
	case 2:
		return []byte{4, 2} // SACK permitted
	case 3:
		return append([]byte{8, 10}, s.bytes(8)...) // timestamps
	case 4:
		return []byte{34, 2} // a cookie for Fast Open, please
	case 5:
		n := 2 * s.between(2, 8)
		return append([]byte{34, byte(2 + n)}, s.bytes(n)...) // Fast Open with a cookie
	case 6:
		return append([]byte{254, 12, 0xf9, 0x89}, s.bytes(8)...) // Fast Open of old
	case 7:
		return []byte{30, 4, 0x01, 0x81} // MP_CAPABLE
	case 8:
		return append([]byte{30, 12, 0x10, byte(s.IntN(256))}, s.bytes(8)...) // MP_JOIN
	case 9:
		n := s.between(0, 12)
		return append([]byte{byte(s.between(180, 250)), byte(2 + n)}, s.bytes(n)...)
	case 10:
		if s.often(20) { // a bad length: older kernels read no further, and open
			return []byte{byte(s.between(60, 180)), byte(s.IntN(2))}
		}
	}
	return []byte{1}
}

// usual are the options of a client as there are many.
func (s *sketch) usual() []byte {
	stamp := append([]byte{8, 10}, s.bytes(4)...)
	stamp = append(stamp, 0, 0, 0, 0)
	mss := []byte{2, 4, 0x05, 0xb4}
	switch s.IntN(4) {
	case 0: // Linux
		return append(append(append(mss, 4, 2), stamp...), 1, 3, 3, 7)
	case 1: // Windows
		return append(mss, 1, 3, 3, 8, 1, 1, 4, 2)
	case 2: // macOS
		return append(append(append(mss, 1, 3, 3, 6, 1, 1), stamp...), 4, 2, 0, 0)
	}
	return mss
}
