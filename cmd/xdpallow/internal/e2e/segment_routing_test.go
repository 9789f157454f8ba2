package e2e

// This file is segment routing over IPv6 as operators run it: a listed router wraps the
// packets of clients, and the host takes them out again.

import (
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Promise: what a listed source wraps passes while the backstop judges what is inside;
// without it nothing would, so it is dropped as tunnel, whoever sends it. The program
// knows which it is now, and not only what it was at the start.
func TestSegmentRoutingNeedsTheBackstop(t *testing.T) {
	t.Parallel()
	h := newOpenHost(t)
	wire := listenIn(t, h.lab.Wire, "eth0")
	port := uint16(4000)
	opens := func(outer, inner netip.Addr) bool {
		port++ // a second SYN of the same client says nothing new
		client := netip.AddrPortFrom(inner, port)
		return h.answers(wire, h.link(), h.encapsulate(outer, client), client)
	}
	passes := func(when string) {
		t.Helper()
		h.eventually(when+": a listed client behind a listed router opens", func() bool { return opens(netlab.Listed6, netlab.Listed6) })
		if opens(netlab.Listed6, netlab.Unlisted6) {
			t.Errorf("%s: an unlisted client behind a listed router opens", when)
		}
		if opens(netlab.Unlisted6, netlab.Listed6) {
			t.Errorf("%s: a faked listed client in a packet of an unlisted source opens", when)
		}
	}
	drops := func(when string) {
		t.Helper()
		before := h.packets("xdp", "drop", "tunnel")
		for _, inner := range []netip.Addr{netlab.Listed6, netlab.Unlisted6} {
			if opens(netlab.Listed6, inner) {
				t.Errorf("%s: %s opens from inside a tunnel that nobody judges", when, inner)
			}
		}
		if dropped := h.packets("xdp", "drop", "tunnel") - before; dropped != 2 {
			t.Errorf("%s: %d packets dropped as tunnel, 2 were sent", when, dropped)
		}
	}
	d := h.run(allowed...)
	passes("with the backstop")
	d.kill()
	passes("with the backstop and no daemon")

	d = h.run(alone...)
	drops("without the backstop")
	d.kill()
	drops("with neither backstop nor daemon")

	d = h.run(allowed...)
	passes("with the backstop again")
	if err := h.pinnedLink("backstop").Detach(); err != nil {
		t.Fatal(err)
	}
	h.status() // asks the kernel
	drops("with a backstop that somebody detached")
	d.stop()
	h.run(allowed...)
	passes("with the backstop put back")
}
