package e2e

// This file is what no list is asked for: everybody's other ports, and what the host
// does by itself. Fragments of it must pass, which carry no ports.

import (
	"bytes"
	"context"
	be "encoding/binary" // the package has a variable binary
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// big is a datagram of several fragments, in bytes.
const big = 4000

// serveOthers serves everything but the API: an echo over TCP and UDP on protected and
// other ports of the host, and on the wire a server and a DNS that answers at length.
func (s *scene) serveOthers() {
	s.tb.Helper()
	everywhere := func(p int) string { return fmt.Sprintf(":%d", p) }
	for _, p := range []int{rawPort, otherPort} {
		s.echoTCP(s.lab.Host, everywhere(p))
	}
	for _, p := range []int{port, otherPort} {
		s.answerUDP(s.lab.Host, everywhere(p), func(question []byte) []byte { return question })
	}
	for _, server := range []netip.Addr{netlab.Unlisted4, netlab.Unlisted6} {
		s.echoTCP(s.lab.Wire, netip.AddrPortFrom(server, otherPort).String())
		s.answerUDP(s.lab.Wire, netip.AddrPortFrom(server, dnsPort).String(), func(question []byte) []byte {
			size, _ := strconv.Atoi(string(question)) // 0 is answered with nothing, and seen
			return make([]byte, size)
		})
	}
}

func (s *scene) echoTCP(ns *netlab.Namespace, addr string) {
	s.tb.Helper()
	listener := labtest.Must(ns.Listen("tcp", addr))(s.tb)
	s.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // the client compares
			}()
		}
	}()
}

func (s *scene) answerUDP(ns *netlab.Namespace, addr string, answer func([]byte) []byte) {
	s.tb.Helper()
	conn := labtest.Must(labtest.ListenPacket(ns, "udp", addr))(s.tb)
	s.tb.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo(answer(b[:n]), from) // the client waits
			}
		}
	}()
}

// askTCP sends a word and wants it back.
func askTCP(ns *netlab.Namespace, from netip.Addr, to netip.AddrPort) (seen string, err error) {
	conn, err := dial(context.Background(), ns, from, to.String(), nil)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	b := make([]byte, 5)
	_, err = io.ReadFull(conn, b)
	return string(b), err
}

// askUDP sends one datagram and waits for one answer.
func askUDP(ns *netlab.Namespace, from netip.Addr, to netip.AddrPort, question []byte) (answer []byte, err error) {
	conn, err := ns.DialContext(context.Background(), "udp", from, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer = make([]byte, 1<<16)
	n, err := conn.Read(answer)
	return answer[:n], err
}

// echoBig has a datagram of several fragments come back.
func echoBig(ns *netlab.Namespace, from netip.Addr, to netip.AddrPort) (seen string, err error) {
	answer, err := askUDP(ns, from, to, content[:big])
	if err == nil && !bytes.Equal(answer, content[:big]) {
		err = fmt.Errorf("%d other bytes came back", len(answer))
	}
	return fmt.Sprintf("%d bytes both ways", len(answer)), err
}

// bigPing has a ping of several fragments come back.
func bigPing(ns *netlab.Namespace, from, to netip.Addr) (seen string, err error) {
	network, request, reply := "ip4:icmp", byte(layers.ICMPv4TypeEchoRequest), byte(layers.ICMPv4TypeEchoReply)
	if from.Is6() {
		network, request, reply = "ip6:ipv6-icmp", layers.ICMPv6TypeEchoRequest, layers.ICMPv6TypeEchoReply
	}
	conn, err := labtest.ListenPacket(ns, network, from.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// The kernel fills in the checksum of ICMPv6 only.
	message := append([]byte{request, 0, 0, 0, 0, 1, 0, 1}, make([]byte, big)...)
	if from.Is4() {
		be.BigEndian.PutUint16(message[2:], ^(uint16(request)<<8 + 2))
	}
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.WriteTo(message, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return "", err
	}
	answer := make([]byte, 1<<16)
	n, _, err := conn.ReadFrom(answer)
	if err == nil && (answer[0] != reply || n != len(message)) {
		err = fmt.Errorf("%d bytes of type %d came back", n, answer[0])
	}
	return fmt.Sprintf("%d bytes both ways", n), err
}

// strangerActions are what nobody has to be listed for: ports that are not protected.
func strangerActions() (actions []action) {
	for _, client := range []netip.Addr{netlab.Listed4, netlab.Listed6, netlab.Unlisted4, netlab.Unlisted6} {
		other := func(s *scene) netip.AddrPort { return netip.AddrPortFrom(s.apiOf(client).Addr(), otherPort) }
		actions = append(actions,
			action{fmt.Sprintf("another TCP port from %s", client), func(s *scene) (string, error) {
				return askTCP(s.lab.Wire, client, other(s))
			}},
			action{fmt.Sprintf("fragmented datagrams to another port from %s", client), func(s *scene) (string, error) {
				return echoBig(s.lab.Wire, client, other(s))
			}},
			action{fmt.Sprintf("a fragmented ping from %s", client), func(s *scene) (string, error) {
				return bigPing(s.lab.Wire, client, s.apiOf(client).Addr())
			}},
			action{fmt.Sprintf("a closed port from %s", client), func(s *scene) (string, error) {
				outcome, err := s.lab.Wire.Knock(client, netip.AddrPortFrom(other(s).Addr(), otherPort+1), 3*time.Second)
				return outcome.String(), err
			}},
		)
	}
	return actions
}

// hostActions are what the host does by itself, with servers that nobody lists.
func hostActions() (actions []action) {
	for _, server := range []netip.Addr{netlab.Unlisted4, netlab.Unlisted6} {
		named := func(name string, do func(s *scene) (string, error)) {
			actions = append(actions, action{fmt.Sprintf("%s %s", name, server), do})
		}
		named("the host connects to", func(s *scene) (string, error) {
			return askTCP(s.lab.Host, netip.Addr{}, netip.AddrPortFrom(server, otherPort))
		})
		for _, size := range []string{"200", "4000"} { // the second comes in fragments
			named("DNS with "+size+" bytes from", func(s *scene) (string, error) {
				answer, err := askUDP(s.lab.Host, netip.Addr{}, netip.AddrPortFrom(server, dnsPort), []byte(size))
				return fmt.Sprintf("%d bytes", len(answer)), err
			})
		}
		named("an ICMP error tells the host of a closed port of", func(s *scene) (string, error) {
			_, err := askUDP(s.lab.Host, netip.Addr{}, netip.AddrPortFrom(server, otherPort+1), []byte("hello"))
			if errors.Is(err, unix.ECONNREFUSED) {
				return "refused", nil
			}
			return "", fmt.Errorf("not refused: %w", err)
		})
	}
	return actions
}
