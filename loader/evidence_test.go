package loader_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: many frames received and none counted is a driver that forgot its program;
// few, or some that were counted, or counters that began anew, accuse nobody.
func TestRuns(t *testing.T) {
	before := loader.Traffic{LinkID: 7, Received: 1000, Counted: 900}
	for _, c := range []struct {
		what           string
		now            loader.Traffic
		ran, forgotten bool
	}{
		{"nothing came in", before, false, false},
		{"all was counted", loader.Traffic{LinkID: 7, Received: 2000, Counted: 1900}, true, false},
		{"one of many was counted: the others may be RDMA", loader.Traffic{LinkID: 7, Received: 9000, Counted: 901}, true, false},
		{"dropped frames are not received, to some drivers", loader.Traffic{LinkID: 7, Received: 1000, Counted: 5000}, true, false},
		{"few came in", loader.Traffic{LinkID: 7, Received: 1100, Counted: 900}, false, false},
		{"many came in and none was counted", loader.Traffic{LinkID: 7, Received: 1101, Counted: 900}, false, true},
		{"one came in and was refused by the backstop", loader.Traffic{LinkID: 7, Received: 1001, Counted: 900, Refused: 1}, false, true},
		{"one was counted, and the backstop refused what a redirect made of it", loader.Traffic{LinkID: 7, Received: 1001, Counted: 901, Refused: 1}, true, false},
		{"another link", loader.Traffic{LinkID: 8, Received: 9000, Counted: 900}, false, false},
		{"the device counts from 0 again", loader.Traffic{LinkID: 7, Received: 300, Counted: 900}, false, false},
		{"the counters ended with a detach", loader.Traffic{LinkID: 7, Received: 9000, Counted: 0}, false, false},
	} {
		if ran, forgotten := c.now.Runs(before); ran != c.ran || forgotten != c.forgotten {
			t.Errorf("%s: ran %v, forgotten %v; want %v, %v", c.what, ran, forgotten, c.ran, c.forgotten)
		}
	}
}

// Promise: what a device received and its program was not given is told from what it was
// given by the kernel's own numbers: strangers on a queue that runs no program, as a
// veth's late one on 6.18, get in and are evidence, and others are refused and are none.
func TestTrafficOfALateQueue(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	h.attach(gate, "eth0", loader.Native)
	h.must(h.lab.Host.SetQueues("eth0", 2, 1), h.lab.Wire.SetQueues("eth0", 1, 2))
	var passed int
	for flow := range uint16(12) { // the queue is picked by a hash of the flow
		if h.burst(gate, 2000+flow) {
			passed++
		}
	}
	t.Logf("%d of 12 flows got in unseen", passed)
	h.do(func() error { return gate.Relink("eth0") })
	for flow := range uint16(12) {
		if h.burst(gate, 2000+flow) {
			t.Error("a flow got in unseen after the program was linked again")
		}
	}
}

// burst sends many SYNs of a stranger from one port, and reports whether they got in.
// Those that did must be evidence, and the others must be none.
func (h *host) burst(gate *loader.Gate, from uint16) (in bool) {
	h.Helper()
	const frames = 200
	eth0 := h.lab.Link("eth0")
	frame := labtest.Must(eth0.SYN(netip.AddrPortFrom(netlab.Unlisted4, from), netip.AddrPortFrom(eth0.Host4, closed)))(h.T)
	traffic := func() (now loader.Traffic) {
		h.do(func() (err error) {
			now, err = gate.Traffic("eth0")
			return err
		})
		return now
	}
	before, segments := traffic(), labtest.TCPInSegs(h, h.lab.Host)
	h.must(eth0.Send(slices.Repeat([][]byte{frame}, frames)...))
	now := before
	eventually(h.T, "every frame comes in, and ends somewhere", func() bool {
		now = traffic()
		in = labtest.TCPInSegs(h, h.lab.Host)-segments >= frames
		return now.Received-before.Received >= frames && (in || now.Counted-before.Counted >= frames)
	})
	unseen := in && now.Counted == before.Counted // and no neighbour was seen meanwhile
	if ran, forgotten := now.Runs(before); ran == unseen || forgotten != unseen {
		h.Errorf("strangers got in: %v; ran %v, forgotten %v (%+v, then %+v)", in, ran, forgotten, before, now)
	}
	return in
}
