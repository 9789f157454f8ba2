// This file puts a segment into IPv6: extension headers, fragments, and fields that
// nobody reads.
package disguise

import "encoding/binary"

const (
	hopByHop       = 0
	routing        = 43
	fragment       = 44
	authentication = 51
	destination    = 60
)

// extension is a header without its first byte, which names the next one.
type extension struct {
	number byte
	body   []byte
}

// ipv6 makes the packets of a case, in the order of sending.
func (s *sketch) ipv6() [][]byte {
	var chain []extension
	fragmented := s.is(Fragments, 3)
	if s.is(Headers, 12) {
		most := 12
		if s.kind.Class != Headers || fragmented {
			most = 3
		} else if s.often(10) {
			most = 24
		}
		chain = s.chain(s.between(1, most), !fragmented)
	}
	header := s.ipv6Header()
	if !fragmented {
		first, b := link(chain, protocolTCP)
		return [][]byte{withIPv6(header, first, append(b, s.segment(20, mtu-40-len(b)-64)...))}
	}
	return s.ipv6Fragments(header, chain)
}

// ipv6Fragments cuts behind the chain, or behind its beginning.
func (s *sketch) ipv6Fragments(header []byte, chain []extension) [][]byte {
	cut := len(chain)
	for cut > 1 && chain[cut-1].number == destination && s.often(50) {
		cut--
	}
	next, inside := link(chain[cut:], protocolTCP)
	// The first one must hold all headers, or Linux refuses it (RFC 8200).
	least := (len(inside) + 20 + 7) &^ 7
	if s.often(6) {
		least = 8
		s.note("tiny first fragment")
	}
	payload := append(inside, s.segment(24+8*s.IntN(5), 1000)...)
	id := s.bytes(4)
	var packets [][]byte
	for _, piece := range s.split(payload, least) {
		field := uint16(piece.offset)
		if piece.more {
			field |= 1
		}
		if s.often(10) {
			field |= uint16(2 * s.IntN(4)) // reserved, and ignored
		}
		named := next
		if piece.offset > 0 && s.often(10) {
			named = 17 // of no matter: the first fragment says it
			s.note("UDP says a later fragment")
		}
		body := append(binary.BigEndian.AppendUint16([]byte{byte(s.IntN(256))}, field), id...)
		outer, b := link(append(append([]extension(nil), chain[:cut]...), extension{fragment, body}), named)
		packets = append(packets, withIPv6(header, outer, append(b, piece.data...)))
	}
	return s.shuffle(packets)
}

// ipv6Header makes a header without length and next header.
func (s *sketch) ipv6Header() []byte {
	b := append([]byte{0x60 | byte(s.IntN(16))}, s.bytes(3)...)
	b = append(b, 0, 0, 0, byte(s.between(32, 255)))
	b = append(b, s.source.Addr().AsSlice()...)
	return append(b, s.destination.AsSlice()...)
}

func withIPv6(header []byte, next byte, payload []byte) []byte {
	b := append(append([]byte(nil), header...), payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6] = next
	return b
}

// link puts the headers in a row. It returns the number of the first.
func link(chain []extension, last byte) (first byte, b []byte) {
	first = last
	for i, e := range chain {
		next := last
		if i+1 < len(chain) {
			next = chain[i+1].number
		}
		if i == 0 {
			first = e.number
		}
		b = append(append(b, next), e.body...)
	}
	return first, b
}

// chain makes n headers; an atomic fragment, which Linux takes once, may be one.
func (s *sketch) chain(n int, atomic bool) []extension {
	var chain []extension
	for i := range n {
		e := s.extension(n)
		switch {
		case i == 0 && s.often(30):
			e = extension{hopByHop, s.tlv(n)}
		case atomic && s.often(20):
			atomic = false
			reserved := byte(2 * s.IntN(4))
			e = extension{fragment, append([]byte{byte(s.IntN(256)), 0, reserved}, s.bytes(4)...)}
		case s.often(1):
			e = s.spoilt()
		}
		chain = append(chain, e)
		s.note("%d:%x", e.number, e.body)
	}
	return chain
}

func (s *sketch) extension(depth int) extension {
	switch {
	case s.often(60):
		return extension{destination, s.tlv(depth)}
	case s.often(50):
		return extension{routing, s.segmentRouting(s.between(1, 2))}
	}
	// Of any other type Linux wants to know that no segment is left.
	n := s.between(0, 1)
	kind := byte(0)
	if s.often(60) {
		kind = byte(s.between(5, 255))
	}
	body := []byte{byte(2 * n), kind, 0}
	return extension{routing, append(append(body, s.bytes(4)...), s.bytes(16*n)...)}
}

// spoilt is what Linux as we know it refuses.
func (s *sketch) spoilt() extension {
	switch s.IntN(4) {
	case 0: // not without CONFIG_INET6_AH and a security association
		return extension{authentication, append([]byte{4}, s.bytes(22)...)}
	case 1: // only as the first header
		return extension{hopByHop, s.tlv(1)}
	case 2: // of mobile IPv6
		return extension{routing, append([]byte{2, 2, byte(s.IntN(2)), 0, 0, 0, 0}, s.destination.AsSlice()...)}
	}
	return extension{routing, append([]byte{2, 0, 1, 0, 0, 0, 0}, s.destination.AsSlice()...)}
}

// tlv is the body of a header of options: padding, and options that Linux skips
// because their number says so. The deeper the chain, the shorter.
func (s *sketch) tlv(depth int) []byte {
	words := s.between(0, 3)
	if depth > 8 {
		words = s.between(0, 1)
	}
	b := []byte{byte(words)}
	left := 6 + 8*words
	if left > 8 { // more padding in a row than 7 bytes is refused
		body := left - s.between(0, 5) - 2
		b = append(append(b, pick(s, []byte{0x1e, 0x3e, 0x0c, 0x26}), byte(body)), s.bytes(body)...)
		left -= body + 2
	}
	switch {
	case left == 1:
		b = append(b, 0)
	case left > 1:
		b = append(append(b, 1, byte(left-2)), make([]byte, left-2)...)
	}
	return b
}

// segmentRouting is a header of type 4 with n segments, all of them the host itself:
// done, or with segments left that lead through its own loopback.
func (s *sketch) segmentRouting(n int) []byte {
	b := append([]byte{byte(2 * n), 4, byte(s.IntN(n + 1)), byte(n - 1), 0}, s.bytes(2)...)
	if int(b[2]) == n {
		b[2] = byte(n - 1)
	}
	for range n {
		b = append(b, s.destination.AsSlice()...)
	}
	return b
}
