package loader

// This file tells what a start would find at an interface. Only TryNative changes anything.

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Device describes an interface and the XDP program that it has.
type Device struct {
	netdev.Device
	Attached  Mode // of the program that the interface has; "" is none
	Ours      bool // our link runs that program
	ProgramID uint32
}

// Examine describes an interface for a gate under root, which need not exist. The error is
// os.ErrNotExist when there is no such interface. It is *netdev.FramingError or *ForeignError
// when nothing can be attached to it; the Device is then complete.
func Examine(root, name string) (Device, error) {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return Device{Device: netdev.Device{Name: name}}, netdev.NotFound(name, err)
	}
	d := Device{Device: netdev.Describe(device), Attached: modeOf(device)}
	if d.Attached != "" {
		d.ProgramID = device.Attrs().Xdp.ProgId
		info, err := pinnedInfo(pins.Root(root).Link(name)) // an error: no link, or not ours to open
		if d.Ours = err == nil && uint32(info.Program) == d.ProgramID; !d.Ours {
			return d, foreign(name, nil)
		}
	}
	_, err = netdev.BeginsWithIP(device)
	return d, err
}

// TryNative finds out whether the driver takes a native program: it attaches one that passes
// everything, and takes it off at once. Some drivers reset the link for it. Returns a
// *ForeignError, and tries nothing, when the interface has a program; another error says why
// native XDP is unavailable.
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
	tried, _, err := attachBest(program, device, Native)
	if err != nil {
		return needs.Explain(err)
	}
	return errors.Join(tried.Detach(), tried.Close())
}

const passes = 2 // XDP_PASS
