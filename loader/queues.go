package loader

// This file finds queues that an interface was given after its program. A veth gives an
// XDP program to the queues that it has as the program is set: what one that `ethtool -L`
// adds later receives meets no program (veth_set_channels in drivers/net/veth.c; seen on
// 6.1 to 6.18). The driver of a NIC sets up all anew, or refuses while there is a program.
// A veth in a bond is not looked at.

import (
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/ethtool"
)

// receives returns on how many queues a veth receives. It is 0 for other drivers, and
// where the veth cannot be asked: the program is set once too often then, and not too
// seldom.
func receives(name string) int32 {
	device, err := netlink.LinkByName(name)
	if err != nil || device.Type() != "veth" {
		return 0
	}
	channels, err := ethtool.GetChannels(name)
	if err != nil {
		return 0
	}
	return int32(channels.RxCount)
}
