package e2e

// This file is connections that are held open, and whoever ends them.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// hold opens a connection from source and keeps it.
func (h *host) hold(source netip.Addr, to netip.AddrPort) net.Conn {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := h.lab.Wire.DialContext(ctx, "tcp", source, to.String())
	if err != nil {
		h.tb.Fatalf("connect from %s: %v", source, err)
	}
	h.tb.Cleanup(func() { conn.Close() })
	return conn
}

// isCut waits for the end of a connection; what is not cut says nothing for a while.
func isCut(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// connect NAME listed is a client that stays connected.
func connect(ts *testscript.TestScript, _ bool, args []string) {
	h := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := h.lab.Wire.DialContext(ctx, "tcp", netlab.Listed4, h.api4().String())
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	h.open[args[0]] = conn
}

// ended NAME is a client that finds its connection closed.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	if !isCut(of(ts).open[args[0]]) {
		ts.Fatalf("%s is connected still", args[0])
	}
}

// Promise: cutting ends the connections of those who are meant and of nobody
// else: those of the prefix or the owner, to protected ports only; and with remove and
// suspend only of those who could not open them again.
func TestCut(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	const unprotected = 9000
	labtest.ServeHTTP(t, h.lab.Host, fmt.Sprintf(":%d", unprotected), http.NotFoundHandler())
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	h.run(allowed...)
	h.must("add", "192.0.2.0/25", "--owner", "acme")
	h.must("add", "192.0.2.128/25", "--owner", "globex")
	conns := map[string]net.Conn{}
	expect := func(what string, n int, cut ...string) {
		t.Helper()
		if n != len(cut) {
			t.Errorf("%s: says that %d connections were cut, want %v", what, n, cut)
		}
		for name, conn := range conns {
			got, want := isCut(conn), slices.Contains(cut, name)
			if got != want {
				t.Errorf("%s: the connection of %s was cut: %v, want %v", what, name, got, want)
			}
			if got {
				delete(conns, name)
			}
		}
	}
	open := func() {
		t.Helper()
		for name, source := range map[string]string{"acme 7": "192.0.2.7", "acme 8": "192.0.2.8", "globex": "192.0.2.130", "nobody": "203.0.113.7"} {
			if conns[name] == nil {
				conns[name] = h.hold(netip.MustParseAddr(source), h.api4())
			}
		}
	}
	conns["acme at another port"] = h.hold(netip.MustParseAddr("192.0.2.7"), netip.AddrPortFrom(h.link().Host4, unprotected))
	open()
	expect("cut acme", ask[api.CutResult](h, "cut", "acme").Cut, "acme 7", "acme 8")
	open()
	expect("remove", *ask[api.Listing](h, "remove", "192.0.2.128/25", "--cut").Cut, "globex")
	h.must("add", "192.0.2.128/25", "--owner", "globex")
	open()
	expect("suspend a host", *ask[api.SuspendResult](h, "suspend", "192.0.2.7", "--cut").Cut, "acme 7")
	if r := ask[api.SuspendResult](h, "suspend", "192.0.2.8"); r.Cut != nil || isCut(conns["acme 8"]) {
		t.Errorf("without --cut: %+v", r)
	}
	expect("suspend again, and cut", *ask[api.SuspendResult](h, "suspend", "acme", "--cut").Cut, "acme 8")
	for _, subject := range []string{"192.0.2.7", "192.0.2.8", "acme"} {
		h.must("resume", subject)
	}
	open()
	h.must("add", "192.0.2.0/24")
	expect("remove what is listed by another", *ask[api.Listing](h, "remove", "192.0.2.0/24", "--cut").Cut)
}
