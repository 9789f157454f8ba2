package e2e

// This file is about other programs at the socket lookups: one that selects a socket wins
// over the backstop, and the kernel does not tell which do.

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// selectsSocket is a socket lookup program that leads everybody to the listener.
func selectsSocket(tb testing.TB, listener net.Listener) *ebpf.Program {
	tb.Helper()
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sockets.Close() })
	file := labtest.Must(listener.(*net.TCPListener).File())(tb)
	defer file.Close()
	if err := sockets.Put(uint32(0), uint64(file.Fd())); err != nil {
		tb.Fatal(err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "select", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, sockets.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R0),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnSkAssign.Call(),
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.FnSkRelease.Call(),
			asm.Mov.Imm(asm.R0, 1).WithSymbol("pass"),
			asm.Return(),
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

// lookups attaches a program to the socket lookups of the host.
func (h *host) lookups(program *ebpf.Program) link.Link {
	h.tb.Helper()
	ns := labtest.Must(netns.GetFromPath(h.lab.Host.Path()))(h.tb)
	defer ns.Close()
	l := labtest.Must(link.AttachNetNs(int(ns), program))(h.tb)
	h.tb.Cleanup(func() { l.Close() })
	return l
}

// Promise: a gate that another program can overrule does not enforce. What the program
// does is not known to us, so one that lets the backstop decide is named as well.
func TestOthersAtTheSocketLookups(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		make     func(b *backDoor) *ebpf.Program
		unlisted netlab.Outcome
	}{
		{"select", func(b *backDoor) *ebpf.Program {
			var listener net.Listener
			config := net.ListenConfig{}
			config.SetMultipathTCP(false) // no map holds such a socket
			b.check(b.lab.Host.Do(func() (err error) {
				listener, err = config.Listen(context.Background(), "tcp", ":9000")
				return err
			}))
			b.tb.Cleanup(func() { listener.Close() })
			return selectsSocket(b.tb, listener)
		}, netlab.Connected},
		{"let_in", func(b *backDoor) *ebpf.Program { return letIn(b.tb) }, netlab.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBackDoor(t)
			program := c.make(b)
			d := b.run(allowed...)
			if s := b.status(); !s.Enforcing || len(s.Problems) != 0 {
				t.Fatalf("enforcing %v with problems %+v before anything was done", s.Enforcing, s.Problems)
			}
			attached := b.lookups(program)
			for _, daemon := range []bool{true, false} {
				if !daemon {
					d.kill()
				}
				s := b.status() // one question, at once
				labtest.Expect(t, b.lab.Wire, netlab.Unlisted4, apiAt(b.second), c.unlisted)
				labtest.Expect(t, b.lab.Wire, netlab.Listed4, apiAt(b.second), netlab.Connected)
				p, found := problem(s, "backstop_shared", "backstop")
				id, _ := labtest.Must(program.Info())(t).ID()
				if want := fmt.Sprintf("program %d (%s)", id, c.name); !found || s.Enforcing || !strings.Contains(p.Text, want) {
					t.Errorf("daemon %v: enforcing %v with problems %+v, want backstop_shared that names %s", daemon, s.Enforcing, s.Problems, want)
				}
				if want := fmt.Sprintf("bpftool prog show id %d", id); p.Hint != want {
					t.Errorf("hint %q, want %q", p.Hint, want)
				}
			}
			b.start(binary, allowed...).await("at the socket lookups too")
			if err := attached.Detach(); err != nil {
				t.Fatal(err)
			}
			b.healed()
			b.refuses(netlab.Refused)
		})
	}
}

// Promise: two gates of one namespace, each with a backstop and ports of its own, are no
// problem to each other: their pins lie beside each other, and neither selects sockets.
func TestTwoBackstops(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	labtest.Listen(t, b.lab.Host, ":9443")
	n := b.neighbour()
	labtest.Must(b.lab.AddLink("eth2"))(t)
	root := func(name string) []string { return []string{"--bpffs", filepath.Join(b.bpffs(), name)} }
	b.run(append(root("first"), allowed...)...)
	n.run(append(root("second"), "--interface", "eth2", "--port", "9443", "--allow", netlab.UnlistedPrefix4.String())...)
	for _, h := range []*host{b.host, n} {
		if s := h.status(); !s.Enforcing || len(s.Problems) != 0 {
			t.Errorf("enforcing %v with problems %+v", s.Enforcing, s.Problems)
		}
	}
	other := netip.AddrPortFrom(b.second.Host4, 9443)
	labtest.Expect(t, b.lab.Wire, netlab.Unlisted4, apiAt(b.second), netlab.Refused)
	labtest.Expect(t, b.lab.Wire, netlab.Listed4, apiAt(b.second), netlab.Connected)
	labtest.Expect(t, b.lab.Wire, netlab.Unlisted4, other, netlab.Connected)
	labtest.Expect(t, b.lab.Wire, netlab.Listed4, other, netlab.Refused)
}

// Promise: two gates of one namespace that guard the same port refuse each other's customers
// by their backstops; both say so, with the port, the other's pins and what to do. What is
// done so is right: each interface has its own customers, and nobody has a problem.
func TestTwoBackstopsAtOnePort(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	n := b.neighbour()
	labtest.Must(b.lab.AddLink("eth2"))(t)
	root := func(name string) []string { return []string{"--bpffs", filepath.Join(b.bpffs(), name)} }
	first, second := append(root("first"), allowed...), append(root("second"), "--interface", "eth2", "--port", "8443", "--allow", netlab.UnlistedPrefix4.String())
	one, two := b.run(first...), n.run(second...)
	labtest.Expect(t, b.lab.Wire, netlab.Listed4, apiAt(b.second), netlab.Refused) // by the other one
	for h, other := range map[*host]string{b.host: "second", n: "first"} {
		path := filepath.Join(b.bpffs(), other)
		if s := h.status(); !s.Enforcing || len(s.Problems) != 1 || s.Problems[0].Code != "port_shared" || s.Problems[0].Subject != path ||
			!strings.Contains(s.Problems[0].Text, "tcp/8443") || !strings.Contains(s.Problems[0].Hint, "--backstop off") {
			t.Errorf("beside %s: enforcing %v with problems %+v", path, s.Enforcing, s.Problems)
		}
	}
	one.stop()
	two.stop()
	b.run(append(first, "--backstop=off")...)
	n.run(append(second, "--backstop=off")...)
	for _, h := range []*host{b.host, n} {
		if s := h.status(); !s.Enforcing || len(s.Problems) != 0 {
			t.Errorf("without backstops: enforcing %v with problems %+v", s.Enforcing, s.Problems)
		}
	}
	labtest.Expect(t, b.lab.Wire, netlab.Listed4, apiAt(b.second), netlab.Connected)
}
