package e2e

// This file is what neighbours say on the link, and how one sees that the host got it.

import (
	"bytes"
	be "encoding/binary" // the package has a variable binary
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// linkTap reads the frames that an interface takes in, behind XDP.
type linkTap struct{ fd int }

func openTap(ns *netlab.Namespace, ifname string) (t linkTap, err error) {
	index, err := ns.Index(ifname)
	if err != nil {
		return t, err
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	err = ns.Do(func() (err error) {
		if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}),
		)
	})
	return t, err
}

// send puts a frame on the link, and waits while the other end has no room. Unlike
// netlab's it does not mind what other senders lose.
func (t linkTap) send(frame []byte) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		_, err := unix.Write(t.fd, frame)
		if !errors.Is(err, unix.ENOBUFS) || time.Now().After(deadline) {
			return err
		}
	}
}

func (t linkTap) close() { unix.Close(t.fd) }

// saw reports whether a frame that matches came in since the tap was opened, or does
// within two seconds.
func (t linkTap) saw(match func(frame []byte) bool) bool {
	frame := make([]byte, 1<<16)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(t.fd, frame, 0)
		if err == nil && match(frame[:n]) {
			return true
		}
	}
	return false
}

// frame puts layers into a frame of at least 60 bytes, with lengths and checksums.
func frame(parts ...gopacket.SerializableLayer) ([]byte, error) {
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...)
	b := buffer.Bytes()
	return append(b, make([]byte, max(0, 60-len(b)))...), err
}

// saying is one frame of a neighbour.
type saying struct {
	name   string
	frame  []byte
	answer func(frame []byte) bool // what the host says to it; nil is nothing
}

// neighbourActions send what a neighbour says, see that it passes XDP, and that the
// host answers if it should.
func neighbourActions(s *scene) (actions []action) {
	for _, n := range s.sayings() {
		actions = append(actions, action{n.name, func(s *scene) (string, error) { return s.say(n) }})
	}
	for _, protocol := range []layers.IPProtocol{layers.IPProtocolVRRP, layers.IPProtocolIGMP} {
		actions = append(actions, action{fmt.Sprintf("%v to a program of the host", protocol), func(s *scene) (string, error) {
			return s.rawSocket(protocol)
		}})
	}
	return actions
}

func (s *scene) say(n saying) (seen string, err error) {
	inside, err := openTap(s.lab.Host, "eth0")
	if err != nil {
		return "", err
	}
	defer inside.close()
	outside, err := openTap(s.lab.Wire, "eth0")
	if err != nil {
		return "", err
	}
	defer outside.close()
	if err := s.link().Send(n.frame); err != nil {
		return "", err
	}
	if !inside.saw(func(frame []byte) bool { return bytes.Equal(frame, n.frame) }) {
		return "", errors.New("not delivered")
	}
	if n.answer == nil {
		return "delivered", nil
	}
	if !outside.saw(n.answer) {
		return "", errors.New("not answered")
	}
	return "answered", nil
}

// rawSocket has a program of the host receive a protocol: keepalived, a multicast
// router.
func (s *scene) rawSocket(protocol layers.IPProtocol) (seen string, err error) {
	conn, err := labtest.ListenPacket(s.lab.Host, fmt.Sprintf("ip4:%d", protocol), "0.0.0.0")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	said := []byte("a protocol that the kernel does not read")
	b, err := frame(s.ethernet(nil, layers.EthernetTypeIPv4), s.ipv4(s.link().Host4, protocol), gopacket.Payload(said))
	if err == nil {
		err = s.link().Send(b)
	}
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(2 * time.Second))
	}
	if err != nil {
		return "", err
	}
	got := make([]byte, 1<<10)
	n, from, err := conn.ReadFrom(got)
	if err == nil && !bytes.Equal(got[:n], said) {
		err = fmt.Errorf("received %x", got[:n])
	}
	return fmt.Sprintf("received from %v", from), err
}

// ethernet is a header from the wire, to the host if no address is given.
func (s *scene) ethernet(to net.HardwareAddr, ethertype layers.EthernetType) *layers.Ethernet {
	if to == nil {
		to = s.link().HostMAC
	}
	return &layers.Ethernet{SrcMAC: s.link().WireMAC, DstMAC: to, EthernetType: ethertype}
}

func (s *scene) ipv4(to netip.Addr, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 255, Protocol: protocol, SrcIP: s.link().Wire4.AsSlice(), DstIP: to.AsSlice()}
}

func (s *scene) ipv6(to netip.Addr, protocol layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: protocol, SrcIP: s.link().Wire6.AsSlice(), DstIP: to.AsSlice()}
}

// sayings are one frame of each protocol that must pass in every scope.
func (s *scene) sayings() (list []saying) {
	s.tb.Helper()
	add := func(name string, answer func([]byte) bool, parts ...gopacket.SerializableLayer) {
		b, err := frame(parts...)
		if err != nil {
			s.tb.Fatalf("%s: %v", name, err)
		}
		list = append(list, saying{name, b, answer})
	}
	k := s.link()
	add("ARP", func(b []byte) bool { return be.BigEndian.Uint16(b[12:]) == unix.ETH_P_ARP && b[21] == layers.ARPReply },
		s.ethernet(layers.EthernetBroadcast, layers.EthernetTypeARP), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: k.WireMAC, SourceProtAddress: k.Wire4.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: k.Host4.AsSlice(),
		})
	neighbours := s.ipv6(netip.MustParseAddr("ff02::1:ff00:1"), layers.IPProtocolICMPv6)
	solicitation := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := solicitation.SetNetworkLayerForChecksum(neighbours); err != nil {
		s.tb.Fatal(err)
	}
	icmp6 := func(kind byte) func([]byte) bool {
		return func(b []byte) bool { return len(b) > 54 && b[20] == unix.IPPROTO_ICMPV6 && b[54] == kind }
	}
	add("neighbour discovery", icmp6(layers.ICMPv6TypeNeighborAdvertisement),
		s.ethernet(net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}, layers.EthernetTypeIPv6), neighbours, solicitation,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: k.Host6.AsSlice(), Options: layers.ICMPv6Options{
			{Type: layers.ICMPv6OptSourceAddress, Data: k.WireMAC},
		}})
	ping4 := s.ipv4(k.Host4, layers.IPProtocolICMPv4)
	ping4.SrcIP = netlab.Unlisted4.AsSlice()
	add("ping", func(b []byte) bool { return len(b) > 34 && b[12] == 8 && b[23] == unix.IPPROTO_ICMP && b[34] == 0 },
		s.ethernet(nil, layers.EthernetTypeIPv4), ping4,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1})
	ping6 := s.ipv6(k.Host6, layers.IPProtocolICMPv6)
	ping6.SrcIP = netlab.Unlisted6.AsSlice()
	echo := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	if err := echo.SetNetworkLayerForChecksum(ping6); err != nil {
		s.tb.Fatal(err)
	}
	add("ping IPv6", icmp6(layers.ICMPv6TypeEchoReply),
		s.ethernet(nil, layers.EthernetTypeIPv6), ping6, echo, &layers.ICMPv6Echo{Identifier: 1, SeqNumber: 1})
	for _, p := range []struct {
		protocol layers.IPProtocol
		group    string
		mac      net.HardwareAddr
	}{
		{layers.IPProtocolVRRP, "224.0.0.18", net.HardwareAddr{1, 0, 0x5e, 0, 0, 18}},
		{layers.IPProtocolVRRP, "ff02::12", net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0x12}},
		{layers.IPProtocolIGMP, "224.0.0.1", net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}},
		{layers.IPProtocolOSPF, "224.0.0.5", net.HardwareAddr{1, 0, 0x5e, 0, 0, 5}},
		{layers.IPProtocolOSPF, "ff02::5", net.HardwareAddr{0x33, 0x33, 0, 0, 0, 5}},
		{unix.IPPROTO_PIM, "224.0.0.13", net.HardwareAddr{1, 0, 0x5e, 0, 0, 13}},
		{layers.IPProtocolESP, "10.80.0.1", nil},
		{layers.IPProtocolESP, "fd80::1", nil},
		{layers.IPProtocolNoNextHeader, "fd80::1", nil},
	} {
		to, said := netip.MustParseAddr(p.group), gopacket.Payload("some bytes of a protocol")
		if to.Is4() {
			add(fmt.Sprintf("protocol %d to %s", p.protocol, to), nil, s.ethernet(p.mac, layers.EthernetTypeIPv4), s.ipv4(to, p.protocol), said)
		} else {
			add(fmt.Sprintf("protocol %d to %s", p.protocol, to), nil, s.ethernet(p.mac, layers.EthernetTypeIPv6), s.ipv6(to, p.protocol), said)
		}
	}
	for _, p := range []struct {
		protocol layers.IPProtocol
		group    string
		mac      net.HardwareAddr
	}{
		{layers.IPProtocolVRRP, "224.0.0.18", net.HardwareAddr{1, 0, 0x5e, 0, 0, 18}},
		{layers.IPProtocolOSPF, "224.0.0.5", net.HardwareAddr{1, 0, 0x5e, 0, 0, 5}},
	} {
		add(fmt.Sprintf("protocol %d in an authentication header", p.protocol), nil,
			s.ethernet(p.mac, layers.EthernetTypeIPv4), s.ipv4(netip.MustParseAddr(p.group), layers.IPProtocolAH),
			gopacket.Payload(append([]byte{byte(p.protocol), 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, make([]byte, 12+20)...)))
	}
	for name, l := range map[string]struct {
		mac net.HardwareAddr
		llc []byte
	}{
		"IS-IS":            {net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, 0x15}, []byte{0xfe, 0xfe, 3, 0x83}},
		"ES-IS":            {net.HardwareAddr{0x09, 0, 0x2b, 0, 0, 5}, []byte{0xfe, 0xfe, 3, 0x82}},
		"PVST+":            {net.HardwareAddr{0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd}, []byte{0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b}},
		"CDP":              {net.HardwareAddr{0x01, 0, 0x0c, 0xcc, 0xcc, 0xcc}, []byte{0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0}},
		"STP of providers": {net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, 8}, []byte{0x42, 0x42, 3, 0}},
	} {
		add(name, nil, &layers.Ethernet{SrcMAC: k.WireMAC, DstMAC: l.mac, EthernetType: layers.EthernetTypeLLC, Length: 46},
			gopacket.Payload(append(l.llc, make([]byte, 46-len(l.llc))...)))
	}
	bridges := net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, 0}
	for name, ethertype := range map[string]layers.EthernetType{
		"LLDP": layers.EthernetTypeLinkLayerDiscovery, "LACP": 0x8809, "EAPOL": layers.EthernetTypeEAPOL, "PTP": 0x88f7,
	} {
		add(name, nil, s.ethernet(nil, ethertype), gopacket.Payload("some bytes of a protocol"))
	}
	add("STP", nil, &layers.Ethernet{SrcMAC: k.WireMAC, DstMAC: bridges, EthernetType: layers.EthernetTypeLLC, Length: 38},
		gopacket.Payload(append([]byte{0x42, 0x42, 3}, make([]byte, 43)...)))
	return list
}
