package main

// This file is the network around a machine: two segments, a customer, and strangers who
// knock every 10 ms from before power-on to the end.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// segment is one of the machine's two NICs and the segment that it is on. The first is
// guarded, the second is not.
type segment struct {
	tap              string
	mac              net.HardwareAddr // the machine's
	guest4, outside4 netip.Prefix
	guest6, outside6 netip.Prefix
}

var segments = [2]segment{newSegment(0), newSegment(1)}

func newSegment(n byte) segment {
	prefix := func(last byte) (netip.Prefix, netip.Prefix) {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2 + n, last}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 2 + n, 15: last}), 64)
	}
	k := segment{tap: fmt.Sprintf("tap%d", n), mac: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x10 + n}}
	k.guest4, k.guest6 = prefix(1)
	k.outside4, k.outside6 = prefix(254)
	return k
}

// apiPort is the protected port.
const apiPort = 443

// answer is what came back to a stranger, by whichever NIC.
type answer struct {
	nic    int // at which he had knocked
	family int // 4 or 6
	what   string
}

// strangerPorts begin a stranger's source ports, which tell where he knocked.
var strangerPorts = [len(segments)]uint16{20000, 30000}

// outside is the wire of a lab with two taps on it.
type outside struct {
	t   *testing.T
	lab *netlab.Lab
	fds [len(segments)]int

	mu      sync.Mutex
	knocks  [len(segments)]int // frames that a tap has taken
	answers map[answer]int
	opened  []string // what must never be: whom a SYN-ACK went to, and when
	quiet   bool     // nobody knocks
	act     string   // what the machine is going through
}

// newOutside makes the segments, and taps of as many queues as the machine's NICs have.
func newOutside(t *testing.T, queues int) *outside {
	t.Helper()
	o := &outside{t: t, lab: labtest.New(t), fds: [len(segments)]int{-1, -1}, answers: make(map[answer]int)}
	if err := o.lab.DeleteLink("eth0"); err != nil { // the machine is the host
		t.Fatal(err)
	}
	wire := o.lab.Wire
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		running.Wait()
		for _, fd := range o.fds {
			unix.Close(fd)
		}
	})
	for i, k := range segments {
		// QEMU's virtio_net has offloads only on a tap that carries their header.
		add := []string{"ip", "tuntap", "add", k.tap, "mode", "tap", "vnet_hdr"}
		if queues > 1 {
			add = append(add, "multi_queue")
		}
		out, err := labtest.Command(ctx, wire, add...).CombinedOutput()
		if err != nil {
			t.Fatalf("make %s: %v\n%s", k.tap, err, out)
		}
		if err := errors.Join(wire.AddAddr(k.tap, k.outside4), wire.AddAddr(k.tap, k.outside6), wire.SetUp(k.tap, true)); err != nil {
			t.Fatal(err)
		}
		if o.fds[i], err = o.open(k.tap); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { o.knock(ctx, i) })
		running.Go(func() { o.watch(ctx, i) })
	}
	return o
}

// open makes a packet socket on a tap, for both directions.
func (o *outside) open(tap string) (fd int, err error) {
	index, err := o.lab.Wire.Index(tap)
	if err != nil {
		return 0, err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err = o.lab.Wire.Do(func() error {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return errors.Join(
			unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: all}),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}))
	})
	return fd, err
}

// knock sends a stranger's SYNs over both families, to the NIC's own addresses and on
// the second one also to those of the first: Linux answers for all by any NIC.
func (o *outside) knock(ctx context.Context, i int) {
	targets := []netip.Prefix{segments[i].guest4, segments[i].guest6}
	if i > 0 {
		targets = append(targets, segments[0].guest4, segments[0].guest6)
	}
	from := map[bool]netip.Addr{true: netlab.Unlisted4, false: netlab.Unlisted6}
	link := netlab.Link{HostMAC: segments[i].mac, WireMAC: net.HardwareAddr{2, 0, 0, 0, 0xff, byte(i)}}
	var frames [][]byte
	for port := range 64 {
		for _, target := range targets {
			source := netip.AddrPortFrom(from[target.Addr().Is4()], strangerPorts[i]+uint16(port))
			frames = append(frames, labtest.Must(link.SYN(source, netip.AddrPortFrom(target.Addr(), apiPort)))(o.t))
		}
	}
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		o.mu.Lock()
		quiet := o.quiet
		o.mu.Unlock()
		if quiet {
			continue
		}
		// An error is a machine without power, or one that does not listen.
		if err := unix.Send(o.fds[i], frames[n%len(frames)], 0); err == nil {
			o.mu.Lock()
			o.knocks[i]++
			o.mu.Unlock()
		}
	}
}

// watch counts what the machine answers to strangers.
func (o *outside) watch(ctx context.Context, i int) {
	buffer := make([]byte, 1<<16)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(o.fds[i], buffer, 0)
		if err != nil {
			continue
		}
		if from, ok := from.(*unix.SockaddrLinklayer); ok && from.Pkttype == unix.PACKET_OUTGOING {
			continue // our own
		}
		to, flags, ok := parseTCP(buffer[:n])
		if !ok || !netlab.UnlistedPrefix4.Contains(to.Addr()) && !netlab.UnlistedPrefix6.Contains(to.Addr()) {
			continue
		}
		a := answer{family: 4}
		if to.Addr().Is6() {
			a.family = 6
		}
		if to.Port() >= strangerPorts[1] {
			a.nic = 1
		}
		switch {
		case flags&labtest.SYN != 0:
			a.what = "SYN-ACK"
		case flags&labtest.RST != 0:
			a.what = "RST"
		default:
			a.what = fmt.Sprintf("flags %#x", flags)
		}
		o.mu.Lock()
		o.answers[a]++
		if a.what == "SYN-ACK" && len(o.opened) < 20 {
			o.opened = append(o.opened, fmt.Sprintf("%s at %s (%s)", to, segments[a.nic].tap, o.act))
		}
		o.mu.Unlock()
	}
}

// parseTCP returns where a segment from the API's port goes.
func parseTCP(frame []byte) (to netip.AddrPort, flags labtest.Flags, ok bool) {
	if len(frame) < 14+40 {
		return
	}
	ip := frame[14:]
	var tcp []byte
	var addr netip.Addr
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		if ip[9] != unix.IPPROTO_TCP {
			return
		}
		addr, _ = netip.AddrFromSlice(ip[16:20])
		tcp = ip[int(ip[0]&15)*4:]
	case unix.ETH_P_IPV6:
		if ip[6] != unix.IPPROTO_TCP {
			return
		}
		addr, _ = netip.AddrFromSlice(ip[24:40])
		tcp = ip[40:]
	}
	if len(tcp) < 14 || binary.BigEndian.Uint16(tcp) != apiPort {
		return
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(tcp[2:])), labtest.Flags(tcp[13]), true
}

// hush stops the strangers' knocking, or lets it go on.
func (o *outside) hush(quiet bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.quiet = quiet
}

// begin names what the machine goes through from now on.
func (o *outside) begin(act string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.act = act
}

// shut fails the test if a stranger was ever answered with a SYN-ACK.
func (o *outside) shut(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.opened) > 0 {
		t.Errorf("SYN-ACKs to strangers, of %v SYNs: %v\n%v", o.knocks, o.answers, o.opened)
		o.opened = nil
	}
}

// knocked is how many SYNs of strangers each NIC was given.
func (o *outside) knocked() [len(segments)]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.knocks
}

// answered is how often strangers who knocked at a NIC got that answer.
func (o *outside) answered(nic int, what string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for a, count := range o.answers {
		if a.nic == nic && a.what == what {
			n += count
		}
	}
	return n
}

// served asks the API as a customer, over both families; nil is an answer to both.
func (o *outside) served() (err error) {
	for _, from := range []netip.Addr{netlab.Listed4, netlab.Listed6} {
		target := segments[0].guest4.Addr()
		if from.Is6() {
			target = segments[0].guest6.Addr()
		}
		response, failed := o.lab.Wire.HTTPClient(from, 10*time.Second).Get(fmt.Sprintf("http://%s/", netip.AddrPortFrom(target, apiPort)))
		if failed == nil {
			_, failed = io.ReadAll(response.Body)
			response.Body.Close()
			if failed == nil && response.StatusCode != http.StatusOK {
				failed = errors.New(response.Status)
			}
		}
		err = errors.Join(err, failed)
	}
	return err
}
