package e2e

// This file guards interfaces whose frames have no Ethernet header: what a program of the
// host (a VPN, say) writes to a tun device.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// tunnel joins host and wire by a tun device each, as a VPN does; the host's addresses in
// it are host4 and host6.
type tunnel struct{ host4, host6 netip.Addr }

func newTunnel(h *host, name string, clients ...netip.Prefix) tunnel {
	h.tb.Helper()
	t := tunnel{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}
	far4, far6 := netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("fd99::2")
	near, far := openTun(h.tb, h.lab.Host, name, 0), openTun(h.tb, h.lab.Wire, name, 0)
	pump := func(from, to *os.File) {
		packet := make([]byte, 1<<16)
		for {
			n, err := from.Read(packet)
			if err != nil {
				return // closed
			}
			_, _ = to.Write(packet[:n]) // the other end may be gone
		}
	}
	go pump(near, far)
	go pump(far, near)
	err := errors.Join(
		h.lab.Host.AddAddr(name, netip.PrefixFrom(t.host4, 24)), h.lab.Host.AddAddr(name, netip.PrefixFrom(t.host6, 64)),
		h.lab.Wire.AddAddr(name, netip.PrefixFrom(far4, 24)), h.lab.Wire.AddAddr(name, netip.PrefixFrom(far6, 64)),
		h.lab.Host.SetUp(name, true), h.lab.Wire.SetUp(name, true), h.lab.AddClients(clients...),
	)
	for _, p := range clients {
		via := far4
		if p.Addr().Is6() {
			via = far6
		}
		err = errors.Join(err, h.lab.Host.AddRoute(p, via, name, 1))
	}
	if err != nil {
		h.tb.Fatal(err)
	}
	return t
}

// openTun makes a tun device, of a link type of its own unless that is 0, for as long as
// the test lives.
func openTun(tb testing.TB, ns *netlab.Namespace, name string, linkType int) *os.File {
	tb.Helper()
	var file *os.File
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err == nil && linkType != 0 {
			err = unix.IoctlSetInt(fd, unix.TUNSETLINK, linkType)
		}
		file = os.NewFile(uintptr(fd), name) // now: before, there is nothing to wait for
		return err
	})
	if err != nil {
		tb.Fatalf("make tun %s: %v", name, err)
	}
	tb.Cleanup(func() { file.Close() })
	return file
}

// Promise: a tun device is guarded like any other: strangers are refused, listed clients
// and other ports served, and check says so. Frames there begin with the IP header: where an
// Ethernet header would have its type they have the source, of which some look like one.
func TestTunDevices(t *testing.T) {
	const other = port + 1
	prefixes := []netip.Prefix{netlab.UnlistedPrefix4, netlab.UnlistedPrefix6, netlab.ListedPrefix4, netlab.ListedPrefix6}
	for _, like := range []string{"8.0.0.0/16", "134.221.0.0/16", "2001:db8:800::/48", "2001:db8:86dd::/48"} {
		prefixes = append(prefixes, netip.MustParsePrefix(like))
	}
	listed := []string{"8.0.7.0/24", "134.221.7.0/24", "2001:db8:800:7::/64", "2001:db8:86dd:7::/64"}
	clients := map[netip.Addr]bool{ // which are listed
		netlab.Unlisted4: false, netlab.Unlisted6: false, netlab.Listed4: true, netlab.Listed6: true,
		netip.MustParseAddr("8.0.7.1"): true, netip.MustParseAddr("8.0.69.1"): false,
		netip.MustParseAddr("134.221.7.1"): true, netip.MustParseAddr("134.221.96.1"): false,
		netip.MustParseAddr("2001:db8:800:7::1"): true, netip.MustParseAddr("2001:db8:800:4500::1"): false,
		netip.MustParseAddr("2001:db8:86dd:7::1"): true, netip.MustParseAddr("2001:db8:86dd:6000::1"): false,
	}
	for _, scope := range []string{"syn", "stray", "strict"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			tun := newTunnel(h, "tun0", prefixes...)
			h.serve()
			labtest.Listen(t, h.lab.Host, fmt.Sprintf(":%d", other))
			h.run(append(alone, "--interface", "tun0", "--drop", scope, "--allow", strings.Join(listed, ","))...)
			if s := h.status(); !s.Enforcing || len(s.Problems) != 0 {
				t.Errorf("enforcing %t with problems %+v", s.Enforcing, s.Problems)
			}
			for client, isListed := range clients {
				to, want := tun.host4, netlab.Dropped
				if client.Is6() {
					to = tun.host6
				}
				if isListed {
					want = netlab.Connected
				}
				labtest.Expect(t, h.lab.Wire, client, netip.AddrPortFrom(to, other), netlab.Connected)
				labtest.Expect(t, h.lab.Wire, client, netip.AddrPortFrom(to, port), want)
				if got := h.question(client, port); (got.Verdict == "pass") != isListed {
					t.Errorf("check %s says %s, %s", client, got.Verdict, got.Reason)
				}
			}
			for _, reason := range []string{"malformed", "too_deep", "fragment", "unknown_protocol"} {
				if n := h.packets("tun0", "drop", reason); n != 0 {
					t.Errorf("%d packets were dropped as %s", n, reason)
				}
			}
			if n := h.packets("tun0", "drop", "not_listed"); n == 0 {
				t.Error("no drop was counted as not_listed")
			}
		})
	}
}

// Promise: what the program could not read as it is sent is refused by name, at the start
// and later, and never guarded in name alone.
func TestUnknownLinkTypes(t *testing.T) {
	t.Parallel()
	const ieee802154 = 804
	h := newHost(t)
	openTun(t, h.lab.Host, "radio0", ieee802154)
	d := h.start(binary, append(allowed, "--interface", "eth0,radio0")...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "radio0: ") || !strings.Contains(d.logged(), "link type") {
		t.Errorf("exit %d:\n%s", code, d.logged())
	}
	if r := h.cli("status"); r.code != 3 {
		t.Errorf("the start that was refused left something: exit %d\n%s", r.code, r.stdout)
	}
	h.run(append(allowed, "--interface", "eth0,radio1")...)
	openTun(t, h.lab.Host, "radio1", ieee802154) // first a tun like any, which may be guarded at once
	p := h.broken("interface_not_attached", "radio1")
	if !strings.Contains(p.Text, "link type") || h.status().Enforcing {
		t.Errorf("enforcing %t, and the problem is %+v", h.status().Enforcing, p)
	}
}
