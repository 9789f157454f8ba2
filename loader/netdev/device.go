package netdev

// This file describes one interface without changing it.

import (
	"encoding/binary"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev/ethtool"
)

// Device describes an interface.
type Device struct {
	Name     string
	Driver   string // as ethtool names it, or the kind of device
	MTU      int
	Up       bool
	Queues   int       // 0 where the driver does not tell
	Declares *Declared // nil where the kernel does not tell, before 6.3
	Offloads []Offload
}

// Declared is what a driver declares about native XDP.
type Declared struct {
	Runs  bool // it runs programs
	Large bool // also on frames that are larger than a page
}

// Page is the largest MTU, in bytes, whose frames fit a page of 4 KiB together with what XDP
// needs there: that of vmxnet3, which has the least room of the drivers that were tried.
const Page = 3492

// Describe returns what device and its driver say about themselves. What they do not say is
// the zero value.
func Describe(device netlink.Link) Device {
	a := device.Attrs()
	d := Device{
		Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0,
		Declares: declaresNative(a.Index), Offloads: Offloads(a.Name),
	}
	driver, err := ethtool.Driver(a.Name)
	if d.Driver = driver; err != nil || driver == "" {
		d.Driver = device.Type()
	}
	if channels, err := ethtool.GetChannels(a.Name); err == nil {
		d.Queues = int(channels.RxCount + channels.Combined)
	}
	return d
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

// genericHeader is struct genlmsghdr: command, version and two bytes that must be 0. The type
// of netlink/nl sends whatever lies in memory as those two.
type genericHeader [4]byte

func (genericHeader) Len() int { return len(genericHeader{}) }

func (h genericHeader) Serialize() []byte { return h[:] }

// declaresNative asks the kernel whether the driver of an interface declares native XDP; nil
// when the kernel has no answer. A driver that declares it can still refuse a program because
// of how the interface is set up.
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

// Offload is a receive offload that is on and that makes drivers refuse native XDP.
type Offload struct {
	Name  string // as `ethtool -k` has it
	Fixed bool   // it cannot be turned off here, as in a VM whose host has it on
}

func (o Offload) String() string {
	if o.Fixed {
		return o.Name + " is on [fixed]"
	}
	return o.Name + " is on"
}

// Offloads returns those of an interface; none when the driver does not tell.
func Offloads(name string) (on []Offload) {
	features, err := ethtool.GetFeatures(name)
	if err != nil {
		return nil
	}
	for _, feature := range []string{"rx-gro-hw", "rx-lro"} {
		if f := features[feature]; f.Active {
			on = append(on, Offload{feature, f.Fixed})
		}
	}
	return on
}
