// This file puts a segment into IPv4: options, fragments, and fields that nobody reads.
package disguise

import "encoding/binary"

const (
	evil = 0x8000
	dont = 0x4000
	more = 0x2000
)

// mtu is the longest packet that the wire takes.
const mtu = 1500

// ipv4 makes the packets of a case, in the order of sending.
func (s *sketch) ipv4() [][]byte {
	var options []byte
	if s.is(Options, 10) {
		options = s.ipv4Options()
	}
	header := s.ipv4Header(options)
	if !s.is(Fragments, 3) {
		return [][]byte{withIPv4(header, 0, s.segment(20, mtu-len(header)-64))}
	}
	var packets [][]byte
	for _, piece := range s.split(s.segment(20, 1200), 8) {
		field := uint16(piece.offset / 8)
		if piece.more {
			field |= more
		}
		packets = append(packets, withIPv4(header, field, piece.data))
	}
	return s.shuffle(packets)
}

// ipv4Header makes a header without length, fragment field and checksum.
func (s *sketch) ipv4Header(options []byte) []byte {
	field := uint16(0)
	if s.often(40) {
		field |= dont
	}
	if s.often(5) {
		field |= evil
		s.note("evil bit")
	}
	b := []byte{byte(0x45 + len(options)/4), byte(s.IntN(256)), 0, 0}
	b = append(b, s.bytes(2)...)
	b = binary.BigEndian.AppendUint16(b, field)
	b = append(b, byte(s.between(1, 255)), protocolTCP, 0, 0)
	b = append(b, s.source.Addr().AsSlice()...)
	b = append(b, s.destination.AsSlice()...)
	return append(b, options...)
}

func withIPv4(header []byte, field uint16, data []byte) []byte {
	b := append(append([]byte(nil), header...), data...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	field |= binary.BigEndian.Uint16(b[6:])
	binary.BigEndian.PutUint16(b[6:], field)
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:len(header)], uint32(0)))
	return b
}

// WithOptions returns an untagged IPv4 frame without options with these, which fill
// whole words.
func WithOptions(frame, options []byte) []byte {
	ethernet, ip := frame[:14], frame[14:]
	length := binary.BigEndian.Uint16(ip[2:])
	header := append(append([]byte(nil), ip[:20]...), options...)
	header[0] += byte(len(options) / 4)
	header[10], header[11] = 0, 0
	return append(append([]byte(nil), ethernet...), withIPv4(header, 0, ip[20:length])...)
}

// ipv4Options are at most 40 bytes, in whole words. Linux takes each kind once.
func (s *sketch) ipv4Options() []byte {
	var b []byte
	makers := []func() []byte{s.recordRoute, s.timestamp, s.routerAlert, s.sourceRoute, s.noOperation, s.unknownOption}
	s.Shuffle(len(makers), func(i, j int) { makers[i], makers[j] = makers[j], makers[i] })
	for _, maker := range makers[:s.between(1, len(makers))] {
		barred := s.barred
		option := maker()
		if len(b)+len(option) > 40 {
			s.barred = barred
			continue
		}
		b = append(b, option...)
	}
	if s.often(20) && len(b) < 36 { // what follows the end is nothing, source routes too
		b = append(b, 0, 131, 7, 4)
		b = append(b, s.bytes(s.between(0, 40-len(b)))...)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	if s.often(3) && len(b) > 0 {
		b[s.IntN(len(b))] ^= 1 << s.IntN(8)
		s.barred = true // or perhaps not: nobody may rely on it
		s.note("one bit of the options flipped")
	}
	s.note("IP options %x", b)
	return b
}

func (s *sketch) noOperation() []byte { return []byte{1, 1, 1}[:s.between(1, 3)] }
func (s *sketch) routerAlert() []byte { return []byte{148, 4, 0, 0} }

func (s *sketch) unknownOption() []byte {
	n := s.between(0, 6)
	return append([]byte{pick(s, []byte{130, 136, 222, 94, 25}), byte(2 + n)}, s.bytes(n)...)
}

// recordRoute has room for some hops, or is full.
func (s *sketch) recordRoute() []byte {
	n := s.between(1, 5)
	b := append([]byte{7, byte(3 + 4*n), byte(4 + 4*s.between(0, n))}, make([]byte, 4*n)...)
	return b
}

func (s *sketch) timestamp() []byte {
	if s.often(50) { // times only
		n := s.between(1, 4)
		return append([]byte{68, byte(4 + 4*n), byte(5 + 4*s.between(0, n)), byte(s.IntN(15) << 4)}, make([]byte, 4*n)...)
	}
	n := s.between(1, 3) // with addresses
	return append([]byte{68, byte(4 + 8*n), byte(5 + 8*s.between(0, n)), byte(s.IntN(15)<<4 | 1)}, make([]byte, 8*n)...)
}

// sourceRoute is loose or strict, used up or with hops left: to the host itself, which
// Linux passes through at once, or back to the source.
func (s *sketch) sourceRoute() []byte {
	s.barred = true
	n := s.between(1, 4)
	b := []byte{pick(s, []byte{131, 137}), byte(3 + 4*n), 0}
	left := s.between(0, n)
	b[2] = byte(4 + 4*(n-left))
	for range n - left {
		b = append(b, s.source.Addr().AsSlice()...)
	}
	for range left {
		b = append(b, s.destination.AsSlice()...)
	}
	if left > 0 && s.often(40) {
		copy(b[len(b)-4:], s.source.Addr().AsSlice())
	}
	s.note("source route with %d hops left", left)
	return b
}
