package loader_test

// This file lets a driver refuse the program of a later daemon.

import (
	"errors"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// jumbo sets an MTU beside which a veth takes no program of one page.
func (h *host) jumbo(mtu int) {
	h.Helper()
	h.must(labtest.SetMTU(h.lab.Host, "eth0", mtu), labtest.SetMTU(h.lab.Wire, "eth0", mtu))
}

// Promise: a daemon whose program the driver refuses, as one does when the MTU has grown,
// goes on with the program that the former daemon attached, and its lists; what was
// refused names the MTU and a command that helps. With another MTU it takes its own.
func TestRefusedProgramLeavesTheFormer(t *testing.T) {
	h := newHost(t)
	gate := h.published()
	former := h.attach(gate, "eth0", loader.Native)
	gate.Close()
	h.jumbo(9000)
	loader.WithOnePageFrames(t)

	gate = h.published()
	defer gate.Close()
	at := h.attach(gate, "eth0", loader.Auto)
	if !at.Adopted || !at.Ours || at.Mode != loader.Native || at.LinkID != former.LinkID || at.ProgramID != former.ProgramID {
		t.Errorf("guarded as %+v, was %+v", at, former)
	}
	if at.Kept == nil || !strings.Contains(at.Kept.Error(), "9000") || at.Kept.Hint() != "ip link set dev eth0 mtu 3492" {
		t.Errorf("the program of the former daemon is kept because of %v", at.Kept)
	}
	h.ask(gate, "eth0")
	h.knock(netlab.Connected, netlab.Dropped)

	h.jumbo(1500)
	if at = h.attach(gate, "eth0", loader.Auto); at.Kept != nil || at.ProgramID == former.ProgramID || at.LinkID != former.LinkID {
		t.Errorf("with a small MTU guarded as %+v, was %+v", at, former)
	}
	h.ask(gate, "eth0")
	h.knock(netlab.Connected, netlab.Dropped)
}

// Promise: where the former program is of another schema, whose lists we do not keep, it
// runs on all the same, and the error names MTU and command.
func TestRefusedProgramOfAnotherSchema(t *testing.T) {
	h := newHost(t)
	gate := h.published()
	former := h.attach(gate, "eth0", loader.Native)
	gate.Close()
	h.jumbo(9000)
	loader.WithOnePageFrames(t)
	ours := pins.Schema
	pins.Schema = "v999"
	t.Cleanup(func() { pins.Schema = ours })

	gate = h.published()
	h.do(func() error {
		at, err := gate.Attach("eth0", loader.Auto)
		var refused *loader.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "9000") || refused.Hint() != "ip link set dev eth0 mtu 3492" {
			t.Errorf("attached %+v, %v", at, err)
		}
		return nil
	})
	gate.Close()
	if device := labtest.Must(h.lab.Host.Netlink().LinkByName("eth0"))(t); device.Attrs().Xdp == nil || device.Attrs().Xdp.ProgId != former.ProgramID {
		t.Errorf("runs %+v, ran program %d", device.Attrs().Xdp, former.ProgramID)
	}
	h.knock(netlab.Connected, netlab.Dropped)
}

// Promise: a driver that refuses our program as it is put back says so with MTU and command.
func TestRefusedRelink(t *testing.T) {
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	h.attach(gate, "eth0", loader.Native)
	h.jumbo(9000)
	loader.WithOnePageFrames(t)
	var refused *loader.RefusedError
	h.do(func() error {
		if err := gate.Relink("eth0"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "9000") {
			t.Errorf("linked again: %v", err)
		}
		return nil
	})
	h.knock(netlab.Connected, netlab.Dropped)
}

// Promise: where native XDP is asked for and unavailable because of the MTU, the error names it
// and a command that helps.
func TestRefusedNative(t *testing.T) {
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	h.jumbo(9000)
	loader.WithOnePageFrames(t)
	h.do(func() error {
		at, err := gate.Attach("eth0", loader.Native)
		var refused *loader.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "9000") || refused.Hint() != "ip link set dev eth0 mtu 3492" {
			t.Errorf("attached %+v, %v", at, err)
		}
		return nil
	})
	h.knock(netlab.Connected, netlab.Connected)
}
