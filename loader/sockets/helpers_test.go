// This file is the host that the tests look at: echo servers, and clients that know
// whether their connection still works.

package sockets_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// patience is longer than any machine needs; only a failing test takes it.
const patience = 20 * time.Second

// The protected ports, and between them one that is not: what the kernel is asked for
// is a range.
const (
	port4     = 443
	portOther = 5000
	portDual  = 8443
)

var protected = []uint16{portDual, port4}

// host is a lab whose host echoes on all three ports, on portDual to both families,
// and whose wire echoes on port4.
type host struct {
	*netlab.Lab
	held chan net.Conn // what the host's servers accepted, if a test reads it
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{labtest.New(t), make(chan net.Conn, 4096)}
	h.serve(t, h.Host, "tcp4", "0.0.0.0:443")
	h.serve(t, h.Host, "tcp4", "0.0.0.0:5000")
	h.serve(t, h.Host, "tcp", "[::]:8443")
	h.serve(t, h.Wire, "tcp4", "0.0.0.0:443")
	return h
}

func (h *host) serve(t *testing.T, ns *netlab.Namespace, network, addr string) {
	t.Helper()
	listener := labtest.Must(ns.Listen(network, addr))(t)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if ns == h.Host {
				h.held <- conn
			}
			go echo(conn)
			t.Cleanup(func() { conn.Close() })
		}
	}()
}

// echo leaves the connection open, also when the client has closed. It hides what it
// reads from, or io.Copy would take two descriptors more, for splice.
func echo(conn net.Conn) { io.Copy(conn, struct{ io.Reader }{conn}) }

// to is an address of the host.
func (h *host) to(addr netip.Addr, port uint16) netip.AddrPort {
	if addr.Is4() {
		return netip.AddrPortFrom(h.Link("eth0").Host4, port)
	}
	return netip.AddrPortFrom(h.Link("eth0").Host6, port)
}

// client is the far end of one connection.
type client struct{ *net.TCPConn }

// dial connects and waits until the host's server has the connection.
func (h *host) dial(t *testing.T, from netip.Addr, port uint16) client {
	t.Helper()
	c := dial(t, h.Wire, from, h.to(from, port))
	c.echoes(t)
	return c
}

func dial(t *testing.T, ns *netlab.Namespace, from netip.Addr, to netip.AddrPort) client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := labtest.Must(ns.DialContext(ctx, "tcp", from, to.String()))(t)
	t.Cleanup(func() { conn.Close() })
	return client{conn.(*net.TCPConn)}
}

func (c client) local() netip.AddrPort { return c.LocalAddr().(*net.TCPAddr).AddrPort() }

// echoes fails the test unless the connection carries data both ways.
func (c client) echoes(t *testing.T) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	line := []byte("still here?\n")
	answer := make([]byte, len(line))
	_, err := c.Write(line)
	if err == nil {
		_, err = io.ReadFull(c, answer)
	}
	if err != nil || string(answer) != string(line) {
		t.Fatalf("%s: echo %q, %v", c.local(), answer, err)
	}
}

// isReset fails the test unless the client is told, unasked, that it has been cut.
func (c client) isReset(t *testing.T) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("%s reads %d bytes, %v; want ECONNRESET", c.local(), n, err)
	}
}

// established is what the package finds on the host.
func (h *host) established(t *testing.T, ports ...uint16) []sockets.Conn {
	t.Helper()
	return h.read(t, func() ([]sockets.Conn, error) { return sockets.Established(ports) })
}

func (h *host) destroy(t *testing.T, conns []sockets.Conn) []sockets.Conn {
	t.Helper()
	return h.read(t, func() ([]sockets.Conn, error) { return sockets.Destroy(conns) })
}

// cut ends the connections of a prefix.
func (h *host) cut(t *testing.T, prefix netip.Prefix) []sockets.Conn {
	t.Helper()
	return h.read(t, func() ([]sockets.Conn, error) {
		return sockets.Cut(protected, func(c sockets.Conn) bool { return prefix.Contains(c.Peer.Addr()) })
	})
}

func (h *host) read(t *testing.T, fn func() ([]sockets.Conn, error)) (conns []sockets.Conn) {
	t.Helper()
	err := h.Host.Do(func() (err error) {
		conns, err = fn()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conns
}

// eventually waits for what the kernels of both ends do in their own time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
