package e2e

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps"
)

// scenario is a way in that is not one odd packet. Bare Linux opens
// it for an unlisted source.
type scenario struct {
	name string
	// prepare builds it, before the daemon starts, and returns the attempt of an
	// unlisted source, which reports whether a connection opened.
	prepare func(h *openHost) (opens func() bool)
	// through are the configurations that let it in, by design.
	through []string
	reason  maps.Reason // of the drop in scope syn
	flags   []string
}

// configurations of the daemon; "bare" is none at all.
var configurations = []struct {
	name  string
	flags []string
}{
	{"bare", nil},
	{"syn", []string{"--drop", "syn", "--backstop=off"}},
	{"stray", []string{"--drop", "stray", "--backstop=off"}},
	{"strict", []string{"--drop", "strict", "--backstop=off"}},
	{"backstop alone", []string{"--interface", "eth0", "--interface", "spare"}},
	{"default", nil},
}

// Where XDP on eth0 cannot see, and so the backstop has to: every scope without it.
var withoutBackstop = []string{"syn", "stray", "strict"}

// Promise: with the backstop on, which is the default, nothing from an unlisted source
// opens a connection in this namespace, from any interface and by any of the known
// ways round XDP. Where a configuration without it does, the test says so.
func TestScenarios(t *testing.T) {
	for _, s := range []scenario{
		{name: "S01 second NIC", prepare: secondNIC, through: withoutBackstop},
		{name: "S02 VXLAN", prepare: vxlan, through: []string{"syn", "stray"}},
		{name: "S03 nft redirect", prepare: redirect, through: withoutBackstop},
		// Documented: a container behind DNAT is another namespace's socket, which
		// our backstop never sees. Protect the published port.
		{
			name: "S04 DNAT to a container", prepare: container,
			through: []string{"syn", "stray", "strict", "backstop alone", "default"},
		},
		{
			name: "S04 DNAT, published port protected", prepare: container,
			through: []string{"backstop alone"}, flags: []string{"--port", "8443", "--port", "9999"},
		},
		{name: "S08 SYN cookie", prepare: cookie, through: []string{"syn"}},
		{name: "S14 SRv6 to the end", prepare: segmentRouted(0), reason: maps.NotListed},
		{name: "S14 SRv6 a segment left", prepare: segmentRouted(1), reason: maps.NotListed},
		{name: "S14 SRv6 with IPv6 inside", prepare: encapsulated(netlab.Unlisted6), reason: maps.Tunnel},
		{name: "S14 SRv6 with IPv6 inside, from a faked listed source", prepare: encapsulated(netlab.Listed6), reason: maps.Tunnel},
		{name: "S15 route_localnet", prepare: routeLocalnet("127.0.0.1"), reason: maps.NotListed},
		{name: "S15 route_localnet, any loopback", prepare: routeLocalnet("127.9.9.9"), reason: maps.NotListed},
		{name: "S16 source route", prepare: sourceRouted(netlab.Unlisted4), reason: maps.SourceRoute},
		// The SYN-ACK goes where the route says. The backstop cannot see routes.
		{
			name: "S16 source route from a faked listed source", prepare: sourceRouted(netlab.Listed4),
			through: []string{"backstop alone"}, reason: maps.SourceRoute,
		},
		{name: "S18 source port 0", prepare: portZero(netlab.Unlisted4), reason: maps.SourcePortZero},
		// Barred by XDP; accept() fails on it, so that no connection comes of it.
		{
			name: "S18 source port 0 of a listed source", prepare: portZero(netlab.Listed4),
			through: []string{"backstop alone"}, reason: maps.SourcePortZero,
		},
		{name: "S28 MP_JOIN", prepare: join, reason: maps.NotListed},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range configurations {
				t.Run(c.name, func(t *testing.T) {
					h := newOpenHost(t)
					opens := s.prepare(h)
					if c.name != "bare" {
						h.guard(c.name, slices.Concat(c.flags, s.flags))
					}
					want := c.name == "bare" || slices.Contains(s.through, c.name)
					got := opens()
					// What opens may need another try on a busy machine, while
					// neighbours are being found; what does not is asked once.
					for try := 0; want && !got && try < 5; try++ {
						got = opens()
					}
					if got != want {
						t.Errorf("an unlisted source opens a connection: %t, want %t", got, want)
					}
					if !want && h.packets("xdp", "drop")+h.packets("backstop", "drop") == 0 {
						t.Error("nothing counted what was refused")
					}
					if s.reason != 0 && c.name == "syn" && h.packets("xdp", "drop", s.reason.String()) == 0 {
						t.Errorf("no drop counted for %s", s.reason)
					}
					labtest.Expect(t, h.lab.Wire, netlab.Listed4, h.api4(), netlab.Connected)
					labtest.Expect(t, h.lab.Wire, netlab.Listed6, h.api6(), netlab.Connected)
				})
			}
		})
	}
}

// guard starts the daemon; for the backstop alone it takes XDP off again.
func (h *openHost) guard(configuration string, flags []string) {
	h.tb.Helper()
	alone := configuration == "backstop alone"
	if alone { // detaching the last interface would end the backstop too
		labtest.Must(h.lab.AddLink("spare"))(h.tb)
	}
	h.run(slices.Concat(allowed, flags)...)
	if alone {
		h.must("detach", "--interface", "eth0", "--yes")
	}
}

// answers reports whether the wire's eth0 sees a SYN-ACK for client after frame was
// sent over a link.
func (h *openHost) answers(wire *tap, link *netlab.Link, frame []byte, client netip.AddrPort) bool {
	h.tb.Helper()
	if err := link.Send(frame); err != nil {
		h.tb.Fatal(err)
	}
	return within(200*time.Millisecond, func() bool { return wire.saw(client) })
}

// within reports whether something happens in a time.
func within(limit time.Duration, happened func() bool) bool {
	for deadline := time.Now().Add(limit); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// opensTo knocks with a real client. A knock that fails in any other way is no answer
// to the question.
func (h *openHost) opensTo(local netip.Addr, remote netip.AddrPort) bool {
	h.tb.Helper()
	outcome, err := h.lab.Wire.Knock(local, remote, 500*time.Millisecond)
	if err != nil {
		h.tb.Fatal(err)
	}
	return outcome == netlab.Connected
}

// nft loads rules in the host.
func (h *openHost) nft(rules string) {
	h.tb.Helper()
	out, err := labtest.Command(context.Background(), h.lab.Host, "nft", rules).CombinedOutput()
	if err != nil {
		h.tb.Fatalf("nft: %v\n%s", err, out)
	}
}

// join is a subflow of a listed client's connection from an address that is not listed:
// it is a SYN like any other. Clients with several addresses list all of them.
func join(h *openHost) func() bool {
	wire := listenIn(h.tb, h.lab.Wire, "eth0")
	client := netip.AddrPortFrom(netlab.Unlisted4, 4000)
	frame := labtest.Must(labtest.Segment{
		SrcMAC: h.link().WireMAC, DstMAC: h.link().HostMAC, Src: client, Dst: h.api4(), Flags: labtest.SYN, Seq: 1,
		Options: []layers.TCPOption{{OptionType: 30, OptionLength: 12, OptionData: []byte{0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8}}},
	}.Frame())(h.tb)
	return func() bool { return h.answers(wire, h.link(), frame, client) }
}

// portZero is a SYN from port 0. Linux answers, and then accept() fails.
func portZero(source netip.Addr) func(*openHost) func() bool {
	return func(h *openHost) func() bool {
		wire := listenIn(h.tb, h.lab.Wire, "eth0")
		client := netip.AddrPortFrom(source, 0)
		frame := labtest.Must(h.link().SYN(client, h.api4()))(h.tb)
		return func() bool { return h.answers(wire, h.link(), frame, client) }
	}
}

// cookie gets a SYN cookie before the filter is there, and spends it afterwards: a
// connection begins with an ACK.
func cookie(h *openHost) func() bool {
	sysctl(h.tb, h.lab.Host, "ipv4/tcp_syncookies", "2")
	wire := listenIn(h.tb, h.lab.Wire, "eth0")
	// Nobody's address: the wire's own stack would answer the SYN-ACK with RST.
	client := netip.MustParseAddrPort("192.0.2.77:4000")
	if !h.answers(wire, h.link(), labtest.Must(h.link().SYN(client, h.api4()))(h.tb), client) {
		h.tb.Fatal("no SYN cookie")
	}
	ack := labtest.Must(labtest.Segment{
		SrcMAC: h.link().WireMAC, DstMAC: h.link().HostMAC, Src: client, Dst: h.api4(),
		Flags: labtest.ACK, Seq: 2, Ack: wire.answerTo(client).sequence + 1,
	}.Frame())(h.tb)
	return func() bool {
		if err := h.link().Send(ack); err != nil {
			h.tb.Fatal(err)
		}
		return within(200*time.Millisecond, func() bool {
			_, accepted := h.accepted.Load(client)
			return accepted
		})
	}
}
