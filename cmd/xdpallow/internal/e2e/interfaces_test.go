package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// guarded returns how an interface is attached: "native", "generic" or "".
func (h *host) guarded(name string) string {
	h.tb.Helper()
	for _, i := range h.status().Interfaces {
		if i.Name == name && i.Attached {
			return i.Attach
		}
	}
	return ""
}

// apiAt is where the API is reached over a link.
func apiAt(link *netlab.Link) netip.AddrPort { return netip.AddrPortFrom(link.Host4, port) }

// Promise: several interfaces are guarded by one list, also one with a dot in its
// name; one that is up and addressed and that nobody asked for is told.
func TestSeveralInterfaces(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	dotted := labtest.Must(h.lab.AddLink("eth0.5"))(t)
	stray := labtest.Must(h.lab.AddLink("eth9"))(t)
	h.run(append(alone, "--interface", "eth0,eth0.5")...)
	s := h.status()
	if h.guarded("eth0") != "native" || h.guarded("eth0.5") != "native" || len(s.Interfaces) != 2 {
		t.Errorf("guarded are %+v, want eth0 and eth0.5, native", s.Interfaces)
	}
	if !slices.Equal(s.Uncovered, []string{"eth9"}) {
		t.Errorf("uncovered are %q, want eth9", s.Uncovered)
	}
	h.shut()
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, apiAt(dotted), netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(dotted), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(stray), netlab.Connected)
	if h.packets("eth0.5", "drop", "not_listed") == 0 {
		t.Error("the drops of eth0.5 are not counted as its own")
	}
}

// Promise: an interface may come late, go, and come back; it is guarded within
// seconds, meanwhile a problem, and its counters never go backwards.
func TestInterfacesComeAndGo(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(append(alone, "--interface", "eth0,eth1")...)
	if p, found := problem(h.status(), "interface_missing", "eth1"); !found || p.Hint == "" {
		t.Errorf("eth1 is not there, and status does not say so: %+v", h.status().Problems)
	}
	var before uint64
	for round := range 3 {
		link := labtest.Must(h.lab.AddLink("eth1"))(t)
		h.eventually("eth1 guarded", func() bool { return h.guarded("eth1") == "native" })
		h.healed()
		labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(link), netlab.Dropped)
		labtest.Expect(t, h.lab.Wire, netlab.Listed4, apiAt(link), netlab.Connected)
		counted := h.packets("eth1", "drop", "not_listed")
		if counted <= before {
			t.Errorf("round %d: %d drops on eth1 after %d: a counter went backwards", round, counted, before)
		}
		before = counted
		if err := h.lab.DeleteLink("eth1"); err != nil {
			t.Fatal(err)
		}
		h.broken("interface_missing", "eth1")
		if s := h.status(); !s.Enforcing {
			t.Errorf("an interface that lets nobody in made the gate open: %+v", s.Problems)
		}
		if now := h.packets("eth1", "drop", "not_listed"); now < counted {
			t.Errorf("round %d: %d drops of the deleted eth1, %d before", round, now, counted)
		}
	}
	// The last one that goes leaves nothing guarded, and that is not enforcing.
	if err := h.lab.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	h.broken("not_attached", "")
	if h.status().Enforcing {
		t.Error("enforcing with no interface")
	}
	labtest.Must(h.lab.AddLink("eth0"))(t)
	h.eventually("eth0 guarded again", func() bool { return h.guarded("eth0") == "native" })
	h.shut()

	// A flap is nothing to attach again for: it would reset the NIC.
	link := h.status().Interfaces[0].LinkID
	for _, up := range []bool{false, true} {
		if err := h.lab.Host.SetUp("eth0", up); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if now := h.status().Interfaces[0]; now.LinkID != link || !now.Attached {
		t.Errorf("down and up again made link %d of %d: %+v", now.LinkID, link, now)
	}
}

// Promise: a bridge stands for its ports, which are followed as they come; a macvlan
// for the device below it.
func TestUpperDevices(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	handle := h.lab.Host.Netlink()
	labtest.Must(h.lab.AddLink("eth1"))(t)
	labtest.Must(h.lab.AddLink("eth2"))(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	lower := labtest.Must(handle.LinkByName("eth0"))(t)
	above := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: lower.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	for _, device := range []netlink.Link{bridge, above} {
		if err := handle.LinkAdd(device); err != nil {
			t.Fatal(err)
		}
	}
	join := func(name string) {
		t.Helper()
		if err := handle.LinkSetMaster(labtest.Must(handle.LinkByName(name))(t), bridge); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (names []string) {
		for _, i := range h.status().Interfaces {
			if i.Attached {
				names = append(names, i.Name)
			}
		}
		return names
	}
	join("eth1")
	h.run(append(allowed, "--interface", "mac0,br0")...)
	if got := names(); !slices.Equal(got, []string{"eth0", "eth1"}) {
		t.Errorf("guarded are %q, want what carries mac0 and br0: eth0, eth1", got)
	}
	join("eth2")
	h.eventually("the new port guarded", func() bool { return slices.Equal(names(), []string{"eth0", "eth1", "eth2"}) })
	if h.guarded("eth2") != "native" {
		t.Error("the new port is not native")
	}
}

// Promise: an interface that is no longer named stays shut and up to date, and is a
// problem, until detach --interface.
func TestUnnamedInterfaceStaysShut(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	other := labtest.Must(h.lab.AddLink("eth1"))(t)
	h.run(append(alone, "--interface", "eth0,eth1")...).stop()
	h.run(append(alone, "--interface", "eth0")...)
	p := h.broken("interface_not_named", "eth1")
	if p.Hint != "xdpallow detach --interface eth1 --socket "+h.socket() || !h.status().Enforcing {
		t.Errorf("hint %q, enforcing %v", p.Hint, h.status().Enforcing)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(other), netlab.Dropped)
	h.must("add", netlab.Unlisted4.String())
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(other), netlab.Connected)
	h.must("remove", netlab.Unlisted4.String())
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(other), netlab.Dropped)

	h.must(append(strings.Fields(p.Hint)[1:], "--yes")...)
	h.healed()
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, apiAt(other), netlab.Connected)
	h.shut()
}

// Promise: changed ports and modes at a start are one new generation, and the log
// says from what to what.
func TestChangedServicesAreOneGeneration(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	labtest.Listen(t, h.lab.Host, ":9443")
	h.serve()
	h.run(allowed...).stop()
	before := ask[api.Status](h, "status").Generation
	d := h.run(append(allowed, "--port", "9443,udp/53", "--mode", "audit")...)
	if s := h.status(); s.Generation != before+1 || len(s.Services) != 1 || len(s.Services[0].Ports) != 2 {
		t.Errorf("generation %d after %d, services %+v", s.Generation, before, s.Services)
	}
	if want := "services changed: api [tcp/8443] enforce, drop syn → api [tcp/9443 udp/53] audit, drop syn"; !strings.Contains(d.logged(), want) {
		t.Errorf("the log does not say %q:\n%s", want, d.logged())
	}
	d.stop()
	d = h.run(append(allowed, "--port", "9443,udp/53")...)
	if now := h.status().Generation; now != before+2 {
		t.Errorf("generation %d after %d", now, before+1)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, netip.AddrPortFrom(h.link().Host4, 9443), netlab.Dropped)
	h.knock(netlab.Connected, netlab.Connected) // 8443 is protected no more
	d.stop()
	d = h.run(append(allowed, "--port", "9443,udp/53")...)
	if now := h.status().Generation; now != before+2 || strings.Contains(d.logged(), "services changed") {
		t.Errorf("a start that changes nothing made generation %d of %d:\n%s", now, before+2, d.logged())
	}
}
