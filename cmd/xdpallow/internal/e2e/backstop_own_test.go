package e2e

// This file is about what the backstop takes for the host itself: its own addresses on
// the interfaces that have them, and not a stranger who uses one of them elsewhere.

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// bothPorts protects the port for TCP and UDP.
var bothPorts = []string{"--port", "8443", "--port", "udp/8443"}

// zoned gives a link-local address the index of an interface as its zone: a name would be
// looked up in the namespace of the test.
func zoned(tb testing.TB, ns *netlab.Namespace, addr netip.Addr, ifname string) netip.Addr {
	tb.Helper()
	return addr.WithZone(fmt.Sprint(labtest.Must(ns.Index(ifname))(tb)))
}

// Promise (0 leaks, UDP too): a link-local address is one machine's on each link. A
// stranger on another link who has the address that the host has on eth0 is a stranger:
// on an interface that nobody guards, and inside a tunnel that the host ends.
func TestLinkLocalTwin(t *testing.T) {
	for _, c := range []struct {
		device string
		make   func(h *openHost)
	}{
		{"eth1", func(h *openHost) { labtest.Must(h.lab.AddLink("eth1"))(h.tb) }},
		{"vx0", func(h *openHost) { vxlan(h) }},
	} {
		t.Run(c.device, func(t *testing.T) {
			t.Parallel()
			h := newOpenHost(t)
			c.make(h)
			twin := h.linkLocal("eth0").WithZone("")
			if err := h.lab.Wire.AddAddr(c.device, netip.PrefixFrom(twin, 64)); err != nil {
				t.Fatal(err)
			}
			stranger := zoned(t, h.lab.Wire, twin, c.device)
			server := h.linkLocal(c.device)
			h.echo(server)
			there := netip.AddrPortFrom(zoned(t, h.lab.Wire, server.WithZone(""), c.device), port)
			h.eventually("bare Linux lets the twin in", func() bool {
				outcome, _ := h.lab.Wire.Knock(stranger, there, time.Second)
				return outcome == netlab.Connected && h.echoed(stranger, there)
			})
			h.run(append(bothPorts, allowed...)...)
			labtest.Expect(t, h.lab.Wire, stranger, there, netlab.Refused)
			if h.echoed(stranger, there) {
				t.Error("a datagram of the twin is answered")
			}
			if h.packets("backstop", "drop", "not_listed", "ipv6") < 2 {
				t.Error("the backstop did not count what it refused")
			}
			// The host itself, by the very addresses.
			for _, own := range []netip.Addr{h.linkLocal("eth0"), server} {
				for _, network := range []string{"tcp", "udp"} {
					if own != server && network == "udp" {
						continue // nobody echoes there
					}
					if err := h.talk(network, localClient{remote: own}); err != nil {
						t.Errorf("the host itself by %s over %s: %v", own, network, err)
					}
				}
			}
		})
	}
}

// Promise (0 leaks): an address that the host does not use is not its own. One that is
// still being tested for a duplicate, and one that turned out to be one, are of whoever
// has them; the first becomes the host's as soon as the test is over.
func TestTentativeAddressesAreNotOwn(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	taken := netip.MustParseAddr("fd80:0:0:1::77")
	tested := netlab.Unlisted6
	if err := b.lab.Wire.AddAddr("eth1", netip.PrefixFrom(taken, 64)); err != nil {
		t.Fatal(err)
	}
	sysctl(t, b.lab.Host, "ipv6/conf/all/accept_dad", "1")
	sysctl(t, b.lab.Host, "ipv6/conf/eth1/accept_dad", "1")
	device := labtest.Must(b.lab.Host.Netlink().LinkByName("eth1"))(t)
	sysctl(t, b.lab.Host, "ipv6/conf/eth1/optimistic_dad", "1")
	sysctl(t, b.lab.Host, "ipv6/conf/eth1/use_optimistic", "1")
	add := func(addr netip.Addr, bits int, probes string, flags int) {
		t.Helper()
		sysctl(t, b.lab.Host, "ipv6/conf/eth1/dad_transmits", probes)
		a := &netlink.Addr{IPNet: labtest.Must(netlink.ParseIPNet(netip.PrefixFrom(addr, bits).String()))(t), Flags: flags}
		if err := b.lab.Host.Netlink().AddrAdd(device, a); err != nil {
			t.Fatal(err)
		}
	}
	flags := func(addr netip.Addr) (flags int) {
		for _, a := range labtest.Must(b.lab.Host.Netlink().AddrList(device, unix.AF_INET6))(t) {
			if a.IP.Equal(addr.AsSlice()) {
				flags = a.Flags
			}
		}
		return flags
	}
	add(taken, 64, "1", 0)
	b.eventually("the duplicate is found", func() bool { return flags(taken)&unix.IFA_F_DADFAILED != 0 })
	add(tested, 128, "600", 0) // ten minutes
	if flags(tested)&unix.IFA_F_TENTATIVE == 0 {
		t.Fatalf("flags %#x: the address is not tentative", flags(tested))
	}
	there := netip.AddrPortFrom(b.second.Host6, port)
	for _, stranger := range []netip.Addr{taken, tested} {
		// Or the host would never find whom it has tested for.
		if err := b.lab.Host.AddNeighbour("eth1", stranger, b.second.WireMAC); err != nil {
			t.Fatal(err)
		}
		labtest.Expect(t, b.lab.Wire, stranger, there, netlab.Connected)
	}
	b.run(allowed...)
	for _, stranger := range []netip.Addr{taken, tested} {
		labtest.Expect(t, b.lab.Wire, stranger, there, netlab.Refused)
	}

	// Far sooner than everything is looked at anyway, which is every 30 seconds.
	late := netip.MustParseAddr("fd80:0:0:1::88")
	add(late, 64, "1", 0)
	b.eventually("the test of the late address ends well", func() bool { return flags(late)&unix.IFA_F_TENTATIVE == 0 })
	b.eventually("the late address is the host's own", func() bool {
		outcome, _ := b.lab.Host.Knock(late, there, time.Second)
		return outcome == netlab.Connected
	})

	// RFC 4429: used while the test goes on.
	optimistic := netip.MustParseAddr("fd80:0:0:1::99")
	add(optimistic, 64, "600", unix.IFA_F_OPTIMISTIC)
	if want := unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC; flags(optimistic)&want != want {
		t.Fatalf("flags %#x: the address is not optimistic", flags(optimistic))
	}
	b.eventually("the optimistic address is the host's own", func() bool {
		outcome, _ := b.lab.Host.Knock(optimistic, there, time.Second)
		return outcome == netlab.Connected
	})
}

// Promise: an address that the host gives away is no longer its own. Documented: without a
// daemon nobody tells the backstop.
func TestAddressThatMoved(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	there := netip.AddrPortFrom(b.second.Host4, port)
	kept := netip.MustParseAddr("10.80.1.66")
	device := labtest.Must(b.lab.Host.Netlink().LinkByName("eth1"))(t)
	move := func(address string) (addr netip.Addr) {
		t.Helper()
		a := labtest.Must(netlink.ParseAddr(address + "/24"))(t)
		b.check(b.lab.Host.Netlink().AddrDel(device, a))
		addr = netip.MustParseAddr(address)
		b.check(errors.Join(b.lab.Wire.AddAddr("eth1", netip.PrefixFrom(addr, 24)), b.lab.Host.AddNeighbour("eth1", addr, b.second.WireMAC)))
		return addr
	}
	for _, addr := range []string{"10.80.1.66", "10.80.1.67", "10.80.1.68"} {
		b.check(b.lab.Host.AddAddr("eth1", netip.PrefixFrom(netip.MustParseAddr(addr), 24)))
	}
	d := b.run(allowed...)
	moved := move("10.80.1.67")
	b.eventually("the address that moved is refused", func() bool {
		outcome, _ := b.lab.Wire.Knock(moved, there, time.Second)
		return outcome == netlab.Refused
	})
	d.kill()
	moved = move("10.80.1.68")
	labtest.Expect(t, b.lab.Wire, moved, there, netlab.Connected)
	b.run(allowed...)
	labtest.Expect(t, b.lab.Wire, moved, there, netlab.Refused)
	labtest.Expect(t, b.lab.Host, kept, there, netlab.Connected)
}

// Promise (0 leaks): who sends from an address of the host gets no connection of it, also
// where Linux was told to take such packets: the answer stays in the host. A datagram
// needs no answer, and nothing at the socket lookup tells it from the host's own; README
// says so. A guarded interface drops it.
func TestOwnAddressFromOutside(t *testing.T) {
	t.Parallel()
	h := newOpenHost(t)
	second := labtest.Must(h.lab.AddLink("eth1"))(t)
	for _, key := range []string{"all", "eth0", "eth1"} {
		sysctl(t, h.lab.Host, "ipv4/conf/"+key+"/accept_local", "1")
		sysctl(t, h.lab.Host, "ipv4/conf/"+key+"/route_localnet", "1")
	}
	h.run(append(bothPorts, allowed...)...)
	wires := []*tap{listenIn(t, h.lab.Wire, "eth0"), listenIn(t, h.lab.Wire, "eth1")}
	for i, pair := range [][2]netip.Addr{
		{h.link().Host4, second.Host4},
		{second.Host4, second.Host4},
		{netip.MustParseAddr("127.0.0.1"), second.Host4},
		{h.link().Host6, second.Host6},
		{second.Host6, second.Host6},
	} {
		client := netip.AddrPortFrom(pair[0], uint16(4000+i))
		frame := labtest.Must(second.SYN(client, netip.AddrPortFrom(pair[1], port)))(t)
		if err := second.Send(frame); err != nil {
			t.Fatal(err)
		}
		if within(200*time.Millisecond, func() bool { return wires[0].saw(client) || wires[1].saw(client) }) {
			t.Errorf("%s from outside is answered there", client)
		}
		if _, accepted := h.accepted.Load(client); accepted {
			t.Errorf("%s from outside has a connection", client)
		}
	}
	for _, c := range []struct {
		fake, server netip.Addr
		taken        bool
	}{{second.Host6, h.link().Host6, false}, {h.link().Host6, second.Host6, true}} {
		server := labtest.Must(labtest.ListenPacket(h.lab.Host, "udp", netip.AddrPortFrom(c.server, port).String()))(t)
		defer server.Close()
		client := labtest.Must(h.lab.Wire.DialContext(t.Context(), "udp", c.fake, server.LocalAddr().String()))(t)
		defer client.Close()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		_ = server.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if _, _, err := server.ReadFrom(make([]byte, 64)); (err == nil) != c.taken {
			t.Errorf("a datagram to %s with the faked source %s: %v, want it taken: %t", c.server, c.fake, err, c.taken)
		}
	}
}
