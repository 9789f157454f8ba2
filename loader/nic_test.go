//go:build nic

package loader_test

// This file holds what only a NIC's driver can break; it runs where the kernels tool
// gave the guest two NICs.

import (
	"net/netip"
	"os"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise (0 leaks): on a NIC that is attached, no stranger gets in, also after its driver
// has set its queues up anew.
func TestNIC(t *testing.T) {
	want := loader.Mode(os.Getenv("XDPALLOW_NIC"))
	if want == "" {
		t.Fatal("no NICs: kernels -nic MODEL -env XDPALLOW_NIC=native")
	}
	h := newHost(t)
	if err := h.lab.DeleteLink("eth0"); err != nil {
		t.Fatal(err)
	}
	if _, err := labtest.AddPair(h.lab, "eth0", "eth0", "eth1"); err != nil {
		t.Fatal(err)
	}
	gate := h.published()
	defer gate.Close()
	h.knock(netlab.Connected, netlab.Connected)
	if at := h.attach(gate, "eth0", loader.Auto); at.Mode != want {
		t.Errorf("attached %s (%s), want %s", at.Mode, at.Reason, want)
	}
	still := func(when string) {
		t.Helper()
		before := h.counted(gate, "eth0")[refused4]
		for range 4 {
			h.lab.Link("eth0").Send(h.syn(netlab.Unlisted4))
		}
		eventually(t, when+": every stranger is refused", func() bool { return h.counted(gate, "eth0")[refused4] == before+4 })
	}
	still("attached")
	h.knock(netlab.Connected, netlab.Dropped)
	for _, act := range []struct {
		what string
		do   func() error
	}{
		{"new MTU", func() error { return labtest.SetMTU(h.lab.Host, "eth0", 1400) }},
		{"down and up", func() error {
			if err := h.lab.Host.SetUp("eth0", false); err != nil {
				return err
			}
			return h.lab.Host.SetUp("eth0", true)
		}},
	} {
		if err := act.do(); err != nil {
			t.Fatal(err)
		}
		still(act.what)
	}
}

func (h *host) syn(from netip.Addr) []byte {
	eth0 := h.lab.Link("eth0")
	frame, err := eth0.SYN(netip.AddrPortFrom(from, 2000), netip.AddrPortFrom(eth0.Host4, port))
	if err != nil {
		h.Fatal(err)
	}
	return frame
}
