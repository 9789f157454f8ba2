package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: a subflow is an opening of its own. One that a listed client adds from
// an address that is not listed is dropped, and the connection does not notice. Bare
// Linux takes it.
func TestMultipath(t *testing.T) {
	for _, filtered := range []bool{false, true} {
		name := map[bool]string{false: "bare", true: "filtered"}[filtered]
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.serveMultipath()
			h.multipath(h.lab.Host, "limits", "set", "subflow", "2")
			h.multipath(h.lab.Wire, "limits", "set", "subflow", "2")
			h.multipath(h.lab.Wire, "endpoint", "add", netlab.Unlisted4.String(), "dev", "eth0", "subflow")
			if filtered {
				h.run(allowed...)
			}
			conn := h.dialMultipath()
			h.exchange(conn)
			joined := within(500*time.Millisecond, func() bool {
				h.exchange(conn)
				return labtest.Must(h.lab.Host.Counter("MPTcpExt:MPJoinAckRx"))(t) > 0
			})
			if joined == filtered {
				t.Errorf("the subflow joined: %t, want %t", joined, !filtered)
			}
			if filtered && h.packets("xdp", "drop", "not_listed") == 0 {
				t.Error("no drop of the subflow counted")
			}
			h.exchange(conn)
		})
	}
}

// multipath runs `ip mptcp` in a namespace.
func (h *host) multipath(ns *netlab.Namespace, args ...string) {
	h.tb.Helper()
	out, err := labtest.Command(context.Background(), ns, append([]string{"ip", "mptcp"}, args...)...).CombinedOutput()
	if err != nil {
		h.tb.Fatalf("ip mptcp %v: %v\n%s", args, err, out)
	}
}

// serveMultipath echoes on the protected port.
func (h *host) serveMultipath() {
	h.tb.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	var listener net.Listener
	if err := h.lab.Host.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp", h.api4().String())
		return err
	}); err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // until the client is gone
			}()
		}
	}()
}

// dialMultipath connects from the listed address.
func (h *host) dialMultipath() *net.TCPConn {
	h.tb.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: netlab.Listed4.AsSlice()}, Timeout: 5 * time.Second}
	dialer.SetMultipathTCP(true)
	var conn net.Conn
	if err := h.lab.Wire.Do(func() (err error) {
		conn, err = dialer.Dial("tcp", h.api4().String())
		return err
	}); err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { conn.Close() })
	tcp := conn.(*net.TCPConn)
	if multipath, err := tcp.MultipathTCP(); err != nil || !multipath {
		h.tb.Fatalf("the connection is not MPTCP: %t, %v", multipath, err)
	}
	return tcp
}

// exchange sends some bytes and reads them back.
func (h *host) exchange(conn net.Conn) {
	h.tb.Helper()
	sent := bytes.Repeat([]byte("hello"), 1000)
	got := make([]byte, len(sent))
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(sent); err != nil {
		h.tb.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		h.tb.Fatalf("the connection does not echo: %v", err)
	}
}
