package e2e

// This file is what a listed client does with the API: HTTP over TLS, large bodies,
// and the options of TCP and IPv6 that filters are known to break.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// content is what large transfers carry.
var content = func() []byte {
	b := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(b) // never fails
	return b
}()

// serveAPI answers POST with what it was given, over TLS, HTTP/1.1 and HTTP/2.
func (s *scene) serveAPI() {
	s.tb.Helper()
	s.api = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body) // the client compares
	}))
	s.api.Listener.Close()
	s.api.Listener = labtest.Must(s.lab.Host.Listen("tcp", fmt.Sprintf(":%d", port)))(s.tb)
	s.api.EnableHTTP2 = true
	s.api.StartTLS()
	s.tb.Cleanup(s.api.Close)
}

// control prepares a client's socket.
type control = func(network, address string, raw syscall.RawConn) error

// dial connects from an address of a namespace. The zero Addr leaves it to the kernel.
func dial(ctx context.Context, ns *netlab.Namespace, from netip.Addr, to string, prepare control) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: 5 * time.Second, Control: prepare}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	err = ns.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, "tcp", to)
		return err
	})
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return conn, err
}

// browser is an HTTPS client from an address; it keeps its connection alive.
func (s *scene) browser(ns *netlab.Namespace, from netip.Addr, http2 bool, prepare control) *http.Client {
	trusted := x509.NewCertPool()
	trusted.AddCert(s.api.Certificate())
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: trusted, ServerName: "example.com"},
		ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
			return dial(ctx, ns, from, to, prepare)
		},
	}
	s.tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// post sends a body and wants it back.
func (s *scene) post(client *http.Client, to netip.AddrPort, body []byte) (seen string, err error) {
	response, err := client.Post("https://"+to.String()+"/", "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && sha256.Sum256(got) != sha256.Sum256(body) {
		err = fmt.Errorf("%d bytes of %d came back, or others", len(got), len(body))
	}
	return fmt.Sprintf("%s %s, %d bytes both ways", response.Proto, response.Status, len(got)), err
}

// apiOf is the API at the address of a client's family.
func (s *scene) apiOf(client netip.Addr) netip.AddrPort {
	if client.Is4() {
		return s.api4()
	}
	return s.api6()
}

func clientActions() (actions []action) {
	for _, client := range []netip.Addr{netlab.Listed4, netlab.Listed6} {
		named := func(name string, do func(s *scene) (string, error)) {
			actions = append(actions, action{fmt.Sprintf("%s from %s", name, client), do})
		}
		for _, http2 := range []bool{false, true} {
			named(fmt.Sprintf("HTTPS, HTTP/2 %v", http2), func(s *scene) (string, error) {
				return s.post(s.browser(s.lab.Wire, client, http2, nil), s.apiOf(client), content)
			})
		}
		named("ECN", func(s *scene) (string, error) { return s.exchange(client, nil, tcpiECN) })
		named("Fast Open", func(s *scene) (string, error) {
			if _, err := s.exchange(client, fastOpen, 0); err != nil { // gets the cookie
				return "", err
			}
			return s.exchange(client, fastOpen, tcpiSynData)
		})
	}
	return append(actions, action{"IPv4 options", func(s *scene) (string, error) {
		tap, err := openTap(s.lab.Host, "eth0")
		if err != nil {
			return "", err
		}
		defer tap.close()
		seen, err := s.post(s.browser(s.lab.Wire, netlab.Listed4, true, recorded), s.api4(), content)
		if err != nil {
			return "", err
		}
		carried := tap.saw(func(frame []byte) bool { return len(frame) > 41 && frame[14] == 0x47 && frame[34] == 7 })
		return fmt.Sprintf("%s, with the route recorded: %v", seen, carried), nil
	}}, action{"IPv6 extension headers", func(s *scene) (string, error) {
		tap, err := openTap(s.lab.Host, "eth0")
		if err != nil {
			return "", err
		}
		defer tap.close()
		seen, err := s.post(s.browser(s.lab.Wire, netlab.Listed6, true, extended), s.api6(), content)
		if err != nil {
			return "", err
		}
		carried := tap.saw(func(frame []byte) bool { return len(frame) > 54 && frame[20] == 0 && frame[54] == 60 })
		return fmt.Sprintf("%s, with hop-by-hop and destination options: %v", seen, carried), nil
	}})
}

// Bits of tcpi_options in linux/tcp.h.
const (
	tcpiECN     = 8
	tcpiSynData = 32
)

// exchange has the plain echo answer, and tells what the client's TCP agreed upon.
func (s *scene) exchange(client netip.Addr, prepare control, option uint8) (seen string, err error) {
	to := netip.AddrPortFrom(s.apiOf(client).Addr(), rawPort)
	conn, err := dial(context.Background(), s.lab.Wire, client, to.String(), prepare)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	hello := make([]byte, 5)
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, hello); err != nil {
		return "", err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(err, failed); err != nil {
		return "", err
	}
	if option != 0 && info.Options&option == 0 {
		return "", fmt.Errorf("not agreed upon: options %#x without %#x", info.Options, option)
	}
	return fmt.Sprintf("%s, options %#x", hello, info.Options), nil
}

// fastOpen puts the first data into the SYN, once there is a cookie.
func fastOpen(_, _ string, raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	})
	return errors.Join(err, failed)
}

// recorded asks each packet to record its route.
func recorded(_, _ string, raw syscall.RawConn) (err error) {
	const route = "\x07\x07\x04\x00\x00\x00\x00\x00" // room for one hop
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, route)
	})
	return errors.Join(err, failed)
}

// extended puts hop-by-hop and destination options before each segment.
func extended(_, _ string, raw syscall.RawConn) (err error) {
	const padding = "\x00\x00\x01\x04\x00\x00\x00\x00" // one PadN that fills the header
	failed := raw.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, padding),
			unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding),
		)
	})
	return errors.Join(err, failed)
}

// Promise: a connection that is kept alive lives on, on the same socket, whatever the
// policy of others becomes, also in the scopes that look at each segment.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"syn", "stray", "strict"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			d := s.guard(scope)
			clients := map[netip.Addr]*http.Client{
				netlab.Listed4: s.browser(s.lab.Wire, netlab.Listed4, false, nil),
				netlab.Listed6: s.browser(s.lab.Wire, netlab.Listed6, true, nil),
			}
			before := s.counter("Tcp:PassiveOpens")
			everybody := func(when string) {
				for client, browser := range clients {
					if _, err := s.post(browser, s.apiOf(client), []byte(when)); err != nil {
						t.Fatalf("%s, %s: %v", when, client, err)
					}
				}
			}
			everybody("at first")
			for _, change := range [][]string{
				{"add", "100.64.1.0/24", "--owner", "acme"},                     // a patch
				{"add", "100.64.2.0/24", "100.64.0.0/16", "2001:db8:d::/48"},    // nested: a publish
				{"add", netlab.Listed4.String(), "--for", "1s"},                 // more exact, and gone before the last change
				{"remove", "100.64.2.0/24", "100.64.0.0/16", "2001:db8:d::/48"}, // a publish again
			} {
				generation := s.status().Generation
				s.must(change...)
				if now := s.status().Generation; now == generation {
					t.Errorf("%q changed nothing", change)
				}
				everybody(fmt.Sprint(change))
			}
			s.eventually("the client's own entry expires", func() bool {
				by := s.question(netlab.Listed4, port).Prefix
				return by != nil && *by == netlab.ListedPrefix4
			})
			everybody("expired")
			d.kill()
			everybody("killed")
			s.guard(scope).stop()
			s.run("--mode", "audit", "--drop", scope, "--port", "8443,8444,udp/8443", "--allow", netlab.ListedPrefix4.String(), "--allow", netlab.ListedPrefix6.String())
			everybody("audit")
			if opened := s.counter("Tcp:PassiveOpens") - before; opened != 2 {
				t.Errorf("%d connections were opened for two clients that keep theirs", opened)
			}
			if dropped := s.packets("drop", "eth0"); dropped != 0 {
				t.Errorf("%d packets dropped", dropped)
			}
		})
	}
}

func (s *scene) counter(name string) uint64 {
	s.tb.Helper()
	return labtest.Must(s.lab.Host.Counter(name))(s.tb)
}
