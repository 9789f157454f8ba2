// This file puts packets into Ethernet frames: tags, addresses, and bytes that the
// packet's own length cuts off.
package disguise

import "encoding/binary"

// filterTags is how many tags the filter looks through; a packet with more is too_deep.
const filterTags = 4

const longestFrame = 14 + mtu

func (s *sketch) frames(packets [][]byte) [][]byte {
	frames := make([][]byte, len(packets))
	most := 0
	if s.kind.Class == Tags {
		most = 6
	} else if s.often(10) {
		most = 2
	}
	for i, packet := range packets {
		frame := s.ethernet()
		if most > 0 {
			frame = s.tag(frame, s.between(1, most), len(packet))
		}
		typ := uint16(0x0800)
		if s.kind.IPv6 {
			typ = 0x86dd
		}
		frame = append(binary.BigEndian.AppendUint16(frame, typ), packet...)
		frames[i] = s.trail(frame)
	}
	return frames
}

// ethernet makes the two addresses.
func (s *sketch) ethernet() []byte {
	to, from := s.target.HostMAC, s.target.WireMAC
	if s.often(20) {
		from = append([]byte{2}, s.bytes(5)...)
	}
	if s.often(1) { // for somebody else, or for all
		to = pick(s, [][]byte{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}, {1, 0, 0x5e, 0, 0, 1}, {2, 1, 2, 3, 4, 5}})
		s.note("to %s", to)
	}
	return append(append([]byte(nil), to...), from...)
}

// tag appends n tags of either kind, most of them with VID 0, as far as they fit.
func (s *sketch) tag(frame []byte, n, packet int) []byte {
	tags := 0
	for ; tags < n && len(frame)+4+2+packet <= longestFrame; tags++ {
		control := uint16(s.IntN(16)) << 12 // priority and drop eligibility
		if s.often(1) {
			control |= uint16(s.between(1, 4095))
			s.note("VID %d", control&0xfff)
		}
		frame = binary.BigEndian.AppendUint16(frame, pick(s, []uint16{0x8100, 0x88a8}))
		frame = binary.BigEndian.AppendUint16(frame, control)
	}
	s.barred = s.barred || tags > filterTags
	s.note("%d tags", tags)
	return frame
}

// trail pads as a card does, with zeros or with what was in memory.
func (s *sketch) trail(frame []byte) []byte {
	if s.often(60) && len(frame) < 60 {
		frame = append(frame, make([]byte, 60-len(frame))...)
	}
	if s.is(Data, 10) && s.often(40) {
		n := min(s.between(1, 64), longestFrame-len(frame))
		frame = append(frame, s.bytes(max(n, 0))...)
		s.note("%d bytes behind", n)
	}
	return frame
}
