package e2e

// This file is the laboratory of the live differential: a host that takes whatever
// Linux can be made to take.

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/bpf/bpftest/disguise"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Clients of the differential: each case has an address of its own.
var (
	manyListed4   = netip.MustParsePrefix("192.18.0.0/15")
	manyListed6   = netip.MustParsePrefix("2001:db8:c::/48")
	manyUnlisted4 = netip.MustParsePrefix("198.18.0.0/15")
	manyUnlisted6 = netip.MustParsePrefix("2001:db8:dead::/48")
)

// sysctl sets a value below /proc/sys/net of a namespace.
func sysctl(tb testing.TB, ns *netlab.Namespace, key, value string) {
	tb.Helper()
	if err := ns.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0)
	}); err != nil {
		tb.Fatalf("sysctl %s: %v", key, err)
	}
}

// openHost is a host that takes whatever Linux can be made to take.
type openHost struct {
	*host
	accepted sync.Map // the netip.AddrPort of each client that its server got
}

// newOpenHost is a host that takes more than a careful one would: source routes,
// segment routing, Fast Open without a cookie. Its queue has room for every case.
func newOpenHost(tb testing.TB) *openHost {
	tb.Helper()
	h := &openHost{host: newHost(tb)}
	for _, s := range [][2]string{
		{"core/somaxconn", "65535"},
		{"ipv4/tcp_max_syn_backlog", "262144"},
		{"ipv4/tcp_syncookies", "0"},
		{"ipv4/tcp_synack_retries", "0"},
		{"ipv4/tcp_fastopen", "514"}, // 0x200: data without a cookie; 0x2: server
		{"ipv4/conf/all/accept_source_route", "1"},
		{"ipv4/conf/eth0/accept_source_route", "1"},
		{"ipv6/conf/all/accept_source_route", "1"},
		{"ipv6/conf/eth0/accept_source_route", "1"},
		{"ipv6/conf/all/seg6_enabled", "1"},
		{"ipv6/conf/eth0/seg6_enabled", "1"},
	} {
		sysctl(tb, h.lab.Host, s[0], s[1])
	}
	// So that the wire's own stack answers a source-routed SYN-ACK with RST too.
	sysctl(tb, h.lab.Wire, "ipv4/conf/all/accept_source_route", "1")
	sysctl(tb, h.lab.Wire, "ipv4/conf/eth0/accept_source_route", "1")
	if err := errors.Join(
		h.lab.AddClients(manyListed4, manyListed6, manyUnlisted4, manyUnlisted6),
		h.lab.Host.AddAddr("lo", netip.MustParsePrefix("10.99.0.1/32")),
		h.lab.Host.AddAddr("lo", netip.MustParsePrefix("fd99::1/128")),
	); err != nil {
		tb.Fatal(err)
	}
	h.listenDeep()
	return h
}

// target is what the cases knock at; it is the same for every host.
func (h *openHost) target() disguise.Target {
	link := h.link()
	return disguise.Target{
		HostMAC: link.HostMAC, WireMAC: link.WireMAC, Port: port,
		Addrs4: []netip.Addr{link.Host4, netip.MustParseAddr("10.99.0.1")},
		Addrs6: []netip.Addr{link.Host6, netip.MustParseAddr("fd99::1")},
	}
}

// listenDeep listens on the protected port of every address with the deepest queue
// there is and with Fast Open, and closes what connects.
func (h *openHost) listenDeep() {
	h.tb.Helper()
	var listener net.Listener
	err := h.lab.Host.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), "listener")
		defer file.Close()
		if err := errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 65535),
			unix.Bind(fd, &unix.SockaddrInet6{Port: port}),
			unix.Listen(fd, 65535),
		); err != nil {
			return err
		}
		listener, err = net.FileListener(file)
		return err
	})
	if err != nil {
		h.tb.Fatalf("listen: %v", err)
	}
	h.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
				h.accepted.Store(netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), true)
				conn.Close()
			}
		}
	}()
}

// play sends the cases over eth0 and returns who was answered, by the index of the
// case. It ends when a SYN that is always answered was, behind all others.
func (h *openHost) play(cases []disguise.Case) (opened []bool) {
	h.tb.Helper()
	wire := listenIn(h.tb, h.lab.Wire, "eth0")
	var frames [][]byte
	for i, c := range cases {
		frames = append(frames, c.Frames...)
		if len(frames) < 400 && i+1 < len(cases) {
			continue
		}
		if err := h.link().Send(frames...); err != nil {
			h.tb.Fatal(err)
		}
		frames = frames[:0]
	}
	h.flush(wire)
	for _, c := range cases {
		opened = append(opened, wire.saw(c.Source))
	}
	if err := wire.lost(); err != nil {
		h.tb.Fatal(err)
	}
	return opened
}

// flush returns when the link is idle: the answer to one last SYN of a listed source
// was seen, and none came after it for a while.
func (h *openHost) flush(wire *tap) {
	h.tb.Helper()
	time.Sleep(100 * time.Millisecond)
	last := netip.AddrPortFrom(netlab.Listed4, 1)
	frame := labtest.Must(h.link().SYN(last, h.api4()))(h.tb)
	if err := h.link().Send(frame); err != nil {
		h.tb.Fatal(err)
	}
	h.eventually("the last SYN is answered", func() bool { return wire.saw(last) })
	time.Sleep(50 * time.Millisecond)
}
