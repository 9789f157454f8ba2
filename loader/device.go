package loader

// This file looks at an interface before anything is attached to it: what a start would
// meet there. Nothing is changed but by TryNative, which is asked for by name.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/loader/ethtool"
)

// Device is what can be told of an interface without touching it.
type Device struct {
	Name      string
	Driver    string // as ethtool names it, or the kind of device
	MTU       int
	Up        bool
	Queues    int       // 0 where the driver does not tell
	Declares  *Declared // nil where the kernel does not tell, before 6.3
	Offloads  []Offload
	Attached  Mode // of the program that the interface has; "" is none
	Ours      bool // that program is what our link runs
	ProgramID uint32
}

// Declared is what a driver declares of native XDP.
type Declared struct {
	Runs  bool // it runs programs
	Large bool // also on frames of more than a page
}

// Page is the largest MTU whose frames fit a page of 4 KiB beside what XDP needs there; some
// drivers have less room.
const Page = 3498

// Examine looks at the interface of that name, for a gate under root, which may not be
// there. The error is os.ErrNotExist when there is no such interface, or *FramingError or
// *ForeignError when nothing can be attached to it; beside the last two the Device is whole.
func Examine(root, name string) (Device, error) {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return Device{Name: name}, notFound(name, err)
	}
	a := device.Attrs()
	d := Device{
		Name: name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0,
		Attached: modeOf(device), Declares: declaresNative(a.Index), Offloads: offloads(name),
	}
	if d.Driver, err = ethtool.Driver(name); err != nil || d.Driver == "" {
		d.Driver = device.Type()
	}
	if channels, err := ethtool.GetChannels(name); err == nil {
		d.Queues = int(channels.RxCount + channels.Combined)
	}
	if d.Attached != "" {
		d.ProgramID = a.Xdp.ProgId
		d.Ours = slices.Contains((&Gate{root: root}).runs(name), d.ProgramID)
		if !d.Ours {
			return d, foreign(name, nil)
		}
	}
	_, err = beginsWithIP(device)
	return d, err
}

// runs returns which program the pinned link of an interface runs; none where there is no
// link, or it may not be opened.
func (g *Gate) runs(name string) []uint32 {
	pinned, err := link.LoadPinnedLink(g.link(name), nil)
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

// Of linux/netdev.h.
const (
	netdevFamily      = "netdev"
	netdevVersion     = 1
	netdevDevGet      = 1
	netdevIfindex     = 1
	netdevXDPFeatures = 3
	netdevBasic       = 1 << 0 // NETDEV_XDP_ACT_BASIC
	netdevFragments   = 1 << 5 // NETDEV_XDP_ACT_RX_SG
)

// genericHeader is struct genlmsghdr. That of netlink/nl sends two bytes of other memory in
// the place of the last two, which must be 0.
type genericHeader [4]byte

func (genericHeader) Len() int { return len(genericHeader{}) }

func (h genericHeader) Serialize() []byte { return h[:] }

// declaresNative asks the kernel whether the driver of an interface says that it runs XDP;
// nil where the kernel has no answer. What it says it may refuse all the same, for the
// interface as it is set up.
func declaresNative(index int) *Declared {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return nil
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	request.AddData(genericHeader{netdevDevGet, netdevVersion})
	request.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) != 1 || len(answers[0]) < len(genericHeader{}) {
		return nil
	}
	attributes, err := nl.ParseRouteAttr(answers[0][len(genericHeader{}):])
	if err != nil {
		return nil
	}
	for _, at := range attributes {
		if at.Attr.Type&nl.NLA_TYPE_MASK == netdevXDPFeatures && len(at.Value) == 8 {
			features := binary.NativeEndian.Uint64(at.Value)
			return &Declared{Runs: features&netdevBasic != 0, Large: features&netdevFragments != 0}
		}
	}
	return nil
}

// TryNative attaches a program that passes everything natively, and takes it off at once:
// what is tried is the driver. Some drivers reset the link for it. An interface that has a
// program is left alone, which is a *ForeignError; another error says why native XDP is not
// to be had.
func TryNative(name string) error {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return notFound(name, err)
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
		return explain(fmt.Errorf("%s: load a program that passes everything: %w", name, err))
	}
	defer program.Close()
	tried, _, err := ladder(program, device, Native)
	if err != nil {
		return explain(err)
	}
	return errors.Join(tried.Detach(), tried.Close())
}

const passes = 2 // XDP_PASS
