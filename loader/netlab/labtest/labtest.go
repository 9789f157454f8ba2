// Package labtest has what tests and benchmarks need of labs and the demo does
// not: labs that fail the test and go with it, frames that no client sends,
// NICs in place of a veth pair. It is apart from netlab, because netlab is part
// of the shipped binary.
package labtest

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// New makes a lab that lives as long as the test.
func New(tb testing.TB) *netlab.Lab {
	tb.Helper()
	lab, err := netlab.New("labtest")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := lab.Close(); err != nil {
			tb.Error(err)
		}
	})
	return lab
}

// Must takes the two results of a call and returns the first, or fails the
// test: link := labtest.Must(lab.AddLink("eth1"))(t).
func Must[T any](value T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return value
	}
}

// Listen accepts connections inside the namespace for as long as the test
// lives, and closes each. It returns the address with the port in use.
func Listen(tb testing.TB, ns *netlab.Namespace, addr string) netip.AddrPort {
	tb.Helper()
	listener, err := ns.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	tb.Cleanup(func() { listener.Close() })
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// ServeHTTP serves inside the namespace for as long as the test lives.
func ServeHTTP(tb testing.TB, ns *netlab.Namespace, addr string, handler http.Handler) netip.AddrPort {
	tb.Helper()
	server, err := ns.ServeHTTP(addr, handler)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	return server.Addr
}

// Expect knocks from local and fails the test if the outcome is another one.
func Expect(tb testing.TB, ns *netlab.Namespace, local netip.Addr, remote netip.AddrPort, want netlab.Outcome) {
	tb.Helper()
	wait := 10 * time.Second // long, for slow machines: only a dropped SYN takes it
	if want == netlab.Dropped {
		wait = 500 * time.Millisecond
	}
	got, err := ns.Knock(local, remote, wait)
	if err != nil {
		tb.Fatalf("knock at %s from %s: %v", remote, local, err)
	}
	if got != want {
		tb.Fatalf("knock at %s from %s: %s, want %s", remote, local, got, want)
	}
}

// TCPInSegs returns the segments that the namespace's TCP has been given.
func TCPInSegs(tb testing.TB, ns *netlab.Namespace) uint64 {
	tb.Helper()
	return Must(ns.TCPInSegs())(tb)
}
