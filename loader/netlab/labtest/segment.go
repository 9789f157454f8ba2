// This file builds TCP segments as frames, for what no socket would send.

package labtest

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Flags are the flags of a TCP header, with the bits where they are on the wire.
type Flags uint8

const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Segment is one TCP segment over IPv4 or IPv6, as its addresses say.
type Segment struct {
	SrcMAC, DstMAC net.HardwareAddr
	Src, Dst       netip.AddrPort
	Flags          Flags
	Seq, Ack       uint32
	Options        []layers.TCPOption
	Payload        []byte
}

// Frame returns the Ethernet frame, padded to 60 bytes and with good checksums.
// Addresses of two families, or a wrong MAC, are errors.
func (s Segment) Frame() ([]byte, error) {
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.Src.Port()), DstPort: layers.TCPPort(s.Dst.Port()),
		Seq: s.Seq, Ack: s.Ack, Window: 64240, Options: s.Options,
		FIN: s.Flags&FIN != 0, SYN: s.Flags&SYN != 0, RST: s.Flags&RST != 0, PSH: s.Flags&PSH != 0,
		ACK: s.Flags&ACK != 0, URG: s.Flags&URG != 0, ECE: s.Flags&ECE != 0, CWR: s.Flags&CWR != 0,
	}
	ethernet := &layers.Ethernet{SrcMAC: s.SrcMAC, DstMAC: s.DstMAC}
	var network interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	switch src, dst := s.Src.Addr(), s.Dst.Addr(); {
	case src.Is4() && dst.Is4():
		ethernet.EthernetType = layers.EthernetTypeIPv4
		network = &layers.IPv4{
			Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
	case src.Is6() && dst.Is6():
		ethernet.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
	default:
		return nil, fmt.Errorf("build segment: %s and %s are not of one family", src, dst)
	}
	if err := tcp.SetNetworkLayerForChecksum(network); err != nil {
		return nil, fmt.Errorf("build segment: %w", err)
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(buffer, options, ethernet, network, tcp, gopacket.Payload(s.Payload))
	if err != nil {
		return nil, fmt.Errorf("build segment: %w", err)
	}
	return buffer.Bytes(), nil
}
