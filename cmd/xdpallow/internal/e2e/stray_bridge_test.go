package e2e

// This file is scope stray where the stack sees another interface than the program does:
// on the port of a bridge.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// bridged is a host whose addresses are on a bridge. The API listens on that bridge alone,
// as SO_BINDTODEVICE and ListenStream with BindToDevice have it.
type bridged struct {
	*host
	bound, free net.Listener // the second is bound to no device
}

func newBridged(t *testing.T) *bridged {
	t.Helper()
	b := &bridged{host: newHost(t)}
	nl := b.lab.Host.Netlink()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", HardwareAddr: b.link().HostMAC}}
	port0, err := nl.LinkByName("eth0")
	if err == nil {
		err = errors.Join(nl.LinkAdd(bridge), nl.LinkSetMaster(port0, bridge), b.lab.Host.SetUp("br0", true))
	}
	for _, a := range []string{"10.81.0.1/24", "fd81::1/64", "fe80::81:1/64"} {
		err = errors.Join(err, b.lab.Host.AddAddr("br0", netip.MustParsePrefix(a)))
	}
	for _, a := range []string{"10.81.0.2/24", "10.81.0.3/24", "fd81::2/64", "fe80::81:2/64"} {
		err = errors.Join(err, b.lab.Wire.AddAddr("eth0", netip.MustParsePrefix(a)))
	}
	if err != nil {
		t.Fatal(err)
	}
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) { refused = unix.BindToDevice(int(fd), "br0") })
		return errors.Join(err, refused)
	}}
	err = b.lab.Host.Do(func() (err error) {
		b.bound, err = listen.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.free = labtest.Must(b.lab.Host.Listen("tcp", fmt.Sprintf(":%d", strayPort)))(t)
	t.Cleanup(func() { b.bound.Close(); b.free.Close() })
	return b
}

// Promise (README): remove cuts nobody off in scope stray, also where connections are
// bound to a device above the one that the program runs on: by the server, or because
// they are link-local.
func TestStrayOnABridge(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	b.run("--interface", "br0", "--port", fmt.Sprintf("%d,%d", port, strayPort), "--drop", "stray", "--allow", "192.0.2.1")
	type pair struct {
		what      string
		near, far net.Conn
	}
	var open []pair
	// By number: the Go runtime keeps those of names, which differ between namespaces.
	zone := fmt.Sprint(labtest.Must(b.lab.Wire.Index("eth0"))(t))
	for _, c := range []struct {
		what, client, server string
		listener             net.Listener
	}{
		{"bound, IPv4", "10.81.0.2", fmt.Sprintf("10.81.0.1:%d", port), b.bound},
		{"bound, IPv6", "fd81::2", fmt.Sprintf("[fd81::1]:%d", port), b.bound},
		{"bound, link-local", "fe80::81:2%" + zone, fmt.Sprintf("[fe80::81:1%%%s]:%d", zone, port), b.bound},
		{"not bound, IPv4", "10.81.0.2", fmt.Sprintf("10.81.0.1:%d", strayPort), b.free},
		{"not bound, link-local", "fe80::81:2%" + zone, fmt.Sprintf("[fe80::81:1%%%s]:%d", zone, strayPort), b.free},
	} {
		client := netip.MustParseAddr(c.client)
		b.must("add", client.WithZone("").String())
		near, err := b.lab.Wire.DialContext(context.Background(), "tcp", client, c.server)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		defer near.Close()
		far := labtest.Must(c.listener.Accept())(t)
		defer far.Close()
		open = append(open, pair{c.what, near, far})
	}
	b.must("remove", "10.81.0.2", "fd81::2", "fe80::81:2")
	for _, p := range open {
		for _, way := range [][2]net.Conn{{p.near, p.far}, {p.far, p.near}} {
			word := make([]byte, 5)
			_ = way[1].SetDeadline(time.Now().Add(3 * time.Second))
			if _, err := way[0].Write([]byte("hello")); err != nil {
				t.Errorf("%s: %v", p.what, err)
			}
			if _, err := way[1].Read(word); err != nil || string(word) != "hello" {
				t.Errorf("%s, after its client was removed: %q, %v", p.what, word, err)
			}
		}
	}
	if n := b.packets("drop", "stray"); n != 0 {
		t.Errorf("%d segments of open connections were dropped", n)
	}
	// It is no open door: not for openings, nor for segments of no connection where the
	// listener can be seen.
	for _, server := range []string{fmt.Sprintf("10.81.0.1:%d", port), fmt.Sprintf("10.81.0.1:%d", strayPort)} {
		labtest.Expect(t, b.lab.Wire, netip.MustParseAddr("10.81.0.2"), netip.MustParseAddrPort(server), netlab.Dropped)
	}
	if err := b.link().Send(b.segment("10.81.0.3:4000", strayPort, labtest.ACK, 2, 0)); err != nil {
		t.Fatal(err)
	}
	b.eventually("a segment of no connection is dropped as stray", func() bool { return b.packets("drop", "stray") == 1 })
}

// segment is one from the wire to an IPv4 port of the bridge.
func (b *bridged) segment(from string, to int, flags labtest.Flags, seq, ack uint32) []byte {
	b.tb.Helper()
	return labtest.Must(labtest.Segment{
		SrcMAC: b.link().WireMAC, DstMAC: b.link().HostMAC, Src: netip.MustParseAddrPort(from),
		Dst: netip.AddrPortFrom(netip.MustParseAddr("10.81.0.1"), uint16(to)), Flags: flags, Seq: seq, Ack: ack,
	}.Frame())(b.tb)
}

// Promise: 0 leaks. A SYN cookie that was had before the gate was up opens nothing
// behind it, also where the program cannot see the listener: the backstop refuses it, and
// without the backstop the program does.
func TestCookiesOnABridge(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	sysctl(t, b.lab.Host, "ipv4/tcp_syncookies", "2")
	if err := b.lab.Host.AddNeighbour("br0", netip.MustParseAddr("10.81.0.9"), b.link().WireMAC); err != nil {
		t.Fatal(err)
	}
	wire := listenIn(t, b.lab.Wire, "eth0")
	cookie := map[string]uint32{}
	clients := []string{"10.81.0.9:4001", "10.81.0.9:4002", "10.81.0.9:4003"}
	for _, from := range clients {
		frame := b.segment(from, port, labtest.SYN, 1, 0)
		b.eventually("a SYN cookie for "+from, func() bool {
			if err := b.link().Send(frame); err != nil {
				t.Fatal(err)
			}
			return within(200*time.Millisecond, func() bool { return wire.saw(netip.MustParseAddrPort(from)) })
		})
		cookie[from] = wire.answerTo(netip.MustParseAddrPort(from)).sequence
	}
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := b.bound.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	spend := func(from string) {
		t.Helper()
		if err := b.link().Send(b.segment(from, port, labtest.ACK, 2, cookie[from]+1)); err != nil {
			t.Fatal(err)
		}
	}
	opened := func() bool {
		select {
		case conn := <-accepted:
			conn.Close()
			return true
		default:
			return false
		}
	}
	spend(clients[0])
	b.eventually("without a gate the cookie opens a connection", opened)

	flags := []string{"--interface", "br0", "--drop", "stray", "--allow", "192.0.2.1"}
	d := b.run(flags...)
	spend(clients[1])
	b.eventually("the cookie is refused", func() bool { return b.packets("backstop", "drop", "not_listed")+b.packets("drop", "stray") >= 1 })
	if opened() {
		t.Error("a cookie opened a connection behind the backstop")
	}
	d.stop()
	b.run(append(flags, "--backstop=off")...)
	before := b.packets("xdp", "drop", "stray")
	spend(clients[2])
	b.eventually("the program drops the cookie", func() bool { return b.packets("xdp", "drop", "stray") == before+1 })
	if opened() {
		t.Error("a cookie opened a connection without the backstop")
	}
}
