package e2e

// This file is about UDP servers on the number of a protected TCP port: HTTP/3 beside
// HTTP/2, which nobody remembers.

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// udpProblems are the subjects of the problems of UDP servers.
func (h *host) udpProblems() (subjects []string) {
	h.tb.Helper()
	for _, p := range h.status().Problems {
		if p.Code == "udp_unguarded" {
			subjects = append(subjects, p.Subject)
		}
	}
	return subjects
}

// Promise: a UDP socket that strangers reach on the number of a protected TCP port is a
// problem line, which leaves the gate enforcing and says how to guard it.
func TestUnguardedUDP(t *testing.T) {
	t.Parallel()
	h := &openHost{host: newHost(t)}
	h.serve()
	d := h.run(allowed...)
	h.echo(h.link().Host4)
	if !h.echoed(netlab.Unlisted4, h.api4()) {
		t.Fatal("a stranger's datagram is not answered")
	}
	for _, daemon := range []bool{true, false} {
		if !daemon {
			d.kill()
		}
		s := h.status()
		p, found := problem(s, "udp_unguarded", "udp/8443")
		if !found || !s.Enforcing || len(s.Problems) != 1 || p.Hint != "restart with --port udp/8443" || !strings.Contains(p.Text, "tcp/8443") {
			t.Errorf("daemon %v: enforcing %v with problems %+v", daemon, s.Enforcing, s.Problems)
		}
	}
	// The hint.
	h.run(append(bothPorts, allowed...)...)
	if found := h.udpProblems(); len(found) != 0 {
		t.Errorf("guarded, and a problem still: %v", found)
	}
	if h.echoed(netlab.Unlisted4, h.api4()) {
		t.Error("a stranger's datagram is answered")
	}
}

// Non-effects: sockets that no stranger reaches, and ports that are guarded otherwise. The
// one that is open is the control.
func TestGuardedUDPIsNoProblem(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run("--config", h.config(threeServices+"allow: [203.0.113.0/24]\n"))
	for _, addr := range []string{"127.0.0.1:8443", "[::1]:8443", "127.0.0.53:8444", ":8445", ":9999"} { // 8445 is strict
		conn := labtest.Must(labtest.ListenPacket(h.lab.Host, "udp", addr))(t)
		defer conn.Close()
	}
	// A client by the number of a port.
	var client net.Conn
	h.check(h.lab.Host.Do(func() (err error) {
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.link().Host4, strayPort))}
		client, err = dialer.DialContext(context.Background(), "udp", netip.AddrPortFrom(h.link().Wire4, 53).String())
		return err
	}))
	defer client.Close()
	if found := h.udpProblems(); len(found) != 0 {
		t.Errorf("problems %v, want none", found)
	}
	open := labtest.Must(labtest.ListenPacket(h.lab.Host, "udp", netip.AddrPortFrom(h.link().Host6, strayPort).String()))(t)
	p, found := problem(h.status(), "udp_unguarded", "udp/8444")
	if want := "add udp/8444 to the ports of service mail in " + filepath.Join(h.dir, "config.yaml") + ", then: xdpallow reload"; !found || p.Hint != want {
		t.Errorf("problem %+v, want the hint %q", p, want)
	}
	open.Close()
	if found := h.udpProblems(); len(found) != 0 {
		t.Errorf("closed, and problems %v", found)
	}
}
