package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// localClient is a client on the host itself.
type localClient struct {
	name   string
	local  netip.Addr // the zero Addr leaves it to the kernel
	remote netip.Addr
	device string // bound to it
}

func (h *openHost) localClients() []localClient {
	h.tb.Helper()
	loopback4, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	own4, own6 := h.link().Host4, h.link().Host6
	other4, other6 := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")
	second4 := netip.MustParseAddr("10.80.0.9")
	if err := h.lab.Host.AddAddr("eth0", netip.PrefixFrom(second4, 24)); err != nil {
		h.tb.Fatal(err)
	}
	linkLocal := h.linkLocal("eth0")
	// Every address of these is the host's: lo has the first with a mask, and routes
	// lead the others there.
	masked4 := netip.MustParseAddr("10.66.0.1")
	if err := h.lab.Host.AddAddr("lo", netip.PrefixFrom(masked4, 24)); err != nil {
		h.tb.Fatal(err)
	}
	for _, prefix := range []string{"10.55.0.0/16", "fd55::/64"} {
		if out, err := labtest.Command(context.Background(), h.lab.Host, "ip", "route", "add", "local", prefix, "dev", "lo").CombinedOutput(); err != nil {
			h.tb.Fatalf("route %s to lo: %v\n%s", prefix, err, out)
		}
	}
	routed4, routed6 := netip.MustParseAddr("10.55.7.7"), netip.MustParseAddr("fd55::7")
	return []localClient{
		{"loopback v4", netip.Addr{}, loopback4, ""},
		{"another loopback v4", netip.MustParseAddr("127.0.0.2"), loopback4, ""},
		{"loopback v6", netip.Addr{}, loopback6, ""},
		{"own v4", netip.Addr{}, own4, ""},
		{"own v6", netip.Addr{}, own6, ""},
		{"link-local", netip.Addr{}, linkLocal, ""},
		{"own v4 from another", other4, own4, ""},
		{"own v6 from another", other6, own6, ""},
		{"own v6 from link-local", linkLocal, own6, ""},
		{"own v4 from loopback", loopback4, own4, ""},
		{"own v4 bound to the device", netip.Addr{}, own4, "eth0"},
		{"own v6 bound to the device", netip.Addr{}, own6, "eth0"},
		{"own v4 from another of the device, bound to it", second4, own4, "eth0"},
		{"own v4 from another loopback", netip.MustParseAddr("127.7.7.7"), own4, ""},
		{"routed v4", netip.Addr{}, routed4, ""},
		{"routed v4 from another", routed4.Next(), routed4, ""},
		{"loopback v4 from a routed one", routed4, loopback4, ""},
		{"v4 of lo from one of its mask", netip.MustParseAddr("10.66.0.99"), masked4, ""},
		{"v4 of lo from a routed one", routed4, other4, ""},
		{"routed v6", netip.Addr{}, routed6, ""},
		{"routed v6 from another", routed6.Next(), routed6, ""},
		{"loopback v6 from a routed one", routed6, loopback6, ""},
		{"v6 of lo from a routed one", routed6, other6, ""},
	}
}

// linkLocal returns the fe80 address of an interface, with its index as the zone: a
// name would be looked up in the namespace of the test.
func (h *openHost) linkLocal(ifname string) netip.Addr {
	h.tb.Helper()
	nl := h.lab.Host.Netlink()
	link, err := nl.LinkByName(ifname)
	if err != nil {
		h.tb.Fatal(err)
	}
	addrs, err := nl.AddrList(link, unix.AF_INET6)
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && addr.IsLinkLocalUnicast() {
			return addr.WithZone(fmt.Sprint(link.Attrs().Index))
		}
	}
	h.tb.Fatalf("%s has no link-local address", ifname)
	return netip.Addr{}
}

// echo answers datagrams to the protected port of an address.
func (h *openHost) echo(addr netip.Addr) {
	h.tb.Helper()
	conn := labtest.Must(labtest.ListenPacket(h.lab.Host, "udp", netip.AddrPortFrom(addr, port).String()))(h.tb)
	h.tb.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from) // a client that is gone does not read it
		}
	}()
}

// talk has the client reach the protected port and get an answer.
func (h *openHost) talk(network string, c localClient) error {
	dialer := net.Dialer{Timeout: time.Second}
	if c.device != "" {
		dialer.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			bind := func(fd uintptr) { err = unix.BindToDevice(int(fd), c.device) }
			if failed := raw.Control(bind); failed != nil {
				return failed
			}
			return err
		}
	}
	from := netip.AddrPortFrom(c.local, 0)
	if c.local.IsValid() && network == "tcp" {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(from)
	} else if c.local.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(from)
	}
	var conn net.Conn
	if err := h.lab.Host.Do(func() (err error) {
		conn, err = dialer.DialContext(context.Background(), network, netip.AddrPortFrom(c.remote, port).String())
		return err
	}); err != nil {
		return err
	}
	defer conn.Close()
	if network == "tcp" {
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 64))
	return err
}

// Promise: a host that talks to itself is not a stranger. Health checks of every
// shape pass the backstop, TCP and UDP, in every scope, and are not counted; the same
// ports stay shut for the wire.
func TestLocalClients(t *testing.T) {
	for _, scope := range []string{"bare", "syn", "strict"} {
		t.Run(scope, func(t *testing.T) {
			h := newOpenHost(t)
			clients := h.localClients()
			served := map[netip.Addr]bool{}
			for _, c := range clients {
				if !served[c.remote] {
					h.echo(c.remote)
				}
				served[c.remote] = true
			}
			if scope != "bare" {
				h.run(append([]string{"--port", "8443", "--port", "udp/8443", "--drop", scope}, allowed...)...)
			}
			for _, c := range clients {
				for _, network := range []string{"tcp", "udp"} {
					if err := h.talk(network, c); err != nil {
						t.Errorf("%s over %s: %v", c.name, network, err)
					}
				}
			}
			if scope == "bare" {
				return
			}
			if counted := h.packets("backstop"); counted != 0 {
				t.Errorf("the backstop counted %d local packets", counted)
			}
			h.shutToTheWire()
			h.followsAddresses()
		})
	}
}

// shutToTheWire: XDP refuses on eth0, and on another link the backstop does.
func (h *openHost) shutToTheWire() {
	h.tb.Helper()
	second := labtest.Must(h.lab.AddLink("eth1"))(h.tb)
	h.eventually("the status names the interface that nobody guards", func() bool {
		return slices.Contains(h.status().Uncovered, "eth1")
	})
	h.echo(second.Host4)
	for _, way := range []struct {
		to   netip.Addr
		want netlab.Outcome
	}{{h.link().Host4, netlab.Dropped}, {second.Host4, netlab.Refused}} {
		to := netip.AddrPortFrom(way.to, port)
		labtest.Expect(h.tb, h.lab.Wire, netlab.Unlisted4, to, way.want)
		if h.echoed(netlab.Unlisted4, to) {
			h.tb.Errorf("a datagram of an unlisted source to %s is answered", to)
		}
		if !h.echoed(netlab.Listed4, to) {
			h.tb.Errorf("a datagram of a listed source to %s is not answered", to)
		}
	}
	if h.packets("backstop", "drop", "not_listed") == 0 {
		h.tb.Error("the backstop counted no drop")
	}
}

// echoed sends a datagram from the wire and reports whether it came back.
func (h *openHost) echoed(from netip.Addr, to netip.AddrPort) bool {
	h.tb.Helper()
	conn := labtest.Must(h.lab.Wire.DialContext(context.Background(), "udp", from, to.String()))(h.tb)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 64))
	return err == nil
}

// followsAddresses: an address that the host gets later is its own too.
func (h *openHost) followsAddresses() {
	h.tb.Helper()
	late := netip.MustParseAddr("10.99.0.99")
	if err := h.lab.Host.AddAddr("eth0", netip.PrefixFrom(late, 32)); err != nil {
		h.tb.Fatal(err)
	}
	c := localClient{"late", late, h.link().Host4, ""}
	h.eventually("an address added later is local", func() bool { return h.talk("tcp", c) == nil })
}
