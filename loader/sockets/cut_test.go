package sockets_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

func fileOf(t *testing.T, conn net.Conn) *os.File {
	t.Helper()
	file := labtest.Must(conn.(*net.TCPConn).File())(t)
	t.Cleanup(func() { file.Close() })
	return file
}

// Promise: `cut PREFIX` ends the prefix's connections, idle as they may be, and nothing
// else: not its neighbours', not those to other ports, not the host's own to a server
// of that prefix; and the service goes on.
func TestCutEndsExactlyThePrefix(t *testing.T) {
	for name, test := range map[string]struct {
		from   netip.Addr
		port   uint16
		prefix netip.Prefix
	}{
		"IPv4":                    {netlab.Listed4, port4, netlab.ListedPrefix4},
		"IPv6":                    {netlab.Listed6, portDual, netlab.ListedPrefix6},
		"IPv4 on an IPv6 service": {netlab.Listed4, portDual, netlab.ListedPrefix4},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			gone := h.dial(t, test.from, test.port)
			server := <-h.held
			others := []client{
				h.dial(t, netlab.Unlisted4, test.port), h.dial(t, netlab.Unlisted6, portDual),
				h.dial(t, netlab.Listed4, portOther),
				dial(t, h.Host, netip.Addr{}, netip.AddrPortFrom(netlab.Listed4, port4)),
			}
			if test.prefix == netlab.ListedPrefix4 {
				others = append(others, h.dial(t, netlab.Listed6, portDual))
			} else {
				others = append(others, h.dial(t, netlab.Listed4, portDual))
			}

			cut := h.cut(t, test.prefix)
			if len(cut) != 1 || cut[0].Peer != gone.local() {
				t.Errorf("cut %+v, want the connection of %s", cut, gone.local())
			}
			gone.isReset(t)
			if _, err := server.Write([]byte("x")); err == nil {
				t.Error("the server's end can be written to")
			}
			for _, c := range append(others, h.dial(t, test.from, test.port)) {
				c.echoes(t)
			}
		})
	}
}

// Promise: a customer with a thousand connections is cut, all of them, and no one of
// the next customer's thousand.
func TestCutThousands(t *testing.T) {
	const each = 1000
	limit := unix.Rlimit{Cur: 8 * each, Max: 8 * each} // of descriptors: two a connection
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	var gone, kept []client
	for i := range each {
		last := byte(1 + i%250)
		gone = append(gone, h.dial(t, netip.AddrFrom4([4]byte{203, 0, 113, last}), protected[i%2]))
		kept = append(kept, h.dial(t, netip.AddrFrom4([4]byte{198, 51, 100, last}), protected[i%2]))
	}
	if n := len(h.established(t, protected...)); n != 2*each {
		t.Errorf("%d are connected, want %d", n, 2*each)
	}

	cut := h.cut(t, netlab.ListedPrefix4)
	var got, want []netip.AddrPort
	for _, c := range cut {
		got = append(got, c.Peer)
	}
	for _, c := range gone {
		c.isReset(t)
		want = append(want, c.local())
	}
	slices.SortFunc(want, netip.AddrPort.Compare)
	slices.SortFunc(got, netip.AddrPort.Compare) // two passes may have ended them
	if !slices.Equal(got, want) {
		t.Errorf("cut %d connections, and not those of the %d clients", len(got), len(want))
	}
	for _, c := range kept {
		c.echoes(t)
	}
	if n := len(h.established(t, protected...)); n != each {
		t.Errorf("%d are connected, want %d", n, each)
	}
}

// Promise: what one side has closed is not "connected", and yet is cut as long as data
// may flow in it: a download goes on after the server has closed its end.
func TestCutHalfClosed(t *testing.T) {
	h := newHost(t)
	toClose := h.dial(t, netlab.Listed4, port4)
	if err := toClose.CloseWrite(); err != nil { // CLOSE_WAIT
		t.Fatal(err)
	}
	toFill := h.dial(t, netlab.Listed4, portDual)
	<-h.held
	server := <-h.held // FIN_WAIT1, held by none, for the client reads nothing
	server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := io.Copy(server, zeros{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("fill the connection: ", err)
	}
	server.Close()
	eventually(t, "both are half-closed", func() bool { return len(h.established(t, protected...)) == 0 })

	if cut := h.cut(t, netlab.ListedPrefix4); len(cut) != 2 {
		t.Errorf("cut %+v, want two", cut)
	}
	toFill.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, toFill); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the download ends with %v, want ECONNRESET", err)
	}
	toClose.isReset(t)
	if again := h.cut(t, netlab.ListedPrefix4); len(again) != 0 {
		t.Errorf("left over: %+v", again)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Promise: a handshake that was under way when its prefix was removed does not become
// a connection after the cut; and nobody is called connected for a spoofed SYN.
func TestCutHalfOpen(t *testing.T) {
	h := newHost(t)
	eth0 := h.Link("eth0")
	spoofed := netip.MustParseAddrPort("192.0.2.9:4000") // nobody there to send a RST
	for _, port := range protected {
		if err := eth0.Send(labtest.Must(eth0.SYN(spoofed, h.to(spoofed.Addr(), port)))(t)); err != nil {
			t.Fatal(err)
		}
	}
	halfOpen := func() (n int) {
		for _, c := range h.read(t, func() ([]sockets.Conn, error) { return sockets.Unfinished(protected) }) {
			if c.Peer == spoofed && c.State == sockets.StateSynReceived {
				n++
			}
		}
		return n
	}
	eventually(t, "two half-open connections", func() bool { return halfOpen() == 2 })
	if conns := h.established(t, protected...); len(conns) != 0 {
		t.Errorf("half-open is not connected: %+v", conns)
	}
	if cut := h.cut(t, netlab.ListedPrefix4); len(cut) != 0 || halfOpen() != 2 {
		t.Errorf("another prefix's cut ended %+v, leaving %d", cut, halfOpen())
	}
	if cut := h.cut(t, netip.PrefixFrom(spoofed.Addr(), 32)); len(cut) != 0 || halfOpen() != 0 {
		t.Errorf("cut %+v, want none told; %d half-open left, want 0", cut, halfOpen())
	}
	h.dial(t, netlab.Listed4, port4)
	h.dial(t, netlab.Listed4, portDual)
}

// Promise: what has gone meanwhile is no error, and neither its successor on the same
// addresses and ports nor the listener pays for it.
func TestDestroyWhatHasGone(t *testing.T) {
	h := newHost(t)
	for _, port := range protected {
		first := h.dial(t, netlab.Listed4, port)
		conns := h.established(t, port)
		if ended := h.destroy(t, conns); len(ended) != 1 {
			t.Fatalf("ended %+v, want one", ended)
		}
		first.isReset(t)
		if ended := h.destroy(t, conns); len(ended) != 0 { // the listener is the next best match
			t.Errorf("port %d: ended %+v for the second time", port, ended)
		}
		from := first.local()
		first.Close()
		second := redial(t, h, from, h.to(from.Addr(), port))
		if ended := h.destroy(t, conns); len(ended) != 0 {
			t.Errorf("port %d: ended %+v, gone before", port, ended)
		}
		second.echoes(t)
		h.dial(t, netlab.Listed4, port)
	}
	if ended := h.destroy(t, []sockets.Conn{{}}); len(ended) != 0 {
		t.Errorf("ended %+v, which never was", ended)
	}
}

// redial connects from the very port of a connection that has ended.
func redial(t *testing.T, h *host, from, to netip.AddrPort) client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: patience}
	var conn net.Conn
	err := h.Wire.Do(func() (err error) {
		conn, err = dialer.DialContext(t.Context(), "tcp", to.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{conn.(*net.TCPConn)}
}

// Promise: without CAP_NET_ADMIN everybody may look, nobody may cut, and the error says
// what is missing.
func TestWithoutCapability(t *testing.T) {
	h := newHost(t)
	c := h.dial(t, netlab.Listed4, port4)
	var conns, ended []sockets.Conn
	err := h.Host.Do(func() (err error) { // on a thread that is thrown away
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
		}
		if conns, err = sockets.Established(protected); err != nil {
			t.Error(err)
		}
		ended, err = sockets.Destroy(conns)
		return err
	})
	if len(conns) != 1 || len(ended) != 0 || !errors.Is(err, unix.EPERM) {
		t.Errorf("found %+v, ended %+v, %v; want one found, none ended, EPERM", conns, ended, err)
	}
	c.echoes(t)
}
