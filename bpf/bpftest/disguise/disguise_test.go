package disguise

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var target = Target{
	HostMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, WireMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Port: 8443,
	Addrs4: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	Addrs6: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
}

func source(kind Kind) netip.Addr {
	if kind.IPv6 {
		return netip.MustParseAddr("2001:db8:1::1")
	}
	return netip.MustParseAddr("198.51.100.1")
}

// A failing case is found again by its seed, and no frame is longer than a link takes.
func TestSameSeedSameCases(t *testing.T) {
	write := func() (cases []Case) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 5000 {
			kind := Kinds[i%len(Kinds)]
			cases = append(cases, target.Disguise(r, kind, source(kind)))
		}
		return cases
	}
	cases := write()
	again := write()
	for i, c := range cases {
		if c.String() != again[i].String() {
			t.Fatalf("%s\nand the same seed makes %s", c, again[i])
		}
		for _, frame := range c.Frames {
			if len(frame) > longestFrame {
				t.Fatalf("a frame of %d bytes: %s", len(frame), c)
			}
		}
	}
}

// An ordinary SYN is one for another reader too: a SYN without ACK, from its source to
// the port.
func TestOrdinary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		from := source(Kind{IPv6: i%2 == 0})
		c := target.Ordinary(r, from)
		packet := gopacket.NewPacket(c.Frames[0], layers.LayerTypeEthernet, gopacket.Default)
		if failed := packet.ErrorLayer(); failed != nil {
			t.Fatalf("%v: %s", failed.Error(), c)
		}
		tcp, ok := packet.TransportLayer().(*layers.TCP)
		if !ok || !tcp.SYN || tcp.ACK || tcp.DstPort != 8443 || uint16(tcp.SrcPort) != c.Source.Port() {
			t.Fatalf("not a SYN to the port: %s", c)
		}
		if got := packet.NetworkLayer().NetworkFlow().Src().String(); got != from.String() {
			t.Fatalf("from %s, want %s", got, from)
		}
	}
}
