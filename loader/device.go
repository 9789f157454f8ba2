package loader

// This file looks at an interface before anything is attached to it: what a start would
// meet there. Nothing is changed but by TryNative, which is asked for by name.

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Device is what can be told of an interface without touching it.
type Device struct {
	netdev.Device
	Attached  Mode // of the program that the interface has; "" is none
	Ours      bool // that program is what our link runs
	ProgramID uint32
}

// Examine looks at the interface of that name, for a gate under root, which may not be
// there. The error is os.ErrNotExist when there is no such interface, or
// *netdev.FramingError or *ForeignError when nothing can be attached to it; beside the last
// two the Device is whole.
func Examine(root, name string) (Device, error) {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return Device{Device: netdev.Device{Name: name}}, netdev.NotFound(name, err)
	}
	d := Device{Device: netdev.Describe(device), Attached: modeOf(device)}
	if d.Attached != "" {
		d.ProgramID = device.Attrs().Xdp.ProgId
		d.Ours = slices.Contains((&Gate{pins: pins.Root(root)}).runs(name), d.ProgramID)
		if !d.Ours {
			return d, foreign(name, nil)
		}
	}
	_, err = netdev.BeginsWithIP(device)
	return d, err
}

// runs returns which program the pinned link of an interface runs; none where there is no
// link, or it may not be opened.
func (g *Gate) runs(name string) []uint32 {
	pinned, err := link.LoadPinnedLink(g.pins.Link(name), nil)
	if err != nil {
		return nil
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return nil
	}
	return []uint32{uint32(info.Program)}
}

// TryNative attaches a program that passes everything natively, and takes it off at once:
// what is tried is the driver. Some drivers reset the link for it. An interface that has a
// program is left alone, which is a *ForeignError; another error says why native XDP is not
// to be had.
func TryNative(name string) error {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return netdev.NotFound(name, err)
	}
	if modeOf(device) != "" {
		return foreign(name, nil)
	}
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		return err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "xdpallow_try", Type: ebpf.XDP, License: "GPL",
		Flags:        spec.Programs[bpf.XdpallowProgXdpallow].Flags, // a driver asks for those of the program
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, passes), asm.Return()},
	})
	if err != nil {
		return needs.Explain(fmt.Errorf("%s: load a program that passes everything: %w", name, err))
	}
	defer program.Close()
	tried, _, err := ladder(program, device, Native)
	if err != nil {
		return needs.Explain(err)
	}
	return errors.Join(tried.Detach(), tried.Close())
}

const passes = 2 // XDP_PASS
