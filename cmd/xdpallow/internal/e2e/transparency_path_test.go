package e2e

// This file is what the path does to a client's packets: frames of 9000 bytes, a router
// that cannot pass what it is given, fragments and priority tags.

import (
	"bytes"
	be "encoding/binary" // the package has a variable binary
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

func pathActions() (actions []action) {
	for _, c := range []struct{ near, far, odd netip.Addr }{
		{netlab.Listed4, distant4, netip.MustParseAddr("203.0.113.99")},
		{netlab.Listed6, distant6, netip.MustParseAddr("2001:db8:a::99")},
	} {
		named := func(name string, do func(s *scene) (string, error)) {
			actions = append(actions, action{fmt.Sprintf("%s from %s", name, c.near), do})
		}
		named("MTU 9000", func(s *scene) (string, error) { return s.jumbo(c.near) })
		named("a path that narrows", func(s *scene) (string, error) { return s.tooBig(c.far) })
		named("a fragmented datagram to the protected port", func(s *scene) (string, error) {
			return echoBig(s.lab.Wire, c.near, s.apiOf(c.near))
		})
		fragment := fragment4
		if c.near.Is6() {
			fragment = fragment6
		}
		named("a fragmented SYN", func(s *scene) (string, error) { return s.syn(netip.AddrPortFrom(c.odd, 4000), fragment) })
		named("a SYN with a priority tag", func(s *scene) (string, error) { return s.syn(netip.AddrPortFrom(c.odd, 4001), prioritise) })
	}
	return actions
}

// jumbo transfers in frames of 9000 bytes.
func (s *scene) jumbo(client netip.Addr) (seen string, err error) {
	mtu := func(bytes int) error {
		return errors.Join(labtest.SetMTU(s.lab.Host, "eth0", bytes), labtest.SetMTU(s.lab.Wire, "eth0", bytes))
	}
	if err := mtu(9000); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, mtu(1500)) }()
	before, err := s.lab.Host.Statistics("eth0")
	if err != nil {
		return "", err
	}
	if seen, err = s.post(s.browser(s.lab.Wire, client, true, nil), s.apiOf(client), content); err != nil {
		return "", err
	}
	after, err := s.lab.Host.Statistics("eth0")
	frame := (after.RxBytes - before.RxBytes) / max(1, after.RxPackets-before.RxPackets)
	return fmt.Sprintf("%s, in large frames: %v", seen, frame > 3000), err
}

// tooBig transfers to a client behind a router that cannot pass full frames. Without
// its ICMP errors the transfer would hang.
func (s *scene) tooBig(client netip.Addr) (seen string, err error) {
	counter := "Icmp:InDestUnreachs"
	if client.Is6() {
		counter = "Icmp6InPktTooBigs"
	}
	before, err := s.lab.Host.Counter(counter)
	if err != nil {
		return "", err
	}
	if seen, err = s.post(s.browser(s.distant, client, true, nil), s.apiOf(client), content); err != nil {
		return "", err
	}
	after, err := s.lab.Host.Counter(counter)
	return fmt.Sprintf("%s, told to send less: %v", seen, after > before), err
}

// syn sends a SYN as what shape makes of it, and looks for the answer on the wire.
func (s *scene) syn(from netip.AddrPort, shape func(frame []byte) [][]byte) (seen string, err error) {
	frame, err := labtest.Segment{
		SrcMAC: s.link().WireMAC, DstMAC: s.link().HostMAC, Flags: labtest.SYN, Seq: 1, Payload: make([]byte, 20),
		Src: from, Dst: s.apiOf(from.Addr()),
	}.Frame()
	if err != nil {
		return "", err
	}
	tap := listenIn(s.tb, s.lab.Wire, "eth0")
	if err := s.link().Send(shape(frame)...); err != nil {
		return "", err
	}
	if !within(2*time.Second, func() bool { return tap.saw(from) }) {
		return "", errors.New("no SYN-ACK")
	}
	return "SYN-ACK", nil
}

// prioritise gives a frame an 802.1Q tag of priority 5 and no VLAN.
func prioritise(frame []byte) [][]byte {
	return [][]byte{slices.Concat(frame[:12], []byte{0x81, 0, 5 << 5, 0}, frame[12:])}
}

// firstPiece is how much of TCP the first fragment carries, in bytes: IPv6 wants all of
// the header there.
const firstPiece = 24

// fragment4 cuts an IPv4 frame without options in two.
func fragment4(frame []byte) [][]byte {
	const header = 14 + 20
	segment := frame[header : 14+int(be.BigEndian.Uint16(frame[16:]))]
	piece := func(offset uint16, payload []byte) []byte {
		b := append(bytes.Clone(frame[:header]), payload...)
		ip := b[14:header]
		be.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
		be.BigEndian.PutUint16(ip[4:], 7)
		be.BigEndian.PutUint16(ip[6:], offset)
		be.BigEndian.PutUint16(ip[10:], 0)
		var sum uint32
		for i := 0; i < len(ip); i += 2 {
			sum += uint32(be.BigEndian.Uint16(ip[i:]))
		}
		sum = sum>>16 + sum&0xffff
		be.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
		return b
	}
	const more = 0x2000
	return [][]byte{piece(more, segment[:firstPiece]), piece(firstPiece/8, segment[firstPiece:])}
}

// fragment6 cuts an IPv6 frame without extension headers in two.
func fragment6(frame []byte) [][]byte {
	const header = 14 + 40
	segment := frame[header : header+int(be.BigEndian.Uint16(frame[18:]))]
	piece := func(offset uint16, payload []byte) []byte {
		b := bytes.Clone(frame[:header])
		be.BigEndian.PutUint16(b[18:], uint16(8+len(payload)))
		b[20] = unix.IPPROTO_FRAGMENT
		b = append(b, unix.IPPROTO_TCP, 0)
		b = be.BigEndian.AppendUint16(b, offset)
		return append(append(b, 0, 0, 0, 7), payload...)
	}
	return [][]byte{piece(1, segment[:firstPiece]), piece(firstPiece, segment[firstPiece:])}
}
