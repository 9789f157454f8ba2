// The second door on the running kernel: it refuses what no XDP program has seen, never
// the host itself, and is handed over as the links of interfaces are. It guards the
// promise of 0 leaks where traffic comes in beside the gate.
package loader_test

import (
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps"
)

func TestBackstop(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	first := h.backstop(gate)
	h.knock(netlab.Connected, netlab.Refused)
	h.local()
	h.refusals(gate, 2)
	if err := gate.Close(); err != nil {
		t.Fatal(err)
	}
	h.knock(netlab.Connected, netlab.Refused) // nobody is behind it, and it stays

	gate = h.open()
	defer gate.Close()
	second := h.backstop(gate)
	if second.LinkID != first.LinkID || second.ProgramID == first.ProgramID {
		t.Errorf("handed over: %+v after %+v, want the same link and a new program", second, first)
	}
	h.knock(netlab.Connected, netlab.Refused)
	h.refusals(gate, 6)
	h.do(gate.DetachBackstop)
	h.knock(netlab.Connected, netlab.Connected)
	if gate.Up() {
		t.Error("detached, and something is still up")
	}
}

// backstop puts the second door up and looks at it.
func (h *host) backstop(gate *loader.Gate) (at loader.Backstop) {
	h.Helper()
	h.do(func() error {
		own, err := ownAddresses()
		if err != nil {
			return err
		}
		if err := gate.Tables.SetLocal(own); err != nil {
			return err
		}
		if err := gate.AttachBackstop(); err != nil {
			return err
		}
		at, err = gate.Backstop()
		return err
	})
	if !at.Attached || !at.Ours || at.LinkID == 0 {
		h.Fatalf("the backstop is %+v", at)
	}
	return at
}

// local expects that the host reaches itself by each of its addresses, from each.
func (h *host) local() {
	h.Helper()
	eth0 := h.lab.Link("eth0")
	loopback4, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, c := range []struct{ from, to netip.Addr }{
		{loopback4, loopback4},
		{loopback6, loopback6},
		{eth0.Host4, eth0.Host4},
		{eth0.Host6, eth0.Host6},
		{eth0.Host4, loopback4},
		{loopback4, eth0.Host4},
	} {
		labtest.Expect(h.T, h.lab.Host, c.from, netip.AddrPortFrom(c.to, port), netlab.Connected)
	}
}

// refusals expects the shadow program's answers, which are counted nowhere, and so many counted
// refusals of each family.
func (h *host) refusals(gate *loader.Gate, want uint64) {
	h.Helper()
	for source, refused := range map[netip.Addr]bool{
		netlab.Listed4: false, netlab.Listed6: false, netlab.Unlisted4: true, netlab.Unlisted6: true,
	} {
		if got := labtest.Must(gate.AskBackstop(source, true, port))(h.T); got != refused {
			h.Errorf("the shadow program of the backstop refuses %v: %v, want %v", source, got, refused)
		}
	}
	counters, ok := gate.BackstopCounters()
	if !ok {
		h.Fatal("the backstop has no counters")
	}
	series, counts, err := counters.Read()
	if err != nil {
		h.Fatal(err)
	}
	for i, s := range series {
		if s.Reason == maps.NotListed && s.Verdict == maps.Drop && s.Family != maps.Other && counts[i].Packets != want/2 {
			h.Errorf("%v: %d refusals, want %d", s, counts[i].Packets, want/2)
		}
		if counts[i].Packets > 0 && s.Reason != maps.NotListed && s.Reason != maps.Listed {
			h.Errorf("%v: %d counted", s, counts[i].Packets)
		}
	}
}
