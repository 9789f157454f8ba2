package loader_test

import (
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise (0 leaks): a gate is of one network namespace. From another one, where the same
// names and indexes are other interfaces, nobody adopts, unpins, detaches or describes it,
// with the backstop and without; the error says why. At home it is adopted as ever.
func TestGateOfAnotherNamespace(t *testing.T) {
	for name, backstop := range map[string]bool{"xdp alone": false, "with the backstop": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			gate := h.published()
			h.attach(gate, "eth0", loader.Native)
			if backstop {
				h.do(gate.AttachBackstop)
			}
			h.must(gate.Close())
			away := func(what string, try func() error) {
				t.Helper()
				err := h.lab.Wire.Do(try)
				if err == nil || !strings.Contains(err.Error(), "another network namespace") {
					t.Errorf("%s from another namespace: %v", what, err)
				}
				h.knock(netlab.Connected, netlab.Dropped)
			}
			away("open", func() error {
				g, err := loader.Open(h.root)
				if err != nil {
					return err
				}
				defer g.Close()
				if _, err := g.FollowRenames(); err != nil {
					return err
				}
				_, err = g.Attach("eth0", loader.Auto)
				return err
			})
			away("read", func() error {
				g, err := loader.OpenReader(h.root)
				if err == nil {
					g.Close()
				}
				return err
			})
			away("detach", func() error {
				_, _, err := loader.DetachRoot(h.root, nil)
				return err
			})
			h.do(func() (err error) {
				if gate, err = loader.Open(h.root); err != nil {
					return err
				}
				_, err = gate.FollowRenames()
				return err
			})
			defer gate.Close()
			if at := h.attach(gate, "eth0", loader.Native); !at.Adopted || !at.Ours {
				t.Errorf("at home: %+v, want our link, adopted", at)
			}
		})
	}
}

// Promise: an interface that moved to another namespace takes nobody's name: one that has
// its index here is not renamed after it.
func TestInterfaceMovedAway(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	labtest.Must(h.lab.AddLink("eth1"))(t)
	gate := h.published()
	defer gate.Close()
	h.attach(gate, "eth0", loader.Native)
	h.attach(gate, "eth1", loader.Native)
	handle := h.lab.Host.Netlink()
	moved := labtest.Must(handle.LinkByName("eth1"))(t)
	file := labtest.Must(os.Open(labtest.New(t).Host.Path()))(t)
	defer file.Close()
	h.must(handle.LinkSetNsFd(moved, int(file.Fd())))
	h.must(handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", Index: moved.Attrs().Index}}))
	h.do(func() error {
		_, err := gate.FollowRenames()
		return err
	})
	if linked := labtest.Must(gate.Linked())(t); strings.Join(linked, " ") != "eth0 eth1" {
		t.Errorf("linked are %q", linked)
	}
}
