package e2e

// This file is the second door by itself: on a link where no XDP program looks, while
// nobody runs, and under the hands of whoever opens it.

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// backDoor is a host with a second link that has no XDP program.
type backDoor struct {
	*host
	second *netlab.Link
}

func newBackDoor(tb testing.TB) *backDoor {
	tb.Helper()
	b := &backDoor{host: newHost(tb)}
	b.serve()
	b.second = labtest.Must(b.lab.AddLink("eth1"))(tb)
	return b
}

// refuses asserts what becomes of unlisted clients of the second link; listed ones
// always get in.
func (b *backDoor) refuses(unlisted netlab.Outcome) {
	b.tb.Helper()
	for _, c := range []struct {
		client, server netip.Addr
		want           netlab.Outcome
	}{
		{netlab.Unlisted4, b.second.Host4, unlisted},
		{netlab.Unlisted6, b.second.Host6, unlisted},
		{netlab.Listed4, b.second.Host4, netlab.Connected},
		{netlab.Listed6, b.second.Host6, netlab.Connected},
	} {
		labtest.Expect(b.tb, b.lab.Wire, c.client, netip.AddrPortFrom(c.server, port), c.want)
	}
}

// Promise: the backstop is pinned. It refuses while the daemon is dead, goes on
// with the next one without a gap, and ends with --backstop=off and with detach.
func TestBackstopOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	b.refuses(netlab.Connected)
	d := b.run(allowed...)
	b.refuses(netlab.Refused)
	if dropped := b.packets("backstop", "drop", "not_listed"); dropped != 2 {
		t.Errorf("%d drops of the backstop counted, 2 clients were refused", dropped)
	}
	if s := b.status(); !s.Enforcing || s.Backstop == nil || !s.Backstop.Attached || s.Backstop.LinkID == 0 || s.Backstop.ProgramID == 0 {
		t.Errorf("enforcing %v, backstop %+v", s.Enforcing, s.Backstop)
	}
	d.kill()
	b.refuses(netlab.Refused)
	if s := b.status(); s.Daemon != nil || s.Backstop == nil || !s.Backstop.Attached {
		t.Errorf("without a daemon: daemon %+v, backstop %+v", s.Daemon, s.Backstop)
	}
	d = b.run(allowed...)
	b.refuses(netlab.Refused)
	if dropped := b.packets("backstop", "drop", "not_listed"); dropped != 6 {
		t.Errorf("%d drops of the backstop counted, 6 clients were refused: its counters do not outlive the daemon", dropped)
	}

	d.stop()
	d = b.run(alone...)
	b.refuses(netlab.Connected)
	if s := b.status(); s.Backstop != nil || !s.Enforcing {
		t.Errorf("off: enforcing %v, backstop %+v", s.Enforcing, s.Backstop)
	}
	b.shut() // XDP is there still
	d.stop()
	b.run(allowed...)
	b.refuses(netlab.Refused)
	b.must("detach", "--yes")
	b.refuses(netlab.Connected)
	b.open()

	b.run(allowed...).kill()
	b.refuses(netlab.Refused)
	b.must("detach", "--yes") // nobody there to ask
	b.refuses(netlab.Connected)
	b.open()
}

// letIn is a socket lookup program that lets everybody in.
func letIn(tb testing.TB) *ebpf.Program {
	tb.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "let_in", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

// Promise: whoever opens the second door behind the daemon's back is found out by the
// next status, with a hint that mends it. The client that then gets in is the control.
func TestBackstopEnforcingIsAResult(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, code, text string
		do               func(b *backDoor)
	}{
		{"detached", "backstop_detached", "no longer attached", func(b *backDoor) {
			if err := b.pinnedLink("backstop").Detach(); err != nil {
				b.tb.Fatal(err)
			}
		}},
		{"replaced", "backstop_replaced", "not ours", func(b *backDoor) {
			if err := b.pinnedLink("backstop").Update(letIn(b.tb)); err != nil {
				b.tb.Fatal(err)
			}
		}},
		{"everybody listed", "backstop", "255.255.255.255", func(b *backDoor) { b.must("add", "0.0.0.0/0", "::/0", "--allow-any") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBackDoor(t)
			d := b.run(allowed...)
			if s := b.status(); !s.Enforcing || len(s.Problems) != 0 {
				t.Fatalf("enforcing %v with problems %+v before anything was done", s.Enforcing, s.Problems)
			}
			b.refuses(netlab.Refused)
			c.do(b)
			s := b.status() // one question, at once
			b.refuses(netlab.Connected)
			if p, found := problem(s, c.code, "backstop"); !found || s.Enforcing || p.Hint == "" || !strings.Contains(p.Text, c.text) {
				t.Errorf("enforcing %v with problems %+v, want %s that says %q", s.Enforcing, s.Problems, c.code, c.text)
			}
			if r := b.cli("status"); r.code != 0 || !strings.Contains(r.stdout, c.text) {
				t.Errorf("status: exit %d and no word of it:\n%s", r.code, r.stdout)
			}
			if c.name == "everybody listed" {
				b.must("remove", "0.0.0.0/0", "::/0")
			} else {
				d.stop()
				b.run(allowed...)
			}
			b.healed()
			b.refuses(netlab.Refused)
		})
	}
}

// Promise: the backstop is for new connections. One that is open lives on when its
// client is taken off the list; a new one does not open.
func TestBackstopLeavesOpenConnections(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	b.run(append([]string{"--port", "8443,9443"}, allowed...)...)
	const client = "198.51.100.7"
	listener := labtest.Must(b.lab.Host.Listen("tcp", b.second.Host4.String()+":9443"))(t)
	defer listener.Close()
	b.must("add", client)
	near := labtest.Must(b.lab.Wire.DialContext(context.Background(), "tcp", netip.MustParseAddr(client), listener.Addr().String()))(t)
	defer near.Close()
	far := labtest.Must(listener.Accept())(t)
	defer far.Close()
	talk := func(when string) {
		t.Helper()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			word := make([]byte, 5)
			_ = pair[1].SetDeadline(time.Now().Add(3 * time.Second))
			if _, err := pair[0].Write([]byte("hello")); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if _, err := pair[1].Read(word); err != nil || string(word) != "hello" {
				t.Fatalf("%s: %q, %v", when, word, err)
			}
		}
	}
	talk("listed")
	b.must("remove", client)
	b.refuses(netlab.Refused)
	talk("removed")
	if dropped := b.packets("backstop", "drop"); dropped != 2 {
		t.Errorf("%d drops of the backstop for 2 refused clients", dropped)
	}
}

// Promise: in audit the backstop counts whom it would refuse, and refuses nobody.
func TestBackstopAudits(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	b.run(append([]string{"--mode", "audit"}, allowed...)...)
	b.refuses(netlab.Connected)
	if audited, dropped := b.packets("backstop", "audit", "not_listed"), b.packets("backstop", "drop"); audited != 2 || dropped != 0 {
		t.Errorf("%d counted as audit and %d as drop, want 2 and 0", audited, dropped)
	}
}

// Documented: Linux looks up no socket for a datagram to many, but gives it to all. On an
// interface that nobody guards it is taken; on one that is guarded, XDP drops it.
func TestDatagramsToManyNeverMeetTheBackstop(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	b.run(append(bothPorts, allowed...)...)
	zone := func(name string) string { return fmt.Sprint(labtest.Must(b.lab.Wire.Index(name))(t)) }
	for _, c := range []struct {
		server, to string
		from       netip.Addr
		taken      bool
	}{
		{"0.0.0.0", "10.80.0.255", netlab.Unlisted4, false},
		{"0.0.0.0", "10.80.1.255", netlab.Unlisted4, true},
		{"::", "ff02::1%" + zone("eth0"), netlab.Unlisted6, false},
		{"::", "ff02::1%" + zone("eth1"), netlab.Unlisted6, true},
	} {
		server := labtest.Must(labtest.ListenPacket(b.lab.Host, "udp", netip.AddrPortFrom(netip.MustParseAddr(c.server), port).String()))(t)
		client := labtest.Must(b.lab.Wire.DialContext(t.Context(), "udp", c.from, netip.AddrPortFrom(netip.MustParseAddr(c.to), port).String()))(t)
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		wait := 10 * time.Second
		if !c.taken {
			wait = 300 * time.Millisecond
		}
		_ = server.SetReadDeadline(time.Now().Add(wait))
		if _, _, err := server.ReadFrom(make([]byte, 64)); (err == nil) != c.taken {
			t.Errorf("a datagram to %s: %v, want it taken: %t", c.to, err, c.taken)
		}
		client.Close()
		server.Close()
	}
	if counted := b.packets("backstop"); counted != 0 {
		t.Errorf("the backstop counted %d of them", counted)
	}
}
