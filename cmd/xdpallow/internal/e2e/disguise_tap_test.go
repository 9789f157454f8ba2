package e2e

// This file taps the wire: whom does the host answer?

import (
	be "encoding/binary" // the package has a variable binary
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// tap sees the segments that reach the wire from the protected port, SYN-ACKs above all.
type tap struct {
	fd int

	mu       sync.Mutex
	answered map[netip.AddrPort]synAck // by client
	heard    map[netip.AddrPort]bool   // clients that were sent any segment
}

// synAck is what the wire saw of an answer.
type synAck struct {
	sequence uint32
	via      netip.Addr // where the packet goes, which a source route sends elsewhere
}

// listenIn taps the wire's end of a link until the test ends.
func listenIn(tb testing.TB, ns *netlab.Namespace, ifname string) *tap {
	tb.Helper()
	t := &tap{answered: make(map[netip.AddrPort]synAck), heard: make(map[netip.AddrPort]bool)}
	index := labtest.Must(ns.Index(ifname))(tb)
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	err := ns.Do(func() (err error) {
		if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		wait := unix.Timeval{Usec: 50_000}
		return errors.Join(
			unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
			unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}),
		)
	})
	if err != nil {
		tb.Fatalf("tap %s: %v", ifname, err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		frame := make([]byte, 4096)
		for {
			n, _, err := unix.Recvfrom(t.fd, frame, 0)
			if err == nil {
				t.see(frame[:n])
				continue
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	tb.Cleanup(func() {
		close(stop)
		<-stopped
		unix.Close(t.fd)
	})
	return t
}

// see remembers whom a segment is for.
func (t *tap) see(frame []byte) {
	to, via, segment, ok := answer(frame)
	if !ok || len(segment) < 14 || be.BigEndian.Uint16(segment) != port {
		return
	}
	client := netip.AddrPortFrom(to, be.BigEndian.Uint16(segment[2:]))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard[client] = true
	if segment[13]&0x12 == 0x12 {
		t.answered[client] = synAck{be.BigEndian.Uint32(segment[4:]), via}
	}
}

// hears reports whether the client was sent any segment, a reset too.
func (t *tap) hears(client netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard[client]
}

func (t *tap) saw(client netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, saw := t.answered[client]
	return saw
}

// answerTo returns the last SYN-ACK for a client.
func (t *tap) answerTo(client netip.AddrPort) synAck {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answered[client]
}

// answer reads who a frame with a TCP segment is for in the end, and where it goes
// first: a source route names the final destination last.
func answer(frame []byte) (to, via netip.Addr, segment []byte, ok bool) {
	if len(frame) < 14+40 {
		return to, via, nil, false
	}
	ip := frame[14:]
	switch be.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		header := int(ip[0]&0xf) * 4
		if ip[9] != unix.IPPROTO_TCP || len(ip) < header {
			return to, via, nil, false
		}
		via = netip.AddrFrom4([4]byte(ip[16:20]))
		if to = via; header > 20 {
			to = finalHop(ip[20:header], via)
		}
		return to, via, ip[header:], true
	case unix.ETH_P_IPV6:
		to = netip.AddrFrom16([16]byte(ip[24:40]))
		return to, to, ip[40:], ip[6] == unix.IPPROTO_TCP
	}
	return to, via, nil, false
}

// finalHop returns the last address of a source route, or otherwise.
func finalHop(options []byte, otherwise netip.Addr) netip.Addr {
	for len(options) > 0 && options[0] != 0 {
		if options[0] == 1 {
			options = options[1:]
			continue
		}
		if len(options) < 2 || int(options[1]) < 2 || int(options[1]) > len(options) {
			break
		}
		option := options[:options[1]]
		if (option[0] == 131 || option[0] == 137) && len(option) >= 7 {
			return netip.AddrFrom4([4]byte(option[len(option)-4:]))
		}
		options = options[len(option):]
	}
	return otherwise
}

// lost is an error if the tap missed a frame.
func (t *tap) lost() error {
	stats, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops != 0 {
		err = fmt.Errorf("the tap lost %d frames", stats.Drops)
	}
	return err
}
