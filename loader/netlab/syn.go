// This file makes the first frame of a connection, which no socket has to wait for.

package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// SYN returns an ordinary SYN (with an MSS option) as the wire would send it to
// the host over this link: an Ethernet frame of 60 bytes or more, with good
// checksums. Addresses of two families are an error.
func (k *Link) SYN(src, dst netip.AddrPort) ([]byte, error) {
	const ip, tcpLength = 14, 24
	from, to := src.Addr(), dst.Addr()
	frame := slices.Concat(k.HostMAC, k.WireMAC)
	switch {
	case from.Is4() && to.Is4():
		frame = append(frame, 0x08, 0x00, 0x45, 0, 0, 20+tcpLength, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0)
	case from.Is6() && to.Is6():
		frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, tcpLength, unix.IPPROTO_TCP, 64)
	default:
		return nil, fmt.Errorf("build SYN: %s and %s are not of one family", from, to)
	}
	addresses := len(frame)
	frame = slices.Concat(frame, from.AsSlice(), to.AsSlice())
	tcp := len(frame)
	frame = binary.BigEndian.AppendUint16(frame, src.Port())
	frame = binary.BigEndian.AppendUint16(frame, dst.Port())
	frame = append(frame,
		0, 0, 0, 1, 0, 0, 0, 0, // sequence, acknowledged
		tcpLength/4<<4, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, // SYN, window, checksum, urgent
		2, 4, 0x05, 0xb4, // MSS 1460
	)
	if from.Is4() {
		binary.BigEndian.PutUint16(frame[ipChecksum4:], checksum(sum(frame[ip:tcp])))
	}
	binary.BigEndian.PutUint16(frame[tcp+16:], checksum(sum(frame[addresses:])+unix.IPPROTO_TCP+tcpLength))
	return append(frame, make([]byte, max(0, 60-len(frame)))...), nil
}

// sum adds up 16-bit words in network byte order.
func sum(b []byte) (total uint32) {
	for ; len(b) > 1; b = b[2:] {
		total += uint32(binary.BigEndian.Uint16(b))
	}
	return total
}

// checksum is the Internet checksum of words that have this sum.
func checksum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
